-- What `tidegate verify` reads, as views that a dashboard or an auditor can read without it.
-- Received days bound the periods: `SELECT * FROM verify_partitions(since = '2026-01-01', until = '2026-01-31')`.

-- The batches that hold. A sink that took over cut the newest batch again, and planned on behind it, under a
-- higher generation: plans of lower generations from that offset on were never carried out, or carried out
-- by it.
CREATE VIEW IF NOT EXISTS ${database}.verify_batches ${on_cluster} AS
SELECT batches.*
FROM ${database}.sink_batches AS batches
INNER JOIN
(
    SELECT
        epoch,
        stream,
        partition,
        generation,
        ifNull(min(toNullable(begins)) OVER (
            PARTITION BY epoch, stream, partition ORDER BY generation DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), toUInt64(18446744073709551615)) AS superseded_from
    FROM
    (
        SELECT epoch, stream, partition, generation, min(first) AS begins
        FROM ${database}.sink_batches
        GROUP BY epoch, stream, partition, generation
    )
) AS terms USING (epoch, stream, partition, generation)
WHERE batches.first < terms.superseded_from;

-- Where a partition's offset sequence breaks: a batch that does not follow the one before it.
CREATE VIEW IF NOT EXISTS ${database}.verify_gaps ${on_cluster} AS
SELECT
    joints.stream AS stream,
    joints.epoch AS epoch,
    joints.partition AS partition,
    joints.after AS after,
    joints.next AS next,
    joints.planned_at AS planned_at,
    accepted.reason AS accepted_reason,
    accepted.after IS NOT NULL AS is_accepted
FROM
(
    SELECT
        stream,
        epoch,
        partition,
        planned_at,
        first AS next,
        previous,
        lagInFrame(toNullable(toInt64(last))) OVER (
            PARTITION BY epoch, stream, partition ORDER BY first ROWS BETWEEN 1 PRECEDING AND 1 PRECEDING
        ) AS before,
        ifNull(before, previous) AS after
    FROM ${database}.verify_batches
) AS joints
LEFT JOIN
(
    SELECT epoch, stream, partition, toNullable(after) AS after, next, argMax(reason, at) AS reason
    FROM ${database}.sink_gaps
    GROUP BY epoch, stream, partition, after, next
    HAVING argMax(accepted, at) = 1
) AS accepted
ON joints.epoch = accepted.epoch AND joints.stream = accepted.stream
    AND joints.partition = accepted.partition AND joints.next = accepted.next
WHERE joints.before IS NOT NULL AND joints.previous != joints.before
SETTINGS join_use_nulls = 1;

-- What is on record as gone at the end of a fleet's retention, and is: between the note and the deletion rows are
-- both there and on record.
CREATE VIEW IF NOT EXISTS ${database}.verify_expired ${on_cluster} AS
SELECT `table`, stream, epoch, partition, offset, fleet, received_day, max(expiries.rows) AS rows
FROM ${database}.expiries
WHERE (`table`, stream, epoch, partition, offset, fleet, received_day) NOT IN
(
    SELECT 'connection_logs', 'connection_logs', epoch, partition, offset, fleet, toDate(received_at)
    FROM ${database}.connection_logs
    WHERE (fleet, toDate(received_at)) IN (SELECT fleet, received_day FROM ${database}.expiries WHERE `table` = 'connection_logs')
    UNION ALL
    SELECT 'client_events', 'client_events', epoch, partition, offset, fleet, toDate(received_at)
    FROM ${database}.client_events
    WHERE (fleet, toDate(received_at)) IN (SELECT fleet, received_day FROM ${database}.expiries WHERE `table` = 'client_events')
    UNION ALL
    SELECT 'device_logs', 'device_logs', epoch, partition, offset, fleet, toDate(received_at)
    FROM ${database}.device_logs
    WHERE (fleet, toDate(received_at)) IN (SELECT fleet, received_day FROM ${database}.expiries WHERE `table` = 'device_logs')
    UNION ALL
    SELECT 'rejects', stream, epoch, partition, offset, fleet, toDate(received_at)
    FROM ${database}.rejects
    WHERE (fleet, toDate(received_at)) IN (SELECT fleet, received_day FROM ${database}.expiries WHERE `table` = 'rejects')
)
GROUP BY `table`, stream, epoch, partition, offset, fleet, received_day;

-- `tidegate verify` counts every row of every table: the received day is that of the part's partition, and
-- the column of times, eight bytes a row, is not read for it.

-- The ledger of each partition beside what its tables hold, and what was erased or has expired.
CREATE VIEW IF NOT EXISTS ${database}.verify_partitions ${on_cluster} AS
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
    erased.events AS erased,
    erased.rejects AS rejects_erased,
    expired.events AS expired,
    expired.rejects AS rejects_expired,
    lines = accepted + rejected + duplicates AND stored + erased + expired = accepted
        AND rejects_stored + rejects_erased + rejects_expired = rejected AS balanced
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
LEFT JOIN
(
    SELECT
        stream, epoch, partition,
        uniqExactIf((offset, `index`), `table` != 'rejects') AS events,
        uniqExactIf((offset, `index`), `table` = 'rejects') AS rejects
    FROM ${database}.erasures
    WHERE received_day BETWEEN {since:Date} AND {until:Date}
    GROUP BY stream, epoch, partition
) AS erased USING (stream, epoch, partition)
LEFT JOIN
(
    SELECT
        stream, epoch, partition,
        sumIf(rows, `table` != 'rejects') AS events,
        sumIf(rows, `table` = 'rejects') AS rejects
    FROM ${database}.verify_expired
    WHERE received_day BETWEEN {since:Date} AND {until:Date}
    GROUP BY stream, epoch, partition
) AS expired USING (stream, epoch, partition)
SETTINGS join_use_nulls = 0;

-- Each received day of each stream: the base table beside its rollups.
CREATE VIEW IF NOT EXISTS ${database}.verify_rollups ${on_cluster} AS
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
