//! The part of a chain whose records are past the log's retention. Nothing of it can be made
//! again, so each commit is checked by its hashes, by what its files hold and against the commit
//! before it.

use tourbillon_core::ids::Offset;
use tourbillon_core::manifest::{ChainTip, CommitBody, SegmentMeta};
use tourbillon_core::replica::Replica;
use tourbillon_core::sealer::Sealer;
use tourbillon_lake::{Chain, off_thread, verify_segment};
use tourbillon_log::{LogRange, TopicPartition};

use super::compacted::Compactions;
use super::{PartitionReport, Tell, Verifier, take, truncated};
use crate::error::WorkerError;

/// Commits that could only be checked by hash, rows root and chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByHash {
    /// The log's first offset: what lies below is past its retention.
    pub below: Offset,
    /// Commits among those of the report.
    pub commits: u64,
    /// Segments among those of the report.
    pub segments: u64,
    /// Rows among the sealed rows of the report.
    pub rows: u64,
}

/// Where the log begins to tell: what a worker that starts there has in hand.
pub(super) type Begin = (Replica, Sealer, ChainTip);

impl Verifier {
    /// Checks commits from the first one up to the one that needs nothing below the log's start.
    /// None if there is none; the report then says why.
    pub(super) async fn past(
        &self,
        at: &TopicPartition,
        chain: &Chain,
        log: LogRange,
        compactions: &mut Compactions,
        report: &mut PartitionReport,
        tell: Tell<'_>,
    ) -> Result<Option<Begin>, WorkerError> {
        let kept = compactions.kept.as_ref();
        let mut tip = kept.map_or(ChainTip::EMPTY, |kept| kept.commits);
        let mut gone = kept.is_some();
        let mut before = None;
        loop {
            let found = take(chain.after_tip(&tip).await, report)
                .map_err(|e| self.failed("read the commit chain", e))?;
            // damage is told already
            let Some(found) = found else { return Ok(None) };
            let Some(link) = found else {
                self.ends_early(chain, &tip, before.as_ref(), log, report)
                    .await?;
                return Ok(None);
            };
            let body = link.commit.body;
            if body.next_offset > log.end {
                // records may have come since, and a worker may have sealed them
                let now = self.range(at).await?.end;
                if body.next_offset > now {
                    // it is the log that lacks something
                    report.complete = true;
                    report.differences.push(truncated(chain, &body, now));
                    return Ok(None);
                }
            }
            for segment in &body.segments {
                self.check_file(segment, compactions, report).await?;
            }
            self.check_past(chain, before.as_ref(), &body, gone, report)
                .await?;
            report.count_past(&body, log.start, compactions);
            gone = false;
            self.check_compactions(compactions, &body, (tip, link.tip), report)
                .await?;
            tip = link.tip;
            tell(body.next_offset.0, log.end.0);
            if body.scan_from >= log.start {
                let window_ns = self.def.window_ns;
                let sealer = Sealer::resume(self.def.name.clone(), window_ns, &body);
                return Ok(Some((Replica::resume(self.def.rules, &body), sealer, tip)));
            }
            before = Some(body);
        }
    }

    /// The chain has no commit that the log could go on from.
    async fn ends_early(
        &self,
        chain: &Chain,
        tip: &ChainTip,
        newest: Option<&CommitBody>,
        log: LogRange,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let told = report.differences.len();
        self.check_gap(chain, tip, report).await?;
        if report.differences.len() == told {
            let (from, folder) = (newest.map_or(Offset(0), |b| b.scan_from), chain.folder());
            report.differences.push(format!(
                "records from offset {from} to {} are past the log's retention and the chain \
                 {folder} ends before they were sealed",
                log.start
            ));
        }
        Ok(())
    }

