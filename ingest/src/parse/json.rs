//! NDJSON and JSON arrays of objects.

use arrow::array::RecordBatch;
use memchr::memchr;
use tourbillon_core::schema::StreamSchema;

use super::Refusals;
use super::error::ParseError;
use super::rows::{Fault, Rows};
use super::scan::{Failure, Scanner};

/// One object a line; blank lines are not rows. A line that is not JSON is a bad row like any
/// other, since the next line starts afresh.
pub(super) fn parse_lines(
    schema: &StreamSchema,
    body: &[u8],
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    let mut rows = Rows::new(schema);
    let (mut start, mut row) = (0, 0);
    while start < body.len() {
        let end = memchr(b'\n', &body[start..]).map_or(body.len(), |length| start + length);
        let mut line = Scanner::new(&body[..end], start);
        line.space();
        if line.peek().is_some() {
            row += 1;
            let outcome = object(&mut line, &mut rows).and_then(|()| {
                line.space();
                match line.peek() {
                    None => Ok(()),
                    Some(_) => Err(line.syntax("expected the end of the line")),
                }
            });
            let outcome = outcome.map_err(|failure| match failure {
                Failure::Fault(fault) => fault,
                Failure::Syntax { offset, reason } => {
                    Fault::row(format!("not a JSON object: {reason} at byte {offset}"))
                }
            });
            rows.end_row(row, outcome, refusals)?;
        }
        start = end + 1;
    }
    rows.finish()
}

/// One array. What is not JSON ends the parse, since the rows behind it cannot be told apart.
pub(super) fn parse_array(
    schema: &StreamSchema,
    body: &[u8],
    refusals: &mut Refusals,
) -> Result<RecordBatch, ParseError> {
    let mut rows = Rows::new(schema);
    let mut scanner = Scanner::new(body, 0);
    let mut row = 1;
    walk_array(&mut scanner, &mut rows, &mut row, refusals)?;
    rows.finish()
}

fn walk_array(
    scanner: &mut Scanner<'_>,
    rows: &mut Rows,
    row: &mut u64,
    refusals: &mut Refusals,
) -> Result<(), ParseError> {
    let broken = |failure, row| match failure {
        Failure::Syntax { offset, reason } => ParseError::Syntax {
            row,
            offset,
            reason: reason.to_owned(),
        },
        Failure::Fault(fault) => ParseError::Rows {
            errors: vec![fault.at(row)],
            total: 1,
        },
    };
    scanner.space();
    let open = scanner.expect(b'[', "expected an array of objects");
    open.map_err(|failure| broken(failure, *row))?;
    scanner.space();
    if !scanner.eat(b']') {
        loop {
            scanner.space();
            let start = scanner.clone();
            let outcome = match element(scanner, rows) {
                Ok(()) => Ok(()),
                Err(Failure::Fault(fault)) => {
                    *scanner = start;
                    let passed = scanner.skip_value();
                    passed.map_err(|failure| broken(failure, *row))?;
                    Err(fault)
                }
                Err(failure) => return Err(broken(failure, *row)),
            };
            rows.end_row(*row, outcome, refusals)?;
            scanner.space();
            if scanner.eat(b']') {
                break;
            }
            let comma = scanner.expect(b',', "expected `,` or `]` after an object");
            comma.map_err(|failure| broken(failure, *row))?;
            *row += 1;
        }
    }
    scanner.space();
    match scanner.peek() {
        None => Ok(()),
        Some(_) => Err(broken(scanner.syntax("expected the end of the body"), *row)),
    }
}

fn element(scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Failure> {
    match scanner.peek() {
        Some(b'{') => object(scanner, rows),
        Some(b']') | None => Err(scanner.syntax("expected an object")),
        Some(_) => Err(Fault::row("is not an object").into()),
    }
}

fn object(scanner: &mut Scanner<'_>, rows: &mut Rows) -> Result<(), Failure> {
    scanner.object(|position, name, token| rows.put_named(position, name, token))
}
