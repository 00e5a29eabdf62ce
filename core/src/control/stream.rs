//! A stream with all its versions, and which next version may follow.

use std::sync::Arc;

use thiserror::Error;

use super::{COMPACTION_RANGE_NS, ColumnSpec, MAX_PARTITIONS, StreamSpec, WINDOW_RANGE_NS};
use crate::frame::{BodyCodec, FrameError};
use crate::ids::{NameError, StreamName};
use crate::machine::MachineRules;
use crate::replica::Codecs;
use crate::schema::{Column, ColumnType, SchemaError, StreamSchema, TypeError};

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
    /// Its compaction.
    #[error("compaction is off or a span of 1s to 1d, and cannot change")]
    Compaction,
    /// Its retention.
    #[error("retention is off or at least the compaction's span, and needs compaction")]
    Retention,
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
    /// The counts that it had, ascending; the last is `partitions`.
    cuts: Vec<u32>,
    /// Length of the event window, ns.
    pub window_ns: i64,
    /// Length of the spans whose segments become one file, ns; 0 if they stay.
    pub compaction_ns: i64,
    /// Age, by the watermark, at which rows go, ns; 0 if they stay.
    pub retention_ns: i64,
    /// The shortest retention that any version had, ns; 0 if none ever had one.
    pub shortest_retention_ns: i64,
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
        let spans = COMPACTION_RANGE_NS.0..=COMPACTION_RANGE_NS.1;
        if spec.compaction_ns != 0 && !spans.contains(&spec.compaction_ns) {
            return Err(StreamError::Compaction);
        }
        Ok(Self {
            name: StreamName::new(spec.name.clone())?,
            codecs: vec![Arc::new(BodyCodec::new(schema)?)],
            partitions: spec.partitions,
            cuts: vec![spec.partitions],
            window_ns: spec.window_ns,
            compaction_ns: spec.compaction_ns,
            retention_ns: retention(spec)?,
            shortest_retention_ns: spec.retention_ns,
            rules: MachineRules {
                max_drift_ns: spec.max_drift_ns,
            },
        })
    }

    /// Checks the next version: more nullable columns, more partitions, another retention, nothing
    /// else.
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
        if spec.compaction_ns != self.compaction_ns {
            return Err(StreamError::Compaction);
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
        let mut cuts = self.cuts.clone();
        if spec.partitions > self.partitions {
            cuts.push(spec.partitions);
        }
        Ok(Self {
            name,
            codecs,
            partitions: spec.partitions,
            cuts,
            window_ns: self.window_ns,
            compaction_ns: self.compaction_ns,
            retention_ns: retention(spec)?,
            shortest_retention_ns: shortest(self.shortest_retention_ns, spec.retention_ns),
            rules,
        })
    }

    /// The partition counts by which its rows were cut, ascending.
    pub fn cuts(&self) -> &[u32] {
        &self.cuts
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
            compaction_ns: self.compaction_ns,
            retention_ns: self.retention_ns,
            max_drift_ns: self.rules.max_drift_ns,
        }
    }
}

impl Codecs for StreamDef {
    fn codec(&self, version: u32) -> Option<Arc<BodyCodec>> {
        let index = usize::try_from(version).ok()?.checked_sub(1)?;
        self.codecs.get(index).map(Arc::clone)
    }
}

/// The shorter of two retentions, where 0 is none.
fn shortest(one: i64, other: i64) -> i64 {
    match (one, other) {
        (0, only) | (only, 0) => only,
        (one, other) => one.min(other),
    }
}

fn retention(spec: &StreamSpec) -> Result<i64, StreamError> {
    let allowed = spec.compaction_ns > 0 && spec.retention_ns >= spec.compaction_ns;
    if spec.retention_ns == 0 || allowed {
        return Ok(spec.retention_ns);
    }
    Err(StreamError::Retention)
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
