//! Error answers of the HTTP interface, after RFC 9457.

use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// Media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A bad row in a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemRow {
    /// Place in the body, from 1.
    pub row: u64,
    /// The column at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of error it is, as a URN.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The status in words.
    #[serde(default)]
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What is wrong, with every cause.
    pub detail: String,
    /// Rows at fault, the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<ProblemRow>,
    /// Further members, such as who holds a window back.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem without rows.
    pub fn new(status: u16, kind: ErrorKind, detail: impl Into<String>) -> Self {
        let more = serde_json::Map::new();
        Self {
            kind: format!("urn:tourbillon:problem:{}", kind.as_str()),
            title: title(status).to_owned(),
            status,
            detail: detail.into(),
            rows: Vec::new(),
            more,
        }
    }

    /// Seconds after which to try again, if that can help.
    pub fn retry_after_s(&self) -> Option<u32> {
        matches!(self.status, 429 | 503).then_some(1)
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ if (400..500).contains(&status) => "Client Error",
        _ => "Internal Server Error",
    }
}
