//! Answers and errors in the words of Flight.

use std::pin::Pin;

use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::ProstMessageExt;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeResponse, Ticket};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Code, Request, Response, Status};
use tourbillon_core::error::{ErrorKind, error_chain};

use crate::error::SqlError;
use crate::flight::keys;

pub(super) type DoGet<T> = Result<Response<<T as FlightService>::DoGetStream>, Status>;
pub(super) type Handshakes = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

/// An error as clients of gRPC see it.
pub(super) fn status(error: &SqlError) -> Status {
    if matches!(error.kind(), ErrorKind::Internal | ErrorKind::Data) {
        tracing::error!(error = error_chain(error), "statement failed");
    }
    let problem = error.problem();
    let code = match problem.status {
        404 => Code::NotFound,
        408 => Code::DeadlineExceeded,
        410 => Code::OutOfRange,
        429 => Code::ResourceExhausted,
        503 => Code::Unavailable,
        400..500 => Code::InvalidArgument,
        _ => Code::Internal,
    };
    let place = match (problem.more.get("line"), problem.more.get("column")) {
        (Some(line), Some(column)) => format!(" at line {line}, column {column}"),
        _ => String::new(),
    };
    Status::new(code, problem.detail + &place)
}

pub(super) fn read_only(what: &str) -> Status {
    status(&SqlError::ReadOnly(what.to_owned()))
}

pub(super) fn unmade(error: ArrowError) -> Status {
    Status::internal(error.to_string())
}

/// Where to fetch an answer, with its columns.
pub(super) fn info(
    descriptor: FlightDescriptor,
    ticket: &impl ProstMessageExt,
    schema: &Schema,
) -> Result<FlightInfo, Status> {
    let ticket = Ticket::new(ticket.as_any().encode_to_vec());
    let info = FlightInfo::new().try_with_schema(schema).map_err(unmade)?;
    Ok(info
        .with_endpoint(FlightEndpoint::new().with_ticket(ticket))
        .with_descriptor(descriptor)
        .with_total_records(-1)
        .with_total_bytes(-1)
        .with_ordered(true))
}

/// Where to fetch what describes the service: nothing needs to be kept for it.
pub(super) fn described(
    request: Request<FlightDescriptor>,
    command: &impl ProstMessageExt,
    schema: &Schema,
) -> Result<Response<FlightInfo>, Status> {
    Ok(Response::new(info(request.into_inner(), command, schema)?))
}

pub(super) fn one<T: FlightSqlService>(batch: Result<RecordBatch, FlightError>) -> DoGet<T> {
    let batch = batch.map_err(Status::from)?;
    Ok(sent::<T>(batch.schema(), stream::once(async { Ok(batch) })))
}

pub(super) fn sent<T: FlightSqlService>(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> Response<<T as FlightService>::DoGetStream> {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema);
    Response::new(encoder.build(batches).map_err(Status::from).boxed())
}

pub(super) fn no_foreign_keys() -> RecordBatch {
    RecordBatch::new_empty(SchemaRef::clone(&keys::FOREIGN_KEYS))
}
