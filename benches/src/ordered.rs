//! All rows in order, and a tenth of them from the middle: in this process, and over HTTP.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tokio::time::Instant;
use tourbillon_core::time::format_time_ns;
use tourbillon_query::QueryService;
use tourbillon_query::encode::OutputFormat;
use tourbillon_query::params::WindowParams;

use crate::peer::{Question, proof};
use crate::rig::{Rig, serve};
use crate::symbol::{ALL_COLUMNS, STREAM};
use crate::{Figure, floors};

/// A window, half-open, in ns; everything that is complete.
type Span = Option<(i64, i64)>;

pub(crate) async fn measure(
    rig: &Rig,
    service: &QueryService,
    files: &Path,
    runs: usize,
    python: Option<&Path>,
) -> anyhow::Result<Vec<Figure>> {
    let at = serve(tourbillon_query::http::router(service.clone())).await?;
    let firsts = all(inside(rig, service, None).await?).await?;
    let firsts: Vec<i64> = firsts
        .iter()
        .map(floors::first_stamp)
        .collect::<Result<_, _>>()?;
    let tenth = (firsts[firsts.len() / 2], firsts[firsts.len() * 6 / 10]);
    let mut figures = Vec::new();
    for (what, span) in [("all rows", None), ("a tenth of the rows", Some(tenth))] {
        let figure = |how: &str| Figure::new(&format!("{what} in order, {how}"), "ms");
        let (mut here, mut there) = (figure("in process"), figure("over HTTP, Arrow"));
        let proven = proof(&all(inside(rig, service, span).await?).await?)?;
        let over = proof(&all(outside(at, span).await?).await?)?;
        ensure!(over == proven, "{over:?} over HTTP, and {proven:?} here");
        for _ in 0..runs {
            let begun = Instant::now();
            inside(rig, service, span)
                .await?
                .try_for_each(async |_| Ok(()))
                .await?;
            here.values.push(begun.elapsed().as_secs_f64() * 1e3);
            let begun = Instant::now();
            outside(at, span)
                .await?
                .try_for_each(async |_| Ok(()))
                .await?;
            there.values.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        let question = Question {
            files: files.to_owned(),
            columns: ALL_COLUMNS.to_owned(),
            symbol: None,
            hlc: span.map(|(from, to)| (format_time_ns(from), format_time_ns(to))),
        };
        figures.extend([here, there]);
        figures.extend(question.beside(python, runs, &proven)?);
    }
    Ok(figures)
}

type Batches = BoxStream<'static, anyhow::Result<RecordBatch>>;

async fn inside(rig: &Rig, service: &QueryService, span: Span) -> anyhow::Result<Batches> {
    let view = rig.control.view();
    let def = view.streams.get(&rig.stream);
    let def = def.context("no stream")?;
    let mut params = WindowParams::everything(def.schema());
    params.columns = ALL_COLUMNS.split(',').map(str::to_owned).collect();
    if let Some((from, to)) = span {
        (params.start, params.end) = (from, Some(to));
    }
    let window = service.window(def, &params).await?;
    Ok(window.batches.map_err(anyhow::Error::from).boxed())
}

async fn outside(at: SocketAddr, span: Span) -> anyhow::Result<Batches> {
    let mut url = format!("http://{at}/v1/streams/{STREAM}/window?columns={ALL_COLUMNS}");
    if let Some((from, to)) = span {
        url += &format!("&start={from}&end={to}");
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    let asked = client
        .get(url)
        .header("accept", OutputFormat::Arrow.content_type());
    let body = asked.send().await?.error_for_status()?.bytes_stream();
    let start = (body, Buffer::from(Bytes::new()), StreamDecoder::new());
    let batches = stream::try_unfold(start, |(mut body, mut bytes, mut decoder)| async move {
        loop {
            if let Some(batch) = decoder.decode(&mut bytes)? {
                return Ok(Some((batch, (body, bytes, decoder))));
            }
            match body.try_next().await? {
                Some(more) => bytes = Buffer::from(more),
                None => {
                    decoder.finish()?;
                    return Ok(None);
                }
            }
        }
    });
    Ok(batches.boxed())
}

async fn all(batches: Batches) -> anyhow::Result<Vec<RecordBatch>> {
    batches.try_collect().await
}
