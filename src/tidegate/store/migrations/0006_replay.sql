-- What `tidegate replay` leaves behind: a replayed line stands at a new position of the raw log, and keeps the
-- id under which it was refused first.

ALTER TABLE ${database}.connection_logs ${on_cluster}
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) COMMENT 'Of a replayed line: the id under which it was refused first; empty else' AFTER `index`,
    ADD INDEX IF NOT EXISTS by_origin origin TYPE minmax GRANULARITY 1;

ALTER TABLE ${database}.connection_logs ${on_cluster}
    MODIFY COLUMN id String DEFAULT if(origin = '', ${connection_logs_id}, origin) CODEC(ZSTD(1)) COMMENT 'Public id: the position written down, of a replayed line its origin';

ALTER TABLE ${database}.client_events ${on_cluster}
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) COMMENT 'Of a replayed line: the id under which it was refused first; empty else' AFTER `index`,
    ADD INDEX IF NOT EXISTS by_origin origin TYPE minmax GRANULARITY 1;

ALTER TABLE ${database}.client_events ${on_cluster}
    MODIFY COLUMN id String DEFAULT if(origin = '', ${client_events_id}, origin) CODEC(ZSTD(1)) COMMENT 'Public id: the position written down, of a replayed line its origin';

ALTER TABLE ${database}.device_logs ${on_cluster}
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) COMMENT 'Of a replayed line: the id under which it was refused first; empty else' AFTER `index`,
    ADD INDEX IF NOT EXISTS by_origin origin TYPE minmax GRANULARITY 1;

ALTER TABLE ${database}.device_logs ${on_cluster}
    MODIFY COLUMN id String DEFAULT if(origin = '', ${device_logs_id}, origin) CODEC(ZSTD(1)) COMMENT 'Public id: the position written down, of a replayed line its origin';

ALTER TABLE ${database}.rejects ${on_cluster}
    ADD COLUMN IF NOT EXISTS device String CODEC(ZSTD(1)) COMMENT 'Header device of its record; the envelope in original may name another' AFTER original_encoding,
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) COMMENT 'Of a replayed line that was refused again: the id under which it was refused first; empty else' AFTER device,
    ADD COLUMN IF NOT EXISTS replayed_under LowCardinality(String) COMMENT 'Of such a line: the transform_version by which it was to pass' AFTER origin,
    ADD INDEX IF NOT EXISTS by_origin origin TYPE minmax GRANULARITY 1;

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
