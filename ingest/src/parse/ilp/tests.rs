use influxdb_line_protocol::{FieldValue, parse_lines as crate_lines};
use proptest::prelude::*;
use tourbillon_core::schema::{Column, ColumnType, builtin_streams};

use super::lex::Value;
use super::*;
use crate::parse::tests::cells;

fn builtin(name: &str) -> Option<Arc<StreamSchema>> {
    let mut streams = builtin_streams().into_iter();
    streams.find(|s| s.0 == name).map(|s| Arc::new(s.1))
}

fn parse(body: &str, on_error: OnError) -> Result<Outcome, ParseError> {
    parse_lines(body.as_bytes(), Precision::Ns, 99, &builtin, on_error)
}

fn rows(body: &str, on_error: OnError) -> LineProtocol {
    match parse(body, on_error) {
        Ok(Outcome::Rows(rows)) => rows,
        other => panic!("no rows: {other:?}"),
    }
}

#[test]
fn lines_fill_the_built_in_streams_exactly() {
    let body = "# comment with \"quote\n\n\
        trades,venue=X,symbol=Y price=1.5,size=2i 1700000000123456789\r\n\
        \tquotes,symbol=Y,venue=X bid=0.1,ask=\"0.3\",seq=7i\n\
        trades,symbol=Z\\ 1,venue=X size=1,price=61837.63,side=\"b\\\"uy\nx\",ts_recv=5t -5 \n";
    let parsed = rows(body, OnError::Refuse);
    let names: Vec<_> = parsed.streams.iter().map(|s| s.0.as_str()).collect();
    assert_eq!(names, ["trades", "quotes"]);
    let trades = [
        [
            "X",
            "Y",
            "1700000000123456789",
            "1500000000",
            "2000000000",
            "∅",
            "∅",
            "∅",
        ],
        [
            "X",
            "Z 1",
            "-5",
            "61837630000000",
            "1000000000",
            "b\"uy\nx",
            "∅",
            "5000",
        ],
    ];
    assert_eq!(cells(&parsed.streams[0].1), trades);
    let quote = ["X", "Y", "99", "100000000", "∅", "300000000", "∅", "7", "∅"];
    assert_eq!(cells(&parsed.streams[1].1), [quote]);
}

