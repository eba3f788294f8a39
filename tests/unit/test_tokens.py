import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate.errors import UsageError
from tidegate.tokens import Role, TokenFile, hash_token


@pytest.fixture
def tokens(tmp_path: Path) -> TokenFile:
    return TokenFile(tmp_path / "data" / "tokens.json", check_seconds=0)


def test_a_missing_file_has_no_tokens(tokens: TokenFile) -> None:
    assert tokens.lookup("anything") is None
    assert tokens.fleets() == frozenset()
    assert tokens.list() == []


def test_a_created_token_is_found_and_only_its_hash_is_stored(tokens: TokenFile) -> None:
    token = tokens.create("phone", fleet="demo", role="viewer", rate_events_per_second=10)
    found = tokens.lookup(token)
    assert found is not None
    assert (found.name, found.fleet, found.role, found.rate_events_per_second) == (
        "phone",
        "demo",
        Role.VIEWER,
        10,
    )
    text = tokens.path.read_text()
    assert token not in text and hash_token(token) in text
    assert stat.S_IMODE(os.stat(tokens.path).st_mode) == 0o600


def test_another_process_sees_the_change(tokens: TokenFile) -> None:
    reader = TokenFile(tokens.path, check_seconds=0)
    token = tokens.create("a", fleet="demo", role=Role.INGEST)
    assert reader.lookup(token) is not None
    assert tokens.revoke("a")
    assert reader.lookup(token) is None
    assert not tokens.revoke("a")


def test_the_fleet_of_a_revoked_token_stays_known(tokens: TokenFile) -> None:
    tokens.create("a", fleet="demo", role=Role.INGEST)
    tokens.revoke("a")
    assert tokens.fleets() == {"demo"}


def test_names_are_taken_once_and_roles_are_known(tokens: TokenFile) -> None:
    tokens.create("a", fleet="demo", role=Role.INGEST)
    with pytest.raises(UsageError, match="'a'"):
        tokens.create("a", fleet="demo", role=Role.INGEST)
    with pytest.raises(UsageError, match="emperor"):
        tokens.create("b", fleet="demo", role="emperor")
    with pytest.raises(UsageError, match="name"):
        tokens.create("", fleet="demo", role="viewer")


def test_a_broken_file_leaves_the_last_good_tokens_in_force(tokens: TokenFile) -> None:
    token = tokens.create("a", fleet="demo", role=Role.INGEST)
    assert tokens.lookup(token) is not None
    tokens.path.write_text("{")
    assert tokens.lookup(token) is not None
    with pytest.raises(UsageError, match="tokens.json"):
        tokens.list()


def test_writers_at_the_same_time_lose_no_token(tokens: TokenFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(
            pool.map(lambda n: TokenFile(tokens.path).create(f"t{n}", fleet="demo", role="viewer"), range(32))
        )
    assert all(tokens.lookup(token) for token in created)
