//! The long-running services: one role each, or all of them in one process.

use std::net::SocketAddr;
use std::sync::Arc;

use tourbillon_ingest::Gateway;
use tourbillon_log::kafka::{GroupSettings, KafkaGroup};
use tourbillon_query::QueryService;
use tourbillon_shard_worker::Worker;

use crate::args::{IngestArgs, QueryArgs, ShardWorkerArgs, StandaloneArgs};
use crate::backbone::Backbone;
use crate::out::Outcome;
use crate::server::{Drain, Health, Lobby, Server, Site, bind, signalled};
use crate::sql::{SqlFront, bind_flight};
use crate::telemetry;

/// Everything in one process, on the embedded log.
pub(crate) async fn standalone(args: StandaloneArgs) -> anyhow::Result<Outcome> {
    let metrics = telemetry::start_metrics()?;
    let listener = bind(args.http.listen).await?;
    let flight = bind_flight(args.sql.flight_listen).await?;
    let backbone = Backbone::embedded(&args.data, args.store.as_deref()).await?;
    let backbone = backbone.with_partitions(args.gateway.partitions);
    let backbone = backbone.keeping(args.read);
    backbone.check_store().await?;
    backbone.control.ensure_builtin_streams().await?;
    let name = args
        .gateway
        .gateway_name
        .clone()
        .unwrap_or_else(|| "standalone".into());
    let settings = backbone.gateway_settings(&args.gateway, name);
    let gateway = backbone.gateway(settings, Arc::clone(&backbone.clock));
    let worker = Arc::new(backbone.worker((0, 1), args.upkeep.grace));
    let service = backbone.query();
    let health = {
        let (worker, gateway, service) = (Arc::clone(&worker), gateway.clone(), service.clone());
        Health::alone(
            move || worker.is_healthy(),
            move || gateway.hindrance().or_else(|| service.hindrance()),
        )
    };
    let sql = SqlFront::start(&service, args.sql.settings(), flight)?;
    let site = Site::new(&args.http.cors_origins);
    let site = with_sql(with_queries(with_gateway(site, &gateway), &service), &sql);
    let server = Server::start(listener, site, health, metrics)?;
    tracing::info!(address = %server.address, data = %args.data.display(), "standalone listens");
    signalled().await?;
    tracing::info!("stopping: draining the gateway");
    gateway.shutdown().await;
    service.shutdown().await;
    sql.shutdown().await;
    server.shutdown().await;
    worker.shutdown().await;
    backbone.close().await?;
    Ok(Outcome::Done)
}

/// Adds what a gateway serves.
pub(crate) fn with_gateway(site: Site, gateway: &Gateway) -> Site {
    let routes = tourbillon_ingest::http::router(gateway.clone());
    site.with(routes, tourbillon_ingest::http::api())
}

/// Adds what a query node serves, where there is a gateway.
pub(crate) fn with_queries(site: Site, service: &QueryService) -> Site {
    let routes = tourbillon_query::http::router(service.clone());
    site.with(routes, tourbillon_query::http::api())
}

/// Adds what a query node serves besides, where there is no gateway.
pub(crate) fn with_catalog(site: Site, service: &QueryService) -> Site {
    let routes = tourbillon_query::http::catalog(service.clone());
    site.with(routes, tourbillon_query::http::catalog_api())
}

/// Adds what a worker tells of itself.
pub(crate) fn with_worker(
    site: Site,
    worker: &Arc<Worker>,
    group: Option<Arc<KafkaGroup>>,
) -> Site {
    let routes = tourbillon_shard_worker::http::router(Arc::clone(worker), group);
    site.with(routes, tourbillon_shard_worker::http::api())
}

/// Adds SQL.
pub(crate) fn with_sql(site: Site, sql: &SqlFront) -> Site {
    site.with(sql.routes(), tourbillon_sql::api())
}

/// A gateway.
pub(crate) async fn ingest(args: IngestArgs) -> anyhow::Result<Outcome> {
    let metrics = telemetry::start_metrics()?;
    let (lobby, listener) = Lobby::open(bind(args.http.listen).await?)?;
    let backbone = Backbone::cluster(&args.cluster, &lobby).await?;
    let backbone = backbone.with_partitions(args.gateway.partitions);
    backbone.control.ensure_builtin_streams().await?;
    let given = args.gateway.gateway_name.as_deref();
    let name = own_name(given, args.http.listen, backbone.nonce());
    let settings = backbone.gateway_settings(&args.gateway, name);
    let gateway = backbone.gateway(settings, Arc::clone(&backbone.clock));
    let (ready, drain) = (gateway.clone(), Drain::default());
    let trouble = backbone.log_trouble();
    let health = drain.tell(Health::new(|| true, move || ready.hindrance(), trouble));
    let site = with_gateway(Site::new(&args.http.cors_origins), &gateway);
    lobby.close().await;
    let server = Server::start(listener, site, health, metrics)?;
    tracing::info!(address = %server.address, "gateway listens");
    signalled().await?;
    drain.wait(args.stop.drain).await;
    tracing::info!("stopping: draining the gateway");
    gateway.shutdown().await;
    server.shutdown().await;
    backbone.close().await?;
    Ok(Outcome::Done)
}

