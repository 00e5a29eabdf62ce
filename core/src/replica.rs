//! A copy of a partition's state, grown record by record from the log or from a commit onwards.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use thiserror::Error;

use crate::broken::{Rule, broken};
use crate::error::ErrorKind;
use crate::frame::{BodyCodec, FrameError, FrameHeader, FrameKind};
use crate::hlc::Key;
use crate::ids::Offset;
use crate::machine::{MachineRules, PartitionMachine, Verdict};
use crate::manifest::CommitBody;
use crate::open_rows::RowRun;

/// Why a record could not be taken.
#[derive(Debug, Error)]
pub enum ReplicaError {
    /// Records are missing or repeated.
    #[error("the log gave offset {found} where {expected} comes next")]
    Gap {
        /// What had to come.
        expected: Offset,
        /// What came.
        found: Offset,
    },
    /// The frame's schema is newer than the control topic as read so far.
    #[error("offset {offset} has schema version {version}, which is not known yet")]
    UnknownSchema {
        /// Where.
        offset: Offset,
        /// Which version.
        version: u32,
    },
    /// A commit says that this frame was accepted, but it cannot be read.
    #[error("the frame at offset {offset} was accepted before and cannot be read now")]
    Damaged {
        /// Where.
        offset: Offset,
        /// What is wrong.
        #[source]
        source: FrameError,
    },
}

impl ReplicaError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownSchema { .. } => ErrorKind::Unavailable,
            Self::Gap { .. } | Self::Damaged { .. } => ErrorKind::Data,
        }
    }
}

/// A record of the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it lies.
    pub offset: Offset,
    /// When the log took it, ns since the epoch.
    pub append_time_ns: i64,
    /// Its bytes.
    pub payload: &'a Bytes,
}

/// Finds the codec of a schema version.
pub trait Codecs: Debug {
    /// The codec of `version`, if it is known.
    fn codec(&self, version: u32) -> Option<Arc<BodyCodec>>;
}

/// What a record did.
#[derive(Debug)]
pub struct Applied {
    /// Where it lies.
    pub offset: Offset,
    /// Accepted rows, in key order.
    pub runs: Vec<RowRun>,
    /// The verdict; none while rows below a commit are collected again.
    pub verdict: Option<Verdict>,
}

/// Where a commit left off.
#[derive(Debug)]
struct Recollect {
    until: Offset,
    sealed_key: Option<Key>,
    skips: BTreeMap<Offset, Vec<(u32, u32)>>,
}

/// The machine, and the decoding of what it accepts.
#[derive(Debug)]
pub struct Replica {
    machine: PartitionMachine,
    position: Offset,
    recollect: Option<Recollect>,
}

impl Replica {
    /// The state before the first record.
    pub fn new(rules: MachineRules) -> Self {
        Self {
            machine: PartitionMachine::new(rules),
            position: Offset(0),
            recollect: None,
        }
    }

    /// The state after a commit. Rows that it left open come again, from `scan_from` on.
    pub fn resume(rules: MachineRules, commit: &CommitBody) -> Self {
        let skips = commit
            .skips
            .iter()
            .map(|skip| (skip.offset, skip.rows.clone()))
            .collect();
        let (until, sealed_key) = (commit.next_offset, commit.sealed_key);
        let scan = !broken(Rule::RecoverFromScan);
        Self {
            machine: PartitionMachine::restore(rules, &commit.state, until),
            position: if scan { commit.scan_from } else { until },
            recollect: Some(Recollect {
                until,
                sealed_key,
                skips,
            }),
        }
    }

    /// Offset of the record to be fed next.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// The partition's state.
    pub fn machine(&self) -> &PartitionMachine {
        &self.machine
    }

    /// Whether everything below the commit it started from has been collected again.
    pub fn is_live(&self) -> bool {
        self.position >= self.machine.next_offset()
    }

