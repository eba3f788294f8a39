"""Log set-up, and every metric of every role, declared once.

The comment on each metric says what to do when it moves. Labels are few and bounded: stream,
partition, kind, outcome. Logs are written a line a batch or state change, never a line an event.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric

from tidegate.log_format import JsonFormatter, LineFormatter


def configure_logging(role: str, level: str, format: str = "text") -> None:
    """Logs on standard error: lines led by time, level and role (`text`), or an object a line (`json`)."""
    handler = logging.StreamHandler(sys.stderr)
    if format == "json":
        handler.setFormatter(JsonFormatter(role))
    else:
        handler.setFormatter(LineFormatter(f"%(asctime)s %(levelname)-7s {role} %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if level.upper() != "DEBUG":
        for name in ("aiokafka", "clickhouse_connect"):  # what they are told to do is no news to an operator
            logging.getLogger(name).setLevel(logging.WARNING)


ROLES = ("gateway", "worker", "sink", "api", "notify", "connect")


class RoleMetrics:
    """The metrics that one role exports: the process's and its own. Those of other roles are declared in the
    same process, and as 0 would make an alert on a minimum wrong."""

    def __init__(self, role: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._registry = registry
        self._others = tuple(f"tidegate_{other}_" for other in ROLES if other != role)

    def collect(self) -> Iterator[Metric]:
        return (metric for metric in self._registry.collect() if not metric.name.startswith(self._others))


# HTTP, at every role

# At `http_connections`: further ones are answered 503; add processes, or look for who holds so many.
HTTP_CONNECTIONS = Gauge("tidegate_http_connections", "Open HTTP connections")
# Rising `head`, `body`, `first_byte`, `stalled`: clients on bad networks, or somebody who holds connections;
# `full`: the cap was reached; `idle` is how a connection without work ends.
HTTP_ENDED = Counter(
    "tidegate_http_ended_connections_total", "Connections ended by a limit, by which one", ["reason"]
)
# Rising: a client speaks broken HTTP, or somebody tries what a server takes; `code` is that of the answer.
HTTP_REFUSED = Counter(
    "tidegate_http_refused_requests_total", "Requests refused before a route saw them", ["code"]
)


# Gateway

# Rising 4xx: a sender broke its format or its token; 503: the broker is away or too slow.
GATEWAY_REQUESTS = Counter(
    "tidegate_gateway_requests_total", "Answered ingest requests", ["stream", "status"]
)
# Flat while devices send: look at requests by status. The rate of this is what comes in.
GATEWAY_EVENTS = Counter("tidegate_gateway_events_total", "Events acknowledged by the broker", ["stream"])
# Rising: a sender sends events that are no use; its 207 and 4xx answers say what is wrong.
GATEWAY_REFUSED = Counter("tidegate_gateway_refused_events_total", "Events refused as bad input", ["stream"])
# Bandwidth by stream; compare with events to see a sender change its encoding.
GATEWAY_BODY_BYTES = Counter("tidegate_gateway_body_bytes_total", "Body bytes as sent", ["stream"])
# Close to `gateway_queue_bytes`: 503 follows; the broker is too slow, or add a gateway.
GATEWAY_HELD_BYTES = Gauge("tidegate_gateway_held_bytes", "Bytes of requests and unacknowledged frames")
# Above a few tens of milliseconds: look at the broker's disk and network, then at the gateway's CPU.
GATEWAY_ACK_SECONDS = Histogram(
    "tidegate_gateway_ack_seconds",
    "From a frame's first event to its ack",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)
# Events divided by frames is the frame size; below 10 under load: raise `gateway_linger_ms`.
GATEWAY_FRAMES = Counter("tidegate_gateway_frames_total", "Frames acknowledged by the broker")
# Above 0: requests were answered 503; the log says whether the broker had the frames.
GATEWAY_LOST_FRAMES = Counter("tidegate_gateway_lost_frames_total", "Frames that were not acknowledged")
# 0: every write is answered 503; /readyz and the log say why.
GATEWAY_BROKER_READY = Gauge("tidegate_gateway_broker_ready", "1 while the broker takes records")

# Rising: senders retry; look at their timeouts, and at 503 among the requests.
GATEWAY_REPLAYED = Counter(
    "tidegate_gateway_replayed_requests_total", "Requests answered again by their Idempotency-Key", ["stream"]
)
# At `gateway_keys_bytes`: retries that come late are answered with new ids; they land once all the same.
GATEWAY_KEYS_BYTES = Gauge("tidegate_gateway_keys_bytes", "Memory of the requests known by their key")


# Worker

# The rate of this is what the worker gets done. Rising rejected: table `rejects` says what and whose.
WORKER_LINES = Counter(
    "tidegate_worker_lines_total", "Lines of raw frames by what became of them", ["stream", "outcome"]
)
# Lines divided by frames is the frame size; small frames cost far more an event: let senders batch.
WORKER_FRAMES = Counter("tidegate_worker_frames_total", "Raw frames sent on", ["stream"])
# A producer writes what no honest one does, or is set to batches that are too large; the log says where.
WORKER_UNREAD = Counter(
    "tidegate_worker_unread_records_total", "Raw records and batches refused unread", ["stream"]
)
# Growing: add workers (up to the number of partitions); steady and not 0: look at the wait for acks.
WORKER_LAG = Gauge("tidegate_worker_lag_records", "Raw records not sent on yet", ["stream", "partition"])
# Above 0 for longer than the producers' `transaction.timeout.ms`: a transaction hangs, and nobody can read
# what stands behind it; `kafka-transactions.sh find-hanging` names its producer, `abort` ends it.
WORKER_UNDECIDED = Gauge(
    "tidegate_worker_undecided_offsets",
    "Raw offsets from the first open transaction on",
    ["stream", "partition"],
)
# Its rate is the share of one core that the steps take; near 1: add workers.
WORKER_TRANSFORM_SECONDS = Counter("tidegate_worker_transform_seconds_total", "Time in the steps", ["stream"])
# Its rate near 1: the broker acknowledges too slowly; look at its disk, or raise `worker_window_frames`.
WORKER_WAIT_SECONDS = Counter(
    "tidegate_worker_wait_seconds_total", "Time waited for a place in the window", ["stream"]
)
# At `worker_window_frames` times the partitions: the broker is what the worker waits for.
WORKER_IN_FLIGHT = Gauge("tidegate_worker_in_flight_frames", "Frames sent and not acknowledged")
# Close to `worker_window_bytes`: frames are large and the broker is slow; no more is read until it falls.
WORKER_IN_FLIGHT_BYTES = Gauge("tidegate_worker_in_flight_bytes", "Bytes sent and not acknowledged")
# Failed attempts told to alerting consumers; a rise is an incident in a fleet, not of Tidegate.
WORKER_FAILURES = Counter(
    "tidegate_worker_failures_total", "Records written to tidegate.failures", ["stream"]
)
# Rising: a vendor's codes are missing; list them in `vendor_failure_codes.csv`, with stage and action.
WORKER_UNLISTED = Counter(
    "tidegate_worker_unlisted_failures_total", "Failures whose code the catalogue does not list"
)
# Above 0: a bug. The lines stand in table `rejects` as kind `crash`; the log has the traceback.
WORKER_CRASHES = Counter("tidegate_worker_crashed_lines_total", "Lines on which a step failed", ["stream"])
# Above 0: a flood of refused lines, which the raw topic alone keeps: `tidegate fleet paused` says whose.
# Mend it and resume it before the topic's retention is over.
WORKER_PAUSED = Gauge(
    "tidegate_worker_paused_streams", "Streams of fleets that are paused for refused lines", ["stream"]
)
# Above 0: retention took records before they were read; the sink stops there until the gap is accepted.
WORKER_LOST = Counter(
    "tidegate_worker_lost_records_total", "Records gone from the topic before they were read", ["stream"]
)
# Above 0: a gateway's or producer's clock is off by more than a day, or it sends what its table no longer
# keeps; set the clock. The record's own time stands in.
WORKER_SETTLED_TIMES = Counter(
    "tidegate_worker_settled_times_total", "Received times that could not be", ["stream"]
)
# Growing: the worker is behind; compare with its share of the retention.
WORKER_OLDEST_UNREAD = Gauge(
    "tidegate_worker_oldest_unread_seconds", "Age of the oldest raw record not sent on yet", ["stream"]
)
# Above 0.5: catch up or raise `retention.ms`; from 1 on Kafka deletes what nobody has read. Alert there.
WORKER_RETENTION_SHARE = Gauge(
    "tidegate_worker_retention_share", "The same as a share of what the raw topic keeps", ["stream"]
)
# Rising often: workers come and go, or their session times out; look at restarts and at the CPU.
WORKER_REBALANCES = Counter("tidegate_worker_rebalances_total", "Times that partitions were assigned")
# Repeats rise after a restart, and only then.
WORKER_HEALTH_PARTIALS = Counter(
    "tidegate_worker_health_partials_total", "Frames' partial counts merged into minutes", ["outcome"]
)
# Keys of requests and events held; each costs some 180 bytes of `worker_keys_bytes`.
WORKER_KEYS = Gauge("tidegate_worker_keys", "Keys held to know retries by")
# Below `idempotency_window_hours`: later retries land twice; raise `worker_keys_bytes`, or add workers.
WORKER_KEYS_COVERED = Gauge(
    "tidegate_worker_keys_covered_seconds", "Age up to which retries are known, on the worst partition"
)
# Above 0: a record's header `keys` is damaged or of a foreign producer; its lines were taken without keys.
WORKER_BAD_KEYS = Counter("tidegate_worker_bad_keys_total", "Headers `keys` that could not be read")
# Minutes held for merging; grows with sites, not with events.
WORKER_HEALTH_MINUTES = Gauge("tidegate_worker_health_minutes", "Minutes of sites held in the table")
# The rate of `open` is how often people are called; all at once: look at what the sites have in common.
WORKER_ALERTS = Counter("tidegate_worker_alerts_total", "Changes of alerts told, by the state", ["state"])
# Above a few minutes: the worker is behind, or a raw partition is not read; no alert opens meanwhile.
WORKER_ALERTS_LATE = Gauge(
    "tidegate_worker_alerts_late_seconds", "Age of the last minute that was looked at, on the worst partition"
)
# Its rate is the share of one core that detection takes.
WORKER_DETECT_SECONDS = Counter("tidegate_worker_detect_seconds_total", "Time in detection")


# API

# Rising 4xx: a client calls wrongly; 503 and 504: look at query_seconds, then at ClickHouse.
API_REQUESTS = Counter("tidegate_api_requests_total", "Answered read requests", ["route", "status"])
# Above a second for clientevents: too many parts (merges are behind) or too little memory for the index.
API_QUERY_SECONDS = Histogram(
    "tidegate_api_query_seconds",
    "Time of a named query, from sending it to its last row",
    ["query"],
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
# Rising `broken`: the log names the limit that was hit after the first rows, or ClickHouse went away.
# Rising `left`: clients give up; look at their time limits. Rising `slow`: see slow readers below.
API_FILES = Counter(
    "tidegate_api_files_total",
    "Exports and association files by how they ended: whole, broken, left (by the client), slow (the client)",
    ["name", "end"],
)
# `all`: raise `api_exports`, or start another api. `fleet`, `token`: a client asks for too much at once.
API_FILES_REFUSED = Counter(
    "tidegate_api_files_refused_total",
    "Exports refused since a share was taken: all, fleet or token",
    ["share"],
)
# Rising: clients read more slowly than `api_reader_least_bytes_per_second`, or hold connections on purpose.
API_SLOW_READERS = Counter("tidegate_api_slow_readers_total", "Answers ended since they were not read")


# Control topic

# Above 0: somebody who is no role writes to tidegate.control (take its write access away), or roles have
# different key files; the log has the key of the last one and why it was passed over.
CONTROL_IGNORED = Counter(
    "tidegate_control_ignored_records_total", "Records of tidegate.control that were passed over", ["why"]
)


# Sink

# The rate of this is what arrives in ClickHouse; flat while lag grows: /readyz and the log say why.
SINK_ROWS = Counter("tidegate_sink_rows_total", "Events inserted", ["stream"])
# A rise: a sender broke its format; table `rejects` says whose and what.
SINK_REJECTS = Counter("tidegate_sink_reject_rows_total", "Rejects inserted", ["stream"])
# Rows divided by batches is the batch size; below a few thousand under load: raise `sink_busy_age_ms`.
SINK_BATCHES = Counter("tidegate_sink_batches_total", "Batches planned, fenced and inserted", ["stream"])
# Above a second: look at ClickHouse's disk, merges and CPU.
SINK_INSERT_SECONDS = Histogram(
    "tidegate_sink_insert_seconds",
    "From a batch's fence to its last insert's answer",
    buckets=(0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
# Above 0 and rising: ClickHouse is away or refuses; the same batch is sent again until it answers.
SINK_RETRIES = Counter("tidegate_sink_retries_total", "Requests to ClickHouse sent again")
# Rises when a worker came back, and only then: it wrote again what it had not committed.
SINK_REPEATS = Counter("tidegate_sink_repeats_total", "Frames dropped as repeats", ["stream"])
# Above 0: records in an enriched topic that no worker wrote; find who writes there.
SINK_FOREIGN = Counter("tidegate_sink_foreign_records_total", "Records that are no frames", ["stream"])
# Above 0 for longer than a worker takes to come back: frames are lost; the log has the command to go on.
SINK_GAPS = Gauge("tidegate_sink_gaps", "Partitions stopped at a gap", ["stream"])
# Above 0: take-overs. Often: members come and go, or their session times out.
SINK_TAKE_OVERS = Counter("tidegate_sink_take_overs_total", "Partitions taken over", ["stream"])
# Growing: add sinks (up to the number of partitions) or give ClickHouse more.
SINK_LAG = Gauge("tidegate_sink_lag_records", "Enriched records not stored yet", ["stream"])
# Growing: ClickHouse is away or slow, or a partition stands at a gap; compare with the share below.
SINK_OLDEST_UNSTORED = Gauge(
    "tidegate_sink_oldest_unstored_seconds", "Age of the oldest enriched record not stored yet", ["stream"]
)
# Above 0.5: bring ClickHouse back or raise `retention.ms`; from 1 on Kafka deletes what is not stored.
SINK_RETENTION_SHARE = Gauge(
    "tidegate_sink_retention_share", "The same as a share of what the enriched topic keeps", ["stream"]
)
# Changes of alerts inserted, repeats among them; flat while `tidegate.alerts` grows: /readyz says why.
SINK_ALERTS = Counter("tidegate_sink_alerts_total", "Changes of alerts inserted")
# Above 0: somebody who is no worker writes to tidegate.alerts; the log has the offset.
SINK_FOREIGN_ALERTS = Counter(
    "tidegate_sink_foreign_alerts_total", "Records of tidegate.alerts that are no alerts"
)
# Close to `sink_buffer_bytes`: ClickHouse is slower than what comes in; reading pauses there.
SINK_BUFFER_BYTES = Gauge("tidegate_sink_buffer_bytes", "Bytes of frames held in memory")
# Above 2 with no lag: ClickHouse is slow; with lag: the sink is behind.
SINK_OLDEST_SECONDS = Gauge("tidegate_sink_oldest_seconds", "Age of the oldest frame held in memory")


# Notify

# Rising `failed`: an endpoint is away or refuses; the log and `tidegate webhook deliveries --failed` say why.
NOTIFY_ATTEMPTS = Counter("tidegate_notify_attempts_total", "Requests to webhooks", ["outcome"])
# Rising `failed`: notices were given up after the last retry; `gone`, `dropped`: an endpoint is disabled or
# deleted. `tidegate webhook replay` sends them again.
NOTIFY_ENDED = Counter("tidegate_notify_ended_notices_total", "Notices by how they ended", ["outcome"])
# Above 0 for long: an endpoint does not answer; each notice is tried again for some three days.
NOTIFY_OWED = Gauge("tidegate_notify_owed_notices", "Notices that are owed, retries among them")
# Above some seconds: more is owed than endpoints take, or the process hangs.
NOTIFY_OLDEST_SECONDS = Gauge(
    "tidegate_notify_oldest_due_seconds", "How long the notice that waits longest has been due"
)
# Growing: ClickHouse is away; notices go out all the same, and no offset is committed meanwhile.
NOTIFY_UNSTORED = Gauge("tidegate_notify_unstored_entries", "Entries of the delivery log not stored yet")
# Above 0: an endpoint answered 410 Gone; `tidegate webhook list` says which.
NOTIFY_DISABLED = Gauge("tidegate_notify_disabled_endpoints", "Endpoints to which nothing is sent")
# Above 0: somebody who is no worker writes to tidegate.alerts; the log has the offset.
NOTIFY_FOREIGN = Counter(
    "tidegate_notify_foreign_records_total", "Records of tidegate.alerts that are no alerts"
)


# Connectors

# Flat while devices connect: look at requests by status, then at /readyz. Rising `refused`: a sender says
# what the gateway does not take, and the log names the field; `unread`: lines that are no events of a client.
CONNECT_EVENTS = Counter(
    "tidegate_connect_events_total", "What senders said, by what became of it", ["connector", "outcome"]
)
# Rising 401: a sender has another secret, or somebody tries; 503: the gateway is away, and senders retry.
CONNECT_REQUESTS = Counter(
    "tidegate_connect_requests_total", "Answered webhooks, by status", ["connector", "status"]
)
# Rising: datagrams and connections were not taken, by why; `stranger`: somebody outside `connect_allow`,
# `secret`: another RADIUS secret, `full`: more comes than the gateway takes, `malformed`: no such protocol.
CONNECT_DROPPED = Counter(
    "tidegate_connect_dropped_total", "Datagrams and lines not taken, by why", ["connector", "reason"]
)
# Growing: the gateway is away or too slow; at its bound datagrams are dropped, and TCP senders wait.
CONNECT_WAITING = Gauge("tidegate_connect_waiting_bytes", "Bytes that wait for the gateway")
