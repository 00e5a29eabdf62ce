//! RFC 4180 with a header row.
//!
//! An empty field is null where the column allows it; `""` is an empty string. Blank lines are
//! not rows. Quoting that does not close ends the parse, since the rows behind it cannot be told
//! apart.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use memchr::{memchr, memchr3};
use tourbillon_core::schema::{ColumnType, StreamSchema};

use super::Refusals;
use super::column::{Token, snippet};
use super::error::ParseError;
use super::rows::{Fault, Rows};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(super) fn parse(
    schema: &StreamSchema,
    body: &[u8],
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    let mut reader = Reader::new(body);
    let header = header(schema, &mut reader)?;
    let empty_is_null: Vec<bool> = schema
        .columns()
        .iter()
        .map(|c| c.nullable || c.ty != ColumnType::String)
        .collect();
    let mut rows = Rows::new(schema);
    while reader.next_row() {
        let mut outcome = Ok(());
        let mut fields = 0;
        while let Some(field) = reader.field()? {
            if let (Ok(()), Some(&column)) = (&outcome, header.get(fields)) {
                let empty = !field.quoted && field.text.is_empty();
                let token = if empty && empty_is_null[column] {
                    Token::Null
                } else {
                    Token::Text(&field.text)
                };
                outcome = rows.put(column, token);
            }
            fields += 1;
        }
        if fields != header.len() {
            let reason = format!("has {fields} fields, the header {}", header.len());
            outcome = Err(Fault::row(reason));
        }
        rows.end_row(reader.row, outcome, refusals)?;
    }
    rows.finish()
}

/// Column of each field.
fn header(schema: &StreamSchema, reader: &mut Reader<'_>) -> Result<Vec<usize>, ParseError> {
    let refuse = |column: &[u8], reason: &str| ParseError::Column {
        column: snippet(column),
        reason: reason.to_owned(),
    };
    let mut header = Vec::new();
    if reader.next_row() {
        while let Some(field) = reader.field()? {
            let column = std::str::from_utf8(&field.text)
                .ok()
                .and_then(|name| schema.index_of(name))
                .ok_or_else(|| refuse(&field.text, "is not a column of the stream"))?;
            if header.contains(&column) {
                return Err(refuse(&field.text, "is given twice in the header"));
            }
            header.push(column);
        }
    }
    let mut columns = schema.columns().iter().enumerate();
    if let Some((_, column)) = columns.find(|(i, c)| !c.nullable && !header.contains(i)) {
        return Err(refuse(
            column.name.as_bytes(),
            "is required but not in the header",
        ));
    }
    reader.row = 0;
    Ok(header)
}

struct Field<'a> {
    text: Cow<'a, [u8]>,
    quoted: bool,
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
    row: u64,
    /// Whether the current row has another field.
    more: bool,
}

impl<'a> Reader<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self {
            body: body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body),
            at: 0,
            row: 0,
            more: false,
        }
    }

    fn next_row(&mut self) -> bool {
        while let Some(b'\n' | b'\r') = self.body.get(self.at) {
            self.at += 1;
        }
        self.more = self.at < self.body.len();
        self.row += u64::from(self.more);
        self.more
    }

    /// The next field of the current row, if any.
    fn field(&mut self) -> Result<Option<Field<'a>>, ParseError> {
        if !self.more {
            return Ok(None);
        }
        let quoted = self.body.get(self.at) == Some(&b'"');
        let text = if quoted { self.quoted()? } else { self.plain() };
        self.more = match self.body.get(self.at) {
            Some(b',') => true,
            Some(b'\n' | b'\r') | None => false,
            Some(_) => return Err(self.syntax("expected `,` or the end of the line after `\"`")),
        };
        self.at += 1;
        Ok(Some(Field { text, quoted }))
    }

    fn plain(&mut self) -> Cow<'a, [u8]> {
        let rest = &self.body[self.at..];
        let length = memchr3(b',', b'\n', b'\r', rest).unwrap_or(rest.len());
        self.at += length;
        Cow::Borrowed(&rest[..length])
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, ParseError> {
        let mut end = self.at + 1;
        let mut text = Cow::Borrowed(&self.body[..0]);
        loop {
            let Some(length) = memchr(b'"', &self.body[end..]) else {
                return Err(self.syntax("the quoted field does not end"));
            };
            let part = &self.body[end..end + length];
            end += length + 1;
            if self.body.get(end) != Some(&b'"') {
                self.at = end;
                return Ok(if text.is_empty() {
                    Cow::Borrowed(part)
                } else {
                    text.to_mut().extend_from_slice(part);
                    text
                });
            }
            text.to_mut().extend_from_slice(part);
            text.to_mut().push(b'"');
            end += 1;
        }
    }

    fn syntax(&self, reason: &str) -> ParseError {
        ParseError::Syntax {
            row: self.row,
            offset: self.at,
            reason: reason.to_owned(),
        }
    }
}
