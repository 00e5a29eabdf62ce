//! All rows in order, and a tenth of them from the middle: in this process, and over HTTP.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use futures::TryStreamExt;
use tokio::time::Instant;
use tourbillon_core::ids::StreamName;
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
    let firsts = inside(rig, service, None).await?;
    let firsts: Vec<i64> = firsts
        .iter()
        .map(floors::first_stamp)
        .collect::<Result<_, _>>()?;
    let tenth = (firsts[firsts.len() / 2], firsts[firsts.len() * 6 / 10]);
    let mut figures = Vec::new();
    for (what, span) in [("all rows", None), ("a tenth of the rows", Some(tenth))] {
        let figure = |how: &str| Figure::new(&format!("{what} in order, {how}"), "ms");
        let (mut here, mut there) = (figure("in process"), figure("over HTTP, Arrow"));
        let proven = proof(&inside(rig, service, span).await?)?;
        for _ in 0..runs {
            let begun = Instant::now();
            let rows = inside(rig, service, span).await?;
            here.values.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(proof(&rows)? == proven, "other rows than before");
            drop(rows);
            let begun = Instant::now();
            let rows = outside(at, span).await?;
            there.values.push(begun.elapsed().as_secs_f64() * 1e3);
            ensure!(proof(&rows)? == proven, "other rows over HTTP");
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

async fn inside(rig: &Rig, service: &QueryService, span: Span) -> anyhow::Result<Vec<RecordBatch>> {
    let view = rig.control.view();
    let def = view
        .streams
        .get(&StreamName::new(STREAM)?)
        .context("no stream")?;
    let mut params = WindowParams::everything(def.schema());
    params.columns = ALL_COLUMNS.split(',').map(str::to_owned).collect();
    if let Some((from, to)) = span {
        (params.start, params.end) = (from, Some(to));
    }
    let window = service.window(def, &params).await?;
    Ok(window.batches.try_collect().await?)
}

async fn outside(at: SocketAddr, span: Span) -> anyhow::Result<Vec<RecordBatch>> {
    let mut url = format!("http://{at}/v1/streams/{STREAM}/window?columns={ALL_COLUMNS}");
    if let Some((from, to)) = span {
        url += &format!("&start={from}&end={to}");
    }
    let client = reqwest::Client::builder().no_proxy().build()?;
    let asked = client
        .get(url)
        .header("accept", OutputFormat::Arrow.content_type());
    let mut body = asked.send().await?.error_for_status()?.bytes_stream();
    let (mut decoder, mut batches) = (StreamDecoder::new(), Vec::new());
    while let Some(bytes) = body.try_next().await? {
        let mut bytes = Buffer::from(bytes);
        while !bytes.is_empty() {
            batches.extend(decoder.decode(&mut bytes)?);
        }
    }
    decoder.finish()?;
    Ok(batches)
}
