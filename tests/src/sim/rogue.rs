//! A writer that breaks the protocol: it leaves gaps, goes back in time, runs ahead, repeats
//! itself, opens twice and writes nonsense. None of its rows is ever acknowledged, and nothing it
//! does may harm those of others.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::sleep;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::control::{ControlRecord, StreamDef};
use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{PartitionId, WriterId};
use tourbillon_log::TopicPartition;
use tourbillon_log::control::ControlTopic;

use super::stream::{find, has_note, rows, stream_topic};
use super::world::World;

/// Frames of one rogue.
const FRAMES: u64 = 30;

/// The rogue, writing into one partition.
#[derive(Debug)]
pub(crate) struct Rogue {
    world: Arc<World>,
    control: ControlTopic,
    at: TopicPartition,
    writer: WriterId,
    pseq: u64,
    last: Hlc,
    frames: Vec<Bytes>,
}

impl Rogue {
    /// Joins as a writer of its own.
    pub(crate) async fn join(world: &Arc<World>, control: &ControlTopic) -> Option<Self> {
        let join = ControlRecord::Join {
            gateway: "rogue".into(),
            nonce: "rogue".into(),
            lease_ns: 500_000_000,
        };
        let joined = control.append(&join).await.ok()?;
        let partition = u32::try_from(world.dice.number(0..u64::from(world.plan.partitions)));
        let at = TopicPartition {
            topic: stream_topic(),
            partition: PartitionId(partition.ok()?),
        };
        Some(Self {
            world: Arc::clone(world),
            control: control.clone(),
            at,
            writer: WriterId(u32::try_from(joined.offset.0).ok()?),
            // OPEN is number 0
            pseq: 1,
            last: Hlc::MIN,
            frames: Vec::new(),
        })
    }

    /// Writes its frames.
    pub(crate) async fn run(mut self) {
        self.bare(FrameKind::Open).await;
        for _ in 0..FRAMES {
            sleep(self.world.dice.millis(5..200)).await;
            let def = find(&self.control.view());
            let Some(def) = def.filter(|_| self.world.is_troubled()) else {
                return;
            };
            let (now, next) = (self.now(), self.last.plus(1));
            match self.world.dice.number(0..12) {
                0 => self.send(Bytes::from_static(b"nonsense")).await,
                1 => self.again().await,
                2 => self.bare(FrameKind::Open).await,
                3 => self.data(&def, now, self.pseq + 2, false).await,
                4 => self.data(&def, self.last.plus(-5), self.pseq, false).await,
                5 => {
                    self.data(&def, now.plus(5_000_000_000), self.pseq, false)
                        .await
                }
                6 => self.bare(FrameKind::Close).await,
                7..9 => {
                    self.data(&def, now.plus(-2_000_000_000), self.pseq, false)
                        .await
                }
                _ => self.data(&def, now.max(next), self.pseq, true).await,
            }
        }
    }

    fn now(&self) -> Hlc {
        Hlc::from_wall_ns(self.world.broker_clock.wall_ns())
    }

    async fn send(&mut self, frame: Bytes) {
        self.frames.push(frame.clone());
        drop(self.world.append(&self.at, frame).await);
    }

    async fn again(&mut self) {
        if !self.frames.is_empty() {
            let frame = self.frames[self.world.dice.index(self.frames.len())].clone();
            self.send(frame).await;
        }
    }

    async fn bare(&mut self, kind: FrameKind) {
        let stamp = self.now().max(self.last.plus(1));
        let opens = kind == FrameKind::Open;
        let pseq = if opens { 0 } else { self.pseq };
        let frame = FrameHeader::bare(kind, self.writer, pseq, stamp).encode(&[]);
        if !opens {
            (self.pseq, self.last) = (self.pseq + 1, stamp);
        }
        self.send(frame.expect("a bare frame can be made")).await;
    }

    async fn data(&mut self, def: &StreamDef, first: Hlc, pseq: u64, honest: bool) {
        let count = self.world.dice.signed(1..4);
        let (_, numbers) = self.world.model.request(count, has_note(def));
        let mut header = FrameHeader::bare(FrameKind::Data, self.writer, pseq, first);
        header.hlc_last = first.plus(count - 1);
        header.rows = u32::try_from(count).unwrap_or(0);
        header.schema_version = def.version();
        if self.world.dice.chance(0.3) {
            // more than the stream ever had would shut everyone out, as a clock far ahead would
            let cut = self
                .world
                .dice
                .number(0..u64::from(self.world.plan.partitions) + 1);
            header.cut = u32::try_from(cut).unwrap_or(0);
            header.sources = vec![SourcePart {
                source: "rogue".into(),
                sequence: self.frames.len() as u64,
                ..SourcePart::anonymous(header.rows)
            }];
        }
        let body = def.newest().encode(&rows(def, numbers), None);
        let frame = header.encode(&body.expect("rows of this schema"));
        // what a sound partition refuses does not count
        if pseq == self.pseq && honest {
            self.pseq += 1;
            self.last = self.last.max(header.hlc_last);
        }
        self.send(frame.expect("a frame of few rows")).await;
    }
}
