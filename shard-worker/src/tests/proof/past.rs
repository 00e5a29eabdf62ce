//! Verifying what the log's retention has taken.

use std::sync::Mutex;

use tourbillon_core::manifest::ChainTip;

use super::*;

type Change = fn(&mut CommitBody);

impl Bench {
    /// Retention takes all below the `scan_from` of a commit in the middle; that commit's number.
    async fn expire_half(&self) -> u64 {
        let links = self.rig.links(0).await;
        let body = &links[links.len() / 2].commit.body;
        assert!(body.scan_from > Offset(0));
        self.expire(body.scan_from);
        let first = links
            .iter()
            .position(|link| link.commit.body.scan_from == body.scan_from);
        first.unwrap() as u64
    }

    fn expire(&self, start: Offset) {
        self.rig
            .log
            .faults()
            .expire(&self.rig.at(0), start)
            .unwrap();
    }

    /// Writes the chain again, consistent in itself, with other bodies.
    async fn forge(&self, change: impl Fn(&mut CommitBody)) {
        let mut tip = ChainTip::EMPTY;
        for link in self.rig.links(0).await {
            let mut body = link.commit.body;
            change(&mut body);
            let forged = Commit::link(body, &tip, "forger".into()).unwrap();
            let bytes = forged.encode().unwrap();
            tip = forged.tip(&bytes);
            let path = Self::path(&format!("commit/p0/{:020}", forged.body.seq));
            self.put(&path, bytes.into()).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_past_retention_is_checked_by_hash_and_told() {
    let bench = Bench::new(41).await;
    let whole = bench.report().await;
    assert_eq!(whole.by_hash, None);
    let resumed = bench.expire_half().await;
    let report = bench.report().await;
    assert_eq!(report.differences, [""; 0]);
    assert!(report.complete);
    let past = report.by_hash.unwrap();
    let links = bench.rig.links(0).await;
    let (old, _) = links.split_at(usize::try_from(resumed).unwrap() + 1);
    let segments = || old.iter().flat_map(|link| &link.commit.body.segments);
    assert_eq!(past.commits, old.len() as u64);
    assert_eq!(past.segments, segments().count() as u64);
    assert_eq!(past.rows, segments().map(|s| s.rows).sum::<u64>());
    let start = bench.rig.log().range(&bench.rig.at(0)).await.unwrap().start;
    assert_eq!(past.below, start);
    assert!(past.segments > 0 && past.segments < whole.segments);
    // by hash or by the log, all is counted
    let by_hash = report.by_hash;
    assert_eq!(report, PartitionReport { by_hash, ..whole });
}

#[tokio::test(start_paused = true)]
async fn damage_past_retention_is_reported() {
    let bench = Bench::new(42).await;
    let resumed = bench.expire_half().await;
    let links = bench.rig.links(0).await;
    let old = &links[..usize::try_from(resumed).unwrap()];
    let sealed = old.iter().find(|l| !l.commit.body.segments.is_empty());
    let segment = Bench::path(&sealed.unwrap().commit.body.segments[0].name);
    let refused = old
        .iter()
        .find_map(|link| link.commit.body.rejects.as_ref());
    let sidecar = Bench::path(&refused.unwrap().name);
    for path in [segment, sidecar] {
        bench.tamper(&path, |bytes| bytes[3] ^= 1).await;
        bench.expect_one(&path).await;
        let sound = bench.store.get(&path).await.unwrap().bytes().await.unwrap();
        bench.store.delete(&path).await.unwrap();
        bench.expect_one(&path).await;
        bench.put(&path, sound).await;
        bench.tamper(&path, |bytes| bytes[3] ^= 1).await;
        assert_eq!(bench.report().await.differences, [""; 0]);
    }
    let gone = Bench::path("commit/p0/00000000000000000001");
    bench.store.delete(&gone).await.unwrap();
    bench.expect_one(&gone).await;
}

/// The chain ties, and nothing but reason tells.
#[tokio::test(start_paused = true)]
async fn a_forged_chain_past_retention_is_reported_where_it_contradicts_itself() {
    let spoil: [(Change, &str); 8] = [
        (
            |body| body.rejects.iter_mut().for_each(|r| r.frames += 1),
            "frames",
        ),
        (
            |body| body.segments[0].first_key.hlc.0 = 1,
            "not above the rows before",
        ),
        (
            |body| body.segments[0].offsets.1 = body.next_offset,
            "never saw",
        ),
        (|body| body.sealed_rows += 1, "do not add up"),
        (|body| body.sealed_key = None, "sealed key"),
        (
            |body| body.state.counts.accepted = 1,
            "more than was accepted",
        ),
        (
            |body| body.scan_from = body.next_offset.next(),
            "scans from",
        ),
        (
            |body| body.state.watermark.0 -= i64::MAX / 2,
            "falls behind",
        ),
    ];
    let mut seed = 43;
    let victim = loop {
        let bench = Bench::new(seed).await;
        let resumed = bench.expire_half().await;
        let links = bench.rig.links(0).await;
        let mut old = links[..usize::try_from(resumed).unwrap()].iter().rev();
        let victim = old.find(|link| {
            let body = &link.commit.body;
            !body.segments.is_empty() && body.rejects.is_some()
        });
        match victim {
            Some(victim) => break victim.commit.body.seq,
            None => seed += 1,
        }
    };
    for (change, told) in spoil {
        let bench = Bench::new(seed).await;
        bench.expire_half().await;
        bench
            .forge(|body| {
                if body.seq == victim {
                    change(body)
                }
            })
            .await;
        let report = bench.report().await;
        let path = bench.rig.chain(0).path(victim).to_string();
        let found = report.differences.iter().find(|what| what.contains(told));
        let found = found.unwrap_or_else(|| panic!("{told}: {:?}", report.differences));
        assert!(found.contains(&path), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_expired_before_they_were_sealed_are_reported() {
    let bench = Bench::new(44).await;
    let links = bench.rig.links(0).await;
    let newest = &links.last().unwrap().commit.body;
    bench.expire(newest.scan_from.next());
    let report = bench.report().await;
    assert!(!report.complete);
    assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
    let told = &report.differences[0];
    let from = format!("from offset {} ", newest.scan_from);
    assert!(told.contains(&from) && told.contains("retention"), "{told}");
    // all that the chain says of itself was checked nevertheless
    assert_eq!(report.commits, links.len() as u64);
    let sealed = links.iter().find(|l| !l.commit.body.segments.is_empty());
    let segment = Bench::path(&sealed.unwrap().commit.body.segments[0].name);
    bench.tamper(&segment, |bytes| bytes[9] ^= 1).await;
    let told = bench.report().await.differences;
    assert!(
        told.len() == 2 && told[0].contains(segment.as_ref()),
        "{told:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_that_also_lost_its_newest_records_is_reported() {
    let bench = Bench::new(45).await;
    let resumed = bench.expire_half().await;
    let links = bench.rig.links(0).await;
    let (first, newest) = (
        &links[usize::try_from(resumed).unwrap()],
        links.last().unwrap(),
    );
    for commit in [newest, first] {
        let end = commit.commit.body.next_offset.0 - 1;
        bench
            .rig
            .log
            .faults()
            .lose(&bench.rig.at(0), Offset(end))
            .unwrap();
        let path = bench.rig.chain(0).path(commit.commit.body.seq);
        let report = bench.report().await;
        assert!(report.complete);
        assert_eq!(report.differences.len(), 1, "{:?}", report.differences);
        let told = &report.differences[0];
        assert!(told.starts_with("the log was truncated"), "{told}");
        assert!(told.contains(path.as_ref()), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_rises_to_the_end_of_the_log() {
    let bench = Bench::new(46).await;
    bench.expire_half().await;
    let told = Mutex::new(Vec::new());
    let tell = |done, total| told.lock().unwrap().push((done, total));
    bench.verifier().run_telling(&tell).await.unwrap();
    let end = bench.rig.end(0).await.0;
    let told = told.into_inner().unwrap();
    assert!(told.len() > 5 && told.is_sorted(), "{told:?}");
    assert!(told.iter().all(|(_, total)| *total == end), "{told:?}");
    assert_eq!(told.last(), Some(&(end, end)));
}
