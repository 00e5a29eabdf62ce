//! Columns that lines carry and a stream lacks.

use std::collections::HashMap;

use tourbillon_core::schema::{Column, ColumnType};

use super::lex::{Entries, Value};
use crate::parse::column::snippet;
use crate::parse::rows::Fault;

/// Event-time column of a stream made from line protocol.
pub const EVENT_TIME: &str = "ts_event";

/// A stream to create, or columns to add to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Name of the stream.
    pub measurement: String,
    /// Whether the stream does not exist.
    pub new_stream: bool,
    /// Columns to create it with, or to add: all nullable.
    pub columns: Vec<Column>,
    /// Key of a new stream: the tags, in order of first appearance.
    pub key: Vec<String>,
    /// Event-time column of a new stream.
    pub event_time: Option<String>,
}

/// A proposal in the making. The first value of a column decides its type.
#[derive(Debug, Default)]
pub(super) struct Draft {
    tags: Vec<Column>,
    fields: Vec<Column>,
    /// Last line that carried each column.
    seen: HashMap<Vec<u8>, u64>,
}

impl Draft {
    /// Takes every column of a line.
    pub(super) fn add_all(&mut self, row: u64, entries: &Entries<'_>) -> Result<(), Fault> {
        self.add_some(row, entries, |_| true)
    }

    /// Takes the columns of a line that are `unknown`.
    pub(super) fn add_some(
        &mut self,
        row: u64,
        entries: &Entries<'_>,
        mut unknown: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), Fault> {
        for (name, value) in entries.iter().filter(|(name, _)| unknown(name)) {
            match self.seen.get_mut(name.as_ref()) {
                Some(last) if *last == row => {
                    return Err(Fault {
                        column: Some(snippet(name)),
                        reason: "is given twice".to_owned(),
                    });
                }
                Some(last) => *last = row,
                None => {
                    self.seen.insert(name.to_vec(), row);
                    let columns = match value {
                        Value::Tag(_) => &mut self.tags,
                        _ => &mut self.fields,
                    };
                    columns.push(Column::optional(
                        &String::from_utf8_lossy(name),
                        type_of(value),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The proposal, if there is something to propose.
    pub(super) fn finish(self, measurement: &str, new_stream: bool) -> Option<Proposal> {
        if self.seen.is_empty() {
            return None;
        }
        let (mut columns, mut fields, mut key) = (self.tags, self.fields, Vec::new());
        if new_stream {
            // a tag or field of that name fills the event time itself
            columns.retain(|tag| tag.name != EVENT_TIME);
            fields.retain(|field| field.name != EVENT_TIME);
            key.extend(columns.iter().map(|tag| tag.name.clone()));
            columns.push(Column::optional(EVENT_TIME, ColumnType::Timestamp));
        }
        columns.append(&mut fields);
        Some(Proposal {
            measurement: measurement.to_owned(),
            new_stream,
            columns,
            key,
            event_time: new_stream.then(|| EVENT_TIME.to_owned()),
        })
    }
}

fn type_of(value: &Value<'_>) -> ColumnType {
    match value {
        Value::Tag(_) | Value::String(_) => ColumnType::String,
        Value::Float(_) => ColumnType::Float64,
        Value::Integer(_) => ColumnType::Int64,
        Value::Unsigned(_) => ColumnType::UInt64,
        Value::Bool(_) => ColumnType::Bool,
        Value::Time(_) => ColumnType::Timestamp,
    }
}
