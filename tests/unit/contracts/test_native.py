"""The native decoder's table, and which decoder a process has."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator

import pytest

import tidegate
from tidegate.contracts import native
from tidegate.contracts.topics import STREAMS, Stream
from tidegate.errors import UsageError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A stand-in for the package, so that the choice is the same wherever the test runs."""
    module = types.ModuleType(native.MODULE)
    module.__VERSION__ = tidegate.__version__  # type: ignore[attr-defined]
    module.Decoder = lambda table: object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, native.MODULE, module)
    native.load.cache_clear()
    yield module
    native.load.cache_clear()


@pytest.mark.parametrize("stream", STREAMS)
def test_a_rule_reads_every_field_of_the_models(stream: Stream) -> None:
    kinds = {field.wire: field.kind for one in native.table(stream).objects for field in one.fields}
    assert "never" not in kinds.values(), kinds


def test_the_first_object_is_the_event_and_the_last_the_envelope() -> None:
    table = native.table("client_events")
    assert "macAddress" in [field.wire for field in table.objects[0].fields]
    assert [field.wire for field in table.objects[-1].fields] == ["fleet", "event", "received_at", "device"]
    assert table.columns[table.key][0] == "mac"


def test_the_native_decoder_where_it_is(installed: types.ModuleType) -> None:
    for choice in ("auto", "native"):
        chosen = native.choose(choice)
        assert set(chosen.decoders) == set(STREAMS)
        assert chosen.line == f"decoder: native {tidegate.__version__}"
    assert native.choose("python") == ({}, "decoder: Python")


def test_python_where_it_is_not(installed: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, native.MODULE, None)
    decoders, line = native.choose("auto")
    assert (decoders, line[:16]) == ({}, "decoder: Python ")
    with pytest.raises(UsageError, match="native was asked for"):
        native.choose("native")


def test_python_where_it_is_of_another_version(installed: types.ModuleType) -> None:
    installed.__VERSION__ = "0.0.1"  # type: ignore[attr-defined]
    assert native.choose("auto") == ({}, "decoder: Python (tidegate_native is of version 0.0.1)")


def test_python_where_it_does_not_know_the_table(installed: types.ModuleType) -> None:
    def refuse(table: object) -> None:
        raise ValueError("table: a field has a kind that there is not")

    installed.Decoder = refuse  # type: ignore[attr-defined]
    assert native.choose("auto").line.startswith("decoder: Python (tidegate_native does not know the table")


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match="decoder: 'rust'"):
        native.choose("rust")
