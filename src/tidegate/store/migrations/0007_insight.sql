-- What the insight calls read: each received minute of each site, counted as `tidegate.health` counts it, and
-- told apart by failure code too. Sorted by site first: a site's day is one range of rows.

CREATE TABLE IF NOT EXISTS ${database}.site_minutes ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute in which the events were received',
    ssid LowCardinality(String) COMMENT 'SSID; empty if not sent',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    failure_code Int64 CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure class; -1 for none',
    sub_failure_code Int64 CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure within its class; -1 for none',
    failure SimpleAggregateFunction(max, String) CODEC(ZSTD(1)) COMMENT 'Text of the failure class; the last by alphabet where events differ',
    sub_failure SimpleAggregateFunction(max, String) CODEC(ZSTD(1)) COMMENT 'Text of the failure within its class, likewise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    skewed SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events whose device time was not to be trusted',
    disassociations SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events that say that a client was disassociated',
    timed SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Successes that tell how long association to network took',
    quick SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Successes that took at most two seconds for it',
    newest SimpleAggregateFunction(max, DateTime64(6, 'UTC')) CODEC(ZSTD(1)) COMMENT 'When the newest of the events was received'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toDate(minute)
ORDER BY (fleet, site, minute, ssid, stage, outcome, failure_code, sub_failure_code)
SETTINGS ${minute_settings}
COMMENT 'Client events by received minute and site: the counts of the health topic, by failure code too';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_minutes_mv ${on_cluster} TO ${database}.site_minutes AS
SELECT
    fleet,
    site,
    toStartOfMinute(received_at, 'UTC') AS minute,
    ifNull(events.ssid, '') AS ssid,
    stage,
    outcome,
    if(outcome = 'failure', ifNull(events.failure_code, -1), -1) AS failure_code,
    if(outcome = 'failure', ifNull(events.sub_failure_code, -1), -1) AS sub_failure_code,
    ifNull(maxIf(events.failure, outcome = 'failure'), '') AS failure,
    ifNull(maxIf(events.sub_failure, outcome = 'failure'), '') AS sub_failure,
    count() AS events,
    countIf(clock_skew) AS skewed,
    countIf(ifNull(event_description, sub_event_description) ILIKE '%disassoc%') AS disassociations,
    countIf(outcome = 'success' AND isNotNull(association_time) AND isNotNull(network_time)) AS timed,
    countIf(outcome = 'success' AND dateDiff('millisecond', association_time, network_time) <= 2000) AS quick,
    max(received_at) AS newest
FROM ${database}.client_events AS events
GROUP BY fleet, site, minute, ssid, stage, outcome, failure_code, sub_failure_code;
