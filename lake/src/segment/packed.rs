//! Columns as they are kept: numbers as their distance from the lowest, in as few bytes as hold it.
//!
//! Stamps, offsets, times and counters of neighbouring rows lie near one another, and prices take a
//! third of the digits that their type allows, so most columns take half the memory or less.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, ArrowPrimitiveType, AsArray, PrimitiveArray, new_null_array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::{max, min};
use arrow::datatypes::{
    ArrowNativeType, DataType, Decimal128Type, Int64Type, TimeUnit, TimestampNanosecondType,
    UInt64Type,
};

/// A column of some rows. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    ty: DataType,
    rows: usize,
    values: Values,
}

#[derive(Clone, Debug)]
enum Values {
    /// Every row lacks one.
    Null,
    Near(Above<u32>),
    Far(Above<u64>),
    Plain(ArrayRef),
}

/// Numbers as their distance from the lowest; of rows without one the distance is any.
#[derive(Clone, Debug)]
struct Above<N: ArrowNativeType> {
    lowest: i128,
    distances: ScalarBuffer<N>,
    nulls: Option<NullBuffer>,
}

impl Packed {
    /// Takes a column.
    pub(crate) fn new(column: &ArrayRef) -> Self {
        let values = match column.data_type() {
            _ if column.null_count() == column.len() => Values::Null,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => near::<TimestampNanosecondType>(column),
            DataType::Int64 => near::<Int64Type>(column),
            DataType::UInt64 => near::<UInt64Type>(column),
            DataType::Decimal128(..) => match near::<Decimal128Type>(column) {
                Values::Plain(_) => far(column),
                near => near,
            },
            _ => Values::Plain(Arc::clone(column)),
        };
        Self {
            ty: column.data_type().clone(),
            rows: column.len(),
            values,
        }
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Memory that it takes, bytes.
    pub(crate) fn memory(&self) -> usize {
        let of_nulls = |nulls: &Option<NullBuffer>| nulls.as_ref().map_or(0, |n| n.len() / 8);
        let values = match &self.values {
            Values::Null => 0,
            Values::Near(above) => above.distances.len() * 4 + of_nulls(&above.nulls),
            Values::Far(above) => above.distances.len() * 8 + of_nulls(&above.nulls),
            Values::Plain(column) => column.get_array_memory_size(),
        };
        values + size_of::<Self>()
    }

    /// Some of its rows.
    pub(crate) fn rows_at(&self, rows: Range<usize>) -> ArrayRef {
        let (from, count) = (rows.start, rows.len());
        match &self.values {
            Values::Null => new_null_array(&self.ty, count),
            Values::Plain(column) => column.slice(from, count),
            Values::Far(above) => above.column::<Decimal128Type>(&self.ty, from, count),
            Values::Near(above) => match &self.ty {
                DataType::Int64 => above.column::<Int64Type>(&self.ty, from, count),
                DataType::UInt64 => above.column::<UInt64Type>(&self.ty, from, count),
                DataType::Decimal128(..) => above.column::<Decimal128Type>(&self.ty, from, count),
                _ => above.column::<TimestampNanosecondType>(&self.ty, from, count),
            },
        }
    }

    /// How many of ascending times lie below one; `None` if these are no times.
    pub(crate) fn times_below(&self, bound: i64) -> Option<usize> {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.time(middle)? < i128::from(bound) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Some(low)
    }

    fn time(&self, row: usize) -> Option<i128> {
        match &self.values {
            Values::Near(above) => Some(above.lowest + i128::from(above.distances[row])),
            Values::Plain(column) => {
                let times = column.as_primitive_opt::<TimestampNanosecondType>()?;
                Some(times.value(row).into())
            }
            _ => None,
        }
    }
}

fn near<T>(column: &ArrayRef) -> Values
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
{
    above::<T, u32>(column).map_or_else(|| Values::Plain(Arc::clone(column)), Values::Near)
}

fn far(column: &ArrayRef) -> Values {
    let far = above::<Decimal128Type, u64>(column);
    far.map_or_else(|| Values::Plain(Arc::clone(column)), Values::Far)
}

/// The distances, if all of them fit.
fn above<T, N>(column: &ArrayRef) -> Option<Above<N>>
where
    T: ArrowPrimitiveType,
    T::Native: Into<i128>,
    N: ArrowNativeType + TryFrom<i128>,
{
    let column = column.as_primitive::<T>();
    let lowest: i128 = min(column)?.into();
    let highest: i128 = max(column)?.into();
    N::try_from(highest.checked_sub(lowest)?).ok()?;
    let distance = |value: &T::Native| {
        let value: i128 = (*value).into();
        N::try_from(value.wrapping_sub(lowest)).unwrap_or_default()
    };
    Some(Above {
        lowest,
        distances: column.values().iter().map(distance).collect(),
        nulls: column.nulls().cloned(),
    })
}

impl<N: ArrowNativeType> Above<N> {
    fn column<T>(&self, ty: &DataType, from: usize, count: usize) -> ArrayRef
    where
        T: ArrowPrimitiveType,
        T::Native: TryFrom<i128> + From<N>,
    {
        let lowest = T::Native::try_from(self.lowest).unwrap_or_default();
        let distances = &self.distances[from..from + count];
        let value = |distance: &N| lowest.add_wrapping(T::Native::from(*distance));
        let values: ScalarBuffer<T::Native> = distances.iter().map(value).collect();
        let nulls = self.nulls.as_ref().map(|nulls| nulls.slice(from, count));
        Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(ty.clone()))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Decimal128Array;
    use arrow::array::{
        DictionaryArray, Int64Array, TimestampNanosecondArray, UInt32Array, UInt64Array,
    };
    use arrow::datatypes::Int32Type;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Rows of a column, each missing with some probability, from `lowest` on.
    fn numbers(rng: &mut SmallRng, lowest: i64, range: i64) -> Vec<Option<i64>> {
        let missing = [0.0, 0.3, 1.0][rng.random_range(0..3)];
        let number = |_| {
            let number = lowest.wrapping_add(rng.random_range(0..=range));
            (!rng.random_bool(missing)).then_some(number)
        };
        (0..500).map(number).collect()
    }

