//! The layers around the routes, and the document beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tower::ServiceExt;
use utoipa::openapi::OpenApi;

use super::site::layered;
use super::*;
use crate::args::Cli;
use crate::backbone::Backbone;
use crate::commands::serve::{with_catalog, with_gateway, with_queries, with_sql, with_worker};
use crate::sql::SqlFront;

/// The interfaces of a standalone process, a query node and a shard worker.
async fn sites() -> Vec<(Router, OpenApi)> {
    let folder = tempfile::tempdir().unwrap();
    let backbone = Backbone::embedded(folder.path(), None).await.unwrap();
    let args: Cli = clap::Parser::parse_from(["tourbillon", "standalone"]);
    let crate::args::Command::Standalone(args) = args.command else {
        panic!("another command");
    };
    let settings = backbone.gateway_settings(&args.gateway, "test".into());
    let clock = std::sync::Arc::clone(&backbone.clock);
    let gateway = backbone.gateway(settings, clock);
    let service = backbone.query();
    let sql = SqlFront::start(&service, args.sql.settings(), None).unwrap();
    let worker = std::sync::Arc::new(backbone.worker((0, 1), args.upkeep.grace));
    let queries = |site| with_sql(with_queries(site, &service), &sql);
    let sites = [
        queries(with_gateway(Site::new(&[]), &gateway)),
        queries(with_catalog(Site::new(&[]), &service)),
        with_worker(Site::new(&[]), &worker, None),
    ];
    let described = sites.map(|site| site.described().unwrap());
    gateway.shutdown().await;
    service.shutdown().await;
    sql.shutdown().await;
    worker.shutdown().await;
    described.into()
}

/// Paths and methods that a router takes, by its own account.
async fn routes(router: &Router) -> BTreeMap<String, BTreeSet<String>> {
    let text = format!("{router:?}");
    let paths: BTreeSet<&str> = text
        .split('"')
        .filter(|part| part.starts_with('/'))
        .collect();
    let mut routes = BTreeMap::new();
    for path in paths {
        // the fallback of the router itself
        if path == "/" || path.contains("__private__") {
            continue;
        }
        let request = Request::builder()
            .method("PURGE")
            .uri(path.replace(['{', '}', '*'], ""));
        let request = request.body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap();
        let methods = allowed.split(',').filter(|method| *method != "HEAD");
        routes.insert(path.to_owned(), methods.map(str::to_owned).collect());
    }
    routes
}

fn documented(api: &OpenApi) -> BTreeMap<String, BTreeSet<String>> {
    let document = serde_json::to_value(api).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let methods = |item: &Value| {
        let names = item.as_object().unwrap().keys();
        names.map(|name| name.to_uppercase()).collect()
    };
    paths
        .iter()
        .map(|(path, item)| (path.clone(), methods(item)))
        .collect()
}

#[tokio::test]
async fn every_route_is_in_the_document() {
    for (router, api) in sites().await {
        let mut routes = routes(&router).await;
        // pages for people, not for programs
        routes.retain(|path, _| !path.starts_with("/docs") && !path.starts_with("/page"));
        assert!(routes.len() > 1, "{routes:?}");
        assert_eq!(routes, documented(&api));
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    for (_, api) in sites().await {
        let document = serde_json::to_value(&api).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name} is not described");
        }
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let at = format!("{method} {path}");
                assert!(ids.insert(operation["operationId"].to_string()), "{at}");
                assert!(operation["summary"].is_string(), "{at}");
                let answers = operation["responses"].as_object().unwrap();
                for (status, answer) in answers {
                    let headers = &answer["headers"];
                    assert!(headers["X-Request-Id"].is_object(), "{at} {status}");
                    let problem = status.starts_with(['4', '5']);
                    let told = answer["content"]["application/problem+json"].is_object();
                    let health = ["/health", "/healthz", "/readyz"].contains(&path.as_str());
                    assert_eq!(problem && !health, told, "{at} {status}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_page_asks_nobody_else() {
    let (router, _) = sites().await.remove(0);
    let text = |uri: &'static str| {
        let router = router.clone();
        async move {
            let request = Request::get(uri).body(Body::empty()).unwrap();
            let answer = router.oneshot(request).await.unwrap();
            let policy = answer.headers()["content-security-policy"]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'self'"), "{policy}");
            let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
            String::from_utf8_lossy(&body).into_owned()
        }
    };
    let page = text("/docs/").await;
    assert!(
        page.contains("swagger-ui-bundle.js") && !page.contains("://"),
        "{page}"
    );
    let config = text("/docs/swagger-initializer.js").await;
    assert!(config.contains("\"url\": \"../openapi.json\""), "{config}");
    assert!(config.contains("\"validatorUrl\": \"none\""), "{config}");
}

/// An answer read to its end.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn problem(&self) -> Value {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        problem
    }
}

