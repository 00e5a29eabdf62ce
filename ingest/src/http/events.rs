//! `POST /v1/streams/{stream}/events`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{MAX_NAME_BYTES, Offset, PartitionId};
use tourbillon_core::problem::ProblemRow;

use super::body::Upload;
use super::docs::{Binary, ContentEncoding, EventProblems, SourceHeaders, StampHeader, StreamPath};
use super::problem::{Problem, rows};
use super::streams::find;
use super::{header, query};
use crate::error::IngestError;
use crate::gateway::{Gateway, REQUEST_BYTES, Receipt, Source};
use crate::parse::{Format, OnError, RowError, estimate_bytes, parse_rows};
use crate::submission::Submission;

const SOURCE: &str = "tourbillon-source";
const SEQUENCE: &str = "tourbillon-sequence";
const HLC: HeaderName = HeaderName::from_static("tourbillon-hlc");

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// `refuse`: one bad row refuses the request; `skip`: store the good rows and list the bad.
    #[serde(default)]
    #[param(inline)]
    on_error: OnErrorParameter,
    /// When to acknowledge: once the log holds the rows durably.
    #[serde(default)]
    #[param(inline)]
    ack: AckParameter,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(default = "refuse")]
enum OnErrorParameter {
    #[default]
    Refuse,
    Skip,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(default = "log")]
enum AckParameter {
    #[default]
    Log,
}

/// What became of the events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Receipt)]
struct Answer {
    /// Rows stored, now or by an earlier request with this source and sequence.
    accepted: u64,
    /// Stamp of the first row.
    #[schema(value_type = Option<i64>)]
    first_hlc: Option<Hlc>,
    /// Stamp of the last row.
    #[schema(value_type = Option<i64>)]
    last_hlc: Option<Hlc>,
    /// Offset of the last frame in each partition, for `at_least` of a window.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"0": 17, "3": 5}))]
    positions: BTreeMap<PartitionId, Offset>,
    /// Rows refused, with `on_error=skip`.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
    /// The first hundred of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<ProblemRow>>,
}

/// Send events
///
/// In the format that `Content-Type` names. With `Tourbillon-Source` and `Tourbillon-Sequence` a
/// repeat, to any gateway, stores nothing twice.
#[utoipa::path(
    post,
    path = "/v1/streams/{stream}/events",
    tag = "ingest",
    params(StreamPath, Parameters, SourceHeaders, StampHeader, ContentEncoding),
    request_body(content(
        (String = "application/x-ndjson", example = "{\"venue\":\"XNAS\",\"symbol\":\"AAPL\",\"ts_event\":\"2026-01-31T14:30:00Z\",\"price\":\"187.15\",\"size\":\"100\"}\n"),
        (Vec<Object> = "application/json", example = json!([{"venue": "XNAS", "symbol": "AAPL", "ts_event": "2026-01-31T14:30:00Z", "price": "187.15", "size": "100"}])),
        (String = "text/csv", example = "venue,symbol,ts_event,price,size\nXNAS,AAPL,2026-01-31T14:30:00Z,187.15,100\n"),
        (Binary = "application/vnd.apache.arrow.stream"),
    )),
    responses(
        (
            status = 200,
            description = "The rows are stored.",
            body = Answer,
            headers(("Tourbillon-HLC" = i64, description = "The last stamp, to be sent along with what depends on these rows."))
        ),
        EventProblems,
    )
)]
pub(super) async fn post(
    State(gateway): State<Gateway>,
    Path(stream): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let parameters: Parameters = query(&head.uri)?;
    let on_error = match parameters.on_error {
        OnErrorParameter::Refuse => OnError::Refuse,
        OnErrorParameter::Skip => OnError::Skip,
    };
    let AckParameter::Log = parameters.ack;
    let content_type = header(&head.headers, CONTENT_TYPE.as_str())?;
    let format = Format::from_content_type(content_type.unwrap_or_default())?;
    let source = source(&head.headers)?;
    if let Some(stamp) = stamp(&head.headers)? {
        gateway.observe(stamp)?;
    }
    let def = find(&gateway, &stream).await?;
    let upload = Upload::read(&gateway, &head.headers, body).await?;
    let parsing = gateway.in_turn(move || {
        let (content, mut held) = upload.decompress()?;
        let rows = estimate_bytes(format, def.schema(), &content);
        held.resize(content.len() + rows + REQUEST_BYTES)?;
        let parsed = parse_rows(format, def.schema(), &content, on_error)?;
        let submission = Submission::new(def, &parsed.rows, source, held)?;
        Ok((submission, parsed.refused, parsed.refused_count))
    });
    let (submission, refused, refused_count) = parsing.await?;
    let receipt = gateway.submit(submission).await?;
    let skipped = (on_error == OnError::Skip).then_some((&*refused, refused_count));
    Ok(answer(receipt, skipped))
}

fn answer(receipt: Receipt, skipped: Option<(&[RowError], u64)>) -> Response {
    let stamps = receipt.stamps;
    let answer = Answer {
        accepted: receipt.rows,
        first_hlc: stamps.map(|(first, _)| first),
        last_hlc: stamps.map(|(_, last)| last),
        positions: receipt.positions,
        refused: skipped.map(|(_, count)| count),
        rows: skipped.map(|(refused, _)| rows(refused)),
    };
    match stamps {
        Some((_, last)) => ([(HLC, last.to_string())], Json(answer)).into_response(),
        None => Json(answer).into_response(),
    }
}

/// Who sends, if the request says so.
pub(super) fn source(headers: &HeaderMap) -> Result<Option<Source>, IngestError> {
    let (name, sequence) = match (header(headers, SOURCE)?, header(headers, SEQUENCE)?) {
        (None, None) => return Ok(None),
        (Some(name), Some(sequence)) => (name, sequence),
        _ => {
            return Err(IngestError::request(
                SOURCE,
                format!("needs {SEQUENCE}, and vice versa"),
            ));
        }
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let reason = format!("must have 1 to {MAX_NAME_BYTES} bytes");
        return Err(IngestError::request(SOURCE, reason));
    }
    let sequence = sequence.parse();
    let sequence =
        sequence.map_err(|_| IngestError::request(SEQUENCE, "must be a whole number from 0"))?;
    Ok(Some(Source {
        name: Arc::from(name),
        sequence,
    }))
}

fn stamp(headers: &HeaderMap) -> Result<Option<Hlc>, IngestError> {
    let Some(text) = header(headers, HLC.as_str())? else {
        return Ok(None);
    };
    let stamp = text.parse().map(Hlc);
    stamp
        .map(Some)
        .map_err(|_| IngestError::request(HLC.as_str(), "must be a whole number"))
}
