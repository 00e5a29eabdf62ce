//! The columns of an answer as clients know them: no views, no dictionaries, no name twice.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;

/// The schema of an answer. A name that came before gets `_1`, `_2`, .. behind it.
pub(crate) fn schema(planned: &Schema) -> SchemaRef {
    let mut taken = HashSet::new();
    let given: HashSet<&String> = planned.fields().iter().map(|field| field.name()).collect();
    let mut fields = Vec::with_capacity(planned.fields().len());
    for field in planned.fields() {
        let mut name = field.name().clone();
        let mut number = 0;
        while taken.contains(&name) || (number > 0 && given.contains(&name)) {
            number += 1;
            name = format!("{}_{number}", field.name());
        }
        taken.insert(name.clone());
        fields.push(Field::new(
            name,
            plain(field.data_type()),
            field.is_nullable(),
        ));
    }
    Arc::new(Schema::new(fields))
}

/// The rows under that schema.
pub(crate) fn rows(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast(column, field.data_type()),
        },
    );
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

fn plain(ty: &DataType) -> DataType {
    match ty {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let ty = plain(field.data_type());
    Arc::new(Field::new(field.name(), ty, field.is_nullable()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_twice() {
        let field = |name: &str| Field::new(name, DataType::Utf8View, true);
        let planned = Schema::new(["hlc", "hlc", "hlc_1", "a", "hlc"].map(field).to_vec());
        let schema = schema(&planned);
        let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(names, ["hlc", "hlc_2", "hlc_1", "a", "hlc_3"]);
        assert!(
            schema
                .fields()
                .iter()
                .all(|f| f.data_type() == &DataType::Utf8)
        );
    }
}
