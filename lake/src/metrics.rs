//! Metrics of the lake.

/// Bytes put into the object store, by kind of object.
const BYTES: &str = "tourbillon_lake_put_bytes_total";
/// Objects put into the object store, by kind of object.
const OBJECTS: &str = "tourbillon_lake_put_objects_total";

#[expect(
    clippy::disallowed_macros,
    reason = "this is where metrics are declared"
)]
pub(crate) fn put(kind: &'static str, bytes: usize) {
    metrics::counter!(OBJECTS, "stage" => kind).increment(1);
    metrics::counter!(BYTES, "stage" => kind).increment(bytes as u64);
}
