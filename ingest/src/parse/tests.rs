use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array,
    Int64Array, LargeStringArray, NullArray, StringArray, StringViewArray,
    TimestampMillisecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::datatypes::{
    Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema, TimestampNanosecondType,
    UInt64Type,
};
use arrow::ipc::writer::StreamWriter;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tourbillon_core::decimal::parse_decimal;
use tourbillon_core::schema::{Column, ColumnType, builtin_streams};
use tourbillon_core::time::parse_time_ns;

use super::*;

const PRICE: ColumnType = ColumnType::Decimal {
    precision: 18,
    scale: 9,
};

fn trades() -> StreamSchema {
    let [(_, trades), _] = builtin_streams();
    trades
}

/// One column of every type: `text` and `at` are required.
fn every_type() -> StreamSchema {
    let columns = vec![
        Column::required("text", ColumnType::String),
        Column::required("at", ColumnType::Timestamp),
        Column::optional("note", ColumnType::String),
        Column::optional("price", PRICE),
        Column::optional("int", ColumnType::Int64),
        Column::optional("uint", ColumnType::UInt64),
        Column::optional("float", ColumnType::Float64),
        Column::optional("flag", ColumnType::Bool),
    ];
    StreamSchema::new(columns, &["text"], Some("at")).unwrap()
}

fn parse(format: Format, body: &str, on_error: OnError) -> Result<Parsed, ParseError> {
    parse_rows(
        format,
        &every_type(),
        &Bytes::copy_from_slice(body.as_bytes()),
        on_error,
    )
}

