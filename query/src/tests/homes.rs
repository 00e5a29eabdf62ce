//! Windows of whole keys, which are read from the partitions that can hold them and no others.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tourbillon_core::filter::{KeyFilter, KeyPredicate};
use tourbillon_core::hlc::Hlc;
use tourbillon_log::control::StreamRequest;

use super::oracle::{Case, World};
use super::*;
use crate::params::WindowParams;
use crate::rig::feed::SYMBOLS;
use crate::window::Span;

/// Partition counts that the stream has, one after the other.
const COUNTS: [u32; 3] = [2, 3, 7];

/// A stream that has grown twice. What came before the last growth is sealed.
async fn grown(seed: u64) -> (Feed, Bench) {
    let mut rig = Rig::new(memory(), COUNTS[0]).await;
    let mut feed = Feed::new(&rig, seed, 2).await;
    feed.run(80, 2_000_000).await;
    for count in &COUNTS[1..] {
        feed.close().await;
        seal(&rig).await;
        let request = StreamRequest {
            name: "ticks".into(),
            partitions: Some(*count),
            ..StreamRequest::default()
        };
        rig.def = rig.control.ensure_stream(&request).await.unwrap();
        feed.rig = rig.clone();
        feed.pass(1_000_000_000);
        feed.open().await;
        feed.open().await;
        feed.run(80, 2_000_000).await;
        feed.pass(1_000_000_000);
        feed.beat().await;
    }
    (feed, Bench::on(&rig).await)
}

#[tokio::test(start_paused = true)]
async fn windows_of_a_stream_that_grew_are_what_sorting_and_filtering_gives() {
    for seed in 0..3 {
        let (feed, bench) = grown(seed).await;
        let (_, sealed, tail) = bench.service.totals(&bench.rig.def).unwrap();
        assert!(sealed > 500 && tail > 500, "{sealed} {tail}");
        let world = World {
            rows: &feed.rows,
            complete: Some(bench.service.complete_through(&bench.rig.def).unwrap()),
            token: None,
            has_note: false,
        };
        let mut rng = SmallRng::seed_from_u64(seed);
        for format in 0..150 {
            let case = Case::random(&mut rng, &world);
            case.check(&bench, format, &format!("grown, seed {seed}"))
                .await;
        }
        bench.service.shutdown().await;
    }
}

/// How many partitions a window over everything is read from.
fn read_from(bench: &Bench, filters: Vec<KeyFilter>) -> Vec<u32> {
    let schema = bench.rig.def.schema();
    let keys = KeyPredicate::new(schema, &filters).unwrap();
    let mut params = WindowParams::everything(schema);
    params.keys = filters;
    let span = Span {
        hlc: Hlc::MIN..Hlc(i64::MAX),
        complete: Hlc(i64::MAX),
    };
    let look = bench
        .service
        .look(&bench.rig.def, &params, &keys, &span)
        .unwrap();
    assert_eq!(look.token.offsets.len(), COUNTS[2] as usize);
    assert_eq!(look.snapshot.len(), COUNTS[2] as usize);
    look.views.iter().map(|view| view.number.0).collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_read_where_it_was_ever_cut_to() {
    let (feed, bench) = grown(9).await;
    let (mut moved, mut read) = (0, 0);
    for symbol in SYMBOLS {
        for lot in -1..2 {
            let filter = |column: &str, value: String| KeyFilter {
                column: column.into(),
                values: vec![value],
            };
            let symbols = filter("symbol", symbol.into());
            let partitions = read_from(
                &bench,
                vec![filter("lot", lot.to_string()), symbols.clone()],
            );
            let own = feed.rows.iter();
            let own = own.filter(|row| (row.symbol, row.lot) == (symbol, lot));
            let lain: std::collections::BTreeSet<u32> = own.map(|row| row.partition).collect();
            assert!(
                lain.iter().all(|partition| partitions.contains(partition)),
                "{symbol} {lot}: {lain:?} {partitions:?}"
            );
            assert!(partitions.len() <= COUNTS.len());
            moved += usize::from(lain.len() > 1);
            read += partitions.len();
            assert_eq!(read_from(&bench, vec![symbols]).len(), 7, "an open key");
        }
    }
    assert!(moved > 3, "{moved} keys have moved");
    assert!(read < 12 * 3, "{read} partitions for 12 keys");
}
