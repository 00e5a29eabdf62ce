//! A stream as a table of DataFusion.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::ExecutionPlan;
use tokio::runtime::Handle;
use tourbillon_core::control::StreamDef;
use tourbillon_query::QueryService;
use tourbillon_query::params::{Consistency, WindowParams};
use tourbillon_query::token::Token;

use crate::filters::{Bound, HLC, bound};
use crate::scan::ScanExec;

/// Columns of the key, which is the order of a stream.
const KEY: [&str; 2] = [HLC, "writer"];

/// In which order the rows of a scan are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ScanOrder {
    /// Oldest first: one stream of rows by key.
    #[default]
    Ascending,
    /// Newest first: one stream of rows by key.
    Descending,
    /// Any: partitions are read side by side.
    Any,
}

/// Where tables come from. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) query: QueryService,
    /// Where windows are read: not among the operators, which may hold a thread for long.
    pub(crate) home: Handle,
    /// Most scans of a table side by side.
    pub(crate) lanes: usize,
}

/// A stream and which of its rows a statement sees.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) sources: Sources,
    pub(crate) def: Arc<StreamDef>,
    /// Its rows; none for a stream that the statement does not name.
    token: Option<Token>,
    /// Stamp after the last that is seen.
    end: i64,
}

impl Sources {
    /// A stream as a table: the rows of `token` before the stamp `end`, in the columns that the
    /// stream had then. Without a token it can be described only.
    pub(crate) fn table(&self, def: Arc<StreamDef>, token: Option<Token>, end: i64) -> StreamTable {
        StreamTable::new(Source {
            sources: self.clone(),
            def,
            token,
            end,
        })
    }
}

/// A stream as a table: system columns first, as in its files.
#[derive(Clone, Debug)]
pub(crate) struct StreamTable {
    source: Arc<Source>,
    schema: SchemaRef,
    order: ScanOrder,
}

impl StreamTable {
    fn new(source: Source) -> Self {
        let stored = source.def.schema().stored();
        let system = stored.fields().len() - source.def.schema().columns().len();
        let known = source.token.as_ref().and_then(|token| token.columns);
        let known = known.map_or(usize::MAX, |known| known.saturating_add(system));
        let fields = stored.fields().iter().take(known).map(|field| seen(field));
        Self {
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            source: Arc::new(source),
            order: ScanOrder::default(),
        }
    }

    /// The same table, to be read in another order.
    pub(crate) fn ordered(&self, order: ScanOrder) -> Self {
        Self {
            order,
            ..self.clone()
        }
    }

    /// What to ask of windows.
    fn params(&self, columns: Vec<String>, filters: &[Expr]) -> Result<WindowParams> {
        let source = &self.source;
        let Some(token) = &source.token else {
            let stream = &source.def.name;
            let what = format!("stream {stream} is read without a snapshot");
            return Err(DataFusionError::Internal(what));
        };
        let (mut start, mut end, mut keys) = (i64::MIN, source.end, Vec::new());
        for filter in filters {
            match bound(filter, source.def.schema()) {
                Some(Bound::Hlc(range)) => {
                    start = start.max(range.start);
                    end = end.min(range.end);
                }
                Some(Bound::Key(key)) => keys.push(key),
                None => {
                    let what = format!("{filter} was not promised to be answered");
                    return Err(DataFusionError::Internal(what));
                }
            }
        }
        // a condition selects among the rows that are left; it does not ask for those that are gone
        if start <= token.kept_from.0 {
            start = 0;
        }
        Ok(WindowParams {
            start,
            end: (end < i64::MAX).then_some(end.max(0)),
            keys,
            columns,
            descending: self.order == ScanOrder::Descending,
            consistency: Consistency::Latest,
            snapshot: Some(token.clone()),
            ..WindowParams::everything(source.def.schema())
        })
    }

    /// What each output partition reads, window after window.
    fn lanes(&self, params: WindowParams) -> Vec<Vec<WindowParams>> {
        if self.order != ScanOrder::Any {
            return vec![vec![params]];
        }
        let count = params.snapshot.as_ref().map_or(0, |t| t.offsets.len());
        let lanes = count.min(self.source.sources.lanes).max(1);
        let of_lane = |lane: usize| {
            let partitions = (lane..count).step_by(lanes);
            let partitions = partitions.filter_map(|p| u32::try_from(p).ok());
            let of = |partition| WindowParams {
                partition: Some(partition),
                ..params.clone()
            };
            partitions.map(of).collect()
        };
        (0..lanes).map(of_lane).collect()
    }

    /// The order of the rows, as far as its columns are read.
    fn ordering(&self, schema: &Schema) -> Result<Option<LexOrdering>> {
        if self.order == ScanOrder::Any {
            return Ok(None);
        }
        let descending = self.order == ScanOrder::Descending;
        let options = SortOptions {
            descending,
            nulls_first: descending,
        };
        let read = KEY.iter().take_while(|name| schema.index_of(name).is_ok());
        let sorted = read.map(|name| Ok(PhysicalSortExpr::new(col(name, schema)?, options)));
        Ok(LexOrdering::new(sorted.collect::<Result<Vec<_>>>()?))
    }
}

fn names(schema: &Schema) -> Vec<String> {
    let fields = schema.fields().iter();
    fields.map(|field| field.name().clone()).collect()
}

/// A column as DataFusion sees it: strings as views, on which it groups and compares fastest.
fn seen(field: &Field) -> Field {
    let ty = match field.data_type() {
        DataType::Dictionary(..) | DataType::Utf8 => DataType::Utf8View,
        other => other.clone(),
    };
    Field::new(field.name(), ty, field.is_nullable())
}

#[async_trait]
impl TableProvider for StreamTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let schema = self.source.def.schema();
        let answered = filters.iter().map(|filter| match bound(filter, schema) {
            Some(_) => TableProviderFilterPushDown::Exact,
            None => TableProviderFilterPushDown::Unsupported,
        });
        Ok(answered.collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all);
        let schema = Arc::new(self.schema.project(wanted)?);
        // rows that are only counted still need a column to be read
        let columns = match wanted.is_empty() {
            true => vec![HLC.to_owned()],
            false => names(&schema),
        };
        let lanes = self.lanes(self.params(columns, filters)?);
        let ordering = self.ordering(&schema)?;
        let source = Arc::clone(&self.source);
        let plan = ScanExec::new(source, lanes, schema, ordering, limit);
        Ok(Arc::new(plan))
    }
}
