//! Which field of a file becomes which column of a stream.

use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};

use crate::args::FileArgs;
use crate::client::Client;
use crate::load::schema_of;

/// Units of whole-number times: name and nanoseconds.
const UNITS: [(&str, i64); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The columns of a stream, as the service tells them.
#[derive(Clone, Debug)]
pub(crate) struct StreamColumns {
    pub(crate) stream: String,
    pub(crate) names: Vec<String>,
    pub(crate) required: Vec<String>,
    pub(crate) event_time: Option<String>,
}

impl StreamColumns {
    pub(crate) async fn fetch(client: &Client, stream: &str) -> anyhow::Result<Self> {
        let told = client.json(&["v1", "streams", stream]).await?;
        let columns = told["columns"]
            .as_array()
            .context("the service lists no columns")?;
        let name =
            |column: &serde_json::Value| column["name"].as_str().unwrap_or_default().to_owned();
        let required = columns.iter().filter(|column| column["nullable"] != true);
        Ok(Self {
            stream: stream.to_owned(),
            names: columns.iter().map(name).collect(),
            required: required.map(name).collect(),
            event_time: told["event_time"].as_str().map(str::to_owned),
        })
    }
}

impl StreamColumns {
    /// The column whose times say how fast rows came.
    pub(crate) fn paced_by(&self) -> anyhow::Result<String> {
        let column = self.event_time.clone();
        column.with_context(|| {
            format!(
                "--speed needs an event time, which stream {} has not",
                self.stream
            )
        })
    }
}

/// Where a column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    column: String,
    from: From,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    /// A field, times nanoseconds a unit if it is a time in another unit.
    Field { name: String, unit_ns: Option<i64> },
    /// One value for all rows.
    Value(String),
}

/// The rules of a load.
#[derive(Clone, Debug)]
pub(crate) struct Mapping {
    rules: Vec<Rule>,
    left_out: Vec<String>,
}

impl Mapping {
    /// Reads the rules. `fields` are those of the file, or none if they vary from row to row.
    pub(crate) fn new(
        args: &FileArgs,
        stream: &StreamColumns,
        fields: Option<&[String]>,
    ) -> anyhow::Result<Self> {
        let mut rules = Vec::new();
        for text in &args.map {
            rules.push(parse_map(text)?);
        }
        for text in &args.set {
            let (column, value) = text
                .split_once('=')
                .with_context(|| format!("--set {text}: write COLUMN=VALUE"))?;
            rules.push(Rule {
                column: column.to_owned(),
                from: From::Value(value.to_owned()),
            });
        }
        for (i, rule) in rules.iter().enumerate() {
            if !stream.names.contains(&rule.column) {
                bail!(
                    "stream {} has no column `{}`: there are {}",
                    stream.stream,
                    rule.column,
                    stream.names.join(", ")
                );
            }
            if rules[..i].iter().any(|other| other.column == rule.column) {
                bail!("column `{}` is mapped twice", rule.column);
            }
            if let (From::Field { name, .. }, Some(fields)) = (&rule.from, fields)
                && !fields.contains(name)
            {
                bail!(
                    "the file has no field `{name}`: there are {}",
                    fields.join(", ")
                );
            }
        }
        let mapped = |column: &String| rules.iter().any(|rule| rule.column == *column);
        let own = stream.names.iter().filter(|column| !mapped(column));
        let own = own.filter(|column| fields.is_none_or(|fields| fields.contains(column)));
        let own: Vec<_> = own
            .map(|column| Rule {
                column: column.clone(),
                from: From::Field {
                    name: column.clone(),
                    unit_ns: None,
                },
            })
            .collect();
        rules.extend(own);
        let missing = stream
            .required
            .iter()
            .find(|column| !rules.iter().any(|rule| rule.column == **column));
        if let Some(column) = missing {
            let fields = fields.unwrap_or_default().join(", ");
            bail!(
                "no field of the file becomes column `{column}`, which is required: say --map {column}=FIELD (fields: {fields})"
            );
        }
        let used = |field: &&String| {
            !rules
                .iter()
                .any(|rule| matches!(&rule.from, From::Field { name, .. } if name == *field))
        };
        let left_out = fields
            .unwrap_or_default()
            .iter()
            .filter(used)
            .cloned()
            .collect();
        Ok(Self { rules, left_out })
    }

    /// Fields that no column takes.
    pub(crate) fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Fields that are needed, in the order of the rules, each once.
    pub(crate) fn fields(&self) -> Vec<String> {
        let mut fields: Vec<String> = Vec::new();
        for rule in &self.rules {
            if let From::Field { name, .. } = &rule.from
                && !fields.contains(name)
            {
                fields.push(name.clone());
            }
        }
        fields
    }

    /// The columns of `batch`, which `before` rows precede in the file. Fields that a batch lacks
    /// are left out.
    pub(crate) fn apply(&self, batch: &RecordBatch, before: u64) -> anyhow::Result<RecordBatch> {
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for rule in &self.rules {
            let column: ArrayRef = match &rule.from {
                From::Value(value) => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(
                    value,
                    batch.num_rows(),
                ))),
                From::Field { name, unit_ns } => match (batch.column_by_name(name), unit_ns) {
                    (None, _) => continue,
                    (Some(column), None) => Arc::clone(column),
                    (Some(column), Some(unit)) => nanoseconds(column, *unit, name, before)?,
                },
            };
            fields.push(Field::new(&rule.column, column.data_type().clone(), true));
            columns.push(column);
        }
        let schema: SchemaRef = schema_of(fields);
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

