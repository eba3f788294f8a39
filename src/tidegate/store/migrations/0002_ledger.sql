-- What the sink keeps beside the events: the ledger of its batches, the gaps it stopped at, the epochs it
-- has seen; and the lines that were refused.

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
    device String CODEC(ZSTD(1)) COMMENT 'Header device of its record; the envelope in original may name another',
    origin String CODEC(ZSTD(1)) COMMENT 'Of a replayed line that was refused again: the id under which it was refused first; empty else',
    replayed_under LowCardinality(String) COMMENT 'Of such a line: the transform_version by which it was to pass',
    INDEX by_offset offset TYPE minmax GRANULARITY 1,
    INDEX by_origin origin TYPE minmax GRANULARITY 1
)
ENGINE = ${merge_tree}
PARTITION BY toDate(received_at)
ORDER BY (fleet, stream, code, received_at)
SETTINGS ${event_settings}
COMMENT 'Lines that could not be taken, with why and with their bytes';

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

-- Which consumer group fills the tables. Two groups would each read every partition, each with its own fence,
-- and cut it into batches of its own: everything would be stored twice.

CREATE TABLE IF NOT EXISTS ${database}.sink_groups ${on_cluster}
(
    epoch String COMMENT 'Life of the topics',
    sink_group String COMMENT 'Consumer group of the sinks that may write; the newest row of an epoch holds',
    at DateTime64(6, 'UTC') COMMENT 'When it was noted: by the first sink of the epoch, or by an operator'
)
ENGINE = ${merge_tree}
ORDER BY (epoch, at)
SETTINGS ${dedup_settings}
COMMENT 'The consumer group that fills the tables, by life of the topics';

-- The lines that were refused and are not stored yet: each once, however often it was replayed.
CREATE VIEW IF NOT EXISTS ${database}.rejects_open ${on_cluster} AS
SELECT *
FROM ${database}.rejects
WHERE origin = '' AND id NOT IN
(
    SELECT origin FROM ${database}.connection_logs WHERE origin > ''
    UNION ALL
    SELECT origin FROM ${database}.client_events WHERE origin > ''
    UNION ALL
    SELECT origin FROM ${database}.device_logs WHERE origin > ''
);

-- What was erased at somebody's request, and who did what: positions without contents, so that the ledger
-- still balance, and an audit log.

CREATE TABLE IF NOT EXISTS ${database}.erasures ${on_cluster}
(
    `table` LowCardinality(String) COMMENT 'Table that the row was in',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    epoch LowCardinality(String) COMMENT 'Position: life of the topics',
    partition UInt32 COMMENT 'Position: partition of the raw topic',
    offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Position: offset of the raw record',
    `index` UInt32 COMMENT 'Position: line in the frame',
    received_day Date COMMENT 'Received day of the row',
    fleet LowCardinality(String) COMMENT 'Fleet for which it was erased',
    erasure String COMMENT 'Id of the erasure in audit, and the number of its look',
    at DateTime64(6, 'UTC') COMMENT 'When it was noted, before the row went'
)
ENGINE = ${replacing_merge_tree}
ORDER BY (`table`, stream, epoch, partition, offset, `index`)
SETTINGS ${dedup_settings}
COMMENT 'Positions of rows that were erased, without anything that stood in them';

CREATE TABLE IF NOT EXISTS ${database}.erasure_days ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    received_day Date COMMENT 'Received day whose rollups had rows that were erased',
    rebuilt UInt8 COMMENT '1: made anew from what is left; 0: sums taken off, states of clients and latencies left',
    at DateTime64(6, 'UTC') COMMENT 'When; the newest row of a day holds'
)
ENGINE = ${merge_tree}
ORDER BY (fleet, stream, received_day, at)
SETTINGS ${dedup_settings}
COMMENT 'What was done to the rollups of days with erased rows';

-- What went because its fleet is kept shorter than the table: a frame at a time, so that the ledger still balances.
CREATE TABLE IF NOT EXISTS ${database}.expiries ${on_cluster}
(
    `table` LowCardinality(String) COMMENT 'Table that the rows were in',
    stream LowCardinality(String) COMMENT 'connection_logs, client_events or device_logs',
    epoch LowCardinality(String) COMMENT 'Position: life of the topics',
    partition UInt32 COMMENT 'Position: partition of the raw topic',
    offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Position: offset of the raw record',
    fleet LowCardinality(String) COMMENT 'Fleet of the rows',
    received_day Date COMMENT 'Received day of the rows',
    rows SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)) COMMENT 'How many there were'
)
ENGINE = ${aggregating_merge_tree}
ORDER BY (`table`, fleet, received_day, stream, epoch, partition, offset)
SETTINGS ${dedup_settings}
COMMENT 'Rows that went at the end of their fleet''s retention, counted by frame, and noted before they went';

CREATE TABLE IF NOT EXISTS ${database}.audit ${on_cluster}
(
    at DateTime64(6, 'UTC') COMMENT 'When it was done',
    kind LowCardinality(String) COMMENT 'erasure or export',
    id String COMMENT 'Id of what was done',
    `by` String COMMENT 'Who did it: user and host, of an export the name of the token',
    fleet LowCardinality(String) COMMENT 'Fleet that it is about; empty for all',
    subject String COMMENT 'What it was done to; of a client a keyed pseudonym, never a MAC',
    details String COMMENT 'Figures and names, as JSON text'
)
ENGINE = ${merge_tree}
ORDER BY (at, id)
SETTINGS ${dedup_settings}
COMMENT 'Audit log: what operators and readers did that no other table says; rows are only added';
