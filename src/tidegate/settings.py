"""The settings: one table of name, type, default and help, read once into a frozen object.

Sources, the later wins: the defaults below, a TOML file (``tidegate.toml`` or ``TIDEGATE_CONFIG``),
environment variables ``TIDEGATE_<NAME>``. In TOML a setting is written flat (``gateway_listen = …``)
or in a table (``[gateway]`` and ``listen = …``). The rest of the code receives values: nothing but
this module reads the environment.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import UsageError

PREFIX = "TIDEGATE_"


def setting(default: Any, help: str, *, secret: bool = False) -> Any:
    """A row of the table: its default, what it does (with the unit), and whether `check` masks it."""
    return dataclasses.field(default=default, metadata={"help": help, "secret": secret})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of every role. Types: str, int, float, bool."""

    # Shared by all roles
    data_dir: str = setting(
        "./tidegate-data", "Folder for local state: engines of `up`, tokens, Faust tables"
    )
    log_level: str = setting("info", "debug, info, warning or error")
    tokens_file: str = setting("", "Token file (hashes); empty: <data_dir>/tokens.json")
    lookups_dir: str = setting("", "Folder whose CSV files replace the shipped lookups of the same name")

    idempotency_window_hours: float = setting(
        24.0, "How long the same Idempotency-Key or event_id lands once, hours"
    )

    # Kafka
    kafka_bootstrap: str = setting("127.0.0.1:9092", "Kafka bootstrap servers, comma-separated host:port")
    kafka_partitions: int = setting(4, "Partitions of each topic when `tidegate topics` creates them")
    kafka_replication: int = setting(1, "Replication factor of created topics")
    kafka_retention_hours: int = setting(72, "Retention of created topics, hours")
    kafka_session_timeout_ms: int = setting(6000, "Consumer group session timeout, milliseconds")
    kafka_max_record_bytes: int = setting(16_777_216, "Largest Kafka record that roles write or read, bytes")

    # ClickHouse
    clickhouse_url: str = setting(
        "http://127.0.0.1:8123", "ClickHouse HTTP URL, with user and password if any", secret=True
    )
    clickhouse_database: str = setting("tidegate", "Database of Tidegate's tables")
    clickhouse_cluster: str = setting(
        "", "Cluster name: DDL runs ON CLUSTER with Replicated engines; empty: one server"
    )
    ttl_connection_logs_days: int = setting(90, "Days to keep connection_logs; 0: for ever")
    ttl_client_events_days: int = setting(90, "Days to keep client_events; 0: for ever")
    ttl_device_logs_days: int = setting(365, "Days to keep device_logs; 0: for ever")
    ttl_rejects_days: int = setting(30, "Days to keep rejects; 0: for ever")
    ttl_rollups_1m_days: int = setting(30, "Days to keep minute rollups; 0: for ever")
    ttl_rollups_1h_days: int = setting(400, "Days to keep hour rollups; 0: for ever")
    ttl_rollups_1d_days: int = setting(0, "Days to keep day rollups; 0: for ever")

    # Gateway
    gateway_listen: str = setting("127.0.0.1:8080", "Address of the gateway, host:port")
    gateway_max_body_bytes: int = setting(8_388_608, "Largest request body as sent, bytes")
    gateway_max_decoded_bytes: int = setting(33_554_432, "Largest request body after decompression, bytes")
    gateway_max_batch_events: int = setting(10_000, "Most events in one request")
    gateway_max_event_bytes: int = setting(1_048_576, "Largest single event, bytes")
    gateway_linger_ms: float = setting(
        5.0, "Longest wait for more events before a frame is sent, milliseconds"
    )
    gateway_frame_events: int = setting(1000, "Most events in a frame")
    gateway_frame_bytes: int = setting(1_048_576, "A frame is sent when it holds this many bytes")
    gateway_queue_bytes: int = setting(
        67_108_864, "Accepted but unacknowledged bytes before the gateway answers 503"
    )
    gateway_ack_timeout_ms: int = setting(
        10_000, "Longest wait for the broker's ack before 503, milliseconds"
    )
    gateway_rate_events_per_second: float = setting(
        0.0, "Rate of a token that names none of its own, events/s; 0: no limit"
    )
    gateway_rate_bytes_per_second: float = setting(
        0.0, "Rate of a token that names none of its own, decompressed body bytes/s; 0: no limit"
    )
    gateway_rate_burst_seconds: float = setting(
        1.0, "How many seconds of its rate a token may spend at once, seconds"
    )
    gateway_keys_bytes: int = setting(
        67_108_864, "Memory for the answers that are known by their Idempotency-Key, bytes"
    )
    gateway_drain_seconds: float = setting(20.0, "Longest wait for open requests on SIGTERM, seconds")

    # Worker
    worker_listen: str = setting("127.0.0.1:8082", "Address of the worker's /healthz, /readyz and /metrics")
    worker_window_frames: int = setting(
        64, "Frames in flight for each partition before the worker waits for acks"
    )
    worker_window_bytes: int = setting(
        134_217_728, "Bytes in flight over all partitions before the worker waits for acks"
    )
    worker_buffer_frames: int = setting(256, "Raw frames of each stream that wait in memory for the worker")
    worker_geohash_precision: int = setting(6, "Characters of the geohash, 1 to 12")
    worker_clock_skew_seconds: int = setting(
        86_400, "Device time further than this from received time is flagged, seconds"
    )
    worker_keys_bytes: int = setting(
        268_435_456, "Memory for the keys seen in the window; the oldest go first, bytes"
    )
    worker_reject_share: float = setting(
        0.5, "Share of a fleet's lines of a stream that may be refused before it is paused; 0: no limit"
    )
    worker_reject_lines: int = setting(
        100_000, "Refused lines of a fleet's stream in a window below which it is not paused"
    )
    worker_reject_seconds: float = setting(300.0, "Window in which refused lines are counted, seconds")
    worker_watchdog_seconds: float = setting(
        60.0, "Exit when lag stands above zero and nothing moved for this long, seconds"
    )
    transform_version: str = setting(
        "1", "Version of the transforms; with a digest of the lookups part of each insert token"
    )

    # Sink
    sink_listen: str = setting("127.0.0.1:8083", "Address of the sink's /healthz, /readyz and /metrics")
    sink_batch_rows: int = setting(100_000, "Rows of an insert at which a batch is cut")
    sink_batch_bytes: int = setting(67_108_864, "Arrow bytes at which a batch is cut")
    sink_batch_age_ms: int = setting(300, "Age of the oldest frame at which a batch is cut, milliseconds")
    sink_insert_threads: int = setting(2, "Inserts in parallel, over partitions")
    sink_buffer_bytes: int = setting(
        268_435_456, "Frames held in memory before the sink stops reading, bytes"
    )
    sink_busy_age_ms: int = setting(
        500, "Age to which batches may grow where inserts would come too often, milliseconds"
    )
    sink_late_age_ms: int = setting(
        2000, "Age to which batches may grow while their newest event is more than 5 s old, milliseconds"
    )
    sink_drain_seconds: float = setting(10.0, "Longest wait for the last inserts on SIGTERM, seconds")
    sink_group: str = setting("tidegate-sink", "Kafka consumer group of the sink")
    test_pause_at: str = setting("", "For tests: a moment of the sink at which the process stops itself")

    # API
    api_listen: str = setting("127.0.0.1:8081", "Address of the query API, host:port")
    public_url: str = setting("", "URL that links in answers begin with; empty: taken from the request")
    api_query_seconds: float = setting(30.0, "Longest run of one query in ClickHouse, seconds")
    api_query_memory_bytes: int = setting(2_000_000_000, "Most memory of one query in ClickHouse, bytes")
    api_query_rows: int = setting(200_000, "Most rows that one query in ClickHouse may answer")
    api_export_rows: int = setting(10_000_000, "Most rows of one export")
    api_export_seconds: float = setting(600.0, "Longest run of one export, seconds")
    api_exports: int = setting(8, "Exports and association files that one api process sends at once")
    api_association_file_seconds: int = setting(
        3600, "How long a file of associations can be fetched, and how long fetching it may take, seconds"
    )

    # `tidegate up`
    up_partitions: int = setting(
        1, "Partitions of each topic that `up` creates: one machine has none to share out"
    )
    kafka_listen: str = setting("127.0.0.1:9092", "Address of the broker that `up` starts")
    clickhouse_listen: str = setting("127.0.0.1:8123", "Address of the ClickHouse that `up` starts")
    kafka_jars: str = setting(
        "",
        "Folder of Apache Kafka's jars for `--broker kafka`; empty: Maven fetches them to ~/.cache/tidegate",
    )

    @property
    def tokens_path(self) -> Path:
        return Path(self.tokens_file) if self.tokens_file else Path(self.data_dir) / "tokens.json"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, for `check` and the reference page."""

    name: str
    type: type
    default: Any
    help: str
    secret: bool

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


TYPES: Mapping[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def table() -> Iterator[Row]:
    """Every setting in the order of the class."""
    for field in dataclasses.fields(Settings):
        yield Row(
            field.name,
            TYPES[str(field.type)],
            field.default,
            field.metadata["help"],
            field.metadata["secret"],
        )


def load(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Read the settings once.

    `environment` defaults to the process's; `overrides` (command-line options) win over everything.
    Raises UsageError naming the setting for an unknown name or a value of the wrong type.
    """
    env = os.environ if environment is None else environment
    rows = {row.name: row for row in table()}
    values: dict[str, Any] = {}
    for name, value in _from_toml(env, rows).items():
        values[name] = _typed(rows[name], value, f"{name} in the TOML file")
    for name, row in rows.items():
        if row.variable in env:
            values[name] = _typed(row, env[row.variable], row.variable)
    for name, value in (overrides or {}).items():
        if value is not None:
            values[name] = _typed(rows[name], value, name)
    return Settings(**values)


