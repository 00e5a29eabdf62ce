//! `tourbillon tail`: complete rows, as soon as they are.
//!
//! An ordered subscription as an Arrow stream, printed batch by batch in the way of the service.
//! When the connection breaks, or the service ends it, another one goes on after the last row that
//! was printed.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::{AsArray, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{TimestampNanosecondType, UInt32Type};
use arrow::ipc::reader::StreamDecoder;
use futures::StreamExt;
use reqwest::{RequestBuilder, Response};
use tokio::time::{Instant, sleep, timeout};
use tourbillon_query::encode::{Encoder, OutputFormat};

use crate::args::{TailArgs, TailFormat};
use crate::client::{Client, checked};
use crate::commands::print::keys;
use crate::out::{Outcome, note};
use crate::server::signalled;

/// Pause before the first new connection, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A service says something every second, unless its store is away: then it gives up after 30 s.
const SILENCE: Duration = Duration::from_secs(45);

/// The columns of a cursor.
const KEY: [&str; 2] = ["hlc", "writer"];

/// Prints rows until interrupted.
pub(crate) async fn run(args: TailArgs) -> anyhow::Result<Outcome> {
    let mut out = std::io::stdout();
    tokio::select! {
        stopped = signalled() => stopped.map(|()| Outcome::Done),
        followed = follow(args, &mut out) => followed,
    }
}

async fn follow(args: TailArgs, out: &mut (impl Write + Send)) -> anyhow::Result<Outcome> {
    let mut tail = Tail::new(args)?;
    // what is wrong with the request will not come right
    let mut answer = checked(sent(tail.request()).await?).await?;
    loop {
        let why = match tail.print(answer, out).await? {
            Ended::ReaderGone => return Ok(Outcome::Done),
            Ended::Broken(why) => why,
        };
        answer = tail.again(&why).await?;
    }
}

async fn sent(request: RequestBuilder) -> anyhow::Result<Response> {
    request.send().await.context("cannot reach the service")
}

/// How a connection ended.
enum Ended {
    /// Whoever read the output has gone.
    ReaderGone,
    /// This happened.
    Broken(String),
}

/// Where the next connection goes on, and what is printed of it.
struct Tail {
    client: Client,
    stream: String,
    keys: Vec<(String, String)>,
    /// Where to begin, or a cursor.
    from: Option<String>,
    /// The columns to ask for: those of the first answer from then on.
    columns: Option<String>,
    /// Columns at the end that were asked for only to know where to go on.
    hidden: usize,
    lines: Lines,
    retry_for: Duration,
    /// When something came.
    heard: Instant,
}

impl Tail {
    fn new(args: TailArgs) -> anyhow::Result<Self> {
        let format = match args.format {
            TailFormat::Csv => OutputFormat::Csv,
            TailFormat::Ndjson => OutputFormat::NdJson,
        };
        let (columns, hidden) = match &args.columns {
            Some(columns) => {
                let (columns, hidden) = with_key(columns);
                (Some(columns), hidden)
            }
            None => (None, 0),
        };
        let encoder = None;
        Ok(Self {
            client: Client::new(&args.service.url)?,
            stream: args.stream,
            keys: keys(&args.keys)?,
            from: args.from,
            columns,
            hidden,
            lines: Lines { encoder, format },
            retry_for: args.retry_for,
            heard: Instant::now(),
        })
    }

    /// The next request.
    fn request(&self) -> RequestBuilder {
        let path = ["v1", "streams", self.stream.as_str(), "subscribe"];
        let mut query = self.keys.clone();
        let asked = [("columns", &self.columns), ("from", &self.from)];
        let asked = asked.map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        query.extend(asked.into_iter().flatten());
        let url = self.client.url(&path);
        let request = self.client.http().get(url).query(&query);
        request.header("accept", OutputFormat::Arrow.content_type())
    }

