//! The promises of PROTOCOL.md, 10, against the model, once a run has settled.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::time::sleep;
use tourbillon_core::control::StreamDef;
use tourbillon_core::error::error_chain;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{Offset, PartitionId};
use tourbillon_core::manifest::{ChainTip, Kept};
use tourbillon_lake::{Chain, LakeError, verify_segment};
use tourbillon_log::Log;
use tourbillon_log::control::ControlTopic;
use tourbillon_query::QueryService;
use tourbillon_shard_worker::verify::Verifier;

use super::model::{Sample, SeenRow};
use super::reader::{Asked, ask};
use super::replay::{Places, Replayed, replay_all};
use super::stream::wrong_content;
use super::world::World;

/// Virtual time in which a reader notices what retention has let go.
const NOTICE: Duration = Duration::from_secs(5);

/// Checks one settled run.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    pub(crate) world: &'a Arc<World>,
    pub(crate) def: &'a Arc<StreamDef>,
    pub(crate) control: &'a ControlTopic,
    /// A reader that started after the trouble.
    pub(crate) judge: &'a QueryService,
}

impl Check<'_> {
    /// Checks everything.
    pub(crate) async fn run(&self) {
        let (replayed, places) = replay_all(self.world, self.def).await;
        self.acknowledged(&places);
        self.content(&replayed);
        self.published(&places);
        if self.world.plan.retention_ns > 0 {
            sleep(NOTICE).await;
        }
        let kept_from = self.kept_from().await;
        self.whole(&replayed, &places, kept_from).await;
        for sample in self.world.model.samples() {
            self.sample(&sample, &places, kept_from).await;
        }
        for partition in (0..self.def.partitions).map(PartitionId) {
            self.chain(partition).await;
            self.verify(partition).await;
        }
    }

    fn acknowledged(&self, places: &Places) {
        for request in self.world.model.requests() {
            if !request.acked {
                continue;
            }
            for n in request.rows.clone() {
                let Some((_, row)) = places.get(&n) else {
                    let details = format!("row {n} was acknowledged and is not in the stream");
                    self.world.violated("INV-ACK", details);
                    return;
                };
                let Some((first, _)) = request.stamps else {
                    continue;
                };
                let promised = first.0 + (n - request.rows.start);
                if row.hlc != promised {
                    let details = format!("row {n} has stamp {}, not {promised}", row.hlc);
                    self.world.violated("INV-ORDER", details);
                    return;
                }
            }
        }
    }

    fn content(&self, replayed: &[Replayed]) {
        let requests = self.world.model.requests();
        let noted = |n: i64| {
            let index = requests.partition_point(|request| request.rows.end <= n);
            requests.get(index).is_some_and(|request| request.noted)
        };
        let batches = replayed.iter().flat_map(|replayed| &replayed.batches);
        if let Some(wrong) = batches.filter_map(|rows| wrong_content(rows, noted)).next() {
            self.world.violated("INV-ACK", wrong);
        }
    }

    /// No row came in at or below a T that a reader had been told.
    fn published(&self, places: &Places) {
        let published = self.world.model.highest_published();
        for (partition, row) in places.values() {
            let landed = self
                .world
                .model
                .when_landed((*partition, Offset(row.offset)));
            let before = published.partition_point(|(at, _)| *at < landed);
            let told = before.checked_sub(1).map(|i| published[i]);
            if let Some((at, through)) = told
                && row.hlc <= through.0
            {
                let details = format!(
                    "row {} with stamp {} reached partition {partition} at {landed:?} and a \
                     reader was told at {at:?} that all is there through {through}",
                    row.n, row.hlc
                );
                self.world.violated("INV-FINAL", details);
                return;
            }
        }
    }

    /// A reader that starts now sees exactly the accepted rows, in order.
    async fn whole(&self, replayed: &[Replayed], places: &Places, kept_from: i64) {
        let through = replayed.iter().map(|replayed| replayed.watermark).min();
        let through = through.unwrap_or(Hlc::MIN);
        let is_left = |row: &SeenRow| (kept_from..=through.0).contains(&row.hlc);
        let wanted = ordered(places, |_, row| is_left(row));
        match ask(self.judge, window(0, through.0 + 1)).await {
            Ok(Some((sample, _))) => self.same("the whole stream", &sample.rows, &wanted),
            Ok(None) => self.world.violated("INV-ACK", "the stream is gone".into()),
            Err(error) => self.world.violated("INV-ORDER", error_chain(&error)),
        }
    }

    fn same(&self, what: &str, found: &[SeenRow], wanted: &[SeenRow]) {
        if let Some(pair) = found.windows(2).find(|pair| key(&pair[0]) >= key(&pair[1])) {
            let details = format!("{what}: {:?} stands before {:?}", pair[0], pair[1]);
            self.world.violated("INV-ORDER", details);
            return;
        }
        let differs = found
            .iter()
            .zip(wanted)
            .find(|(found, wanted)| found != wanted);
        if found.len() != wanted.len() || differs.is_some() {
            let details = format!(
                "{what} has {} rows and {} were accepted; first difference {differs:?}",
                found.len(),
                wanted.len()
            );
            self.world.violated("INV-FINAL", details);
        }
    }

    /// What a reader was given then is what the log says of it, and what it is given now.
    async fn sample(&self, sample: &Sample, places: &Places, kept_from: i64) {
        let Sample { start, end, .. } = *sample;
        let held = |partition: PartitionId, row: &SeenRow| {
            let shown = sample
                .snapshot
                .iter()
                .find(|(shown, _)| *shown == partition);
            let shown = shown.is_some_and(|(_, before)| row.offset < before.0);
            (shown || sample.is_final) && (start..end).contains(&row.hlc)
        };
        let what = format!("window [{start}, {end})");
        self.same(&what, &sample.rows, &ordered(places, held));
        if !sample.is_final || start < kept_from || self.world.dice.chance(0.7) {
            return;
        }
        match ask(self.judge, window(start, end)).await {
            Ok(Some((again, _))) => self.same(&what, &again.rows, &sample.rows),
            Ok(None) => {}
            Err(error) => self.world.violated("INV-FINAL", error_chain(&error)),
        }
    }

    /// What retention has left of a partition.
    async fn kept(&self, partition: PartitionId) -> Option<Kept> {
        let lake = self.world.lake();
        let boundaries = Chain::boundaries(&lake, &self.def.name, partition);
        match boundaries.standing().await {
            Ok(newest) => newest.and_then(|link| link.commit.body.kept),
            Err(error) => {
                self.world.violated("INV-CHAIN", error_chain(&error));
                None
            }
        }
    }

    /// The stamp from which on every partition has all its rows.
    async fn kept_from(&self) -> i64 {
        let mut from = 0;
        for partition in (0..self.def.partitions).map(PartitionId) {
            from = from.max(self.kept(partition).await.map_or(0, |kept| kept.from.0));
        }
        from
    }

    /// Every link ties and every file that must be there has its hashes.
    async fn chain(&self, partition: PartitionId) {
        let lake = self.world.lake();
        let kept = self.kept(partition).await;
        let tip = kept.as_ref().map_or(ChainTip::EMPTY, |kept| kept.commits);
        let chain = Chain::new(&lake, &self.def.name, partition);
        let links: Vec<_> = match chain.links_after(tip).try_collect().await {
            Ok(links) => links,
            Err(error) => return self.world.violated("INV-CHAIN", error_chain(&error)),
        };
        let tip = kept
            .as_ref()
            .map_or(ChainTip::EMPTY, |kept| kept.compactions);
        let compactions = Chain::compactions(&lake, &self.def.name, partition);
        let newest = match compactions.newest_after(&tip).await {
            Ok(newest) => newest.map(|link| link.commit.body.last_key),
            Err(error) => return self.world.violated("INV-CHAIN", error_chain(&error)),
        };
        let replaced = newest.max(kept.map(|kept| kept.gone_through));
        for meta in links.iter().flat_map(|link| &link.commit.body.segments) {
            let stored = lake.get_segment(&self.def.name, &meta.name).await;
            let absent = stored.as_ref().is_err_and(LakeError::is_absent);
            if absent && Some(meta.last_key) <= replaced {
                continue;
            }
            let sound = stored.and_then(|bytes| verify_segment(&meta.name, &bytes, meta));
            if let Err(error) = sound {
                return self.world.violated("INV-CHAIN", error_chain(&error));
            }
        }
        if let Some(link) = links.last() {
            let root = link.commit.chain_root;
            self.world
                .trace
                .note(format_args!("chain {partition} {root}"));
        }
    }

    /// All commits are what the log asks for.
    async fn verify(&self, partition: PartitionId) {
        let log: Arc<dyn Log> = Arc::new(self.world.broker.clone());
        let verifier = Verifier {
            log,
            lake: self.world.lake(),
            control: self.control.clone(),
            def: Arc::clone(self.def),
            partition,
        };
        match verifier.run().await {
            Ok(report) if report.differences.is_empty() && report.complete => {}
            Ok(report) => {
                let details = format!(
                    "partition {partition}: complete {}, {:?}",
                    report.complete, report.differences
                );
                self.world.violated("INV-PURE", details);
            }
            Err(error) => self.world.violated("INV-PURE", error_chain(&error)),
        }
    }
}

fn window(start: i64, end: i64) -> Asked {
    Asked {
        start,
        end,
        is_final: true,
    }
}

fn key(row: &SeenRow) -> (i64, u32) {
    (row.hlc, row.writer)
}

/// The accepted rows that `held` names, in key order.
fn ordered(places: &Places, held: impl Fn(PartitionId, &SeenRow) -> bool) -> Vec<SeenRow> {
    let rows = places
        .values()
        .filter(|(partition, row)| held(*partition, row));
    let mut rows: Vec<_> = rows.map(|(_, row)| *row).collect();
    rows.sort_unstable();
    rows
}