    /// Takes the next record. After [`ReplicaError::UnknownSchema`] nothing has changed.
    pub fn apply(
        &mut self,
        record: Record<'_>,
        codecs: &dyn Codecs,
    ) -> Result<Applied, ReplicaError> {
        if record.offset != self.position {
            return Err(ReplicaError::Gap {
                expected: self.position,
                found: record.offset,
            });
        }
        let applied = match &self.recollect {
            Some(old) if record.offset < old.until => old.collect(record, codecs)?,
            _ => {
                self.recollect = None;
                self.advance(record, codecs)?
            }
        };
        self.position = record.offset.next();
        Ok(applied)
    }

    /// Takes the next record as one that is no frame, because its schema will never be known.
    pub fn apply_malformed(&mut self, record: Record<'_>) -> Applied {
        self.position = record.offset.next();
        let verdict = self
            .machine
            .apply(record.offset, record.append_time_ns, None);
        Applied {
            offset: record.offset,
            runs: Vec::new(),
            verdict: Some(verdict),
        }
    }

    fn advance(
        &mut self,
        record: Record<'_>,
        codecs: &dyn Codecs,
    ) -> Result<Applied, ReplicaError> {
        let Ok((header, rows)) = decode(record, codecs)? else {
            return Ok(self.apply_malformed(record));
        };
        let verdict = self
            .machine
            .apply(record.offset, record.append_time_ns, Some(&header));
        let ranges = verdict
            .accepted
            .iter()
            .map(|range| (range.start, range.end));
        let runs = slices(&header, rows.as_ref(), ranges);
        Ok(Applied {
            offset: record.offset,
            runs,
            verdict: Some(verdict),
        })
    }
}

impl Recollect {
    fn collect(&self, record: Record<'_>, codecs: &dyn Codecs) -> Result<Applied, ReplicaError> {
        let offset = record.offset;
        let skips = self.skips.get(&offset).map_or(&[][..], Vec::as_slice);
        let skips = if broken(Rule::RecoverySkips) {
            &[][..]
        } else {
            skips
        };
        let (header, rows) = match decode(record, codecs)? {
            Ok(decoded) => decoded,
            Err(_) if !skips.is_empty() => {
                return Ok(Applied {
                    offset,
                    runs: Vec::new(),
                    verdict: None,
                });
            }
            Err(source) => return Err(ReplicaError::Damaged { offset, source }),
        };
        let mut runs = slices(&header, rows.as_ref(), kept(header.rows, skips).into_iter());
        if let Some(sealed) = self.sealed_key.filter(|_| !broken(Rule::RecoverySealed)) {
            for run in &mut runs {
                let gone = run.rows_through(sealed);
                run.rows = run.rows.slice(gone, run.rows.num_rows() - gone);
            }
            runs.retain(|run| run.rows.num_rows() > 0);
        }
        Ok(Applied {
            offset,
            runs,
            verdict: None,
        })
    }
}

type Decoded = Result<(FrameHeader, Option<RecordBatch>), FrameError>;

/// Reads a record. The outer error is about this reader, the inner one about the record.
fn decode(record: Record<'_>, codecs: &dyn Codecs) -> Result<Decoded, ReplicaError> {
    let (header, body) = match FrameHeader::decode(record.payload) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Err(error)),
    };
    if header.kind != FrameKind::Data {
        return Ok(Ok((header, None)));
    }
    let version = header.schema_version;
    let codec = codecs.codec(version).ok_or(ReplicaError::UnknownSchema {
        offset: record.offset,
        version,
    })?;
    Ok(codec
        .decode(&header, &body, record.offset.0)
        .map(|rows| (header, Some(rows))))
}

fn slices(
    header: &FrameHeader,
    rows: Option<&RecordBatch>,
    ranges: impl Iterator<Item = (u32, u32)>,
) -> Vec<RowRun> {
    let Some(rows) = rows else { return Vec::new() };
    let run = |(from, to): (u32, u32)| RowRun {
        schema_version: header.schema_version,
        rows: rows.slice(from as usize, (to - from) as usize),
    };
    ranges.map(run).collect()
}

/// The ranges of `0..rows` that lie between ascending `skips`.
fn kept(rows: u32, skips: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut kept = Vec::new();
    let mut from = 0;
    for (start, end) in skips.iter().copied().chain([(rows, rows)]) {
        if from < start {
            kept.push((from, start));
        }
        from = end;
    }
    kept
}
