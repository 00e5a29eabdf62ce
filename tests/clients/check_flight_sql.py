"""Reads a stream by Arrow Flight SQL with ADBC, and compares it with the HTTP window.

    python3 tests/clients/check_flight_sql.py --url http://127.0.0.1:8080 --flight 127.0.0.1:8081 \\
        --stream trades

Exit codes: 0 all agree, 1 not, 2 usage.
"""

import argparse
import sys

import adbc_driver_flightsql.dbapi
import pyarrow as pa

import windows
from windows import ARROW, Mismatch


def check_catalog(connection: adbc_driver_flightsql.dbapi.Connection, stream: str) -> None:
    """The stream must be a table with its columns."""
    reader = connection.adbc_get_objects(depth="columns", table_name_filter=stream)
    catalogs = reader.read_all().to_pylist()
    found = [
        (catalog["catalog_name"], schema["db_schema_name"], table["table_name"])
        for catalog in catalogs
        for schema in catalog["catalog_db_schemas"]
        for table in schema["db_schema_tables"] or []
    ]
    if found != [("tourbillon", "public", stream)]:
        raise Mismatch(f"objects called {stream} are {found}")
    if connection.adbc_get_table_types() != ["TABLE"]:
        raise Mismatch(f"table types are {connection.adbc_get_table_types()}")
    vendor = connection.adbc_get_info()["vendor_name"]
    if vendor != "Tourbillon":
        raise Mismatch(f"the vendor is {vendor}")


def check_refusal(connection: adbc_driver_flightsql.dbapi.Connection, stream: str) -> None:
    """What would write must be refused, and the connection must live on."""
    for statement in (f"drop table {stream}", f"delete from {stream}", "selec 1"):
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement)
            except adbc_driver_flightsql.dbapi.Error:
                continue
        raise Mismatch(f"`{statement}` was taken")


def check(url: str, flight: str, stream: str) -> str:
    body = windows.fetch(url, stream, ARROW)
    window = windows.from_table(windows.read_table(body, ARROW))
    names = ", ".join(f'"{name}"' for name in window.columns)
    final = {"adbc.flight.sql.rpc.call_header.tourbillon-consistency": "final"}
    with adbc_driver_flightsql.dbapi.connect(f"grpc://{flight}", final, autocommit=True) as connection:
        check_catalog(connection, stream)
        check_refusal(connection, stream)
        schema: pa.Schema = connection.adbc_get_table_schema(stream)
        missing = [name for name in window.columns if name not in schema.names]
        if missing:
            raise Mismatch(f"the table's schema lacks {missing}")
        with connection.cursor() as cursor:
            cursor.execute(f'select {names} from "{stream}"')
            table = cursor.fetch_arrow_table()
        # more may have become final since the window
        rows = windows.from_table(table.slice(0, len(window.rows)))
        windows.check_same(window, "the window", rows, "Flight SQL")
        with connection.cursor() as cursor:
            cursor.execute(f'select count(*) as n from "{stream}" where hlc <= now()')
            (count,) = cursor.fetchone()
            if count < len(window.rows):
                raise Mismatch(f"count(*) is {count}, the window has {len(window.rows)} rows")
    return f"{len(window.rows)} rows of {stream} agree by ADBC and HTTP"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare Flight SQL with a window.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--flight", required=True, help="host:port")
    parser.add_argument("--stream", required=True)
    a = parser.parse_args()
    return windows.run("check_flight_sql", lambda: check(a.url, a.flight, a.stream))


if __name__ == "__main__":
    sys.exit(main())
