//! Which web pages may use the interface.

use std::str::FromStr;
use std::time::Duration;

use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LINK,
    RETRY_AFTER,
};
use axum::http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

use super::request_id::X_REQUEST_ID;

/// How long a browser may remember the answer, so that it does not ask before each request.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// Headers of ours that pages may send.
const SENT: [&str; 4] = [
    "last-event-id",
    "tourbillon-source",
    "tourbillon-sequence",
    "tourbillon-hlc",
];

/// Headers of ours that pages may read.
const READ: [&str; 4] = [
    "tourbillon-snapshot",
    "tourbillon-complete-through",
    "tourbillon-final",
    "tourbillon-hlc",
];

/// Where a page may come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Anywhere.
    Any,
    /// A scheme, host and perhaps port, as browsers write them.
    Of(HeaderValue),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme));
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let plain = |host: &&str| {
            !host.is_empty() && host.bytes().all(|b| allowed(b) || b"-._:[]".contains(&b))
        };
        let origin = host.filter(plain).and(HeaderValue::from_str(text).ok());
        let how = "write `*`, or scheme, host and port in small letters as in \
                   https://example.org:8443, without a path";
        origin.map(Self::Of).ok_or_else(|| how.to_owned())
    }
}

/// None if no page may.
pub(super) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let listed = origins.iter().filter_map(|origin| match origin {
        Origin::Any => None,
        Origin::Of(origin) => Some(origin.clone()),
    });
    let allowed = match origins.contains(&Origin::Any) {
        true => AllowOrigin::from(Any),
        false => AllowOrigin::list(listed),
    };
    let ours = |names: [&'static str; 4]| names.map(HeaderName::from_static);
    let sent = [
        ACCEPT,
        ACCEPT_ENCODING,
        AUTHORIZATION,
        CONTENT_ENCODING,
        CONTENT_TYPE,
    ];
    let sent = sent.into_iter().chain(ours(SENT)).chain([X_REQUEST_ID]);
    let read = [ALLOW, LINK, RETRY_AFTER, X_REQUEST_ID].into_iter();
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
        .allow_headers(sent.collect::<Vec<_>>())
        .expose_headers(read.chain(ours(READ)).collect::<Vec<_>>())
        .max_age(MAX_AGE);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_write_them() {
        for good in [
            "https://example.org",
            "http://localhost:3000",
            "http://[::1]:8080",
        ] {
            let origin = Origin::Of(HeaderValue::from_static(good));
            assert_eq!(good.parse(), Ok(origin));
        }
        assert_eq!("*".parse(), Ok(Origin::Any));
        for bad in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://Example.org",
            "https://*.example.org",
            "null",
            "ftp://example.org",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
