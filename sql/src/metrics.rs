//! Metrics of SQL, declared once.
#![expect(
    clippy::disallowed_macros,
    reason = "this is the place to declare metrics"
)]

use std::time::Duration;

use metrics::{counter, histogram};

/// A statement ended, with this outcome: `done`, `gone` if its client went away, or a kind of error.
pub(crate) fn ended(outcome: &'static str, rows: u64, took: Duration) {
    counter!("tourbillon_sql_statements_total", "outcome" => outcome).increment(1);
    counter!("tourbillon_sql_rows_total").increment(rows);
    histogram!("tourbillon_sql_statement_seconds", "outcome" => outcome).record(took.as_secs_f64());
}
