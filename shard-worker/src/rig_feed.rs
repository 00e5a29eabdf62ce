//! Writers that put hand-made frames into the log of a [`Rig`]. What must have been accepted of it
//! is remembered row by row.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int64Array,
    RecordBatch, TimestampNanosecondArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Int32Type;
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tourbillon_core::filter::{KeyFilter, KeyPredicate};
use tourbillon_core::frame::{FrameHeader, FrameKind, SourcePart};
use tourbillon_core::hlc::Hlc;
use tourbillon_core::ids::WriterId;
use tourbillon_core::partitioner::homes;

use super::{EPOCH, Rig};

/// Values of key column `symbol`.
pub(crate) const SYMBOLS: [&str; 4] = ["BTCUSDT", "ETHUSDT", "X\"Y", "Ü"];

/// Values of column `ratio`.
const RATIOS: [f64; 7] = [
    0.0,
    -1.0,
    1.0 / 3.0,
    6.02e23,
    -2.5e-7,
    f64::NAN,
    f64::NEG_INFINITY,
];

/// A row that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) hlc: i64,
    pub(crate) writer: u32,
    pub(crate) offset: u64,
    pub(crate) partition: u32,
    pub(crate) symbol: &'static str,
    pub(crate) lot: i64,
    pub(crate) ts: Option<i64>,
    pub(crate) price: Option<i128>,
    pub(crate) big: Option<u64>,
    pub(crate) ratio: Option<f64>,
    pub(crate) side: Option<&'static str>,
    pub(crate) up: Option<bool>,
    pub(crate) n: i64,
    pub(crate) note: Option<&'static str>,
}

/// One writer: its id, its last stamp and its next frame number by partition.
struct Pen {
    id: u32,
    last: i64,
    pseq: Vec<u64>,
}

/// Writers at work, from a seed.
pub(crate) struct Feed {
    pub(crate) rig: Rig,
    /// Rows that were accepted, in the order of the log.
    pub(crate) rows: Vec<Row>,
    rng: SmallRng,
    pens: Vec<Pen>,
    now: i64,
    next_id: u32,
    next_n: i64,
    /// The partition count by which the writers cut; 0 if they do not say.
    pub(crate) cut: u32,
    /// How long before their stamps events happened, at most, ns.
    pub(crate) late: i64,
    /// Event times are multiples of this, ns.
    pub(crate) coarse: i64,
    /// The keys of each partition, by a partition count.
    keys: Vec<Vec<(&'static str, i64)>>,
    /// Requests of the client `feed`: partition and number of rows by sequence.
    sent: Vec<(u32, usize)>,
}

impl Feed {
    /// From now on the keys of the first partition go to the last, and the reverse.
    pub(crate) fn misplace(&mut self) {
        self.keys.reverse();
    }

    /// `writers` writers that have opened every partition.
    pub(crate) async fn new(rig: &Rig, seed: u64, writers: u32) -> Self {
        let mut feed = Self {
            rig: rig.clone(),
            rows: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
            pens: Vec::new(),
            now: EPOCH,
            next_id: 1,
            next_n: 0,
            cut: 0,
            late: 1_000_000,
            coarse: 1,
            keys: Vec::new(),
            sent: Vec::new(),
        };
        for _ in 0..writers {
            feed.open().await;
        }
        feed
    }

    fn partitions(&self) -> u32 {
        self.rig.def.partitions
    }

    /// A new writer opens every partition.
    pub(crate) async fn open(&mut self) {
        let top = self.pens.iter().map(|pen| pen.last).max().unwrap_or(0);
        self.now = self.now.max(top + 1);
        let pseq = vec![0; self.partitions() as usize];
        self.pens.push(Pen {
            id: self.next_id,
            last: self.now,
            pseq,
        });
        self.next_id += 1;
        let pen = self.pens.len() - 1;
        self.everywhere(pen, FrameKind::Open).await;
    }

    /// A writer sends a frame without rows to every partition.
    async fn everywhere(&mut self, pen: usize, kind: FrameKind) {
        for partition in 0..self.partitions() {
            let now = self.now;
            let writer = &mut self.pens[pen];
            writer.last = now.max(writer.last + 1);
            let pseq = &mut writer.pseq[partition as usize];
            let header = FrameHeader::bare(kind, WriterId(writer.id), *pseq, Hlc(writer.last));
            let header = header.cut_by(self.cut);
            *pseq += 1;
            self.rig
                .append(partition, header.encode(b"").unwrap())
                .await;
        }
    }

