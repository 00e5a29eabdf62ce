//! The processes of docker-compose.yml on this machine: the same command lines and settings, on free
//! ports, behind the same load balancer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::balancer::Balancer;
use crate::compose;
use crate::detour::{Detour, Way};
use crate::servers::Servers;
use crate::support::{Launch, Service, signal, succeeds};

/// Whoever breaks servers has them alone.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct Deployment {
    services: BTreeMap<String, Service>,
    entry: Vec<String>,
    fronts: BTreeMap<String, Detour>,
    to_brokers: Vec<Detour>,
    to_store: Option<Detour>,
    balancer: Option<Balancer>,
    pub(crate) servers: Servers,
    home: Home,
    _alone: MutexGuard<'static, ()>,
}

/// Brokers, store and topics of a test.
struct Home {
    kafka: String,
    store: String,
    prefix: String,
}

/// What a test wants otherwise than the compose file has it.
pub(crate) struct Plan {
    /// Services that stand aside for now.
    pub(crate) absent: &'static [&'static str],
    /// Services whose clients come through a detour.
    pub(crate) fronted: &'static [&'static str],
    /// A service that goes to the brokers by a detour.
    pub(crate) by_detour: Option<&'static str>,
    /// Whether all go to the store by a detour.
    pub(crate) store_by_detour: bool,
    /// How often query nodes are asked how far they are.
    pub(crate) watch: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            absent: &[],
            fronted: &[],
            by_detour: None,
            store_by_detour: false,
            watch: Duration::from_millis(50),
        }
    }
}

impl Deployment {
    /// All of it, ready; none where there is nothing to run it on.
    pub(crate) fn start(plan: &Plan) -> Option<Self> {
        let servers = Servers::found()?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        servers.all_up();
        let mut deployment = Self {
            services: BTreeMap::new(),
            entry: Vec::new(),
            fronts: BTreeMap::new(),
            to_brokers: servers.ways(),
            to_store: plan
                .store_by_detour
                .then(|| Detour::to(servers.store_address())),
            balancer: None,
            home: Home::fresh(&servers),
            servers,
            _alone: alone,
        };
        for (name, mut launch) in compose::services() {
            if plan.absent.contains(&name.as_str()) {
                continue;
            }
            if plan.by_detour == Some(&name) {
                let ways: Vec<_> = deployment.to_brokers.iter().map(Detour::address).collect();
                launch.env.push(("TOURBILLON_KAFKA".into(), ways.join(",")));
            }
            deployment.launch(&name, launch);
        }
        deployment.until_ready();
        deployment.open(plan.fronted);
        Some(deployment)
    }

    /// Starts one more service with the command line and settings of another, under its own name.
    pub(crate) fn like(&mut self, model: &str, name: &str) {
        let mut launch = compose::services().remove(model).unwrap();
        for arg in &mut launch.args {
            if arg == model {
                name.clone_into(arg);
            }
        }
        self.launch(name, launch);
    }

    fn launch(&mut self, name: &str, mut launch: Launch) {
        // a service's own settings win
        launch.env = [self.home.settings(), launch.env].concat();
        let store = self.to_store.as_ref().map(Detour::address);
        launch
            .env
            .extend(store.map(|at| ("AWS_ENDPOINT".into(), format!("http://{at}"))));
        let service = Service::launch(launch, "127.0.0.1:0");
        self.services.insert(name.to_owned(), service);
    }

    /// Opens the door to clients.
    fn open(&mut self, fronted: &[&str]) {
        for name in fronted {
            let target = self.services[*name].address().to_owned();
            self.fronts.insert((*name).to_owned(), Detour::to(&target));
        }
        let addresses: BTreeMap<_, _> = self
            .services
            .iter()
            .map(|(name, service)| {
                let front = self.fronts.get(name).map(Detour::address);
                let address = front.unwrap_or_else(|| service.address());
                (name.clone(), address.to_owned())
            })
            .collect();
        self.balancer = Balancer::start(&addresses);
        let gateways = addresses
            .iter()
            .filter(|(name, _)| name.starts_with("gateway"));
        let direct = gateways.map(|(_, address)| format!("http://{address}"));
        self.entry = match &self.balancer {
            Some(balancer) => vec![balancer.url.clone()],
            None => direct.collect(),
        };
    }

