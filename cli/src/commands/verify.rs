//! `tourbillon verify`.

use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::json;
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::PartitionId;
use tourbillon_shard_worker::verify::{ByHash, PartitionReport, Tell, Verifier};

use crate::args::VerifyArgs;
use crate::backbone::Backbone;
use crate::commands::witness::Witness;
use crate::out::{self, Outcome, thousands};

/// Makes everything again from the log and compares.
pub(crate) async fn run(args: VerifyArgs) -> anyhow::Result<Outcome> {
    let backbone = Backbone::storage(&args.storage).await?;
    let outcome = verify_all(&backbone, &args).await;
    backbone.close().await?;
    outcome
}

async fn verify_all(backbone: &Backbone, args: &VerifyArgs) -> anyhow::Result<Outcome> {
    let view = backbone.control.view();
    let wanted = |def: &&Arc<StreamDef>| {
        args.stream
            .as_deref()
            .is_none_or(|name| name == def.name.as_str())
    };
    let defs: Vec<_> = view.streams.values().filter(wanted).collect();
    if let (Some(stream), true) = (&args.stream, defs.is_empty()) {
        bail!("there is no stream `{stream}`");
    }
    let witness = args.witness.as_deref().map(Witness::read).transpose()?;
    let (mut total, mut heads_gone) = (Vec::new(), 0);
    for def in defs {
        if let Some(partition) = args.partition.filter(|p| *p >= def.partitions) {
            bail!("stream {} has no partition {partition}", def.name);
        }
        let partitions =
            (0..def.partitions).filter(|p| args.partition.is_none_or(|only| only == *p));
        for partition in partitions {
            let bar = out::bar(0);
            bar.set_message(format!("{} p{partition}", def.name));
            let advance = |done, total| {
                bar.set_length(total);
                bar.set_position(done);
            };
            let report = verify_partition(backbone, def, PartitionId(partition), &advance).await;
            bar.finish_and_clear();
            let mut report = report?;
            report.differences.append(&mut report.strays);
            if let Some(witness) = &witness {
                let checked = witness.check(&backbone.lake, &def.name, PartitionId(partition));
                let (lies, let_go) = checked.await?;
                report.differences.extend(lies);
                heads_gone += let_go;
            }
            if !args.json {
                tell(def, partition, &report);
            }
            total.push((def.name.as_str().to_owned(), partition, report));
        }
    }
    if args.json {
        out::line(&as_json(&total).to_string());
    } else if heads_gone > 0 {
        out::line(&format!(
            "{heads_gone} heads of the witness lie behind what retention has let go, and cannot be \
             compared any more"
        ));
    }
    let clean = total
        .iter()
        .all(|(_, _, report)| report.differences.is_empty());
    if let (true, Some(witness)) = (clean, &witness) {
        let chains = total.iter().map(|(stream, p, _)| (stream.as_str(), *p));
        let now_ns = backbone.clock.wall_ns();
        let noted = witness
            .note(&backbone.lake, chains.collect(), now_ns)
            .await?;
        if !args.json {
            let file = witness.path().display();
            out::line(&format!("noted {noted} heads in {file}"));
        }
    }
    Ok(if clean {
        Outcome::Done
    } else {
        Outcome::Difference
    })
}

/// Verifies one partition.
pub(crate) async fn verify_partition(
    backbone: &Backbone,
    def: &Arc<StreamDef>,
    partition: PartitionId,
    tell: Tell<'_>,
) -> anyhow::Result<PartitionReport> {
    let verifier = Verifier {
        log: Arc::clone(&backbone.log),
        lake: backbone.lake.clone(),
        control: backbone.control.clone(),
        def: Arc::clone(def),
        partition,
    };
    let report = verifier.run_telling(tell).await;
    report.with_context(|| format!("cannot verify {} partition {partition}", def.name))
}

fn tell(def: &StreamDef, partition: u32, report: &PartitionReport) {
    let verdict = if report.differences.is_empty() {
        "clean"
    } else {
        "DIFFERENT"
    };
    out::line(&format!(
        "{} p{partition}: {verdict}; {} commits, {} segments, {} rows sealed, {} open, {} duplicate, {} rejected{}",
        def.name,
        thousands(report.commits),
        thousands(report.segments),
        thousands(report.sealed_rows),
        thousands(report.open_rows),
        thousands(report.duplicate_rows),
        thousands(report.rejected_rows),
        if report.complete {
            ""
        } else {
            "; the worker is behind the log"
        },
    ));
    if report.compactions > 0 {
        out::line(&format!(
            "  {} compactions with {} files hold the same rows as the segments of their commits",
            thousands(report.compactions),
            thousands(report.compacted_files),
        ));
    }
    if report.gone_rows > 0 {
        out::line(&format!(
            "  {} older rows were let go by retention and cannot be checked",
            thousands(report.gone_rows)
        ));
    }
    if let Some(ByHash {
        below, segments, ..
    }) = report.by_hash
    {
        out::line(&format!(
            "  offsets below {below} are past the log's retention: {} segments checked by hash, \
             rows root and chain only",
            thousands(segments)
        ));
    }
    for difference in &report.differences {
        out::line(&format!("  {difference}"));
    }
}

fn as_json(reports: &[(String, u32, PartitionReport)]) -> serde_json::Value {
    let one = |(stream, partition, report): &(String, u32, PartitionReport)| {
        json!({
            "stream": stream,
            "partition": partition,
            "commits": report.commits,
            "segments": report.segments,
            "sealed_rows": report.sealed_rows,
            "open_rows": report.open_rows,
            "duplicate_rows": report.duplicate_rows,
            "rejected_rows": report.rejected_rows,
            "compactions": report.compactions,
            "compacted_files": report.compacted_files,
            "gone_rows": report.gone_rows,
            "by_hash": report.by_hash.map(|past| json!({
                "below_offset": past.below.0,
                "commits": past.commits,
                "segments": past.segments,
                "rows": past.rows,
            })),
            "complete": report.complete,
            "differences": report.differences,
        })
    };
    json!({ "partitions": reports.iter().map(one).collect::<Vec<_>>() })
}
