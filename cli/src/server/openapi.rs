//! The OpenAPI document of a process, and a page to try it.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Paths, RefOr};
use utoipa_swagger_ui::{Config, SwaggerUi};

const JSON: &str = "application/json";

const ABOUT: &str = "\
Market ticks in one total order, completely, and the same way every time.

Times are RFC 3339 (to the nanosecond) or integer nanoseconds since the epoch; durations are like \
`250ms`, `10s`, `1h`; decimals go in as text or numbers, and come out with all their digits. Unknown and repeated parameters are errors. Errors are \
`application/problem+json` (RFC 9457). Every answer has an `X-Request-Id`: the request's own if it \
has 1 to 128 visible ASCII characters, or one that is made. Answers are compressed as \
`Accept-Encoding` allows (gzip, zstd).";

/// What the page may fetch: nothing from elsewhere.
const POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; \
                      img-src 'self' data:; object-src 'none'; frame-ancestors 'none'";

/// A document without paths.
pub(super) fn empty() -> OpenApi {
    let license = LicenseBuilder::new()
        .name("Apache-2.0")
        .identifier(Some("Apache-2.0"));
    let info = InfoBuilder::new()
        .title("Tourbillon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license.build()));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(Paths::new())
        .build()
}

/// Adds `/openapi.json` and `/docs` to routes and their document, and completes the document.
pub(super) fn pages(routes: Router, mut api: OpenApi) -> anyhow::Result<(Router, OpenApi)> {
    api.merge(own());
    complete(&mut api);
    let document = Bytes::from(api.to_json()?);
    let document = get(move || {
        let document = document.clone();
        async move {
            (
                [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-cache")],
                document,
            )
        }
    });
    let page: Router = SwaggerUi::new("/docs").config(config()).into();
    let page = page.layer(map_response(guarded));
    Ok((routes.route("/openapi.json", document).merge(page), api))
}

/// The page finds the document beside itself, wherever a proxy puts both, and asks no validator.
fn config() -> Config<'static> {
    Config::from("../openapi.json")
        .validator_url("none")
        .doc_expansion("list")
        .default_models_expand_depth(0)
        .display_request_duration(true)
        .try_it_out_enabled(true)
}

async fn guarded(mut response: Response) -> Response {
    let policy = HeaderValue::from_static(POLICY);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    response
}

fn own() -> OpenApi {
    #[derive(utoipa::OpenApi)]
    #[openapi(paths(document))]
    struct Api;
    <Api as utoipa::OpenApi>::openapi()
}

/// Show this document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "process",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object))
)]
#[expect(
    dead_code,
    reason = "stands for the route, whose handler holds the document"
)]
fn document() {}

/// What is true of every answer.
fn complete(api: &mut OpenApi) {
    for item in api.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            identified(operation);
        }
    }
}

fn identified(operation: &mut Operation) {
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer {
            let id = ObjectBuilder::new().schema_type(Type::String);
            let header = HeaderBuilder::new()
                .schema(Some(id))
                .description(Some("The request's id."))
                .build();
            answer.headers.insert("X-Request-Id".into(), header.into());
        }
    }
}
