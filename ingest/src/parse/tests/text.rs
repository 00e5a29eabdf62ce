//! Text formats: what is taken, and how what is not is named.

use super::*;

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
