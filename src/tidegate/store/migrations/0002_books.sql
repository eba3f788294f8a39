-- What the sink keeps beside the events: the ledger of its batches, the gaps it stopped at, the epochs it
-- has seen; and the lines that were refused, and the alerts.

CREATE TABLE IF NOT EXISTS ${database}.rejects ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet as the line says; empty where it does not',
    id String CODEC(ZSTD(1)) COMMENT 'Public id: the position written down',
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When the gateway took it in, or the record''s timestamp',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    epoch LowCardinality(String) COMMENT 'Position: life of the topics',
    partition UInt32 COMMENT 'Position: partition of the raw topic',
    offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Position: offset of the raw record',
    `index` UInt32 COMMENT 'Position: line in the frame',
    stage LowCardinality(String) COMMENT 'Step that refused it: decode or enrich',
    kind LowCardinality(String) COMMENT 'Why, coarse: syntax, form, required, value, envelope, fleet, size',
    code LowCardinality(String) COMMENT 'Why, fine: the reject codes',
    path String COMMENT 'Field in the sender''s spelling; empty for the whole line',
    found String CODEC(ZSTD(1)) COMMENT 'What stood there, shortened',
    allowed LowCardinality(String) COMMENT 'What may stand there',
    detail String CODEC(ZSTD(1)) COMMENT 'The same for people',
    original String CODEC(ZSTD(3)) COMMENT 'The line as it came',
    original_encoding LowCardinality(String) COMMENT 'utf8, or base64 where the line is not UTF-8',
    INDEX by_offset offset TYPE minmax GRANULARITY 1
)
ENGINE = ${merge_tree}
PARTITION BY toDate(received_at)
ORDER BY (fleet, stream, code, received_at)
SETTINGS ${event_settings}
COMMENT 'Lines that could not be taken, with why and with their bytes';

CREATE TABLE IF NOT EXISTS ${database}.alerts ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    id String COMMENT 'Id of the alert, the same while it lasts',
    rule LowCardinality(String) COMMENT 'Rule that raised it',
    state LowCardinality(String) COMMENT 'firing or resolved',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    scope String COMMENT 'What it is about, e.g. site and SSID, as JSON text',
    started_at DateTime64(6, 'UTC') COMMENT 'When it began',
    updated_at DateTime64(6, 'UTC') COMMENT 'When this state was reached',
    summary String COMMENT 'One line for people',
    details String CODEC(ZSTD(1)) COMMENT 'Figures behind it, as JSON text'
)
ENGINE = ${merge_tree}
PARTITION BY toYYYYMM(started_at)
ORDER BY (fleet, started_at, id, updated_at)
SETTINGS ${dedup_settings}
COMMENT 'Alerts, one row a change of state';

CREATE TABLE IF NOT EXISTS ${database}.sink_batches ${on_cluster}
(
    epoch String COMMENT 'Life of the topics',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    partition UInt32 COMMENT 'Partition of the raw topic',
    first UInt64 COMMENT 'First raw offset of the batch',
    last UInt64 COMMENT 'Last raw offset of the batch',
    previous Int64 COMMENT 'Raw offset before first; -1 at the start of the topic',
    enriched_first UInt64 COMMENT 'Offset of the first frame in the enriched topic',
    enriched_last UInt64 COMMENT 'Offset of the last frame in the enriched topic',
    frames UInt32 COMMENT 'Frames in the batch',
    lines UInt64 COMMENT 'Lines in those frames: accepted + rejected + duplicates',
    accepted UInt64 COMMENT 'Rows for the stream''s table',
    rejected UInt64 COMMENT 'Rows for rejects',
    duplicates UInt64 COMMENT 'Lines dropped as repeats of an Idempotency-Key or event_id',
    days Array(Date) COMMENT 'Received days of the rows: one insert for each',
    transform_version LowCardinality(String) COMMENT 'Version of lookups and transforms, part of the token',
    generation Int64 COMMENT 'Generation of the consumer group that planned it',
    member String COMMENT 'Member of the consumer group that planned it',
    planned_at DateTime64(6, 'UTC') COMMENT 'When it was planned, before the insert'
)
ENGINE = ${merge_tree}
ORDER BY (epoch, stream, partition, generation, first)
SETTINGS ${dedup_settings}
COMMENT 'The ledger: every batch that the sink planned, written before its rows';

CREATE TABLE IF NOT EXISTS ${database}.sink_gaps ${on_cluster}
(
    epoch String COMMENT 'Life of the topics',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    partition UInt32 COMMENT 'Partition of the raw topic',
    after Int64 COMMENT 'Last raw offset that was stored',
    next UInt64 COMMENT 'Raw offset that came instead of the one behind it',
    found_at DateTime64(6, 'UTC') COMMENT 'When the sink stopped at it',
    accepted UInt8 COMMENT '1 when an operator let the sink go on',
    accepted_by String COMMENT 'Who did',
    reason String COMMENT 'Why',
    at DateTime64(6, 'UTC') COMMENT 'When this row was written; the newest row of a gap holds'
)
ENGINE = ${merge_tree}
ORDER BY (epoch, stream, partition, after, next, at)
SETTINGS ${dedup_settings}
COMMENT 'Gaps in the log that the sink stopped at, and whether an operator let it go on';

CREATE TABLE IF NOT EXISTS ${database}.epochs ${on_cluster}
(
    epoch String COMMENT 'Life of the topics: a ULID, minted when they were created',
    first_seen DateTime64(6, 'UTC') COMMENT 'When the sink first saw it'
)
ENGINE = ${merge_tree}
ORDER BY (epoch, first_seen)
SETTINGS ${dedup_settings}
COMMENT 'Lives of the topics that the sink has seen';
