//! One thing that happens to a deployment under load, and how long who stood still for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::account::{settled, wall_ns};
use crate::deployment::{Deployment, Plan};
use crate::feed::{Ack, Feed};
use crate::support::{eventually, runtime, setting};
use crate::watch::{Sample, Watch, stood, through};

/// How long all goes well before and after.
const STEADY: Duration = Duration::from_secs(3);

/// How long anything may take to work again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How long a fault lasts that lasts.
pub(crate) fn fault() -> Duration {
    Duration::from_secs(setting("TOURBILLON_FAULT_S", 8))
}

/// A deployment under load.
pub(crate) struct Scene {
    pub(crate) deployment: Deployment,
    feed: Feed,
    watch: Watch,
}

/// The longest times without a step, from the beginning of a fault on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stood {
    /// Any client's acknowledgements, and one client's.
    pub(crate) acks: Duration,
    pub(crate) acks_until: Duration,
    pub(crate) one_client: Duration,
    /// The newest row that a query node shows, and T.
    pub(crate) newest: Duration,
    pub(crate) through: Duration,
    /// From the end of the fault until everything worked again.
    pub(crate) recovered: Duration,
}

/// What stands behind the log holds nobody up: the longest that anything may stand when it fails,
/// on a machine that is busy too, and less than the fault lasts.
const UNHARMED: Duration = Duration::from_secs(6);

impl Stood {
    /// Fails if acknowledgements, new rows or T stood for long.
    pub(crate) fn unharmed(self) {
        let longest = self.acks.max(self.newest).max(self.through);
        assert!(longest < UNHARMED, "{self:?}");
    }
}

impl Scene {
    /// Starts everything and waits until it works.
    pub(crate) fn begin(plan: &Plan) -> Option<Self> {
        let deployment = Deployment::start(plan)?;
        let feed = Feed::start(deployment.entry());
        let watch = Watch::start(&deployment.queries(), plan.watch);
        let scene = Self {
            deployment,
            feed,
            watch,
        };
        scene.until_well();
        std::thread::sleep(STEADY);
        Some(scene)
    }

    /// Waits until each client is served and the stream is complete beyond now; how long that took.
    fn until_well(&self) -> Duration {
        let (since, now) = (Instant::now(), wall_ns());
        eventually("every client served", PATIENCE, || {
            self.feed.all_served_since(since)
        });
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(STEADY)
            .build()
            .unwrap();
        for query in self.deployment.queries() {
            eventually("complete beyond now", PATIENCE, || {
                runtime().block_on(through(&http, &query)) > Some(now)
            });
        }
        since.elapsed()
    }

    /// Rows acknowledged a second, within the last `time`.
    pub(crate) fn rate(&self, time: Duration) -> f64 {
        let since = Instant::now().checked_sub(time).unwrap();
        let rows = self.feed.rows_since(since);
        f64::from(u32::try_from(rows).unwrap()) / time.as_secs_f64()
    }

    /// Lets something happen, waits until all is well again, stops, and accounts for every row.
    pub(crate) fn play(mut self, what: &str, happens: impl FnOnce(&mut Self)) -> Stood {
        let since = Instant::now();
        happens(&mut self);
        let lasted = since.elapsed();
        let recovered = self.until_well();
        std::thread::sleep(STEADY);
        let Self {
            deployment,
            feed,
            watch,
        } = self;
        let acks = feed.finish();
        let samples = watch.finish();
        let stood = measured(&acks, &samples, since, recovered);
        let balanced = deployment.is_balanced();
        let found = settled(deployment, &acks);
        let repeated = acks.iter().filter(|ack| ack.attempts > 1).count();
        eprintln!(
            "CHAOS {what} ({lasted:.1?}): acks stood {:.2?} until {:.1?}, one client's {:.2?}; newest row \
             {:.2?}, T {:.2?}; well {:.2?} after; {repeated} of {} requests repeated; {found}{}",
            stood.acks,
            stood.acks_until,
            stood.one_client,
            stood.newest,
            stood.through,
            stood.recovered,
            acks.len(),
            if balanced { "" } else { "; without balancer" },
        );
        stood
    }
}

fn measured(acks: &[Ack], samples: &[Sample], since: Instant, recovered: Duration) -> Stood {
    let mut by_client: BTreeMap<u64, Vec<Instant>> = BTreeMap::new();
    for ack in acks {
        by_client.entry(ack.client).or_default().push(ack.at);
    }
    let mut all: Vec<_> = acks.iter().map(|ack| ack.at).collect();
    all.sort_unstable();
    let (acks, acks_until) = longest(&all, since);
    Stood {
        acks,
        acks_until: acks_until - since,
        one_client: by_client
            .values()
            .map(|times| longest(times, since).0)
            .max()
            .unwrap(),
        newest: stood(samples, since, |sample| sample.newest),
        through: stood(samples, since, |sample| sample.through),
        recovered,
    }
}

/// The longest time between two of these, of which the second is later than `since`, and that second.
fn longest(times: &[Instant], since: Instant) -> (Duration, Instant) {
    let pairs = times.windows(2).filter(|pair| pair[1] > since);
    let pauses = pairs.map(|pair| (pair[1] - pair[0], pair[1]));
    pauses.max().unwrap_or((Duration::ZERO, since))
}
