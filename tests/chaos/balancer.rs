//! HAProxy with deploy/haproxy.cfg, but for the addresses.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::compose::text;
use crate::support::{eventually, free_address, get};

pub(crate) struct Balancer {
    process: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// Starts it before services of these addresses; none if there is no `haproxy`.
    pub(crate) fn start(services: &BTreeMap<String, String>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let (door, page) = (free_address(), free_address());
        let mut config = text("deploy/haproxy.cfg");
        for (name, address) in services {
            config = config.replace(&format!(" {name}:8080"), &format!(" {address}"));
        }
        // so many need more file descriptors than a shell has
        config = config.replace("maxconn 20000", "maxconn 1000");
        config = config.replace("bind :8080", &format!("bind {door}"));
        config = config.replace("bind :8404", &format!("bind {page}"));
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let process = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            eprintln!("no haproxy on the path: clients go to the gateways by turns");
            return None;
        };
        let url = format!("http://{door}");
        eventually("balanced", Duration::from_secs(20), || {
            get(&format!("{url}/v1/streams")).is_ok_and(|(status, _)| status == 200)
        });
        Some(Self {
            process,
            url,
            _folder: folder,
        })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
