//! `tourbillon tail`: complete rows, window after window.
//!
//! Each round asks for the final rows above the last; because a final window never changes, the
//! windows follow one another without a gap and without a repeat.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use tourbillon_core::time::parse_time_ns;

use crate::args::{TailArgs, TailFormat};
use crate::client::Client;
use crate::commands::window::keys;
use crate::out::Outcome;
use crate::server::signalled;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Prints rows until interrupted.
pub(crate) async fn run(args: TailArgs) -> anyhow::Result<Outcome> {
    tokio::select! {
        stopped = signalled() => stopped.map(|()| Outcome::Done),
        followed = follow(args) => followed,
    }
}

async fn follow(args: TailArgs) -> anyhow::Result<Outcome> {
    let client = Client::new(&args.service.url)?;
    let path = ["v1", "streams", args.stream.as_str(), "window"];
    let accept = match args.format {
        TailFormat::Csv => "text/csv",
        TailFormat::Ndjson => "application/x-ndjson",
    };
    let mut next = args.from.as_deref().map(parse_time_ns).transpose()?;
    let mut header = args.format == TailFormat::Csv;
    loop {
        let mut query = keys(&args.keys)?;
        query.extend(
            args.columns
                .clone()
                .map(|columns| ("columns".to_owned(), columns)),
        );
        match next {
            Some(next) => query.push(("start".into(), next.to_string())),
            // an empty window tells how far the stream is complete
            None => query.push(("limit".into(), "1".into())),
        }
        let answer = client.get(&path, &query, accept).await?;
        let complete = answer.headers().get("tourbillon-complete-through");
        let complete = complete.and_then(|value| value.to_str().ok());
        let Some(complete) = complete.and_then(|text| parse_time_ns(text).ok()) else {
            bail!("the service does not say how far the stream is complete");
        };
        if next.is_some() && print(answer, &mut header).await? == Reader::Gone {
            return Ok(Outcome::Done);
        }
        next = Some(next.unwrap_or(0).max(complete + 1));
        tokio::time::sleep(PAUSE).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// Copies an answer; of the CSV headers only the first.
async fn print(answer: reqwest::Response, header: &mut bool) -> anyhow::Result<Reader> {
    let csv = answer
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "text/csv");
    let mut skipping = csv && !*header;
    let mut bytes = answer.bytes_stream();
    let mut out = std::io::stdout();
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.context("the answer broke off")?;
        let mut rows = &chunk[..];
        if skipping {
            let end = rows.iter().position(|byte| *byte == b'\n');
            rows = end.map_or(&[], |end| &rows[end + 1..]);
            skipping = end.is_none();
        }
        if out.write_all(rows).and_then(|()| out.flush()).is_err() {
            return Ok(Reader::Gone);
        }
    }
    *header = false;
    Ok(Reader::There)
}
