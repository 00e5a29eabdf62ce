use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::{Service, counted, eventually, put, succeeds, text, tourbillon};

pub(crate) fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|end| end == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn one_flipped_byte_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data_text = data.to_str().unwrap();
    let service = Service::ready(&["standalone", "--data", data_text]);
    let url = format!("{}/v1/streams/ticks", service.url);
    let stream = serde_json::json!({"columns": [{"name": "symbol", "type": "string"}, {"name": "n", "type": "int64"}], "key": ["symbol"], "partitions": 2, "window": "200ms"});
    assert_eq!(put(&url, &stream).0, 200);
    let file = folder.path().join("t.csv");
    let csv: String = (0..2000).map(|n| format!("s{},{n}\n", n % 9)).collect();
    std::fs::write(&file, format!("symbol,n\n{csv}")).unwrap();
    succeeds(&[
        "load",
        file.to_str().unwrap(),
        "--stream",
        "ticks",
        "--url",
        &service.url,
        "--batch-rows",
        "100",
    ]);
    eventually("all sealed", Duration::from_secs(20), || {
        counted(&service.url, "ticks", "sealed_rows") == 2000
    });
    assert!(service.terminate().success());
    let told = succeeds(&["verify", "--data", data_text, "--stream", "ticks"]);
    assert!(
        told.contains("ticks p0: clean") && told.contains("ticks p1: clean"),
        "{told}"
    );

    let witness = folder.path().join("witness");
    let witnessed = [
        "verify",
        "--data",
        data_text,
        "--witness",
        witness.to_str().unwrap(),
    ];
    assert!(succeeds(&witnessed).contains("noted 10 heads"));
    assert!(succeeds(&witnessed).contains("noted 0 heads"));

    let victim = segments(&data.join("lake/ticks")).pop().unwrap();
    let sound = std::fs::read(&victim).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&victim, &damaged).unwrap();
    let output = tourbillon(&["verify", "--data", data_text]);
    assert_eq!(output.status.code(), Some(3));
    let name = victim.file_name().unwrap().to_str().unwrap();
    assert!(text(&output.stdout).contains(name), "names the file");

    std::fs::remove_file(&victim).unwrap();
    let output = tourbillon(&["verify", "--data", data_text, "--json"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains(name));
    std::fs::write(&victim, &sound).unwrap();
    succeeds(&["verify", "--data", data_text]);

    // a chain that lost its end is consistent, and only a witness knows better
    let chain = data.join("lake/ticks/commit/p1");
    let mut commits: Vec<_> = std::fs::read_dir(&chain)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .collect();
    commits.sort();
    std::fs::remove_file(commits.pop().unwrap()).unwrap();
    succeeds(&["verify", "--data", data_text]);
    let output = tourbillon(&witnessed);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("it is gone"));
}
