use crate::support::{shared, succeeds, tourbillon};

#[test]
fn demo_proves_itself() {
    let text = succeeds(&["demo", "--for", "4s", "--rate", "5000", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(summary["holds"], true);
    assert_eq!(summary["acknowledged_rows"], summary["window_rows"]);
    assert!(
        summary["acknowledged_rows"].as_u64().unwrap() > 10_000,
        "{summary}"
    );
    assert!(
        summary["segments_rebuilt"].as_u64().unwrap() > 0,
        "{summary}"
    );
}

#[test]
fn demo_plays_a_file_and_keeps_its_data() {
    let Some(file) = shared("binance_trades.csv.gz") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let args = [
        "demo",
        "--feed",
        file.to_str().unwrap(),
        "--map",
        "ts_event=event_ms:ms",
        "--for",
        "3s",
        "--data",
        data,
    ];
    assert!(succeeds(&args).contains("\nverified"));
    // again on the same data: older rows are told apart
    assert!(succeeds(&args).contains("\nverified"));
    assert!(succeeds(&["verify", "--data", data]).contains("clean"));
}

#[test]
fn demo_refuses_clocks_too_far_apart() {
    let output = tourbillon(&["demo", "--skew", "2s"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--skew"));
}
