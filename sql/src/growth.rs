//! How long the values of a row may become that a statement makes, found before it makes them.
//!
//! Functions that join texts make them for a whole batch at once, and no memory pool is asked. A few
//! dozen nested `concat(s, s)` would take all the memory there is. So every expression gets a width,
//! from those below it, and a statement whose rows may become too wide is refused.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Exists, InSubquery, ScalarFunction};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::scalar::ScalarValue;

use crate::error::SqlError;

/// What a value of a stream counts as, bytes: longer ones are rare and were stored as they are.
const COLUMN_BYTES: usize = 16;

/// Most bytes of a row that one operator may make; a batch has 8192 rows.
const MAX_ROW_BYTES: usize = 64 << 10;

/// Refuses a plan that makes rows which are too wide.
pub(crate) fn check_growth(plan: &LogicalPlan) -> Result<(), SqlError> {
    widths(plan).map(|_| ())
}

/// The widths of the columns of a plan, bytes.
fn widths(plan: &LogicalPlan) -> Result<Vec<usize>, SqlError> {
    let below: Vec<_> = plan.inputs();
    let known = below.iter().map(|input| widths(input));
    let known = known.collect::<Result<Vec<_>, _>>()?;
    let width = |expr: &Expr| width(expr, &below, &known);
    let mut made = 0_usize;
    for expr in plan.expressions() {
        if !matches!(expr, Expr::Column(_)) {
            made = made.saturating_add(width(&expr)?);
        }
    }
    if made > MAX_ROW_BYTES {
        return Err(SqlError::Request {
            name: "query",
            reason: format!(
                "may make {made} bytes of every row, and {MAX_ROW_BYTES} is the most: use shorter \
                 texts, and join fewer of them"
            ),
        });
    }
    let fields = plan.schema().fields().len();
    let widest = known.iter().flatten().copied().max();
    let mut columns: Vec<usize> = match plan {
        LogicalPlan::Projection(projection) => projection
            .expr
            .iter()
            .map(width)
            .collect::<Result<_, _>>()?,
        LogicalPlan::Aggregate(aggregate) => {
            let made = aggregate.group_expr.iter().chain(&aggregate.aggr_expr);
            made.map(width).collect::<Result<_, _>>()?
        }
        LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Join(_) => known.concat(),
        _ => Vec::new(),
    };
    columns.resize(fields, widest.unwrap_or(COLUMN_BYTES).max(COLUMN_BYTES));
    Ok(columns)
}

fn width(expr: &Expr, below: &[&LogicalPlan], known: &[Vec<usize>]) -> Result<usize, SqlError> {
    let width = |expr: &Expr| width(expr, below, known);
    Ok(match expr {
        Expr::Column(column) => {
            let of = |(plan, widths): (&&LogicalPlan, &Vec<usize>)| {
                let place = plan.schema().maybe_index_of_column(column)?;
                widths.get(place).copied()
            };
            below.iter().zip(known).find_map(of).unwrap_or(COLUMN_BYTES)
        }
        Expr::Literal(
            ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text),
            _,
        ) => text.as_ref().map_or(1, String::len).max(1),
        // a list is looked into, and not made
        Expr::InList(list) => width(&list.expr)?,
        Expr::ScalarFunction(function) => called(function, width)?,
        Expr::ScalarSubquery(query) => widths(&query.subquery)?.into_iter().max().unwrap_or(1),
        Expr::Exists(Exists { subquery, .. }) => {
            widths(&subquery.subquery)?;
            COLUMN_BYTES
        }
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            widths(&subquery.subquery)?;
            width(expr)?
        }
        other => sum(other, width)?,
    })
}

/// Texts of arguments are joined; where one is put into another's every place, they multiply.
fn called(
    function: &ScalarFunction,
    width: impl Fn(&Expr) -> Result<usize, SqlError>,
) -> Result<usize, SqlError> {
    let widths = function.args.iter().map(width);
    let widths = widths.collect::<Result<Vec<_>, _>>()?;
    let all = widths
        .iter()
        .fold(0_usize, |sum, width| sum.saturating_add(*width));
    let put = match function.name() {
        "replace" | "regexp_replace" => widths.get(2),
        "array_to_string" => widths.get(1),
        "concat_ws" => widths.first(),
        _ => None,
    };
    Ok(all
        .saturating_mul(put.copied().unwrap_or(1))
        .max(COLUMN_BYTES))
}

fn sum(expr: &Expr, width: impl Fn(&Expr) -> Result<usize, SqlError>) -> Result<usize, SqlError> {
    let mut widths = Vec::new();
    let gathered = expr.apply_children(|child| {
        widths.push(width(child));
        Ok(TreeNodeRecursion::Continue)
    });
    gathered.map_err(SqlError::Statement)?;
    let widths = widths.into_iter().collect::<Result<Vec<_>, _>>()?;
    let all = widths.into_iter().fold(0_usize, usize::saturating_add);
    Ok(all.max(COLUMN_BYTES))
}
