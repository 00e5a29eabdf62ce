//! One run: trouble, calm, and the reckoning.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::control::{StreamDef, WriterInfo, WriterPhase};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::{PartitionId, WriterId};
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{Log, TopicPartition};
use tourbillon_query::QueryService;

use super::chaos::{Chaos, Hosts};
use super::check::Check;
use super::client::Client;
use super::forge;
use super::host::{Host, Process};
use super::reader::Reader;
use super::stream::{PREFIX, find, first_request, stream_topic};
use super::world::World;

/// Virtual time in which everything must be well again once the trouble is over.
const SETTLE: Duration = Duration::from_secs(600);

/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(100);

/// Runs the plan of `world` to its end.
pub(crate) async fn run(world: Arc<World>) {
    world.trace.note(format_args!("{:?}", world.plan));
    let log: Arc<dyn Log> = Arc::new(world.broker.clone());
    let admin = ControlTopic::open(Arc::clone(&log), PREFIX).await;
    let admin = admin.expect("the broker itself has no faults");
    let request = first_request(&world.plan);
    admin
        .ensure_stream(&request)
        .await
        .expect("a good request on a sound log");
    let hosts = Hosts::new(&world);
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    for host in hosts.all() {
        host.start();
        tasks.push(tokio::spawn(Arc::clone(host).keep()));
    }
    let reader = Reader {
        world: Arc::clone(&world),
        queries: hosts.queries.clone(),
    };
    tasks.push(tokio::spawn(reader.run()));
    let clients = start_clients(&world, &hosts);
    let chaos = Chaos {
        world: Arc::clone(&world),
        hosts: hosts.clone(),
        admin: admin.clone(),
    };
    chaos.run().await;
    world.trace.note(format_args!("calm"));
    world.calm();
    sleep(Duration::from_millis(1)).await;
    hosts.all().for_each(|host| host.heal());
    let judge = QueryService::start(Arc::clone(&log), world.lake(), admin.clone());
    let settled = timeout(SETTLE, settle(&world, &hosts, clients, &judge, &admin)).await;
    hosts.all().for_each(|host| host.inspect());
    tasks.iter().for_each(JoinHandle::abort);
    if settled.is_err() {
        let view = admin.view();
        let lingers = |(_, info): &(&WriterId, &WriterInfo)| {
            !matches!(info.phase, WriterPhase::Left | WriterPhase::Fenced)
        };
        let lingering: Vec<_> = view.writers.iter().filter(lingers).collect();
        let through = find(&view).map(|def| judge.complete_through(&def));
        let details = format!("not settled after {SETTLE:?}: T {through:?}, {lingering:?}");
        return world.violated("LIVENESS", details);
    }
    let Some(def) = find(&admin.view()) else {
        return world.violated("LIVENESS", "the stream is gone".into());
    };
    if timeout(SETTLE, stop(&world, &hosts, &def)).await.is_err() {
        hosts.all().for_each(|host| host.inspect());
        return world.violated("LIVENESS", format!("not stopped after {SETTLE:?}"));
    }
    let check = Check {
        world: &world,
        def: &def,
        control: &admin,
        judge: &judge,
    };
    if timeout(SETTLE, check.run()).await.is_err() {
        return world.violated("LIVENESS", "the reckoning takes for ever".into());
    }
    if world.plan.forges && world.is_clean() {
        let forgery = forge::try_forgery(&world, &admin, &def);
        if timeout(SETTLE, forgery).await.is_err() {
            world.violated("LIVENESS", "the forgery takes for ever".into());
        }
    }
}

fn start_clients(world: &Arc<World>, hosts: &Hosts) -> Vec<JoinHandle<()>> {
    let mut clients = Vec::new();
    for number in 0..world.plan.clients {
        let client = Client {
            world: Arc::clone(world),
            gateways: hosts.gateways.clone(),
            source: (number > 0).then(|| format!("client{number}").into()),
            sequence: Arc::new(AtomicU64::new(0)),
        };
        // two connections: requests of one source may overtake one another
        clients.push(tokio::spawn(client.clone().run()));
        clients.push(tokio::spawn(client.run()));
    }
    clients
}

/// Waits until every request is answered and everything that is there is complete.
async fn settle(
    world: &Arc<World>,
    hosts: &Hosts,
    clients: Vec<JoinHandle<()>>,
    judge: &QueryService,
    admin: &ControlTopic,
) {
    for client in clients {
        if let Err(error) = client.await {
            world.violated("PANIC", error.to_string());
        }
    }
    world.trace.note(format_args!("every client has finished"));
    landed(world).await;
    world.trace.note(format_args!("every record has landed"));
    let ready = |process: Process| {
        process
            .gateway()
            .is_some_and(tourbillon_ingest::Gateway::is_ready)
    };
    for host in &hosts.gateways {
        while !host.current().is_some_and(ready) {
            sleep(LOOK).await;
        }
    }
    let target = Hlc(world.broker_clock.wall_ns() + world.plan.window_ns);
    loop {
        let def = find(&admin.view());
        let through = def.map(|def| judge.complete_through(&def));
        if through.is_some_and(|through| through.is_ok_and(|through| through >= target)) {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Waits until nothing is on its way. Looks at odd times, since gateways beat at even ones.
async fn landed(world: &World) {
    while world.in_flight() > 0 {
        sleep(world.dice.millis(20..150)).await;
    }
}

/// Lets gateways leave and workers finish.
async fn stop(world: &Arc<World>, hosts: &Hosts, def: &StreamDef) {
    for host in &hosts.gateways {
        if let Some(gateway) = host
            .current()
            .as_ref()
            .and_then(|process| process.gateway())
        {
            gateway.shutdown().await;
        }
    }
    landed(world).await;
    // the first worker takes every partition
    for (number, host) in hosts.workers.iter().enumerate() {
        let process = started(host).await;
        let Some(worker) = process.worker() else {
            continue;
        };
        while number == 0 && !followed(world, worker, def).await {
            sleep(LOOK).await;
        }
        worker.shutdown().await;
    }
}

/// The newest process of a host, once it serves.
async fn started(host: &Host) -> Process {
    loop {
        match host.current() {
            Some(process) if process.service().is_some() => return process,
            _ => sleep(LOOK).await,
        }
    }
}

/// Whether a worker has read all there is.
pub(crate) async fn followed(
    world: &World,
    worker: &tourbillon_shard_worker::Worker,
    def: &StreamDef,
) -> bool {
    let progress = worker.progress();
    for partition in (0..def.partitions).map(PartitionId) {
        let at = TopicPartition {
            topic: stream_topic(),
            partition,
        };
        let end = world.broker.range(&at).await.map_or(0, |range| range.end.0);
        let read = progress.get(&(def.name.clone(), partition));
        if read.is_none_or(|read| read.next_offset() < end) {
            return false;
        }
    }
    true
}
