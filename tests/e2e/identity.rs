use std::path::Path;
use std::sync::Arc;

use tourbillon_core::ids::StreamName;
use tourbillon_lake::Lake;
use tourbillon_log::control::ControlTopic;
use tourbillon_log::{EmbeddedLog, Log, SystemClock};

use crate::support::identity::{assert_identical, chains, runtime};
use crate::support::{REAL_ROWS, Service, TICKS, load_real_ticks, shared};

#[test]
fn consumers_of_the_embedded_log_write_the_same_bytes() {
    let Some(file) = shared("binance_trades.csv.gz") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::ready(&["standalone", "--data", folder.path().to_str().unwrap()]);
    load_real_ticks(&file, &service.url, &service.url);
    assert!(service.terminate().success());
    let log = embedded(folder.path());
    let open = async || {
        let control = ControlTopic::open(Arc::clone(&log), "tourbillon").await;
        (Arc::clone(&log), control.unwrap())
    };
    let live = runtime().block_on(async {
        let lake = Lake::open(folder.path().join("lake").to_str().unwrap()).unwrap();
        chains(&lake, &open().await.1, &StreamName::new(TICKS).unwrap()).await
    });
    assert_identical(open, TICKS, &live, REAL_ROWS);
}

fn embedded(data: &Path) -> Arc<dyn Log> {
    let log = EmbeddedLog::open(&data.join("log"), Arc::new(SystemClock::new()));
    Arc::new(log.unwrap())
}
