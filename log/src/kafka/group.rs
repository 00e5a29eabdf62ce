//! Membership of a consumer group, which only spreads partitions over processes.
//!
//! ```text
//! control topic -> subscription -> group coordinator -> rebalances -> listener
//! ```
//!
//! The member fetches nothing: its partitions are paused as soon as they are assigned, and whoever
//! works on them reads them with readers of the log. No offset is ever committed. A thread of its
//! own serves the member, because rebalances may wait for work in hand.
//!
//! A member with a name keeps its place for the session's time after it stopped, so that a restart
//! moves nothing; one without leaves when it stops. If another process joins under the same name,
//! the group lets that one in and this one out. This one says so and waits until the name is free
//! again: it would only throw the other out in turn.

mod audit;
mod member;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;
use tourbillon_core::error::error_chain;
use tourbillon_core::ids::PartitionId;

use super::events::Events;
use super::settings::{Config, KafkaSettings};
use crate::control::ControlTopic;
use crate::error::Cause;
use crate::{LogError, TopicPartition};
use audit::Audit;
use member::{Held, MemberContext};

/// How long the thread listens before it looks at the streams and at whether it should stop.
const LOOK: Duration = Duration::from_millis(100);

/// Pause before it joins again, and between two looks at whether its name is free.
const REJOIN_PAUSE: Duration = Duration::from_secs(2);

/// How long the cluster may take to list the group's members.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a member that lost its membership keeps its partitions. Mostly the coordinator is out of
/// reach, which says nothing of the partitions, and the next membership gives the same ones back. If
/// it does not, another worker has them meanwhile, which does no harm.
const KEEP_LOST: Duration = Duration::from_secs(30);

/// Length of the UUID that the coordinator puts behind a member's name to make its id.
const UUID_CHARS: usize = 36;

/// Which group, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Name of the group.
    pub group: String,
    /// Name of the member, kept over restarts and borne by no other process. Without one it leaves
    /// the group at once when it stops.
    pub member: Option<String>,
}

/// Hears what the group assigns.
pub trait GroupListener: Send + Sync {
    /// These are all that is assigned from now on. Called on the group's thread, which should not
    /// return before the work on everything else has ended, and must in a bounded time.
    fn assigned(&self, all: &BTreeSet<TopicPartition>);
}

/// How a member stands with its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has not been let in yet, or not again.
    Joining,
    /// It runs what the group assigns; that may be nothing.
    Member,
    /// Another process has joined under its name.
    NameTaken,
}

/// A member of a group, or one to be.
pub struct KafkaGroup {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    config: Config,
    settings: GroupSettings,
    control: ControlTopic,
    listener: Arc<dyn GroupListener>,
    keep_lost: Duration,
    standing: Mutex<Standing>,
    stop: AtomicBool,
}

impl fmt::Debug for KafkaGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGroup")
            .field("settings", &self.shared.settings)
            .field("standing", &self.standing())
            .finish_non_exhaustive()
    }
}

/// Why a membership ended.
enum End {
    Stopped,
    NameTaken,
    Failed(LogError),
}

/// What the client says when it is of no use any more.
#[derive(Debug, Error)]
#[error("the client gave up: {code}: {reason}")]
struct Fatal {
    code: RDKafkaErrorCode,
    reason: String,
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl KafkaGroup {
    /// Checks the settings; [`KafkaGroup::join`] begins the membership. It is for the partitions of
    /// every stream, present and future.
    pub fn new(
        kafka: KafkaSettings,
        settings: GroupSettings,
        control: ControlTopic,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Self, LogError> {
        Self::keeping(kafka, settings, control, listener, KEEP_LOST)
    }

    fn keeping(
        kafka: KafkaSettings,
        settings: GroupSettings,
        control: ControlTopic,
        listener: Arc<dyn GroupListener>,
        keep_lost: Duration,
    ) -> Result<Self, LogError> {
        let config = Config::new(kafka)?;
        let native = config.member(&settings).create_native_config();
        native.map_err(|e| config.config_error(e))?;
        let shared = Shared {
            config,
            settings,
            control,
            listener,
            keep_lost,
            standing: Mutex::new(Standing::Joining),
            stop: AtomicBool::new(false),
        };
        Ok(Self {
            shared: Arc::new(shared),
            thread: Mutex::default(),
        })
    }

    /// Whether the group keeps a place for this member's name, as it does for a while after it
    /// stopped. False where that cannot be told.
    pub async fn keeps_place(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let asked = tokio::task::spawn_blocking(move || {
            let name = shared.settings.member.as_deref();
            name.is_some_and(|name| matches!(shared.bearer(name), Ok(Some(_))))
        });
        asked.await.unwrap_or(false)
    }

    /// Begins to join.
    pub fn join(&self) -> Result<(), LogError> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let served = Arc::clone(&self.shared);
            let named = std::thread::Builder::new().name("log-kafka-group".into());
            let begun = named.spawn(move || served.serve());
            *thread = Some(begun.map_err(|error| LogError::Broken {
                what: "the group's thread",
                source: Arc::new(error),
            })?);
        }
        Ok(())
    }

    /// Which group, and as whom.
    pub fn settings(&self) -> &GroupSettings {
        &self.shared.settings
    }

    /// How it stands with the group now.
    pub fn standing(&self) -> Standing {
        *self.shared.standing()
    }

    /// Whether it runs what the group assigns, or there is nothing to join for.
    pub fn is_settled(&self) -> bool {
        self.standing() == Standing::Member || self.shared.topics().is_empty()
    }

    /// Ends the membership. Whatever is still assigned is taken away first, unless nothing runs.
    pub async fn leave(&self) {
        let Some(thread) = self.end() else { return };
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok());
        if !joined.await.unwrap_or(false) {
            tracing::error!("the group's thread died");
        }
    }
}

