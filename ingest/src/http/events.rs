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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    #[serde(default)]
    on_error: OnErrorParameter,
    #[serde(default)]
    ack: AckParameter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnErrorParameter {
    #[default]
    Refuse,
    Skip,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AckParameter {
    #[default]
    Log,
}

#[derive(Debug, Serialize)]
struct Answer {
    accepted: u64,
    first_hlc: Option<Hlc>,
    last_hlc: Option<Hlc>,
    positions: BTreeMap<PartitionId, Offset>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<ProblemRow>>,
}

/// Takes events in the format that Content-Type names.
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
