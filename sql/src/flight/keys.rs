//! Keys of tables: every stream has one, its order, and none refers to another.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

use crate::catalog::{CATALOG, SCHEMA};

/// Columns of the key of every stream, in order.
const KEY: [&str; 2] = ["hlc", "writer"];

fn field(name: &str, ty: DataType) -> Field {
    let nullable = name.ends_with("catalog_name")
        || name.ends_with("schema_name")
        || name.ends_with("key_name");
    Field::new(name, ty, nullable)
}

/// As the protocol wants it.
pub(super) static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = [
        "catalog_name",
        "db_schema_name",
        "table_name",
        "column_name",
        "key_name",
    ];
    let mut fields: Vec<_> = text.map(|name| field(name, DataType::Utf8)).into();
    fields.push(field("key_sequence", DataType::Int32));
    Arc::new(Schema::new(fields))
});

/// As the protocol wants it.
pub(super) static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = [
        "catalog_name",
        "db_schema_name",
        "table_name",
        "column_name",
    ];
    let side = |side: &str| text.map(|name| field(&format!("{side}_{name}"), DataType::Utf8));
    let mut fields: Vec<_> = side("pk").into_iter().chain(side("fk")).collect();
    fields.push(field("key_sequence", DataType::Int32));
    fields.push(field("fk_key_name", DataType::Utf8));
    fields.push(field("pk_key_name", DataType::Utf8));
    fields.push(field("update_rule", DataType::UInt8));
    fields.push(field("delete_rule", DataType::UInt8));
    Arc::new(Schema::new(fields))
});

/// The key of a table.
pub(super) fn primary(table: &str) -> Result<RecordBatch, ArrowError> {
    let same = |value: &str| Arc::new(StringArray::from(vec![value; KEY.len()])) as ArrayRef;
    let columns = vec![
        same(CATALOG),
        same(SCHEMA),
        same(table),
        Arc::new(StringArray::from(KEY.to_vec())),
        same("order"),
        Arc::new(Int32Array::from(vec![1, 2])),
    ];
    RecordBatch::try_new(Arc::clone(&PRIMARY_KEYS), columns)
}
