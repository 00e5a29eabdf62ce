//! Keeps nested selects apart that compute the same expressions under the same names.
//!
//! DataFusion 55.2 takes `select n + 1 as n from (select n + 1 as n from t)` for one select said twice
//! once both are spelled alike, and drops one of them: a wrong answer. So every computed column of a
//! select over another one gets an inner name of its own, which no other has.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::expr::Alias;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

/// The same plan, in which no two projections are equal.
pub(crate) fn told_apart(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut number = 0_u32;
    let told = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Projection(projection) => {
            number += 1;
            Ok(Transformed::yes(LogicalPlan::Projection(marked(
                projection, number,
            )?)))
        }
        other => Ok(Transformed::no(other)),
    });
    Ok(told?.data)
}

fn marked(projection: Projection, number: u32) -> Result<Projection> {
    let mark = |expr: Expr| match expr {
        Expr::Alias(alias) if !matches!(*alias.expr, Expr::Column(_)) => {
            let inner = alias.expr.alias(format!("{}#{number}", alias.name));
            Expr::Alias(Alias {
                expr: Box::new(inner),
                ..alias
            })
        }
        other => other,
    };
    let exprs = projection.expr.into_iter().map(mark).collect();
    Projection::try_new_with_schema(exprs, projection.input, projection.schema)
}
