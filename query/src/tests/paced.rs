//! Subscriptions at the pace of their history.

use tokio::time::Instant;

use super::sse::Client;
use super::*;

#[tokio::test(start_paused = true)]
async fn paced_history_comes_when_it_is_due_and_never_in_silence() {
    let (feed, bench) = mixed(126, 2).await;
    let complete = bench.service.complete_through(&bench.rig.def).unwrap().0;
    let mut wanted = feed.ordered();
    wanted.retain(|row| row.hlc <= complete);
    let speed = 0.002;
    let query = format!("from=earliest&columns=n&speed={speed}");
    let mut client = Client::on(&bench, &query, None).await;
    let (begun, mut heard) = (Instant::now(), Instant::now());
    let (mut found, mut beats) = (Vec::new(), 0);
    while found.len() < wanted.len() {
        let event = client.next().await.unwrap();
        assert!(heard.elapsed() <= Duration::from_millis(1500));
        heard = Instant::now();
        if event.name != "rows" {
            beats += 1;
            continue;
        }
        let first = &wanted[found.len()];
        let due = Duration::from_nanos(first.hlc.abs_diff(wanted[0].hlc)).div_f64(speed);
        let late = begun.elapsed().as_secs_f64() - due.as_secs_f64();
        assert!(late.abs() < 0.2, "{late}");
        found.extend(event.numbers("n"));
    }
    assert!(beats > 0 && begun.elapsed() > Duration::from_secs(5));
    assert!(found.iter().eq(wanted.iter().map(|row| &row.n)));
}
