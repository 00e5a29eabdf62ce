//! What the service says of itself to drivers.

use std::sync::LazyLock;

use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{Nullable, Searchable, SqlInfo, XdbcDataType};
use tonic::Status;

type Made<T> = Result<T, FlightError>;

static INFO: LazyLock<Made<SqlInfoData>> = LazyLock::new(|| {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Tourbillon");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlAllTablesAreSelectable, true);
    info.append(SqlInfo::SqlSupportsColumnAliasing, true);
    info.append(SqlInfo::SqlNullPlusNullIsNull, true);
    info.append(SqlInfo::SqlSchemaTerm, "schema");
    info.append(SqlInfo::SqlCatalogTerm, "catalog");
    info.append(SqlInfo::SqlCatalogAtStart, true);
    info.append(SqlInfo::SqlCorrelatedSubqueriesSupported, true);
    info.build()
});

static TYPES: LazyLock<Made<XdbcTypeInfoData>> = LazyLock::new(|| {
    use XdbcDataType::{XdbcBigint, XdbcBit, XdbcDecimal, XdbcDouble, XdbcTimestamp, XdbcVarchar};
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, ty, size, quoted) in [
        ("VARCHAR", XdbcVarchar, i32::MAX, true),
        ("TIMESTAMP", XdbcTimestamp, 30, true),
        ("DECIMAL", XdbcDecimal, 38, false),
        ("BIGINT", XdbcBigint, 19, false),
        ("BIGINT UNSIGNED", XdbcBigint, 20, false),
        ("DOUBLE", XdbcDouble, 17, false),
        ("BOOLEAN", XdbcBit, 1, false),
    ] {
        let quote = quoted.then(|| "'".to_owned());
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type: ty,
            sql_data_type: ty,
            column_size: Some(size),
            literal_prefix: quote.clone(),
            literal_suffix: quote,
            nullable: Nullable::NullabilityNullable,
            case_sensitive: ty == XdbcVarchar,
            searchable: Searchable::Full,
            unsigned_attribute: Some(name.ends_with("UNSIGNED")),
            ..XdbcTypeInfo::default()
        });
    }
    types.build()
});

fn made<T>(made: &'static LazyLock<Made<T>>) -> Result<&'static T, Status> {
    let failed = |error: &FlightError| Status::internal(error.to_string());
    made.as_ref().map_err(failed)
}

/// Name, version and abilities.
pub(super) fn info() -> Result<&'static SqlInfoData, Status> {
    made(&INFO)
}

/// Types of columns.
pub(super) fn types() -> Result<&'static XdbcTypeInfoData, Status> {
    made(&TYPES)
}
