//! Small texts: durations, instants, digests, column types, stream names, decimals.

use tourbillon_core::decimal::{parse_decimal, write_decimal};
use tourbillon_core::digest::Digest;
use tourbillon_core::ids::StreamName;
use tourbillon_core::schema::ColumnType;
use tourbillon_core::time::{format_duration_ns, parse_duration_ns, parse_time_ns};

/// Any text is answered; what can be read survives being written again.
pub fn run(data: &[u8]) {
    for scale in [0, 9, 38] {
        decimal(data, scale);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(ns) = parse_duration_ns(text) {
        let again = parse_duration_ns(&format_duration_ns(ns));
        assert_eq!(again, Ok(ns), "the duration changed");
    }
    if let Ok(ns) = parse_time_ns(text) {
        assert_eq!(parse_time_ns(&ns.to_string()), Ok(ns), "the time changed");
    }
    if let Ok(ty) = text.parse::<ColumnType>() {
        assert_eq!(ty.to_string().parse(), Ok(ty), "the type changed");
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert!(
            text.eq_ignore_ascii_case(&digest.to_string()),
            "another digest"
        );
    }
    if let Ok(name) = StreamName::new(text.to_owned()) {
        assert_eq!(name.as_str(), text, "another name");
    }
}

fn decimal(data: &[u8], scale: u8) {
    let precision = 38;
    let Ok(value) = parse_decimal(data, precision, scale) else {
        return;
    };
    let mut text = Vec::new();
    write_decimal(&mut text, value, scale);
    let again = parse_decimal(&text, precision, scale);
    assert_eq!(again, Ok(value), "the decimal changed");
}
