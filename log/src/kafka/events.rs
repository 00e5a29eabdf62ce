//! What the Kafka client reports on the side: log lines and errors that it goes on to retry.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::settings::Config;
use crate::error::Cause;
use crate::{LogError, metrics};

/// How long a complaint counts. The client repeats one that lasts every 30 s.
const COMPLAINT_LASTS: Duration = Duration::from_secs(60);

/// What the client calls the broker that looks after a reader's group.
const COORDINATOR: &str = "GroupCoordinator";

/// Facility of the client's lines about connections that failed.
const CONNECTION_FAILED: &str = "FAIL";

/// Context of every client of one log.
#[derive(Clone)]
pub(super) struct Events(Arc<Shared>);

struct Shared {
    config: Config,
    complaint: watch::Sender<Option<Complaint>>,
    /// Whether anything ever came through.
    let_in: AtomicBool,
}

/// What a client last complained about, until something succeeds.
#[derive(Clone, Debug)]
struct Complaint {
    reason: String,
    refusal: Option<Refusal>,
    at: Instant,
}

/// Why brokers do not let a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Login,
    Certificate,
    Protocol,
}

impl Refusal {
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        match code {
            // the connection broke before anyone could refuse
            _ if reason.contains("Broker transport failure") => None,
            Some(RDKafkaErrorCode::Authentication) => Some(Self::Login),
            Some(RDKafkaErrorCode::SSL) if reason.contains("PLAINTEXT") => Some(Self::Protocol),
            Some(RDKafkaErrorCode::SSL) => Some(Self::Certificate),
            _ => None,
        }
    }

    /// Settings to look at.
    fn settings(self) -> &'static str {
        match self {
            Self::Login => "`sasl.mechanism`, `sasl.username` and `sasl.password`",
            Self::Certificate => {
                "`ssl.ca.location` and, where brokers ask for a certificate, \
                 `ssl.certificate.location` and `ssl.key.location`"
            }
            Self::Protocol => "`security.protocol`",
        }
    }
}

/// An error with what the client last had to complain about, which often names the reason.
#[derive(Debug, Error)]
#[error("{error}; last report of the client: {complaint}")]
struct Explained {
    error: KafkaError,
    complaint: String,
}

/// What the client had to complain about.
#[derive(Debug, Error)]
#[error("{0}")]
struct Complained(String);

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

impl Events {
    pub(super) fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            config,
            complaint: watch::Sender::new(None),
            let_in: AtomicBool::new(false),
        }))
    }

    /// The error as a cause, with the client's last complaint if there was one.
    pub(super) fn explain(&self, error: KafkaError) -> Cause {
        match self.complaint() {
            Some(complaint) => Arc::new(Explained {
                error,
                complaint: complaint.reason,
            }),
            None => Arc::new(error),
        }
    }

    /// The error that says why brokers do not let the client in, if that is what it complains of.
    pub(super) fn refused(&self) -> Option<LogError> {
        let complaint = self.complaint()?;
        Some(LogError::Refused {
            brokers: self.0.config.settings.brokers.clone(),
            check: complaint.refusal?.settings(),
            source: Arc::new(Complained(complaint.reason)),
        })
    }

    /// Resolves when brokers do not let the client in.
    pub(super) async fn until_refused(&self) {
        let mut complaints = self.0.complaint.subscribe();
        let refusal = |c: &Option<Complaint>| c.as_ref().is_some_and(|c| c.refusal.is_some());
        // the sender lives as long as this handle
        drop(complaints.wait_for(refusal).await);
    }

    /// What the client complains about now, if it does.
    pub(super) fn trouble(&self) -> Option<String> {
        let complaint = self.complaint()?;
        let brokers = &self.0.config.settings.brokers;
        let reason = complaint.reason;
        Some(match complaint.refusal.map(Refusal::settings) {
            Some(check) => {
                format!("Kafka brokers `{brokers}` refuse this client: check {check}: {reason}")
            }
            None => format!("Kafka brokers `{brokers}`: {reason}"),
        })
    }

    /// Something came through.
    pub(super) fn succeeded(&self) {
        self.0.let_in.store(true, Ordering::Relaxed);
        if self.0.complaint.borrow().is_some() {
            self.0.complaint.send_replace(None);
        }
    }

    fn complaint(&self) -> Option<Complaint> {
        let complaint = self.0.complaint.borrow().clone();
        complaint.filter(|complaint| complaint.at.elapsed() < COMPLAINT_LASTS)
    }

    /// Keeps a complaint. One that says why nobody is let in is not replaced by what follows on it.
    fn complain(&self, refusal: Option<Refusal>, reason: String) {
        let at = Instant::now();
        let refused = self.complaint().is_some_and(|c| c.refusal.is_some());
        if refusal.is_some() || !refused {
            let complaint = Complaint {
                reason,
                refusal,
                at,
            };
            self.0.complaint.send_replace(Some(complaint));
        }
    }

    /// Whether a line says that brokers speak another protocol than this client.
    ///
    /// Brokers that want TLS or a login end the connection of others, which the client takes for
    /// news. So does one that goes down, but hardly just when it was connected to the first time.
    fn shut_out(&self, line: &str) -> bool {
        let connected =
            line.contains("in state APIVERSION_QUERY") || line.contains("ms in state UP");
        let ended = line.contains("Disconnected") || line.contains("Broken pipe");
        let early = connected && ended && !self.0.let_in.load(Ordering::Relaxed);
        early || line.contains("PLAINTEXT broker listener")
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let line = self.0.config.redact(line);
        if facility == CONNECTION_FAILED && self.shut_out(&line) {
            self.complain(Some(Refusal::Protocol), line.clone());
        }
        match level {
            // a producer's option is of no use to a reader, and the other way round: no news; nor
            // is the coordinator of a group that readers never join
            _ if facility == "CONFWARN" || line.contains(COORDINATOR) => {
                tracing::debug!(facility, line, "kafka client");
            }
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
        metrics::broker_errors(1);
        let reason = self.0.config.redact(reason);
        tracing::debug!(%error, reason, "kafka client error, goes on");
        let code = error.rdkafka_error_code();
        // "1/1 brokers are down" follows on the error that says why
        let said = code == Some(RDKafkaErrorCode::AllBrokersDown);
        if !said && !reason.contains(COORDINATOR) {
            self.complain(Refusal::of(code, &reason), reason);
        }
    }
}

