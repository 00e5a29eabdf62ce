//! Standard output, numbers for people, and exit codes.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How a command ended if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1: a check found what would break a promise.
    Failed,
    /// Exit code 3: a verification found a difference.
    Difference,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Failed => Self::FAILURE,
            Outcome::Difference => Self::from(3),
        }
    }
}

/// Tells an error with all its causes; exit code 1.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    note(&format!("error: {error:#}"));
    ExitCode::FAILURE
}

/// A line on standard output. A reader that has gone away ends the program's interest in it.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _reader_gone = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A line on standard error, for people.
pub(crate) fn note(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Whether a person watches standard error.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A bar on standard error; hidden where nobody watches.
pub(crate) fn bar(total: u64) -> ProgressBar {
    let target = match is_watched() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% {msg} eta {eta}") {
        bar.set_style(style);
    }
    bar
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Rows a second.
pub(crate) fn per_second(count: u64, took: Duration) -> u64 {
    let per_ms = u128::from(count) * 1000 / took.as_millis().max(1);
    u64::try_from(per_ms).unwrap_or(u64::MAX)
}

/// Rows of text as aligned columns, the first row a header; numbers to the right.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, i: usize| row.get(i).map_or("", String::as_str).to_owned();
    let width = |i| {
        rows.iter()
            .map(|row| cell(row, i).chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let number =
        |text: &str| text.parse::<f64>().is_ok() || text.replace(',', "").parse::<u64>().is_ok();
    let right = |i: &usize| {
        rows.iter()
            .skip(1)
            .all(|row| number(&cell(row, *i)) || cell(row, *i) == "-")
    };
    let right: Vec<bool> = (0..columns).map(|i| rows.len() > 1 && right(&i)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (i, width) in widths.iter().enumerate() {
            let (cell, gap) = (cell(row, i), if i == 0 { "" } else { "  " });
            let pad = " ".repeat(width - cell.chars().count());
            line += &if right[i] {
                format!("{gap}{pad}{cell}")
            } else {
                format!("{gap}{cell}{pad}")
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(per_second(500, Duration::from_millis(250)), 2000);
    }

    #[test]
    fn tables_align_numbers_to_the_right() {
        let row = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
        let text = table(&[row("name", "rows"), row("trades", "7"), row("q", "1,200")]);
        assert_eq!(text, "name     rows\ntrades      7\nq       1,200\n");
    }
}
