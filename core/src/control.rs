//! The control topic: which streams there are and which writers live.
//!
//! Its records are few and small, so they are JSON. Every process applies them in log order and so
//! holds the same view. A record that cannot be read, or that contradicts one before it, is
//! counted and changes nothing, for everyone alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::broken::{Rule, broken};
use crate::frame::{BodyCodec, FrameError};
use crate::hlc::Hlc;
use crate::ids::{NameError, Offset, StreamName, WriterId};
use crate::machine::MachineRules;
use crate::replica::Codecs;
use crate::schema::{Column, ColumnType, SchemaError, StreamSchema, TypeError};
use crate::time::format_duration_ns;

/// Most partitions of a stream.
pub const MAX_PARTITIONS: u32 = 1024;

/// Shortest and longest event window, ns: 100 ms to a day.
pub const WINDOW_RANGE_NS: (i64, i64) = (100_000_000, 86_400_000_000_000);

/// A column on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnSpec {
    /// Its name.
    pub name: String,
    /// Its type, like `decimal(18,9)`.
    #[serde(rename = "type")]
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

/// Why a stream was refused.
#[derive(Debug, Error)]
pub enum StreamError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A column's type.
    #[error("column `{column}`")]
    Type {
        /// The column.
        column: String,
        /// What is wrong with it.
        source: TypeError,
    },
    /// Its columns, key or event time.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// Its partition count.
    #[error("a stream has 1 to {MAX_PARTITIONS} partitions and never loses one: {0} is refused")]
    Partitions(u32),
    /// Its window.
    #[error("the window must last 100ms to 1d and cannot change")]
    Window,
    /// Its key or event time cannot change.
    #[error("`{0}` of a stream cannot change")]
    Fixed(&'static str),
    /// A version that does not follow the one before.
    #[error("version {found} does not follow version {current}")]
    Version {
        /// The version there is.
        current: u32,
        /// The version given.
        found: u32,
    },
    /// Its schema cannot be coded.
    #[error("the schema cannot be coded")]
    Codec(#[from] FrameError),
}

/// A stream with all its versions.
#[derive(Debug)]
pub struct StreamDef {
    /// Its name.
    pub name: StreamName,
    /// Codecs of versions 1, 2, 3…
    codecs: Vec<Arc<BodyCodec>>,
    /// Number of partitions.
    pub partitions: u32,
    /// Length of the event window, ns.
    pub window_ns: i64,
    /// Rules of its partition machines.
    pub rules: MachineRules,
}

impl StreamDef {
    /// Checks the first version of a stream.
    pub fn create(spec: &StreamSpec) -> Result<Self, StreamError> {
        let version = |current| StreamError::Version {
            current,
            found: spec.version,
        };
        if spec.version != 1 {
            return Err(version(0));
        }
        let columns = columns(spec)?;
        let schema = StreamSchema::new(columns, &spec.key, spec.event_time.as_deref())?;
        if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
            return Err(StreamError::Partitions(spec.partitions));
        }
        if !(WINDOW_RANGE_NS.0..=WINDOW_RANGE_NS.1).contains(&spec.window_ns) {
            return Err(StreamError::Window);
        }
        Ok(Self {
            name: StreamName::new(spec.name.clone())?,
            codecs: vec![Arc::new(BodyCodec::new(schema)?)],
            partitions: spec.partitions,
            window_ns: spec.window_ns,
            rules: MachineRules {
                max_drift_ns: spec.max_drift_ns,
            },
        })
    }

    /// Checks the next version: more nullable columns, more partitions, nothing else.
    pub fn evolve(&self, spec: &StreamSpec) -> Result<Self, StreamError> {
        if spec.version != self.version() + 1 {
            return Err(StreamError::Version {
                current: self.version(),
                found: spec.version,
            });
        }
        if spec.partitions < self.partitions || spec.partitions > MAX_PARTITIONS {
            return Err(StreamError::Partitions(spec.partitions));
        }
        if spec.window_ns != self.window_ns {
            return Err(StreamError::Window);
        }
        let old = self.spec();
        if spec.key != old.key {
            return Err(StreamError::Fixed("key"));
        }
        if spec.event_time != old.event_time {
            return Err(StreamError::Fixed("event_time"));
        }
        let schema = self.schema().evolve(&columns(spec)?)?;
        let mut codecs = self.codecs.clone();
        codecs.push(Arc::new(BodyCodec::new(schema)?));
        let (name, rules) = (self.name.clone(), self.rules);
        Ok(Self {
            name,
            codecs,
            partitions: spec.partitions,
            window_ns: self.window_ns,
            rules,
        })
    }

    /// The newest version.
    pub fn version(&self) -> u32 {
        u32::try_from(self.codecs.len()).unwrap_or(u32::MAX)
    }

    /// The newest codec.
    pub fn newest(&self) -> &Arc<BodyCodec> {
        // `create` puts the first one in and nothing takes one out
        &self.codecs[self.codecs.len() - 1]
    }

    /// The newest schema.
    pub fn schema(&self) -> &StreamSchema {
        self.newest().schema()
    }

    /// The newest version on the wire.
    pub fn spec(&self) -> StreamSpec {
        let schema = self.schema();
        let column = |column: &Column| ColumnSpec {
            name: column.name.clone(),
            ty: column.ty.to_string(),
            nullable: column.nullable,
        };
        StreamSpec {
            name: self.name.as_str().to_owned(),
            version: self.version(),
            columns: schema.columns().iter().map(column).collect(),
            key: schema.key_names().map(str::to_owned).collect(),
            event_time: schema
                .event_time()
                .map(|i| schema.columns()[i].name.clone()),
            partitions: self.partitions,
            window_ns: self.window_ns,
            max_drift_ns: self.rules.max_drift_ns,
        }
    }
}

