//! A simulated market: venues and symbols of uneven activity, prices that walk in ticks, sizes with
//! a long tail, and bursts. The same seed gives the same ticks.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Builder, Int64Builder, RecordBatch, StringDictionaryBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tourbillon_core::schema::builtin_streams;

/// One unit of price and size, as the `trades` stream scales them.
const UNIT: i64 = 1_000_000_000;

/// Symbols: name, first price in cents of a unit, tick in cents, activity.
const SYMBOLS: [(&str, i64, i64, u32); 12] = [
    ("BTCUSDT", 6_183_763, 1, 400),
    ("ETHUSDT", 268_380, 1, 250),
    ("SOLUSDT", 15_542, 1, 120),
    ("XRPUSDT", 6_012, 1, 60),
    ("BNBUSDT", 51_830, 10, 50),
    ("DOGEUSDT", 1_043, 1, 40),
    ("ADAUSDT", 3_391, 1, 25),
    ("LTCUSDT", 6_120, 1, 20),
    ("LINKUSDT", 1_046, 1, 15),
    ("DOTUSDT", 455, 1, 10),
    ("UNIUSDT", 598, 1, 6),
    ("AAVEUSDT", 10_020, 2, 4),
];

/// Venues and how much of the trading each has.
const VENUES: [(&str, u32); 3] = [("XSIM_SPOT", 5), ("XSIM_PERP", 4), ("XSIM_COIN", 1)];

/// Ticks a trade moves the price at most, in a quiet market and in a burst.
const MOVES: (i64, i64) = (1, 6);

/// A market in progress.
#[derive(Debug)]
pub struct Market {
    rng: StdRng,
    schema: SchemaRef,
    cents: [i64; SYMBOLS.len()],
    burst: Option<(usize, u32)>,
    next_seq: i64,
}

impl Market {
    /// A market that opens.
    pub fn new(seed: u64) -> Self {
        let [(_, trades), _] = builtin_streams();
        Self {
            rng: StdRng::seed_from_u64(seed),
            schema: Arc::clone(trades.data()),
            cents: SYMBOLS.map(|symbol| symbol.1),
            burst: None,
            next_seq: 0,
        }
    }

    /// The next `rows` trades, spread evenly over `[from_ns, to_ns)` of event time, as rows of the
    /// `trades` stream. `seq` counts them from 0.
    pub fn trades(
        &mut self,
        rows: usize,
        from_ns: i64,
        to_ns: i64,
    ) -> Result<RecordBatch, ArrowError> {
        let mut venues = StringDictionaryBuilder::<Int32Type>::new();
        let mut symbols = StringDictionaryBuilder::<Int32Type>::new();
        let mut sides = StringDictionaryBuilder::<Int32Type>::new();
        let mut events = TimestampNanosecondBuilder::with_capacity(rows);
        let mut prices = Decimal128Builder::with_capacity(rows);
        let mut sizes = Decimal128Builder::with_capacity(rows);
        let mut seqs = Int64Builder::with_capacity(rows);
        let mut received = TimestampNanosecondBuilder::with_capacity(rows);
        let step = (to_ns - from_ns) / i64::try_from(rows.max(1)).unwrap_or(1);
        let mut event = from_ns;
        for _ in 0..rows {
            let symbol = self.symbol();
            venues.append(pick(&mut self.rng, &VENUES, |venue| venue.1).0)?;
            symbols.append(SYMBOLS[symbol].0)?;
            prices.append_value(i128::from(self.walk(symbol)) * i128::from(UNIT / 100));
            sizes.append_value(i128::from(self.size()));
            sides.append(if self.rng.random_bool(0.5) {
                "buy"
            } else {
                "sell"
            })?;
            events.append_value(event);
            received.append_value(event + self.rng.random_range(20_000..2_000_000));
            seqs.append_value(self.next_seq);
            self.next_seq += 1;
            event += step;
        }
        let utc = |mut times: TimestampNanosecondBuilder| -> ArrayRef {
            Arc::new(times.finish().with_timezone("UTC"))
        };
        let money = |mut values: Decimal128Builder| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(values.finish().with_precision_and_scale(18, 9)?))
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(venues.finish()),
            Arc::new(symbols.finish()),
            utc(events),
            money(prices)?,
            money(sizes)?,
            Arc::new(sides.finish()),
            Arc::new(seqs.finish()),
            utc(received),
        ];
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
    }

    /// Bursts: now and then one symbol trades alone for a while.
    fn symbol(&mut self) -> usize {
        match self.burst {
            Some((symbol, left)) if left > 0 => {
                self.burst = Some((symbol, left - 1));
                symbol
            }
            _ => {
                let symbol = pick_index(&mut self.rng, &SYMBOLS, |symbol| symbol.3);
                let begins = self.rng.random_bool(0.002);
                self.burst = begins.then(|| (symbol, self.rng.random_range(20..200)));
                symbol
            }
        }
    }

    fn walk(&mut self, symbol: usize) -> i64 {
        let (_, first, tick, _) = SYMBOLS[symbol];
        let most = if self.burst.is_some() {
            MOVES.1
        } else {
            MOVES.0
        };
        let step = self.rng.random_range(-most..=most) * tick;
        let moved = self.cents[symbol] + step;
        // prices stay within a factor of ten, however long the market is open
        self.cents[symbol] = moved.clamp(first / 10 + tick, first * 10);
        self.cents[symbol]
    }

    /// Small sizes are common, each tenfold size is a sixth as common.
    fn size(&mut self) -> i64 {
        let mut unit = UNIT / 10_000;
        while unit < UNIT * 100 && self.rng.random_bool(1.0 / 6.0) {
            unit *= 10;
        }
        self.rng.random_range(1..100) * unit
    }
}

fn pick_index<T>(rng: &mut StdRng, choices: &[T], weight: impl Fn(&T) -> u32) -> usize {
    let total: u32 = choices.iter().map(&weight).sum();
    let mut left = rng.random_range(0..total.max(1));
    for (index, choice) in choices.iter().enumerate() {
        match left.checked_sub(weight(choice)) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    0
}

fn pick<'a, T>(rng: &mut StdRng, choices: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
    &choices[pick_index(rng, choices, weight)]
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal128Type, Int64Type, TimestampNanosecondType};

    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ticks() {
        let trades = |seed| Market::new(seed).trades(500, 1_000, 2_000_000).unwrap();
        assert_eq!(trades(7), trades(7));
        assert_ne!(trades(7), trades(8));
    }

    #[test]
    fn ticks_are_plausible_and_numbered() {
        let mut market = Market::new(1);
        let first = market.trades(1000, 0, 1_000_000).unwrap();
        let second = market.trades(1000, 1_000_000, 2_000_000).unwrap();
        let seqs = second.column(6).as_primitive::<Int64Type>().values();
        assert_eq!((seqs[0], seqs[999]), (1000, 1999));
        for batch in [first, second] {
            let events = batch
                .column(2)
                .as_primitive::<TimestampNanosecondType>()
                .values();
            assert!(events.is_sorted());
            for column in [3, 4] {
                let values = batch
                    .column(column)
                    .as_primitive::<Decimal128Type>()
                    .values();
                assert!(values.iter().all(|value| *value > 0));
            }
        }
    }
}