impl KafkaGroup {
    /// Tells the thread to end; the first to do so gets it.
    fn end(&self) -> Option<JoinHandle<()>> {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.lock();
        let thread = thread.unwrap_or_else(PoisonError::into_inner).take();
        thread.inspect(|thread| thread.thread().unpark())
    }
}

impl Shared {
    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn topics(&self) -> Vec<String> {
        let view = self.control.view();
        let topics = view.streams.keys();
        topics.map(|name| self.control.stream_topic(name)).collect()
    }

    /// Every partition that somebody should run.
    fn partitions(&self) -> BTreeSet<TopicPartition> {
        let view = self.control.view();
        let all = view.streams.values().flat_map(|def| {
            let topic = self.control.stream_topic(&def.name);
            (0..def.partitions).map(move |partition| TopicPartition {
                topic: topic.clone(),
                partition: PartitionId(partition),
            })
        });
        all.collect()
    }

    /// Is a member until stopped. Whatever ends a membership only delays the next.
    fn serve(self: Arc<Self>) {
        let group = &self.settings.group;
        while !self.is_stopped() {
            let end = self.be_member();
            *self.standing() = Standing::Joining;
            self.listener.assigned(&BTreeSet::new());
            match end {
                End::Stopped => return,
                End::NameTaken => self.wait_for_name(),
                End::Failed(error) => {
                    let error = error_chain(&error);
                    tracing::warn!(error, group, "no member of the group, joins again");
                    std::thread::park_timeout(REJOIN_PAUSE);
                }
            }
        }
    }

    fn be_member(self: &Arc<Self>) -> End {
        let context = MemberContext::new(Arc::clone(self));
        let member = self.config.member(&self.settings);
        let member: BaseConsumer<MemberContext> = match member.create_with_context(context) {
            Ok(member) => member,
            Err(error) => return End::Failed(self.config.config_error(error)),
        };
        let (mut audit, mut subscribed) = (Audit::new(), Vec::new());
        let mut complaint = String::new();
        // the assignment that is not to last, if the group is to look again
        let mut doubted = None;
        while !self.is_stopped() {
            let mut topics = self.topics();
            doubted = doubted.filter(|number| *number == member.context().assignments());
            if doubted.is_some() {
                topics.push(self.control.topic().to_owned());
            }
            if topics != subscribed {
                let names: Vec<&str> = topics.iter().map(String::as_str).collect();
                if let Err(error) = member.subscribe(&names) {
                    return End::Failed(self.failed(Arc::new(error)));
                }
                subscribed = topics;
            }
            // a record that was on its way when the partition was paused is nobody's
            let event = member.poll(LOOK);
            if let Some((code, reason)) = member.client().fatal_error() {
                return self.expelled(code, reason);
            }
            if let Some(Err(error)) = event {
                self.complain(&error, &mut complaint);
            }
            member.context().forget_lost();
            if audit.finds(&member, &self.settings.group, || self.partitions()) {
                tracing::warn!(
                    group = self.settings.group,
                    "the group leaves partitions to nobody: makes it look again"
                );
                doubted = Some(member.context().assignments());
            }
        }
        End::Stopped
    }

    fn expelled(&self, code: RDKafkaErrorCode, reason: String) -> End {
        if code == RDKafkaErrorCode::FencedInstanceId {
            return End::NameTaken;
        }
        let reason = self.config.redact(&reason);
        End::Failed(self.failed(Arc::new(Fatal { code, reason })))
    }

    fn failed(&self, source: Cause) -> LogError {
        LogError::Group {
            group: self.settings.group.clone(),
            source,
        }
    }

    /// The client goes on trying by itself; each reason is told once in a row.
    fn complain(&self, error: &KafkaError, last: &mut String) {
        let text = self.config.redact(&error.to_string());
        if text != *last {
            tracing::warn!(error = text, group = self.settings.group, "group member");
            *last = text;
        }
    }

    /// Another process bears the name: stands aside until it is gone for good.
    fn wait_for_name(&self) {
        *self.standing() = Standing::NameTaken;
        let name = self.settings.member.as_deref().unwrap_or_default();
        let mut told = false;
        while !self.is_stopped() {
            std::thread::park_timeout(REJOIN_PAUSE);
            match self.bearer(name) {
                Ok(None) => break,
                Ok(Some(host)) if !told => {
                    told = true;
                    tracing::error!(
                        name,
                        host,
                        group = self.settings.group,
                        "another process joined the group under this worker's name, so this one \
                         does nothing until the name is free: give each worker a name of its own"
                    );
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, name, "cannot see whether the name is free again");
                }
            }
        }
        *self.standing() = Standing::Joining;
    }

    /// Host of the member that bears a name, if there is one.
    fn bearer(&self, name: &str) -> Result<Option<String>, KafkaError> {
        let client = self.config.lookup();
        let client: BaseConsumer<Events> =
            client.create_with_context(Events::new(self.config.clone()))?;
        let groups = client.fetch_group_list(Some(&self.settings.group), ANSWER_TIMEOUT)?;
        let mut members = groups.groups().iter().flat_map(|group| group.members());
        let bears = |id: &str| {
            let uuid = id.strip_prefix(name).and_then(|id| id.strip_prefix('-'));
            uuid.is_some_and(|uuid| uuid.len() == UUID_CHARS)
        };
        let bearer = members.find(|member| bears(member.id()));
        Ok(bearer.map(|member| member.client_host().to_owned()))
    }

    /// The group has spoken: what it holds now is what runs.
    fn hold(&self, held: &Held) {
        *self.standing() = Standing::Member;
        self.listener.assigned(&held.partitions);
    }
}

#[cfg(test)]
mod tests;
