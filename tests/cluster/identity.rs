use std::sync::Arc;

use tourbillon_core::ids::StreamName;
use tourbillon_lake::Lake;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{KafkaLog, KafkaSettings, Log};

use crate::Cluster;
use crate::support::identity::{Opened, assert_identical, chains, runtime};
use crate::support::{REAL_ROWS, TICKS, load_real_ticks, shared};

#[test]
fn consumers_of_kafka_write_the_same_bytes() {
    let Some(file) = shared("binance_trades.csv.gz") else {
        return;
    };
    let Some(cluster) = Cluster::start() else {
        return;
    };
    load_real_ticks(&file, &cluster.gateway.url, &cluster.query.url);
    let [kafka, store, prefix] = cluster.addresses();
    cluster.finish();
    let open = async || connected(&kafka, &prefix).await;
    let live = runtime().block_on(async {
        let lake = Lake::open(&store).unwrap();
        chains(&lake, &open().await.1, &StreamName::new(TICKS).unwrap()).await
    });
    assert_identical(open, TICKS, &live, REAL_ROWS);
}

/// A connection of its own, which fetches far less at a time than a worker would.
pub(crate) async fn connected(kafka: &str, prefix: &str) -> Opened {
    let settings = KafkaSettings {
        brokers: kafka.to_owned(),
        options: [("fetch.message.max.bytes".to_owned(), "30000".to_owned())].into(),
        ..KafkaSettings::default()
    };
    let log: Arc<dyn Log> = Arc::new(KafkaLog::connect(settings).await.unwrap());
    let control = ControlTopic::open(Arc::clone(&log), prefix).await.unwrap();
    (log, control)
}
