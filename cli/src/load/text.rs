//! CSV and NDJSON as columns of text: values keep their spelling, so that prices stay exact.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use anyhow::{Context, bail};
use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field};
use serde_json::value::RawValue;

use crate::load::schema_of;

/// Longest line, bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;

fn batch(names: &[String], mut columns: Vec<StringBuilder>) -> anyhow::Result<RecordBatch> {
    let fields = names
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true));
    let arrays = columns
        .iter_mut()
        .map(|column| Arc::new(column.finish()) as ArrayRef);
    Ok(RecordBatch::try_new(
        schema_of(fields.collect()),
        arrays.collect(),
    )?)
}

/// Rows of a CSV file with a header.
pub(crate) struct CsvRows {
    reader: csv::Reader<Box<dyn BufRead + Send>>,
    fields: Vec<String>,
    places: Vec<usize>,
    batch_rows: usize,
}

impl CsvRows {
    pub(crate) fn open(text: Box<dyn BufRead + Send>, batch_rows: usize) -> anyhow::Result<Self> {
        let mut reader = csv::ReaderBuilder::new().from_reader(text);
        let fields: Vec<String> = reader
            .headers()?
            .iter()
            .map(|name| name.trim().to_owned())
            .collect();
        Ok(Self {
            reader,
            places: (0..fields.len()).collect(),
            fields,
            batch_rows,
        })
    }

    pub(crate) fn fields(&self) -> &[String] {
        &self.fields
    }

    /// Reads these fields only.
    pub(crate) fn only(mut self, wanted: &[String]) -> Self {
        let place = |name: &String| self.fields.iter().position(|field| field == name);
        self.places = wanted.iter().filter_map(place).collect();
        self
    }

    fn read(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let mut columns: Vec<_> = self.places.iter().map(|_| StringBuilder::new()).collect();
        let (mut record, mut rows) = (csv::StringRecord::new(), 0);
        while rows < self.batch_rows && self.reader.read_record(&mut record)? {
            for (place, column) in self.places.iter().zip(&mut columns) {
                column.append_option(record.get(*place).filter(|text| !text.is_empty()));
            }
            rows += 1;
        }
        let names: Vec<_> = self
            .places
            .iter()
            .map(|place| self.fields[*place].clone())
            .collect();
        (rows > 0).then(|| batch(&names, columns)).transpose()
    }
}

impl Iterator for CsvRows {
    type Item = anyhow::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Rows of an NDJSON file.
pub(crate) struct NdjsonRows {
    lines: Box<dyn BufRead + Send>,
    fields: Vec<String>,
    places: HashMap<String, usize>,
    batch_rows: usize,
    line: u64,
}

impl NdjsonRows {
    pub(crate) fn new(
        lines: Box<dyn BufRead + Send>,
        fields: Vec<String>,
        batch_rows: usize,
    ) -> Self {
        let places = fields
            .iter()
            .enumerate()
            .map(|(place, name)| (name.clone(), place))
            .collect();
        Self {
            lines,
            fields,
            places,
            batch_rows,
            line: 0,
        }
    }

    fn read(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let mut columns: Vec<_> = self.fields.iter().map(|_| StringBuilder::new()).collect();
        let (mut text, mut rows) = (String::new(), 0);
        while rows < self.batch_rows {
            text.clear();
            let mut limited = std::io::Read::take(&mut self.lines, MAX_LINE_BYTES);
            if limited
                .read_line(&mut text)
                .with_context(|| format!("line {}", self.line + 1))?
                == 0
            {
                break;
            }
            self.line += 1;
            if text.len() as u64 >= MAX_LINE_BYTES {
                bail!("line {} is longer than {MAX_LINE_BYTES} bytes", self.line);
            }
            if text.trim().is_empty() {
                continue;
            }
            let object: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(&text)
                .with_context(|| format!("line {} is not a JSON object", self.line))?;
            let mut row: Vec<Option<Cow<'_, str>>> = vec![None; columns.len()];
            for (name, value) in object {
                if let Some(place) = self.places.get(name.as_ref()) {
                    row[*place] = spelling(value)
                        .with_context(|| format!("line {}, field `{name}`", self.line))?;
                }
            }
            for (value, column) in row.into_iter().zip(&mut columns) {
                column.append_option(value);
            }
            rows += 1;
        }
        (rows > 0).then(|| batch(&self.fields, columns)).transpose()
    }
}

impl Iterator for NdjsonRows {
    type Item = anyhow::Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// A value as it is spelled; strings without their quotes.
fn spelling(value: &RawValue) -> anyhow::Result<Option<Cow<'_, str>>> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => Ok(Some(serde_json::from_str::<String>(text)?.into())),
        Some(b'{' | b'[') => bail!("must be a plain value"),
        _ => Ok(Some(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    fn text(text: &'static str) -> Box<dyn BufRead + Send> {
        Box::new(text.as_bytes())
    }

    fn column(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column
            .iter()
            .map(|value| value.map(str::to_owned))
            .collect()
    }

    #[test]
    fn csv_keeps_spelling_and_cuts_batches() {
        let rows = CsvRows::open(text("a,b,c\n1.10,x,\n2,\"y,z\",3\n5,,6\n"), 2).unwrap();
        let wanted = ["c".to_owned(), "a".to_owned()];
        let batches: Vec<_> = rows.only(&wanted).map(Result::unwrap).collect();
        assert_eq!(
            batches
                .iter()
                .map(RecordBatch::num_rows)
                .collect::<Vec<_>>(),
            [2, 1]
        );
        assert_eq!(
            column(&batches[0], "a"),
            [Some("1.10".into()), Some("2".into())]
        );
        assert_eq!(column(&batches[0], "c"), [None, Some("3".into())]);
        assert_eq!(batches[0].num_columns(), 2);
    }

    #[test]
    fn ragged_csv_is_an_error_with_its_line() {
        let mut rows = CsvRows::open(text("a,b\n1,2\n3\n"), 10).unwrap();
        let error = format!("{:#}", rows.next().unwrap().unwrap_err());
        assert!(
            error.contains("line: 3") || error.contains("line 3"),
            "{error}"
        );
    }

    #[test]
    fn ndjson_keeps_the_text_of_numbers() {
        let lines = "{\"p\":61837.630000001,\"s\":\"a\\u00e9\"}\n\n{\"s\":null,\"x\":1}\n";
        let mut rows = NdjsonRows::new(text(lines), vec!["p".into(), "s".into()], 10);
        let batch = rows.next().unwrap().unwrap();
        assert_eq!(column(&batch, "p"), [Some("61837.630000001".into()), None]);
        assert_eq!(column(&batch, "s"), [Some("aé".into()), None]);
        assert!(rows.next().is_none());
        let mut bad = NdjsonRows::new(text("{\"p\":1}\n{p}\n"), vec!["p".into()], 10);
        let error = format!("{:#}", bad.next().unwrap().unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
