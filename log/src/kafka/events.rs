//! What the Kafka client reports on the side: log lines and errors that it goes on to retry.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::settings::Config;
use crate::error::Cause;
use crate::metrics;

/// Context of every client of one log.
#[derive(Clone)]
pub(super) struct Events(Arc<Shared>);

struct Shared {
    config: Config,
    complaint: Mutex<Option<String>>,
}

/// An error with what the client last had to complain about, which often names the reason.
#[derive(Debug, Error)]
#[error("{error}; last report of the client: {complaint}")]
struct Explained {
    error: KafkaError,
    complaint: String,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    pub(super) fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            config,
            complaint: Mutex::default(),
        }))
    }

    /// The error as a cause, with the client's last complaint if there was one.
    pub(super) fn explain(&self, error: KafkaError) -> Cause {
        let complaint = self.complaint().clone();
        match complaint {
            Some(complaint) => Arc::new(Explained { error, complaint }),
            None => Arc::new(error),
        }
    }

    fn complaint(&self) -> MutexGuard<'_, Option<String>> {
        let complaint = self.0.complaint.lock();
        complaint.unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = self.0.config.redact(line);
        match level {
            // a producer's option is of no use to a reader, and the other way round: no news
            _ if facility == "CONFWARN" => tracing::debug!(facility, line, "kafka client"),
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "kafka client"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(facility, line, "kafka client");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "kafka client"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let statistics = String::from_utf8_lossy(statistics);
        tracing::debug!(%statistics, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        metrics::broker_error();
        let reason = self.0.config.redact(reason);
        tracing::debug!(%error, reason, "kafka client error, goes on");
        // "1/1 brokers are down" follows on the error that says why
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *self.complaint() = Some(reason);
        }
    }
}

impl ConsumerContext for Events {}
