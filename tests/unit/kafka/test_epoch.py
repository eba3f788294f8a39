"""The epoch's ULID."""

from __future__ import annotations

import time

from tidegate.contracts.position import Position, parse_id
from tidegate.kafka.topics import CROCKFORD, mint_epoch


def test_epochs_differ_and_sort_by_time() -> None:
    first = mint_epoch()
    time.sleep(0.002)
    second = mint_epoch()
    assert first < second
    assert len(first) == 26 and set(first) <= set(CROCKFORD)


def test_an_epoch_fits_into_an_id() -> None:
    position = Position(mint_epoch(), "client_events", 3, 17, 4)
    assert parse_id(position.id()) == position
