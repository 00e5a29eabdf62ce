//! Columns of bars: their types, and states as rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, i256};

use super::column::{NumberType, prices, to_float};
use super::fold::Finished;
use super::{BarError, BarKind, BarState, Sum};
use crate::groups::{Groups, plain};
use crate::schema::{ColumnType, StreamSchema};

/// Digits of volume, notional and vwap.
const DIGITS: u8 = 38;

/// Decimal places that vwap has beyond the price's, if there is room before the point.
const VWAP_PLACES: u8 = 6;

/// The columns of a stream that bars are made of, and the columns of the bars.
#[derive(Clone, Debug)]
pub struct BarColumns {
    /// The price's column.
    pub price: String,
    /// The size's column.
    pub size: String,
    /// The stream's key columns.
    pub key: Vec<String>,
    pub(super) price_type: ColumnType,
    pub(super) price_number: NumberType,
    pub(super) size_number: NumberType,
    schema: SchemaRef,
}

impl BarColumns {
    /// Checks the columns against the stream.
    pub fn new(schema: &StreamSchema, price: &str, size: &str) -> Result<Self, BarError> {
        let column = |name: &str| {
            let found = schema.columns().iter().find(|column| column.name == name);
            let number = found.and_then(|column| Some((column.ty, NumberType::of(column.ty)?)));
            number.ok_or_else(|| BarError::NotNumeric(name.to_owned()))
        };
        let ((price_type, price_number), (_, size_number)) = (column(price)?, column(size)?);
        let mut columns = Self {
            price: price.to_owned(),
            size: size.to_owned(),
            key: schema.key_names().map(str::to_owned).collect(),
            price_type,
            price_number,
            size_number,
            schema: Arc::new(Schema::empty()),
        };
        columns.schema = Arc::new(Schema::new(columns.fields(schema)?));
        Ok(columns)
    }

    /// Schema of the bars: `time` (where the interval begins), the stream's key, `open`, `high`,
    /// `low`, `close`, `volume`, `notional`, `vwap` (null without volume) and `count`.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Which columns hold doubles.
    pub fn kind(&self) -> BarKind {
        BarKind {
            float_price: self.price_number.is_float(),
            float_size: self.size_number.is_float(),
        }
    }

    fn fields(&self, schema: &StreamSchema) -> Result<Vec<Field>, BarError> {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let mut fields = vec![Field::new("time", time, false)];
        for index in schema.key() {
            let column = &schema.columns()[*index];
            fields.push(Field::new(
                &column.name,
                plain(&column.ty.arrow()),
                column.nullable,
            ));
        }
        for name in ["open", "high", "low", "close"] {
            fields.push(Field::new(name, self.price_type.arrow(), false));
        }
        let (volume, notional, vwap) = self.sum_types()?;
        fields.push(Field::new("volume", volume, false));
        fields.push(Field::new("notional", notional, false));
        fields.push(Field::new("vwap", vwap, true));
        fields.push(Field::new("count", DataType::Int64, false));
        Ok(fields)
    }

    /// Types of volume, notional and vwap.
    fn sum_types(&self) -> Result<(DataType, DataType, DataType), BarError> {
        let decimal = |scale: u8| DataType::Decimal128(DIGITS, scale.cast_signed());
        let volume = match self.size_number {
            NumberType::Exact { scale, .. } => decimal(scale),
            NumberType::Float => DataType::Float64,
        };
        match self.scales() {
            None => Ok((volume, DataType::Float64, DataType::Float64)),
            Some((notional, vwap)) if notional <= DIGITS => {
                Ok((volume, decimal(notional), decimal(vwap)))
            }
            Some((scale, _)) => Err(BarError::Scale {
                price: self.price.clone(),
                size: self.size.clone(),
                scale,
            }),
        }
    }

    /// Decimal places of notional and vwap, if they are exact.
    fn scales(&self) -> Option<(u8, u8)> {
        match (self.price_number, self.size_number) {
            (
                NumberType::Exact { digits, scale },
                NumberType::Exact {
                    scale: size_scale, ..
                },
            ) => {
                let room = DIGITS - (digits - scale);
                Some((scale + size_scale, room.min(scale + VWAP_PLACES)))
            }
            _ => None,
        }
    }