    /// Prints what an answer brings, and remembers where it stopped.
    async fn print(
        &mut self,
        answer: Response,
        out: &mut (impl Write + Send),
    ) -> anyhow::Result<Ended> {
        let broken = |why: &str| Ok(Ended::Broken(why.to_owned()));
        // before the first row this is where the subscription stands
        if let Some(cursor) = answer.headers().get("tourbillon-cursor") {
            self.from = Some(cursor.to_str()?.to_owned());
        }
        let (mut bytes, mut decoder) = (answer.bytes_stream(), StreamDecoder::new());
        loop {
            let chunk = match timeout(SILENCE, bytes.next()).await {
                Err(_) => return broken("the service has fallen silent"),
                Ok(None) => return broken("the service ended the subscription"),
                Ok(Some(Err(error))) => return broken(&format!("the answer broke off: {error}")),
                Ok(Some(Ok(chunk))) => chunk,
            };
            self.heard = Instant::now();
            let mut chunk: Buffer = chunk.into();
            while let Some(batch) = decoder.decode(&mut chunk)? {
                let text = self.lines.of(&batch, self.hidden)?;
                if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                    return Ok(Ended::ReaderGone);
                }
                self.printed(&batch)?;
            }
        }
    }

    /// Goes on after the last row of a batch from now on.
    fn printed(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        if self.columns.is_none() {
            // the stream may gain columns, and lines must stay alike
            let schema = batch.schema();
            let names = schema.fields().iter().map(|field| field.name().as_str());
            self.columns = Some(names.collect::<Vec<_>>().join(","));
        }
        let Some(last) = batch.num_rows().checked_sub(1) else {
            return Ok(());
        };
        let [hlc, writer] = KEY.map(|name| batch.column_by_name(name));
        let (hlc, writer) = hlc.zip(writer).context("the rows have no key")?;
        let hlc = hlc.as_primitive_opt::<TimestampNanosecondType>();
        let writer = writer.as_primitive_opt::<UInt32Type>();
        let (hlc, writer) = hlc.zip(writer).context("the key is of another type")?;
        self.from = Some(format!("o1.{}-{}", hlc.value(last), writer.value(last)));
        Ok(())
    }

    /// Another connection, if there is one before patience ends.
    async fn again(&mut self, why: &str) -> anyhow::Result<Response> {
        let (until, mut pause) = (self.heard + self.retry_for, PAUSE.0);
        let mut why = why.to_owned();
        let mut told = false;
        loop {
            if Instant::now() + pause > until {
                let patience = humantime::format_duration(self.retry_for);
                bail!("{why}; given up after {patience}");
            }
            if !told {
                note(&format!("{why}: trying again"));
                told = true;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            let request = self.request();
            why = match sent(request).await {
                Ok(answer) if !answer.status().is_server_error() => return checked(answer).await,
                Ok(answer) => match checked(answer).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => format!("{error:#}"),
                },
                Err(error) => format!("{error:#}"),
            };
        }
    }
}

/// The columns with those of the key, and how many of these were not among them.
fn with_key(columns: &str) -> (String, usize) {
    let asked = |name: &&str| !columns.split(',').any(|column| column.trim() == *name);
    let lacking: Vec<&str> = KEY.into_iter().filter(asked).collect();
    let hidden = lacking.len();
    let all = [columns].into_iter().chain(lacking);
    (all.collect::<Vec<_>>().join(","), hidden)
}

/// Batches in, lines out.
struct Lines {
    /// From the first batch on, which may be without rows; one for all connections.
    encoder: Option<Encoder>,
    format: OutputFormat,
}

impl Lines {
    fn of(&mut self, batch: &RecordBatch, hidden: usize) -> anyhow::Result<Vec<u8>> {
        let shown: Vec<usize> = (0..batch.num_columns() - hidden).collect();
        let batch = batch.project(&shown)?;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.format, &batch.schema())?),
        };
        Ok(encoder.encode(&batch)?.to_vec())
    }
}

#[cfg(test)]
#[path = "tail_tests.rs"]
mod tests;
