//! Frames that broke the protocol: where they lie, why they were refused, what they were.

use std::collections::VecDeque;

use serde::Serialize;
use tourbillon_core::control::StreamDef;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::ids::Offset;
use tourbillon_core::machine::{Reason, Verdict};
use tourbillon_core::manifest::{CommitBody, CompactionBody, RejectsMeta};
use tourbillon_core::replica::Record;
use tourbillon_core::sealer::RejectedFrame;
use tourbillon_core::time::format_time_ns;

use crate::error::QueryError;
use crate::params::wrong;
use crate::partition::Partition;
use crate::service::QueryService;

/// Refused frames of a partition that are remembered until a commit holds them.
const MAX_RECENT: usize = 10_000;

/// Frames of an answer if the client does not say, and at most.
const LIMIT: (usize, usize) = (100, 10_000);

/// No log has offsets above this.
const MAX_OFFSET: u64 = i64::MAX.unsigned_abs();

/// Where a partition's refused frames are.
#[derive(Debug, Default)]
pub(crate) struct Rejects {
    sidecars: Vec<(Offset, RejectsMeta)>,
    recent: VecDeque<Rejected>,
}

/// One refused frame.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    offset: Offset,
    append_time_ns: i64,
    reason: Reason,
    bytes: usize,
    header: Option<FrameHeader>,
}

impl Rejected {
    fn of(frame: &RejectedFrame) -> Self {
        let decoded = FrameHeader::decode(&frame.payload);
        Self {
            offset: frame.offset,
            append_time_ns: frame.append_time_ns,
            reason: frame.reason,
            bytes: frame.payload.len(),
            header: decoded.ok().map(|(header, _)| header),
        }
    }

    fn describe(&self, partition: u32) -> RejectedShown {
        RejectedShown {
            partition,
            offset: self.offset.0,
            append_time: format_time_ns(self.append_time_ns),
            reason: self.reason.as_str(),
            bytes: self.bytes,
            header: self.header.as_ref().map(HeaderShown::of),
        }
    }
}

/// Refused frames, by partition and offset.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Rejects)]
pub(crate) struct RejectList {
    rejects: Vec<RejectedShown>,
    /// Whether there are more than `limit`.
    more: bool,
}

/// A refused frame.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Reject)]
struct RejectedShown {
    partition: u32,
    /// Where it lies in the log.
    offset: u64,
    #[schema(format = DateTime)]
    append_time: String,
    /// Why it was refused.
    #[schema(example = "frame_missing")]
    reason: &'static str,
    bytes: usize,
    #[serde(flatten)]
    #[schema(value_type = HeaderMembers)]
    header: Option<HeaderShown>,
}

/// What a refused frame says of itself, if that can be read.
#[derive(Debug, Serialize)]
struct HeaderShown {
    kind: &'static str,
    writer: u32,
    pseq: u64,
    rows: u32,
    first_hlc: i64,
    last_hlc: i64,
    sources: Vec<String>,
}

/// The same with members that may be absent, for the OpenAPI document.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct HeaderMembers {
    /// `open`, `data`, `beat`, `close` or `fence`.
    kind: Option<String>,
    /// Id of its writer.
    writer: Option<u32>,
    /// The writer's number for it.
    pseq: Option<u64>,
    rows: Option<u32>,
    first_hlc: Option<i64>,
    last_hlc: Option<i64>,
    /// Names of the clients' sources.
    sources: Option<Vec<String>>,
}

impl HeaderShown {
    fn of(header: &FrameHeader) -> Self {
        let names = header.sources.iter().map(|source| &*source.source);
        Self {
            kind: kind(header.kind),
            writer: header.writer.0,
            pseq: header.pseq,
            rows: header.rows,
            first_hlc: header.hlc_first.0,
            last_hlc: header.hlc_last.0,
            sources: names
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }
}

fn kind(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Open => "open",
        FrameKind::Data => "data",
        FrameKind::Beat => "beat",
        FrameKind::Close => "close",
        FrameKind::Fence => "fence",
    }
}

