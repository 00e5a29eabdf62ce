//! Subscriptions whose store is away for a while.

use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep, timeout};

use super::sse::Client;
use super::watched::sealed;
use super::*;

/// Reads until there are `rows` rows, or an end.
async fn read(client: &mut Client, found: &mut Vec<i64>, rows: usize) -> Option<sse::Event> {
    while found.len() < rows {
        let event = client.next().await.unwrap();
        match event.name.as_str() {
            "rows" => found.extend(event.numbers("n")),
            "end" => return Some(event),
            _ => {}
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_store_that_comes_back_in_time_costs_only_time() {
    for mode in ["ordered", "eager"] {
        let (watched, feed, bench) = sealed(150, 30).await;
        let mut wanted: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
        let query = format!("from=earliest&columns=n&mode={mode}");
        let mut client = Client::on(&bench, &query, None).await;
        let mut found = Vec::new();
        assert!(read(&mut client, &mut found, 30_000).await.is_none());
        watched.down.store(true, Ordering::SeqCst);
        // what was read before it went may still come, and then nothing
        let ended = timeout(
            Duration::from_secs(20),
            read(&mut client, &mut found, wanted.len()),
        );
        assert!(ended.await.is_err(), "{mode}");
        let before = watched.reads();
        sleep(Duration::from_secs(5)).await;
        let tries = watched.reads() - before;
        assert!(
            (5..200).contains(&tries),
            "asked again, not in a loop: {tries}"
        );
        watched.down.store(false, Ordering::SeqCst);
        assert!(read(&mut client, &mut found, wanted.len()).await.is_none());
        if mode == "eager" {
            found.sort_unstable();
            wanted.sort_unstable();
        }
        assert!(found == wanted, "{mode}: {} {}", found.len(), wanted.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_ends_those_who_need_it() {
    for mode in ["ordered", "eager"] {
        let (watched, mut feed, bench) = sealed(151, 30).await;
        let query = format!("from=earliest&columns=n&mode={mode}");
        let mut client = Client::on(&bench, &query, None).await;
        // one at the live edge needs no store
        let mut live = Client::on(&bench, &format!("columns=n&mode={mode}"), None).await;
        let mut found = Vec::new();
        assert!(read(&mut client, &mut found, 30_000).await.is_none());
        watched.down.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        let end = read(&mut client, &mut found, usize::MAX).await.unwrap();
        let took = begun.elapsed();
        assert!((29..40).contains(&took.as_secs()), "{mode} {took:?}");
        assert!(end.data["reason"].as_str().unwrap().contains("segment"));
        assert!(client.next().await.is_none());
        let known = feed.rows.len();
        feed.data(0, 0, 50, None).await;
        feed.pass(1_000_000);
        feed.beat().await;
        let mut fresh = Vec::new();
        assert!(read(&mut live, &mut fresh, 50).await.is_none());
        let came: Vec<i64> = feed.rows[known..].iter().map(|row| row.n).collect();
        assert_eq!(fresh, came);
        // from its cursor another subscription has the rest
        watched.down.store(false, Ordering::SeqCst);
        let query = format!("columns=n&mode={mode}");
        let mut client = Client::on(&bench, &query, Some(&end.id)).await;
        let mut wanted: Vec<i64> = feed.ordered().iter().map(|row| row.n).collect();
        assert!(read(&mut client, &mut found, wanted.len()).await.is_none());
        if mode == "eager" {
            found.sort_unstable();
            wanted.sort_unstable();
        }
        assert!(found == wanted, "{mode}: {} {}", found.len(), wanted.len());
    }
}
