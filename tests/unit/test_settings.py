from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tidegate import settings
from tidegate.errors import UsageError
from tidegate.settings import Settings, address, load


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a tidegate.toml to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_names_that_users_script_against_have_their_defaults() -> None:
    found = load({})
    assert found.gateway_listen == "127.0.0.1:8080"
    assert found.api_listen == "127.0.0.1:8081"
    assert found.kafka_listen == "127.0.0.1:9092"
    assert found.clickhouse_listen == "127.0.0.1:8123"
    assert found.data_dir == "./tidegate-data"
    assert found == Settings()


def test_the_environment_wins_over_the_file_and_options_over_both(elsewhere: Path) -> None:
    (elsewhere / "tidegate.toml").write_text(
        'gateway_listen = "0.0.0.0:1"\napi_listen = "0.0.0.0:2"\ndata_dir = "/srv"'
    )
    environment = {"TIDEGATE_API_LISTEN": "0.0.0.0:3", "TIDEGATE_DATA_DIR": "/var"}
    found = load(environment, overrides={"data_dir": "/tmp", "log_level": None})
    assert found.gateway_listen == "0.0.0.0:1"
    assert found.api_listen == "0.0.0.0:3"
    assert found.data_dir == "/tmp"
    assert found.log_level == "info"


def test_a_table_of_the_file_is_a_prefix(elsewhere: Path) -> None:
    (elsewhere / "other.toml").write_text('[gateway]\nlisten = "0.0.0.0:1"\nlinger_ms = 2\n')
    found = load({"TIDEGATE_CONFIG": "other.toml"})
    assert (found.gateway_listen, found.gateway_linger_ms) == ("0.0.0.0:1", 2.0)
    assert isinstance(found.gateway_linger_ms, float)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TIDEGATE_KAFKA_PARTITIONS", "many", "TIDEGATE_KAFKA_PARTITIONS: 'many' is not a whole number"),
        ("TIDEGATE_KAFKA_PARTITIONS", "1.5", "whole number"),
        ("TIDEGATE_GATEWAY_LINGER_MS", "soon", "TIDEGATE_GATEWAY_LINGER_MS: 'soon' is not a number"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_setting(variable: str, value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load({variable: value})


def test_a_boolean_is_no_number_in_the_file(elsewhere: Path) -> None:
    (elsewhere / "tidegate.toml").write_text("kafka_partitions = true")
    with pytest.raises(UsageError, match="kafka_partitions"):
        load({})


def test_the_file_must_be_there_when_named_and_know_every_name(elsewhere: Path) -> None:
    with pytest.raises(UsageError, match=r"TIDEGATE_CONFIG: no file at away\.toml"):
        load({"TIDEGATE_CONFIG": "away.toml"})
    (elsewhere / "tidegate.toml").write_text("[gateway]\nlissten = 'x'\n")
    with pytest.raises(UsageError, match="unknown setting gateway_lissten"):
        load({})
    (elsewhere / "tidegate.toml").write_text("gateway_listen = ")
    with pytest.raises(UsageError, match="not TOML"):
        load({})


def test_settings_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load({}).data_dir = "elsewhere"  # type: ignore[misc]


def test_tokens_stand_in_the_data_folder_unless_told_otherwise() -> None:
    assert load({"TIDEGATE_DATA_DIR": "/d"}).tokens_path == Path("/d/tokens.json")
    assert load({"TIDEGATE_TOKENS_FILE": "/t.json"}).tokens_path == Path("/t.json")


def test_every_row_of_the_table_has_help_and_a_variable() -> None:
    rows = list(settings.table())
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.help and row.variable == "TIDEGATE_" + row.name.upper() for row in rows)
    assert [row.name for row in rows if row.secret] == ["clickhouse_url"]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("host:65535", ("host", 65535))],
)
def test_an_address_is_host_and_port(listen: str, expected: tuple[str, int]) -> None:
    assert address(listen, "x") == expected


@pytest.mark.parametrize("listen", ["8080", ":8080", "host:", "host:http", "host:65536", ""])
def test_anything_else_is_no_address(listen: str) -> None:
    with pytest.raises(UsageError, match="gateway_listen"):
        address(listen, "gateway_listen")
