use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Service, assert_ordered, counted, eventually, put, rows, shared, succeeds, text, tourbillon,
};

/// The same 3000 trades as a CSV, a compressed CSV and a compressed NDJSON.
fn files() -> [(&'static str, Vec<u8>); 3] {
    let mut csv = String::from("venue,symbol,ms,price,size,extra\n");
    let mut ndjson = String::new();
    for i in 0..3000 {
        let symbol = ["AA", "BB", "CC"][i % 3];
        let (ms, price) = (1_700_000_000_000 + i, format!("{i}.000000001"));
        csv += &format!("XT,{symbol},{ms},{price},0.5,x\n");
        let names = format!("\"venue\":\"XT\",\"symbol\":\"{symbol}\"");
        ndjson += &format!("{{{names},\"ms\":{ms},\"price\":{price},\"size\":\"0.5\"}}\n");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).unwrap();
    let zstd = zstd::encode_all(ndjson.as_bytes(), 1).unwrap();
    [
        ("t.csv", csv.into_bytes()),
        ("t.csv.gz", gzip.finish().unwrap()),
        ("t.ndjson.zst", zstd),
    ]
}

#[test]
fn every_format_of_file_becomes_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = Service::ready(&["standalone", "--data", data.to_str().unwrap()]);
    let load = |name: &str| {
        let file = folder.path().join(name);
        let what = ["load", file.to_str().unwrap(), "--stream", "trades"];
        let how = ["--map", "ts_event=ms:ms", "--batch-rows", "700"];
        succeeds(&[&what[..], &["--url", &service.url], &how].concat());
    };
    for (number, (name, bytes)) in files().into_iter().enumerate() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        load(name);
        let all = rows(&service.url, "trades", 3000 * (number + 1));
        assert_ordered(&all);
        // as text, because JSON numbers would come back as floats
        let columns = ["--columns", "symbol,price,ts_event", "--format", "csv"];
        let csv = succeeds(&[&["window", "trades", "--url", &service.url][..], &columns].concat());
        for (i, line) in csv.lines().skip(1 + 3000 * number).enumerate() {
            let (symbol, second) = (["AA", "BB", "CC"][i % 3], 20 + i / 1000);
            let expected = format!(
                "{symbol},{i}.000000001,2023-11-14T22:13:{second}.{:03}000000Z",
                i % 1000
            );
            assert_eq!(line, expected);
        }
        assert_eq!(csv.lines().count(), 1 + 3000 * (number + 1));
    }
    // the same again stores nothing
    load("t.csv");
    eventually("the repeat is counted", Duration::from_secs(10), || {
        counted(&service.url, "trades", "duplicate_rows") == 3000
    });
    rows(&service.url, "trades", 9000);
    assert!(service.terminate().success());
}

#[test]
fn mistakes_are_explained_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::ready(&[
        "standalone",
        "--data",
        folder.path().join("d").to_str().unwrap(),
    ]);
    let file = folder.path().join("t.csv");
    std::fs::write(
        &file,
        "venue,symbol,ts_event,price,size\nX,A,1,1.5,1\nX,A,2,1.5x,1\n",
    )
    .unwrap();
    let load = |more: &[&str]| {
        let mut args = vec!["load", file.to_str().unwrap(), "--url", &service.url];
        args.extend(more);
        let output = tourbillon(&args);
        (output.status.code(), text(&output.stderr))
    };
    let (code, told) = load(&["--stream", "trades"]);
    assert!(
        code == Some(1) && told.contains("row 2") && told.contains("price"),
        "{told}"
    );
    let (code, told) = load(&["--stream", "nothere"]);
    assert!(code == Some(1) && told.contains("nothere"), "{told}");
    let (code, told) = load(&["--stream", "trades", "--map", "price=px"]);
    assert!(code == Some(1) && told.contains("`px`"), "{told}");
    assert_eq!(rows(&service.url, "trades", 0).len(), 0);
}

#[test]
fn the_whole_capture_goes_through_the_arrow_path() {
    let Some(file) = shared("binance_3venues_ticks.parquet") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let service = Service::ready(&["standalone", "--data", folder.path().to_str().unwrap()]);
    let column = |name: &str, ty: &str, nullable: bool| json!({"name": name, "type": ty, "nullable": nullable});
    let stream = json!({
        "columns": [
            column("venue", "string", false), column("symbol", "string", false), column("kind", "string", false),
            column("ts_recv", "timestamp", false), column("ts_event", "timestamp", true), column("ts_trade", "timestamp", true),
            column("side", "string", true), column("price", "decimal(18,9)", true), column("size", "decimal(18,9)", true),
            column("seq", "int64", true),
        ],
        "key": ["venue", "symbol"], "event_time": "ts_recv", "partitions": 4, "window": "10s",
    });
    assert_eq!(
        put(&format!("{}/v1/streams/ticks", service.url), &stream).0,
        200
    );
    succeeds(&[
        "load",
        file.to_str().unwrap(),
        "--stream",
        "ticks",
        "--url",
        &service.url,
        "--batch-rows",
        "65536",
        "--map",
        "ts_recv=recv_ts_ns:ns,ts_event=event_ms:ms,ts_trade=trade_ms:ms",
    ]);
    let counted = |field: &str| counted(&service.url, "ticks", field);
    eventually("all rows accepted", Duration::from_secs(60), || {
        counted("accepted_rows") == 3_291_151
    });
    assert_eq!(counted("rejected_rows") + counted("duplicate_rows"), 0);
    eventually("all rows sealed", Duration::from_secs(60), || {
        counted("sealed_rows") == 3_291_151
    });
}
