//! Sums that are the same in whatever order and grouping their parts are added.
//!
//! Integers and decimals are added as integers and never overflow on the way: a count of
//! wrap-arounds extends the 256 bits. Doubles are kept as an unevaluated sum of doubles that do not
//! overlap (Shewchuk's expansions, as in Python's `math.fsum`), which is exact; only its value is
//! rounded, once.

use arrow::datatypes::i256;

/// An exact sum of integers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExactSum {
    /// The sum modulo 2^256.
    low: i256,
    /// How many times 2^256 is missing in it.
    wraps: i64,
}

impl ExactSum {
    /// Adds a value.
    pub fn add(&mut self, value: i256) {
        let (low, wrapped) = self.low.overflowing_add(value);
        self.low = low;
        if wrapped {
            self.wraps += if value.is_negative() { -1 } else { 1 };
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.low);
        self.wraps += other.wraps;
    }

    /// The sum, if it fits.
    pub fn value(&self) -> Option<i256> {
        (self.wraps == 0).then_some(self.low)
    }
}

/// An exact sum of doubles. A sum beyond the range of doubles is infinite from then on.
#[derive(Clone, Debug, Default)]
pub struct FloatSum {
    /// Their sum is the sum; they do not overlap, and their magnitudes increase.
    partials: Vec<f64>,
    /// Sum of what is not finite, or 0.
    beyond: f64,
}

impl FloatSum {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        if !value.is_finite() {
            self.beyond += value;
        }
        if self.beyond != 0.0 {
            return;
        }
        let (mut carry, mut kept) = (value, 0);
        for i in 0..self.partials.len() {
            let (sum, rest) = two_sum(carry, self.partials[i]);
            if rest != 0.0 {
                self.partials[kept] = rest;
                kept += 1;
            }
            carry = sum;
        }
        if carry.is_infinite() {
            self.beyond = carry;
        }
        self.partials.truncate(kept);
        self.partials.push(carry);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        for partial in &other.partials {
            self.add(*partial);
        }
        self.beyond += other.beyond;
    }

    /// The double next to the sum, the even one of two.
    pub fn value(&self) -> f64 {
        if self.beyond != 0.0 {
            return self.beyond;
        }
        let mut left = self.partials.iter().rev().copied();
        let mut sum = left.next().unwrap_or(0.0);
        let mut rest = 0.0;
        while rest == 0.0
            && let Some(partial) = left.next()
        {
            (sum, rest) = two_sum(sum, partial);
        }
        // half-way between two doubles, what is left beyond `rest` decides
        let beyond_half = left.next().is_some_and(|next| next * rest > 0.0);
        let farther = sum + 2.0 * rest;
        let was_half = farther - sum == 2.0 * rest;
        if beyond_half && was_half {
            farther
        } else {
            sum
        }
    }
}

impl PartialEq for FloatSum {
    fn eq(&self, other: &Self) -> bool {
        self.value().total_cmp(&other.value()).is_eq()
    }
}

/// The rounded sum and what rounding took from it, exactly (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    (sum, (a - (sum - of_b)) + (b - of_b))
}

/// A sum of either kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Sum {
    /// Of integers or decimals.
    Exact(ExactSum),
    /// Of doubles.
    Float(FloatSum),
}

impl Sum {
    /// A sum of nothing.
    pub fn new(float: bool) -> Self {
        match float {
            false => Self::Exact(ExactSum::default()),
            true => Self::Float(FloatSum::default()),
        }
    }

    /// Adds another sum, which must be of the same kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Exact(sum), Self::Exact(other)) => sum.merge(other),
            (Self::Float(sum), Self::Float(other)) => sum.merge(other),
            _ => debug_assert!(false, "sums of different columns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn float(values: &[f64]) -> FloatSum {
        let mut sum = FloatSum::default();
        values.iter().for_each(|value| sum.add(*value));
        sum
    }

    #[test]
    fn exact_sums_outgrow_256_bits_and_come_back() {
        let mut sum = ExactSum::default();
        (0..5).for_each(|_| sum.add(i256::MAX));
        assert_eq!(sum.value(), None);
        (0..5).for_each(|_| sum.add(i256::MIN));
        assert_eq!(sum.value(), Some(i256::from_i128(-5)));
    }

    #[test]
    fn doubles_are_summed_exactly_and_rounded_once() {
        let tenth = [0.1; 10];
        assert!(tenth.iter().sum::<f64>() < 1.0, "a plain sum is off");
        // as Python's math.fsum has them
        let cases: [(&[f64], f64); 8] = [
            (&tenth, 1.0),
            (&[1e16, 1.0, -1e16], 1.0),
            (&[1e100, 1.0, -1e100, 1e-30], 1.0),
            (&[1.0, f64::EPSILON / 2.0], 1.0),
            (&[1.0, f64::EPSILON / 2.0, 1e-300], 1.0 + f64::EPSILON),
            (&[1.0, f64::EPSILON / 2.0, -1e-300], 1.0),
            (&[f64::INFINITY, 1.0], f64::INFINITY),
            (&[], 0.0),
        ];
        for (values, sum) in cases {
            assert_eq!(float(values).value(), sum, "{values:?}");
        }
        assert!(float(&[f64::INFINITY, f64::NEG_INFINITY]).value().is_nan());
        assert!(float(&[f64::NAN, 1.0]).value().is_nan());
        assert_eq!(float(&[1e308, 1e308, -1e308]).value(), f64::INFINITY);
    }

    /// Doubles of very different size, all multiples of 2^-60 below 2^60: exact as integers.
    fn scaled() -> impl Strategy<Value = (i128, f64)> {
        (any::<i32>(), 0u32..88).prop_map(|(digits, shift)| {
            let value = i128::from(digits) << shift;
            #[allow(clippy::cast_precision_loss, reason = "31 bits and zeros")]
            let double = value as f64 * 2f64.powi(-60);
            (value, double)
        })
    }

    proptest! {
        #[test]
        fn float_sums_are_the_rounded_integer_sum(
            values in proptest::collection::vec(scaled(), 0..40),
            cut in 0usize..40,
        ) {
            let exact: i128 = values.iter().map(|(value, _)| value).sum();
            #[allow(clippy::cast_precision_loss, reason = "this rounding is what is tested")]
            let wanted = exact as f64 * 2f64.powi(-60);
            let doubles: Vec<f64> = values.iter().map(|(_, double)| *double).collect();
            prop_assert_eq!(float(&doubles).value(), wanted);
            let (one, two) = doubles.split_at(cut.min(doubles.len()));
            let mut merged = float(two);
            merged.merge(&float(one));
            prop_assert_eq!(merged.value(), wanted);
        }
    }
}
