//! The state of one bar: what is known of it from some of its trades.

use arrow::datatypes::i256;

use super::sum::Sum;
use crate::hlc::Key;

/// When a trade was, in the order in which bars see it: by a time, then by the order of the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// HLC or event time, ns since the epoch.
    pub time: i64,
    /// The row's key, which no other row has.
    pub key: Key,
}

/// What is known of a bar from a set of its trades.
///
/// It is a function of the set: the state of a union of disjoint sets is the [`BarState::merge`]
/// of theirs, in any order and grouping, and the state of no trades changes nothing. Adding the same
/// trades twice counts them twice; [`super::BarParts`] knows which ones there are already.
#[derive(Clone, Debug, PartialEq)]
pub struct BarState {
    pub(super) first: Moment,
    pub(super) last: Moment,
    /// Prices as [`super::column::Numbers`] ranks them.
    pub(super) open: i128,
    pub(super) high: i128,
    pub(super) low: i128,
    pub(super) close: i128,
    pub(super) volume: Sum,
    pub(super) notional: Sum,
    pub(super) count: u64,
}

impl BarState {
    /// The state of no trades of columns with these kinds of numbers.
    pub fn new(kind: BarKind) -> Self {
        Self {
            first: Moment::default(),
            last: Moment::default(),
            open: 0,
            high: 0,
            low: 0,
            close: 0,
            volume: Sum::new(kind.float_size),
            notional: Sum::new(kind.float_size || kind.float_price),
            count: 0,
        }
    }

    /// Number of trades.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a trade's price.
    pub(super) fn price(&mut self, at: Moment, price: i128) {
        if self.count == 0 {
            (self.first, self.last) = (at, at);
            (self.open, self.high, self.low, self.close) = (price, price, price, price);
        } else {
            if at < self.first {
                (self.first, self.open) = (at, price);
            }
            if at > self.last {
                (self.last, self.close) = (at, price);
            }
            self.high = self.high.max(price);
            self.low = self.low.min(price);
        }
        self.count += 1;
    }

    /// Adds a trade's size, and price times size, as integers.
    pub(super) fn exact_size(&mut self, price: i128, size: i128) {
        if let Sum::Exact(volume) = &mut self.volume {
            volume.add(i256::from_i128(size));
        }
        if let Sum::Exact(notional) = &mut self.notional {
            // two values of 38 digits make at most 76, and 256 bits hold these
            let product = price.checked_mul(size).map_or_else(
                || i256::from_i128(price).wrapping_mul(i256::from_i128(size)),
                i256::from_i128,
            );
            notional.add(product);
        }
    }

    /// Adds a trade's size, and price times size, where one of them is a double.
    pub(super) fn float_size(&mut self, exact_size: i128, size: f64, price: f64) {
        match &mut self.volume {
            Sum::Exact(volume) => volume.add(i256::from_i128(exact_size)),
            Sum::Float(volume) => volume.add(size),
        }
        if let Sum::Float(notional) = &mut self.notional {
            notional.add(price * size);
        }
    }

    /// Adds the trades of another state, none of which are in this one.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        if other.first < self.first {
            (self.first, self.open) = (other.first, other.open);
        }
        if other.last > self.last {
            (self.last, self.close) = (other.last, other.close);
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        self.volume.merge(&other.volume);
        self.notional.merge(&other.notional);
        self.count += other.count;
    }
}

/// Which of the two columns hold doubles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BarKind {
    /// The price does.
    pub float_price: bool,
    /// The size does.
    pub float_size: bool,
}
