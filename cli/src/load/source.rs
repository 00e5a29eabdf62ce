//! Files as batches of rows. Reading and decompressing happen on a thread of their own, a batch or
//! two ahead.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use flate2::read::MultiGzDecoder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use tokio::sync::mpsc;

use crate::args::{FileArgs, FileFormat};
use crate::load::text::{CsvRows, NdjsonRows};
use crate::load::{Mapping, StreamColumns};

/// Batches read ahead.
const AHEAD: usize = 2;

/// Bytes read from the file at once.
const READ_BYTES: usize = 1 << 20;

type Batches = Box<dyn Iterator<Item = anyhow::Result<RecordBatch>> + Send>;

/// A file being read.
pub(crate) struct Source {
    fields: Option<Vec<String>>,
    rows: mpsc::Receiver<anyhow::Result<(RecordBatch, u64)>>,
    total: u64,
    position: u64,
}

impl Source {
    /// Opens a file; batches have `batch_rows` rows, but for the last.
    pub(crate) fn open(
        path: &Path,
        args: &FileArgs,
        stream: &StreamColumns,
        batch_rows: usize,
    ) -> anyhow::Result<Self> {
        let opened = Opened::new(path, args, stream, batch_rows);
        let opened = opened.with_context(|| format!("cannot read {}", path.display()))?;
        let (sender, rows) = mpsc::channel(AHEAD);
        let name = path.display().to_string();
        let Opened {
            fields,
            batches,
            total,
            read,
        } = opened;
        let ahead = move || {
            for batch in batches {
                let position = read.load(Ordering::Relaxed);
                let batch = batch.with_context(|| format!("cannot read {name}"));
                let over = batch.is_err();
                let batch = batch.map(|batch| (batch, position));
                if sender.blocking_send(batch).is_err() || over {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("load-reader".into());
        thread.spawn(ahead)?;
        Ok(Self {
            fields,
            rows,
            total,
            position: 0,
        })
    }

    /// The rules by which this file's fields become columns.
    pub(crate) fn mapping(
        &self,
        args: &FileArgs,
        stream: &StreamColumns,
    ) -> anyhow::Result<Mapping> {
        Mapping::new(args, stream, self.fields.as_deref())
    }

    /// What [`Source::position`] comes to in the end.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How far the batches given so far reach: bytes of text, rows of Parquet.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<RecordBatch>> {
        let Some(next) = self.rows.recv().await else {
            return Ok(None);
        };
        let (batch, position) = next?;
        self.position = position;
        Ok(Some(batch))
    }
}

/// A file whose rows are about to be read.
struct Opened {
    fields: Option<Vec<String>>,
    batches: Batches,
    total: u64,
    read: Arc<AtomicU64>,
}

impl Opened {
    fn new(
        path: &Path,
        args: &FileArgs,
        stream: &StreamColumns,
        batch_rows: usize,
    ) -> anyhow::Result<Self> {
        let format = args.format.map_or_else(|| format_of(path), Ok)?;
        let file = File::open(path)?;
        let total = file.metadata()?.len().max(1);
        let read = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&read);
        let wanted = |fields: Option<&[String]>| -> anyhow::Result<Vec<String>> {
            Ok(Mapping::new(args, stream, fields)?.fields())
        };
        match format {
            FileFormat::Parquet => {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
                let fields = builder.schema().fields().iter();
                let fields: Vec<_> = fields.map(|field| field.name().clone()).collect();
                let wanted = wanted(Some(&fields))?;
                let wanted = wanted.iter().map(String::as_str);
                let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
                let total = builder.metadata().file_metadata().num_rows();
                let total = u64::try_from(total).unwrap_or(0);
                let reader = builder.with_projection(mask).with_batch_size(batch_rows);
                let batches = Box::new(counted(reader.build()?, counter));
                Ok(Self {
                    fields: Some(fields),
                    batches,
                    total,
                    read,
                })
            }
            FileFormat::Csv => {
                let rows = CsvRows::open(decompressed(file, counter)?, batch_rows)?;
                let fields = rows.fields().to_vec();
                let batches = Box::new(rows.only(&wanted(Some(&fields))?));
                Ok(Self {
                    fields: Some(fields),
                    batches,
                    total,
                    read,
                })
            }
            FileFormat::Ndjson => {
                let lines = decompressed(file, counter)?;
                let batches = Box::new(NdjsonRows::new(lines, wanted(None)?, batch_rows));
                Ok(Self {
                    fields: None,
                    batches,
                    total,
                    read,
                })
            }
        }
    }
}

fn format_of(path: &Path) -> anyhow::Result<FileFormat> {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(&name);
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("csv") => Ok(FileFormat::Csv),
        Some("ndjson" | "jsonl") => Ok(FileFormat::Ndjson),
        Some("parquet") => Ok(FileFormat::Parquet),
        _ => bail!(
            "the name {} tells no format: say --format csv, ndjson or parquet",
            path.display()
        ),
    }
}

fn counted(
    reader: ParquetRecordBatchReader,
    read: Arc<AtomicU64>,
) -> impl Iterator<Item = anyhow::Result<RecordBatch>> + Send {
    reader.map(move |batch| {
        let batch = batch?;
        read.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        Ok(batch)
    })
}

/// The text of a file, whatever it is compressed with.
fn decompressed(file: File, read: Arc<AtomicU64>) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut file = BufReader::with_capacity(READ_BYTES, Counting { file, read });
    let magic = file.fill_buf()?;
    let (gzip, zstd) = (
        magic.starts_with(&[0x1f, 0x8b]),
        magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
    );
    Ok(match (gzip, zstd) {
        (true, _) => Box::new(BufReader::with_capacity(
            READ_BYTES,
            MultiGzDecoder::new(file),
        )),
        (_, true) => Box::new(BufReader::with_capacity(
            READ_BYTES,
            zstd::stream::read::Decoder::with_buffer(file)?,
        )),
        _ => Box::new(file),
    })
}

struct Counting {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(into)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
