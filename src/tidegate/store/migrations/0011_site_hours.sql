-- works from 0009
-- Hours of sites that are over, made of rollups every five minutes, so that neither inserts nor events pay for
-- them: a week of a fleet is read from them instead of from a million rows of minutes and access points. A refresh
-- counts again the hours of the last two received days that do not have the events of the rollups; a row takes the
-- place of the one before it. Read with FINAL. Behind the last hour they have nothing: read the minutes.

CREATE TABLE IF NOT EXISTS ${database}.site_hours ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour in which the events were received',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    events UInt64 CODEC(ZSTD(1)) COMMENT 'Events',
    skewed UInt64 CODEC(ZSTD(1)) COMMENT 'Events whose device time was not to be trusted',
    disassociations UInt64 CODEC(ZSTD(1)) COMMENT 'Events that say that a client was disassociated',
    timed UInt64 CODEC(ZSTD(1)) COMMENT 'Successes that tell how long association to network took',
    quick UInt64 CODEC(ZSTD(1)) COMMENT 'Successes that took at most two seconds for it',
    newest DateTime64(6, 'UTC') CODEC(ZSTD(1)) COMMENT 'When the newest of the events was received'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, site, hour, stage, outcome)
SETTINGS ${hour_settings}
COMMENT 'Client events by received hour and site, of hours that are over: site_minutes added up';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_hours_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.site_hours AS
SELECT
    fleet, site, toStartOfHour(minute, 'UTC') AS hour, stage, outcome,
    sum(minutes.events) AS events, sum(minutes.skewed) AS skewed, sum(minutes.disassociations) AS disassociations,
    sum(minutes.timed) AS timed, sum(minutes.quick) AS quick, max(minutes.newest) AS newest
FROM ${database}.site_minutes AS minutes
WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC') AND (fleet, toStartOfHour(minute, 'UTC')) IN
(
    SELECT fleet, hour
    FROM
    (
        SELECT fleet, toStartOfHour(minute, 'UTC') AS hour, sum(events) AS there, 0 AS known
        FROM ${database}.site_minutes
        WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
        GROUP BY fleet, hour
        UNION ALL
        SELECT fleet, hour, 0, sum(events)
        FROM ${database}.site_hours FINAL
        WHERE hour >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
        GROUP BY fleet, hour
    )
    WHERE hour < toStartOfHour(now('UTC') - INTERVAL 2 MINUTE, 'UTC')
    GROUP BY fleet, hour
    HAVING sum(there) != sum(known)
)
GROUP BY fleet, site, hour, stage, outcome;

CREATE TABLE IF NOT EXISTS ${database}.site_states ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour: event_time, or received_at where clock_skew',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; TTL goes by it',
    events UInt64 CODEC(ZSTD(1)) COMMENT 'Events',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients',
    dhcp_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DHCP latency of successes, milliseconds; from 30 s on 30 s',
    aaa_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the AAA latency of successes, milliseconds; from 30 s on 30 s',
    dns_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DNS latency of successes, milliseconds; from 30 s on 30 s',
    connect_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of association to network of successes, milliseconds; from 30 s on 30 s'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, site, bucket, stage, outcome, received_day)
SETTINGS ${hour_settings}
COMMENT 'Distinct clients and latencies by hour and site, of hours that are over: client_events_1h without networks and access points';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_states_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.site_states AS
SELECT
    fleet, site, bucket, stage, outcome, received_day,
    sum(hours.events) AS events,
    uniqMergeState(hours.clients) AS clients,
    quantilesTimingMergeState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(hours.dhcp_latency) AS dhcp_latency,
    quantilesTimingMergeState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(hours.aaa_latency) AS aaa_latency,
    quantilesTimingMergeState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(hours.dns_latency) AS dns_latency,
    quantilesTimingMergeState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(hours.connect_latency) AS connect_latency
FROM ${database}.client_events_1h AS hours
WHERE received_day >= toDate(now('UTC')) - 2 AND (fleet, received_day, bucket) IN
(
    SELECT fleet, received_day, bucket
    FROM
    (
        SELECT fleet, received_day, bucket, sum(events) AS there, 0 AS known
        FROM ${database}.client_events_1h
        WHERE received_day >= toDate(now('UTC')) - 2
        GROUP BY fleet, received_day, bucket
        UNION ALL
        SELECT fleet, received_day, bucket, 0, sum(events)
        FROM ${database}.site_states FINAL
        WHERE received_day >= toDate(now('UTC')) - 2
        GROUP BY fleet, received_day, bucket
    )
    WHERE bucket < toStartOfHour(now('UTC') - INTERVAL 2 MINUTE, 'UTC')
    GROUP BY fleet, received_day, bucket
    HAVING sum(there) != sum(known)
)
GROUP BY fleet, site, bucket, stage, outcome, received_day;
