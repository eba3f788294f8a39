-- works from 0009
-- A narrow copy of the client events of the last days, sorted by site: client_events is sorted by client, so what
-- was received at one site within two hours is spread over every granule of its day. Each minute is copied when it
-- has been over for two minutes, beside the inserts, and what has come late with the next refresh: a refresh takes
-- the events of the minutes of the last two received days of which the copy has another number than site_minutes,
-- without those that are there and those that are being erased; the newest ones first, and some ten million at most,
-- so that a store that is new to it is copied bit by bit. (docs/decisions/0032)
-- A partition is a received hour, in which a site is a range, and its failures, disassociations, reports and successes
-- are each one. Nothing is there twice, so it is read without FINAL; the engine is there for two replicas that took
-- each other for gone.

CREATE TABLE IF NOT EXISTS ${database}.site_events ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    minute DateTime('UTC') CODEC(ZSTD(1)) COMMENT 'Start of the minute in which the event was received',
    received_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it was received',
    moment DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'When it happened: event_time, or received_at where clock_skew',
    client UInt64 CODEC(ZSTD(1)) COMMENT 'cityHash64 of the MAC',
    mac String CODEC(ZSTD(1)) COMMENT 'MAC of the client, or its pseudonym',
    ssid LowCardinality(Nullable(String)) COMMENT 'SSID',
    ap LowCardinality(String) COMMENT 'Name of the access point, else its bssid',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz); empty if unknown',
    vendor LowCardinality(String) COMMENT 'Vendor of the client''s MAC',
    protocol LowCardinality(String) COMMENT '802.11 protocol; empty if not sent',
    randomised Bool COMMENT 'mac is locally administered',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    action LowCardinality(String) COMMENT 'What to do about a failure; empty otherwise',
    failure_code Nullable(Int64) CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure class',
    failure LowCardinality(Nullable(String)) COMMENT 'Text of the failure class',
    sub_failure_code Nullable(Int64) CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure within its class',
    sub_failure LowCardinality(Nullable(String)) COMMENT 'Text of the failure',
    refused Bool COMMENT 'The association failed because the access point is full',
    disassociation Bool COMMENT 'It says that the client was disassociated',
    rssi Nullable(Int64) CODEC(ZSTD(1)) COMMENT 'dBm',
    took Int64 CODEC(ZSTD(1)) COMMENT 'Association to network, milliseconds; -1 if not sent',
    epoch LowCardinality(String) COMMENT 'Position: life of the topics',
    partition UInt32 CODEC(ZSTD(1)) COMMENT 'Position: partition of the raw topic',
    offset UInt64 CODEC(Delta, ZSTD(1)) COMMENT 'Position: offset of the raw record',
    `index` UInt32 CODEC(ZSTD(1)) COMMENT 'Position: line in the frame',
    PROJECTION copied (SELECT fleet, minute, count() GROUP BY fleet, minute)
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toStartOfHour(minute, 'UTC')
ORDER BY (fleet, site, outcome, disassociation, client, moment, offset, `index`, partition, epoch)
SETTINGS ${copy_settings}
COMMENT 'What insight reads of client events, by received hour and site: a copy of minutes that are over';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_events_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.site_events AS
WITH due AS
(
    SELECT fleet, minute
    FROM
    (
        SELECT
            fleet, minute,
            sum(sum(there) - sum(known)) OVER
                (ORDER BY minute DESC, fleet ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer
        FROM
        (
            SELECT fleet, minute, sum(events) AS there, 0 AS known
            FROM ${database}.site_minutes
            WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, minute
            UNION ALL
            SELECT fleet, minute, 0, count()
            FROM ${database}.site_events
            WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, minute
        )
        WHERE minute < toStartOfMinute(now('UTC') - INTERVAL 2 MINUTE, 'UTC') AND ${copies_here}
        GROUP BY fleet, minute
        HAVING sum(there) > sum(known)
    )
    WHERE newer < 10000000
)
SELECT ${site_event_columns}
FROM ${database}.client_events AS events
WHERE received_at >= (SELECT minOrNull(minute) FROM due) AND (fleet, toStartOfMinute(received_at, 'UTC')) IN (due)
    AND (epoch, partition, offset, `index`) NOT IN
    (
        SELECT epoch, partition, offset, `index`
        FROM ${database}.site_events
        WHERE minute >= (SELECT minOrNull(minute) FROM due) AND (fleet, minute) IN (due)
    )
    AND (epoch, partition, offset, `index`) NOT IN
    (
        SELECT epoch, partition, offset, `index`
        FROM ${database}.erasures
        WHERE `table` = 'client_events' AND received_day >= toDate(now('UTC')) - 2
    );
