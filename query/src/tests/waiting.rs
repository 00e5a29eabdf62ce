//! Waiting for completeness.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::*;
use crate::rig::EPOCH;

fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.header("retry-after"), "1");
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_window_names_who_holds_it_back() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 70, 2).await;
    feed.pass(1_000_000);
    feed.beat().await;
    let bench = Bench::on(&rig).await;
    let complete = bench.service.complete_through(&rig.def).unwrap();
    assert!(complete.0 > EPOCH);
    // writer 1 speaks up to a later stamp in both partitions, writer 2 in one only
    feed.pass(1_000_000);
    feed.beat_of(0).await;
    feed.data(1, 1, 5, None).await;
    bench.caught_up().await;
    let end = EPOCH + 2_000_000;
    let begun = Instant::now();
    let answer = bench.window(&format!("end={end}&wait=3s"), "*/*").await;
    assert!(begun.elapsed() >= Duration::from_secs(3));
    let problem = problem(&answer);
    let held = problem["held_back_by"].as_array().unwrap();
    assert_eq!(held.len(), 1, "{problem}");
    assert_eq!(
        (held[0]["partition"].as_u64(), &held[0]["writers"]),
        (Some(0), &serde_json::json!([2]))
    );
    assert!(
        problem["complete_through"]
            .as_str()
            .unwrap()
            .starts_with("2023-11-14T22:13:20.001")
    );
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("2023-11-14T22:13:20.002"),
        "{problem}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_is_answered_as_soon_as_it_is_complete() {
    let rig = Rig::new(memory(), 2).await;
    let mut feed = Feed::new(&rig, 71, 2).await;
    let bench = Bench::on(&rig).await;
    let query = format!("end={}&wait=30s", EPOCH + 1_000_000);
    let begun = Instant::now();
    let late = async {
        sleep(Duration::from_secs(5)).await;
        feed.data(0, 1, 7, None).await;
        feed.pass(2_000_000);
        feed.beat().await;
    };
    let (answer, ()) = tokio::join!(bench.window(&query, "*/*"), late);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("tourbillon-final"), "true");
    assert_eq!(answer.text().lines().count(), 7);
    assert!(
        (5..6).contains(&begun.elapsed().as_secs()),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn streams_without_writers_are_empty_and_complete_through_nothing() {
    let rig = Rig::new(memory(), 2).await;
    let bench = Bench::on(&rig).await;
    let answer = bench.window("", "*/*").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, ""));
    assert_eq!(
        answer.header("tourbillon-complete-through"),
        "1970-01-01T00:00:00.000000000Z"
    );
    assert_eq!(answer.header("tourbillon-snapshot"), "1.0-0.t0.c9");
    let answer = bench.window(&format!("end={EPOCH}&wait=1s"), "*/*").await;
    let held = &problem(&answer)["held_back_by"];
    let none = |p: u64| {
        serde_json::json!({
            "partition": p, "watermark": "1970-01-01T00:00:00.000000000Z", "writers": [],
        })
    };
    assert_eq!(held, &serde_json::json!([none(0), none(1)]));
}

#[tokio::test(start_paused = true)]
async fn a_schema_that_grows_while_a_window_waits_does_no_harm() {
    let mut rig = Rig::new(memory(), 1).await;
    let mut feed = Feed::new(&rig, 72, 1).await;
    feed.data(0, 0, 3, None).await;
    let bench = Bench::on(&rig).await;
    let query = format!("end={}&wait=30s", EPOCH + 1_000_000);
    let late = async {
        sleep(Duration::from_secs(1)).await;
        rig.evolve().await;
        feed.rig = rig.clone();
        feed.data(0, 0, 4, None).await;
        feed.pass(2_000_000);
        feed.beat().await;
    };
    let (answer, ()) = tokio::join!(bench.window(&query, "*/*"), late);
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    assert_eq!(answer.text().lines().count(), 7);
    // it was asked for before there was a note
    assert!(!answer.text().contains("note"));
}

#[tokio::test(start_paused = true)]
async fn new_streams_are_found_and_new_partitions_hold_t_back() {
    let rig = Rig::new(memory(), 1).await;
    let bench = Bench::on(&rig).await;
    let request = tourbillon_log::control::StreamRequest {
        name: "other".into(),
        columns: vec![tourbillon_core::control::ColumnSpec {
            name: "x".into(),
            ty: "bool".into(),
            nullable: true,
        }],
        ..Default::default()
    };
    rig.control.ensure_stream(&request).await.unwrap();
    let answer = bench.get("/v1/streams/other/window", "text/csv").await;
    assert_eq!(
        (answer.status, answer.text()),
        (StatusCode::OK, "hlc,writer,x\n")
    );
}
