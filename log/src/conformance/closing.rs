//! What `close` promises.

use super::Subject;
use crate::{LogError, TopicNeed};

pub(super) async fn closing_delivers_what_was_enqueued_and_ends_everything(s: &Subject) {
    let to = s.partition().await;
    let mut idle = s.read(&to, 0).await;
    let mut waiting = s.read(&to, 0).await;
    let waiting = tokio::spawn(async move {
        loop {
            if let Err(error) = waiting.next().await {
                return error;
            }
        }
    });
    let mut deliveries = Vec::new();
    for i in 0..20u8 {
        deliveries.push(s.log.enqueue(&to, vec![i].into()).await.unwrap());
    }
    s.log.close().await.unwrap();
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let closed = |error: LogError| assert!(matches!(error, LogError::Closed), "{error}");
    closed(waiting.await.unwrap());
    closed(idle.next().await.unwrap_err());
    closed(s.log.enqueue(&to, "x".into()).await.unwrap_err());
    let late = TopicNeed::data("late", 1);
    closed(s.log.ensure_topic(&late).await.unwrap_err());
    closed(s.log.partitions(&to.topic).await.unwrap_err());
    closed(s.log.range(&to).await.unwrap_err());
    closed(
        s.log
            .read(&to, tourbillon_core::ids::Offset(0))
            .await
            .unwrap_err(),
    );
    s.log.close().await.unwrap();
}
