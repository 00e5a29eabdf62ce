//! In which order a statement's scans are read, decided from its optimized plan.
//!
//! A scan gives its rows in the order of the stream, or newest first where a sort asks for that, so
//! that a sort by hlc needs no work, `LIMIT` without a sort always takes the same rows, and ties
//! are always broken by writer. Only below an aggregation whose result no order can change are
//! partitions read side by side.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, Projection, Sort, TableScan,
};

use crate::filters::HLC;
use crate::table::{ScanOrder, StreamTable};

/// Aggregations that are exact on exact types and do not look at the order of rows.
const ORDERLESS: [&str; 9] = [
    "count", "sum", "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or",
];

/// What the operators above want of rows.
#[derive(Clone, Debug, Default)]
struct Want {
    /// No order at all.
    any: bool,
    /// The column by which the newest row comes first.
    descending_by: Option<String>,
}

/// The plan with an order for each scan of a stream.
pub(crate) fn arranged(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(walk(plan, &Want::default())?.data)
}

fn walk(plan: LogicalPlan, want: &Want) -> Result<Transformed<LogicalPlan>> {
    if let LogicalPlan::TableScan(scan) = plan {
        return Ok(Transformed::yes(LogicalPlan::TableScan(scanned(
            scan, want,
        )?)));
    }
    let below = below(&plan, want);
    plan.map_children(|child| walk(child, &below))
}

/// What an operator wants of its inputs.
fn below(plan: &LogicalPlan, want: &Want) -> Want {
    let unordered = |any| Want {
        any,
        descending_by: None,
    };
    match plan {
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => want.clone(),
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => want.clone(),
        LogicalPlan::Limit(_) => Want {
            any: false,
            ..want.clone()
        },
        LogicalPlan::Projection(projection) => Want {
            any: want.any,
            descending_by: renamed(projection, want),
        },
        LogicalPlan::Sort(sort) => Want {
            any: false,
            descending_by: descending(sort),
        },
        LogicalPlan::Aggregate(aggregate) => unordered(is_orderless(aggregate)),
        LogicalPlan::Join(_) | LogicalPlan::Union(_) => unordered(want.any),
        _ => unordered(false),
    }
}

fn descending(sort: &Sort) -> Option<String> {
    let first = sort.expr.first().filter(|first| !first.asc)?;
    match &first.expr {
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    }
}

/// What a column of a projection is called below it, if it is one there.
fn renamed(projection: &Projection, want: &Want) -> Option<String> {
    let wanted = want.descending_by.as_ref()?;
    let places = projection.schema.fields().iter().zip(&projection.expr);
    let (_, mut expr) = places
        .into_iter()
        .find(|(field, _)| field.name() == wanted)?;
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    match expr {
        Expr::Column(column) => Some(column.name.clone()),
        _ => None,
    }
}

fn is_orderless(aggregate: &Aggregate) -> bool {
    let schema = aggregate.input.schema();
    aggregate.aggr_expr.iter().all(|expr| {
        let mut expr = expr;
        while let Expr::Alias(alias) = expr {
            expr = &alias.expr;
        }
        matches!(expr, Expr::AggregateFunction(function) if orderless(function, schema))
    })
}

fn orderless(function: &AggregateFunction, schema: &DFSchema) -> bool {
    let params = &function.params;
    // sums of floats depend on the order in which they are made
    let exact = |arg: &Expr| arg.get_type(schema).is_ok_and(|ty| !ty.is_floating());
    let name = function.func.name();
    let counts = name == "count";
    ORDERLESS.contains(&name)
        && params.order_by.is_empty()
        && (counts || params.args.iter().all(exact))
}

fn scanned(mut scan: TableScan, want: &Want) -> Result<TableScan> {
    let provider = source_as_provider(&scan.source)?;
    let Some(table) = provider.downcast_ref::<StreamTable>() else {
        return Ok(scan);
    };
    let order = match &want.descending_by {
        _ if want.any => ScanOrder::Any,
        Some(column) if column == HLC => ScanOrder::Descending,
        _ => ScanOrder::Ascending,
    };
    scan.source = provider_as_source(Arc::new(table.ordered(order)));
    Ok(scan)
}
