//! Requests, statuses and problem documents.

use arrow::compute::concat_batches;
use arrow::ipc::reader::StreamReader;

use super::*;

#[tokio::test]
async fn every_format_holds_the_same_answer() {
    let (feed, bench) = mixed(50, 2).await;
    let all = feed.ordered();
    let columns = ["hlc", "writer", "symbol", "price", "n"];
    let body = json!({ "query": "select hlc, writer, symbol, price, n from ticks" });
    let text = async |accept| bench.post(&body, accept).await.text().to_owned();
    assert!(text("*/*").await == expected::ndjson(&all, &columns));
    assert!(text("application/json").await == expected::json_array(&all, &columns));
    assert!(text("text/csv").await == expected::csv(&all, &columns));
    let answer = bench.post(&body, ARROW).await;
    let reader = StreamReader::try_new(&answer.body[..], None).unwrap();
    let schema = reader.schema();
    let batches: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!(
        concat_batches(&schema, &batches).unwrap(),
        expected::batch(&all, &columns)
    );
    let parquet = bench.post(&body, "application/vnd.apache.parquet").await;
    assert!(parquet.body.starts_with(b"PAR1") && parquet.body.ends_with(b"PAR1"));
    let refused = bench.post(&body, "image/png").await;
    assert_eq!(refused.status, StatusCode::NOT_ACCEPTABLE);
    bench.query.shutdown().await;
}

#[tokio::test]
async fn the_catalog_is_there_to_be_asked() {
    let (_, bench) = mixed(51, 1).await;
    let answer = bench.ask("show tables").await;
    assert!(
        answer.text().contains("\"table_name\":\"ticks\""),
        "{}",
        answer.text()
    );
    let answer = bench.ask("describe ticks").await;
    assert!(
        answer.text().contains("{\"column_name\":\"log_offset\""),
        "{}",
        answer.text()
    );
    let answer = bench
        .ask(
            "select table_catalog, table_schema, column_name, data_type, is_nullable \
             from information_schema.columns where table_name = 'ticks' order by ordinal_position",
        )
        .await;
    assert_eq!(
        answer.text().lines().next().unwrap(),
        "{\"table_catalog\":\"tourbillon\",\"table_schema\":\"public\",\"column_name\":\"hlc\",\
         \"data_type\":\"Timestamp(ns, \\\"UTC\\\")\",\"is_nullable\":\"NO\"}"
    );
    assert_eq!(answer.text().lines().count(), 13);
    assert!(!answer.headers.contains_key("tourbillon-snapshot"));
    bench
        .ask("select * from tourbillon.public.ticks limit 1")
        .await;
    bench.query.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_statement_is_told() {
    let (_, bench) = mixed(52, 1).await;
    for (query, told) in [
        ("", "No SQL statements"),
        ("selec 1", "selec"),
        ("select 1; select 2", "single"),
        ("select 'open", "Unterminated"),
        ("select * from nope", "nope"),
        ("select nope from ticks", "nope"),
        ("select nope(1)", "nope"),
        (
            "select price + symbol from ticks",
            "Decimal128(18, 9) + Utf8View",
        ),
        ("select 1 / 0", "ivide"),
        ("select cast('x' as bigint)", "x"),
        ("select * from ticks where n = $1", "$1"),
        ("select repeat('a', 1000000000)", "repeat"),
        ("select * from 'ticks.parquet'", "ticks.parquet"),
        ("select * from read_parquet('/etc/passwd')", "read_parquet"),
    ] {
        let answer = bench.post(&json!({ "query": query }), NDJSON).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{query}: {}",
            answer.text()
        );
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{query}: {detail}");
    }
    let answer = bench
        .post(&json!({ "query": "select n,\n  nope from ticks" }), NDJSON)
        .await;
    let problem = answer.problem();
    assert_eq!(
        (&problem["line"], &problem["column"]),
        (&json!(2), &json!(3)),
        "{problem}"
    );
    bench.query.shutdown().await;
}

#[tokio::test]
async fn whatever_would_write_is_refused() {
    let (_, bench) = mixed(53, 1).await;
    for query in [
        "create table a as select 1",
        "create external table a stored as csv location '/etc/passwd'",
        "create view a as select 1",
        "drop table ticks",
        "insert into ticks select * from ticks",
        "update ticks set n = 1",
        "delete from ticks",
        "truncate table ticks",
        "copy ticks to '/tmp/x.csv'",
        "copy (select 1) to '/tmp/x.csv'",
        "explain copy ticks to '/tmp/x.csv'",
        "explain analyze insert into ticks select * from ticks",
        "set datafusion.execution.batch_size = 1",
        "reset datafusion.execution.batch_size",
        "prepare a as select 1",
        "execute a",
        "begin",
        "select * into a from ticks",
        "with a as (insert into ticks select 1) select 1",
    ] {
        let answer = bench.post(&json!({ "query": query }), NDJSON).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{query}: {}",
            answer.text()
        );
        answer.problem();
    }
    let answer = bench
        .post(&json!({ "query": "drop table ticks" }), NDJSON)
        .await;
    assert!(
        answer.text().contains("DROP is not taken"),
        "{}",
        answer.text()
    );
    bench
        .ask("explain analyze select count(*) from ticks")
        .await;
    bench.query.shutdown().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let (_, bench) = mixed(54, 1).await;
    for (body, told) in [
        (json!({}), "query"),
        (json!({ "query": 1 }), "expected a string"),
        (json!({ "query": "select 1", "limit": 5 }), "limit"),
        (
            json!({ "query": "select 1", "consistency": "maybe" }),
            "consistency",
        ),
        (json!({ "query": "select 1", "wait": "2h" }), "wait"),
        (json!({ "query": "select 1", "snapshot": "x" }), "snapshot"),
        (json!([]), "body"),
    ] {
        let answer = bench.post(&body, NDJSON).await;
        assert_eq!(
            answer.status,
            StatusCode::BAD_REQUEST,
            "{body}: {}",
            answer.text()
        );
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(told), "{body}: {detail}");
    }
    let request = |uri: &str, media: &str, body: String| {
        let request = Request::post(uri).header(header::CONTENT_TYPE, media);
        request.body(Body::from(body)).unwrap()
    };
    let good = json!({ "query": "select 1 as a" }).to_string();
    let media = "application/json; charset=utf-8";
    assert_eq!(
        bench
            .send(request("/v1/sql", media, good.clone()))
            .await
            .text(),
        "{\"a\":1}\n"
    );
    for (request, status) in [
        (request("/v1/sql", "text/plain", good.clone()), 415),
        (request("/v1/sql?limit=5", media, good), 400),
        (request("/v1/sql", media, "{\"query\": ".into()), 400),
        (
            request(
                "/v1/sql",
                media,
                format!("{{\"query\": \"{}\"}}", " ".repeat(300_000)),
            ),
            413,
        ),
        (request("/v1/sql", media, " ".repeat(2_000_000)), 413),
    ] {
        let answer = bench.send(request).await;
        assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
        answer.problem();
    }
    let list = json!({ "query": "select array_agg(n) as l from ticks" });
    assert_eq!(
        bench.post(&list, "text/csv").await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(bench.post(&list, NDJSON).await.status, StatusCode::OK);
    bench.query.shutdown().await;
}
