//! `tourbillon sql`.

use std::io::Read;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use crate::args::SqlCommandArgs;
use crate::client::Client;
use crate::commands::print;
use crate::out::{self, Outcome};

/// Prints the answer to a statement as the service streams it.
pub(crate) async fn run(args: SqlCommandArgs) -> anyhow::Result<Outcome> {
    let client = Client::new(&args.service.url)?;
    let body = body(&args, statement(&args)?);
    let path = ["v1", "sql"];
    let answer = client
        .post(&path, &body, print::accept(args.print.format))
        .await?;
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let snapshot = header("tourbillon-snapshot");
    if let Some(rows) = print::copy(answer, &args.print).await? {
        out::note(&format!("{} rows", out::thousands(rows)));
    }
    if args.show_snapshot
        && let Some(snapshot) = snapshot
    {
        out::note(&format!("snapshot {snapshot}"));
    }
    Ok(Outcome::Done)
}

/// The text of the statement: given, in a file, or on standard input.
fn statement(args: &SqlCommandArgs) -> anyhow::Result<String> {
    match (&args.statement, &args.file) {
        (Some(text), None) if text == "-" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            read.context("cannot read the statement from standard input")?;
            Ok(text)
        }
        (Some(text), None) => Ok(text.clone()),
        (None, Some(path)) => {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        }
        _ => bail!("give one statement: as an argument, with --file, or `-` for standard input"),
    }
}

fn body(args: &SqlCommandArgs, statement: String) -> Value {
    let members = [
        ("query", Some(statement)),
        ("snapshot", args.snapshot.clone()),
        ("consistency", args.consistency.clone()),
        ("wait", args.wait.clone()),
    ];
    let given = members
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), Value::String(value?))));
    Value::Object(given.collect::<Map<_, _>>())
}
