//! What tickets and handles of prepared statements hold.

use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::metadata::MetadataMap;
use tourbillon_query::params::Consistency;

use crate::error::SqlError;
use crate::flight::answer::status;
use crate::snapshots::Snapshots;
use crate::statement::Statement;

/// Header of a call: only the rows of these snapshots.
const SNAPSHOT: &str = "tourbillon-snapshot";

/// Header of a call: `final` or `latest`.
const CONSISTENCY: &str = "tourbillon-consistency";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Handle {
    query: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(default, rename = "final")]
    is_final: bool,
}

/// The bytes of a handle.
pub(super) fn encode(statement: &Statement) -> Vec<u8> {
    let snapshots = &statement.snapshots;
    let handle = Handle {
        query: statement.query.clone(),
        snapshot: (!snapshots.is_empty()).then(|| snapshots.to_string()),
        is_final: statement.consistency == Consistency::Final,
    };
    serde_json::to_vec(&handle).unwrap_or_default()
}

/// A handle that this or another node has made.
pub(super) fn decode(handle: &[u8]) -> Result<Statement, Status> {
    let handle: Handle = serde_json::from_slice(handle)
        .map_err(|_| Status::invalid_argument("this handle was not made by this service"))?;
    let snapshots = handle.snapshot.as_deref().map(Snapshots::parse);
    let snapshots = snapshots.transpose().map_err(|error| status(&error))?;
    Ok(Statement {
        snapshots: snapshots.unwrap_or_default(),
        consistency: consistency(handle.is_final),
        ..Statement::latest(handle.query)
    })
}

/// A statement as a call gives it: text, and headers for what has no place in the protocol.
pub(super) fn asked(query: String, headers: &MetadataMap) -> Result<Statement, Status> {
    let header = |name: &'static str| {
        let value = headers.get(name).map(|value| value.to_str());
        let unread = |_| Status::invalid_argument(format!("header {name} is not ASCII"));
        value.transpose().map_err(unread)
    };
    let wrong = |name, reason: &str| {
        let reason = reason.to_owned();
        status(&SqlError::Request { name, reason })
    };
    let is_final = match header(CONSISTENCY)? {
        None | Some("latest") => false,
        Some("final") => true,
        Some(_) => return Err(wrong("consistency", "use `final` or `latest`")),
    };
    let snapshots = header(SNAPSHOT)?.map(Snapshots::parse).transpose();
    Ok(Statement {
        snapshots: snapshots
            .map_err(|error| status(&error))?
            .unwrap_or_default(),
        consistency: consistency(is_final),
        ..Statement::latest(query)
    })
}

fn consistency(is_final: bool) -> Consistency {
    match is_final {
        true => Consistency::Final,
        false => Consistency::Latest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_come_back_as_they_went() {
        let statement = Statement {
            snapshots: Snapshots::parse("quotes=1.3;trades=1.5-7.t9").unwrap(),
            consistency: Consistency::Final,
            ..Statement::latest("select 'ü;'")
        };
        assert_eq!(decode(&encode(&statement)).unwrap(), statement);
        assert!(decode(b"").is_err() && decode(b"{\"query\":1}").is_err());
    }
}
