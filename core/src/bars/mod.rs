//! Bars: open, high, low, close, volume, volume-weighted price and count of trades by interval.
//!
//! ```text
//! rows in order -> BarFold -> a BarState per key while its interval lasts -> rows, a bar each
//! ```
//!
//! Sums of decimals and integers are exact, and sums of doubles are exact too, rounded once where
//! they are shown; so states merge in any order and grouping ([`BarState::merge`]), and [`BarParts`]
//! counts a part of a snapshot once however often it comes.
//!
//! A row without a price, or whose price is not a number, is no trade. A trade without a size
//! counts, and adds nothing to volume and notional.

mod column;
mod fold;
mod output;
mod parts;
mod state;
mod sum;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use fold::{BarFold, MAX_BAR_KEYS};
pub use output::BarColumns;
pub use parts::{BarParts, Part, PartsError};
pub use state::{BarKind, BarState, Moment};
pub use sum::{ExactSum, FloatSum, Sum};

use crate::error::ErrorKind;
use crate::time::format_time_ns;

/// Why bars cannot be made.
#[derive(Debug, Error)]
pub enum BarError {
    /// A column without numbers.
    #[error("column `{0}` has no numbers: its type must be decimal, int64, uint64 or float64")]
    NotNumeric(String),
    /// Price times size would need more than 38 digits after the point.
    #[error(
        "`{price}` and `{size}` together have {scale} decimal places and 38 can be answered: name \
         columns with fewer"
    )]
    Scale {
        /// The price's column.
        price: String,
        /// The size's column.
        size: String,
        /// Decimal places of their product.
        scale: u8,
    },
    /// More keys in an interval than are held.
    #[error(
        "the bar at {} has more than {MAX_BAR_KEYS} keys: filter by key.<column>, or ask for \
         shorter intervals",
        format_time_ns(*bar)
    )]
    TooManyKeys {
        /// Begin of the interval, ns.
        bar: i64,
    },
    /// A sum of more than 38 digits.
    #[error(
        "the {what} of the bar at {} has more than 38 digits: ask for shorter intervals, or for \
         another size column",
        format_time_ns(*bar)
    )]
    OutOfRange {
        /// Which column of the answer.
        what: &'static str,
        /// Begin of the interval, ns.
        bar: i64,
    },
    /// The rows.
    #[error("cannot read or write rows of bars")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl BarError {
    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Arrow(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }
}
