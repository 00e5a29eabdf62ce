//! Real processes of the binary, for tests: started on free ports, waited for, killed.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod client;
mod cut;
pub(crate) mod identity;
pub(crate) mod watermark;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The binary under test, unless TOURBILLON_TEST_BINARY names another, as one built for release.
const BINARY: &str = env!("CARGO_BIN_EXE_tourbillon");

/// How long a process may take to listen, and to be ready.
const START: Duration = Duration::from_secs(60);

/// A run of the binary that takes nothing from the environment but the store's credentials.
pub(crate) fn binary() -> Command {
    let given = std::env::var("TOURBILLON_TEST_BINARY");
    let mut command = Command::new(given.as_deref().unwrap_or(BINARY));
    for (name, _) in std::env::vars() {
        if name.starts_with("TOURBILLON_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command
}

/// A service of this project, killed when dropped.
pub(crate) struct Service {
    child: Child,
    launch: Launch,
    pub(crate) url: String,
    log: Logged,
}

/// How a process is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Launch {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// What a service has logged so far.
type Logged = Arc<Mutex<String>>;

impl Service {
    /// Starts `tourbillon ARGS` on a free port and waits until it listens.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_on(args, "127.0.0.1:0")
    }

    /// Starts it on an address of the test's choice.
    pub(crate) fn start_on(args: &[&str], listen: &str) -> Self {
        Self::launch(plain(args), listen)
    }

    /// Starts a process and waits until it listens.
    pub(crate) fn launch(launch: Launch, listen: &str) -> Self {
        let (child, lines, log) = spawn(&launch, listen);
        let until = Instant::now() + START;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = lines
                .recv_timeout(left)
                .expect("the service listens in time");
            if let Some((_, address)) = line.split_once("listens address=") {
                let address = address.split_whitespace().next().expect("an address");
                let url = format!("http://{address}");
                return Self {
                    child,
                    launch,
                    url,
                    log,
                };
            }
        }
    }

    /// Starts it on a free address and waits for nothing: it may never listen.
    pub(crate) fn begin(args: &[&str]) -> Self {
        Self::launch_unheard(plain(args), &free_address())
    }

    /// Starts a process and waits for nothing.
    pub(crate) fn launch_unheard(launch: Launch, address: &str) -> Self {
        let (child, _, log) = spawn(&launch, address);
        let url = format!("http://{address}");
        Self {
            child,
            launch,
            url,
            log,
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    /// kill -9, and another on the same address, for whose start nobody waits.
    pub(crate) fn respawn(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        self.again();
    }

    /// SIGTERM, and another on the same address once it has ended, for whose start nobody waits.
    pub(crate) fn restart(&mut self) {
        signal(self.pid(), "TERM");
        assert!(self.until_ended().success(), "it ends well");
        self.again();
    }

    fn again(&mut self) {
        (self.child, _, self.log) = spawn(&self.launch, self.address());
    }

    /// Starts and waits until it is ready.
    pub(crate) fn ready(args: &[&str]) -> Self {
        let service = Self::start(args);
        service.until_ready();
        service
    }

    pub(crate) fn until_ready(&self) {
        eventually("ready", START, || {
            get(&format!("{}/readyz", self.url)).is_ok_and(|(code, _)| code == 200)
        });
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(self) -> ExitStatus {
        signal(self.pid(), "TERM");
        self.ended()
    }

    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.until_ended()
    }

    fn until_ended(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "it ends in time");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn plain(args: &[&str]) -> Launch {
    Launch {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: Vec::new(),
    }
}

/// Starts a process; the lines it logs, as they come and together.
fn spawn(launch: &Launch, listen: &str) -> (Child, mpsc::Receiver<String>, Logged) {
    let mut child = binary()
        .envs(launch.env.iter().cloned())
        .args(&launch.args)
        .args(["--listen", listen])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stderr = child.stderr.take().expect("stderr is piped");
    let (sender, lines) = mpsc::channel();
    let log = Logged::default();
    let kept = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            eprintln!("  | {line}");
            *kept.lock().expect("nobody panics with it") += &format!("{line}\n");
            // nobody listens any more once the address is known
            drop(sender.send(line));
        }
    });
    (child, lines, log)
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address on which nobody listens now.
pub(crate) fn free_address() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").to_string()
}

