use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::ipc::writer::StreamWriter;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tourbillon_log::{Log, MemoryLog, SystemClock};
use tower::ServiceExt;

use super::*;
use crate::rig::{Rig, Stalling, patient, settings};

const ROWS: &str = "{\"symbol\":\"A\",\"n\":1}\n{\"symbol\":\"B\",\"n\":2}\n";
const EVENTS: &str = "/v1/streams/ticks/events";

fn events(query: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(format!("{EVENTS}{query}"));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/x-ndjson");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn send(rig: &Rig, request: Request<Body>) -> (Response<()>, Value) {
    let answer = patient(router(rig.gateway.clone()).oneshot(request))
        .await
        .unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        Response::from_parts(head, ()),
        serde_json::from_slice(&body).unwrap_or(Value::Null),
    )
}

async fn status(rig: &Rig, request: Request<Body>) -> u16 {
    send(rig, request).await.0.status().as_u16()
}

#[tokio::test]
async fn events_are_answered_with_stamps_and_positions() {
    let rig = Rig::new().await;
    let (head, answer) = send(&rig, events("", &[], ROWS)).await;
    assert_eq!(head.status(), StatusCode::OK, "{answer}");
    assert_eq!(answer["accepted"], 2);
    let last = answer["last_hlc"].as_i64().unwrap();
    assert_eq!(answer["first_hlc"], last - 1);
    assert_eq!(head.headers()["tourbillon-hlc"], last.to_string());
    let rows = rig.rows().await;
    let positions = answer["positions"].as_object().unwrap();
    assert!(positions.values().all(Value::is_u64) && !positions.is_empty());
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn compressed_bodies_mean_the_same() {
    let rig = Rig::new().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(ROWS.as_bytes()).unwrap();
    let gzip = events("", &[("content-encoding", "gzip")], gzip.finish().unwrap());
    assert_eq!(send(&rig, gzip).await.1["accepted"], 2);
    let zstd = zstd::encode_all(ROWS.as_bytes(), 1).unwrap();
    let zstd = events("", &[("content-encoding", "zstd")], zstd);
    assert_eq!(send(&rig, zstd).await.1["accepted"], 2);
    let broken = events("", &[("content-encoding", "gzip")], ROWS);
    assert_eq!(status(&rig, broken).await, 400);
    let unknown = events("", &[("content-encoding", "br")], ROWS);
    assert_eq!(status(&rig, unknown).await, 415);
    assert_eq!(rig.rows().await.len(), 4);
}

#[tokio::test]
async fn bad_rows_refuse_the_request_or_are_skipped_and_named() {
    let rig = Rig::new().await;
    let body = "{\"symbol\":\"A\",\"n\":1}\n{\"symbol\":\"B\",\"n\":\"x\"}\n";
    let (head, problem) = send(&rig, events("", &[], body)).await;
    assert_eq!(head.headers()["content-type"], "application/problem+json");
    assert_eq!(
        (problem["status"].as_u64(), problem["refused"].as_u64()),
        (Some(400), Some(1))
    );
    assert_eq!(
        (&problem["rows"][0]["row"], &problem["rows"][0]["column"]),
        (&json!(2), &json!("n"))
    );
    assert!(rig.rows().await.is_empty());
    let (_, answer) = send(&rig, events("?on_error=skip", &[], body)).await;
    assert_eq!(
        (&answer["accepted"], &answer["refused"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer["rows"][0]["row"], 2);
    assert_eq!(rig.rows().await.len(), 1);
}

#[tokio::test]
async fn what_is_not_understood_is_refused() {
    let rig = Rig::new().await;
    for query in [
        "?on_eror=skip",
        "?on_error=maybe",
        "?ack=stored",
        "?ack=log&x=1",
    ] {
        assert_eq!(status(&rig, events(query, &[], ROWS)).await, 400, "{query}");
    }
    let refused: [&[(&str, &str)]; 5] = [
        &[("tourbillon-source", "feed")],
        &[("tourbillon-sequence", "1")],
        &[("tourbillon-source", "feed"), ("tourbillon-sequence", "-1")],
        &[("tourbillon-hlc", "noon")],
        &[("tourbillon-hlc", "9223372036854775807")],
    ];
    for headers in refused {
        assert_eq!(
            status(&rig, events("", headers, ROWS)).await,
            400,
            "{headers:?}"
        );
    }
    assert_eq!(
        status(&rig, events("", &[("content-type", "text/html")], ROWS)).await,
        415
    );
    let nowhere = Request::post("/v1/streams/nowhere/events");
    let nowhere = nowhere
        .header("content-type", "text/csv")
        .body(Body::empty())
        .unwrap();
    assert_eq!(status(&rig, nowhere).await, 404);
    assert!(rig.rows().await.is_empty());
}

#[tokio::test]
async fn bodies_over_the_limits_are_refused() {
    let mut settings = settings("a");
    settings.limits.body_bytes = 1000;
    settings.limits.decompressed_bytes = 10_000;
    let rig = Rig::with(settings).await;
    let announced = events("", &[("content-length", "1001")], Body::empty());
    assert_eq!(status(&rig, announced).await, 413);
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(ROWS));
    let chunked = events("", &[], Body::from_stream(futures::stream::iter(chunks)));
    assert_eq!(status(&rig, chunked).await, 413);
    let bomb = zstd::encode_all(&*vec![b' '; 1 << 20], 1).unwrap();
    assert_eq!(
        status(&rig, events("", &[("content-encoding", "zstd")], bomb)).await,
        413
    );
    assert_eq!(status(&rig, events("", &[], ROWS)).await, 200);
}

#[tokio::test]
async fn a_full_gateway_asks_to_try_again() {
    let mut settings = settings("a");
    settings.limits.in_flight_bytes = 20_000;
    let rig = Rig::with(settings).await;
    let held = rig.gateway.reserve(19_500).unwrap();
    let (head, _) = send(&rig, events("", &[], ROWS)).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["retry-after"]),
        (429, &"1".parse().unwrap())
    );
    drop(held);
    assert_eq!(status(&rig, events("", &[], ROWS)).await, 200);
    rig.gateway.shutdown().await;
    let (head, _) = send(&rig, events("", &[], ROWS)).await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["retry-after"]),
        (503, &"1".parse().unwrap())
    );
}

