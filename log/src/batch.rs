//! What one read returns at most.

use crate::{LogRecord, MAX_READ_BYTES};

/// Records that one [`LogReader::next`](crate::LogReader::next) returns at most.
const MAX_READ_RECORDS: usize = 16_384;

/// Records gathered for one read, without a gap and within the limits.
#[derive(Debug, Default)]
pub(crate) struct ReadBatch {
    records: Vec<LogRecord>,
    payload_bytes: usize,
}

impl ReadBatch {
    /// True if a record of `payload_bytes` may join; the first one always may.
    pub(crate) fn fits(&self, payload_bytes: usize) -> bool {
        self.records.is_empty()
            || (self.records.len() < MAX_READ_RECORDS
                && self.payload_bytes + payload_bytes <= MAX_READ_BYTES)
    }

    /// Adds the record that follows.
    pub(crate) fn push(&mut self, record: LogRecord) {
        self.payload_bytes += record.payload.len();
        self.records.push(record);
    }

    /// The batch for which `records`, in offset order, are at hand.
    pub(crate) fn gather<'a>(records: impl Iterator<Item = &'a LogRecord>) -> Vec<LogRecord> {
        let mut batch = Self::default();
        for record in records {
            if !batch.fits(record.payload.len()) {
                break;
            }
            batch.push(record.clone());
        }
        batch.records
    }

    /// The gathered records.
    pub(crate) fn into_records(self) -> Vec<LogRecord> {
        self.records
    }
}
