-- What was sent to webhooks, an entry for each thing that happened to a notice: it is owed, tried, tried again,
-- delivered or given up. The newest entry of a notice says how it stands, so that a process which takes over
-- reads here what is still owed. An entry that is written again has the same key.

CREATE TABLE IF NOT EXISTS ${database}.webhook_deliveries ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet of the alert',
    webhook_id String CODEC(ZSTD(1)) COMMENT 'Id of the notice: one for each change of an alert and endpoint, the same in every attempt',
    entry UInt32 COMMENT 'Number of the entry within the notice, from 0',
    at DateTime64(6, 'UTC') COMMENT 'When it happened; of an attempt its end',
    endpoint LowCardinality(String) COMMENT 'Name of the endpoint',
    endpoint_id LowCardinality(String) COMMENT 'Its id, which stays when its secret is rotated',
    alert_id String CODEC(ZSTD(1)) COMMENT 'Id of the alert',
    sequence UInt32 COMMENT 'Number of the change within the alert',
    state LowCardinality(String) COMMENT 'State of the alert that the notice tells',
    outcome LowCardinality(String) COMMENT 'owed, retry (failed, tried again), delivered, failed (given up), superseded (a newer state of the alert is owed), gone (the endpoint answered 410), dropped (the endpoint was deleted or disabled)',
    attempt UInt16 COMMENT 'Requests made so far',
    status UInt16 COMMENT 'HTTP status of the answer; 0: none came, or no request was made',
    error String CODEC(ZSTD(1)) COMMENT 'Why it was not delivered',
    duration_ms UInt32 COMMENT 'Time of the attempt, milliseconds',
    next_attempt_at Nullable(DateTime64(6, 'UTC')) COMMENT 'When it is tried next; NULL: not any more',
    partition UInt32 COMMENT 'Partition of tidegate.alerts: whoever reads that one sends the notice',
    alert String CODEC(ZSTD(1)) COMMENT 'The change of the alert as JSON text, in the first entry and in those of a replay'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(at)
ORDER BY (fleet, webhook_id, entry)
SETTINGS ${dedup_settings}
COMMENT 'Notices of alerts to webhooks, one row for each attempt and what became of it';