    /// Bars as rows. `groups` has the values of the keys.
    pub(super) fn rows(&self, groups: &Groups, bars: &[Finished]) -> Result<RecordBatch, BarError> {
        let time: TimestampNanosecondArray = bars.iter().map(|bar| Some(bar.start)).collect();
        let mut columns: Vec<ArrayRef> = vec![Arc::new(time.with_timezone("UTC"))];
        columns.extend(groups.values(bars.iter().map(|bar| &bar.key))?);
        let price: [fn(&BarState) -> i128; 4] = [|s| s.open, |s| s.high, |s| s.low, |s| s.close];
        for price in price {
            let values = bars.iter().map(|bar| price(&bar.state));
            columns.push(prices(values, self.price_type)?);
        }
        columns.extend(self.sums(bars)?);
        let counts = bars.iter().map(|bar| i64::try_from(bar.state.count));
        let counts: Vec<_> = counts.map(|count| count.unwrap_or(i64::MAX)).collect();
        columns.push(Arc::new(Int64Array::from(counts)));
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    /// Columns volume, notional and vwap.
    fn sums(&self, bars: &[Finished]) -> Result<[ArrayRef; 3], BarError> {
        let (volume_type, notional_type, vwap_type) = self.sum_types()?;
        let exact = |bar: &Finished, sum: &Sum, what| {
            let value = match sum {
                Sum::Exact(sum) => sum.value().and_then(fitting),
                Sum::Float(_) => None,
            };
            value.ok_or(BarError::OutOfRange {
                what,
                bar: bar.start,
            })
        };
        let volumes: ArrayRef = match self.size_number {
            NumberType::Float => Arc::new(floats(bars, |state| float(&state.volume))),
            NumberType::Exact { .. } => {
                let values = bars
                    .iter()
                    .map(|bar| exact(bar, &bar.state.volume, "volume"));
                decimals(values.map(|value| value.map(Some)), &volume_type)?
            }
        };
        let Some((_, vwap_scale)) = self.scales() else {
            let vwap = |state: &BarState| self.float_vwap(state);
            let vwap: Float64Array = bars.iter().map(|bar| vwap(&bar.state)).collect();
            let notional = floats(bars, |state| float(&state.notional));
            return Ok([volumes, Arc::new(notional), Arc::new(vwap)]);
        };
        let notional = |bar: &Finished| exact(bar, &bar.state.notional, "notional");
        let notionals = bars.iter().map(|bar| notional(bar).map(Some));
        let notionals = decimals(notionals, &notional_type)?;
        let places = u32::from(vwap_scale - self.price_scale());
        let vwaps = bars.iter().map(|bar| {
            let (notional, volume) = (notional(bar)?, exact(bar, &bar.state.volume, "volume")?);
            let (what, bar) = ("vwap", bar.start);
            match volume {
                0 => Ok(None),
                _ => match quotient(notional, volume, places) {
                    Some(vwap) => Ok(Some(vwap)),
                    None => Err(BarError::OutOfRange { what, bar }),
                },
            }
        });
        Ok([volumes, notionals, decimals(vwaps, &vwap_type)?])
    }

    fn price_scale(&self) -> u8 {
        match self.price_number {
            NumberType::Exact { scale, .. } => scale,
            NumberType::Float => 0,
        }
    }

    fn float_vwap(&self, state: &BarState) -> Option<f64> {
        let volume = match &state.volume {
            Sum::Float(sum) => sum.value(),
            Sum::Exact(sum) => to_float(fitting(sum.value()?)?, self.size_number),
        };
        (volume != 0.0).then(|| float(&state.notional) / volume)
    }
}

fn floats(bars: &[Finished], value: impl Fn(&BarState) -> f64) -> Float64Array {
    bars.iter().map(|bar| Some(value(&bar.state))).collect()
}

fn float(sum: &Sum) -> f64 {
    match sum {
        Sum::Float(sum) => sum.value(),
        Sum::Exact(_) => f64::NAN,
    }
}

fn decimals(
    values: impl Iterator<Item = Result<Option<i128>, BarError>>,
    ty: &DataType,
) -> Result<ArrayRef, BarError> {
    let values: Decimal128Array = values.collect::<Result<Vec<_>, _>>()?.into();
    Ok(Arc::new(values.with_data_type(ty.clone())))
}

/// The value, if it has at most 38 digits.
fn fitting(value: i256) -> Option<i128> {
    let limit = 10_u128.pow(u32::from(DIGITS));
    value.to_i128().filter(|value| value.unsigned_abs() < limit)
}

/// `dividend * 10^places / divisor`, a half to the even neighbour. The divisor is not 0.
pub(super) fn quotient(dividend: i128, divisor: i128, places: u32) -> Option<i128> {
    let factor = i256::from_i128(10_i128.pow(places));
    let (dividend, divisor) = (i256::from_i128(dividend), i256::from_i128(divisor));
    let dividend = dividend.checked_mul(factor)?;
    let whole = dividend.checked_div(divisor)?;
    let rest = dividend.checked_rem(divisor)?.checked_abs()?;
    let twice = rest.checked_add(rest)?;
    let odd = whole.to_i128()? % 2 != 0;
    let up = match twice.cmp(&divisor.checked_abs()?) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => odd,
        std::cmp::Ordering::Greater => true,
    };
    let negative = dividend.is_negative() != divisor.is_negative();
    let step = if negative { i256::MINUS_ONE } else { i256::ONE };
    fitting(if up { whole.checked_add(step)? } else { whole })
}
