//! What stands in the control topic.

use serde::{Deserialize, Serialize};

use super::DEFAULT_COMPACTION_NS;
use crate::hlc::Hlc;
use crate::ids::WriterId;

/// A column on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Column)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// Its name.
    #[schema(min_length = 1, max_length = 128, example = "price")]
    pub name: String,
    /// Its type, like `decimal(18,9)`.
    #[serde(rename = "type")]
    #[schema(
        pattern = r"^(string|timestamp|int64|uint64|float64|bool|decimal\([0-9]{1,2},[0-9]{1,2}\))$",
        example = "decimal(18,9)"
    )]
    pub ty: String,
    /// Whether rows may lack it.
    #[serde(default)]
    pub nullable: bool,
}

/// One version of a stream on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSpec {
    /// Its name.
    pub name: String,
    /// From 1; the first record for a version counts.
    pub version: u32,
    /// All columns.
    pub columns: Vec<ColumnSpec>,
    /// Names of the key columns.
    pub key: Vec<String>,
    /// Name of the event-time column.
    pub event_time: Option<String>,
    /// Number of partitions.
    pub partitions: u32,
    /// Length of the event window, ns.
    pub window_ns: i64,
    /// Length of the spans whose segments become one file, ns; 0 if they stay.
    #[serde(default = "default_compaction_ns")]
    pub compaction_ns: i64,
    /// Age, by the watermark, at which rows go, ns; 0 if they stay.
    #[serde(default)]
    pub retention_ns: i64,
    /// How far a stamp may lie above the append time, ns; none where the log has no append time.
    pub max_drift_ns: Option<i64>,
}

/// A record of the control topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ControlRecord {
    /// A gateway begins; the record's offset is its writer id.
    Join {
        /// Name of the gateway.
        gateway: String,
        /// Tells this incarnation from others.
        nonce: String,
        /// How long it may acknowledge after an ALIVE that it has read back, ns.
        #[serde(default = "default_lease_ns")]
        lease_ns: i64,
    },
    /// The writer lives.
    Alive {
        /// The writer.
        writer: WriterId,
        /// Tells this record from others.
        nonce: String,
        /// Its clock.
        hlc: Hlc,
    },
    /// The writer has closed every partition.
    Leave {
        /// The writer.
        writer: WriterId,
    },
    /// Someone is about to fence the writer.
    FenceIntent {
        /// The writer.
        writer: WriterId,
    },
    /// The writer is fenced in every partition.
    Fenced {
        /// The writer.
        writer: WriterId,
    },
    /// A stream begins or grows.
    Stream(StreamSpec),
}

impl ControlRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

/// Lease of a writer that does not say, ns.
const DEFAULT_LEASE_NS: i64 = 2_000_000_000;

fn default_lease_ns() -> i64 {
    DEFAULT_LEASE_NS
}

fn default_compaction_ns() -> i64 {
    DEFAULT_COMPACTION_NS
}