/// Every cell as text, nulls as `∅`.
pub(super) fn cells(batch: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: &ArrayRef, row: usize| {
        if column.is_null(row) {
            return "∅".to_owned();
        }
        let index = column.data_type();
        match index {
            t if *t == ColumnType::String.arrow() => {
                let words = column.as_dictionary::<Int32Type>();
                let words = words.downcast_dict::<StringArray>().unwrap();
                words.into_iter().nth(row).flatten().unwrap().to_owned()
            }
            t if *t == ColumnType::Timestamp.arrow() => column
                .as_primitive::<TimestampNanosecondType>()
                .value(row)
                .to_string(),
            t if *t == PRICE.arrow() => column
                .as_primitive::<Decimal128Type>()
                .value(row)
                .to_string(),
            t if *t == ColumnType::Int64.arrow() => {
                column.as_primitive::<Int64Type>().value(row).to_string()
            }
            t if *t == ColumnType::UInt64.arrow() => {
                column.as_primitive::<UInt64Type>().value(row).to_string()
            }
            t if *t == ColumnType::Float64.arrow() => {
                column.as_primitive::<Float64Type>().value(row).to_string()
            }
            _ => column.as_boolean().value(row).to_string(),
        }
    };
    let row = |row| {
        batch
            .columns()
            .iter()
            .map(|column| cell(column, row))
            .collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

fn refused(outcome: Result<Parsed, ParseError>) -> Vec<(u64, Option<String>, String)> {
    match outcome {
        Err(ParseError::Rows { errors, total }) => {
            assert_eq!(errors.len() as u64, total.min(MAX_ROW_ERRORS as u64));
            errors
                .into_iter()
                .map(|e| (e.row, e.column, e.reason))
                .collect()
        }
        other => panic!("not refused by row: {other:?}"),
    }
}

#[test]
fn content_types_choose_the_format() {
    let ok = [
        ("application/x-ndjson", Format::NdJson),
        ("Application/JSON; charset=utf-8", Format::Json),
        ("text/csv;header=present", Format::Csv),
        ("application/vnd.apache.arrow.stream", Format::ArrowStream),
    ];
    for (value, format) in ok {
        assert_eq!(Format::from_content_type(value).unwrap(), format, "{value}");
    }
    let error = Format::from_content_type("text/html")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`text/html`") && error.contains("text/csv"),
        "{error}"
    );
}

#[test]
fn text_formats_agree_on_every_type() {
    let ndjson = concat!(
        "\n",
        r#"{"text":"a","at":1700000000123456789,"note":null,"price":61837.63,"int":-5,"uint":18446744073709551615,"float":1.5e3,"flag":true}"#,
        "\r\n \n",
        r#" {"float":2,"at":"2023-11-14T22:13:20.123456789Z","price":"0.000000001","text":"q\"\u00e9","int":"7","uint":"8"} "#,
    );
    let json = format!("[{}]", ndjson.trim().replace("}\r\n \n", "},\n"));
    let csv = "\u{feff}text,at,note,price,int,uint,float,flag\r\n\
               a,1700000000123456789,,61837.63,-5,18446744073709551615,1.5e3,TRUE\r\n\r\n\
               \"q\"\"é\",2023-11-14T22:13:20.123456789Z,,1e-9,7,8,2,";
    let a = [
        "a",
        "1700000000123456789",
        "∅",
        "61837630000000",
        "-5",
        "18446744073709551615",
        "1500",
        "true",
    ];
    let b = ["q\"é", "1700000000123456789", "∅", "1", "7", "8", "2", "∅"];
    for (format, body) in [
        (Format::NdJson, ndjson),
        (Format::Json, &json),
        (Format::Csv, csv),
    ] {
        let parsed = parse(format, body, OnError::Refuse).unwrap();
        assert_eq!(parsed.rows.schema(), *every_type().data());
        assert_eq!(cells(&parsed.rows), [a, b], "{format:?}");
    }
}

#[test]
fn empty_bodies_are_no_rows() {
    for (format, body) in [
        (Format::NdJson, ""),
        (Format::NdJson, "\n\n"),
        (Format::Json, " [ ] "),
    ] {
        assert_eq!(
            parse(format, body, OnError::Refuse)
                .unwrap()
                .rows
                .num_rows(),
            0
        );
    }
    assert_eq!(
        parse(Format::Csv, "at,text\n", OnError::Refuse)
            .unwrap()
            .rows
            .num_rows(),
        0
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_bad_value_is_named_by_row_and_column() {
    let cases = [
        (r#"{"text":"a"}"#, Some("at"), "is required"),
        (r#"{"text":null,"at":1}"#, Some("text"), "is required"),
        (
            r#"{"text":"a","at":1,"text":"b"}"#,
            Some("text"),
            "is given twice",
        ),
        (
            r#"{"text":"a","at":1,"int":null,"int":1}"#,
            Some("int"),
            "is given twice",
        ),
        (
            r#"{"text":"a","at":1,"other":1}"#,
            Some("other"),
            "is not a column",
        ),
        (
            r#"{"text":5,"at":1}"#,
            Some("text"),
            "is string, which `5` (a number) is not",
        ),
        (
            r#"{"text":"a","at":1.5}"#,
            Some("at"),
            "is timestamp, which `1.5`",
        ),
        (
            r#"{"text":"a","at":"yesterday"}"#,
            Some("at"),
            "is timestamp, which `yesterday`",
        ),
        (
            r#"{"text":"a","at":1,"price":"12x"}"#,
            Some("price"),
            "`12x` is not a decimal number",
        ),
        (
            r#"{"text":"a","at":1,"price":1e9}"#,
            Some("price"),
            "`1e9` is out of range",
        ),
        (
            r#"{"text":"a","at":1,"price":0.1234567891}"#,
            Some("price"),
            "more decimal places",
        ),
        (
            r#"{"text":"a","at":1,"int":1.0}"#,
            Some("int"),
            "is int64, which `1.0`",
        ),
        (
            r#"{"text":"a","at":1,"uint":-1}"#,
            Some("uint"),
            "is uint64, which `-1`",
        ),
        (
            r#"{"text":"a","at":1,"float":1e999}"#,
            Some("float"),
            "is float64, which `1e999`",
        ),
        (
            r#"{"text":"a","at":1,"flag":1}"#,
            Some("flag"),
            "is bool, which `1`",
        ),
        (
            r#"{"text":"a","at":1,"flag":{"x":[]}}"#,
            Some("flag"),
            "an object or array",
        ),
        ("[]", None, "is not an object"),
        ("5", None, "is not an object"),
    ];
    let good = r#"{"text":"a","at":1}"#;
    for (bad, column, reason) in cases {
        let body = format!("{good}\n{bad}\n{good}");
        let array = format!("[{good},{bad},{good}]");
        for (format, body) in [(Format::NdJson, body), (Format::Json, array)] {
            let reason = if column.is_none() && format == Format::NdJson {
                "not a JSON object"
            } else {
                reason
            };
            let errors = refused(parse(format, &body, OnError::Refuse));
            assert_eq!(errors.len(), 1, "{bad}");
            assert_eq!((errors[0].0, errors[0].1.as_deref()), (2, column), "{bad}");
            assert!(errors[0].2.contains(reason), "{bad}: {}", errors[0].2);
            let skipped = parse(format, &body, OnError::Skip).unwrap();
            assert_eq!(
                (skipped.rows.num_rows(), skipped.refused_count),
                (2, 1),
                "{bad}"
            );
            assert_eq!(skipped.refused[0].row, 2);
        }
    }
}

#[test]
fn text_that_is_not_json_is_refused_by_line_or_offset() {
    let bad = [
        r#"{"text":"a","at":1"#,
        r#"{"text":"a","at":1}}"#,
        r#"{"text":"a" "at":1}"#,
        r#"{"text":"a","at":01}"#,
        r#"{"text":"a","at":+1}"#,
        r#"{"text":"a","at":1.}"#,
        r#"{"text":"a","at":.5}"#,
        r#"{"text":"\x","at":1}"#,
        r#"{"text":"\ud800","at":1}"#,
        "{\"text\":\"a\tb\",\"at\":1}",
        r#"{"text":"a","at":1,}"#,
        r#"{"text":"a","at":tru}"#,
        r#"{text:"a","at":1}"#,
        r#"{"text":"a","at":1,"note":{"x":}}"#,
    ];
    for line in bad {
        assert!(
            serde_json::from_str::<serde_json::Value>(line).is_err(),
            "{line}"
        );
        let errors = refused(parse(
            Format::NdJson,
            &format!("\n{line}\n"),
            OnError::Refuse,
        ));
        assert_eq!((errors.len(), errors[0].0), (1, 1), "{line}");
        match parse(
            Format::Json,
            &format!(r#"[{{"text":"a","at":1}},{line}]"#),
            OnError::Skip,
        ) {
            Err(ParseError::Syntax { row: 2, .. }) => {}
            other => panic!("{line}: {other:?}"),
        }
    }
    for body in ["", "{}", "[", "[1", r#"[{"text":"a","at":1},]"#, "[]]"] {
        let outcome = parse(Format::Json, body, OnError::Skip);
        assert!(
            matches!(outcome, Err(ParseError::Syntax { .. })),
            "{body}: {outcome:?}"
        );
    }
}

#[test]
fn bytes_that_are_not_utf8_are_named_by_offset() {
    for format in [Format::NdJson, Format::Json, Format::Csv] {
        let body = Bytes::from_static(b"abc\xff");
        let outcome = parse_rows(format, &every_type(), &body, OnError::Skip);
        assert!(matches!(outcome, Err(ParseError::Utf8 { offset: 3 })));
    }
}

#[test]
fn a_csv_header_must_fit_the_stream() {
    let cases = [
        ("", "text", "required"),
        ("text\n", "at", "required"),
        ("text,at,other\n", "other", "not a column"),
        ("text,at,text\n", "text", "twice"),
    ];
    for (body, name, why) in cases {
        match parse(Format::Csv, body, OnError::Skip) {
            Err(ParseError::Column { column, reason }) => {
                assert_eq!(column, name);
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn bad_csv_rows_are_counted_without_the_header() {
    let body = "text,at,int\na,1,2\na,1\na,1,2,3\na,x,1\n,1,\n\"\",1,\na,,1\n";
    let errors = refused(parse(Format::Csv, body, OnError::Refuse));
    let places: Vec<_> = errors.iter().map(|e| (e.0, e.1.as_deref())).collect();
    assert_eq!(
        places,
        [(2, None), (3, None), (4, Some("at")), (7, Some("at"))]
    );
    let kept = parse(Format::Csv, body, OnError::Skip).unwrap();
    assert_eq!(kept.rows.num_rows(), 3);
    for (body, row) in [("text,at\n\"a\"b,1\n", 1), ("text,at\na,1\n\"a,1\n", 2)] {
        match parse(Format::Csv, body, OnError::Skip) {
            Err(ParseError::Syntax { row: found, .. }) => assert_eq!(found, row),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_quoted_empty_field_is_text_and_a_bare_one_is_null() {
    let parsed = parse(
        Format::Csv,
        "text,at,note\na,1,\"\"\na,1,\n",
        OnError::Refuse,
    )
    .unwrap();
    let notes: Vec<_> = cells(&parsed.rows)
        .into_iter()
        .map(|row| row[2].clone())
        .collect();
    assert_eq!(notes, ["", "∅"]);
}

#[test]
fn rows_and_listed_errors_are_bounded() {
    let errors = refused(parse(Format::NdJson, &"{}\n".repeat(150), OnError::Refuse));
    assert_eq!(errors.len(), MAX_ROW_ERRORS);
    let wide = (0..1024)
        .map(|i| Column::optional(&format!("c{i}"), ColumnType::Int64))
        .collect();
    let none: [&str; 0] = [];
    let wide = StreamSchema::new(wide, &none, None).unwrap();
    let body = Bytes::from("{}\n".repeat(MAX_CELLS / 1024 + 1));
    let outcome = parse_rows(Format::NdJson, &wide, &body, OnError::Skip);
    assert!(matches!(
        outcome,
        Err(ParseError::TooManyRows { limit: 32_768 })
    ));
}

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

fn stream(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), batches[0].schema_ref()).unwrap();
    batches
        .iter()
        .for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

fn arrow(columns: Vec<(&str, ArrayRef)>, on_error: OnError) -> Result<Parsed, ParseError> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(n, c)| Field::new(*n, c.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|c| c.1).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    parse_rows(
        Format::ArrowStream,
        &every_type(),
        &Bytes::from(stream(&[batch])),
        on_error,
    )
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// `column` beside the two required ones; the cells of that column, and the rows refused.
fn one(name: &str, column: ArrayRef) -> (Vec<String>, Vec<u64>) {
    let text = strings(&vec![Some("a"); column.len()]);
    let at = Arc::new(Int64Array::from(vec![1; column.len()]));
    let mut columns: Vec<(&str, ArrayRef)> = vec![("text", text), ("at", at)];
    columns.retain(|c| c.0 != name);
    columns.push((name, column));
    let parsed = arrow(columns, OnError::Skip).unwrap();
    let index = every_type().index_of(name).unwrap();
    let found = cells(&parsed.rows)
        .into_iter()
        .map(|row| row[index].clone())
        .collect();
    (found, parsed.refused.iter().map(|e| e.row).collect())
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn arrow_columns_convert_without_loss_or_name_the_row() {
    let decimals = |values: Vec<i128>, precision, scale| {
        let array = Decimal128Array::from(values);
        Arc::new(array.with_precision_and_scale(precision, scale).unwrap()) as ArrayRef
    };
    let dictionary: DictionaryArray<Int32Type> =
        vec![Some("x"), None, Some("x")].into_iter().collect();
    let holes = DictionaryArray::new(Int32Array::from(vec![0, 1, 0]), strings(&[Some("x"), None]));
    let prices = DictionaryArray::new(
        Int32Array::from(vec![1, 0]),
        strings(&[Some("1.5"), Some("?")]),
    );
    let cases: Vec<(&str, ArrayRef, Vec<&str>, Vec<u64>)> = vec![
        ("note", strings(&[Some("x"), None]), vec!["x", "∅"], vec![]),
        (
            "note",
            Arc::new(LargeStringArray::from(vec!["x", "y"])),
            vec!["x", "y"],
            vec![],
        ),
        (
            "note",
            Arc::new(StringViewArray::from(vec![
                "x",
                "a string too long to inline",
            ])),
            vec!["x", "a string too long to inline"],
            vec![],
        ),
        ("note", Arc::new(dictionary), vec!["x", "∅", "x"], vec![]),
        ("note", Arc::new(holes.clone()), vec!["x", "∅", "x"], vec![]),
        ("text", Arc::new(holes), vec!["x", "x"], vec![2]),
        ("note", Arc::new(NullArray::new(2)), vec!["∅", "∅"], vec![]),
        ("text", strings(&[None, Some("x")]), vec!["x"], vec![1]),
        (
            "at",
            Arc::new(TimestampSecondArray::from(vec![1, i64::MAX])),
            vec!["1000000000"],
            vec![2],
        ),
        (
            "at",
            Arc::new(TimestampMillisecondArray::from(vec![5]).with_timezone("America/New_York")),
            vec!["5000000"],
            vec![],
        ),
        (
            "at",
            strings(&[Some("1970-01-01T00:00:01Z"), Some("x")]),
            vec!["1000000000"],
            vec![2],
        ),
        (
            "price",
            decimals(vec![15, -15], 4, 1),
            vec!["1500000000", "-1500000000"],
            vec![],
        ),
        (
            "price",
            decimals(vec![15_000, 15_001], 38, 12),
            vec!["15"],
            vec![2],
        ),
        (
            "price",
            decimals(vec![10_i128.pow(18), 7], 38, 9),
            vec!["7"],
            vec![1],
        ),
        (
            "price",
            decimals(vec![10_i128.pow(20), 7], 18, 9),
            vec!["7"],
            vec![1],
        ),
        ("price", decimals(vec![5, 0], 38, -9), vec!["0"], vec![1]),
        (
            "price",
            strings(&[Some("61837.63"), Some("0.0000000001"), None]),
            vec!["61837630000000", "∅"],
            vec![2],
        ),
        ("price", Arc::new(prices), vec!["1500000000"], vec![1]),
        (
            "price",
            Arc::new(Int32Array::from(vec![2])),
            vec!["2000000000"],
            vec![],
        ),
        (
            "price",
            Arc::new(UInt64Array::from(vec![u64::MAX, 1])),
            vec!["1000000000"],
            vec![1],
        ),
        (
            "int",
            Arc::new(Int32Array::from(vec![Some(-3), None])),
            vec!["-3", "∅"],
            vec![],
        ),
        (
            "int",
            Arc::new(UInt64Array::from(vec![u64::MAX, 3])),
            vec!["3"],
            vec![1],
        ),
        (
            "uint",
            Arc::new(Int64Array::from(vec![-1, 3])),
            vec!["3"],
            vec![1],
        ),
        (
            "float",
            Arc::new(Int64Array::from(vec![1 << 53, (1 << 53) + 1, i64::MAX])),
            vec!["9007199254740992"],
            vec![2, 3],
        ),
    ];
    for (name, column, found, bad) in cases {
        let about = format!("{name} from {}", column.data_type());
        let (cells, rows) = one(name, column);
        assert_eq!(
            (cells, rows),
            (found.iter().map(ToString::to_string).collect(), bad),
            "{about}"
        );
    }
}

#[test]
fn arrow_columns_of_unfit_type_or_name_are_refused() {
    let text = || ("text", strings(&[Some("a")]));
    let at = || ("at", Arc::new(Int64Array::from(vec![1])) as ArrayRef);
    let float = || Arc::new(Float64Array::from(vec![1.5])) as ArrayRef;
    let error = arrow(vec![text(), at(), ("price", float())], OnError::Skip).unwrap_err();
    assert!(error.to_string().contains("send text"), "{error}");
    for bad in [
        vec![text(), at(), ("int", float())],
        vec![text(), at(), ("flag", float())],
        vec![("text", float()), at()],
    ] {
        assert!(matches!(
            arrow(bad, OnError::Skip),
            Err(ParseError::Convert { .. })
        ));
    }
    for bad in [
        vec![text()],
        vec![text(), at(), ("other", float())],
        vec![text(), at(), text()],
    ] {
        assert!(matches!(
            arrow(bad, OnError::Skip),
            Err(ParseError::Column { .. })
        ));
    }
    let error = refused(arrow(
        vec![("text", strings(&[None])), at()],
        OnError::Refuse,
    ));
    assert_eq!(
        error[0],
        (1, Some("text".to_owned()), "is required".to_owned())
    );
}

fn sample() -> RecordBatch {
    let body = r#"{"text":"a","at":1,"note":"x","price":1.5,"int":1,"uint":2,"float":1.5,"flag":true}
{"text":"b","at":2}
{"text":"a","at":3,"flag":false}"#;
    parse(Format::NdJson, body, OnError::Refuse).unwrap().rows
}

#[test]
fn arrow_batches_join_in_order() {
    let sample = sample();
    let parse = |batches: &[RecordBatch]| {
        parse_rows(
            Format::ArrowStream,
            &every_type(),
            &Bytes::from(stream(batches)),
            OnError::Refuse,
        )
        .unwrap()
        .rows
    };
    assert_eq!(parse(std::slice::from_ref(&sample)), sample);
    let two = [sample.slice(0, 1), sample.slice(1, 2)];
    assert_eq!(cells(&parse(&two)), cells(&sample));
    assert_eq!(parse(&[sample.slice(0, 0)]).num_rows(), 0);
}

#[test]
fn damaged_arrow_streams_are_answered() {
    let mut batches = vec![sample(), sample()];
    let view: ArrayRef = Arc::new(StringViewArray::from(vec![
        "a string too long to inline";
        3
    ]));
    let fields = vec![
        Field::new("text", view.data_type().clone(), true),
        Field::new("at", arrow::datatypes::DataType::Int64, true),
    ];
    let at: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let views = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![view, at]).unwrap();
    let bodies = [
        stream(&batches),
        stream(&[batches.remove(0)]),
        stream(&[views]),
    ];
    let parse = |body: Vec<u8>| {
        parse_rows(
            Format::ArrowStream,
            &every_type(),
            &Bytes::from(body),
            OnError::Skip,
        )
    };
    let mut rng = StdRng::seed_from_u64(7);
    for body in bodies {
        assert!(parse(body.clone()).is_ok());
        for end in 0..body.len() - 8 {
            drop(parse(body[..end].to_vec()));
        }
        for _ in 0..2000 {
            let mut body = body.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..body.len());
                body[at] = rng.random();
            }
            drop(parse(body));
        }
    }
}

#[test]
fn the_built_in_trades_take_a_real_row() {
    let body = Bytes::from_static(br#"{"venue":"BINANCE_SPOT","symbol":"BTCUSDT","ts_event":1700000000123456789,"price":"61837.63","size":"0.00123","side":"buy","seq":123456}"#);
    let parsed = parse_rows(Format::NdJson, &trades(), &body, OnError::Refuse).unwrap();
    let row = [
        "BINANCE_SPOT",
        "BTCUSDT",
        "1700000000123456789",
        "61837630000000",
        "1230000",
        "buy",
        "123456",
        "∅",
    ];
    assert_eq!(cells(&parsed.rows), [row]);
}
