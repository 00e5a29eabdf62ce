//! Trouble: crashes, frozen processes, careless failovers, wrong clocks, growth, a rogue.

use std::sync::Arc;

use tokio::time::sleep;
use tourbillon_core::clock::PhysicalClock;
use tourbillon_log::control::ControlTopic;

use super::clock::HostClock;
use super::host::{Host, Role};
use super::rogue::Rogue;
use super::stream;
use super::world::World;

/// All hosts of a run.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    pub(crate) gateways: Vec<Arc<Host>>,
    pub(crate) workers: Vec<Arc<Host>>,
    pub(crate) queries: Vec<Arc<Host>>,
}

impl Hosts {
    /// The hosts of the plan, each with a clock of its own.
    pub(crate) fn new(world: &Arc<World>) -> Self {
        let plan = &world.plan;
        let gateways = (0..plan.gateways)
            .map(|i| Host::new(world, format!("gateway{i}"), Role::Gateway, clock(world)))
            .collect();
        let workers = (0..plan.workers)
            .map(|i| {
                // the first worker takes all, so that every partition has one
                let shares = if i == 0 { 1 } else { plan.shares };
                let share = u32::try_from(i).unwrap_or(0) % shares;
                let role = match plan.roams {
                    true => Role::Roaming { number: i },
                    false => Role::Worker { share, shares },
                };
                Host::new(world, format!("worker{i}"), role, clock(world))
            })
            .collect();
        let queries = (0..plan.queries)
            .map(|i| Host::new(world, format!("query{i}"), Role::Query, clock(world)))
            .collect();
        Self {
            gateways,
            workers,
            queries,
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Host>> {
        let others = self.workers.iter().chain(&self.queries);
        self.gateways.iter().chain(others)
    }
}

/// A clock as hosts have them: mostly near the truth.
fn clock(world: &World) -> HostClock {
    let dice = &world.dice;
    let skew = if dice.chance(0.15) {
        dice.signed(-1_500_000_000..1_500_000_000)
    } else {
        dice.signed(-200_000_000..200_000_000)
    };
    let mono = if dice.chance(0.3) {
        dice.signed(-350_000..450_000)
    } else {
        dice.signed(-100..100)
    };
    HostClock::with_rates(world.start, dice.signed(-200..200), mono, skew)
}

/// Makes trouble.
#[derive(Clone, Debug)]
pub(crate) struct Chaos {
    pub(crate) world: Arc<World>,
    pub(crate) hosts: Hosts,
    pub(crate) admin: ControlTopic,
}

impl Chaos {
    /// Makes trouble for as long as the plan says.
    pub(crate) async fn run(self) {
        let plan = &self.world.plan;
        if plan.rogue {
            tokio::spawn(self.clone().send_rogue());
        }
        if plan.growths > 0 {
            tokio::spawn(self.clone().grow());
        }
        if plan.evolves {
            tokio::spawn(self.clone().evolve());
        }
        if plan.roams {
            tokio::spawn(self.clone().roam());
        }
        while self.world.start.elapsed() < plan.troubled {
            sleep(self.world.dice.millis(1..2 * plan.trouble_ms)).await;
            self.trouble();
        }
    }

    /// A moment within the trouble.
    async fn later(&self) {
        let most = u64::try_from(self.world.plan.troubled.as_millis()).unwrap_or(1);
        sleep(self.world.dice.millis(200..most)).await;
    }

    async fn send_rogue(self) {
        self.later().await;
        if let Some(rogue) = Rogue::join(&self.world, &self.admin).await {
            rogue.run().await;
        }
    }

    async fn grow(self) {
        let mut partitions = self.world.plan.partitions;
        for growth in 0..self.world.plan.growths {
            if growth == 0 || self.world.dice.chance(0.5) {
                self.later().await;
            } else {
                // before everyone has taken note of the one before
                sleep(self.world.dice.millis(1..3000)).await;
            }
            if !self.world.is_troubled() {
                return;
            }
            partitions += u32::try_from(self.world.dice.number(1..3)).unwrap_or(1);
            self.world
                .trace
                .note(format_args!("growth to {partitions}"));
            drop(self.admin.ensure_stream(&stream::growth(partitions)).await);
        }
    }

    async fn evolve(self) {
        self.later().await;
        self.world.trace.note(format_args!("a column more"));
        drop(self.admin.ensure_stream(&stream::evolution()).await);
    }

    /// Partitions move between the workers, and in the end the first one has all of them.
    async fn roam(self) {
        while self.world.is_troubled() {
            self.world.roamer.step(&self.world);
            self.world.pause(self.world.dice.millis(1..1500)).await;
        }
        self.world.roamer.settle(&self.world);
    }

    fn trouble(&self) {
        let dice = &self.world.dice;
        let pick = |hosts: &Vec<Arc<Host>>| Arc::clone(&hosts[dice.index(hosts.len())]);
        if self.world.plan.fails_over && dice.chance(0.6) {
            let host = pick(&self.hosts.gateways);
            tokio::spawn(self.clone().fail_over(host));
            return;
        }
        let host = match dice.number(0..10) {
            0..5 => pick(&self.hosts.gateways),
            5..9 => pick(&self.hosts.workers),
            _ => pick(&self.hosts.queries),
        };
        match dice.number(0..13) {
            0..2 => self.kill(&host),
            2..4 => self.light(&host),
            4..7 => {
                tokio::spawn(self.clone().freeze(host));
            }
            7..9 => {
                tokio::spawn(self.clone().fail_over(host));
            }
            9 => {
                let magnitude = dice.signed(50_000_000..3_000_000_000);
                let step = if dice.chance(0.5) {
                    magnitude
                } else {
                    -magnitude
                };
                self.world
                    .trace
                    .note(format_args!("{} clock {step}", host.name));
                host.clock.step(step);
            }
            10 => {
                tokio::spawn(self.clone().step_broker());
            }
            _ => self.deafen(&host),
        }
    }

    fn kill(&self, host: &Host) {
        if let Some(process) = host.current() {
            self.world.trace.note(format_args!("{} dies", host.name));
            process.gate.kill();
        }
    }

    fn deafen(&self, host: &Host) {
        if let Some(process) = host.current() {
            let duration = self.world.dice.millis(300..9000);
            self.world
                .trace
                .note(format_args!("{} is deaf for {duration:?}", host.name));
            process.gate.deafen(duration);
        }
    }

    fn light(&self, host: &Host) {
        if let Some(process) = host.current() {
            let calls = self.world.dice.number(1..60);
            self.world
                .trace
                .note(format_args!("{} dies in {calls} calls", host.name));
            process.gate.light(calls);
        }
    }

    async fn freeze(self, host: Arc<Host>) {
        let Some(process) = host.current() else {
            return;
        };
        self.world.trace.note(format_args!("{} freezes", host.name));
        process.gate.freeze();
        self.world.pause(self.world.dice.millis(50..6000)).await;
        self.world.trace.note(format_args!("{} thaws", host.name));
        process.gate.thaw();
    }

    /// A second process is started although the first, frozen or not, still lives.
    async fn fail_over(self, host: Arc<Host>) {
        let Some(old) = host.current() else { return };
        let frozen = self.world.dice.chance(0.5);
        if frozen {
            old.gate.freeze();
            self.world.pause(self.world.dice.millis(1..500)).await;
        }
        if !self.world.is_troubled() {
            return old.gate.thaw();
        }
        host.start();
        let dice = &self.world.dice;
        if dice.chance(0.5) {
            old.gate.deafen(dice.millis(500..6000));
        }
        // about then the old one is fenced
        let lease = self.world.plan.lease;
        let fence = lease + dice.millis(1..1000).mul_f64(2.0 * lease.as_secs_f64());
        self.world.pause(fence).await;
        if frozen {
            old.gate.thaw();
        }
        if dice.chance(0.7) {
            old.gate.deafen(dice.millis(500..6000));
        }
        self.world.pause(dice.millis(100..6000)).await;
        self.world
            .trace
            .note(format_args!("old {} dies", host.name));
        old.gate.kill();
    }

    /// The log's clock steps away for a while.
    async fn step_broker(self) {
        let step = self.world.dice.signed(-2_500_000_000..600_000_000);
        let clock = &self.world.broker_clock;
        clock.step(step);
        self.world
            .trace
            .note(format_args!("log clock {step}: {}", clock.wall_ns()));
        self.world.pause(self.world.dice.millis(20..2500)).await;
        clock.step(-step);
    }
}
