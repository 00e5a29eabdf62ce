//! What the services need of their topics.

use std::time::Duration;

use tourbillon_core::control::{ControlView, StreamDef};
use tourbillon_core::ids::PartitionId;
use tourbillon_core::sealer::CHECKPOINT_WINDOWS;

use crate::control::{DEFAULT_WINDOW_NS, control_topic, stream_topic};
use crate::{Log, LogError, TopicPartition};

/// What the services need of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNeed {
    /// Its name.
    pub topic: String,
    /// Partitions that it has at least.
    pub partitions: u32,
    /// How long it keeps every record at least: from the newest commit on, recovery reads them
    /// again. `None` means for ever.
    pub keeps: Option<Duration>,
}

impl TopicNeed {
    /// The control topic.
    pub fn control(prefix: &str) -> Self {
        Self {
            topic: control_topic(prefix),
            partitions: 1,
            keeps: None,
        }
    }

    /// The topic of a stream with the default window.
    pub fn data(topic: impl Into<String>, partitions: u32) -> Self {
        Self {
            topic: topic.into(),
            partitions,
            keeps: Some(recovery_span(DEFAULT_WINDOW_NS)),
        }
    }

    pub(crate) fn stream(prefix: &str, def: &StreamDef) -> Self {
        Self {
            topic: stream_topic(prefix, &def.name),
            partitions: def.partitions,
            keeps: Some(recovery_span(def.window_ns)),
        }
    }
}

/// What the services need of all topics that the control topic's view names, and of itself.
pub fn topic_needs(prefix: &str, view: &ControlView) -> Vec<TopicNeed> {
    let streams = view.streams.values();
    let streams = streams.map(|def| TopicNeed::stream(prefix, def));
    std::iter::once(TopicNeed::control(prefix))
        .chain(streams)
        .collect()
}

/// What the control topic says now, if it is there; it is not made.
pub async fn read_control(log: &dyn Log, prefix: &str) -> Result<Option<ControlView>, LogError> {
    let at = TopicPartition {
        topic: control_topic(prefix),
        partition: PartitionId(0),
    };
    if log.partitions(&at.topic).await?.is_none() {
        return Ok(None);
    }
    let range = log.range(&at).await?;
    let mut view = ControlView::default();
    let mut reader = log.read(&at, range.start).await?;
    while view.next_offset < range.end {
        for record in reader.next().await? {
            view.apply(record.offset, record.append_time_ns, &record.payload);
        }
    }
    Ok(Some(view))
}

/// An idle partition is committed once in so many windows, and recovery reads what came since.
fn recovery_span(window_ns: i64) -> Duration {
    let ns = window_ns.saturating_mul(CHECKPOINT_WINDOWS);
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::control::{ControlTopic, StreamRequest};
    use crate::{MemoryLog, SystemClock};

    #[tokio::test]
    async fn needs_follow_the_streams_and_reading_makes_nothing() {
        let clock = Arc::new(SystemClock::new());
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new(clock));
        assert!(read_control(&*log, "p").await.unwrap().is_none());
        assert_eq!(log.partitions("p._control").await.unwrap(), None);
        let control = ControlTopic::open(Arc::clone(&log), "p").await.unwrap();
        let request = StreamRequest {
            window_ns: Some(3_600_000_000_000),
            ..StreamRequest::builtin("trades").unwrap()
        };
        control.ensure_stream(&request).await.unwrap();
        let view = read_control(&*log, "p").await.unwrap().unwrap();
        let needs = topic_needs("p", &view);
        assert_eq!(needs[0], TopicNeed::control("p"));
        assert_eq!(
            (needs[1].topic.as_str(), needs[1].partitions),
            ("p.trades", 4)
        );
        assert_eq!(needs[1].keeps, Some(Duration::from_secs(60 * 3600)));
    }

    #[test]
    fn recovery_reads_up_to_sixty_windows() {
        let need = TopicNeed::data("t", 4);
        assert_eq!(need.keeps, Some(Duration::from_secs(600)));
        assert_eq!(TopicNeed::control("p").topic, "p._control");
        assert_eq!(TopicNeed::control("p").keeps, None);
    }
}
