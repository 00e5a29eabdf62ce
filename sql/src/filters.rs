//! Which conditions of a statement a window can answer itself, exactly: stamps and key columns.

use std::ops::Range;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Operator};
use datafusion::scalar::ScalarValue;
use tourbillon_core::filter::KeyFilter;
use tourbillon_core::schema::{ColumnType, StreamSchema};

/// Column of stamps.
pub(crate) const HLC: &str = "hlc";

const DAY_NS: i64 = 86_400_000_000_000;

/// A condition that a window answers: exactly the rows for which it is true pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Stamps, ns, half-open.
    Hlc(Range<i64>),
    /// Values of a key column.
    Key(KeyFilter),
}

/// The condition as a bound, if it is one.
pub(crate) fn bound(condition: &Expr, schema: &StreamSchema) -> Option<Bound> {
    match condition {
        Expr::BinaryExpr(binary) if binary.op == Operator::Or => either(binary, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (literal(left), literal(right)) {
            (None, Some(value)) => compared(left, *op, value, schema),
            (Some(value), None) => compared(right, op.swap()?, value, schema),
            _ => None,
        },
        Expr::Between(Between {
            expr,
            negated: false,
            low,
            high,
        }) => {
            let low = compared(expr, Operator::GtEq, literal(low)?, schema)?;
            let high = compared(expr, Operator::LtEq, literal(high)?, schema)?;
            match (low, high) {
                (Bound::Hlc(low), Bound::Hlc(high)) => Some(Bound::Hlc(low.start..high.end)),
                _ => None,
            }
        }
        Expr::InList(InList {
            expr,
            list,
            negated: false,
        }) => {
            let column = key_column(expr, schema)?;
            let value = |value| key_value(literal(value)?, schema.columns()[column].ty);
            let values = list.iter().map(value).collect::<Option<_>>()?;
            Some(key(column, values, schema))
        }
        _ => None,
    }
}

/// `a = 1 OR a = 2`, into which the planner turns short lists.
fn either(binary: &BinaryExpr, schema: &StreamSchema) -> Option<Bound> {
    match (bound(&binary.left, schema)?, bound(&binary.right, schema)?) {
        (Bound::Key(mut one), Bound::Key(other)) if one.column == other.column => {
            one.values.extend(other.values);
            Some(Bound::Key(one))
        }
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(ScalarValue::Dictionary(_, value), _) => Some(value),
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn compared(
    expr: &Expr,
    op: Operator,
    value: &ScalarValue,
    schema: &StreamSchema,
) -> Option<Bound> {
    if let Some(stamp) = stamp_of(expr, value) {
        let range = match op {
            Operator::Eq => stamp..stamp.checked_add(1)?,
            Operator::Gt => stamp.checked_add(1)?..i64::MAX,
            Operator::GtEq => stamp..i64::MAX,
            Operator::Lt => i64::MIN..stamp,
            Operator::LtEq => i64::MIN..stamp.checked_add(1)?,
            _ => return None,
        };
        return Some(Bound::Hlc(range));
    }
    let column = key_column(expr, schema)?;
    let value = key_value(value, schema.columns()[column].ty)?;
    (op == Operator::Eq).then(|| key(column, vec![value], schema))
}

/// The literal that `hlc`, or `hlc` in another guise that loses nothing, is compared with, ns.
fn stamp_of(expr: &Expr, value: &ScalarValue) -> Option<i64> {
    match expr {
        Expr::Column(column) if column.name == HLC => instant(value),
        Expr::Cast(Cast { expr, field }) => {
            let Expr::Column(column) = expr.as_ref() else {
                return None;
            };
            match (field.data_type(), value) {
                _ if column.name != HLC => None,
                (DataType::Timestamp(TimeUnit::Nanosecond, _), value) => instant(value),
                (DataType::Int64, ScalarValue::Int64(value)) => *value,
                _ => None,
            }
        }
        _ => None,
    }
}

/// An instant, ns; without a zone it is UTC, as it is for DataFusion here.
fn instant(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(value, _) => *value,
        ScalarValue::TimestampMicrosecond(value, _) => (*value)?.checked_mul(1000),
        ScalarValue::TimestampMillisecond(value, _) => (*value)?.checked_mul(1_000_000),
        ScalarValue::TimestampSecond(value, _) => (*value)?.checked_mul(1_000_000_000),
        ScalarValue::Date32(value) => i64::from((*value)?).checked_mul(DAY_NS),
        _ => None,
    }
}

fn key_column(expr: &Expr, schema: &StreamSchema) -> Option<usize> {
    let Expr::Column(column) = expr else {
        return None;
    };
    let index = schema.index_of(&column.name)?;
    schema.key().contains(&index).then_some(index)
}

/// A literal as the text of a filter, if it is a value of the column's type.
fn key_value(value: &ScalarValue, ty: ColumnType) -> Option<String> {
    let text = match (ty, value) {
        (
            ColumnType::String,
            ScalarValue::Utf8(value) | ScalarValue::LargeUtf8(value) | ScalarValue::Utf8View(value),
        ) => return value.clone(),
        (ColumnType::Bool, ScalarValue::Boolean(value)) => (*value)?.to_string(),
        (ColumnType::Int64 | ColumnType::UInt64, ScalarValue::Int64(value)) => {
            (*value)?.to_string()
        }
        (ColumnType::Int64 | ColumnType::UInt64, ScalarValue::UInt64(value)) => {
            (*value)?.to_string()
        }
        _ => return None,
    };
    let fits = match ty {
        ColumnType::Int64 => text.parse::<i64>().is_ok(),
        ColumnType::UInt64 => text.parse::<u64>().is_ok(),
        _ => true,
    };
    fits.then_some(text)
}

fn key(column: usize, values: Vec<String>, schema: &StreamSchema) -> Bound {
    Bound::Key(KeyFilter {
        column: schema.columns()[column].name.clone(),
        values,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{cast, col, lit};
    use tourbillon_core::schema::builtin_streams;

    use super::*;

    fn of(condition: Expr) -> Option<Bound> {
        let [(_, trades), _] = builtin_streams();
        bound(&condition, &trades)
    }

    fn at(ns: i64, zone: Option<&str>) -> Expr {
        let zone = zone.map(Into::into);
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), zone), None)
    }

    #[test]
    fn stamps_are_bounds_whatever_their_guise() {
        let second = Expr::Literal(ScalarValue::TimestampSecond(Some(5), None), None);
        let day = Expr::Literal(ScalarValue::Date32(Some(1)), None);
        let naked = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let coarse = DataType::Timestamp(TimeUnit::Second, None);
        let range = |start, end| Some(Bound::Hlc(start..end));
        let (first, last) = (i64::MIN, i64::MAX);
        for (condition, wanted) in [
            (col("hlc").gt_eq(at(7, Some("UTC"))), range(7, last)),
            (col("hlc").gt(at(7, None)), range(8, last)),
            (col("hlc").lt(at(7, Some("+01:00"))), range(first, 7)),
            (at(7, None).gt_eq(col("hlc")), range(first, 8)),
            (at(7, None).lt(col("hlc")), range(8, last)),
            (col("hlc").eq(at(7, None)), range(7, 8)),
            (col("hlc").between(at(7, None), at(9, None)), range(7, 10)),
            (col("hlc").lt(second.clone()), range(first, 5_000_000_000)),
            (col("hlc").gt_eq(day), range(DAY_NS, last)),
            (cast(col("hlc"), naked).gt(at(7, None)), range(8, last)),
            (
                cast(col("hlc"), DataType::Int64).gt(lit(7_i64)),
                range(8, last),
            ),
            // a coarser stamp stands for many
            (cast(col("hlc"), coarse).gt(second), None),
            (col("hlc").not_eq(at(7, None)), None),
            (col("hlc").not_between(at(7, None), at(9, None)), None),
            (col("hlc").gt(at(i64::MAX, None)), None),
            (col("ts_event").gt(at(7, None)), None),
            (
                col("hlc").eq(at(7, None)).or(col("hlc").eq(at(9, None))),
                None,
            ),
        ] {
            assert_eq!(of(condition.clone()), wanted, "{condition}");
        }
    }

    #[test]
    fn values_of_key_columns_are_bounds() {
        let key = |column: &str, values: &[&str]| {
            Some(Bound::Key(KeyFilter {
                column: column.into(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }))
        };
        let list = vec![lit("A"), lit("B")];
        for (condition, wanted) in [
            (col("symbol").eq(lit("A")), key("symbol", &["A"])),
            (lit("A").eq(col("symbol")), key("symbol", &["A"])),
            (
                col("symbol").in_list(list.clone(), false),
                key("symbol", &["A", "B"]),
            ),
            (col("symbol").in_list(list, true), None),
            (
                col("symbol").eq(lit("A")).or(col("symbol").eq(lit("B"))),
                key("symbol", &["A", "B"]),
            ),
            (
                col("symbol").eq(lit("A")).or(col("venue").eq(lit("B"))),
                None,
            ),
            (col("symbol").eq(lit(ScalarValue::Utf8(None))), None),
            (col("symbol").gt(lit("A")), None),
            (col("symbol").eq(col("venue")), None),
            (col("side").eq(lit("A")), None),
            (col("price").eq(lit(1_i64)), None),
        ] {
            assert_eq!(of(condition.clone()), wanted, "{condition}");
        }
    }
}
