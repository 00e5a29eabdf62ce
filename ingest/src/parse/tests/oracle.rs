//! Random bodies against dull parsers.

use proptest::prelude::*;

use super::*;

/// What a row of [`every_type`] should be, by way of serde_json.
fn dull_row(line: &str) -> Option<Vec<String>> {
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    let object = object.as_object()?;
    let mut row = Vec::new();
    for column in every_type().columns() {
        let value = object.get(&column.name).filter(|v| !v.is_null());
        let Some(value) = value else {
            if !column.nullable {
                return None;
            }
            row.push("∅".to_owned());
            continue;
        };
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        row.push(match column.ty {
            ColumnType::String => value.as_str()?.to_owned(),
            ColumnType::Timestamp => parse_time_ns(&text).ok()?.to_string(),
            ColumnType::Decimal { precision, scale } => {
                parse_decimal(text.as_bytes(), precision, scale)
                    .ok()?
                    .to_string()
            }
            ColumnType::Int64 => text.parse::<i64>().ok()?.to_string(),
            ColumnType::UInt64 => text.parse::<u64>().ok()?.to_string(),
            ColumnType::Float64 => text.parse::<f64>().ok()?.to_string(),
            ColumnType::Bool => text.parse::<bool>().ok()?.to_string(),
        });
    }
    Some(row)
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|v| v.to_string()),
        (0_i64..1000).prop_map(|v| v.to_string()),
        any::<String>().prop_map(|v| serde_json::to_string(&v).unwrap()),
        "\"[0-9]{1,9}([.][0-9]{1,10})?\"",
        "[1-9][0-9]{0,8}[.][0-9]{1,10}",
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("\"2024-02-29T00:00:00Z\"".to_owned()),
    ]
}

fn object() -> impl Strategy<Value = String> {
    let member = |name: &'static str| {
        proptest::option::weighted(0.8, value())
            .prop_map(move |v| v.map(|v| format!("\"{name}\": {v}")))
    };
    let text = prop_oneof![3 => any::<String>().prop_map(|v| serde_json::to_string(&v).unwrap()), 1 => value()];
    let members = (
        text,
        any::<i64>(),
        member("note"),
        member("price"),
        member("int"),
        member("flag"),
    );
    (members, any::<bool>()).prop_map(|((text, at, a, b, c, d), swap)| {
        let mut members = vec![format!("\"text\":{text}"), format!("\"at\":{at}")];
        members.extend([a, b, c, d].into_iter().flatten());
        if swap {
            members.reverse();
        }
        format!("{{{}}}", members.join(","))
    })
}

/// JSON numbers with a fraction print differently after a trip through a float, so the oracle
/// sees them as strings, which mean the same in every column but text.
fn quote_fractions(line: &str) -> String {
    let mut out = String::new();
    for part in line.split_inclusive(',') {
        match part.split_once("\": ") {
            Some((name, number))
                if number.starts_with(|c: char| c.is_ascii_digit())
                    && number.contains('.')
                    && !name.ends_with("note") =>
            {
                let (number, end) =
                    number.split_at(number.find([',', '}']).unwrap_or(number.len()));
                write!(out, "{name}\": \"{number}\"{end}").unwrap();
            }
            _ => out.push_str(part),
        }
    }
    out
}

proptest! {
    #[test]
    fn json_rows_equal_those_of_serde_json(lines in proptest::collection::vec(object(), 1..6)) {
        let dull: Vec<_> = lines.iter().map(|line| dull_row(&quote_fractions(line))).collect();
        let good: Vec<_> = dull.iter().flatten().cloned().collect();
        for (format, body) in [(Format::NdJson, lines.join("\n")), (Format::Json, format!("[{}]", lines.join(",")))] {
            let parsed = parse(format, &body, OnError::Skip).unwrap();
            prop_assert_eq!(cells(&parsed.rows), good.clone());
            let bad: Vec<u64> = (1..).zip(&dull).filter(|(_, row)| row.is_none()).map(|(i, _)| i).collect();
            prop_assert_eq!(parsed.refused.iter().map(|e| e.row).collect::<Vec<_>>(), bad);
        }
    }

    #[test]
    fn csv_fields_equal_those_of_the_csv_crate(
        rows in proptest::collection::vec(("[a-c,\"\n\r é]{0,6}", any::<i64>(), "[a-c,\"\n]{1,4}"), 0..8),
        always in any::<bool>(), crlf in any::<bool>(),
    ) {
        let style = if always { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
        let end = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let mut writer = ::csv::WriterBuilder::new().quote_style(style).terminator(end).from_writer(Vec::new());
        writer.write_record(["text", "at", "note"]).unwrap();
        for (text, at, note) in &rows {
            writer.write_record([text, &at.to_string(), note]).unwrap();
        }
        let body = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let parsed = parse(Format::Csv, &body, OnError::Refuse).unwrap();
        let mut reader = ::csv::Reader::from_reader(body.as_bytes());
        let dull: Vec<Vec<String>> = reader.records().map(|r| r.unwrap().iter().map(str::to_owned).collect()).collect();
        let found: Vec<Vec<String>> = cells(&parsed.rows).into_iter().map(|row| row[..3].to_vec()).collect();
        prop_assert_eq!(found, dull);
    }

    #[test]
    fn any_bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::NdJson, Format::Json, Format::Csv, Format::ArrowStream] {
            drop(parse_rows(format, &every_type(), &Bytes::from(body.clone()), OnError::Skip));
        }
    }
}

#[test]
fn every_prefix_of_a_body_is_answered() {
    let json = r#"[{"text":"a\n\u00e9","at":1,"price":"1.5","flag":true,"note":null},{"text":"b","at":-2.5e1,"note":{"a":[1]}}]"#;
    let csv = "text,at,note\n\"a\"\"b\",1,\"x,y\"\nb,2,\n";
    for (format, body) in [
        (Format::Json, json),
        (Format::NdJson, &json[1..]),
        (Format::Csv, csv),
    ] {
        for end in 0..=body.len() {
            for on_error in [OnError::Skip, OnError::Refuse] {
                drop(parse_rows(
                    format,
                    &every_type(),
                    &Bytes::copy_from_slice(&body.as_bytes()[..end]),
                    on_error,
                ));
            }
        }
    }
    for end in 1..json.len() - 1 {
        assert!(parse(Format::Json, json.get(..end).unwrap_or(""), OnError::Skip).is_err());
    }
}
