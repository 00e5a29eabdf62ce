//! `tourbillon streams | partitions | writers`.

use serde_json::Value;

use crate::args::{FilesArgs, ListArgs, PartitionsArgs};
use crate::client::Client;
use crate::out::{self, Outcome};

/// Lists the streams.
pub(crate) async fn streams(args: ListArgs) -> anyhow::Result<Outcome> {
    let answer = Client::new(&args.service.url)?
        .json(&["v1", "streams"])
        .await?;
    let columns = |stream: &Value| {
        let key = list(&stream["key"]);
        let column = |c: &Value| {
            let mark = if key.contains(&cell(&c["name"])) {
                "*"
            } else {
                ""
            };
            let null = if c["nullable"] == Value::Bool(true) {
                "?"
            } else {
                ""
            };
            format!("{}{mark}:{}{null}", cell(&c["name"]), cell(&c["type"]))
        };
        let columns = stream["columns"].as_array().into_iter().flatten();
        columns.map(column).collect::<Vec<_>>().join(" ")
    };
    show(
        &args,
        &answer,
        "streams",
        &["name", "version", "partitions", "window"],
        Some(("columns (* key, ? nullable)", &columns)),
    );
    Ok(Outcome::Done)
}

/// Shows the partitions of a stream.
pub(crate) async fn partitions(args: PartitionsArgs) -> anyhow::Result<Outcome> {
    let path = ["v1", "streams", args.stream.as_str(), "partitions"];
    let answer = Client::new(&args.list.service.url)?.json(&path).await?;
    let fields = [
        "partition",
        "commit",
        "segments",
        "sealed_rows",
        "unsealed_rows",
        "next_offset",
        "lag",
        "watermark",
        "rejected_rows",
        "writers",
    ];
    show(&args.list, &answer, "partitions", &fields, None);
    if !args.list.json {
        out::line(&format!(
            "complete through {}",
            cell(&answer["complete_through"])
        ));
    }
    Ok(Outcome::Done)
}

/// Lists the files of a stream.
pub(crate) async fn files(args: FilesArgs) -> anyhow::Result<Outcome> {
    let path = ["v1", "streams", args.stream.as_str(), "files"];
    let answer = Client::new(&args.list.service.url)?.json(&path).await?;
    if args.list.json {
        out::line(&answer.to_string());
        return Ok(Outcome::Done);
    }
    let store = args.prefix.unwrap_or_else(|| cell(&answer["store"]));
    let store = store.trim_end_matches('/');
    let files = answer["files"].as_array().into_iter().flatten();
    let paths: Vec<String> = files
        .map(|file| format!("{store}/{}", cell(&file["path"])))
        .collect();
    if args.quoted {
        let quoted = |path: &String| format!("'{}'", path.replace('\'', "''"));
        out::line(&paths.iter().map(quoted).collect::<Vec<_>>().join(", "));
    } else {
        paths.iter().for_each(|path| out::line(path));
    }
    Ok(Outcome::Done)
}

/// Shows the writers.
pub(crate) async fn writers(args: ListArgs) -> anyhow::Result<Outcome> {
    let answer = Client::new(&args.service.url)?
        .json(&["v1", "writers"])
        .await?;
    let fields = [
        "writer",
        "gateway",
        "state",
        "last_hlc",
        "last_seen",
        "drift_ms",
    ];
    show(&args, &answer, "writers", &fields, None);
    Ok(Outcome::Done)
}

type Computed<'a> = (&'a str, &'a dyn Fn(&Value) -> String);

fn show(args: &ListArgs, answer: &Value, of: &str, fields: &[&str], more: Option<Computed<'_>>) {
    if args.json {
        return out::line(&answer.to_string());
    }
    let title = |name: &&str| name.replace('_', " ");
    let mut rows = vec![
        fields
            .iter()
            .map(title)
            .chain(more.map(|m| m.0.to_owned()))
            .collect(),
    ];
    for entry in answer[of].as_array().into_iter().flatten() {
        let mut row: Vec<String> = fields.iter().map(|field| cell(&entry[*field])).collect();
        row.extend(more.map(|(_, of)| of(entry)));
        rows.push(row);
    }
    out::line(out::table(&rows).trim_end());
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(_) => list(value).join(","),
        other => other.to_string(),
    }
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(cell).collect()
}
