use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::{Service, counted, get, post, rows, tourbillon};

const EVENT: &str = r#"{"venue":"X","symbol":"A","ts_event":1,"price":"1.5","size":"2"}"#;

fn standalone() -> (tempfile::TempDir, Service) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::ready(&["standalone", "--data", folder.path().to_str().unwrap()]);
    (folder, service)
}

#[test]
fn bad_bodies_are_refused_with_the_row_and_nothing_is_stored() {
    let (_folder, service) = standalone();
    let url = format!("{}/v1/streams/trades/events", service.url);
    let json = |body: &str| {
        post(
            &url,
            &[("content-type", "application/x-ndjson")],
            body.into(),
        )
    };
    let cases = [
        (
            format!("{EVENT}\n{}", EVENT.replace("1.5", "1.5.5")),
            400,
            "price",
        ),
        (
            format!("{EVENT}\n{}", EVENT.replace("1.5", "1234567890.5")),
            400,
            "price",
        ),
        (
            format!("{EVENT}\n{}", EVENT.replace("venue", "venu")),
            400,
            "venu",
        ),
        (format!("{EVENT}\n{}", &EVENT[..40]), 400, "row"),
        (
            EVENT.replace("\"ts_event\":1", "\"ts_event\":true"),
            400,
            "ts_event",
        ),
    ];
    for (body, status, named) in cases {
        let (code, told) = json(&body);
        assert_eq!(code, status, "{told}");
        assert!(told.contains(named), "{told}");
    }
    assert_eq!(
        post(&url, &[("content-type", "application/xml")], vec![]).0,
        415
    );
    let gzip = [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "gzip"),
    ];
    assert_eq!(post(&url, &gzip, b"not gzip".to_vec()).0, 400);
    let arrow = [("content-type", "application/vnd.apache.arrow.stream")];
    assert_eq!(post(&url, &arrow, b"ARROW1 truncated".to_vec()).0, 400);
    assert_eq!(
        post(
            &url.replace("trades", "none"),
            &[("content-type", "text/csv")],
            vec![]
        )
        .0,
        404
    );
    rows(&service.url, "trades", 0);
    assert_eq!(json(EVENT).0, 200);
    rows(&service.url, "trades", 1);
}

#[test]
fn a_huge_body_is_refused_unread() {
    let (_folder, service) = standalone();
    let address = service.url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let head = format!(
        "POST /v1/streams/trades/events HTTP/1.1\r\nhost: {address}\r\ncontent-type: text/csv\r\ncontent-length: {}\r\n\r\n",
        2_u64 << 30
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // and one that grows while it is unpacked
    let mut zeros = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let chunk = vec![b' '; 1 << 20];
    for _ in 0..600 {
        zeros.write_all(&chunk).unwrap();
    }
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("content-encoding", "zstd"),
    ];
    let url = format!("{}/v1/streams/trades/events", service.url);
    let (code, told) = post(&url, &headers, zeros.finish().unwrap());
    assert!(code == 413 || code == 429, "{code} {told}");
    assert_eq!(get(&format!("{}/healthz", service.url)).unwrap().0, 200);
}

#[test]
fn a_folder_in_use_is_told() {
    let (folder, _service) = standalone();
    let output = tourbillon(&[
        "standalone",
        "--data",
        folder.path().to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process uses"));
}

#[test]
fn a_full_disk_is_an_error_and_keeps_what_was_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // the embedded log preallocates its journal, so the disk must hold at least that
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"])
        .arg(&disk)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no right to mount a small disk");
        return;
    }
    let unmount = || drop(Command::new("umount").arg("-l").arg(&disk).status());
    let roomy = folder.path().join("roomy");
    let result = std::panic::catch_unwind(|| {
        let acknowledged = fill(disk.to_str().unwrap());
        recover(&disk, &roomy, acknowledged);
    });
    unmount();
    result.unwrap();
}

/// On a disk with room the service holds what it acknowledged, and at most the refused request.
fn recover(disk: &Path, roomy: &Path, acknowledged: u64) {
    let copied = Command::new("cp").arg("-r").args([disk, roomy]).status();
    assert!(copied.unwrap().success());
    let service = Service::ready(&["standalone", "--data", roomy.to_str().unwrap()]);
    let found = counted(&service.url, "trades", "accepted_rows");
    assert!(
        (acknowledged..=acknowledged + BATCH).contains(&found),
        "{found} rows of {acknowledged} acknowledged"
    );
}

/// Rows of a request.
const BATCH: u64 = 20_000;

/// Sends until the disk is full; the rows acknowledged by then.
fn fill(disk: &str) -> u64 {
    let service = Service::ready(&["standalone", "--data", disk]);
    let url = format!("{}/v1/streams/trades/events", service.url);
    let (mut acknowledged, mut refused) = (0, None);
    let csv = |batch: usize| {
        let mut csv = String::from("venue,symbol,ts_event,price,size,seq\n");
        for i in 0..20_000 {
            let noise = (batch * 20_000 + i).wrapping_mul(2_654_435_761) % 1_000_000_007;
            csv += &format!("V{noise},S{noise},{noise},{}.{noise:010},1,{i}\n", i % 7).replace(
                &format!(".{noise:010}"),
                &format!(".{:09}", noise % 999_999_937),
            );
        }
        csv
    };
    for batch in 0..400 {
        let (code, told) = post(&url, &[("content-type", "text/csv")], csv(batch).into());
        if code != 200 {
            refused = Some((code, told));
            break;
        }
        acknowledged += BATCH;
    }
    let (code, told) = refused.expect("the disk fills up");
    assert_eq!(code, 503, "{told}");
    service.kill();
    eprintln!("{acknowledged} rows acknowledged before the disk was full");
    assert!(acknowledged > 0);
    acknowledged
}
