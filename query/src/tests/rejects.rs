//! Refused frames, from sidecars and from the log, against a plain replay; and fencing by hand.

use serde_json::Value;
use tourbillon_core::control::ControlRecord;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::replica::{Record, Replica};
use tourbillon_log::TopicPartition;

use super::*;

/// Partition, offset and reason of every frame that a plain replay refuses.
async fn refused(rig: &Rig, partitions: u32) -> Vec<(u64, u64, String)> {
    let mut refused = Vec::new();
    let view = rig.control.view();
    let def = view.streams.values().next().unwrap();
    for partition in 0..partitions {
        let topic = rig.control.stream_topic(&def.name);
        let at = TopicPartition {
            topic,
            partition: PartitionId(partition),
        };
        let (end, log) = (rig.end(partition).await, rig.log());
        let mut reader = log.read(&at, Offset(0)).await.unwrap();
        let mut replica = Replica::new(def.rules);
        while replica.position() < end {
            for record in reader.next().await.unwrap() {
                let record = Record {
                    offset: record.offset,
                    append_time_ns: record.append_time_ns,
                    payload: &record.payload,
                };
                let verdict = replica
                    .apply(record, def.as_ref())
                    .unwrap()
                    .verdict
                    .unwrap();
                let found = verdict.refused.iter().find(|r| !r.reason.is_duplicate());
                let reason = found.map(|r| r.reason.as_str().to_owned());
                let place = (u64::from(partition), record.offset.0);
                refused.extend(reason.map(|reason| (place.0, place.1, reason)));
            }
        }
    }
    refused
}

async fn answered(bench: &Bench, query: &str) -> (Vec<(u64, u64, String)>, Value) {
    let answer = bench
        .get(&format!("/v1/streams/ticks/rejects?{query}"), "*/*")
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    let one = |frame: &Value| {
        let number = |name: &str| frame[name].as_u64().unwrap();
        let reason = frame["reason"].as_str().unwrap().to_owned();
        (number("partition"), number("offset"), reason)
    };
    let frames = told["rejects"]
        .as_array()
        .unwrap()
        .iter()
        .map(one)
        .collect();
    (frames, told)
}

#[tokio::test(start_paused = true)]
async fn every_refused_frame_is_listed_once_wherever_it_lies() {
    let (feed, bench) = mixed(70, 2).await;
    let expected = refused(&feed.rig, 2).await;
    assert!(expected.len() > 5, "{expected:?}");
    let (all, told) = answered(&bench, "").await;
    assert_eq!(all, expected);
    assert_eq!(told["more"], false);
    let listed = told["rejects"].as_array().unwrap();
    let stray = listed.iter().find(|f| f["reason"] == "frame_missing");
    assert_eq!(stray.unwrap()["kind"], "beat");
    let (few, told) = answered(&bench, "limit=3").await;
    assert_eq!(
        (few, &told["more"]),
        (expected[..3].to_vec(), &Value::Bool(true))
    );
    let (one, _) = answered(&bench, "partition=1&reason=frame_missing").await;
    let wanted = |f: &&(u64, u64, String)| f.0 == 1 && f.2 == "frame_missing";
    assert_eq!(
        one,
        expected.iter().filter(wanted).cloned().collect::<Vec<_>>()
    );
    let from = expected[2].1;
    let (later, _) = answered(&bench, &format!("from_offset={from}")).await;
    assert_eq!(
        later,
        expected
            .iter()
            .filter(|f| f.1 >= from)
            .cloned()
            .collect::<Vec<_>>()
    );
    for bad in [
        "limit=0",
        "reason=client_duplicate",
        "partition=x",
        "page=2",
    ] {
        let answer = bench
            .get(&format!("/v1/streams/ticks/rejects?{bad}"), "*/*")
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn fencing_by_hand_announces_it() {
    let (feed, bench) = mixed(71, 1).await;
    let join = ControlRecord::Join {
        gateway: "g".into(),
        nonce: "n".into(),
        lease_ns: 2_000_000_000,
    };
    let writer = feed.rig.control.append(&join).await.unwrap().offset;
    let fence = |writer: u64| {
        let uri = format!("/v1/writers/{writer}/fence");
        Request::post(uri).body(Body::empty()).unwrap()
    };
    let send = |request| bench.router.clone().oneshot(request);
    assert_eq!(
        send(fence(writer.0)).await.unwrap().status(),
        StatusCode::ACCEPTED
    );
    let told = bench.get("/v1/writers", "*/*").await;
    assert!(
        told.text().contains("\"fence_intended\""),
        "{}",
        told.text()
    );
    assert_eq!(
        send(fence(9999)).await.unwrap().status(),
        StatusCode::NOT_FOUND
    );
}