/// A shard worker.
pub(crate) async fn shard_worker(args: ShardWorkerArgs) -> anyhow::Result<Outcome> {
    let metrics = telemetry::start_metrics()?;
    let (lobby, listener) = Lobby::open(bind(args.http.listen).await?)?;
    let backbone = Backbone::cluster(&args.cluster, &lobby).await?;
    let grace = args.upkeep.grace;
    let (worker, group) = match args.work.share {
        Some(share) => {
            backbone.check_store().await?;
            (backbone.worker(share, grace), None)
        }
        None => {
            let given = args.work.worker_name.as_deref();
            let name = own_name(given, args.http.listen, backbone.nonce());
            let (worker, group) = backbone
                .member(&args.cluster, &args.work, name, grace)
                .await?;
            (worker, Some(Arc::new(group)))
        }
    };
    let worker = Arc::new(worker);
    let health = {
        let (live, ready, member) = (Arc::clone(&worker), Arc::clone(&worker), group.clone());
        let outside = move || {
            let settled = member.as_ref().is_none_or(|group| group.is_settled());
            (!settled).then(|| "its group has not let it in".to_owned())
        };
        // nobody sends it requests, so it can say that it does nothing
        let trouble = backbone.log_trouble();
        let unready = move || ready.hindrance().or_else(&outside).or_else(&trouble);
        Health::new(move || live.is_healthy(), unready, || None)
    };
    let site = with_worker(Site::new(&args.http.cors_origins), &worker, group.clone());
    lobby.close().await;
    let server = Server::start(listener, site, health, metrics)?;
    match &group {
        Some(group) => {
            let GroupSettings { group, member } = group.settings();
            tracing::info!(address = %server.address, group, name = member, "shard worker listens");
        }
        None => {
            let share = args.work.share;
            tracing::info!(address = %server.address, ?share, "shard worker listens");
        }
    }
    signalled().await?;
    tracing::info!("stopping: finishing uploads");
    server.shutdown().await;
    worker.shutdown().await;
    if let Some(group) = group {
        group.leave().await;
    }
    backbone.close().await?;
    Ok(Outcome::Done)
}

/// A query node.
pub(crate) async fn query(args: QueryArgs) -> anyhow::Result<Outcome> {
    let metrics = telemetry::start_metrics()?;
    let (lobby, listener) = Lobby::open(bind(args.http.listen).await?)?;
    let flight = bind_flight(args.sql.flight_listen).await?;
    let backbone = Backbone::cluster(&args.cluster, &lobby).await?;
    let backbone = backbone.keeping(args.read);
    let service = backbone.query();
    let (ready, drain) = (service.clone(), Drain::default());
    // without its log it still answers what it has
    let trouble = backbone.log_trouble();
    let health = drain.tell(Health::new(|| true, move || ready.hindrance(), trouble));
    let sql = SqlFront::start(&service, args.sql.settings(), flight)?;
    let site = Site::new(&args.http.cors_origins);
    let site = with_catalog(with_queries(site, &service), &service);
    lobby.close().await;
    let server = Server::start(listener, with_sql(site, &sql), health, metrics)?;
    tracing::info!(address = %server.address, "query node listens");
    signalled().await?;
    drain.wait(args.stop.drain).await;
    // they would hold the server until it cuts them off, without their cursors
    service.end_subscriptions();
    sql.shutdown().await;
    server.shutdown().await;
    service.shutdown().await;
    backbone.close().await?;
    Ok(Outcome::Done)
}

/// The name given, or one that is this machine's and this address's alone. A free port says
/// nothing of who comes back after a restart, so it gives a new name each time.
fn own_name(given: Option<&str>, listen: SocketAddr, nonce: &str) -> String {
    if let Some(name) = given {
        return name.to_owned();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    match listen.port() {
        0 => format!("{}-{nonce}", host.trim()),
        port => format!("{}-{port}", host.trim()),
    }
}