    /// Where clients send rows: the balancer, or each gateway where there is none.
    pub(crate) fn entry(&self) -> &[String] {
        &self.entry
    }

    /// Whether clients go through a load balancer.
    pub(crate) fn is_balanced(&self) -> bool {
        self.balancer.is_some()
    }

    /// What stands before a service.
    pub(crate) fn front(&self, name: &str) -> &Detour {
        &self.fronts[name]
    }

    /// The way of one service to all brokers.
    pub(crate) fn to_brokers(&self, way: Way) {
        self.to_brokers.iter().for_each(|detour| detour.set(way));
    }

    /// The way to the store.
    pub(crate) fn to_store(&self, way: Way) {
        self.to_store.as_ref().unwrap().set(way);
    }

    pub(crate) fn service(&mut self, name: &str) -> &mut Service {
        self.services.get_mut(name).unwrap()
    }

    pub(crate) fn names(&self, role: &str) -> Vec<String> {
        let names = self.services.keys().filter(|name| name.starts_with(role));
        names.cloned().collect()
    }

    /// The address of each query node.
    pub(crate) fn queries(&self) -> Vec<String> {
        let names = self.names("query");
        names
            .iter()
            .map(|name| self.services[name].url.clone())
            .collect()
    }

    pub(crate) fn url(&self, name: &str) -> &str {
        &self.services[name].url
    }

    pub(crate) fn pid(&self, name: &str) -> u32 {
        self.services[name].pid()
    }

    pub(crate) fn until_ready(&self) {
        self.services.values().for_each(Service::until_ready);
    }

    /// Arguments of commands that read log and store.
    pub(crate) fn addresses(&self) -> [String; 3] {
        let Home {
            kafka,
            store,
            prefix,
        } = &self.home;
        [kafka.clone(), store.clone(), prefix.clone()]
    }

    /// Stops everything and verifies what is stored; what `verify` says of the partitions of
    /// `trades`.
    pub(crate) fn finish(mut self) -> Vec<Value> {
        for role in ["gateway", "worker", "query"] {
            let names = self.names(role);
            let services: Vec<_> = names
                .iter()
                .map(|name| self.services.remove(name).unwrap())
                .collect();
            services
                .iter()
                .for_each(|service| signal(service.pid(), "TERM"));
            assert!(
                services
                    .into_iter()
                    .all(|service| service.ended().success())
            );
        }
        let [kafka, store, prefix] = self.addresses();
        let told = succeeds(&[
            "verify",
            "--json",
            "--kafka",
            &kafka,
            "--store",
            &store,
            "--topic-prefix",
            &prefix,
        ]);
        let told: Value = serde_json::from_str(&told).unwrap();
        let partitions = told["partitions"].as_array().unwrap();
        for partition in partitions {
            assert_eq!(partition["differences"], serde_json::json!([]));
            assert_eq!(partition["complete"], true);
        }
        let trades = partitions.iter().filter(|p| p["stream"] == "trades");
        trades.cloned().collect()
    }
}

impl Home {
    fn fresh(servers: &Servers) -> Self {
        let unique = SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or(Duration::ZERO)
            .as_nanos();
        Self {
            kafka: servers.kafka.clone(),
            store: format!("{}/{unique}", servers.store),
            prefix: format!("chaos{unique}"),
        }
    }

    fn settings(&self) -> Vec<(String, String)> {
        let named = [
            ("TOURBILLON_KAFKA", &self.kafka),
            ("TOURBILLON_STORE", &self.store),
            ("TOURBILLON_TOPIC_PREFIX", &self.prefix),
        ];
        named
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .to_vec()
    }
}
