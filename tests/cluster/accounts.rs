//! Every frame of the log against what became of its rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::ids::{Offset, PartitionId, StreamName};
use tourbillon_log::{Log, TopicPartition};

use crate::Cluster;
use crate::identity::connected;
use crate::support::identity::runtime;
use crate::support::{counted, get};

/// A frame: partition and offset.
type Place = (u64, u64);

/// A part of a client's request: source, sequence, part.
type Part = (Arc<str>, u64, u32);

/// A data frame of the log.
struct Frame {
    rows: u64,
    parts: Vec<Part>,
}

/// Fails unless every row of every frame is stored, or in the rejects, or recognised as a repeat of
/// what an earlier frame stored, as the partitions count them; only writers that were fenced have
/// rejects. How many rows were refused, and what was found.
pub(crate) fn assert_balanced(cluster: &Cluster) -> (u64, String) {
    let query = &cluster.query.url;
    let (frames, rejects) = (frames(cluster), rejects(query));
    let stored = stored(query);
    let strangers: Vec<_> = stored
        .keys()
        .filter(|at| !frames.contains_key(at))
        .collect();
    assert!(strangers.is_empty(), "rows of no frame: {strangers:?}");
    let (mut rejected, mut repeated) = (0, 0);
    let mut known = BTreeSet::new();
    // in the order of the log, so that what is known was stored before
    for (at, frame) in &frames {
        let kept = stored.get(at).copied().unwrap_or(0);
        let parts = frame.parts.iter().map(|part| (at.0, part.clone()));
        if kept > 0 {
            known.extend(parts.clone());
        }
        match rejects.get(at) {
            Some(_) => rejected += frame.rows - kept,
            None => {
                repeated += frame.rows - kept;
                let all_known = parts.clone().all(|part| known.contains(&part));
                assert!(all_known, "rows of {at:?} are nowhere");
            }
        }
    }
    assert_eq!(rejected, counted(query, "trades", "rejected_rows"));
    assert_eq!(repeated, counted(query, "trades", "duplicate_rows"));
    let fenced = fenced(query);
    for (at, frame) in &rejects {
        let writer = frame["writer"].as_u64().unwrap();
        assert!(fenced.contains(&writer), "{at:?} was refused: {frame}");
    }
    let reasons: BTreeSet<_> = rejects
        .values()
        .map(|frame| frame["reason"].to_string())
        .collect();
    let told = format!(
        "{} data frames balance, {} refused frames {reasons:?}, {} writers fenced",
        frames.len(),
        rejects.len(),
        fenced.len()
    );
    (rejected, told)
}

/// Each data frame, from the log itself.
fn frames(cluster: &Cluster) -> BTreeMap<Place, Frame> {
    let [kafka, _, prefix] = cluster.addresses();
    runtime().block_on(async {
        let (log, control) = connected(&kafka, &prefix).await;
        let stream = StreamName::new("trades").unwrap();
        let mut frames = BTreeMap::new();
        for partition in 0..control.view().streams[&stream].partitions {
            let at = TopicPartition {
                topic: control.stream_topic(&stream),
                partition: PartitionId(partition),
            };
            frames.extend(data_frames(&log, &at).await);
        }
        frames
    })
}

async fn data_frames(log: &Arc<dyn Log>, at: &TopicPartition) -> BTreeMap<Place, Frame> {
    let range = log.range(at).await.unwrap();
    let (mut reader, mut next) = (log.read(at, range.start).await.unwrap(), range.start);
    let mut frames = BTreeMap::new();
    while next < range.end {
        for record in reader.next().await.unwrap() {
            next = Offset(record.offset.0 + 1);
            let (header, _) = FrameHeader::decode(&record.payload).unwrap();
            if header.kind == FrameKind::Data {
                let place = (u64::from(at.partition.0), record.offset.0);
                let part = |part: &SourcePart| (Arc::clone(&part.source), part.sequence, part.part);
                let parts = header.sources.iter().map(part).collect();
                let rows = u64::from(header.rows);
                frames.insert(place, Frame { rows, parts });
            }
        }
    }
    frames
}

/// Rows of each frame that a reader sees.
fn stored(query: &str) -> BTreeMap<Place, u64> {
    let mut rows = BTreeMap::new();
    let told = asked(&format!("{query}/v1/streams/trades/partitions"));
    for partition in 0..told["partitions"].as_array().unwrap().len() as u64 {
        let window = "window?columns=log_offset&wait=60s";
        let url = format!("{query}/v1/streams/trades/{window}&partition={partition}");
        let (status, body) = get(&url).unwrap();
        assert_eq!(status, 200, "{body}");
        for line in body.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            *rows
                .entry((partition, row["log_offset"].as_u64().unwrap()))
                .or_default() += 1;
        }
    }
    rows
}

fn rejects(query: &str) -> BTreeMap<Place, Value> {
    let told = asked(&format!("{query}/v1/streams/trades/rejects?limit=10000"));
    assert_eq!(told["more"], false);
    let place = |frame: &Value| {
        let number = |field: &str| frame[field].as_u64().unwrap();
        (number("partition"), number("offset"))
    };
    let frames = told["rejects"].as_array().unwrap().iter();
    frames.map(|frame| (place(frame), frame.clone())).collect()
}

fn fenced(query: &str) -> BTreeSet<u64> {
    let told = asked(&format!("{query}/v1/writers"));
    let writers = told["writers"].as_array().unwrap().iter();
    let fenced = writers.filter(|writer| writer["state"] == "fenced");
    fenced
        .map(|writer| writer["writer"].as_u64().unwrap())
        .collect()
}

fn asked(url: &str) -> Value {
    let (status, body) = get(url).unwrap();
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}
