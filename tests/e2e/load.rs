use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::support::{
    Service, assert_ordered, eventually, get, put, rows, shared, succeeds, text, tourbillon,
};

#[test]
fn every_format_of_file_becomes_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let service = Service::ready(&["standalone", "--data", data.to_str().unwrap()]);
    let (mut csv, mut ndjson) = (
        String::from("venue,symbol,ms,price,size,extra\n"),
        String::new(),
    );
    for i in 0..3000 {
        let (symbol, ms, price) = (
            ["AA", "BB", "CC"][i % 3],
            1_700_000_000_000 + i,
            format!("{i}.000000001"),
        );
        csv += &format!("XT,{symbol},{ms},{price},0.5,x\n");
        ndjson += &format!(
            "{{\"venue\":\"XT\",\"symbol\":\"{symbol}\",\"ms\":{ms},\"price\":{price},\"size\":\"0.5\"}}\n"
        );
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).unwrap();
    let files = [
        ("t.csv", csv.clone().into_bytes()),
        ("t.csv.gz", gzip.finish().unwrap()),
        (
            "t.ndjson.zst",
            zstd::encode_all(ndjson.as_bytes(), 1).unwrap(),
        ),
    ];
    for (number, (name, bytes)) in files.into_iter().enumerate() {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        succeeds(&[
            "load",
            file.to_str().unwrap(),
            "--stream",
            "trades",
            "--url",
            &service.url,
            "--map",
            "ts_event=ms:ms",
            "--batch-rows",
            "700",
        ]);
        let all = rows(&service.url, "trades", 3000 * (number + 1));
        assert_ordered(&all);
        let new: Vec<_> = all[3000 * number..]
            .iter()
            .map(|row| {
                (
                    row["symbol"].clone(),
                    row["price"].to_string(),
                    row["ts_event"].clone(),
                )
            })
            .collect();
        for (i, (symbol, price, event)) in new.iter().enumerate() {
            assert_eq!(symbol, ["AA", "BB", "CC"][i % 3]);
            assert_eq!(price.trim_matches('"'), format!("{i}.000000001"));
            assert!(
                event.as_str().unwrap().starts_with("2023-11-14T22:13:2"),
                "{event}"
            );
        }
    }
    // the same again stores nothing
    let file = folder.path().join("t.csv");
    succeeds(&[
        "load",
        file.to_str().unwrap(),
        "--stream",
        "trades",
        "--url",
        &service.url,
        "--map",
        "ts_event=ms:ms",
        "--batch-rows",
        "700",
    ]);
    std::thread::sleep(Duration::from_millis(300));
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
    let partitions = format!("{}/v1/streams/ticks/partitions", service.url);
    let counted = |field: &str| {
        let (_, body) = get(&partitions).unwrap();
        let told: serde_json::Value = serde_json::from_str(&body).unwrap();
        told["partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p[field].as_u64().unwrap())
            .sum::<u64>()
    };
    eventually("all rows accepted", Duration::from_secs(60), || {
        counted("accepted_rows") == 3_291_151
    });
    assert_eq!(counted("rejected_rows") + counted("duplicate_rows"), 0);
    eventually("all rows sealed", Duration::from_secs(60), || {
        counted("sealed_rows") == 3_291_151
    });
}
