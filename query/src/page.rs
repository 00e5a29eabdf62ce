//! The page at `/`: files in the binary, as a browser takes them.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tourbillon_core::digest::Digest;
use tourbillon_core::error::ErrorKind;
use tourbillon_core::problem::Problem;

use crate::http::problem_response;

/// What the page may do: ask this service, and nobody else.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Name of the file at `/`.
const INDEX: &str = "index.html";

macro_rules! file {
    ($name:literal) => {
        ($name, include_str!(concat!("../page/", $name)))
    };
}

/// Every file of the page.
const FILES: [(&str, &str); 26] = [
    file!("api.js"),
    file!("app.js"),
    file!("barsource.js"),
    file!("chartview.js"),
    file!("clocks.js"),
    file!("dom.js"),
    file!("exact.js"),
    file!("health.js"),
    file!("healthview.js"),
    file!("icon.svg"),
    file!("index.html"),
    file!("keys.js"),
    file!("keysview.js"),
    file!("live.js"),
    file!("page.css"),
    file!("panels.css"),
    file!("plot.js"),
    file!("replaysource.js"),
    file!("replayview.js"),
    file!("scale.js"),
    file!("series.js"),
    file!("sse.js"),
    file!("stamp.js"),
    file!("tape.js"),
    file!("tapeview.js"),
    file!("theme.js"),
];

/// Changes with any of the files, so that none is taken with another's older version.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|(_, text)| *text).collect();
    let digest = Digest::of(all.as_bytes()).to_string();
    // compression changes the bytes that are sent, so it is a weak one
    format!("W/\"{}\"", &digest[..32])
});

/// Routes of the page.
pub(crate) fn router() -> Router {
    let index = |headers: HeaderMap| async move { answer(INDEX, &headers) };
    Router::new()
        .route("/", get(index))
        .route("/page/{file}", get(file))
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

fn answer(name: &str, asked: &HeaderMap) -> Response {
    let Some((_, text)) = FILES.iter().find(|(known, _)| *known == name) else {
        let detail = "the page has no such file".to_owned();
        return problem_response(&Problem::new(404, ErrorKind::Invalid, detail));
    };
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ETAG, TAG.as_str()),
    ];
    if is_known(asked) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(name))];
    (headers, kind, *text).into_response()
}

/// Whether the client has these files already.
fn is_known(asked: &HeaderMap) -> bool {
    let tags = asked.get(header::IF_NONE_MATCH);
    let tags = tags.and_then(|tags| tags.to_str().ok()).unwrap_or("");
    tags.split(',').any(|tag| tag.trim() == TAG.as_str())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn ask(uri: &str, tag: Option<&str>) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::get(uri);
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let answer = router().oneshot(request.body(Body::empty()).unwrap()).await;
        let (parts, body) = answer.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        (parts.status, parts.headers, text)
    }

    /// Addresses of the page's own files that a file names.
    fn named(text: &str) -> BTreeSet<String> {
        let quoted = text.split('"').skip(1).step_by(2);
        let own = quoted.filter_map(|part| part.strip_prefix("./"));
        let own = own.map(|part| part.strip_prefix("page/").unwrap_or(part));
        own.filter(|part| !part.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_every_file_named_is_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let entries = std::fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let served: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(served, names.collect());
        let all: BTreeSet<String> = FILES.iter().flat_map(|(_, text)| named(text)).collect();
        assert!(all.contains("app.js") && all.contains("stamp.js") && all.contains("page.css"));
        assert!(all.is_subset(&served), "{all:?}");
    }

    #[tokio::test]
    async fn files_come_with_their_type_and_a_policy() {
        for (uri, kind) in [
            ("/", "text/html; charset=utf-8"),
            ("/page/app.js", "text/javascript; charset=utf-8"),
            ("/page/page.css", "text/css; charset=utf-8"),
            ("/page/icon.svg", "image/svg+xml"),
        ] {
            let (status, headers, text) = ask(uri, None).await;
            assert_eq!(
                (status, &headers["content-type"]),
                (StatusCode::OK, &kind.parse().unwrap())
            );
            let policy = headers["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(!text.is_empty());
        }
        let (status, headers, _) = ask("/page/secrets.js", None).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(headers["content-type"], "application/problem+json");
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let (_, headers, _) = ask("/page/app.js", None).await;
        let tag = headers["etag"].to_str().unwrap().to_owned();
        let (status, headers, text) = ask("/page/app.js", Some(&format!("\"x\", {tag}"))).await;
        assert_eq!((status, text.as_str()), (StatusCode::NOT_MODIFIED, ""));
        assert_eq!(headers["etag"], tag.as_str());
        let (status, _, text) = ask("/page/app.js", Some("W/\"older\"")).await;
        assert!(status == StatusCode::OK && !text.is_empty());
    }

    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for (name, text) in FILES {
            let elsewhere = text.match_indices("://").filter(|(at, _)| {
                !text[..*at].ends_with("http") || !text[*at..].starts_with("://www.w3.org/")
            });
            assert_eq!(elsewhere.count(), 0, "{name}");
        }
        let (_, index) = FILES.iter().find(|(name, _)| *name == INDEX).unwrap();
        assert!(
            !index.contains("style=") && !index.contains("onclick") && !index.contains("<style")
        );
        assert_eq!(
            index.matches("<script").count(),
            index.matches("<script type=\"module\" src=").count()
        );
    }
}
