//! Rows that an operator holds without asking the memory pool for them.
//!
//! Window functions over whole partitions collect their input, and DataFusion does not count it. So
//! their input goes through a node that does, and the statement is refused like any other that
//! holds too much.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;

/// Copies of each row that the operator makes at its peak: the batches, and their concatenation.
const COPIES: usize = 2;

/// Puts a [`Held`] below each operator that collects its input uncounted.
#[derive(Debug)]
pub(crate) struct CountHeldRows;

impl PhysicalOptimizerRule for CountHeldRows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = plan.transform_up(|node| {
            let Some(window) = node.downcast_ref::<WindowAggExec>() else {
                return Ok(Transformed::no(node));
            };
            let held = Arc::new(Held {
                input: Arc::clone(window.input()),
            });
            let options = ReplaceChildrenOptions::new(
                datafusion::physical_plan::ChildrenPropertiesMode::Recompute,
            );
            Ok(Transformed::yes(
                node.replace_children(vec![held], options)?,
            ))
        });
        counted.data()
    }

    fn name(&self) -> &str {
        "CountHeldRows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Passes rows on, and keeps memory reserved for them until it is dropped.
#[derive(Debug)]
struct Held {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Held {
    fn fmt_as(
        &self,
        _format: DisplayFormatType,
        f: &mut std::fmt::Formatter<'_>,
    ) -> std::fmt::Result {
        f.write_str("Held")
    }
}

impl ExecutionPlan for Held {
    fn name(&self) -> &'static str {
        "Held"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        let input = input.unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self { input }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let held = MemoryConsumer::new("window").register(context.memory_pool());
        let rows = self.input.execute(partition, context)?;
        let counted = rows.map(move |batch| {
            let batch = batch?;
            held.try_grow(batch.get_array_memory_size() * COPIES)?;
            Ok(batch)
        });
        let schema = self.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}
