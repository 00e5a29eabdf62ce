//! InfluxDB line protocol.

use std::sync::Arc;

use tourbillon_core::schema::StreamSchema;
use tourbillon_ingest::parse::ilp::{Outcome, Precision, parse_lines};
use tourbillon_ingest::parse::{OnError, ParseError};

use crate::samples::SCHEMA;

/// The measurement that is a stream already.
const KNOWN: &str = "m";

/// Any body is answered; refusing and skipping agree.
pub fn run(data: &[u8]) {
    for precision in [Precision::Ns, Precision::Auto] {
        let strict = parse(data, precision, OnError::Refuse);
        let loose = parse(data, precision, OnError::Skip);
        match (strict, loose) {
            (Ok(strict), Ok(loose)) => agree(&strict, &loose),
            (Err(ParseError::Rows { total, .. }), Ok(loose)) => check(&loose, Some(total)),
            (Err(strict), Err(loose)) => assert_eq!(strict.to_string(), loose.to_string()),
            (strict, loose) => panic!("one is refused: {strict:?}, {loose:?}"),
        }
    }
}

fn parse(data: &[u8], precision: Precision, on_error: OnError) -> Result<Outcome, ParseError> {
    let known = |name: &str| (name == KNOWN).then(|| Arc::clone(&SCHEMA));
    parse_lines(data, precision, 99, &known, on_error)
}

fn agree(strict: &Outcome, loose: &Outcome) {
    check(loose, Some(0));
    match (strict, loose) {
        (Outcome::Rows(strict), Outcome::Rows(loose)) => {
            assert_eq!(strict.streams, loose.streams, "other rows");
        }
        (Outcome::Needs(strict), Outcome::Needs(loose)) => {
            assert_eq!(strict, loose, "other proposals");
        }
        _ => panic!("another outcome: {strict:?}, {loose:?}"),
    }
}

fn check(outcome: &Outcome, refused: Option<u64>) {
    match outcome {
        Outcome::Rows(rows) => {
            assert_eq!(Some(rows.refused_count), refused, "other rows refused");
            for (name, batch) in &rows.streams {
                assert_eq!(name, KNOWN, "rows of an unknown stream");
                assert_eq!(batch.schema(), *SCHEMA.data(), "another schema");
            }
        }
        Outcome::Needs(proposals) => {
            assert!(!proposals.is_empty(), "nothing is needed");
            for proposal in proposals {
                assert_eq!(proposal.new_stream, proposal.measurement != KNOWN);
                let event_time = proposal.event_time.as_deref();
                // names may be bad, which the schema says
                let _refused =
                    StreamSchema::new(proposal.columns.clone(), &proposal.key, event_time);
            }
        }
    }
}
