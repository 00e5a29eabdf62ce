//! The workers of a test, and who of them runs what by their own account.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::joined;
use crate::support::{Service, get};

/// Partitions of `trades` and `quotes`.
const ALL: usize = 12;

/// A partition of a stream.
type Key = (String, u32);

/// Names of the workers that run each partition.
pub(super) type Owners = BTreeMap<Key, Vec<String>>;

/// Workers by name.
pub(super) struct Crew {
    first: String,
    others: BTreeMap<String, Service>,
    args: Vec<String>,
    common: Vec<String>,
}

impl Crew {
    /// A crew whose first worker, `w0`, listens at `first`; others get the `common` flags too.
    pub(super) fn of(first: &str, args: &[String], common: &[&str]) -> Self {
        Self {
            first: first.to_owned(),
            others: BTreeMap::new(),
            args: args.to_vec(),
            common: common.iter().map(|flag| (*flag).to_owned()).collect(),
        }
    }

    /// Starts a worker.
    pub(super) fn up(&mut self, name: &str, flags: &[&str]) {
        let mut role = vec!["shard-worker", "--worker-name", name];
        role.extend(flags);
        role.extend(self.common.iter().map(String::as_str));
        let service = Service::ready(&joined(&role, &self.args));
        self.others.insert(name.to_owned(), service);
    }

    /// Takes a worker out of the crew, to end it.
    pub(super) fn take(&mut self, name: &str) -> Service {
        self.others.remove(name).expect("a worker of this name")
    }

    /// Who runs what now.
    pub(super) fn owners(&self) -> Owners {
        let first = [("w0", &self.first)];
        let others = self.others.iter();
        let others = others.map(|(name, service)| (name.as_str(), &service.url));
        let mut owners = Owners::new();
        for (name, url) in first.into_iter().chain(others) {
            for key in runs(url) {
                owners.entry(key).or_default().push(name.to_owned());
            }
        }
        owners
    }

    /// Whether each partition has one worker, and none has two partitions more than another.
    pub(super) fn is_spread(&self) -> bool {
        let owners = self.owners();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for owner in owners.values().flatten() {
            *counts.entry(owner).or_default() += 1;
        }
        let (most, least) = (counts.values().max(), counts.values().min());
        let even = most
            .zip(least)
            .is_some_and(|(most, least)| most - least <= 1);
        let one_each = owners.len() == ALL && owners.values().all(|owners| owners.len() == 1);
        one_each && counts.len() == self.others.len() + 1 && even
    }
}

/// What a worker runs.
fn runs(url: &str) -> Vec<Key> {
    let Ok((200, body)) = get(&format!("{url}/v1/worker")) else {
        return Vec::new();
    };
    let told: Value = serde_json::from_str(&body).unwrap();
    let key = |run: &Value| {
        let partition = u32::try_from(run["partition"].as_u64().unwrap());
        (
            run["stream"].as_str().unwrap().to_owned(),
            partition.unwrap(),
        )
    };
    let runs = told["partitions"].as_array().unwrap().iter();
    runs.map(key).collect()
}

/// Partitions that have another owner than before.
pub(super) fn moved(before: &Owners, after: &Owners) -> BTreeSet<Key> {
    let moved = after
        .iter()
        .filter(|(key, owners)| before.get(*key) != Some(*owners));
    moved.map(|(key, _)| key.clone()).collect()
}
