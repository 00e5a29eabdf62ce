//! One test for each line of the failure table of docs/OPERATIONS.md.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::deployment::Plan;
use crate::detour::Way;
use crate::scene::{PATIENCE, Scene, Stood, fault};
use crate::servers::Servers;
use crate::support::eventually;

pub(crate) fn wait() {
    std::thread::sleep(fault());
}

/// Plays a scene in the deployment as the compose file has it.
fn play(what: &str, happens: impl FnOnce(&mut Scene)) {
    play_in(&Plan::default(), what, happens);
}

fn play_in(plan: &Plan, what: &str, happens: impl FnOnce(&mut Scene)) -> Option<Stood> {
    Some(Scene::begin(plan)?.play(what, happens))
}

/// The same with what stands behind the log, whose failure holds nobody up.
fn play_behind(what: &str, happens: impl FnOnce(&mut Scene)) {
    play_behind_in(&Plan::default(), what, happens);
}

fn play_behind_in(plan: &Plan, what: &str, happens: impl FnOnce(&mut Scene)) {
    let stood = play_in(plan, what, happens);
    stood.into_iter().for_each(Stood::unharmed);
}

#[test]
fn nothing_happens() {
    play_behind("nothing", |_| wait());
}

#[test]
fn the_broker_that_leads_a_partition_is_killed() {
    play("kill -9 of a leader's broker", |scene| {
        let [_, _, prefix] = scene.deployment.addresses();
        let servers = &scene.deployment.servers;
        let leader = servers.leader(&format!("{prefix}.trades"), 0);
        servers.kill(&leader);
        wait();
        servers.again(&leader);
        servers.until_whole();
    });
}

#[test]
fn a_broker_freezes() {
    play("a frozen broker", |scene| {
        let servers = &scene.deployment.servers;
        servers.freeze("kafka-2");
        wait();
        servers.thaw("kafka-2");
        servers.until_whole();
    });
}

#[test]
fn a_gateway_is_killed() {
    play("kill -9 of a gateway", |scene| {
        scene.deployment.service("gateway-1").respawn();
        wait();
    });
}

#[test]
fn a_worker_is_killed() {
    play_behind("kill -9 of a worker", |scene| {
        scene.deployment.service("worker-1").respawn();
        wait();
    });
}

#[test]
fn two_workers_are_killed_at_once() {
    play_behind("kill -9 of two workers", |scene| {
        scene.deployment.service("worker-1").respawn();
        scene.deployment.service("worker-3").respawn();
        wait();
    });
}

#[test]
fn a_query_node_is_killed() {
    play_behind("kill -9 of a query node", |scene| {
        scene.deployment.service("query-1").respawn();
        wait();
    });
}

#[test]
fn the_store_is_killed_and_stays_away() {
    play_behind("kill -9 of the store", |scene| {
        let servers = &scene.deployment.servers;
        servers.kill("s3");
        wait();
        servers.again("s3");
        servers.until_whole();
    });
}

#[test]
fn the_store_is_slow() {
    let plan = Plan {
        store_by_detour: true,
        ..Plan::default()
    };
    play_behind_in(&plan, "a slow store", |scene| {
        scene
            .deployment
            .to_store(Way::Slow(Duration::from_millis(300)));
        wait();
        scene.deployment.to_store(Way::Open);
    });
}

#[test]
fn the_disk_of_the_store_is_full() {
    let Some(disk) = Servers::found().and_then(Servers::disk) else {
        return;
    };
    play_behind("a full disk of the store", |scene| {
        let filler = Filler::fill(&disk);
        let servers = &scene.deployment.servers;
        eventually("full", PATIENCE, || servers.put_probe() >= 500);
        wait();
        assert!(servers.put_probe() >= 500, "full to the end");
        drop(filler);
        // the store looks at its disk once a minute
        eventually("not full", PATIENCE * 2, || servers.put_probe() < 300);
    });
}

/// A file that takes all that was left of a disk, for as long as it lives.
struct Filler(PathBuf);

impl Filler {
    fn fill(disk: &Path) -> Self {
        let filler = Self(disk.join("filler"));
        let mut file = File::create(&filler.0).unwrap();
        for size in [1 << 20, 4 << 10] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[test]
fn a_gateway_is_cut_off_from_the_brokers() {
    let plan = Plan {
        by_detour: Some("gateway-1"),
        ..Plan::default()
    };
    play_in(&plan, "a gateway cut off from the brokers", |scene| {
        scene.deployment.to_brokers(Way::Cut);
        wait();
        scene.deployment.to_brokers(Way::Open);
    });
}

#[test]
fn a_gateway_is_cut_off_from_its_clients() {
    let plan = Plan {
        fronted: &["gateway-1"],
        ..Plan::default()
    };
    play_in(&plan, "a gateway cut off from its clients", |scene| {
        scene.deployment.front("gateway-1").set(Way::Cut);
        wait();
        scene.deployment.front("gateway-1").set(Way::Open);
    });
}

/// As an operator does it: one after the other, each whole again before the next.
#[test]
fn everything_is_restarted_one_after_the_other() {
    play("a rolling restart of everything", |scene| {
        for broker in ["kafka-1", "kafka-2", "kafka-3"] {
            scene.deployment.servers.restart(broker);
            scene.deployment.servers.until_whole();
        }
        // it does not heed SIGTERM
        scene.deployment.servers.kill("s3");
        scene.deployment.servers.again("s3");
        scene.deployment.servers.until_whole();
        for role in ["gateway", "worker", "query"] {
            for name in scene.deployment.names(role) {
                let service = scene.deployment.service(&name);
                service.restart();
                service.until_ready();
            }
        }
    });
}
