//! The roles of the demo: two gateways whose clocks disagree, a worker, a query node.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use tourbillon_core::clock::SkewedClock;
use tourbillon_core::control::StreamDef;
use tourbillon_core::ids::StreamName;
use tourbillon_ingest::{Gateway, GatewaySettings};
use tourbillon_log::control::StreamRequest;
use tourbillon_query::QueryService;
use tourbillon_shard_worker::Worker;
use tourbillon_sql::SqlSettings;

use crate::backbone::Backbone;
use crate::client::Client;
use crate::commands::serve::{with_gateway, with_queries, with_sql};
use crate::server::{Health, Server, Site, bind};
use crate::sql::{SqlFront, bind_flight};

/// The stream that is fed.
pub(super) const STREAM: &str = "trades";

/// How long replaced files stay; no demo lasts until they go.
const GRACE: Duration = Duration::from_secs(900);

/// Event window: short, so that a short demo seals segments too, ns.
const WINDOW_NS: i64 = 2_000_000_000;

/// Everything that runs.
pub(super) struct Stage {
    pub(super) backbone: Backbone,
    pub(super) gateways: [Gateway; 2],
    pub(super) worker: Arc<Worker>,
    pub(super) service: QueryService,
    pub(super) def: Arc<StreamDef>,
    servers: [Server; 2],
    sql: SqlFront,
}

impl Stage {
    pub(super) async fn start(
        folder: &Path,
        listen: SocketAddr,
        flight: Option<SocketAddr>,
        skew: Duration,
        metrics: PrometheusHandle,
    ) -> anyhow::Result<Self> {
        let listeners = [
            bind(listen).await?,
            bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?,
        ];
        let [first, second] = listeners;
        let flight = bind_flight(flight).await?;
        let backbone = Backbone::embedded(folder, None).await?;
        let def = ensure_streams(&backbone).await?;
        let half = i64::try_from(skew.as_nanos() / 2).unwrap_or(0);
        let gateway = |name: &str, skew_ns: i64| {
            let clock = SkewedClock::new(Arc::clone(&backbone.clock), skew_ns);
            let nonce = format!("{}-{name}", backbone.nonce());
            backbone.gateway(GatewaySettings::new(name, nonce), Arc::new(clock))
        };
        let gateways = [gateway("demo-fast", half), gateway("demo-slow", -half)];
        let worker = Arc::new(backbone.worker((0, 1), GRACE));
        let service = backbone.query();
        let health = {
            let (live, gateways, service) =
                (Arc::clone(&worker), gateways.clone(), service.clone());
            Health::alone(
                move || live.is_healthy(),
                move || {
                    let gateways = gateways.iter().find_map(Gateway::hindrance);
                    gateways.or_else(|| service.hindrance())
                },
            )
        };
        let sql = SqlFront::start(&service, SqlSettings::default(), flight)?;
        let site = with_queries(with_gateway(Site::new(&[]), &gateways[0]), &service);
        let first = Server::start(first, with_sql(site, &sql), health.clone(), metrics.clone())?;
        let site = with_gateway(Site::new(&[]), &gateways[1]);
        let second = Server::start(second, site, health, metrics)?;
        Ok(Self {
            backbone,
            gateways,
            worker,
            service,
            def,
            servers: [first, second],
            sql,
        })
    }

    pub(super) async fn until_ready(&self) {
        for gateway in &self.gateways {
            gateway.until_ready().await;
        }
        while !self.service.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where the first gateway and the query node listen.
    pub(super) fn address(&self) -> SocketAddr {
        self.servers[0].address
    }

    /// A client of each gateway; the first is also the query node's.
    pub(super) fn clients(&self) -> anyhow::Result<[Client; 2]> {
        let client = |server: &Server| Client::new(&format!("http://{}", server.address));
        Ok([client(&self.servers[0])?, client(&self.servers[1])?])
    }

    /// Rows that are there before the demo, and T: every row to come lies above it.
    pub(super) fn begin(&self) -> anyhow::Result<(u64, i64)> {
        let (_, sealed, tail) = self.service.totals(&self.def)?;
        Ok((sealed + tail, self.service.complete_through(&self.def)?.0))
    }

    /// Ends gateways, query node and servers.
    pub(super) async fn close_front(&self) {
        for gateway in &self.gateways {
            gateway.shutdown().await;
        }
        self.service.shutdown().await;
    }

    /// Ends the rest.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.sql.shutdown().await;
        for server in self.servers {
            server.shutdown().await;
        }
        self.backbone.close().await
    }
}

/// The built-in streams; the fed one with a short window, if it is new.
async fn ensure_streams(backbone: &Backbone) -> anyhow::Result<Arc<StreamDef>> {
    let control = &backbone.control;
    let name = StreamName::new(STREAM)?;
    if !control.view().streams.contains_key(&name) {
        let builtin = StreamRequest::builtin(STREAM).context("trades is built in")?;
        let request = StreamRequest {
            window_ns: Some(WINDOW_NS),
            ..builtin
        };
        control.ensure_stream(&request).await?;
    }
    control.ensure_builtin_streams().await?;
    let view = control.view();
    view.streams
        .get(&name)
        .map(Arc::clone)
        .context("trades was just made")
}
