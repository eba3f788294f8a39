import re
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
    secrets = [row.name for row in rows if row.secret]
    assert secrets == [
        "kafka_sasl_password",
        "clickhouse_url",
        "clickhouse_password",
        "connect_token",
        "connect_secret",
    ]


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


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "TIDEGATE_GATEWAY_LISTN",
            "TIDEGATE_GATEWAY_LISTN is no setting; did you mean TIDEGATE_GATEWAY_LISTEN",
        ),
        ("TIDEGATE_GATEWAY_MAX_EVENTS_BYTES", "did you mean TIDEGATE_GATEWAY_MAX_EVENT_BYTES"),
        ("tidegate_kafka_bootstrap", "did you mean TIDEGATE_KAFKA_BOOTSTRAP"),
        ("TIDEGATE_CLICKHOUSE_URL_FIEL", "did you mean TIDEGATE_CLICKHOUSE_URL_FILE"),
        ("TIDEGATE_GATEWAY_LISTEN_FILE", "is no setting"),  # no secret
        ("TIDEGATE_KAFKA_PORT", "is no setting"),
        ("TIDEGATE_ZZZZZZ", "docs/settings.md lists them all"),
    ],
)
def test_a_variable_that_is_no_setting_is_refused_with_the_nearest_name(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        load({name: "x"})


def test_what_others_read_and_what_kubernetes_writes_is_let_be() -> None:
    theirs = {
        "TIDEGATE_IMAGE": "tidegate:1",
        "TIDEGATE_GATEWAY_PORT": "tcp://10.0.0.1:8080",
        "TIDEGATE_SINK_PORT": "tcp://10.0.0.1:8083",
        "TIDEGATE_SINK_SERVICE_HOST": "10.0.0.1",
        "TIDEGATE_SINK_SERVICE_PORT": "8083",
        "TIDEGATE_SINK_SERVICE_PORT_HTTP": "8083",
        "TIDEGATE_SINK_PORT_8083_TCP": "tcp://10.0.0.1:8083",
        "TIDEGATE_SINK_PORT_8083_TCP_ADDR": "10.0.0.1",
        "TIDEGATER": "x",
    }
    assert load(theirs) == Settings()


def test_the_file_says_the_nearest_name_too(elsewhere: Path) -> None:
    (elsewhere / "tidegate.toml").write_text("[gateway]\nlissten = 'x'\n")
    with pytest.raises(UsageError, match="did you mean gateway_listen"):
        load({})


def test_one_setting_is_not_set_twice_in_the_file(elsewhere: Path) -> None:
    (elsewhere / "tidegate.toml").write_text("gateway_listen = 'a:1'\n[gateway]\nlisten = 'b:1'\n")
    with pytest.raises(UsageError, match="gateway_listen is set twice"):
        load({})
    (elsewhere / "tidegate.toml").write_text("data_dir = ['a']\n")
    with pytest.raises(UsageError, match="data_dir in the TOML file: list"):
        load({})


def test_a_secret_may_stand_in_a_file(elsewhere: Path) -> None:
    secret = elsewhere / "secret"
    secret.write_text("http://me:geheim@h:1\n")
    assert load({"TIDEGATE_CLICKHOUSE_URL_FILE": str(secret)}).clickhouse_url == "http://me:geheim@h:1"
    # An empty variable, as Compose writes one that is not given, says nothing.
    both = {"TIDEGATE_CLICKHOUSE_URL_FILE": str(secret), "TIDEGATE_CLICKHOUSE_URL": ""}
    assert load(both).clickhouse_url == "http://me:geheim@h:1"
    assert load({"TIDEGATE_CLICKHOUSE_URL_FILE": ""}) == Settings()

    (elsewhere / "tidegate.toml").write_text("[clickhouse]\nurl_file = 'secret'\n")
    assert load({}).clickhouse_url == "http://me:geheim@h:1"
    assert load({"TIDEGATE_CLICKHOUSE_URL": "http://h:2"}).clickhouse_url == "http://h:2"


def test_a_secrets_file_that_cannot_be_is_refused_without_showing_it(elsewhere: Path) -> None:
    variable = "TIDEGATE_CLICKHOUSE_URL_FILE"
    for data, said in [
        (b"\n", "is empty"),
        (b"geheim\xff", "not UTF-8"),
        (b"geheim" * 20_000, "larger than"),
    ]:
        (elsewhere / "secret").write_bytes(data)
        with pytest.raises(UsageError, match=f"{variable}: .*{said}") as raised:
            load({variable: str(elsewhere / "secret")})
        assert "geheim" not in str(raised.value)
    with pytest.raises(UsageError, match=f"{variable}: .*No such file"):
        load({variable: str(elsewhere / "away")})
    with pytest.raises(UsageError, match="both set"):
        load({variable: str(elsewhere / "secret"), "TIDEGATE_CLICKHOUSE_URL": "http://h:1"})


def test_a_child_gets_exactly_the_settings_in_force(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "secret").write_text("http://h:1")
    monkeypatch.setenv("TIDEGATE_CLICKHOUSE_URL_FILE", str(elsewhere / "secret"))
    monkeypatch.setenv("LANG", "C")
    found = load(None, overrides={"log_level": "debug"})
    given = settings.child_environment(found)
    assert load(given) == found
    assert given["LANG"] == "C"


QUARTER = 16_777_216 // 4


@pytest.mark.parametrize("name", ["gateway_max_event_bytes", "gateway_frame_bytes"])
def test_what_the_gateway_takes_fits_the_worker(name: str) -> None:
    """A longer event was acknowledged, and refused by the worker."""
    variable = f"TIDEGATE_{name.upper()}"
    assert getattr(load({variable: str(QUARTER)}), name) == QUARTER
    with pytest.raises(UsageError, match=rf"{name} is {QUARTER + 1}, .* kafka_max_record_bytes"):
        load({variable: str(QUARTER + 1)})
    load({variable: str(QUARTER + 1), "TIDEGATE_KAFKA_MAX_RECORD_BYTES": str(4 * QUARTER + 4)})
    with pytest.raises(UsageError, match=f"{name} .*kafka_max_record_bytes.* to at least {4 * QUARTER + 4}"):
        load({variable: str(QUARTER + 1)})


def test_the_queue_holds_an_event() -> None:
    with pytest.raises(UsageError, match="gateway_queue_bytes is 2000000, .* gateway_max_event_bytes"):
        load({"TIDEGATE_GATEWAY_QUEUE_BYTES": "2000000"})


def test_a_form_of_logs_that_there_is_not() -> None:
    with pytest.raises(UsageError, match="log_format: 'xml' is none of text, json"):
        settings.load({"TIDEGATE_LOG_FORMAT": "xml"})


def test_days_of_fleets() -> None:
    found = load({"TIDEGATE_FLEET_RETENTION_DAYS": " north = 30,a=b=7 ,"})
    kept = [found.kept_days(fleet, days) for fleet in ("north", "a=b", "south") for days in (90, 14, 0)]
    assert kept == [30, 14, 30, 7, 7, 7, 90, 14, 0]


@pytest.mark.parametrize(
    "text", ["north", "north=", "=3", "north=0", "north=x", "north=1,north=2", "a=99999"]
)
def test_days_of_fleets_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="fleet_retention_days"):
        load({"TIDEGATE_FLEET_RETENTION_DAYS": text})


@pytest.mark.parametrize(("days", "taken"), [(0, True), (1, False), (2, False), (3, True)])
def test_what_is_copied_is_kept_while_it_is_looked_for(days: int, taken: bool) -> None:
    environment = {"TIDEGATE_TTL_SITE_EVENTS_DAYS": str(days)}
    if taken:
        assert load(environment).ttl_site_events_days == days
        return
    with pytest.raises(UsageError, match=rf"ttl_site_events_days is {days}, but at least 3, or 0"):
        load(environment)
