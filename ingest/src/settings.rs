//! What a gateway is told at start.

use std::sync::Arc;
use std::time::Duration;

use tourbillon_core::clock::PhysicalClock;
use tourbillon_core::hlc::HlcSettings;
use tourbillon_log::Log;
use tourbillon_log::control::ControlTopic;

use crate::commits::CommitSource;

/// Settings of a gateway.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    /// Name under which it joins; unique among gateways that run at the same time, because a new
    /// writer fences older ones of its name.
    pub name: String,
    /// Tells this process from others; draw it at start.
    pub nonce: String,
    /// Length of the lease. Longer survives longer log stalls; a dead gateway holds the watermark
    /// back for up to five times as long.
    pub lease: Duration,
    /// Idle time after which a partition tells that time has passed: bounds the watermark's lag.
    pub beat: Duration,
    /// How long rows wait for company in a frame. 0 sends what is queued at once.
    pub linger: Duration,
    /// How far stamps may run ahead of the wall clock.
    pub clock: HlcSettings,
    /// Bounds on requests.
    pub limits: Limits,
    /// Whether line protocol may make streams and add columns.
    pub auto_create: bool,
}

impl GatewaySettings {
    /// The defaults, for a gateway called `name` in a process called `nonce`.
    pub fn new(name: impl Into<String>, nonce: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nonce: nonce.into(),
            lease: Duration::from_secs(2),
            beat: Duration::from_millis(50),
            linger: Duration::from_millis(1),
            clock: HlcSettings::default(),
            limits: Limits::default(),
            auto_create: true,
        }
    }
}

/// Bounds on requests, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A body as sent.
    pub body_bytes: usize,
    /// A body after decompression.
    pub decompressed_bytes: usize,
    /// All bodies and rows that wait for their acknowledgement.
    pub in_flight_bytes: usize,
}

impl Default for Limits {
    /// One request of the largest size fits, as text and as rows.
    fn default() -> Self {
        Self {
            body_bytes: 64 << 20,
            decompressed_bytes: 512 << 20,
            in_flight_bytes: 1 << 30,
        }
    }
}

/// What a gateway works with.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The control topic, in the same log.
    pub control: ControlTopic,
    /// Where a partition's newest commit is found.
    pub commits: Arc<dyn CommitSource>,
    /// Physical time.
    pub clock: Arc<dyn PhysicalClock>,
}
