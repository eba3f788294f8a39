-- What reading costs is the parts that it has to look into.

-- Once a received day is over nothing is added to it: an hour later its parts become one, within the size
-- that the server allows a part. Reading a client's month then opens a part a day. The day that is being
-- written is left alone.
ALTER TABLE ${database}.connection_logs ${on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

ALTER TABLE ${database}.client_events ${on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

ALTER TABLE ${database}.device_logs ${on_cluster}
    MODIFY SETTING min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, enable_max_bytes_limit_for_min_age_to_force_merge = 1;

-- `tidegate verify` counts every row of every table: the received day is that of the part's partition, and
-- the column of times, eight bytes a row, is not read for it.

-- The books of each partition beside what its tables hold.
CREATE OR REPLACE VIEW ${database}.verify_partitions ${on_cluster} AS
SELECT
    ledger.stream AS stream,
    ledger.epoch AS epoch,
    ledger.partition AS partition,
    ledger.frames AS frames,
    ledger.lines AS lines,
    ledger.accepted AS accepted,
    ledger.rejected AS rejected,
    ledger.duplicates AS duplicates,
    ledger.first AS first,
    ledger.last AS last,
    ledger.planned_at AS planned_at,
    stored.rows AS stored,
    refused.rows AS rejects_stored,
    lines = accepted + rejected + duplicates AND stored = accepted AND rejects_stored = rejected AS balanced
FROM
(
    SELECT
        stream, epoch, partition,
        sum(frames) AS frames, sum(lines) AS lines, sum(accepted) AS accepted, sum(rejected) AS rejected,
        sum(duplicates) AS duplicates, min(first) AS first, max(last) AS last, max(planned_at) AS planned_at
    FROM ${database}.verify_batches
    WHERE empty(days) OR (arrayMin(days) >= {since:Date} AND arrayMax(days) <= {until:Date})
    GROUP BY stream, epoch, partition
) AS ledger
LEFT JOIN
(
    SELECT 'connection_logs' AS stream, epoch, partition, count() AS rows
    FROM ${database}.connection_logs
    WHERE _partition_value.1 BETWEEN {since:Date} AND {until:Date}
    GROUP BY epoch, partition
    UNION ALL
    SELECT 'client_events', epoch, partition, count()
    FROM ${database}.client_events
    WHERE _partition_value.1 BETWEEN {since:Date} AND {until:Date}
    GROUP BY epoch, partition
    UNION ALL
    SELECT 'device_logs', epoch, partition, count()
    FROM ${database}.device_logs
    WHERE _partition_value.1 BETWEEN {since:Date} AND {until:Date}
    GROUP BY epoch, partition
) AS stored USING (stream, epoch, partition)
LEFT JOIN
(
    SELECT stream, epoch, partition, count() AS rows
    FROM ${database}.rejects
    WHERE _partition_value.1 BETWEEN {since:Date} AND {until:Date}
    GROUP BY stream, epoch, partition
) AS refused USING (stream, epoch, partition)
SETTINGS join_use_nulls = 0;

-- Each received day of each stream: the base table beside its rollups.
CREATE OR REPLACE VIEW ${database}.verify_rollups ${on_cluster} AS
SELECT
    stream,
    received_day,
    sumIf(events, level = 'base') AS base,
    sumIf(events, level = '1m') AS minutes,
    sumIf(events, level = '1h') AS hours,
    sumIf(events, level = '1d') AS days,
    base = minutes AND base = hours AND base = days AS balanced
FROM
(
${rollup_counts}
)
WHERE received_day BETWEEN {since:Date} AND {until:Date}
GROUP BY stream, received_day;
