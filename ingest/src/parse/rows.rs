//! Rows from tokens: one typed builder a column, filled row by row.
//!
//! The length of a column says whether the current row has filled it: no second bookkeeping
//! tells a value given twice or left out, and a bad row is undone by cutting every column back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use tourbillon_core::schema::StreamSchema;

use super::column::{Column, Token, snippet};
use super::error::{ParseError, RowError};
use super::{Refusals, row_limit};

/// What is wrong with the current row.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) column: Option<String>,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn row(reason: impl Into<String>) -> Self {
        Self {
            column: None,
            reason: reason.into(),
        }
    }

    pub(super) fn unknown(column: &[u8]) -> Self {
        Self {
            column: Some(snippet(column)),
            reason: "is not a column of the stream".to_owned(),
        }
    }

    pub(super) fn at(self, row: u64) -> RowError {
        RowError {
            row,
            column: self.column,
            reason: self.reason,
        }
    }
}

/// Builder of one batch.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    by_name: HashMap<Vec<u8>, usize>,
    /// Column that the last row had at each position: rows of a feed look alike.
    order: Vec<usize>,
    done: usize,
    limit: usize,
}

impl Rows {
    pub(super) fn new(schema: &StreamSchema) -> Self {
        let columns: Vec<Column> = schema
            .columns()
            .iter()
            .map(|c| Column::new(&c.name, c.ty, c.nullable))
            .collect();
        let by_name = |(i, c): (usize, &Column)| (c.name().as_bytes().to_vec(), i);
        Self {
            schema: Arc::clone(schema.data()),
            by_name: columns.iter().enumerate().map(by_name).collect(),
            limit: row_limit(columns.len()),
            columns,
            order: Vec::new(),
            done: 0,
        }
    }

    /// Index of the column `name`, which stands at `position` of its row.
    pub(super) fn find(&mut self, position: usize, name: &[u8]) -> Option<usize> {
        if let Some(&i) = self.order.get(position)
            && self.columns[i].name().as_bytes() == name
        {
            return Some(i);
        }
        let i = *self.by_name.get(name)?;
        if position == self.order.len() {
            self.order.push(i);
        } else if let Some(seen) = self.order.get_mut(position) {
            *seen = i;
        }
        Some(i)
    }

    /// Fills a column of the current row.
    pub(super) fn put(&mut self, column: usize, token: Token<'_>) -> Result<(), Fault> {
        let done = self.done;
        let column = &mut self.columns[column];
        let outcome = if column.len() > done {
            Err("is given twice".to_owned())
        } else {
            column.put(token)
        };
        outcome.map_err(|reason| Fault {
            column: Some(column.name().to_owned()),
            reason,
        })
    }

    /// Fills the column called `name`, at `position` of the current row.
    pub(super) fn put_named(
        &mut self,
        position: usize,
        name: &[u8],
        token: Token<'_>,
    ) -> Result<(), Fault> {
        let column = self.find(position, name);
        self.put(column.ok_or_else(|| Fault::unknown(name))?, token)
    }

    /// Whether the current row has filled a column.
    pub(super) fn has(&self, column: usize) -> bool {
        self.columns[column].len() > self.done
    }

    /// Ends the current row: keeps it, or undoes it and notes why.
    pub(super) fn end_row(
        &mut self,
        row: u64,
        outcome: Result<(), Fault>,
        refusals: &mut Refusals,
    ) -> Result<(), ParseError> {
        if self.done == self.limit {
            return Err(ParseError::TooManyRows { limit: self.limit });
        }
        match outcome.and_then(|()| self.fill_rest()) {
            Ok(()) => self.done += 1,
            Err(fault) => {
                let done = self.done;
                self.columns.iter_mut().for_each(|c| c.truncate(done));
                refusals.add(|| fault.at(row));
            }
        }
        Ok(())
    }

    fn fill_rest(&mut self) -> Result<(), Fault> {
        for column in &mut self.columns {
            if column.len() == self.done {
                column.put(Token::Null).map_err(|reason| Fault {
                    column: Some(column.name().to_owned()),
                    reason,
                })?;
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<RecordBatch, ParseError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.done));
        let columns = self.columns.into_iter().map(Column::finish);
        columns
            .collect::<Result<Vec<_>, _>>()
            .and_then(|columns| RecordBatch::try_new_with_options(self.schema, columns, &options))
            .map_err(ParseError::Assemble)
    }
}