impl StreamDef {
    /// The stream as the HTTP interface shows it.
    pub fn describe(&self) -> serde_json::Value {
        let spec = self.spec();
        serde_json::json!({
            "name": spec.name,
            "columns": spec.columns,
            "key": spec.key,
            "event_time": spec.event_time,
            "partitions": spec.partitions,
            "window": format_duration_ns(spec.window_ns),
            "version": spec.version,
        })
    }
}

impl Codecs for StreamDef {
    fn codec(&self, version: u32) -> Option<Arc<BodyCodec>> {
        let index = usize::try_from(version).ok()?.checked_sub(1)?;
        self.codecs.get(index).map(Arc::clone)
    }
}

fn columns(spec: &StreamSpec) -> Result<Vec<Column>, StreamError> {
    let column = |c: &ColumnSpec| {
        let failed = |source| StreamError::Type {
            column: c.name.clone(),
            source,
        };
        let ty: ColumnType = c.ty.parse().map_err(failed)?;
        Ok(Column {
            name: c.name.clone(),
            ty,
            nullable: c.nullable,
        })
    };
    spec.columns.iter().map(column).collect()
}

/// Where a writer is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterPhase {
    /// It joined and has not left.
    Joined,
    /// Someone is about to fence it.
    FenceIntended,
    /// It was fenced.
    Fenced,
    /// It left.
    Left,
}

/// What the control topic says of a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterInfo {
    /// Name of its gateway.
    pub gateway: String,
    /// Nonce of its JOIN.
    pub nonce: String,
    /// Its lease, ns.
    pub lease_ns: i64,
    /// Where it is in its life.
    pub phase: WriterPhase,
    /// Its clock when it last spoke here.
    pub last_hlc: Hlc,
    /// When it last spoke here, by the log's clock, ns since the epoch.
    pub last_append_ns: i64,
    /// Nonce of its newest ALIVE that no FENCE_INTENT precedes.
    pub last_alive_nonce: String,
}

/// Everything the control topic says, up to an offset.
#[derive(Clone, Debug, Default)]
pub struct ControlView {
    /// Streams by name.
    pub streams: BTreeMap<StreamName, Arc<StreamDef>>,
    /// Writers by id.
    pub writers: BTreeMap<WriterId, WriterInfo>,
    /// Offset of the record that comes next.
    pub next_offset: Offset,
    /// Records that changed nothing because they could not be read or contradicted others.
    pub ignored: u64,
}

impl ControlView {
    /// Takes the record at `offset`.
    pub fn apply(&mut self, offset: Offset, append_time_ns: i64, payload: &[u8]) {
        self.next_offset = offset.next();
        let taken = serde_json::from_slice(payload)
            .is_ok_and(|record| self.take(offset, append_time_ns, record));
        if !taken {
            self.ignored += 1;
        }
    }

    fn take(&mut self, offset: Offset, append_ns: i64, record: ControlRecord) -> bool {
        match record {
            ControlRecord::Join {
                gateway,
                nonce,
                lease_ns,
            } => self.join(
                offset,
                WriterInfo {
                    gateway,
                    nonce,
                    lease_ns,
                    phase: WriterPhase::Joined,
                    last_hlc: Hlc::MIN,
                    last_append_ns: append_ns,
                    last_alive_nonce: String::new(),
                },
            ),
            ControlRecord::Alive { writer, nonce, hlc } => {
                let Some(info) = self.writers.get_mut(&writer) else {
                    return false;
                };
                if info.phase != WriterPhase::Joined && !broken(Rule::IntentEndsLease) {
                    return false;
                }
                info.last_hlc = info.last_hlc.max(hlc);
                info.last_append_ns = append_ns;
                info.last_alive_nonce = nonce;
                true
            }
            ControlRecord::Leave { writer } => self.end(writer, WriterPhase::Left),
            ControlRecord::FenceIntent { writer } => self.end(writer, WriterPhase::FenceIntended),
            ControlRecord::Fenced { writer } => self.end(writer, WriterPhase::Fenced),
            ControlRecord::Stream(spec) => self.define(&spec),
        }
    }

