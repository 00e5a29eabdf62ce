//! Arrow streams.

use super::*;

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
