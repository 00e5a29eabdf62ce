//! `tourbillon tail`: complete rows, as soon as they are.
//!
//! An ordered subscription as an Arrow stream, printed batch by batch in the way of the service.

use std::io::Write;

use anyhow::{Context, bail};
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use tourbillon_query::encode::{Encoder, OutputFormat};

use crate::args::{TailArgs, TailFormat};
use crate::client::Client;
use crate::commands::print::keys;
use crate::out::Outcome;
use crate::server::signalled;

/// Prints rows until interrupted.
pub(crate) async fn run(args: TailArgs) -> anyhow::Result<Outcome> {
    tokio::select! {
        stopped = signalled() => stopped.map(|()| Outcome::Done),
        followed = follow(args) => followed,
    }
}

async fn follow(args: TailArgs) -> anyhow::Result<Outcome> {
    let client = Client::new(&args.service.url)?;
    let path = ["v1", "streams", args.stream.as_str(), "subscribe"];
    let mut query = keys(&args.keys)?;
    let asked = [("columns", args.columns), ("from", args.from)];
    let asked = asked.map(|(name, value)| value.map(|value| (name.to_owned(), value)));
    query.extend(asked.into_iter().flatten());
    let accept = OutputFormat::Arrow.content_type();
    let answer = client.get(&path, &query, accept).await?;
    let mut lines = Lines {
        decoder: StreamDecoder::new(),
        encoder: None,
        format: match args.format {
            TailFormat::Csv => OutputFormat::Csv,
            TailFormat::Ndjson => OutputFormat::NdJson,
        },
    };
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout();
    while let Some(chunk) = bytes.next().await {
        let text = lines.of(chunk.context("the answer broke off")?.into())?;
        if out.write_all(&text).and_then(|()| out.flush()).is_err() {
            // whoever read has gone
            return Ok(Outcome::Done);
        }
    }
    bail!("the service ended the subscription: it stops, or rows were read too slowly")
}

/// Arrow in, lines out.
struct Lines {
    decoder: StreamDecoder,
    /// From the first batch on, which may be without rows.
    encoder: Option<Encoder>,
    format: OutputFormat,
}

impl Lines {
    fn of(&mut self, mut bytes: Buffer) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        while let Some(batch) = self.decoder.decode(&mut bytes)? {
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(Encoder::new(self.format, &batch.schema())?),
            };
            text.extend_from_slice(&encoder.encode(&batch)?);
        }
        Ok(text)
    }
}