fn parse_map(text: &str) -> anyhow::Result<Rule> {
    let (column, field) = text
        .split_once('=')
        .with_context(|| format!("--map {text}: write COLUMN=FIELD or COLUMN=FIELD:UNIT"))?;
    let unit = |unit: &str| {
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, ns)| *ns)
    };
    let from = match field.rsplit_once(':') {
        Some((name, text)) => match unit(text) {
            Some(ns) => From::Field {
                name: name.to_owned(),
                unit_ns: Some(ns),
            },
            None => bail!("--map {column}={field}: `{text}` is no unit: use s, ms, us or ns"),
        },
        None => From::Field {
            name: field.to_owned(),
            unit_ns: None,
        },
    };
    Ok(Rule {
        column: column.to_owned(),
        from,
    })
}

/// Whole numbers of a unit as nanoseconds since the epoch.
fn nanoseconds(
    column: &ArrayRef,
    unit_ns: i64,
    name: &str,
    before: u64,
) -> anyhow::Result<ArrayRef> {
    let counts = match column.data_type() {
        DataType::Utf8 => parse_counts(column, name, before)?,
        kind if kind.is_integer() => cast(column, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone(),
        other => bail!("field `{name}` is {other}: only whole numbers have a unit"),
    };
    let scaled: Int64Array = counts.unary_opt(|count: i64| count.checked_mul(unit_ns));
    if let Some(row) = (0..scaled.len()).find(|row| scaled.is_null(*row) && counts.is_valid(*row)) {
        bail!(
            "row {}, field `{name}`: {} is out of range",
            before + row as u64 + 1,
            counts.value(row)
        );
    }
    Ok(Arc::new(scaled))
}

fn parse_counts(column: &ArrayRef, name: &str, before: u64) -> anyhow::Result<Int64Array> {
    let parse = |(row, text): (usize, Option<&str>)| -> anyhow::Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        let count = text.trim().parse();
        let count = count.with_context(|| {
            let shown: String = text.chars().take(40).collect();
            format!(
                "row {}, field `{name}`: `{shown}` is not a whole number",
                before + row as u64 + 1
            )
        })?;
        Ok(Some(count))
    };
    column
        .as_string::<i32>()
        .iter()
        .enumerate()
        .map(parse)
        .collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;

    use super::*;

    fn stream() -> StreamColumns {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        StreamColumns {
            stream: "trades".into(),
            names: names(&["symbol", "ts_event", "price", "seq"]),
            required: names(&["symbol", "ts_event"]),
            event_time: Some("ts_event".into()),
        }
    }

    fn args(map: &[&str], set: &[&str]) -> FileArgs {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        FileArgs {
            format: None,
            map: owned(map),
            set: owned(set),
        }
    }

    fn fields(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn own_names_maps_and_values_meet() {
        let fields = fields(&["ms", "price", "junk"]);
        let args = args(&["ts_event=ms:ms"], &["symbol=X"]);
        let mapping = Mapping::new(&args, &stream(), Some(&fields)).unwrap();
        assert_eq!(mapping.left_out(), ["junk"]);
        assert_eq!(mapping.fields(), ["ms", "price"]);
        let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("ms", text(vec![Some("5"), Some("7")]), true),
            ("price", text(vec![Some("1.10"), None]), true),
        ])
        .unwrap();
        let rows = mapping.apply(&batch, 0).unwrap();
        assert_eq!(
            rows.column_by_name("ts_event")
                .unwrap()
                .as_primitive::<Int64Type>()
                .values(),
            &[5_000_000, 7_000_000]
        );
        assert_eq!(
            rows.column_by_name("symbol")
                .unwrap()
                .as_string::<i32>()
                .value(1),
            "X"
        );
        assert_eq!(
            rows.column_by_name("price")
                .unwrap()
                .as_string::<i32>()
                .value(0),
            "1.10"
        );
    }

    #[test]
    fn bad_times_name_the_row_of_the_file() {
        let args = args(&["ts_event=ms:s"], &["symbol=X"]);
        let mapping = Mapping::new(&args, &stream(), None).unwrap();
        let batch = |column: ArrayRef| RecordBatch::try_from_iter([("ms", column)]).unwrap();
        let text = batch(Arc::new(StringArray::from(vec!["1", "soon"])));
        let error = format!("{:#}", mapping.apply(&text, 100).unwrap_err());
        assert!(
            error.contains("row 102") && error.contains("soon"),
            "{error}"
        );
        assert!(
            mapping
                .apply(&batch(Arc::new(Int64Array::from(vec![i64::MAX]))), 0)
                .is_err()
        );
        assert!(
            mapping
                .apply(&batch(Arc::new(Int32Array::from(vec![1]))), 0)
                .is_ok()
        );
    }

    #[test]
    fn wrong_rules_are_explained() {
        let fields = fields(&["symbol", "ms"]);
        let cases = [
            (vec!["ts_event=ms:h"], "no unit"),
            (vec!["ts_event"], "write COLUMN=FIELD"),
            (vec!["nope=ms"], "no column `nope`"),
            (vec!["ts_event=mss"], "no field `mss`"),
            (vec!["ts_event=ms", "ts_event=ms"], "twice"),
            (vec![], "ts_event"),
        ];
        for (map, expected) in cases {
            let error = Mapping::new(&args(&map, &[]), &stream(), Some(&fields)).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
