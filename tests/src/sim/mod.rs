//! A simulated cluster: the production code of gateways, workers and readers on a log and a store
//! that fail, with clocks that err, in virtual time on one thread. A seed decides everything.
//!
//! ```text
//! clients -> gateways -> wires -> memory log -> workers -> faulty store
//!    |          ^                     |            |           |
//!  model      chaos                readers <-------+-----------+
//! ```
//!
//! A process is its handles: `gate::Gate` stands before every call to log and store, so a frozen
//! process stops at its next call and a dead one never returns from it. After the trouble
//! everything heals, and `check::Check` compares log, store and readers with a model that only
//! remembers what was acknowledged.

mod chaos;
mod check;
mod client;
mod clock;
mod dice;
mod forge;
mod gate;
mod host;
mod log;
mod model;
mod oracle;
mod plan;
mod reader;
mod replay;
mod roam;
mod rogue;
mod run;
mod store;
mod stream;
mod trace;
mod world;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use tourbillon_core::broken::{Rule, switch_off};
use tourbillon_core::digest::Digest;

use dice::Dice;
use plan::Plan;
pub use world::Violation;
use world::World;

/// Stack of a thread that runs seeds, bytes: futures are large in debug builds.
const STACK_BYTES: usize = 32 << 20;

/// How seeds are run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A safety rule that is switched off.
    pub broken: Option<Rule>,
    /// Whether to keep the events as text.
    pub verbose: bool,
}

/// What a seed came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Promises broken, in the order in which they were found.
    pub violations: Vec<Violation>,
    /// Digest of all events: equal for two runs of a seed.
    pub trace: Digest,
    /// The events, if asked for.
    pub lines: Vec<String>,
    /// Requests sent and acknowledged.
    pub requests: (usize, usize),
    /// Windows read and compared.
    pub samples: usize,
    /// The command that runs this seed again.
    pub command: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}", self.seed)?;
        for violation in self.violations.iter().take(5) {
            write!(f, "\n  {violation}")?;
        }
        write!(f, "\n  {}", self.command)
    }
}

thread_local! {
    /// Panics of the run in this thread; none outside of a run.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Panics within runs are findings, not output.
fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let kept = PANICS.with_borrow_mut(|panics| {
                panics.as_mut().map(|panics| panics.push(info.to_string()))
            });
            if kept.is_none() {
                before(info);
            }
        }));
    });
}

/// Runs one seed in this thread.
pub fn run_seed(seed: u64, options: Options) -> Outcome {
    catch_panics();
    PANICS.set(Some(Vec::new()));
    switch_off(options.broken);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing");
    let dice = Dice::new(seed);
    let plan = Plan {
        // by the number alone, so that what a seed draws stays what it was
        roams: seed % 4 == 3,
        ..Plan::draw(&dice)
    };
    let world = {
        let _entered = runtime.enter();
        World::new(plan, dice, options.verbose)
    };
    let running = run::run(std::sync::Arc::clone(&world));
    let whole = catch_unwind(AssertUnwindSafe(|| runtime.block_on(running)));
    let (trace, lines) = {
        let _entered = runtime.enter();
        world.trace.finish()
    };
    drop(runtime);
    switch_off(None);
    let panics = PANICS.take().unwrap_or_default();
    let mut violations = world.violations();
    violations.extend(panics.into_iter().map(|details| Violation {
        invariant: "PANIC",
        details,
    }));
    if whole.is_err() && violations.is_empty() {
        let (invariant, details) = ("PANIC", "the run itself".to_owned());
        violations.push(Violation { invariant, details });
    }
    let requests = world.model.requests();
    Outcome {
        seed,
        violations,
        trace,
        lines,
        requests: (requests.len(), requests.iter().filter(|r| r.acked).count()),
        samples: world.model.samples().len(),
        command: command(seed, options),
    }
}

fn command(seed: u64, options: Options) -> String {
    let broken = options
        .broken
        .map(|rule| format!(" --break {}", rule.name()));
    format!(
        "cargo run --release -p tourbillon-tests --bin sim -- --seed {seed}{} -v",
        broken.unwrap_or_default()
    )
}

/// Runs seeds on `threads` threads and shows each outcome to `each` until that returns false.
pub fn run_seeds(
    seeds: Range<u64>,
    options: Options,
    threads: usize,
    each: impl FnMut(Outcome) -> bool + Send,
) {
    let (next, stopped) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let each = Mutex::new(each);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let work = || {
                while !stopped.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run_seed(seed, options);
                    let mut each = each.lock().unwrap_or_else(PoisonError::into_inner);
                    if !each(outcome) {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            };
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, work).expect("a thread starts");
        }
    });
}
