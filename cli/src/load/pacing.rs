//! Sending as fast as the event times say.

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::{Array, AsArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use tokio::time::{Instant, sleep};

/// Rows due within this much time go together.
const STEP: Duration = Duration::from_millis(5);

/// Releases rows by their event time.
#[derive(Debug)]
pub(crate) struct Pacer {
    speed: f64,
    column: String,
    start: Option<(Instant, i64)>,
}

impl Pacer {
    /// Paces by a column of times, `speed` times as fast as they passed.
    pub(crate) fn new(speed: f64, column: String) -> anyhow::Result<Self> {
        if !speed.is_finite() || speed <= 0.0 {
            bail!("--speed must be above 0");
        }
        let start = None;
        Ok(Self {
            speed,
            column,
            start,
        })
    }

    /// Waits until the first rows are due, then gives them and the rest; none without rows.
    pub(crate) async fn split(
        &mut self,
        rows: &RecordBatch,
    ) -> anyhow::Result<Option<(RecordBatch, RecordBatch)>> {
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let times = self.times(rows)?;
        let (begun, first) = *self
            .start
            .get_or_insert_with(|| (Instant::now(), times.value(0)));
        loop {
            let now = first.saturating_add(self.passed_ns(begun.elapsed()));
            // times may step back: what stands before a due row is due
            let due = (0..times.len())
                .take_while(|row| times.is_null(*row) || times.value(*row) <= now)
                .count();
            if due > 0 {
                return Ok(Some((
                    rows.slice(0, due),
                    rows.slice(due, rows.num_rows() - due),
                )));
            }
            sleep(STEP).await;
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "292 years of market fit")]
    fn passed_ns(&self, elapsed: Duration) -> i64 {
        (elapsed.as_secs_f64() * self.speed * 1e9) as i64
    }

    fn times(&self, rows: &RecordBatch) -> anyhow::Result<Int64Array> {
        let column = rows
            .column_by_name(&self.column)
            .with_context(|| format!("--speed needs column `{}`", self.column))?;
        let counts = match column.data_type() {
            DataType::Utf8 => {
                let parse =
                    |text: Option<&str>| text.map(tourbillon_core::time::parse_time_ns).transpose();
                let times: Result<Int64Array, _> =
                    column.as_string::<i32>().iter().map(parse).collect();
                times?
            }
            DataType::Timestamp(..) => {
                let ns = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
                cast(&cast(column, &ns)?, &DataType::Int64)?
                    .as_primitive::<Int64Type>()
                    .clone()
            }
            _ => cast(column, &DataType::Int64)?
                .as_primitive::<Int64Type>()
                .clone(),
        };
        Ok(counts)
    }
}
