"""The notebook, from its first cell to its last, with a shortened minute."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "minute.ipynb"


def outputs(notebook: Any) -> list[Any]:
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


@pytest.mark.filterwarnings("default::ResourceWarning")  # of the kernel's own sockets
def test_the_minute_is_recorded_replayed_and_plotted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOURBILLON_URL", url)
    monkeypatch.setenv("TOURBILLON_NOTEBOOK_SECONDS", "2")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    made = outputs(notebook)
    text = "".join(out.get("text", "") for out in made)
    sent = re.search(r"(\d+) trades sent", text)
    assert sent is not None
    assert int(sent[1]) >= 200
    assert f"{sent[1]} trades, " in text
    images = [out for out in made if "image/png" in out.get("data", {})]
    assert len(images) == 1


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    assert outputs(notebook) == []
    assert {cell.get("execution_count") for cell in notebook.cells} == {None}