    /// Every writer says that time has passed.
    pub(crate) async fn beat(&mut self) {
        for pen in 0..self.pens.len() {
            self.everywhere(pen, FrameKind::Beat).await;
        }
    }

    /// One writer says that time has passed.
    pub(crate) async fn beat_of(&mut self, pen: usize) {
        self.everywhere(pen, FrameKind::Beat).await;
    }

    /// Every writer closes every partition.
    pub(crate) async fn close(&mut self) {
        while !self.pens.is_empty() {
            self.everywhere(0, FrameKind::Close).await;
            self.pens.remove(0);
        }
    }

    /// Lets `ns` pass.
    pub(crate) fn pass(&mut self, ns: i64) {
        self.now += ns;
    }

    /// `steps` random things happen, `ns` apart on average.
    pub(crate) async fn run(&mut self, steps: usize, ns: i64) {
        for _ in 0..steps {
            // a coarse clock, so that different writers use equal stamps
            self.now += self.rng.random_range(0..3) * ns;
            let pen = self.rng.random_range(0..self.pens.len());
            let partition = self.rng.random_range(0..self.partitions());
            match self.rng.random_range(0..100) {
                0..60 => {
                    let rows = self.rng.random_range(1..40);
                    self.data(pen, partition, rows, None).await;
                }
                60..66 => {
                    let rows = self.rng.random_range(1..9);
                    self.sent.push((partition, rows));
                    let sequence = self.sent.len();
                    self.data(pen, partition, rows, Some(sequence)).await;
                }
                66..70 => self.repeat(pen).await,
                70..72 => drop(
                    self.rig
                        .append(partition, Bytes::from_static(b"no frame"))
                        .await,
                ),
                72..74 => self.stray(pen, partition).await,
                74..76 if self.pens.len() > 1 => {
                    self.everywhere(pen, FrameKind::Close).await;
                    self.pens.remove(pen);
                }
                76..78 if self.pens.len() < 5 => self.open().await,
                _ => self.everywhere(pen, FrameKind::Beat).await,
            }
        }
    }

    /// A request is sent again: none of its rows counts.
    async fn repeat(&mut self, pen: usize) {
        let Some(sequence) = self.sent.len().checked_sub(self.rng.random_range(0..5)) else {
            return;
        };
        if sequence > 0 {
            let (partition, rows) = self.sent[sequence - 1];
            let known = self.rows.len();
            self.data(pen, partition, rows, Some(sequence)).await;
            self.rows.truncate(known);
        }
    }

    /// A frame whose number is ahead of its turn: it is refused.
    async fn stray(&mut self, pen: usize, partition: u32) {
        let pen = &self.pens[pen];
        let pseq = pen.pseq[partition as usize] + 5;
        let header = FrameHeader::bare(FrameKind::Beat, WriterId(pen.id), pseq, Hlc(pen.last + 9));
        self.rig
            .append(partition, header.encode(b"").unwrap())
            .await;
    }

    /// `count` rows of a writer in one frame.
    pub(crate) async fn data(
        &mut self,
        pen: usize,
        partition: u32,
        count: usize,
        sequence: Option<usize>,
    ) {
        let first = self.now.max(self.pens[pen].last + 1);
        let (writer, pseq) = (self.pens[pen].id, self.pens[pen].pseq[partition as usize]);
        let contiguous = self.rng.random_bool(0.5);
        let mut hlc = first;
        let mut rows: Vec<Row> = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(self.row(hlc, writer, partition));
            hlc += if contiguous {
                1
            } else {
                self.rng.random_range(1..2000)
            };
        }
        let mut header = FrameHeader::bare(FrameKind::Data, WriterId(writer), pseq, Hlc(first));
        header.hlc_last = Hlc(rows[count - 1].hlc);
        header.rows = u32::try_from(count).unwrap();
        header.schema_version = self.rig.def.version();
        header.contiguous = contiguous;
        header.sources.extend(sequence.map(|sequence| SourcePart {
            source: "feed".into(),
            sequence: sequence as u64,
            part: 0,
            last: true,
            rows: header.rows,
        }));
        let deltas = rows
            .iter()
            .map(|row| u32::try_from(row.hlc - first).unwrap());
        let deltas = (!contiguous).then(|| UInt32Array::from_iter_values(deltas));
        let body = self
            .rig
            .def
            .newest()
            .encode(&self.batch(&rows), deltas)
            .unwrap();
        let offset = self
            .rig
            .append(partition, header.encode(&body).unwrap())
            .await;
        rows.iter_mut().for_each(|row| row.offset = offset.0);
        self.pens[pen].last = header.hlc_last.0;
        self.pens[pen].pseq[partition as usize] += 1;
        self.rows.extend(rows);
    }

