//! What other readers of the folder rely on.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, TimestampNanosecondArray, UInt32Array, UInt64Array};
use arrow::datatypes::Int32Type;
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

use super::*;

const ROWS: usize = 2 * 131_072 + 10_000;

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(bytes)
        .unwrap()
}

/// `count` rows of [`narrow`], two stamps apart.
pub(super) fn narrow_rows(count: usize) -> RecordBatch {
    let at = |i: usize| EPOCH + 2 * i64::try_from(i).unwrap();
    // symbols come in blocks, so that pages differ in them
    let symbol = |i: usize| ["A", "B", "C", "D"][i / 20_000 % 4];
    let symbols: DictionaryArray<Int32Type> = (0..count).map(symbol).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            TimestampNanosecondArray::from_iter_values((0..count).map(at)).with_timezone("UTC"),
        ),
        Arc::new(UInt32Array::from_value(1, count)),
        Arc::new(UInt64Array::from_iter_values(0..count as u64)),
        Arc::new(symbols),
    ];
    RecordBatch::try_new(Arc::clone(narrow().stored()), columns).unwrap()
}

pub(super) fn narrow_segment(count: usize) -> crate::EncodedSegment {
    let schema = narrow();
    let spec = SegmentSpec {
        partition: PartitionId(0),
        schema: &schema,
        schema_version: 1,
    };
    encode_segment(&spec, &[narrow_rows(count)]).unwrap()
}

#[test]
fn row_groups_and_pages_have_their_sizes() {
    let made = narrow_segment(ROWS);
    let metadata = metadata(&made.bytes);
    let groups: Vec<i64> = metadata.row_groups().iter().map(|g| g.num_rows()).collect();
    assert_eq!(groups, [131_072, 131_072, 10_000]);
    for (group, columns) in metadata.offset_index().unwrap().iter().enumerate() {
        for column in columns {
            let firsts = column
                .page_locations()
                .iter()
                .map(|page| page.first_row_index);
            let expected: Vec<i64> = (0..groups[group]).step_by(8192).collect();
            assert_eq!(firsts.collect::<Vec<_>>(), expected);
        }
    }
    assert!(metadata.column_index().is_some());
}

#[test]
fn files_say_how_they_are_sorted_and_nothing_of_where_they_were_made() {
    let made = segment(&[rows(1, 1000)]);
    let metadata = metadata(&made.bytes);
    let file = metadata.file_metadata();
    assert_eq!(file.created_by(), Some("tourbillon"));
    let keys: Vec<&str> = file
        .key_value_metadata()
        .unwrap()
        .iter()
        .map(|pair| pair.key.as_str())
        .collect();
    assert_eq!(keys, ["ARROW:schema"]);
    for group in metadata.row_groups() {
        let sorted = group.sorting_columns().unwrap();
        assert_eq!(
            sorted.iter().map(|s| s.column_idx).collect::<Vec<_>>(),
            [0, 1]
        );
        assert!(sorted.iter().all(|s| !s.descending));
        assert!(
            group
                .columns()
                .iter()
                .all(|column| column.file_path().is_none())
        );
    }
}

#[test]
fn stamps_offsets_and_times_are_deltas_and_strings_are_dictionaries() {
    let made = segment(&[rows(1, 10_000)]);
    let metadata = metadata(&made.bytes);
    for column in metadata.row_group(0).columns() {
        let name = column.column_path().string();
        let encodings: Vec<Encoding> = column.encodings().collect();
        let deltas = ["hlc", "log_offset", "ts", "lot", "count"].contains(&name.as_str());
        assert_eq!(
            encodings.contains(&Encoding::DELTA_BINARY_PACKED),
            deltas,
            "{name}"
        );
        if ["symbol", "note"].contains(&name.as_str()) {
            assert!(column.dictionary_page_offset().is_some(), "{name}");
        }
    }
    let hlc = metadata.row_group(0).column(0).column_descr();
    assert!(format!("{:?}", hlc.logical_type_ref()).contains("is_adjusted_to_u_t_c: true"));
}