    fn columns(rng: &mut SmallRng) -> Vec<ArrayRef> {
        let lowest = [i64::MIN, -5, 0, 1_700_000_000_000_000_000][rng.random_range(0..4)];
        let range = [0, 1, 4_294_967_295, 4_294_967_296, 1 << 60][rng.random_range(0..5)];
        let numbers = numbers(rng, lowest, range);
        let times: TimestampNanosecondArray = numbers.iter().copied().collect();
        let unsigned = numbers
            .iter()
            .map(|n| Some(u64::MAX - n.as_ref()?.unsigned_abs()));
        let factor = [1, 1 << 3, 1 << 60][rng.random_range(0..3)];
        let money = numbers.iter().map(|n| Some(i128::from((*n)?) * factor));
        let money: Decimal128Array = money.collect();
        let texts: DictionaryArray<Int32Type> = numbers
            .iter()
            .map(|n| Some(if (*n)? % 2 == 0 { "even" } else { "odd" }))
            .collect();
        vec![
            Arc::new(times.with_timezone("UTC")),
            Arc::new(numbers.iter().copied().collect::<Int64Array>()),
            Arc::new(unsigned.collect::<UInt64Array>()),
            Arc::new(money.with_precision_and_scale(38, 9).unwrap()),
            Arc::new(texts),
            Arc::new(UInt32Array::from_value(7, 500)),
        ]
    }

    #[test]
    fn packed_columns_are_the_columns() {
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            for column in columns(&mut rng) {
                let packed = Packed::new(&column);
                let from = rng.random_range(0..500);
                let to = rng.random_range(from..=500);
                assert_eq!(packed.rows(), 500);
                let found = packed.rows_at(from..to);
                assert_eq!(&found, &column.slice(from, to - from), "seed {seed}");
                assert_eq!(found.data_type(), column.data_type());
            }
        }
    }

    #[test]
    fn near_numbers_take_less_memory() {
        let near: ArrayRef = Arc::new(UInt64Array::from_iter_values(1 << 40..(1 << 40) + 8192));
        assert!(Packed::new(&near).memory() < near.get_array_memory_size() * 6 / 10);
        let none = new_null_array(&DataType::Int64, 8192);
        assert!(Packed::new(&none).memory() < 200);
    }

    #[test]
    fn times_are_found_by_halves() {
        for step in [1, 3_000_000_000] {
            let times = TimestampNanosecondArray::from_iter_values((0..100).map(|i| i * step));
            let packed = Packed::new(&(Arc::new(times) as ArrayRef));
            for bound in [
                i64::MIN,
                -1,
                0,
                1,
                step,
                40 * step - 1,
                40 * step,
                99 * step,
                i64::MAX,
            ] {
                let below = (0..100).filter(|i| i * step < bound).count();
                assert_eq!(packed.times_below(bound), Some(below), "{step} {bound}");
            }
        }
        let texts: DictionaryArray<Int32Type> = ["a"].into_iter().collect();
        assert_eq!(
            Packed::new(&(Arc::new(texts) as ArrayRef)).times_below(1),
            None
        );
    }
}