/// A number from the environment, for longer runs by hand.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// `load` in the background; whether it succeeded.
pub(crate) fn loading(args: &[&str]) -> std::thread::JoinHandle<bool> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    std::thread::spawn(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        tourbillon(&args).status.success()
    })
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Runs the binary to its end.
pub(crate) fn tourbillon(args: &[&str]) -> Output {
    let output = binary()
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
pub(crate) fn succeeds(args: &[&str]) -> String {
    let output = tourbillon(args);
    assert!(output.status.success(), "exit {:?}", output.status.code());
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Polls until `holds`, or fails.
pub(crate) fn eventually(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < until, "not {what} within {patience:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One request on a connection of its own: status and body.
pub(crate) fn get(url: &str) -> std::io::Result<(u16, String)> {
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
pub(crate) fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
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
pub(crate) fn put(url: &str, document: &Value) -> (u16, String) {
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

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// All final rows of a stream as JSON objects, waiting until there are `expected`.
pub(crate) fn rows(url: &str, stream: &str, expected: usize) -> Vec<Value> {
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

/// A number of `/partitions`, summed over the partitions of a stream.
pub(crate) fn counted(url: &str, stream: &str, field: &str) -> u64 {
    let (_, body) = get(&format!("{url}/v1/streams/{stream}/partitions")).expect("an answer");
    let told: Value = serde_json::from_str(&body).expect("JSON");
    let partitions = told["partitions"].as_array().expect("partitions");
    partitions
        .iter()
        .map(|p| p[field].as_u64().expect("a number"))
        .sum()
}

/// A CSV of trades whose `seq` numbers the rows.
pub(crate) fn trades_csv(rows: u64) -> String {
    let mut csv = String::from("venue,symbol,ts_event,price,size,seq\n");
    for i in 0..rows {
        let (symbol, event) = (i % 7, 1_700_000_000_000_000_000 + i);
        csv += &format!("XT,S{symbol},{event},{}.25,1,{i}\n", i % 100);
    }
    csv
}

/// Fails unless `seq` has each number below `rows` once, in rows of strict order.
pub(crate) fn assert_each_once(found: &[Value], rows: u64) {
    assert_ordered(found);
    let mut seqs: Vec<u64> = found
        .iter()
        .map(|row| row["seq"].as_u64().expect("seq"))
        .collect();
    seqs.sort_unstable();
    assert!(seqs.into_iter().eq(0..rows), "each row once");
}

/// Fails unless (hlc, writer) strictly increases.
pub(crate) fn assert_ordered(rows: &[Value]) {
    let key = |row: &Value| {
        (
            row["hlc"].as_str().expect("hlc").to_owned(),
            row["writer"].as_u64().expect("writer"),
        )
    };
    assert!(rows.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])));
}

/// The stream of the real ticks, whose windows are short: many segments of few rows.
pub(crate) const TICKS: &str = "ticks";

/// Rows of the real trades.
pub(crate) const REAL_ROWS: u64 = 78_638;

/// Loads the real trades into [`TICKS`], cut into many requests, and waits until all are sealed.
pub(crate) fn load_real_ticks(file: &Path, gateway: &str, query: &str) {
    let column = |name: &str, ty: &str| serde_json::json!({"name": name, "type": ty, "nullable": name == "side"});
    let stream = serde_json::json!({
        "columns": [
            column("venue", "string"), column("symbol", "string"), column("ts_event", "timestamp"),
            column("side", "string"), column("price", "decimal(18,9)"), column("size", "decimal(18,9)"),
            column("seq", "int64"),
        ],
        "key": ["venue", "symbol"], "event_time": "ts_event", "partitions": 4, "window": "100ms",
    });
    let url = format!("{gateway}/v1/streams/{TICKS}");
    assert_eq!(put(&url, &stream).0, 200);
    let file = file.to_str().expect("UTF-8");
    let what = ["load", file, "--stream", TICKS, "--url", gateway];
    let how = ["--batch-rows", "100", "--map", "ts_event=event_ms:ms"];
    succeeds(&[&what[..], &how].concat());
    eventually("all sealed", Duration::from_secs(60), || {
        counted(query, TICKS, "sealed_rows") == REAL_ROWS
    });
}

/// A file of the real ticks, or the reason why a test is skipped.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {name} is not beside the project");
    None
}