#[tokio::test]
async fn streams_are_defined_grown_and_shown() {
    let rig = Rig::new().await;
    let put = |body: Value| {
        Request::put("/v1/streams/fills")
            .body(body.to_string().into())
            .unwrap()
    };
    let columns = json!([{"name": "id", "type": "int64"}, {"name": "ts", "type": "timestamp"}]);
    let first = json!({"columns": columns, "key": ["id"], "event_time": "ts", "partitions": 2, "window": "1s"});
    let (head, made) = send(&rig, put(first)).await;
    assert_eq!(
        (head.status().as_u16(), &made["window"], &made["version"]),
        (200, &json!("1s"), &json!(1))
    );
    let more =
        json!({"columns": [{"name": "note", "type": "string", "nullable": true}], "partitions": 3});
    let (_, grown) = send(&rig, put(more)).await;
    assert_eq!(
        (&grown["version"], &grown["partitions"]),
        (&json!(2), &json!(3))
    );
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(send(&rig, get("/v1/streams/fills")).await.1, grown);
    let (_, listed) = send(&rig, get("/v1/streams")).await;
    assert_eq!(listed["streams"].as_array().unwrap().len(), 2);
    for bad in [
        json!({"columns": [], "shards": 2}),
        json!({"partitions": 1}),
        json!({"window": "10"}),
    ] {
        assert_eq!(status(&rig, put(bad)).await, 400);
    }
    assert_eq!(status(&rig, get("/v1/streams/none")).await, 404);
    assert_eq!(status(&rig, get("/v1/streams?x=1")).await, 400);
}

#[tokio::test]
async fn line_protocol_makes_streams_and_stores_rows() {
    let rig = Rig::new().await;
    let write = |path: &str, body: &'static str| Request::post(path).body(body.into()).unwrap();
    let lines =
        "px,sym=A p=1.5 1700000000\npx,sym=B p=2.5,note=\"x\" 1700000001\nother v=1i 1700000000\n";
    for path in [
        "/write?precision=s&db=x",
        "/api/v2/write?precision=s&org=o",
        "/api/v3/write_lp",
    ] {
        let (head, problem) = send(&rig, write(path, lines)).await;
        assert_eq!(head.status(), StatusCode::NO_CONTENT, "{path} {problem}");
    }
    let view = rig.gateway.control().view();
    let px = view
        .streams
        .values()
        .find(|def| def.name.as_str() == "px")
        .unwrap();
    assert_eq!(px.schema().key_names().collect::<Vec<_>>(), ["sym"]);
    assert!(
        view.streams
            .values()
            .any(|def| def.name.as_str() == "other")
    );
    assert_eq!(status(&rig, write("/write", "px,sym=A p= 1")).await, 400);
    assert_eq!(
        status(&rig, write("/write?precision=year", lines)).await,
        400
    );
}

