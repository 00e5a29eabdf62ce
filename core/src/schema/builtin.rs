//! The streams that exist from the start.

use super::{Column, ColumnType, StreamSchema};

const PRICE: ColumnType = ColumnType::Decimal {
    precision: 18,
    scale: 9,
};

/// `trades` and `quotes`: name and schema.
pub fn builtin_streams() -> [(&'static str, StreamSchema); 2] {
    let trades = vec![
        Column::required("venue", ColumnType::String),
        Column::required("symbol", ColumnType::String),
        Column::required("ts_event", ColumnType::Timestamp),
        Column::required("price", PRICE),
        Column::required("size", PRICE),
        Column::optional("side", ColumnType::String),
        Column::optional("seq", ColumnType::Int64),
        Column::optional("ts_recv", ColumnType::Timestamp),
    ];
    let quotes = vec![
        Column::required("venue", ColumnType::String),
        Column::required("symbol", ColumnType::String),
        Column::required("ts_event", ColumnType::Timestamp),
        Column::optional("bid", PRICE),
        Column::optional("bid_size", PRICE),
        Column::optional("ask", PRICE),
        Column::optional("ask_size", PRICE),
        Column::optional("seq", ColumnType::Int64),
        Column::optional("ts_recv", ColumnType::Timestamp),
    ];
    [("trades", build(trades)), ("quotes", build(quotes))]
}

fn build(columns: Vec<Column>) -> StreamSchema {
    let (key, event_time) = (vec![0, 1], Some(2));
    StreamSchema::assemble(columns, key, event_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_schemas_pass_the_checks_of_user_schemas() {
        for (name, schema) in builtin_streams() {
            let checked = StreamSchema::new(
                schema.columns().to_vec(),
                &["venue", "symbol"],
                Some("ts_event"),
            );
            assert_eq!(checked, Ok(schema), "{name}");
        }
    }
}
