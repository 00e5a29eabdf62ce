//! How answers are read: in bounded memory, no further than the client wants, and never cut short
//! without a sign.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;

use super::watched::{Watched, sealed};
use super::*;

#[tokio::test(start_paused = true)]
async fn first_rows_come_before_later_files_are_opened() {
    let (watched, feed, bench) = sealed(80, 60).await;
    let (segments, ..) = bench.service.totals(&bench.rig.def).unwrap();
    assert!(segments > 3, "{segments}");
    for (order, first) in [
        ("asc", feed.ordered()[0].n),
        ("desc", feed.ordered().last().unwrap().n),
    ] {
        let before = watched.reads();
        let response = bench
            .send(
                &format!("/v1/streams/ticks/window?columns=n&order={order}"),
                "text/csv",
            )
            .await;
        let mut body = response.into_body().into_data_stream();
        let mut text = Vec::new();
        while text.len() < 50 {
            text.extend_from_slice(&body.next().await.unwrap().unwrap());
        }
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with(&format!("n\n{first}\n")),
            "{order} {}",
            &text[..40]
        );
        let opened = watched.reads() - before;
        drop(body);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(
            watched.reads() - before,
            opened,
            "a dropped answer reads no more"
        );
        bench
            .window(&format!("columns=n&order={order}"), "text/csv")
            .await;
        let all = watched.reads() - before - opened;
        assert!(opened * 2 < all, "{order}: {opened} of {all} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn limits_read_no_further_than_they_need() {
    let (watched, _, bench) = sealed(81, 60).await;
    let cost = async |query: &str| {
        let before = watched.reads();
        let answer = bench.window(query, "*/*").await;
        (answer.text().lines().count(), watched.reads() - before)
    };
    let (rows, all) = cost("columns=n").await;
    assert_eq!(rows, 240_000);
    for order in ["asc", "desc"] {
        let (rows, some) = cost(&format!("columns=n&limit=10&order={order}")).await;
        assert_eq!(rows, 10);
        assert!(some * 2 < all, "{order}: {some} of {all} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn descending_is_ascending_turned_round_however_long() {
    let (_, feed, bench) = sealed(82, 60).await;
    let rows: Vec<String> = feed
        .ordered()
        .iter()
        .rev()
        .map(|row| row.n.to_string())
        .collect();
    let answer = bench.window("columns=n&order=desc", "text/csv").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer
            .text()
            .lines()
            .skip(1)
            .eq(rows.iter().map(String::as_str))
    );
    let answer = bench
        .window("columns=n&order=desc&limit=200001", "text/csv")
        .await;
    assert!(
        answer
            .text()
            .lines()
            .skip(1)
            .eq(rows[..200_001].iter().map(String::as_str))
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fails_midway_breaks_off() {
    let (watched, _, bench) = sealed(83, 60).await;
    for accept in [
        "*/*",
        "application/json",
        "text/csv",
        "application/vnd.apache.arrow.stream",
    ] {
        let response = bench.send("/v1/streams/ticks/window", accept).await;
        assert_eq!(response.status(), StatusCode::OK);
        watched.down.store(true, Ordering::SeqCst);
        let mut body = response.into_body().into_data_stream();
        let mut last = None;
        while let Some(part) = body.next().await {
            assert!(last.is_none_or(|ok: bool| ok), "nothing follows an error");
            last = Some(part.is_ok());
        }
        assert_eq!(last, Some(false), "{accept} must not end cleanly");
        watched.down.store(false, Ordering::SeqCst);
    }
    watched.down.store(true, Ordering::SeqCst);
    let answer = bench.window("", "*/*").await;
    assert_eq!(
        answer.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{:?}",
        answer.body
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_leaves_the_tail_fresh() {
    let watched = Watched::new();
    let rig = Rig::new(watched.lake(), 1).await;
    let mut feed = Feed::new(&rig, 84, 2).await;
    feed.run(200, 2_000_000).await;
    seal(&rig).await;
    let bench = Bench::on(&rig).await;
    watched.chain_down.store(true, Ordering::SeqCst);
    for _ in 0..10 {
        feed.run(20, 2_000_000).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let last = feed.ordered().last().unwrap().clone();
        let query = format!("start={}&consistency=latest&columns=n&wait=0s", last.hlc);
        let answer = bench.window(&query, "text/csv").await;
        assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
        assert!(
            answer.text().ends_with(&format!("\n{}\n", last.n)),
            "{}",
            answer.text()
        );
    }
    watched.chain_down.store(false, Ordering::SeqCst);
    seal(&rig).await;
    bench.caught_up().await;
    let answer = bench
        .window("consistency=latest&columns=n", "text/csv")
        .await;
    assert_eq!(answer.text().lines().count(), feed.rows.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_chain_stops_the_partition_with_its_reason() {
    let (_, bench) = mixed(85, 1).await;
    let next = commits(&bench.rig, 0).await;
    let chain = Chain::new(
        &bench.rig.lake,
        &bench.rig.def.name,
        tourbillon_core::ids::PartitionId(0),
    );
    let mut commit = chain.get(next - 1).await.unwrap().unwrap().commit;
    commit.body.seq += 1;
    let fake = tourbillon_core::manifest::ChainTip {
        next_seq: next,
        ..tourbillon_core::manifest::ChainTip::EMPTY
    };
    let forged = tourbillon_core::manifest::Commit::link(commit.body, &fake, "f".into()).unwrap();
    chain.append(&forged).await.unwrap();
    until(|| async { bench.window("", "*/*").await.status != StatusCode::OK }).await;
    let answer = bench.window("", "*/*").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.text().contains("prev_hash"), "{}", answer.text());
    assert!(!bench.service.is_ready());
}