impl ConsumerContext for Events {}

#[cfg(test)]
mod tests {
    use super::super::settings::KafkaSettings;
    use super::*;

    fn events() -> Events {
        let settings = KafkaSettings {
            brokers: "b:1".into(),
            options: [("sasl.password".into(), "hunter2".into())].into(),
            ..KafkaSettings::default()
        };
        Events::new(Config::new(settings).unwrap())
    }

    fn complain(events: &Events, code: RDKafkaErrorCode, reason: &str) -> String {
        events.error(KafkaError::Global(code), reason);
        let refused = events.refused();
        refused.map_or_else(String::new, |error| error.to_string())
    }

    #[tokio::test]
    async fn refusals_name_the_settings_to_look_at() {
        use RDKafkaErrorCode::{Authentication, BrokerTransportFailure, SSL};
        let events = events();
        let login = complain(&events, Authentication, "Invalid username or password");
        assert!(login.contains("`sasl.password`"), "{login}");
        let ca = complain(&events, SSL, "certificate verify failed");
        assert!(ca.contains("`ssl.ca.location`"), "{ca}");
        let plain = complain(&events, SSL, "connecting to a PLAINTEXT broker listener?");
        assert!(plain.contains("`security.protocol`"), "{plain}");
        let broken = "SaslAuthenticateRequest failed: Local: Broker transport failure";
        events.succeeded();
        assert_eq!(complain(&events, Authentication, broken), "");
        events.succeeded();
        let group = "GroupCoordinator: SASL authentication error";
        assert_eq!(complain(&events, Authentication, group), "");
        assert_eq!(
            complain(&events, SSL, "connecting to a PLAINTEXT broker listener?"),
            plain
        );
        // what follows on a refusal does not hide it
        let after = complain(&events, BrokerTransportFailure, "Connection refused");
        assert_eq!(after, plain);
        events.succeeded();
        let outage = complain(&events, BrokerTransportFailure, "Connection refused");
        assert_eq!(outage, "");
    }

    #[tokio::test]
    async fn a_first_connection_that_is_ended_at_once_is_of_another_protocol() {
        let line = "Disconnected: connection closed by peer (after 6ms in state UP)";
        let told = |events: &Events| {
            events.log(RDKafkaLogLevel::Info, CONNECTION_FAILED, line);
            events.trouble()
        };
        let fresh = events();
        assert!(told(&fresh).unwrap().contains("`security.protocol`"));
        fresh.until_refused().await;
        let fresh = events();
        let line = "SSL handshake failed: connecting to a PLAINTEXT broker listener?";
        fresh.log(RDKafkaLogLevel::Error, CONNECTION_FAILED, line);
        assert!(fresh.trouble().unwrap().contains("`security.protocol`"));
        let known = events();
        known.succeeded();
        assert_eq!(told(&known), None, "a broker that goes down");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_ends_with_success_and_in_time_and_shows_no_secret() {
        let events = events();
        assert_eq!(events.trouble(), None);
        let code = RDKafkaErrorCode::BrokerTransportFailure;
        complain(&events, code, "no hunter2 here");
        assert_eq!(
            events.trouble().unwrap(),
            "Kafka brokers `b:1`: no *** here"
        );
        events.succeeded();
        assert_eq!(events.trouble(), None);
        complain(&events, code, "again");
        tokio::time::advance(COMPLAINT_LASTS).await;
        assert_eq!(events.trouble(), None);
    }
}
