//! Removing the earlier writers of this gateway that did not leave.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::time::sleep;
use tourbillon_core::control::ControlRecord;
use tourbillon_core::frame::{FrameHeader, FrameKind};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{PartitionId, WriterId};
use tourbillon_log::TopicPartition;

use super::Writer;
use crate::error::IngestError;
use crate::settings::Environment;

/// Fences them all: at once those that cannot acknowledge any more, because they lived in this
/// process or the log has no other user; the others after twice the lease.
pub(super) async fn fence_predecessors(writer: Arc<Writer>) -> Result<(), IngestError> {
    let env = &writer.env;
    let view = env.control.view();
    let mut waiting = BTreeSet::new();
    for id in view.lingering(&writer.settings.name, writer.id) {
        if id > writer.id {
            continue;
        }
        let here = format!("{}-", writer.settings.nonce);
        let ours = view
            .writers
            .get(&id)
            .is_some_and(|info| info.nonce.starts_with(&here));
        if ours || env.log.exclusive() {
            fence(env, id).await?;
        } else {
            let intent = ControlRecord::FenceIntent { writer: id };
            env.control
                .append(&intent)
                .await
                .map_err(IngestError::ControlTopic)?;
            waiting.insert(id);
        }
    }
    if waiting.is_empty() {
        return Ok(());
    }
    sleep(2 * writer.settings.lease).await;
    for id in waiting {
        fence(env, id).await?;
    }
    Ok(())
}

/// Writes FENCE into every partition of every stream, then says so.
async fn fence(env: &Environment, writer: WriterId) -> Result<(), IngestError> {
    env.control
        .catch_up()
        .await
        .map_err(IngestError::ControlTopic)?;
    for def in env.control.view().streams.values() {
        let topic = env.control.stream_topic(&def.name);
        for partition in (0..def.partitions).map(PartitionId) {
            let at = TopicPartition {
                topic: topic.clone(),
                partition,
            };
            let frame = FrameHeader::bare(FrameKind::Fence, writer, 0, Hlc::MIN).encode(&[]);
            let frame = frame.map_err(|source| IngestError::Frame {
                at: at.clone(),
                source,
            })?;
            let failed = |source| IngestError::Log {
                step: "fence a writer in",
                at: at.clone(),
                source: Box::new(source),
            };
            env.log
                .enqueue(&at, frame)
                .await
                .map_err(failed)?
                .await
                .map_err(failed)?;
        }
    }
    let fenced = ControlRecord::Fenced { writer };
    env.control
        .append(&fenced)
        .await
        .map_err(IngestError::ControlTopic)?;
    tracing::info!(writer = writer.0, "earlier writer fenced");
    Ok(())
}