impl Rejects {
    /// Remembers a record, if it was refused for more than being a repeat.
    pub(crate) fn note(&mut self, record: Record<'_>, verdict: Option<&Verdict>) {
        let refusals = verdict.into_iter().flat_map(|verdict| &verdict.refused);
        let Some(refusal) = refusals.into_iter().find(|r| !r.reason.is_duplicate()) else {
            return;
        };
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Rejected::of(&RejectedFrame {
            offset: record.offset,
            append_time_ns: record.append_time_ns,
            reason: refusal.reason,
            payload: record.payload.clone(),
        }));
    }

    /// A commit holds what was refused before it.
    pub(crate) fn committed(&mut self, body: &CommitBody) {
        if let Some(meta) = &body.rejects {
            self.add(body.next_offset, meta);
        }
        let held = |rejected: &Rejected| rejected.offset < body.next_offset;
        while self.recent.front().is_some_and(held) {
            self.recent.pop_front();
        }
    }

    /// A compaction names the sidecars of the commits that it looked at.
    pub(crate) fn compacted(&mut self, compaction: &CompactionBody) {
        for (end, meta) in &compaction.rejects {
            self.add(*end, meta);
        }
    }

    /// Adds a sidecar, unless it is there already.
    fn add(&mut self, end: Offset, meta: &RejectsMeta) {
        if self.sidecars.last().is_none_or(|(last, _)| *last < end) {
            self.sidecars.push((end, meta.clone()));
        }
    }

    /// Sidecars that may hold frames from `from` on, and the frames that are in none yet.
    fn view(&self, from: Offset) -> (Vec<RejectsMeta>, Vec<Rejected>) {
        let sidecars = self.sidecars.iter().filter(|(end, _)| *end > from);
        let recent = self.recent.iter().filter(|frame| frame.offset >= from);
        (
            sidecars.map(|(_, meta)| meta.clone()).collect(),
            recent.cloned().collect(),
        )
    }
}

/// The parameters, for the OpenAPI document.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "a schema; `RejectsParams` reads them")]
pub(crate) struct RejectsQuery {
    /// Only this partition.
    partition: Option<u32>,
    /// Only frames that were refused for this.
    #[param(example = "frame_missing")]
    reason: Option<String>,
    /// Only frames from this offset on.
    #[param(default = 0)]
    from_offset: Option<u64>,
    /// Most frames.
    #[param(minimum = 1, maximum = 10_000, default = 100)]
    limit: Option<u32>,
}

/// What of the refused frames is wanted.
#[derive(Debug, Default)]
pub(crate) struct RejectsParams {
    partition: Option<u32>,
    reason: Option<Reason>,
    from: Offset,
    limit: usize,
}

impl RejectsParams {
    /// Reads decoded query pairs.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, QueryError> {
        let mut params = Self {
            limit: LIMIT.0,
            ..Self::default()
        };
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(wrong(name, "is given twice"));
            }
            let number = || wrong(name, "use a whole number");
            match name.as_str() {
                "partition" => params.partition = Some(value.parse().map_err(|_| number())?),
                "from_offset" => {
                    let from = value.parse().ok().filter(|offset| *offset <= MAX_OFFSET);
                    params.from = Offset(from.ok_or_else(number)?);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|n| (1..=LIMIT.1).contains(n));
                    params.limit = limit.ok_or_else(|| wrong(name, "use 1 to 10000"))?;
                }
                "reason" => {
                    let reason = Reason::from_name(value).filter(|r| !r.is_duplicate());
                    params.reason = Some(reason.ok_or_else(|| wrong(name, "no such reason"))?);
                }
                _ => {
                    let known =
                        "unknown parameter: there are partition, reason, from_offset, limit";
                    return Err(wrong(name, known));
                }
            }
        }
        Ok(params)
    }
}

impl QueryService {
    /// Refused frames of a stream, by partition and offset.
    pub(crate) async fn rejects(
        &self,
        def: &StreamDef,
        params: &RejectsParams,
    ) -> Result<RejectList, QueryError> {
        let last = def.partitions.saturating_sub(1);
        if params.partition.is_some_and(|wanted| wanted > last) {
            let reason = format!("the stream's partitions are 0 to {last}");
            return Err(wrong("partition", &reason));
        }
        let mut found = Vec::new();
        let wanted = |p: &u32| params.partition.is_none_or(|wanted| wanted == *p);
        let mut partitions = self.partitions(def)?;
        partitions.retain(|partition| wanted(&partition.number.0));
        for partition in partitions {
            let left = params.limit + 1 - found.len();
            let frames = self.rejected_frames(def, &partition, params, left).await?;
            found.extend(
                frames
                    .iter()
                    .map(|frame| frame.describe(partition.number.0)),
            );
        }
        let more = found.len() > params.limit;
        found.truncate(params.limit);
        Ok(RejectList {
            rejects: found,
            more,
        })
    }

    async fn rejected_frames(
        &self,
        def: &StreamDef,
        partition: &Partition,
        params: &RejectsParams,
        limit: usize,
    ) -> Result<Vec<Rejected>, QueryError> {
        let (sidecars, recent) = partition.rejects(|rejects| rejects.view(params.from));
        let wanted = |frame: &Rejected| {
            frame.offset >= params.from && params.reason.is_none_or(|reason| reason == frame.reason)
        };
        let mut found = Vec::new();
        for meta in sidecars {
            if found.len() >= limit {
                break;
            }
            let frames = self.lake.get_rejects(&def.name, &meta).await?;
            found.extend(frames.iter().map(Rejected::of).filter(wanted));
        }
        found.extend(recent.into_iter().filter(wanted));
        found.truncate(limit);
        Ok(found)
    }
}
