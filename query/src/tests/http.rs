//! Statuses, headers and problem documents.

use serde_json::Value;

use super::*;

fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["status"], answer.status.as_u16());
    problem
}

#[tokio::test(start_paused = true)]
async fn answers_say_their_order_and_completeness() {
    let (_, bench) = mixed(60, 2).await;
    let complete = bench.service.complete_through(&bench.rig.def).unwrap();
    let answer = bench.window("", "*/*").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let through = chrono::DateTime::from_timestamp_nanos(complete.0);
    let through = through.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
    assert_eq!(answer.header("tourbillon-complete-through"), through);
    assert_eq!(answer.header("tourbillon-final"), "true");
    let ends = [bench.rig.end(0).await, bench.rig.end(1).await];
    assert_eq!(
        answer.header("tourbillon-snapshot"),
        format!("1.{}-{}.t{}.c10", ends[0], ends[1], complete.0)
    );
    let latest = bench.window("consistency=latest", "*/*").await;
    assert_eq!(latest.header("tourbillon-final"), "false");
    assert!(latest.body.len() > answer.body.len());
    // final through T, and one stamp more is not
    for (end, is_final) in [(complete.0 + 1, "true"), (complete.0 + 2, "false")] {
        let answer = bench
            .window(&format!("end={end}&consistency=latest"), "*/*")
            .await;
        assert_eq!(answer.header("tourbillon-final"), is_final);
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_parameters_are_problems_that_name_them() {
    let (_, bench) = mixed(61, 1).await;
    let cases = [
        ("begin=1", "begin"),
        ("snapshot=x", "snapshot"),
        ("limit=1&limit=2", "limit"),
        ("key.symbol=a&key.symbol=b", "key.symbol"),
        ("start=soon", "start"),
        ("start=9&end=8", "end"),
        ("limit=-1", "limit"),
        ("order=up", "order"),
        ("columns=price,nope", "nope"),
        ("columns=", "columns"),
        ("key.price=1", "price"),
        ("key.nope=1", "nope"),
        ("key.lot=one", "lot"),
        ("consistency=maybe", "consistency"),
        ("wait=2h", "wait"),
    ];
    for (query, name) in cases {
        let answer = bench.window(query, "*/*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        let problem = problem(&answer);
        assert!(
            problem["detail"].as_str().unwrap().contains(name),
            "{problem}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_streams_and_formats_are_told() {
    let (_, bench) = mixed(62, 1).await;
    for stream in ["nope", "no%20name", "%C3%BC"] {
        let answer = bench
            .get(&format!("/v1/streams/{stream}/window"), "*/*")
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{stream}");
        assert!(
            problem(&answer)["detail"]
                .as_str()
                .unwrap()
                .contains("does not exist")
        );
        let answer = bench
            .get(&format!("/v1/streams/{stream}/partitions"), "*/*")
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{stream}");
    }
    for accept in ["image/png", "text/html, application/xml", "text/csv;q=0"] {
        let answer = bench.window("", accept).await;
        assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE, "{accept}");
        assert!(
            problem(&answer)["detail"]
                .as_str()
                .unwrap()
                .contains("text/csv")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_type_that_can_be_given_is_given() {
    let (_, bench) = mixed(63, 1).await;
    let cases = [
        ("", "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("text/html, */*;q=0.1", "application/x-ndjson"),
        ("text/csv; charset=utf-8", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("text/*", "text/csv"),
        (
            "text/html, application/json;q=0.9, */*;q=0.8",
            "application/json",
        ),
        (
            "application/json;q=0, application/vnd.apache.parquet",
            "application/vnd.apache.parquet",
        ),
    ];
    for (accept, given) in cases {
        let answer = bench.window("end=5", accept).await;
        assert_eq!(answer.header("content-type"), given, "{accept}");
    }
}

#[tokio::test(start_paused = true)]
async fn partitions_and_writers_show_the_state() {
    let (feed, bench) = mixed(64, 2).await;
    let answer = bench.get("/v1/streams/ticks/partitions", "*/*").await;
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    let sum = |member: &str| -> u64 {
        shown["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p[member].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        sum("sealed_rows") + sum("unsealed_rows"),
        feed.rows.len() as u64
    );
    assert_eq!(sum("accepted_rows"), feed.rows.len() as u64);
    assert_eq!(sum("lag"), 0);
    assert_eq!(shown["partitions"][0]["caught_up"], true);
    assert_eq!(shown["partitions"][0]["stopped"], Value::Null);
    let join = tourbillon_core::control::ControlRecord::Join {
        gateway: "g".into(),
        nonce: "n".into(),
        lease_ns: 2_500_000_000,
    };
    bench.rig.control.append(&join).await.unwrap();
    let answer = bench.get("/v1/writers", "*/*").await;
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    let writer = &shown["writers"][0];
    assert_eq!(
        (&writer["gateway"], &writer["state"]),
        (&"g".into(), &"joined".into())
    );
    assert_eq!(writer["lease_ms"], 2500);
    // it has not told its clock yet
    assert_eq!(
        (&writer["last_hlc"], &writer["drift_ms"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test(start_paused = true)]
async fn files_are_listed_by_the_stamps_that_they_hold() {
    let (_, bench) = mixed(67, 2).await;
    let files = async |query: &str| -> Vec<Value> {
        let answer = bench
            .get(&format!("/v1/streams/ticks/files{query}"), "*/*")
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        told["files"].as_array().unwrap().clone()
    };
    let stamp = |file: &Value, name: &str| file[name].as_i64().unwrap();
    let all = files("").await;
    assert!(all.len() > 4, "{all:?}");
    let middle = &all[all.len() / 2];
    let (start, end) = (stamp(middle, "first_hlc"), stamp(middle, "last_hlc"));
    let some = files(&format!("?start={start}&end={end}")).await;
    let reaches =
        |file: &&Value| stamp(file, "last_hlc") >= start && stamp(file, "first_hlc") < end;
    let wanted: Vec<Value> = all.iter().filter(reaches).cloned().collect();
    assert!(wanted.len() < all.len());
    assert_eq!(some, wanted);
    for (query, reason) in [
        ("?start=5&end=4", "lies before start"),
        ("?start=soon", "start"),
    ] {
        let uri = format!("/v1/streams/ticks/files{query}");
        let answer = bench.get(&uri, "*/*").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text().contains(reason), "{}", answer.text());
    }
}