def _from_toml(env: Mapping[str, str], rows: Mapping[str, Row]) -> dict[str, Any]:
    named = env.get(PREFIX + "CONFIG")
    path = Path(named or "tidegate.toml")
    if not path.is_file():
        if named:
            raise UsageError(f"{PREFIX}CONFIG: no file at {path}")
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat.update({f"{key}_{inner}": item for inner, item in value.items()})
        else:
            flat[key] = value
    for name in flat:
        if name not in rows:
            raise UsageError(f"{path}: unknown setting {name}")
    return flat


def _typed(row: Row, value: Any, source: str) -> Any:
    if row.type is bool:
        text = str(value).strip().lower()
        if text in {"1", "true", "yes", "on"}:
            return True
        if text in {"0", "false", "no", "off"}:
            return False
        raise UsageError(f"{source}: {value!r} is not true or false")
    if row.type is not str and isinstance(value, bool):
        raise UsageError(f"{source}: {value!r} is not a number")
    try:
        return row.type(value)
    except (TypeError, ValueError) as error:
        kind = {int: "a whole number", float: "a number"}.get(row.type, "text")
        raise UsageError(f"{source}: {value!r} is not {kind}") from error


def address(listen: str, name: str) -> tuple[str, int]:
    """Split ``host:port``; `name` is the setting that an error names."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{name}: {listen!r} is not host:port")
    return host.strip("[]"), int(port)
