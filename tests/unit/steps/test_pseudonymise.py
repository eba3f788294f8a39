"""Pseudonyms that are stored: their form, whose they are, and what of a row they leave alone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from table_rows import table

from builders import device_log, failure, network_log
from tidegate import pseudonyms
from tidegate.contracts.formats import parse_mac
from tidegate.contracts.rejects import Code, Fault
from tidegate.contracts.topics import Stream
from tidegate.keyfile import Keys
from tidegate.pseudonyms import Stored, stored
from tidegate.steps.failures import failure_records
from tidegate.steps.pseudonymise import faceless, in_text, pseudonymise

KEYS = Keys("k2", {"k1": b"a" * 32, "k2": b"b" * 32})
MAC = "00:1a:2b:3c:4d:77"


def test_a_mac_has_a_mac_that_no_vendor_gave_and_one_station_has() -> None:
    found = {stored(KEYS, "demo", f"00:1a:2b:3c:{n >> 8:02x}:{n & 255:02x}") for n in range(4096)}
    assert len(found) == 4096
    firsts = {int(each[:2], 16) for each in found}
    assert all(first & 0b11 == 0b10 for first in firsts) and len(firsts) == 64
    assert all(parse_mac(each) == each for each in found)


def test_whose_it_is() -> None:
    mine = stored(KEYS, "demo", MAC)
    assert mine == stored(KEYS, "demo", "00-1A-2B-3C-4D-77") == stored(KEYS, "demo", "001a2b3c4d77")
    assert mine != stored(KEYS, "other", MAC) and mine != stored(KEYS, "demo", MAC, id="k1")
    assert pseudonyms.all_stored(KEYS, "demo", MAC) == [mine, stored(KEYS, "demo", MAC, id="k1")]
    assert mine not in pseudonyms.of_mac(KEYS, "demo", MAC).replace("", ":")
    device = stored(KEYS, "demo", "café")
    assert re.fullmatch(r"k2\.[0-9a-f]{32}", device) and device != stored(KEYS, "demo", "cafe")
    assert re.fullmatch(r"k2\.[0-9a-f]{32}", stored(KEYS, "demo", f"{MAC}:Corp"))
    assert Stored(KEYS).version != Stored(KEYS._replace(current="k1")).version


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("seen 00:1A:2b:3c:4d:77.", True),
        ("00-1a-2b-3c-4d-77", True),
        ('{"peer":"001a.2b3c.4d77"}', True),
        ("681a-71a4-ef0e", True),
        ("001a2b3c4d77", False),  # could be any number
        ("550e8400-e29b-41d4-a716-446655440000", False),
        ("00:1a:2b:3c:4d:77:6f:70", False),
        ("2025-11-21T08:00:01.000", False),
    ],
)
def test_macs_in_texts(text: str, changes: bool) -> None:
    found = in_text(text, "demo", Stored(KEYS))
    assert (found != text) is changes
    if "2b" in text.lower() and changes:
        assert stored(KEYS, "demo", MAC) in found


EVENTS: dict[Stream, tuple[Any, str, str]] = {
    "client_events": (failure(macAddress=MAC, peer=MAC.upper()), "mac", MAC),
    "connection_logs": (network_log(note=f"by {MAC}"), "device_id", "A-7"),
    "device_logs": (device_log(notes=f"blocked {MAC}", action="restart"), "device_id", "device-12345"),
}


@pytest.mark.parametrize("stream", EVENTS)
def test_a_row_keeps_all_else(stream: Stream) -> None:
    event, column, own = EVENTS[stream]
    [plain] = table(stream, [event], device="A-7").to_batches()
    found = pseudonymise(stream, plain, Stored(KEYS))
    assert found.schema == plain.schema
    [before], [after] = plain.to_pylist(), found.to_pylist()
    assert after[column] == stored(KEYS, "demo", before[column])
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {column, "notes" if stream == "device_logs" else "extra"}
    assert MAC not in str(after).lower() and own not in str(after)
    if stream == "client_events":
        assert after["vendor"] == before["vendor"] != "" and not after["randomised"]
    told = failure_records(stream, found, epoch="e", partition=0, offset=0)
    assert len(told) == (stream == "client_events") and own not in str(told)


BARE = MAC.replace(":", "")


@pytest.mark.parametrize(
    ("stream", "event", "own"),
    [
        ("client_events", failure(macAddress=MAC, mist={"mac": BARE, "id": f"1-{BARE.upper()}"}), MAC),
        ("connection_logs", network_log(metadata={"seen": BARE}), "00-1A-2B-3C-4D-77"),
        ("device_logs", device_log(parent={"id": BARE}, notes=f"{BARE} left"), BARE),
    ],
)
def test_an_events_own_mac_goes_without_separators_too(stream: Stream, event: Any, own: str) -> None:
    """As Mist writes it: the clear MAC stood in `extra` beside the pseudonym."""
    other = "0123456789ab"
    plain = table(stream, [{**event, "note": f"{other} a{BARE} {BARE}9"}], device=own).to_batches()[0]
    [before], [after] = plain.to_pylist(), pseudonymise(stream, plain, Stored(KEYS)).to_pylist()
    mine = stored(KEYS, "demo", MAC).replace(":", "")
    text = str(after).lower()
    assert str(before).lower().count(BARE) > 2 and text.count(BARE) == 2 and mine in text
    assert f"{other} a{BARE} {BARE}9" in text  # other numbers


def test_a_refusal_says_nobodys_name() -> None:
    def of(path: str, found: str, code: Code = Code.WRONG_TYPE) -> str:
        return faceless(Fault(code, path=path, found=found), "demo", Stored(KEYS)).found

    assert [of("macAddress", "00:1a:2b:3c:4d:zz"), of("parent.id", "7"), of("", '{"a"')] == ["", "", ""]
    assert of("channel", '"x"') == '"x"' and MAC not in of("note", f'"{MAC}"')
    assert of("", "2000 bytes", Code.TOO_LARGE) == "2000 bytes"
