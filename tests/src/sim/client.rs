//! Clients: they send, wait, and repeat under the same source and sequence until acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;
use tourbillon_core::control::StreamDef;
use tourbillon_ingest::{Receipt, Source, Submission};

use super::host::{Host, Process};
use super::stream::{find, has_note, rows};
use super::world::World;

/// Bytes that a request reserves before its rows are known.
const RESERVED_BYTES: usize = 1024;

/// A client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) gateways: Vec<Arc<Host>>,
    /// Absent for a client that does not name itself, and so never repeats.
    pub(crate) source: Option<Arc<str>>,
    /// The next sequence, shared by all connections of the source.
    pub(crate) sequence: Arc<AtomicU64>,
}

impl Client {
    /// Sends requests until the trouble is over, then sees its last one through.
    pub(crate) async fn run(self) {
        let most = self.world.plan.request_ms * 2;
        while self.world.is_troubled() {
            sleep(self.world.dice.millis(0..most)).await;
            self.request().await;
        }
    }

    async fn request(&self) {
        let dice = &self.world.dice;
        let count = if dice.chance(0.05) { 40..200 } else { 1..12 };
        let count = dice.signed(count);
        let Some(mut def) = self.wait_for_stream().await else {
            return;
        };
        let (request, numbers) = self.world.model.request(count, has_note(&def));
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let gives_up_at = dice.chance(0.15).then(|| dice.number(1..4));
        for attempt in 1u64.. {
            let process = self.gateway().await;
            let newest = self.newest(&process);
            // rows are the same each time they are sent
            let same = |newest: &Arc<StreamDef>| has_note(newest) == has_note(&def);
            def = newest.filter(same).unwrap_or(def);
            let batch = rows(&def, numbers.clone());
            let answer = self.submit(&process, &def, &batch, sequence).await;
            self.world.trace.note(format_args!(
                "request {request} #{attempt}: {}",
                answer.is_some()
            ));
            if let Some(receipt) = answer {
                let stamps = receipt.stamps.filter(|_| attempt == 1);
                return self.world.model.acked(request, stamps);
            }
            let gives_up = gives_up_at.is_some_and(|most| attempt >= most);
            if self.source.is_none() || (gives_up && self.world.is_troubled()) {
                return;
            }
            sleep(dice.millis(10..400)).await;
        }
    }

    fn newest(&self, process: &Process) -> Option<Arc<StreamDef>> {
        find(&process.gateway()?.control().view())
    }

    async fn wait_for_stream(&self) -> Option<Arc<StreamDef>> {
        let process = self.gateway().await;
        self.newest(&process)
    }

    /// A gateway that has started; not always the newest process of its host.
    async fn gateway(&self) -> Process {
        loop {
            let host = &self.gateways[self.world.dice.index(self.gateways.len())];
            let started = |process: &Process| process.gateway().is_some();
            let processes: Vec<_> = host.processes().into_iter().filter(started).collect();
            if !processes.is_empty() {
                return processes[self.world.dice.index(processes.len())].clone();
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// One attempt: none unless it was acknowledged.
    async fn submit(
        &self,
        process: &Process,
        def: &Arc<StreamDef>,
        batch: &arrow::array::RecordBatch,
        sequence: u64,
    ) -> Option<Receipt> {
        let gateway = process.gateway()?;
        let patient = self.world.dice.chance(0.3);
        let patience = self
            .world
            .dice
            .millis(if patient { 3000..12_000 } else { 100..3000 });
        let source = self.source.as_ref().map(|name| Source {
            name: Arc::clone(name),
            sequence,
        });
        let exchange = async {
            sleep(self.world.dice.millis(0..3)).await;
            process.gate.pass().await;
            let held = gateway.reserve(RESERVED_BYTES).ok()?;
            let submission = Submission::new(Arc::clone(def), batch, source, held).ok()?;
            let receipt = gateway.submit(submission).await.ok()?;
            process.gate.pass().await;
            Some(receipt)
        };
        tokio::select! {
            biased;
            () = process.gate.dead() => None,
            receipt = exchange => receipt,
            () = sleep(patience) => None,
        }
    }
}