    fn join(&mut self, offset: Offset, info: WriterInfo) -> bool {
        let id = u32::try_from(offset.0);
        id.is_ok_and(|id| self.writers.insert(WriterId(id), info).is_none())
    }

    fn end(&mut self, writer: WriterId, phase: WriterPhase) -> bool {
        let Some(info) = self.writers.get_mut(&writer) else {
            return false;
        };
        let over = matches!(info.phase, WriterPhase::Left | WriterPhase::Fenced);
        if !over {
            info.phase = phase;
        }
        !over
    }

    fn define(&mut self, spec: &StreamSpec) -> bool {
        let Ok(name) = StreamName::new(spec.name.clone()) else {
            return false;
        };
        let def = match self.streams.get(&name) {
            None => StreamDef::create(spec),
            Some(old) => old.evolve(spec),
        };
        def.is_ok_and(|def| {
            self.streams.insert(name, Arc::new(def));
            true
        })
    }

    /// Writers of a gateway that neither left nor were fenced, `but` not this one.
    pub fn lingering(&self, gateway: &str, but: WriterId) -> Vec<WriterId> {
        let lingers = |(id, info): &(&WriterId, &WriterInfo)| {
            let over = matches!(info.phase, WriterPhase::Left | WriterPhase::Fenced);
            **id != but && info.gateway == gateway && !over
        };
        self.writers
            .iter()
            .filter(lingers)
            .map(|(id, _)| *id)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(version: u32) -> StreamSpec {
        let column = |name: &str, nullable| ColumnSpec {
            name: name.into(),
            ty: "string".into(),
            nullable,
        };
        let mut columns = vec![column("symbol", false)];
        columns.extend((1..version).map(|v| column(&format!("extra{v}"), true)));
        StreamSpec {
            name: "ticks".into(),
            version,
            columns,
            key: vec!["symbol".into()],
            event_time: None,
            partitions: 4,
            window_ns: 10_000_000_000,
            max_drift_ns: Some(500_000_000),
        }
    }

    fn feed(records: &[ControlRecord]) -> ControlView {
        let mut view = ControlView::default();
        for (i, record) in records.iter().enumerate() {
            view.apply(Offset(i as u64), 7, &record.encode().unwrap());
        }
        view
    }

    #[test]
    fn first_record_of_a_version_wins() {
        let mut rival = spec(2);
        rival.columns[1].name = "rival".into();
        let view = feed(&[1, 2, 3].map(|v| ControlRecord::Stream(spec(v))));
        let def = &view.streams[&StreamName::new("ticks").unwrap()];
        assert_eq!((def.version(), def.spec()), (3, spec(3)));
        assert!(def.codec(0).is_none() && def.codec(4).is_none());
        assert_eq!(def.codec(2).unwrap().schema().columns().len(), 2);
        let second = feed(&[spec(1), spec(2), rival].map(ControlRecord::Stream));
        assert_eq!(second.ignored, 1);
    }

    #[test]
    fn streams_only_ever_grow() {
        let def = StreamDef::create(&spec(1)).unwrap();
        let spoil: [fn(&mut StreamSpec); 5] = [
            |s| s.version = 3,
            |s| s.partitions = 3,
            |s| s.window_ns *= 2,
            |s| s.key = vec![],
            |s| s.columns[1].nullable = false,
        ];
        for change in spoil {
            let mut next = spec(2);
            change(&mut next);
            assert!(def.evolve(&next).is_err());
        }
    }

    #[test]
    fn a_fence_intent_stops_the_lease_and_unknown_records_are_counted() {
        let writer = WriterId(0);
        let alive = |nonce: &str| ControlRecord::Alive {
            writer,
            nonce: nonce.into(),
            hlc: Hlc(5),
        };
        let join = ControlRecord::Join {
            gateway: "g".into(),
            nonce: "n".into(),
            lease_ns: 7,
        };
        let intent = ControlRecord::FenceIntent { writer };
        let mut view = feed(&[join, alive("a"), intent, alive("b")]);
        assert_eq!(view.writers[&writer].last_alive_nonce, "a");
        assert_eq!(view.lingering("g", WriterId(9)), [writer]);
        view.apply(
            Offset(4),
            7,
            &ControlRecord::Leave { writer }.encode().unwrap(),
        );
        assert!(view.lingering("g", WriterId(9)).is_empty());
        view.apply(Offset(5), 7, br#"{"kind":"later"}"#);
        assert_eq!((view.ignored, view.next_offset), (2, Offset(6)));
    }
}
