//! From the text of a statement to a plan over one snapshot of the streams that it names.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement as Parsed;
use futures::FutureExt;
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::StreamName;
use tourbillon_query::params::Consistency;

use crate::arrange::arranged;
use crate::catalog::{CATALOG, SCHEMA, Streams};
use crate::error::SqlError;
use crate::growth::check_growth;
use crate::nested::told_apart;
use crate::output;
use crate::service::Core;
use crate::snapshots::Snapshots;
use crate::statement::{Statement, check_reads, check_size};
use crate::table::StreamTable;

/// Most streams that a statement may name.
const MAX_STREAMS: usize = 64;

/// A planned statement.
#[derive(Debug)]
pub(crate) struct Prepared {
    state: SessionState,
    logical: LogicalPlan,
    /// What it is computed from.
    pub(crate) snapshots: Snapshots,
    /// T in them, if it names one stream.
    pub(crate) complete_through: Option<Hlc>,
    /// The columns of its answer.
    pub(crate) schema: SchemaRef,
}

impl Core {
    /// Plans a statement. What goes wrong here is the statement's fault, unless a stream is out of
    /// reach.
    pub(crate) async fn prepare(&self, statement: &Statement) -> Result<Prepared, SqlError> {
        check_size(&statement.query)?;
        let planned = AssertUnwindSafe(self.plan(statement)).catch_unwind().await;
        let planned = planned
            .unwrap_or_else(|_| Err(SqlError::Unplannable("the planner gave up on it".into())));
        planned.map_err(|error| match error {
            SqlError::Statement(error) if is_internal(&error) => {
                SqlError::Unplannable(SqlError::Statement(error).to_string())
            }
            other => other,
        })
    }

    async fn plan(&self, statement: &Statement) -> Result<Prepared, SqlError> {
        let mut state = self.state.clone();
        state.mark_start_execution();
        let names = self.known(tables(&state, &statement.query)?).await;
        let (tables, snapshots) = self.open(&names, statement).await?;
        let complete_through = match names.len() {
            1 => snapshots
                .iter()
                .find_map(|(_, token)| token.complete_through),
            _ => None,
        };
        state.register_catalog_list(Arc::new(self.catalog(tables)));
        let mut prepared = Prepared {
            logical: logical(&state, &statement.query)?,
            state,
            snapshots,
            complete_through,
            schema: SchemaRef::new(Schema::empty()),
        };
        prepared.schema = output::schema(&prepared.physical().await?.schema());
        Ok(prepared)
    }

    /// Those of the tables that are streams. What does not exist is told by the planner, which knows
    /// its place in the statement.
    async fn known(&self, names: Vec<String>) -> Vec<String> {
        let mut known = Vec::new();
        for name in names {
            if self.sources.query.find(&name).await.is_ok() {
                known.push(name);
            }
        }
        known
    }

    /// The tables of these streams, and the snapshots under which they are read.
    async fn open(
        &self,
        names: &[String],
        statement: &Statement,
    ) -> Result<(BTreeMap<String, Arc<StreamTable>>, Snapshots), SqlError> {
        let wanted = statement.snapshots.of(names)?;
        let (mut tables, mut tokens) = (BTreeMap::new(), Vec::new());
        for (name, token) in names.iter().zip(wanted) {
            let (def, token) = self
                .sources
                .query
                .snapshot(name, token, statement.wait)
                .await?;
            let end = match (statement.consistency, token.complete_through) {
                (Consistency::Latest, _) => i64::MAX,
                (Consistency::Final, Some(through)) => through.plus(1).0,
                (Consistency::Final, None) => {
                    return Err(SqlError::Request {
                        name: "snapshot",
                        reason: format!(
                            "does not tell how far `{name}` is complete in it: ask with \
                             \"consistency\": \"latest\""
                        ),
                    });
                }
            };
            let table = self.sources.table(def, Some(token.clone()), end);
            tables.insert(name.clone(), Arc::new(table));
            tokens.push((name.clone(), token));
        }
        Ok((tables, tokens.into_iter().collect()))
    }

    fn catalog(&self, tables: BTreeMap<String, Arc<StreamTable>>) -> Streams {
        let view = self.sources.query.control_view();
        let (streams, sources) = (Arc::clone(&view), self.sources.clone());
        let shown = move |name: &StreamName| {
            let def = streams.streams.get(name).map(Arc::clone)?;
            Some(sources.table(def, None, i64::MAX))
        };
        Streams::new(view, tables, Arc::new(shown))
    }
}

/// Our tables that a statement names, in order.
fn tables(state: &SessionState, query: &str) -> Result<Vec<String>, SqlError> {
    let parsed = parsed(state, query)?;
    check_reads(&parsed)?;
    let named = state.resolve_table_references(&parsed);
    let named = named.map_err(SqlError::Statement)?;
    let ours = |table: &TableReference| {
        table.catalog().is_none_or(|catalog| catalog == CATALOG)
            && table.schema().is_none_or(|schema| schema == SCHEMA)
    };
    let ours = named.iter().filter(|table| ours(table));
    let mut names: Vec<String> = ours.map(|table| table.table().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    match names.len() {
        0..=MAX_STREAMS => Ok(names),
        many => Err(SqlError::Request {
            name: "query",
            reason: format!("names {many} tables, and {MAX_STREAMS} is the most"),
        }),
    }
}

fn parsed(state: &SessionState, query: &str) -> Result<Parsed, SqlError> {
    let dialect = state.config_options().sql_parser.dialect;
    let parsed = state.sql_to_statement(query, &dialect);
    parsed.map_err(SqlError::Statement)
}

/// The plan of a statement, optimised. Nothing is waited for here: our catalog answers at once, and
/// a statement that lived across an await would cost the compiler a minute to prove it `Send`.
fn logical(state: &SessionState, query: &str) -> Result<LogicalPlan, SqlError> {
    let planned = state.statement_to_plan(parsed(state, query)?);
    let logical = planned
        .now_or_never()
        .ok_or_else(|| SqlError::Unplannable("the planner waits for something".into()))?
        .map_err(SqlError::Statement)?;
    let readonly = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    readonly
        .verify_plan(&logical)
        .map_err(SqlError::Statement)?;
    let holes = logical.get_parameter_names().map_err(SqlError::Statement)?;
    if !holes.is_empty() {
        return Err(SqlError::Request {
            name: "query",
            reason: "parameters like `$1` or `?` are not taken: write the values into it".into(),
        });
    }
    let logical = told_apart(logical).map_err(SqlError::Statement)?;
    let logical = state.optimize(&logical).and_then(arranged);
    let logical = logical.map_err(SqlError::Statement)?;
    check_growth(&logical)?;
    Ok(logical)
}

impl Prepared {
    /// A fresh plan to be run once.
    pub(crate) async fn physical(&self) -> Result<Arc<dyn ExecutionPlan>, SqlError> {
        let planner = self.state.query_planner();
        let planned = planner
            .create_physical_plan(&self.logical, &self.state)
            .await;
        planned.map_err(SqlError::Statement)
    }

    /// What the operators run in.
    pub(crate) fn context(&self) -> Arc<TaskContext> {
        self.state.task_ctx()
    }
}

fn is_internal(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::Internal(_))
}
