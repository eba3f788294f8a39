"""The settings: one table of name, type, default and help, read once into a frozen object.

Sources, the later wins: the defaults below, a TOML file (``tidegate.toml`` or ``TIDEGATE_CONFIG``),
environment variables ``TIDEGATE_<NAME>``. In TOML a setting is written flat (``gateway_listen = …``)
or in a table (``[gateway]`` and ``listen = …``). A secret may stand in a file of its own instead, which
``TIDEGATE_<NAME>_FILE`` (in TOML ``<name>_file``) names. A name that is no setting is refused. The rest
of the code receives values: nothing else reads the environment.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tidegate.contracts.limits import SHARE, largest_event
from tidegate.errors import UsageError
from tidegate.setting_sources import PREFIX, Row, read

CLICKHOUSE_CREDENTIALS = "clickhouse-credentials.json"  # in the data folder of `up`

LOG_FORMATS = ("text", "json")
MOST_DAYS = 36_500
LEAST_COPIED_DAYS = 3  # refreshes look two days back


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
    log_format: str = setting("text", "Form of the logs: text, or json, an object a line")
    pseudonymise: bool = setting(
        False,
        "Whether keyed pseudonyms are stored in place of MACs of clients and device ids, by the key file of"
        " pseudonym_key_file; the same for every worker, api and operator. See docs/privacy.md",
    )
    tokens_file: str = setting("", "Token file (hashes); empty: <data_dir>/tokens.json")
    decoder: str = setting(
        "auto", "Decoder of worker and gateway: auto (native where it is installed), native or python"
    )
    lookups_dir: str = setting("", "Folder whose CSV files replace the shipped lookups of the same name")

    control_key_file: str = setting(
        "",
        "Key that tidegate.control is signed with, the same for all roles; `tidegate topics` draws it; empty:"
        " <data_dir>/control-key.json",
    )
    idempotency_window_hours: float = setting(
        24.0, "How long the same Idempotency-Key or event_id lands once, hours"
    )

    # HTTP, of every role
    http_connections: int = setting(2000, "Most connections of a process; further ones are answered 503")
    http_head_seconds: float = setting(
        15.0, "Longest wait for the first byte of a connection, and for the whole head of a request, seconds"
    )
    http_body_seconds: float = setting(30.0, "Longest time that the body of a request may take, seconds")
    http_idle_seconds: float = setting(15.0, "How long a connection may wait for its next request, seconds")
    http_stall_seconds: float = setting(
        30.0, "A connection ends whose client takes less than 48 KiB of an answer in this time, seconds"
    )
    http_notice_seconds: float = setting(
        0.0,
        "On SIGTERM, how long gateway and api go on serving while /readyz is 503: as long as a load balancer"
        " takes to look away, seconds",
    )
    metrics_listen: str = setting(
        "",
        "An address of its own for /metrics, open to all who reach it; elsewhere it answers loopback and "
        "tokens alone. Empty: none. `up` gives its roles ports one after another from here",
    )

    # Traces
    otel_endpoint: str = setting(
        "", "URL of an OpenTelemetry receiver of OTLP over HTTP, as http://127.0.0.1:4318; empty: no traces"
    )
    otel_share: float = setting(
        1.0, "Share of the traces that begin here which are kept, 0 to 1; others as their sender says"
    )

    # Kafka
    kafka_bootstrap: str = setting("127.0.0.1:9092", "Kafka bootstrap servers, comma-separated host:port")
    kafka_security_protocol: str = setting("PLAINTEXT", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    kafka_sasl_mechanism: str = setting("", "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER")
    kafka_sasl_username: str = setting("", "User at the broker; for OAUTHBEARER the client's id")
    kafka_sasl_password: str = setting(
        "", "Password of that user; for OAUTHBEARER the client's secret", secret=True
    )
    kafka_oauth_token_url: str = setting("", "Where OAUTHBEARER's tokens come from: client credentials")
    kafka_oauth_scope: str = setting("", "Scope of those tokens; empty: the server's default")
    kafka_ca_file: str = setting(
        "", "PEM file of the CAs that broker certificates are held to; empty: the system's"
    )
    kafka_cert_file: str = setting("", "PEM file of this client's certificate, with its chain; empty: none")
    kafka_key_file: str = setting("", "PEM file of that certificate's key, not encrypted")
    kafka_partitions: int = setting(4, "Partitions of each topic when `tidegate topics` creates them")
    kafka_replication: int = setting(1, "Replication factor of created topics")
    kafka_retention_hours: int = setting(72, "Retention of created topics, hours")
    kafka_session_timeout_ms: int = setting(6000, "Consumer group session timeout, milliseconds")
    kafka_max_record_bytes: int = setting(
        16_777_216,
        "Largest Kafka record, bytes: the same for all roles, and the topics' max.message.bytes; an event may"
        " take a quarter of it",
    )

    # ClickHouse
    clickhouse_url: str = setting(
        "http://127.0.0.1:8123", "ClickHouse HTTP URL, with user and password if any", secret=True
    )
    clickhouse_password: str = setting(
        "", "Password of the user in clickhouse_url, where that has none", secret=True
    )
    clickhouse_database: str = setting("tidegate", "Database of Tidegate's tables")
    clickhouse_ca_file: str = setting(
        "", "PEM file of the CAs that ClickHouse's certificate is held to; empty: the system's"
    )
    clickhouse_cert_file: str = setting(
        "", "PEM file of this client's certificate at ClickHouse; empty: none"
    )
    clickhouse_key_file: str = setting("", "PEM file of that certificate's key")
    clickhouse_cluster: str = setting(
        "", "Cluster name: DDL runs ON CLUSTER with Replicated engines; empty: one server"
    )
    ttl_connection_logs_days: int = setting(90, "Days to keep connection_logs; 0: for ever")
    ttl_client_events_days: int = setting(90, "Days to keep client_events; 0: for ever")
    ttl_site_events_days: int = setting(
        3,
        "Days to keep site_events, the copy of client_events that insight reads windows of these days from:"
        " 3 or more, but no longer than client_events; 0: as long",
    )
    ttl_device_logs_days: int = setting(365, "Days to keep device_logs; 0: for ever")
    ttl_rejects_days: int = setting(30, "Days to keep rejects; 0: for ever")
    ttl_alerts_days: int = setting(400, "Days to keep alerts; 0: for ever")
    ttl_webhook_deliveries_days: int = setting(90, "Days to keep webhook_deliveries; 0: for ever")
    ttl_rollups_1m_days: int = setting(30, "Days to keep minute rollups; 0: for ever")
    ttl_rollups_1h_days: int = setting(400, "Days to keep hour rollups; 0: for ever")
    ttl_rollups_1d_days: int = setting(0, "Days to keep day rollups; 0: for ever")
    ttl_site_outcomes_days: int = setting(
        0, "Days to keep site_outcomes, which has nothing of a client; 0: for ever"
    )
    fleet_retention_days: str = setting(
        "",
        "Fleets of which all but site_outcomes is kept shorter than the ttl_ settings say, each with its"
        " days: north=30,lab=7",
    )

    # HTTPS of gateway and API
    tls_cert_file: str = setting(
        "", "PEM file of the certificate that gateway and API serve, with its chain; reread; empty: HTTP"
    )
    tls_key_file: str = setting("", "PEM file of that certificate's key, not encrypted")

    # Gateway
    gateway_listen: str = setting("127.0.0.1:8080", "Address of the gateway, host:port")
    gateway_max_body_bytes: int = setting(8_388_608, "Largest request body as sent, bytes")
    gateway_max_decoded_bytes: int = setting(33_554_432, "Largest request body after decompression, bytes")
    gateway_max_expansion: int = setting(
        200, "Most bytes that a byte of a compressed body may become, beyond the first MiB of them"
    )
    gateway_max_batch_events: int = setting(10_000, "Most events in one request")
    gateway_max_event_bytes: int = setting(
        1_048_576, "Largest event over HTTP, bytes; at most a quarter of kafka_max_record_bytes"
    )
    gateway_linger_ms: float = setting(
        5.0, "Longest wait for more events before a frame is sent, milliseconds"
    )
    gateway_frame_events: int = setting(1000, "Most events in a frame")
    gateway_frame_bytes: int = setting(
        1_048_576,
        "A frame is sent when it holds this many bytes; at most a quarter of kafka_max_record_bytes",
    )
    gateway_queue_bytes: int = setting(
        67_108_864, "Accepted but unacknowledged bytes before the gateway answers 503"
    )
    gateway_ack_timeout_ms: int = setting(
        10_000, "Longest wait for the broker's ack before 503, milliseconds"
    )
    gateway_answer_ms: int = setting(
        850, "Longest silence of the broker, asked ten times a second, before 503, milliseconds"
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
    alerts_rules_file: str = setting(
        "", "TOML file of the alert rules, looked at again every minute; empty: the product's"
    )
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
        1000, "Age to which batches may grow where inserts would come too often, milliseconds"
    )
    sink_late_age_ms: int = setting(
        2000, "Age to which batches may grow while their newest event is more than 5 s old, milliseconds"
    )
    sink_drain_seconds: float = setting(10.0, "Longest wait for the last inserts on SIGTERM, seconds")
    sink_group: str = setting("tidegate-sink", "Kafka consumer group of the sink")

    # API
    api_listen: str = setting("127.0.0.1:8081", "Address of the query API, host:port")
    public_url: str = setting(
        "", "URL that links in answers begin with; empty: a loopback Host, else links are relative"
    )
    link_key_file: str = setting(
        "",
        "Key file that signs cursors and names of files, the same for every api;"
        " empty: <data_dir>/link-key.json, drawn at first use",
    )
    pseudonym_key_file: str = setting(
        "",
        "Key file of pseudonyms (`tohashmac`, `pseudonymise`), the same for every api and worker;"
        " empty: <data_dir>/pseudonym-key.json, drawn at first use",
    )
    api_query_seconds: float = setting(30.0, "Longest run of one query in ClickHouse, seconds")
    api_query_memory_bytes: int = setting(2_000_000_000, "Most memory of one query in ClickHouse, bytes")
    api_query_rows: int = setting(200_000, "Most rows that one query in ClickHouse may answer")
    api_export_rows: int = setting(10_000_000, "Most rows of one export")
    api_export_seconds: float = setting(600.0, "Longest run of one export, seconds")
    api_exports: int = setting(8, "Exports and association files that one api process sends at once")
    api_exports_per_fleet: int = setting(4, "Of these, most for one fleet")
    api_exports_per_token: int = setting(2, "Of these, most for one token")
    api_reader_least_bytes_per_second: int = setting(
        16_384,
        "Rate at which a reader must take an answer: who is behind by http_stall_seconds is ended, bytes/s",
    )
    api_association_file_seconds: int = setting(
        3600, "How long a file of associations can be fetched, and how long fetching it may take, seconds"
    )

    api_session_hours: float = setting(12.0, "How long a login to the dashboard lasts, hours")
    api_login_link_minutes: float = setting(
        10.0, "How long a link that logs in once can be used, minutes (`tidegate token link`, `tidegate up`)"
    )
    api_live_connections: int = setting(64, "Browsers and programs that follow /api/v1/live at once")

    # Notify
    notify_listen: str = setting("127.0.0.1:8084", "Address of notify's /healthz, /readyz and /metrics")
    notify_group: str = setting("tidegate-notify", "Kafka consumer group of notify")
    webhooks_file: str = setting(
        "", "File of webhook endpoints and their secrets; empty: <data_dir>/webhooks.json"
    )
    webhook_allow: str = setting(
        "",
        "Addresses, CIDR blocks and host names, comma-separated, that webhooks may have though they are not"
        " public; there also http",
    )
    webhook_ca_file: str = setting(
        "", "PEM file of the CAs that certificates of webhooks are held to; empty: the system's"
    )
    webhook_seconds: float = setting(15.0, "Longest time of one attempt, seconds")

    # Connectors
    connect_listen: str = setting(
        "127.0.0.1:8085", "Address of a connector's webhook, and of its /healthz, /readyz and /metrics"
    )
    connect_gateway_url: str = setting("http://127.0.0.1:8080", "The gateway that connectors post to")
    connect_ca_file: str = setting(
        "", "PEM file of the CAs that the gateway's certificate is held to; empty: the system's"
    )
    connect_token: str = setting("", "Token that a connector writes with: its fleet's", secret=True)
    connect_secret: str = setting(
        "", "What senders prove: the secret of a webhook, or the one shared with RADIUS clients", secret=True
    )
    connect_max_body_bytes: int = setting(1_048_576, "Largest body of a webhook, bytes")
    connect_radius_listen: str = setting("127.0.0.1:1813", "UDP address of RADIUS accounting")
    connect_syslog_listen: str = setting("127.0.0.1:5514", "UDP and TCP address of syslog")
    connect_kafka_bootstrap: str = setting(
        "", "Kafka that OpenWiFi writes to, with the kafka_ settings' security; empty: kafka_bootstrap"
    )
    connect_group: str = setting("tidegate-connect", "Kafka consumer group of a connector")
    connect_allow: str = setting(
        "127.0.0.0/8,::1/128",
        "Addresses and CIDR blocks, comma-separated, that RADIUS and syslog are taken from",
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

    def kept_days(self, fleet: str, days: int) -> int:
        """How many days rows of a fleet are kept in a table that keeps `days`; 0 for ever, of both."""
        own = days_of_fleets(self.fleet_retention_days).get(fleet, 0)
        return min(filter(None, (own, days)), default=0)

    @property
    def control_key_path(self) -> Path:
        return Path(self.control_key_file or Path(self.data_dir) / "control-key.json")

    @property
    def clickhouse_credentials_path(self) -> Path:
        """Where `up` keeps the passwords of its ClickHouse."""
        return Path(self.data_dir) / CLICKHOUSE_CREDENTIALS

    @property
    def tokens_path(self) -> Path:
        return Path(self.tokens_file) if self.tokens_file else Path(self.data_dir) / "tokens.json"

    @property
    def webhooks_path(self) -> Path:
        return Path(self.webhooks_file) if self.webhooks_file else Path(self.data_dir) / "webhooks.json"

    @property
    def link_key_path(self) -> Path:
        return Path(self.link_key_file or Path(self.data_dir) / "link-key.json")

    @property
    def login_links_path(self) -> Path:
        """Folder of the links that log in once."""
        return Path(self.data_dir) / "login-links"

    @property
    def pseudonym_key_path(self) -> Path:
        return Path(self.pseudonym_key_file or Path(self.data_dir) / "pseudonym-key.json")


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
    Raises UsageError naming the setting for an unknown name, a value of the wrong type, or values that do
    not go together.
    """
    rows = {row.name: row for row in table()}
    loaded = Settings(**read(rows, os.environ if environment is None else environment, overrides or {}))
    if loaded.log_format not in LOG_FORMATS:
        raise UsageError(f"log_format: {loaded.log_format!r} is none of {', '.join(LOG_FORMATS)}")
    if not 0 <= loaded.otel_share <= 1:
        raise UsageError(f"otel_share: {loaded.otel_share} is not from 0 to 1")
    if 0 < loaded.ttl_site_events_days < LEAST_COPIED_DAYS:
        raise UsageError(
            f"ttl_site_events_days is {loaded.ttl_site_events_days}, but at least {LEAST_COPIED_DAYS}, or 0:"
            " events of the last two days are copied, those that have gone again and again"
        )
    days_of_fleets(loaded.fleet_retention_days)
    _check_sizes(loaded)
    return loaded


