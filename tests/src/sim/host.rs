//! Hosts: each has a clock and runs one process at a time, or two after a careless failover.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tourbillon_core::clock::PhysicalClock;
use tourbillon_ingest::{Environment, Gateway, GatewaySettings};
use tourbillon_lake::Lake;
use tourbillon_log::Log;
use tourbillon_log::control::ControlTopic;
use tourbillon_query::QueryService;
use tourbillon_shard_worker::{Means, Worker, WorkerSettings};

use super::clock::HostClock;
use super::gate::Gate;
use super::log::ProcessLog;
use super::store::ProcessStore;
use super::stream::PREFIX;
use super::world::World;

/// How often a host is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a host runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Gateway,
    Worker {
        share: u32,
        shares: u32,
    },
    /// Runs what the roamer gives to the worker of this number.
    Roaming {
        number: usize,
    },
    Query,
}

/// What a process serves once it has started.
#[derive(Debug)]
pub(crate) enum Service {
    Gateway(Gateway),
    Worker(Worker),
    Query(Box<QueryService>),
}

/// A process.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) gate: Arc<Gate>,
    service: Arc<OnceLock<Service>>,
}

impl Process {
    pub(crate) fn service(&self) -> Option<&Service> {
        self.service.get()
    }

    pub(crate) fn gateway(&self) -> Option<&Gateway> {
        match self.service()? {
            Service::Gateway(gateway) => Some(gateway),
            _ => None,
        }
    }

    pub(crate) fn worker(&self) -> Option<&Worker> {
        match self.service()? {
            Service::Worker(worker) => Some(worker),
            _ => None,
        }
    }

    pub(crate) fn query(&self) -> Option<&QueryService> {
        match self.service()? {
            Service::Query(query) => Some(query),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    boots: u32,
    current: Option<Process>,
    zombies: Vec<Process>,
}

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    world: Arc<World>,
    pub(crate) name: String,
    role: Role,
    pub(crate) clock: Arc<HostClock>,
    state: Mutex<State>,
}

impl Host {
    pub(crate) fn new(world: &Arc<World>, name: String, role: Role, clock: HostClock) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            name,
            role,
            clock: Arc::new(clock),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest process.
    pub(crate) fn current(&self) -> Option<Process> {
        self.state().current.clone()
    }

    /// Every process that may still live, the newest last.
    pub(crate) fn processes(&self) -> Vec<Process> {
        let state = self.state();
        let all = state.zombies.iter().chain(&state.current);
        all.filter(|process| !process.gate.is_dead())
            .cloned()
            .collect()
    }

    /// Starts a process. One that still runs becomes a zombie.
    pub(crate) fn start(&self) {
        let process = Process {
            gate: Arc::new(Gate::new()),
            service: Arc::default(),
        };
        let boot = {
            let mut state = self.state();
            state.boots += 1;
            if let Some(old) = state.current.replace(process.clone()) {
                state.zombies.push(old);
            }
            state.boots
        };
        self.world
            .trace
            .note(format_args!("{} starts #{boot}", self.name));
        let boot = Boot {
            world: Arc::clone(&self.world),
            name: self.name.clone(),
            nonce: format!("{}-{boot}", self.name),
            role: self.role,
            clock: Arc::<HostClock>::clone(&self.clock),
        };
        tokio::spawn(async move {
            let service = boot.run(&process.gate).await;
            process.service.set(service).expect("set once, here");
        });
    }

    /// Restarts dead processes after a pause, at once when the trouble is over.
    pub(crate) async fn keep(self: Arc<Self>) {
        let pause = |world: &World| world.dice.millis(0..3000);
        let mut dead: Option<(Instant, Duration)> = None;
        loop {
            sleep(LOOK).await;
            let alive = self
                .current()
                .is_some_and(|process| !process.gate.is_dead());
            if alive {
                dead = None;
                continue;
            }
            let (since, patience) =
                *dead.get_or_insert_with(|| (Instant::now(), pause(&self.world)));
            if since.elapsed() >= patience || !self.world.is_troubled() {
                self.start();
                dead = None;
            }
        }
    }

    /// The clock is put right, the newest process thaws, older ones die.
    pub(crate) fn heal(&self) {
        self.clock.heal();
        let state = self.state();
        state.zombies.iter().for_each(|process| process.gate.kill());
        if let Some(process) = &state.current {
            process.gate.thaw();
        }
    }

    /// A sound process never halts: its data would contradict the log.
    pub(crate) fn inspect(&self) {
        let state = self.state();
        for process in state.zombies.iter().chain(&state.current) {
            let Some(worker) = process.worker() else {
                continue;
            };
            for ((_, partition), progress) in worker.progress() {
                if let Some(reason) = progress.halted() {
                    let details = format!("{} partition {partition} halted: {reason}", self.name);
                    self.world.violated("INV-CHAIN", details);
                }
            }
        }
    }
}

/// The start of a process.
struct Boot {
    world: Arc<World>,
    name: String,
    nonce: String,
    role: Role,
    clock: Arc<dyn PhysicalClock>,
}

impl Boot {
    async fn run(self, gate: &Arc<Gate>) -> Service {
        let log: Arc<dyn Log> = Arc::new(ProcessLog::new(&self.world, gate));
        let lake = ProcessStore::lake(&self.world, gate);
        let control = loop {
            match ControlTopic::open(Arc::clone(&log), PREFIX).await {
                Ok(control) => break control,
                Err(_) => sleep(LOOK).await,
            }
        };
        match self.role {
            Role::Gateway => Service::Gateway(self.gateway(log, lake, control)),
            Role::Query => Service::Query(Box::new(QueryService::start(log, lake, control))),
            Role::Roaming { number } => {
                let means = Means {
                    log,
                    lake,
                    control,
                    nonce: self.nonce,
                    grace: self.world.plan.grace,
                };
                Service::Worker(Worker::assigned(self.world.roamer.assigner(number), means))
            }
            Role::Worker { share, shares } => {
                let settings = WorkerSettings {
                    share,
                    shares,
                    nonce: self.nonce,
                    grace: self.world.plan.grace,
                };
                Service::Worker(Worker::start(settings, log, lake, control))
            }
        }
    }

    fn gateway(self, log: Arc<dyn Log>, lake: Lake, control: ControlTopic) -> Gateway {
        let plan = &self.world.plan;
        let mut settings = GatewaySettings::new(self.name, self.nonce);
        (settings.lease, settings.beat, settings.linger) = (plan.lease, plan.beat, plan.linger);
        let env = Environment {
            log,
            control,
            commits: Arc::new(lake),
            clock: self.clock,
        };
        Gateway::start(settings, env)
    }
}
