//! A forged commit: it ties to the chain and lies. An honest worker must stop there.

use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio::time::{sleep, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::PartitionId;
use tourbillon_core::manifest::Commit;
use tourbillon_ingest::{Environment, Gateway, GatewaySettings, Submission};
use tourbillon_lake::{Chain, Link};
use tourbillon_log::Log;
use tourbillon_log::control::ControlTopic;
use tourbillon_shard_worker::{Worker, WorkerSettings};

use super::run::followed;
use super::stream::rows;
use super::world::World;

/// Virtual time in which the honest worker must have met the forgery.
const PATIENCE: Duration = Duration::from_secs(60);

/// Forges the next commit of partition 0 under the eyes of an honest worker.
pub(crate) async fn try_forgery(world: &Arc<World>, control: &ControlTopic, def: &Arc<StreamDef>) {
    let lake = world.lake();
    let chain = Chain::new(&lake, &def.name, PartitionId(0));
    let Ok(Some(newest)) = chain.newest().await else {
        return;
    };
    let log: Arc<dyn Log> = Arc::new(world.broker.clone());
    let settings = WorkerSettings {
        share: 0,
        shares: 1,
        nonce: "honest".into(),
        grace: Duration::from_secs(3600),
    };
    let worker = Worker::start(settings, Arc::clone(&log), lake.clone(), control.clone());
    while !followed(world, &worker, def).await {
        sleep(Duration::from_millis(10)).await;
    }
    let path = forge(world, &newest).await;
    world.trace.note(format_args!("forged {path}"));
    write_rows(world, log, control, def).await;
    let halted = timeout(PATIENCE, async {
        while worker.is_healthy() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    let halted = halted.await.is_ok();
    let after = chain.get(newest.commit.body.seq + 2).await;
    if !halted || !matches!(after, Ok(None)) {
        let details = format!("a forged commit was adopted: {path}");
        world.violated("INV-CHAIN", details);
    }
}

async fn forge(world: &World, newest: &Link) -> Path {
    let mut body = newest.commit.body.clone();
    body.seq += 1;
    body.segments.clear();
    body.rejects = None;
    body.sealed_rows += 1;
    let path = Path::from(format!("{}/commit/p0/{:020}", body.stream, body.seq));
    let forged = Commit::link(body, &newest.tip, "forger".into());
    let bytes = forged.and_then(|forged| forged.encode());
    let bytes = bytes.expect("a commit can be written");
    let put = world.objects.put(&path, PutPayload::from(bytes)).await;
    put.expect("the store itself has no faults");
    path
}

/// Rows of every key, so that partition 0 has a segment to commit.
async fn write_rows(
    world: &Arc<World>,
    log: Arc<dyn Log>,
    control: &ControlTopic,
    def: &Arc<StreamDef>,
) {
    let clock: Arc<dyn PhysicalClock> = Arc::<super::clock::HostClock>::clone(&world.broker_clock);
    let env = Environment {
        log,
        control: control.clone(),
        commits: Arc::new(world.lake()),
        clock,
    };
    let gateway = Gateway::start(GatewaySettings::new("late", "late"), env);
    gateway.until_ready().await;
    let (_, numbers) = world.model.request(40, super::stream::has_note(def));
    let held = gateway.reserve(1024).expect("nothing else is in flight");
    let submission = Submission::new(Arc::clone(def), &rows(def, numbers), None, held);
    let receipt = gateway.submit(submission.expect("good rows")).await;
    if receipt.is_err() {
        world.violated("LIVENESS", "a sound gateway took no rows".into());
    }
}