@lru_cache(maxsize=16)
def days_of_fleets(text: str) -> Mapping[str, int]:
    """The days that `fleet_retention_days` gives to fleets. Raises UsageError."""
    found: dict[str, int] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        fleet, _, days = (each.strip() for each in part.rpartition("="))
        if not fleet or not days.isdecimal() or not 0 < int(days) <= MOST_DAYS or fleet in found:
            raise UsageError(
                f"fleet_retention_days: {part!r} is not a fleet, named once, with 1 to {MOST_DAYS} days"
            )
        found[fleet] = int(days)
    return found


def _check_sizes(loaded: Settings) -> None:
    """What the gateway acknowledges must fit the records that the worker makes of it."""
    most = largest_event(loaded.kafka_max_record_bytes)
    for name in ("gateway_max_event_bytes", "gateway_frame_bytes"):
        if (size := getattr(loaded, name)) > most:
            raise UsageError(
                f"{name} is {size}, but at most {most}, a quarter of kafka_max_record_bytes"
                f" ({loaded.kafka_max_record_bytes}): lower it, or set kafka_max_record_bytes for all roles,"
                f" and max.message.bytes of the topics, to at least {size * SHARE}"
            )
    if loaded.gateway_queue_bytes < (least := 2 * loaded.gateway_max_event_bytes):
        raise UsageError(
            f"gateway_queue_bytes is {loaded.gateway_queue_bytes}, but at least {least}, twice"
            " gateway_max_event_bytes: an event counts as held while it is read and while it is on its way"
        )


def child_environment(settings: Settings) -> dict[str, str]:
    """This process's environment for a child that is to have exactly these settings."""
    others = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return others | {row.variable: str(getattr(settings, row.name)) for row in table()}


def address(listen: str, name: str) -> tuple[str, int]:
    """Split ``host:port``; `name` is the setting that an error names."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{name}: {listen!r} is not host:port")
    return host.strip("[]"), int(port)
