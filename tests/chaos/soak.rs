//! A steady load for a long time: what a process takes must not grow, and nothing may fall behind.
//!
//! Runs for TOURBILLON_SOAK_S seconds, else not at all; writes what it saw to TOURBILLON_SOAK_CSV.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;
use tourbillon_core::time::parse_time_ns;

use crate::account::wall_ns;
use crate::deployment::{Deployment, Plan};
use crate::scene::Scene;
use crate::support::{get, setting};

/// Pause between two samples.
const PACE: Duration = Duration::from_secs(10);

/// What a process may take more at the end than after a quarter, MiB: of noise, and by share.
const NOISE_MIB: f64 = 16.0;
const GROWTH: f64 = 1.15;

/// What was seen at a time: memory in MiB and open files of each process, lag in records, rows not
/// sealed, and how far T and the newest row were behind the clock.
struct Sample {
    at: Duration,
    processes: Vec<(String, f64, usize)>,
    lag: u64,
    unsealed: u64,
    through_ms: i64,
    newest_ms: i64,
}

#[test]
fn nothing_grows_in_a_long_run() {
    let length = Duration::from_secs(setting("TOURBILLON_SOAK_S", 0));
    if length.is_zero() {
        eprintln!("skipped: TOURBILLON_SOAK_S is not set");
        return;
    }
    // asking costs more than the load
    let plan = Plan {
        watch: Duration::from_secs(1),
        ..Plan::default()
    };
    let Some(scene) = Scene::begin(&plan) else {
        return;
    };
    let mut samples = Vec::new();
    scene.play("a long run", |scene| {
        let begun = Instant::now();
        while begun.elapsed() < length {
            std::thread::sleep(PACE);
            samples.push(sample(&scene.deployment, begun.elapsed()));
            if let Ok(file) = std::env::var("TOURBILLON_SOAK_CSV") {
                std::fs::write(file, csv(&samples)).unwrap();
            }
        }
        eprintln!(
            "{:.0} rows/s in the last minute",
            scene.rate(Duration::from_secs(60).min(length))
        );
    });
    assert_flat(&samples);
}

fn sample(deployment: &Deployment, at: Duration) -> Sample {
    let processes = ["gateway", "worker", "query"]
        .map(|role| deployment.names(role))
        .concat();
    let processes = processes.into_iter().map(|name| {
        let pid = deployment.pid(&name);
        (name, resident_mib(pid), open_files(pid))
    });
    let query = &deployment.queries()[0];
    let now = wall_ns();
    let (_, body) = get(&format!("{query}/v1/streams/trades/partitions")).unwrap();
    let told: Value = serde_json::from_str(&body).unwrap();
    let partitions = told["partitions"].as_array().unwrap();
    let sum = |field: &str| partitions.iter().map(|p| p[field].as_u64().unwrap()).sum();
    let behind = |time: &Value| (now - parse_time_ns(time.as_str().unwrap()).unwrap()) / 1_000_000;
    let latest = "consistency=latest&order=desc&limit=1&columns=hlc";
    let (_, row) = get(&format!("{query}/v1/streams/trades/window?{latest}")).unwrap();
    let row: Value = serde_json::from_str(row.lines().next().unwrap()).unwrap();
    Sample {
        at,
        processes: processes.collect(),
        lag: sum("lag"),
        unsealed: sum("unsealed_rows"),
        through_ms: behind(&told["complete_through"]),
        newest_ms: behind(&row["hlc"]),
    }
}

fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u32 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    f64::from(kib) / 1024.0
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

fn csv(samples: &[Sample]) -> String {
    let mut text = String::from("seconds,lag_records,unsealed_rows,t_behind_ms,newest_behind_ms");
    for (name, ..) in samples.iter().take(1).flat_map(|sample| &sample.processes) {
        write!(text, ",{name}_rss_mib,{name}_open_files").unwrap();
    }
    for sample in samples {
        let Sample {
            lag,
            unsealed,
            through_ms,
            newest_ms,
            ..
        } = sample;
        let at = sample.at.as_secs();
        write!(text, "\n{at},{lag},{unsealed},{through_ms},{newest_ms}").unwrap();
        for (_, rss, files) in &sample.processes {
            write!(text, ",{rss:.1},{files}").unwrap();
        }
    }
    text + "\n"
}

/// Fails if the last quarter took more than the second.
fn assert_flat(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    for (number, (name, ..)) in samples[0].processes.iter().enumerate() {
        let rss = |of: &[Sample]| median(of.iter().map(|sample| sample.processes[number].1));
        let (before, after) = (rss(early), rss(late));
        eprintln!("{name}: {before:.0} MiB in the second quarter, {after:.0} in the last");
        assert!(after <= before * GROWTH + NOISE_MIB, "{name} grew");
        let files = |of: &[Sample]| {
            of.iter()
                .map(|sample| sample.processes[number].2)
                .max()
                .unwrap()
        };
        let (before, after) = (files(early), files(late));
        eprintln!("{name}: {before} open files at most in the second quarter, {after} in the last");
        assert!(
            after <= before + before / 4 + 8,
            "{name} opens more and more files"
        );
    }
    let behind = |of: &[Sample]| {
        median(
            of.iter()
                .map(|sample| f64::from(i32::try_from(sample.through_ms).unwrap())),
        )
    };
    let (before, after) = (behind(early), behind(late));
    eprintln!("T: {before:.0} ms behind in the second quarter, {after:.0} in the last");
    assert!(after <= before * 1.5 + 100.0, "T falls behind");
    let unsealed = |of: &[Sample]| of.iter().map(|sample| sample.unsealed).max().unwrap();
    assert!(
        unsealed(late) <= unsealed(early) * 3 / 2,
        "sealing falls behind"
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