async fn number(Path(number): Path<u32>) -> String {
    number.to_string()
}

/// Long rows, as long as the text says.
async fn rows() -> Response {
    let rows = "{\"hlc\":\"2026-01-31T14:30:00.000000001Z\"}\n".repeat(100);
    ([("content-type", "application/x-ndjson")], rows).into_response()
}

fn app(origins: &[&str]) -> Router {
    let routes = Router::new()
        .route("/number/{n}", get(number))
        .route("/rows", get(rows))
        .route(
            "/parquet",
            get(|| async { typed("application/vnd.apache.parquet") }),
        )
        .route("/events", get(|| async { typed("text/event-stream") }))
        .route(
            "/short",
            get(|| async { ([("content-type", "text/csv")], "a\n1\n") }),
        )
        .route(
            "/broken",
            get(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
        );
    let origins: Vec<Origin> = origins.iter().map(|text| text.parse().unwrap()).collect();
    layered(routes, &origins)
}

fn typed(kind: &'static str) -> Response {
    ([("content-type", kind)], "x".repeat(5000)).into_response()
}

async fn ask(app: Router, method: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let answer = app.oneshot(request).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        body,
    }
}

#[tokio::test]
async fn whoever_refuses_answers_a_problem() {
    let cases = [
        ("GET", "/nowhere", 404, "/nowhere"),
        ("DELETE", "/rows", 405, "DELETE"),
        ("GET", "/number/x", 400, "u32"),
        ("GET", "/number/%FF", 400, "UTF-8"),
        ("GET", "/broken", 500, "failed"),
    ];
    for (method, uri, status, told) in cases {
        let answer = ask(app(&[]), method, uri, &[]).await;
        assert_eq!(answer.status.as_u16(), status, "{uri}");
        let problem = answer.problem();
        assert!(
            problem["detail"].as_str().unwrap().contains(told),
            "{problem}"
        );
        assert_ne!(problem["title"], json!(""), "{problem}");
    }
    let refused = ask(app(&[]), "PUT", "/rows", &[]).await;
    assert_eq!(refused.header("allow"), Some("GET,HEAD"));
    let head = ask(app(&[]), "HEAD", "/nowhere", &[]).await;
    assert_eq!(head.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn requests_keep_their_id_or_get_one() {
    let given = [("x-request-id", "trace-7")];
    let answer = ask(app(&[]), "GET", "/rows", &given).await;
    assert_eq!(answer.header("x-request-id"), Some("trace-7"));
    let answer = ask(app(&[]), "GET", "/nowhere", &given).await;
    assert_eq!(answer.problem()["request_id"], "trace-7");
    let answer = ask(app(&[]), "GET", "/rows", &[("x-request-id", "two words")]).await;
    assert_eq!(answer.header("x-request-id").unwrap().len(), 32);
    let other = ask(app(&[]), "GET", "/rows", &[]).await;
    assert_ne!(other.header("x-request-id"), answer.header("x-request-id"));
}

#[tokio::test]
async fn pages_may_read_only_if_they_were_named() {
    let asks = |origin| [("origin", origin)];
    let page = "https://example.org";
    let answer = ask(app(&[]), "GET", "/rows", &asks(page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = ask(app(&[page]), "GET", "/rows", &asks(page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["link", "tourbillon-snapshot", "x-request-id", "retry-after"] {
        assert!(exposed.split(',').any(|known| known == name), "{exposed}");
    }
    // an error too, or the page would not learn what was wrong
    let answer = ask(app(&[page]), "GET", "/nowhere", &asks(page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(page));
    let answer = ask(app(&[page]), "GET", "/rows", &asks("https://elsewhere.org")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = ask(app(&["*"]), "GET", "/rows", &asks(page)).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let preflight = [
        ("origin", page),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "tourbillon-source"),
    ];
    let answer = ask(app(&[page]), "OPTIONS", "/rows", &preflight).await;
    assert_eq!(answer.status, StatusCode::OK);
    let sent = answer.header("access-control-allow-headers").unwrap();
    assert!(sent.contains("tourbillon-source"), "{sent}");
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("PUT")
    );
}

fn unpacked(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => {
            let mut decoder = flate2::write::GzDecoder::new(Vec::new());
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            decoder.get_ref().clone()
        }
        _ => {
            let mut decoder = zstd::stream::write::Decoder::new(Vec::new()).unwrap();
            decoder.write_all(bytes).unwrap();
            decoder.flush().unwrap();
            decoder.get_ref().clone()
        }
    }
}

#[tokio::test]
async fn answers_are_compressed_where_it_is_worth_it() {
    let plain = ask(app(&[]), "GET", "/rows", &[]).await;
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("accept-encoding"));
    for encoding in ["gzip", "zstd"] {
        let asked = [("accept-encoding", encoding)];
        let answer = ask(app(&[]), "GET", "/rows", &asked).await;
        assert_eq!(answer.header("content-encoding"), Some(encoding));
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert!(answer.body.len() < plain.body.len() / 4);
        assert_eq!(unpacked(encoding, &answer.body), plain.body);
        for uri in ["/parquet", "/events", "/short"] {
            let answer = ask(app(&[]), "GET", uri, &asked).await;
            assert_eq!(answer.header("content-encoding"), None, "{uri}");
        }
    }
    for other in ["br", "identity", "gzip;q=0"] {
        let answer = ask(app(&[]), "GET", "/rows", &[("accept-encoding", other)]).await;
        assert_eq!(answer.body, plain.body, "{other}");
    }
}

/// The first rows of a compressed answer arrive, and can be unpacked, while the next are not made.
#[tokio::test]
async fn a_compressed_answer_streams() {
    for encoding in ["gzip", "zstd"] {
        let (rows, made) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(made, |mut made| async move {
            let row = made.recv().await?;
            Some((Ok::<_, std::io::Error>(row), made))
        });
        let body = std::sync::Mutex::new(Some(Body::from_stream(body)));
        let answer = move || {
            let body = body.lock().unwrap().take().unwrap();
            async { ([("content-type", "text/csv")], body).into_response() }
        };
        let answer = std::sync::Arc::new(answer);
        let routes = Router::new().route("/slow", get(move || answer()));
        let request = Request::get("/slow").header("accept-encoding", encoding);
        let request = request.body(Body::empty()).unwrap();
        let answer = layered(routes, &[]).oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], encoding);
        let mut parts = answer.into_body().into_data_stream();
        let (mut packed, mut sent) = (Vec::new(), Vec::new());
        for n in 0..5 {
            let row = format!("{n},row\n");
            sent.extend_from_slice(row.as_bytes());
            rows.send(row.into()).await.unwrap();
            while unpacked(encoding, &packed) != sent {
                let part = timeout(Duration::from_secs(10), parts.next()).await;
                packed.extend_from_slice(&part.expect("a row at once").unwrap().unwrap());
            }
        }
        drop(rows);
        while let Some(part) = parts.next().await {
            packed.extend_from_slice(&part.unwrap());
        }
        assert_eq!(unpacked(encoding, &packed), sent);
    }
}

/// An answer that cannot be finished does not look whole, compressed or not.
#[tokio::test]
async fn a_broken_answer_stays_broken() {
    for encoding in ["identity", "gzip", "zstd"] {
        let broken = || async {
            let parts = [
                Ok("1,row\n".repeat(500)),
                Err(std::io::Error::other("gone")),
            ];
            (
                [("content-type", "text/csv")],
                Body::from_stream(stream::iter(parts)),
            )
                .into_response()
        };
        let request = Request::get("/broken").header("accept-encoding", encoding);
        let request = request.body(Body::empty()).unwrap();
        let routes = Router::new().route("/broken", get(broken));
        let answer = layered(routes, &[]).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(
            to_bytes(answer.into_body(), usize::MAX).await.is_err(),
            "{encoding}"
        );
    }
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// With the level that services have by default, a failure is logged with its request, whether it
/// is the whole answer or breaks one off.
#[tokio::test]
async fn failures_are_logged_with_their_request() {
    let lines = Lines::default();
    let logs = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_ansi(false)
        .with_writer({
            let lines = lines.clone();
            move || lines.clone()
        });
    let guard = tracing::subscriber::set_default(logs.finish());
    let given = [("x-request-id", "trace-8")];
    ask(app(&[]), "GET", "/broken?x=1", &given).await;
    ask(app(&[]), "GET", "/nowhere", &given).await;
    let broken = || async {
        let rows = stream::once(async {
            tracing::error!("broken off");
            Ok::<_, std::io::Error>("x")
        });
        Body::from_stream(rows).into_response()
    };
    let routes = Router::new().route("/rows", get(broken));
    ask(layered(routes, &[]), "GET", "/rows", &given).await;
    drop(guard);
    let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, told) in lines.iter().zip(["/broken", "broken off"]) {
        assert!(line.contains("ERROR") && line.contains(told), "{line}");
        assert!(line.contains("request_id=\"trace-8\""), "{line}");
    }
}
