"""DuckDB on the files of a stream, without the service: only what is committed, each row once.

    python duckdb_on_the_bucket.py STORE STREAM ["select .. from ticks"]

    python duckdb_on_the_bucket.py ./tourbillon-data/lake trades
    python duckdb_on_the_bucket.py s3://bucket/prefix trades 'select count(*) from ticks'

STORE is a folder, or an S3 address with credentials and endpoint in the usual AWS_* variables.

A glob over `data/` would also do, with two flaws: after compaction the small files lie beside the
large one that holds their rows too, and a file may lie there whose commit never came. The chains
beside `data/` tell which files count (docs/PROTOCOL.md, 7 to 8a): `commit/` names each sealed
segment, `compaction/` the files that stand for earlier ones, `boundary/` what retention took.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet

USUAL = """
    select symbol, count(*) as trades, min(price) as low, max(price) as high, sum(size) as volume
    from ticks group by symbol order by symbol"""

Key = tuple[int, int]
BEGINNING: Key = (-(1 << 63), -1)


@dataclass(frozen=True)
class Store:
    """Objects below a folder or a bucket's prefix."""

    files: Any
    root: str

    @property
    def is_local(self) -> bool:
        return isinstance(self.files, pa.fs.LocalFileSystem)

    def links(self, folder: str, first: int = 0) -> list[dict[str, Any]]:
        """The bodies of a chain's objects from number `first` on, in order."""
        found = self._list(folder, pa.fs.FileType.File)
        names = sorted(name for name in found if name.isdigit() and int(name) >= first)
        return [json.loads(self._read(f"{folder}/{name}"))["body"] for name in names]

    def partitions(self, stream: str) -> list[int]:
        folders = self._list(f"{stream}/commit", pa.fs.FileType.Directory)
        return sorted(int(name[1:]) for name in folders)

    def _list(self, folder: str, kind: Any) -> list[str]:
        selector = pa.fs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        found = self.files.get_file_info(selector)
        return [info.base_name for info in found if info.type == kind]

    def _read(self, path: str) -> bytes:
        with self.files.open_input_stream(f"{self.root}/{path}") as file:
            content: bytes = file.read()
            return content


def opened(address: str) -> Store:
    parts = urlsplit(address)
    if parts.scheme != "s3":
        return Store(pa.fs.LocalFileSystem(), os.path.abspath(parts.path))
    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT", ""))
    settings = {"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme}
    files = pa.fs.S3FileSystem(
        region=os.environ.get("AWS_REGION", "us-east-1"), **(settings if endpoint.netloc else {})
    )
    return Store(files, f"{parts.netloc}{parts.path}".rstrip("/"))


def key(of: dict[str, int]) -> Key:
    return of["hlc"], of["writer"]


def committed(store: Store, stream: str, partition: int) -> list[str]:
    """Paths of the files that hold the partition's sealed rows, each in one, in key order."""
    boundaries = store.links(f"{stream}/boundary/p{partition}")
    kept = boundaries[-1]["kept"] if boundaries else None
    gone = key(kept["gone_through"]) if kept else BEGINNING
    compactions = store.links(f"{stream}/compaction/p{partition}")
    files = [entry["file"] for compaction in compactions for entry in compaction["files"]]
    covered, first = BEGINNING, 0
    if compactions:
        covered = key(compactions[-1]["last_key"])
        first = compactions[-1]["scan_from"]["next_seq"]
    for commit in store.links(f"{stream}/commit/p{partition}", first):
        files += [s for s in commit["segments"] if key(s["first_key"]) > covered]
    left = [file for file in files if key(file["last_key"]) > gone]
    return [f"{store.root}/{stream}/{file['name']}" for file in left]


def ticks(connection: duckdb.DuckDBPyConnection, store: Store, stream: str) -> int:
    """Makes the stream's rows the view `ticks`, and says of how many files."""
    paths = [path for p in store.partitions(stream) for path in committed(store, stream, p)]
    if not paths:
        raise SystemExit(f"{stream} has no sealed rows yet: a window is sealed once it has passed")
    if store.is_local:
        relation = connection.read_parquet(paths, union_by_name=True)
    else:
        # through Arrow, so that DuckDB needs no extension; filters and columns are pushed down
        schemas = [pa.parquet.read_schema(path, filesystem=store.files) for path in paths]
        schema = pa.unify_schemas(schemas)
        data = pa.dataset.dataset(paths, schema=schema, format="parquet", filesystem=store.files)
        relation = connection.from_arrow(data)
    relation.create_view("ticks")
    return len(paths)


def main() -> None:
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    store, stream = opened(sys.argv[1]), sys.argv[2]
    with duckdb.connect() as connection:
        files = ticks(connection, store, stream)
        print(f"{files} files")
        print(connection.sql(sys.argv[3] if len(sys.argv) == 4 else USUAL))
        print("the first rows in the order of the stream:")
        print(connection.sql("select * from ticks order by hlc, writer limit 5"))


if __name__ == "__main__":
    main()