#[tokio::test]
async fn line_protocol_may_be_forbidden_to_make_streams() {
    let mut settings = settings("a");
    settings.auto_create = false;
    let rig = Rig::with(settings).await;
    let write = |body: &'static str| Request::post("/write").body(body.into()).unwrap();
    assert_eq!(status(&rig, write("px p=1 1")).await, 400);
    assert_eq!(status(&rig, write("ticks,symbol=A n=1i 1")).await, 204);
    assert_eq!(rig.rows().await.len(), 1);
}

#[tokio::test]
async fn influx_clients_find_what_they_ask_for_first() {
    let rig = Rig::new().await;
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let (_, settings) = send(&rig, get("/settings")).await;
    assert_eq!(
        settings["config"]["line.proto.support.versions"],
        json!([1])
    );
    assert_eq!(status(&rig, get("/ping")).await, 204);
    assert_eq!(send(&rig, get("/health")).await.1["status"], "pass");
}

#[tokio::test]
async fn refused_lines_leave_no_stream_behind() {
    let rig = Rig::new().await;
    let lines = |body: &'static str| Request::post("/write").body(Body::from(body)).unwrap();
    let mixed = "newborn,a=b x=1i\nnewborn,a=b x=1.5";
    assert_eq!(status(&rig, lines(mixed)).await, 400);
    let list = || Request::get("/v1/streams").body(Body::empty()).unwrap();
    let (_, listed) = send(&rig, list()).await;
    assert_eq!(listed["streams"].as_array().unwrap().len(), 1);
    let grown = "ticks,symbol=A n=1i,extra=2i\nticks,symbol=A n=1i,extra=2.5";
    assert_eq!(status(&rig, lines(grown)).await, 400);
    let (_, listed) = send(&rig, list()).await;
    assert_eq!(listed["streams"][0]["columns"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn repeated_lines_are_recognised_by_source_and_sequence() {
    let rig = Rig::new().await;
    let write = || {
        let request = Request::post("/api/v2/write")
            .header("tourbillon-source", "feed")
            .header("tourbillon-sequence", "7");
        request
            .body(Body::from("ticks,symbol=A n=1i\nticks,symbol=B n=2i"))
            .unwrap()
    };
    assert_eq!(status(&rig, write()).await, 204);
    assert_eq!(status(&rig, write()).await, 204);
    assert_eq!(rig.rows().await.len(), 2);
}

#[tokio::test]
async fn columns_that_share_one_body_are_counted_once() {
    let mut settings = settings("process-a");
    settings.limits.in_flight_bytes = 8 << 20;
    let rig = Rig::with(settings).await;
    let columns: Vec<Value> = (0..24)
        .map(|i| json!({"name": format!("c{i}"), "type": "int64"}))
        .collect();
    let wide = json!({"columns": columns, "partitions": 1}).to_string();
    let put = Request::put("/v1/streams/wide")
        .body(Body::from(wide))
        .unwrap();
    assert_eq!(status(&rig, put).await, 200);
    let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10_000));
    let batch =
        RecordBatch::try_from_iter((0..24).map(|i| (format!("c{i}"), Arc::clone(&rows)))).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), batch.schema_ref()).unwrap();
    writer.write(&batch).unwrap();
    let body = writer.into_inner().unwrap();
    assert!(body.len() > 1 << 20);
    let post = Request::post("/v1/streams/wide/events")
        .header("content-type", "application/vnd.apache.arrow.stream");
    let (_, answer) = send(&rig, post.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer["accepted"], 10_000, "{answer}");
}

#[tokio::test]
async fn lines_that_wait_for_the_log_hold_no_turn_to_parse() {
    let log = MemoryLog::new(Arc::new(SystemClock::new()));
    let stalling = Arc::new(Stalling {
        log: log.clone(),
        stalled: AtomicBool::new(false),
    });
    let mut settings = settings("process-a");
    settings.lease = Duration::from_secs(60);
    let client: Arc<dyn Log> = Arc::<Stalling>::clone(&stalling);
    let rig = Rig::through(client, log, settings).await;
    stalling.stalled.store(true, Ordering::Relaxed);
    let lines = |body: &'static str| Request::post("/write").body(Body::from(body)).unwrap();
    let waiting: Vec<_> = (0..64)
        .map(|_| tokio::spawn(router(rig.gateway.clone()).oneshot(lines("ticks,symbol=A n=1i"))))
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(status(&rig, lines("ticks,symbol=A n=")).await, 400);
    stalling.stalled.store(false, Ordering::Relaxed);
    for answer in waiting {
        let answer = patient(answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }
    assert_eq!(rig.rows().await.len(), 64);
}