    /// A key of the partition, by the count by which the writers cut.
    fn key_of(&mut self, partition: u32) -> (&'static str, i64) {
        let count = if self.cut > 0 {
            self.cut
        } else {
            self.partitions()
        };
        if self.keys.len() != count as usize {
            self.keys = keys_by_partition(&self.rig, count);
        }
        *self.keys[partition as usize].choose(&mut self.rng).unwrap()
    }

    fn row(&mut self, hlc: i64, writer: u32, partition: u32) -> Row {
        let (has_note, late, coarse) = (self.has_note(), self.late, self.coarse);
        let (symbol, lot) = self.key_of(partition);
        let rng = &mut self.rng;
        let n = self.next_n;
        self.next_n += 1;
        let money =
            i128::from(rng.random_range(-999_999_999_999_999_999_i64..=999_999_999_999_999_999));
        Row {
            hlc,
            writer,
            offset: 0,
            partition,
            symbol,
            lot,
            ts: rng
                .random_bool(0.8)
                .then(|| (hlc - rng.random_range(0..late)) / coarse * coarse),
            price: rng.random_bool(0.8).then_some(money),
            big: rng
                .random_bool(0.5)
                .then(|| u64::MAX - rng.random_range(0..5)),
            ratio: rng.random_bool(0.5).then(|| *RATIOS.choose(rng).unwrap()),
            side: rng
                .random_bool(0.5)
                .then(|| *["buy", "sell", ""].choose(rng).unwrap()),
            up: rng.random_bool(0.5).then(|| rng.random_bool(0.5)),
            n,
            note: (has_note && n % 3 != 0).then_some("a, \"note\""),
        }
    }

    /// Whether the stream has gained its column `note`.
    fn has_note(&self) -> bool {
        let columns = self.rig.def.schema().columns();
        columns.iter().any(|column| column.name == "note")
    }

    /// Rows as the newest schema's own columns.
    fn batch(&self, rows: &[Row]) -> RecordBatch {
        let text = |value: fn(&Row) -> Option<&'static str>| -> ArrayRef {
            Arc::new(
                rows.iter()
                    .map(value)
                    .collect::<DictionaryArray<Int32Type>>(),
            )
        };
        let times: TimestampNanosecondArray = rows.iter().map(|row| row.ts).collect();
        let prices: Decimal128Array = rows.iter().map(|row| row.price).collect();
        let mut columns: Vec<ArrayRef> = vec![
            text(|row| Some(row.symbol)),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.lot))),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(prices.with_precision_and_scale(18, 9).unwrap()),
            Arc::new(rows.iter().map(|row| row.big).collect::<UInt64Array>()),
            Arc::new(rows.iter().map(|row| row.ratio).collect::<Float64Array>()),
            text(|row| row.side),
            Arc::new(rows.iter().map(|row| row.up).collect::<BooleanArray>()),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.n))),
        ];
        if self.has_note() {
            columns.push(text(|row| row.note));
        }
        RecordBatch::try_new(Arc::clone(self.rig.def.schema().data()), columns).unwrap()
    }

    /// The rows in the order of the stream.
    pub(crate) fn ordered(&self) -> Vec<Row> {
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| (row.hlc, row.writer));
        rows
    }
}

/// The keys that lie in each of so many partitions: those with three lots, and of a partition that has
/// none of these the first other.
fn keys_by_partition(rig: &Rig, count: u32) -> Vec<Vec<(&'static str, i64)>> {
    let schema = rig.def.schema();
    let home = |symbol: &str, lot: i64| {
        let filter = |column: &str, value: String| KeyFilter {
            column: column.into(),
            values: vec![value],
        };
        let key = [
            filter("symbol", symbol.into()),
            filter("lot", lot.to_string()),
        ];
        let key = KeyPredicate::new(schema, &key).unwrap();
        let homes = homes(schema, &key, &[count]).unwrap();
        homes.first().unwrap().0 as usize
    };
    let mut keys = vec![Vec::new(); count as usize];
    for lot in -1.. {
        for symbol in SYMBOLS {
            let own = &mut keys[home(symbol, lot)];
            if lot < 2 || own.is_empty() {
                own.push((symbol, lot));
            }
        }
        if lot > 0 && keys.iter().all(|own| !own.is_empty()) {
            break;
        }
    }
    keys
}
