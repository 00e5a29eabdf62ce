//! Batches to a service, each until it is acknowledged.

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use rand::TryRngCore;
use rand::rngs::OsRng;
use reqwest::{StatusCode, Url};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::{Client, explain};

/// Pause before the first repeat, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Sends numbered batches of one source to a stream.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    url: Url,
    source: String,
    sequence: u64,
    retry_for: Duration,
    repeats: u64,
}

impl Sender {
    pub(crate) fn new(client: &Client, stream: &str, source: &str, retry_for: Duration) -> Self {
        Self {
            url: client.url(&["v1", "streams", stream, "events"]),
            client: client.clone(),
            source: source.to_owned(),
            sequence: 0,
            retry_for,
            repeats: 0,
        }
    }

    /// Requests that had to be sent again.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats
    }

    /// Sends the next batch and waits for its acknowledgement. What may help when repeated is
    /// repeated, under the same number, so that nothing is stored twice.
    pub(crate) async fn send(&mut self, rows: &RecordBatch) -> anyhow::Result<Value> {
        if rows.num_rows() == 0 {
            return Ok(Value::Null);
        }
        let body = encode(rows)?;
        let until = Instant::now() + self.retry_for;
        let mut pause = PAUSE.0;
        loop {
            let trouble = match self.attempt(body.clone()).await {
                Ok((status, text)) if status.is_success() => {
                    self.sequence += 1;
                    return Ok(serde_json::from_str(&text)?);
                }
                Ok((status, text)) if may_help(status) => explain(status.as_u16(), &text),
                Ok((status, text)) => bail!(
                    "batch {}: {}",
                    self.sequence,
                    explain(status.as_u16(), &text)
                ),
                Err(error) => format!("{error:#}"),
            };
            if Instant::now() + pause > until {
                bail!(
                    "batch {} was not acknowledged within {}: {trouble}",
                    self.sequence,
                    humantime::format_duration(self.retry_for)
                );
            }
            self.repeats += 1;
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn attempt(&self, body: Bytes) -> anyhow::Result<(StatusCode, String)> {
        let request = self.client.http().post(self.url.clone());
        let answer = request
            .header("content-type", "application/vnd.apache.arrow.stream")
            .header("tourbillon-source", &self.source)
            .header("tourbillon-sequence", self.sequence)
            .body(body)
            .send()
            .await
            .with_context(|| format!("cannot reach {}", self.url))?;
        Ok((answer.status(), answer.text().await?))
    }
}

fn may_help(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504)
}

fn encode(rows: &RecordBatch) -> anyhow::Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref())?;
    writer.write(rows)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// A source's name that no other load has.
pub(crate) fn one_time_source() -> anyhow::Result<String> {
    Ok(format!("load-once-{:016x}", OsRng.try_next_u64()?))
}