#[test]
fn a_field_that_names_the_event_time_wins_over_the_timestamp() {
    let parsed = rows(
        "trades,venue=X,symbol=Y price=1,size=1,ts_event=7i 8",
        OnError::Refuse,
    );
    assert_eq!(cells(&parsed.streams[0].1)[0][2], "7");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn bad_lines_are_named_by_number_and_column() {
    let cases = [
        ("trades", None, "has no fields"),
        ("trades,venue=X", None, "has no fields"),
        (",venue=X price=1", None, "measurement is missing"),
        ("trades,venue price=1", None, "tag `venue` has no value"),
        ("trades,venue= price=1", None, "value of a tag is missing"),
        ("trades,venue=X\\\\ price=1", None, "ends in a backslash"),
        ("trades price", None, "field `price` has no value"),
        ("trades price=", Some("price"), "is ``"),
        ("trades price=1.5x", Some("price"), "is `1.5x`"),
        ("trades price=NaN", Some("price"), "is `NaN`"),
        ("trades price=1. 5", Some("price"), "is `1.`"),
        ("trades side=\"a", Some("side"), "does not end"),
        ("trades price=1 5 6", None, "ends in `6`"),
        ("trades price=1 12x", None, "`12x` is not a timestamp"),
        (
            "trades price=1 99999999999999999999",
            None,
            "not a timestamp in range",
        ),
        (
            "trades,venue=X,symbol=Y price=1",
            Some("size"),
            "is required",
        ),
        (
            "trades,venue=X,symbol=Y price=1,price=2,size=1",
            Some("price"),
            "is given twice",
        ),
        (
            "trades,venue=X,symbol=Y price=1,size=1,seq=1.0",
            Some("seq"),
            "(a float)",
        ),
        (
            "trades,venue=X,symbol=Y price=1,size=1,seq=9223372036854775808u",
            Some("seq"),
            "int64",
        ),
        (
            "trades,venue=X,symbol=Y price=1,size=0.0000000001",
            Some("size"),
            "decimal places",
        ),
        (
            "trades,venue=X,symbol=Y price=t,size=1",
            Some("price"),
            "decimal",
        ),
    ];
    let good = "trades,venue=X,symbol=Y price=1,size=1";
    for (bad, column, reason) in cases {
        let body = format!("#\n{good}\n\n{bad}");
        match parse(&body, OnError::Refuse) {
            Err(ParseError::Rows { errors, total: 1 }) => {
                assert_eq!(
                    (errors[0].row, errors[0].column.as_deref()),
                    (4, column),
                    "{bad}"
                );
                assert!(
                    errors[0].reason.contains(reason),
                    "{bad}: {}",
                    errors[0].reason
                );
            }
            other => panic!("{bad}: {other:?}"),
        }
        let skipped = rows(&body, OnError::Skip);
        assert_eq!(
            (skipped.streams[0].1.num_rows(), skipped.refused_count),
            (1, 1),
            "{bad}"
        );
    }
}

#[test]
fn line_numbers_count_breaks_inside_strings() {
    let body = "trades,venue=X,symbol=Y price=1,size=1,side=\"a\nb\"\ntrades x\n";
    match parse(body, OnError::Refuse) {
        Err(ParseError::Rows { errors, .. }) => assert_eq!(errors[0].row, 3),
        other => panic!("{other:?}"),
    }
}

fn needs(body: &str) -> Vec<Proposal> {
    match parse(body, OnError::Refuse) {
        Ok(Outcome::Needs(needs)) => needs,
        other => panic!("nothing needed: {other:?}"),
    }
}

#[test]
fn unknown_streams_and_columns_are_proposed() {
    let body = "cpu,host=a,zone=z load=0.5,n=1i,u=1u,up=t,note=\"x\",at=5t 1\n\
        trades,venue=X,symbol=Y price=1,size=1,fee=0.1,side=\"b\"\n\
        cpu,host=b,rack=r load=1i,new=2 2\n\
        quotes,venue=X,symbol=Y bid=1\n";
    let cpu = [
        ("host", ColumnType::String),
        ("zone", ColumnType::String),
        ("rack", ColumnType::String),
        (EVENT_TIME, ColumnType::Timestamp),
        ("load", ColumnType::Float64),
        ("n", ColumnType::Int64),
        ("u", ColumnType::UInt64),
        ("up", ColumnType::Bool),
        ("note", ColumnType::String),
        ("at", ColumnType::Timestamp),
        ("new", ColumnType::Float64),
    ];
    let needs = needs(body);
    assert_eq!(needs.len(), 2);
    let columns: Vec<_> = cpu
        .iter()
        .map(|(name, ty)| Column::optional(name, *ty))
        .collect();
    assert_eq!(needs[0].columns, columns);
    assert_eq!(
        (needs[0].new_stream, needs[0].event_time.as_deref()),
        (true, Some(EVENT_TIME))
    );
    assert_eq!(needs[0].key, ["host", "zone", "rack"]);
    assert_eq!(
        (needs[1].measurement.as_str(), needs[1].new_stream),
        ("trades", false)
    );
    assert_eq!(
        needs[1].columns,
        [Column::optional("fee", ColumnType::Float64)]
    );

    let schema = StreamSchema::new(columns, &needs[0].key, needs[0].event_time.as_deref()).unwrap();
    let trades = builtin("trades")
        .unwrap()
        .evolve(&needs[1].columns)
        .unwrap();
    let (cpu, trades) = (Arc::new(schema), Arc::new(trades));
    let schemas = |name: &str| match name {
        "cpu" => Some(Arc::clone(&cpu)),
        "trades" => Some(Arc::clone(&trades)),
        _ => builtin(name),
    };
    let again = parse_lines(
        body.as_bytes(),
        Precision::Ns,
        99,
        &schemas,
        OnError::Refuse,
    );
    let Ok(Outcome::Rows(rows)) = again else {
        panic!("{again:?}");
    };
    assert_eq!(
        rows.streams
            .iter()
            .map(|s| s.1.num_rows())
            .collect::<Vec<_>>(),
        [2, 1, 1]
    );
}

#[test]
fn refused_lines_propose_nothing() {
    assert!(matches!(
        parse("cpu load=1 x", OnError::Refuse),
        Err(ParseError::Rows { .. })
    ));
    assert!(matches!(
        parse("cpu load=1\ncpu load", OnError::Refuse),
        Err(ParseError::Rows { .. })
    ));
    assert_eq!(rows("cpu load=1 x", OnError::Skip).streams.len(), 0);
    assert!(matches!(
        parse("cpu a=1,a=2", OnError::Refuse),
        Err(ParseError::Rows { .. })
    ));
}

/// Lines as text, by our lexer.
fn ours(body: &str) -> Vec<Result<String, ()>> {
    let bytes = body.as_bytes();
    let (mut start, mut lines, mut entries) = (0, Vec::new(), Entries::new());
    while start < bytes.len() {
        let end = line_end(bytes, start);
        if end > start {
            let line = read_line(&bytes[start..end], &mut entries).ok();
            lines.push(line.and_then(|line| show(&line, &entries)).ok_or(()));
        }
        start = end + 1;
    }
    lines
}

/// A line with its numbers parsed, which the lexer leaves to the columns.
fn show(line: &Line<'_>, entries: &Entries<'_>) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut shown = Vec::new();
    for (key, value) in entries {
        let key = text(key);
        shown.push(match value {
            Value::Tag(v) => format!("{key}={:?}", text(v)),
            Value::String(v) => format!("{key}=S{:?}", text(v)),
            Value::Float(v) => format!("{key}=F{:?}", text(v).parse::<f64>().ok()?),
            Value::Integer(v) => format!("{key}=I{:?}", text(v).parse::<i64>().ok()?),
            Value::Unsigned(v) => format!("{key}=U{:?}", text(v).parse::<u64>().ok()?),
            Value::Bool(v) => format!("{key}=B{v:?}"),
            Value::Time(_) => return None,
        });
    }
    let time = match line.timestamp {
        Some(time) => Some(text(time).parse::<i64>().ok()?),
        None => None,
    };
    Some(format!("{} {shown:?} {time:?}", text(&line.measurement)))
}

