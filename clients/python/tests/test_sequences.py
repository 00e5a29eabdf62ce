from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tourbillon import Batch, Client, ConfigError, TourbillonError
from tourbillon._plans import sequences
from tourbillon._requests import Request
from tourbillon._sequences import BLOCK, FileSequences, GeneratedSequences, Lender


def test_generated_names_differ_and_count_from_0() -> None:
    one, other = GeneratedSequences(), GeneratedSequences()
    assert one.source != other.source
    assert [one.take() for _ in range(3)] == [0, 1, 2]


def test_threads_get_different_numbers() -> None:
    one = GeneratedSequences()
    taken: list[int] = []
    threads = [
        threading.Thread(target=lambda: taken.extend(one.take() for _ in range(500)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(2000))


def test_each_write_has_a_source_to_itself() -> None:
    lender = Lender()
    with lender.lent() as one, lender.lent() as other:
        assert one.source != other.source
        one.take()
    with lender.lent() as again:
        assert again.source == one.source
        assert again.take() == 1


def test_a_source_with_pending_batches_is_kept_for_their_repeat() -> None:
    lender = Lender()
    refused, unsent = TourbillonError("refused"), TourbillonError("unsent")
    unsent.pending = (Batch(Request("POST", "/x"), "s", 1, 1),)
    sources = []
    for error in (refused, unsent, KeyboardInterrupt(), refused):
        with pytest.raises(type(error)), lender.lent() as numbers:  # noqa: PT012
            sources.append(numbers.source)
            raise error
    assert sources[0] == sources[1]
    assert len(set(sources)) == 3


def test_a_named_source_goes_on_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "feed.seq"
    with FileSequences("feed", state) as numbers:
        first = [numbers.take() for _ in range(BLOCK + 3)]
    with FileSequences("feed", state) as numbers:
        assert numbers.take() == first[-1] + 1
    with pytest.raises(ConfigError):
        numbers.take()


def test_no_number_comes_again_after_a_crash(tmp_path: Path) -> None:
    state = tmp_path / "feed.seq"
    code = (
        "import os, sys\n"
        "from tourbillon._sequences import FileSequences\n"
        "n = FileSequences('feed', sys.argv[1])\n"
        "print([n.take() for _ in range(5)][-1], flush=True)\n"
        "os._exit(1)\n"
    )
    run = [sys.executable, "-c", code, str(state)]
    last = -1
    for _ in range(3):
        told = subprocess.run(run, capture_output=True, text=True, timeout=30, check=False).stdout
        assert int(told) > last
        last = int(told)
    assert json.loads(state.read_text())["next"] > last


def test_one_writer_a_source(tmp_path: Path) -> None:
    state = tmp_path / "feed.seq"
    with FileSequences("feed", state), pytest.raises(ConfigError, match="another writer"):
        FileSequences("feed", state)
    FileSequences("feed", state).close()


def test_a_writer_that_was_not_made_holds_no_lock(tmp_path: Path) -> None:
    state = tmp_path / "feed.seq"
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(ConfigError):
            client.writer("../x", source="feed", state=state)
        with pytest.raises(TypeError):
            client.writer("x", source="feed", state=state, on_eror="skip")  # type: ignore[call-arg]
    FileSequences("feed", state).close()


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"source":"feed","next":-1}', '{"source":"b","next":1}']
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    state = tmp_path / "feed.seq"
    state.write_text(text)
    for _ in range(2):  # the second time it must not be locked
        with pytest.raises(ConfigError, match=r"feed\.seq"):
            FileSequences("feed", state)
    assert state.read_text() == text


def test_a_name_without_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="state="):
        sequences("feed", None)
    with pytest.raises(ConfigError, match="source="):
        sequences(None, tmp_path / "x")
    with pytest.raises(ConfigError):
        sequences("two words", tmp_path / "x")
