//! Catalog `tourbillon` with schema `public`: every stream is a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::TableType;
use tourbillon_core::control::ControlView;
use tourbillon_core::ids::StreamName;

use crate::table::StreamTable;

/// The one catalog.
pub(crate) const CATALOG: &str = "tourbillon";

/// The one schema.
pub(crate) const SCHEMA: &str = "public";

/// Makes the table of a stream that a statement does not read: for its columns only.
type Shown = dyn Fn(&StreamName) -> Option<StreamTable> + Send + Sync;

/// The streams as one statement sees them.
#[derive(Clone)]
pub(crate) struct Streams {
    view: Arc<ControlView>,
    /// Those that it names, with their snapshots.
    named: BTreeMap<String, Arc<StreamTable>>,
    shown: Arc<Shown>,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams")
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

impl Streams {
    pub(crate) fn new(
        view: Arc<ControlView>,
        named: BTreeMap<String, Arc<StreamTable>>,
        shown: Arc<Shown>,
    ) -> Self {
        Self { view, named, shown }
    }
}

#[async_trait]
impl SchemaProvider for Streams {
    fn table_names(&self) -> Vec<String> {
        let known = self.view.streams.keys();
        known.map(|name| name.as_str().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.named.get(name) {
            return Ok(Some(Arc::clone(table) as Arc<dyn TableProvider>));
        }
        let table = StreamName::new(name)
            .ok()
            .and_then(|name| (self.shown)(&name));
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        Ok(self.table_exist(name).then_some(TableType::Base))
    }

    fn table_exist(&self, name: &str) -> bool {
        let known = |name| self.view.streams.contains_key(&name);
        self.named.contains_key(name) || StreamName::new(name).is_ok_and(known)
    }
}

impl CatalogProvider for Streams {
    fn schema_names(&self) -> Vec<String> {
        vec![SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        (name == SCHEMA).then(|| Arc::new(self.clone()) as Arc<dyn SchemaProvider>)
    }
}

impl CatalogProviderList for Streams {
    fn register_catalog(
        &self,
        _name: String,
        _catalog: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}