/// Lines as text, by the crate.
fn theirs(body: &str) -> Vec<Result<String, ()>> {
    crate_lines(body)
        .map(|line| {
            line.map_err(|_| ()).map(|line| {
                let tags = line.series.tag_set.unwrap_or_default();
                let mut shown: Vec<_> = tags
                    .iter()
                    .map(|(k, v)| format!("{k}={:?}", v.as_str()))
                    .collect();
                shown.extend(line.field_set.iter().map(|(k, v)| match v {
                    FieldValue::String(t) => format!("{k}=S{:?}", t.as_str()),
                    FieldValue::F64(v) => format!("{k}=F{v:?}"),
                    FieldValue::I64(v) => format!("{k}=I{v:?}"),
                    FieldValue::U64(v) => format!("{k}=U{v:?}"),
                    FieldValue::Boolean(v) => format!("{k}=B{v:?}"),
                }));
                format!("{} {shown:?} {:?}", line.series.measurement, line.timestamp)
            })
        })
        .collect()
}

fn line() -> impl Strategy<Value = String> {
    let name = || "([a-cé]|\\\\[,= \\\\x]){0,3}[a-c]";
    let value = prop_oneof![
        "-?[0-9]{1,5}([.][0-9]{1,4})?([eE][+-]?[0-9])?",
        "-?[0-9]{1,18}i",
        "[0-9]{1,18}u",
        "(t|T|true|True|TRUE|f|F|false|False|FALSE)",
        "\"([a-c,= \né]|\\\\\"|\\\\\\\\|\\\\x){0,5}\"",
    ];
    let tags = proptest::collection::vec((name(), name()), 0..3);
    let fields = proptest::collection::vec((name(), value), 1..4);
    (name(), tags, fields, "( -?[0-9]{1,18}( )?)?").prop_map(|(m, tags, fields, time)| {
        let tags: String = tags.iter().map(|(k, v)| format!(",{k}={v}")).collect();
        let fields: Vec<_> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("{m}{tags} {}{time}", fields.join(","))
    })
}

proptest! {
    #[test]
    fn well_formed_lines_read_like_those_of_the_crate(lines in proptest::collection::vec(line(), 1..5)) {
        let body = lines.join("\n");
        let theirs = theirs(&body);
        prop_assert!(theirs.iter().all(Result::is_ok), "{body}");
        prop_assert_eq!(ours(&body), theirs);
    }

    #[test]
    fn what_is_accepted_of_a_mangled_line_reads_like_the_crate(
        line in line(), at in any::<prop::sample::Index>(), with in "[a,= \"\\\\.ei0-]{0,2}",
    ) {
        let mut chars: Vec<char> = line.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..=at, with.chars());
        let body: String = chars.into_iter().collect();
        let whole = |lines: &[Result<String, ()>]| lines.iter().all(Result::is_ok);
        let ours = ours(body.trim_start().trim_end_matches(' '));
        if whole(&ours) {
            prop_assert_eq!(ours, theirs(body.trim_start().trim_end_matches(' ')));
        }
    }

    #[test]
    fn any_text_is_answered(body in "[a-c,= \"\\\\\n\r#0-9itn.-]{0,60}") {
        drop(parse(&body, OnError::Skip));
    }
}

#[test]
fn every_prefix_of_a_body_is_answered() {
    let body =
        "# c\ntrades,venue=X\\ y,symbol=Y price=1.5,size=2i,side=\"a\\\"\nb\" 17\r\nnew,a=b c=t\n";
    for end in 0..=body.len() {
        for on_error in [OnError::Skip, OnError::Refuse] {
            drop(parse(&body[..end], on_error));
        }
    }
}
