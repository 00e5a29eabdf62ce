//! Errors of statements, as clients see them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use thiserror::Error;
use tourbillon_core::error::{ErrorKind, error_chain};
use tourbillon_core::problem::Problem;
use tourbillon_query::QueryError;

/// Longest text of DataFusion that is passed on, bytes: it may spell a whole plan.
const MAX_DETAIL_BYTES: usize = 2000;

/// Why a statement has no answer.
#[derive(Debug, Error)]
pub enum SqlError {
    /// The request around the statement.
    #[error("{name}: {reason}")]
    Request {
        /// Which member, header or parameter.
        name: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The content type.
    #[error("`{0}` is not taken: send application/json like {{\"query\": \"select 1\"}}")]
    MediaType(String),
    /// The body.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// The body.
    #[error("the body stalled for {} s", .0.as_secs())]
    Stalled(Duration),
    /// Something that would change data, settings or files.
    #[error(
        "{0} is not taken: SQL only reads here (SELECT, WITH, VALUES, EXPLAIN, DESCRIBE, SHOW); rows \
         come in by POST /v1/streams/{{stream}}/events"
    )]
    ReadOnly(String),
    /// Parsing, planning or computing.
    #[error("{}", detail(.0))]
    Statement(DataFusionError),
    /// The planner could not cope with a statement.
    #[error("this statement cannot be planned: {0}")]
    Unplannable(String),
    /// The streams behind it.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The format of the answer cannot hold it.
    #[error(
        "{format} cannot hold this answer ({reason}): ask for another format, or cast the column"
    )]
    Format {
        /// Media type.
        format: &'static str,
        /// Why.
        reason: String,
    },
    /// More statements than a node runs.
    #[error("this node runs {0} statements already (--sql-concurrency): ask again, or another one")]
    Busy(usize),
    /// It took too long.
    #[error(
        "the statement took longer than {} s (--sql-timeout): narrow it, or ask for a window if it \
         only reads",
        .0.as_secs_f64()
    )]
    TimedOut(Duration),
    /// The answer is too long.
    #[error(
        "the answer has more than {0} rows (--sql-max-rows): add a LIMIT or a filter, or ask for a \
         window"
    )]
    TooManyRows(u64),
    /// The service stops.
    #[error("the service is stopping")]
    Stopping,
    /// A bug.
    #[error("the statement broke off")]
    Broken,
}

/// The errors below and including `error`, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// What of ours lies under an error of DataFusion.
fn cause(error: &DataFusionError) -> Option<&QueryError> {
    chain(error).find_map(|error| {
        let shared = error.downcast_ref::<Arc<DataFusionError>>();
        match shared {
            Some(shared) => cause(shared),
            None => error.downcast_ref::<QueryError>(),
        }
    })
}

fn detail(error: &DataFusionError) -> String {
    if let Some(cause) = cause(error) {
        return error_chain(cause);
    }
    let mut text = error.find_root().strip_backtrace();
    if text.len() > MAX_DETAIL_BYTES {
        let end = (0..=MAX_DETAIL_BYTES)
            .rev()
            .find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push_str(" ..");
    }
    text
}

/// Whether the error is the statement's own and not the service's.
fn is_the_statements(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::Collection(_) => true,
        DataFusionError::ArrowError(error, _) => !matches!(
            **error,
            ArrowError::IoError(..) | ArrowError::MemoryError(_) | ArrowError::ExternalError(_)
        ),
        _ => false,
    }
}

impl SqlError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Query(error) => error.kind(),
            Self::Statement(error) => match (cause(error), error.find_root()) {
                (Some(cause), _) => cause.kind(),
                (None, DataFusionError::ResourcesExhausted(_)) => ErrorKind::Unavailable,
                (None, root) if is_the_statements(root) => ErrorKind::Invalid,
                _ => ErrorKind::Internal,
            },
            Self::Busy(_) | Self::Stopping => ErrorKind::Unavailable,
            Self::Broken => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    /// HTTP status of the answer.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::MediaType(_) => 415,
            Self::TooLong(_) => 413,
            Self::Stalled(_) | Self::TimedOut(_) => 408,
            Self::Busy(_) => 429,
            Self::Query(error) => error.http_status(),
            Self::Statement(error) => match cause(error) {
                Some(cause) => cause.http_status(),
                None => self.kind().http_status(),
            },
            _ => self.kind().http_status(),
        }
    }

    /// Whether files were replaced under it, so that planning it again helps.
    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, Self::Statement(error) if matches!(cause(error), Some(QueryError::Moved(_))))
    }

    /// The error as clients of HTTP see it; with `line` and `column`, from 1, where they are known.
    pub fn problem(&self) -> Problem {
        let ours = match self {
            Self::Query(error) => Some(error),
            Self::Statement(error) => cause(error),
            _ => None,
        };
        if let Some(error) = ours {
            return error.problem();
        }
        let mut problem = Problem::new(self.http_status(), self.kind(), self.to_string());
        if let Self::Statement(error) = self
            && let Some(span) = error.diagnostic().and_then(|found| found.span)
        {
            let place = [("line", span.start.line), ("column", span.start.column)];
            let place = place.map(|(name, value)| (name.to_owned(), value.into()));
            problem.more.extend(place);
        }
        problem
    }
}
