use bytes::Bytes;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;
use tourbillon_core::schema::builtin_streams;
use tourbillon_ingest::parse::ilp;
use tourbillon_ingest::parse::*;
fn main() {
    let n = 500_000usize;
    let [(_, s), _] = builtin_streams();
    let (mut nd, mut csv, mut lp) = (
        String::new(),
        String::from("venue,symbol,ts_event,price,size,side,seq\n"),
        String::new(),
    );
    let syms = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"];
    for i in 0..n {
        let sy = syms[(i * 7) % 4];
        let ts = 1700000000123456789u64 + i as u64;
        let p = i % 100;
        writeln!(nd, r#"{{"venue":"BINANCE_SPOT","symbol":"{sy}","ts_event":{ts},"price":"61837.{p:02}","size":"0.001{p:02}","side":"buy","seq":{i}}}"#).unwrap();
        writeln!(
            csv,
            "BINANCE_SPOT,{sy},{ts},61837.{p:02},0.001{p:02},buy,{i}"
        )
        .unwrap();
        writeln!(lp, "trades,venue=BINANCE_SPOT,symbol={sy} price=61837.{p:02},size=0.001{p:02},side=\"buy\",seq={i}i {ts}").unwrap();
    }
    let json = format!("[{}]", nd.trim_end().replace('\n', ","));
    let nd = Bytes::from(nd);
    let csv = Bytes::from(csv);
    let json = Bytes::from(json);
    let rows = parse_rows(Format::NdJson, &s, &nd, OnError::Refuse)
        .unwrap()
        .rows;
    let arrow = |b: &arrow::array::RecordBatch| {
        let mut w = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), b.schema_ref()).unwrap();
        w.write(b).unwrap();
        Bytes::from(w.into_inner().unwrap())
    };
    let same = arrow(&rows);
    let utf8 = {
        use arrow::compute::cast;
        use arrow::datatypes::DataType as D;
        let mut f = vec![];
        let mut c = vec![];
        for (i, fl) in rows.schema().fields().iter().enumerate() {
            let t = match fl.data_type() {
                D::Dictionary(..) | D::Decimal128(..) => D::Utf8,
                o => o.clone(),
            };
            c.push(cast(rows.column(i), &t).unwrap());
            f.push(arrow::datatypes::Field::new(fl.name(), t, true));
        }
        arrow(
            &arrow::array::RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(f)), c)
                .unwrap(),
        )
    };
    for round in 0..3 {
        let _ = round;
        for (name, f, b) in [
            ("ndjson", Format::NdJson, &nd),
            ("json", Format::Json, &json),
            ("csv", Format::Csv, &csv),
            ("arrow same", Format::ArrowStream, &same),
            ("arrow utf8", Format::ArrowStream, &utf8),
        ] {
            let t = Instant::now();
            let r = parse_rows(f, &s, b, OnError::Refuse).unwrap();
            let e = t.elapsed().as_secs_f64();
            assert_eq!(r.rows.num_rows(), n);
            println!(
                "{name}: {:.2} M rows/s, {:.0} MB/s",
                n as f64 / e / 1e6,
                b.len() as f64 / e / 1e6
            );
        }
        let sc = Arc::new(s.clone());
        let t = Instant::now();
        let r = ilp::parse_lines(
            lp.as_bytes(),
            ilp::Precision::Ns,
            0,
            &|_| Some(Arc::clone(&sc)),
            OnError::Refuse,
        )
        .unwrap();
        let e = t.elapsed().as_secs_f64();
        let ilp::Outcome::Rows(r) = r else { panic!() };
        assert_eq!(r.streams[0].1.num_rows(), n);
        println!(
            "ilp: {:.2} M rows/s, {:.0} MB/s",
            n as f64 / e / 1e6,
            lp.len() as f64 / e / 1e6
        );
        let t = Instant::now();
        let k = influxdb_line_protocol::parse_lines(&lp)
            .filter(|l| l.is_ok())
            .count();
        println!(
            "(crate alone, lines only: {:.2} M lines/s, {k})",
            n as f64 / t.elapsed().as_secs_f64() / 1e6
        );
    }
}