    /// Checks one commit, its files, and that it goes on from the commit before.
    async fn check_past(
        &self,
        chain: &Chain,
        before: Option<&CommitBody>,
        body: &CommitBody,
        gone: bool,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let path = chain.path(body.seq);
        if let Some(meta) = &body.rejects {
            let stored = self.lake.get_rejects(&self.def.name, meta).await;
            let frames = take(stored, report).map_err(|e| self.failed("read the store", e))?;
            if let Some(frames) = frames.filter(|frames| frames.len() as u64 != meta.frames) {
                report.differences.push(format!(
                    "commit {path} cannot be: {} holds {} frames",
                    meta.name,
                    frames.len()
                ));
            }
        }
        if gone {
            // the commit before it is gone, and of its own rows too
            return Ok(());
        }
        let told = contradictions(before, body).into_iter();
        let told = told.map(|what| format!("commit {path} cannot be: {what}"));
        report.differences.extend(told);
        Ok(())
    }

    async fn check_file(
        &self,
        segment: &SegmentMeta,
        compactions: &Compactions,
        report: &mut PartitionReport,
    ) -> Result<(), WorkerError> {
        let stored = self.stored(segment, compactions, report).await?;
        let Some(bytes) = stored else { return Ok(()) };
        let path = format!("{}/{}", self.def.name, segment.name);
        let segment = segment.clone();
        let verified = off_thread(move || verify_segment(&path, &bytes, &segment)).await;
        let verified = verified.map_err(|e| self.failed("verify a segment", e))?;
        take(verified, report).map_err(|e| self.failed("read the store", e))?;
        Ok(())
    }
}

impl PartitionReport {
    fn count_past(&mut self, body: &CommitBody, below: Offset, compactions: &Compactions) {
        let by_hash = self.by_hash.get_or_insert(ByHash {
            below,
            commits: 0,
            segments: 0,
            rows: 0,
        });
        let left = body.segments.iter().filter(|s| !compactions.let_go(s));
        let segments = left.clone().count() as u64;
        let rows: u64 = left.map(|segment| segment.rows).sum();
        by_hash.commits += 1;
        by_hash.segments += segments;
        by_hash.rows += rows;
        self.commits += 1;
        self.segments += segments;
        self.sealed_rows += rows;
    }
}

/// What of a commit cannot follow the one before it, whatever the log held.
fn contradictions(before: Option<&CommitBody>, body: &CommitBody) -> Vec<String> {
    let mut found = Vec::new();
    let mut last = before.and_then(|before| before.sealed_key);
    for segment in &body.segments {
        if last >= Some(segment.first_key) {
            found.push(format!("{} is not above the rows before it", segment.name));
        }
        if segment.offsets.1 >= body.next_offset {
            found.push(format!("{} has rows the commit never saw", segment.name));
        }
        last = Some(segment.last_key);
    }
    let rows: u64 = body.segments.iter().map(|segment| segment.rows).sum();
    let counts = body.state.counts;
    let sealed = before.map_or(0, |before| before.sealed_rows) + rows;
    let whole = [
        (
            body.sealed_key == last,
            "its sealed key is not its last row",
        ),
        (body.sealed_rows == sealed, "its sealed rows do not add up"),
        (
            sealed <= counts.accepted,
            "it sealed more than was accepted",
        ),
        (
            body.scan_from <= body.next_offset,
            "it scans from beyond its end",
        ),
        (
            before.is_none_or(|b| goes_on(b, body)),
            "it falls behind the commit before",
        ),
    ];
    let wrong = whole.iter().filter(|(holds, _)| !holds);
    found.extend(wrong.map(|(_, what)| (*what).to_owned()));
    found
}

/// Whether nothing that only ever grows has shrunk.
fn goes_on(before: &CommitBody, body: &CommitBody) -> bool {
    let (old, new) = (&before.state, &body.state);
    before.next_offset <= body.next_offset
        && before.scan_from <= body.scan_from
        && old.watermark <= new.watermark
        && old.counts.accepted <= new.counts.accepted
        && old.counts.duplicate <= new.counts.duplicate
        && old.counts.rejected <= new.counts.rejected
}
