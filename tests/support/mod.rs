//! Real processes of the binary, for tests: started on free ports, waited for, killed.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tourbillon");

/// How long a process may take to listen, and to be ready.
const START: Duration = Duration::from_secs(60);

/// A service of this project, killed when dropped.
pub struct Service {
    child: Child,
    pub url: String,
}

impl Service {
    /// Starts `tourbillon ARGS --listen 127.0.0.1:0` and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(BINARY)
            .args(args)
            .args(["--listen", "127.0.0.1:0"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("  | {line}");
                // nobody listens any more once the address is known
                drop(sender.send(line));
            }
        });
        let until = Instant::now() + START;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .expect("the service listens in time");
            if let Some((_, address)) = line.split_once("listens address=") {
                let address = address.split_whitespace().next().expect("an address");
                let url = format!("http://{address}");
                return Self { child, url };
            }
        }
    }

    /// Starts and waits until it is ready.
    pub fn ready(args: &[&str]) -> Self {
        let service = Self::start(args);
        service.until_ready();
        service
    }

    pub fn until_ready(&self) {
        eventually("ready", START, || {
            get(&format!("{}/readyz", self.url)).is_ok_and(|(code, _)| code == 200)
        });
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.pid(), "TERM");
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "it ends after SIGTERM");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Runs the binary to its end.
pub fn tourbillon(args: &[&str]) -> Output {
    let output = Command::new(BINARY)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    eprintln!(
        "$ tourbillon {}\n{}{}",
        args.join(" "),
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

/// Runs the binary and expects success; its standard output.
pub fn succeeds(args: &[&str]) -> String {
    let output = tourbillon(args);
    assert!(output.status.success(), "exit {:?}", output.status.code());
    text(&output.stdout)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Polls until `holds`, or fails.
pub fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < until, "not {what} within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request on a connection of its own: status and body.
pub fn get(url: &str) -> std::io::Result<(u16, String)> {
    runtime().block_on(async {
        let answer = client()
            .get(url)
            .send()
            .await
            .map_err(std::io::Error::other)?;
        let status = answer.status().as_u16();
        Ok((status, answer.text().await.map_err(std::io::Error::other)?))
    })
}

/// A request with a body: status and body of the answer.
pub fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    runtime().block_on(async {
        let mut request = client().post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("the service answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    })
}

/// PUT of a JSON document.
pub fn put(url: &str, document: &Value) -> (u16, String) {
    runtime().block_on(async {
        let request = client().put(url).body(document.to_string());
        let answer = request.send().await.expect("the service answers");
        (
            answer.status().as_u16(),
            answer.text().await.expect("a body"),
        )
    })
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(90))
        .build()
        .expect("a client")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// All final rows of a stream as JSON objects, waiting until there are `expected`.
pub fn rows(url: &str, stream: &str, expected: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        let (status, body) =
            get(&format!("{url}/v1/streams/{stream}/window?wait=10s")).expect("an answer");
        if status == 200 {
            rows = body
                .lines()
                .map(|line| serde_json::from_str(line).expect("a row"))
                .collect();
            if rows.len() >= expected {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(rows.len(), expected);
    rows
}

/// Fails unless (hlc, writer) strictly increases.
pub fn assert_ordered(rows: &[Value]) {
    let key = |row: &Value| {
        (
            row["hlc"].as_str().expect("hlc").to_owned(),
            row["writer"].as_u64().expect("writer"),
        )
    };
    assert!(rows.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
}

/// A file of the real ticks, or the reason why a test is skipped.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {name} is not beside the project");
    None
}
