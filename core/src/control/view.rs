//! Everything the control topic says, up to an offset.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ControlRecord, StreamDef, StreamSpec};
use crate::broken::{Rule, broken};
use crate::hlc::Hlc;
use crate::ids::{Offset, StreamName, WriterId};

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
