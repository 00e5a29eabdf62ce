//! Typed columns of a stream, and the Arrow schemas that follow from them.
//!
//! Columns are only ever added (nullable, at the end), so a batch written under an older version
//! becomes one of a newer version by appending null columns.

mod builtin;
mod types;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use thiserror::Error;

pub use builtin::builtin_streams;
pub use types::{ColumnType, TypeError};

use crate::error::ErrorKind;
use crate::ids::{NameError, check_plain_name};

/// Most columns a stream may have.
pub const MAX_COLUMNS: usize = 1024;

/// Columns that every stored row has before the stream's own: its key and its place in the log.
pub const SYSTEM_COLUMNS: [&str; 3] = ["hlc", "writer", "log_offset"];

/// One column of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Unique within the stream.
    pub name: String,
    /// Type of its values.
    pub ty: ColumnType,
    /// Whether a row may lack it.
    pub nullable: bool,
}

impl Column {
    /// A column that every row must fill.
    pub fn required(name: &str, ty: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            nullable: false,
        }
    }

    /// A column that rows may leave out.
    pub fn optional(name: &str, ty: ColumnType) -> Self {
        Self {
            name: name.to_owned(),
            ty,
            nullable: true,
        }
    }
}

/// Why a schema, or a change to one, was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// A name that cannot serve as a column.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No columns, or too many.
    #[error("a stream has 1 to {MAX_COLUMNS} columns, not {0}")]
    ColumnCount(usize),
    /// Two columns of one name.
    #[error("column `{0}` is given twice")]
    Twice(String),
    /// A name the system uses for itself.
    #[error("column `{0}` is reserved: every row has hlc, writer and log_offset")]
    Reserved(String),
    /// Key or event time names no column.
    #[error("{role} `{column}` is not one of the columns")]
    Unknown {
        /// `key` or `event_time`.
        role: &'static str,
        /// The name given.
        column: String,
    },
    /// Key or event time of an unfit type.
    #[error("{role} `{column}` cannot be of type {ty}")]
    Unfit {
        /// `key` or `event_time`.
        role: &'static str,
        /// The column.
        column: String,
        /// Its type.
        ty: ColumnType,
    },
    /// A change that would alter the meaning of stored rows.
    #[error("column `{column}` cannot change: {reason}")]
    Incompatible {
        /// The column.
        column: String,
        /// What was tried.
        reason: &'static str,
    },
}

impl SchemaError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The checked columns of a stream at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSchema {
    columns: Vec<Column>,
    key: Vec<usize>,
    event_time: Option<usize>,
    data: SchemaRef,
    stored: SchemaRef,
}

impl StreamSchema {
    /// Checks columns, key and event time.
    pub fn new(
        columns: Vec<Column>,
        key: &[impl AsRef<str>],
        event_time: Option<&str>,
    ) -> Result<Self, SchemaError> {
        if columns.is_empty() || columns.len() > MAX_COLUMNS {
            return Err(SchemaError::ColumnCount(columns.len()));
        }
        let mut seen = HashSet::new();
        for column in &columns {
            check_column_name(&column.name)?;
            if !seen.insert(column.name.as_str()) {
                return Err(SchemaError::Twice(column.name.clone()));
            }
        }
        let key = key
            .iter()
            .map(|name| find(&columns, "key", name.as_ref(), ColumnType::can_be_key))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(&twice) = key
            .iter()
            .enumerate()
            .find(|(i, k)| key[..*i].contains(k))
            .map(|x| x.1)
        {
            return Err(SchemaError::Twice(columns[twice].name.clone()));
        }
        let is_time = |ty: &ColumnType| *ty == ColumnType::Timestamp;
        let event_time = event_time
            .map(|name| find(&columns, "event_time", name, is_time))
            .transpose()?;
        Ok(Self::assemble(columns, key, event_time))
    }

    fn assemble(columns: Vec<Column>, key: Vec<usize>, event_time: Option<usize>) -> Self {
        let own: Vec<Field> = columns
            .iter()
            .map(|c| Field::new(&c.name, c.ty.arrow(), c.nullable))
            .collect();
        let data = Arc::new(Schema::new(own.clone()));
        let stored = Arc::new(Schema::new([system_fields().to_vec(), own].concat()));
        Self {
            columns,
            key,
            event_time,
            data,
            stored,
        }
    }

