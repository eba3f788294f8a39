"""A seeded store, for the pages that ask it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from seeded_store import Seeded, running


@pytest.fixture(scope="package")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    with running(tmp_path_factory.mktemp("seeded")) as store:
        yield store
