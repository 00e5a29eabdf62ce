//! Removing the earlier writers of this gateway that did not leave.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tourbillon_core::broken::{Rule, broken};
use tourbillon_core::control::{ControlRecord, WriterInfo};
use tourbillon_core::ids::WriterId;
use tourbillon_log::fence::fence_everywhere;

use super::Writer;
use crate::error::IngestError;

/// Fences those that cannot acknowledge any more, because they lived in this process or the log
/// has no other user. To be called before opening: a gateway whose writers end one after another
/// would otherwise always have one that holds the watermark where it was.
pub(super) async fn fence_own(writer: &Writer) -> Result<(), IngestError> {
    let view = writer.env.control.view();
    for id in view.lingering(&writer.settings.name, writer.id) {
        let info = view.writers.get(&id).filter(|_| id < writer.id);
        if info.is_some_and(|info| cannot_acknowledge(writer, info)) {
            fence(writer, id).await?;
        }
    }
    Ok(())
}

/// Fences the others, after twice their lease.
pub(super) async fn fence_others(writer: Arc<Writer>) -> Result<(), IngestError> {
    let control = &writer.env.control;
    let view = control.view();
    let (mut waiting, mut longest) = (Vec::new(), Duration::ZERO);
    let older = view.lingering(&writer.settings.name, writer.id);
    for id in older.into_iter().filter(|id| *id < writer.id) {
        let Some(info) = view.writers.get(&id) else {
            continue;
        };
        if broken(Rule::FenceWaits) {
            fence(&writer, id).await?;
            continue;
        }
        let intent = ControlRecord::FenceIntent { writer: id };
        let told = control.append(&intent).await;
        told.map_err(IngestError::ControlTopic)?;
        longest = longest.max(Duration::from_nanos(info.lease_ns.unsigned_abs()));
        waiting.push(id);
    }
    if waiting.is_empty() {
        return Ok(());
    }
    sleep(2 * longest).await;
    for id in waiting {
        fence(&writer, id).await?;
    }
    Ok(())
}

fn cannot_acknowledge(writer: &Writer, info: &WriterInfo) -> bool {
    let here = format!("{}-", writer.settings.nonce);
    writer.env.log.exclusive() || info.nonce.starts_with(&here)
}

async fn fence(writer: &Writer, id: WriterId) -> Result<(), IngestError> {
    let env = &writer.env;
    fence_everywhere(env.log.as_ref(), &env.control, id).await?;
    tracing::info!(writer = id.0, "earlier writer fenced");
    Ok(())
}