    /// The stream's own columns, in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Indices of the key columns.
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// Names of the key columns.
    pub fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(|&i| self.columns[i].name.as_str())
    }

    /// Index of the event-time column.
    pub fn event_time(&self) -> Option<usize> {
        self.event_time
    }

    /// Index of a column by name.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }

    /// Arrow schema of the stream's own columns.
    pub fn data(&self) -> &SchemaRef {
        &self.data
    }

    /// Arrow schema of stored rows: [`SYSTEM_COLUMNS`], then the stream's own columns.
    pub fn stored(&self) -> &SchemaRef {
        &self.stored
    }

    /// The schema with `columns` appended; those that are already there must be the same.
    pub fn evolve(&self, columns: &[Column]) -> Result<Self, SchemaError> {
        let mut all = self.columns.clone();
        for column in columns {
            match self.index_of(&column.name).map(|i| &self.columns[i]) {
                Some(old) if old == column => {}
                Some(old) if old.ty != column.ty => {
                    return Err(incompatible(column, "its type is fixed"));
                }
                Some(_) => return Err(incompatible(column, "nullable or not is fixed")),
                None if !column.nullable => {
                    return Err(incompatible(column, "an added column must be nullable"));
                }
                None => all.push(column.clone()),
            }
        }
        let key: Vec<&str> = self.key_names().collect();
        let event_time = self.event_time.map(|i| self.columns[i].name.as_str());
        Self::new(all, &key, event_time)
    }

    /// Appends null columns until `batch`, stored under an older version, has this schema.
    pub fn promote_stored(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        if batch.num_columns() == self.stored.fields().len() {
            return Ok(batch.clone());
        }
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        for field in self.stored.fields().iter().skip(columns.len()) {
            columns.push(new_null_array(field.data_type(), batch.num_rows()));
        }
        RecordBatch::try_new(Arc::clone(&self.stored), columns)
    }
}

/// Fields of [`SYSTEM_COLUMNS`].
pub fn system_fields() -> [Field; 3] {
    let hlc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    [
        Field::new("hlc", hlc, false),
        Field::new("writer", DataType::UInt32, false),
        Field::new("log_offset", DataType::UInt64, false),
    ]
}

fn check_column_name(name: &str) -> Result<(), SchemaError> {
    if SYSTEM_COLUMNS.contains(&name) {
        return Err(SchemaError::Reserved(name.to_owned()));
    }
    // a leading underscore is common in feeds; everything else follows the rule for names
    check_plain_name("column", name.trim_start_matches('_'))?;
    Ok(())
}

fn find(
    columns: &[Column],
    role: &'static str,
    name: &str,
    fit: impl Fn(&ColumnType) -> bool,
) -> Result<usize, SchemaError> {
    let index =
        columns
            .iter()
            .position(|c| c.name == name)
            .ok_or_else(|| SchemaError::Unknown {
                role,
                column: name.to_owned(),
            })?;
    let ty = columns[index].ty;
    if fit(&ty) {
        Ok(index)
    } else {
        Err(SchemaError::Unfit {
            role,
            column: name.to_owned(),
            ty,
        })
    }
}

fn incompatible(column: &Column, reason: &'static str) -> SchemaError {
    SchemaError::Incompatible {
        column: column.name.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trades() -> StreamSchema {
        let price = ColumnType::Decimal {
            precision: 18,
            scale: 9,
        };
        let columns = vec![
            Column::required("symbol", ColumnType::String),
            Column::required("ts", ColumnType::Timestamp),
            Column::required("price", price),
        ];
        StreamSchema::new(columns, &["symbol"], Some("ts")).unwrap()
    }

    #[test]
    fn evolving_appends_nullable_columns_and_refuses_the_rest() {
        let old = trades();
        let new = old
            .evolve(&[Column::optional("side", ColumnType::String)])
            .unwrap();
        assert_eq!(new.columns().len(), 4);
        assert_eq!(new.evolve(old.columns()).unwrap(), new);
        assert!(
            old.evolve(&[Column::required("side", ColumnType::String)])
                .is_err()
        );
        assert!(
            old.evolve(&[Column::required("price", ColumnType::Float64)])
                .is_err()
        );
        assert!(
            old.evolve(&[Column::optional("price", old.columns()[2].ty)])
                .is_err()
        );
    }

    #[test]
    fn promotes_old_rows_with_nulls() {
        let old = trades();
        let new = old
            .evolve(&[Column::optional("side", ColumnType::String)])
            .unwrap();
        let rows = RecordBatch::new_empty(Arc::clone(old.stored()));
        assert_eq!(new.promote_stored(&rows).unwrap().schema(), *new.stored());
    }

    #[test]
    fn refuses_what_no_row_could_satisfy() {
        let text = |name| Column::required(name, ColumnType::String);
        let none: [&str; 0] = [];
        let cases: Vec<(Vec<Column>, Vec<&str>, Option<&str>)> = vec![
            (vec![], none.to_vec(), None),
            (vec![text("a"), text("a")], none.to_vec(), None),
            (vec![text("hlc")], none.to_vec(), None),
            (vec![text("a")], vec!["b"], None),
            (vec![text("a")], vec!["a", "a"], None),
            (vec![text("a")], none.to_vec(), Some("a")),
            (
                vec![Column::required("f", ColumnType::Float64)],
                vec!["f"],
                None,
            ),
        ];
        for (columns, key, event_time) in cases {
            assert!(StreamSchema::new(columns, &key, event_time).is_err());
        }
    }
}
