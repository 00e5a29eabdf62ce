//! A stream as the HTTP interface shows it.

use serde::Serialize;

use super::{ColumnSpec, StreamDef};
use crate::time::format_duration_ns;

/// A stream as the HTTP interface shows it. Durations are like `10s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Stream)]
pub struct StreamDescription {
    /// Its name.
    #[schema(example = "trades")]
    pub name: String,
    /// Its own columns, in order.
    pub columns: Vec<ColumnSpec>,
    /// Names of the columns that say to which partition a row goes.
    #[schema(example = json!(["venue", "symbol"]))]
    pub key: Vec<String>,
    /// Name of the column that holds the event time.
    pub event_time: Option<String>,
    /// Number of partitions.
    pub partitions: u32,
    /// How long a segment's rows span at most.
    #[schema(example = "10s")]
    pub window: String,
    /// The span whose segments become one file, or `off`.
    #[schema(example = "1h")]
    pub compaction: String,
    /// Age at which rows go, or `off`.
    #[schema(example = "off")]
    pub retention: String,
    /// Counts the definitions that the stream has had, from 1.
    pub version: u32,
}

impl StreamDef {
    /// The stream as the HTTP interface shows it.
    pub fn describe(&self) -> StreamDescription {
        let spec = self.spec();
        let or_off = |ns: i64| match ns {
            0 => "off".to_owned(),
            ns => format_duration_ns(ns),
        };
        StreamDescription {
            name: spec.name,
            columns: spec.columns,
            key: spec.key,
            event_time: spec.event_time,
            partitions: spec.partitions,
            window: format_duration_ns(spec.window_ns),
            compaction: or_off(spec.compaction_ns),
            retention: or_off(spec.retention_ns),
            version: spec.version,
        }
    }
}

/// `GET /v1/streams`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = Streams)]
pub struct StreamList {
    /// All streams, by name.
    pub streams: Vec<StreamDescription>,
}
