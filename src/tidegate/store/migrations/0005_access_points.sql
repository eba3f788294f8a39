-- Access points as client events show them, one row a radio, so that a list of them reads no events.
-- The name and the location are those of the newest event that has them; every aggregate gives the same
-- however often a row is counted.

CREATE TABLE IF NOT EXISTS ${database}.access_points ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bssid String CODEC(ZSTD(1)) COMMENT 'MAC of the radio, lower case with colons',
    name AggregateFunction(argMax, LowCardinality(Nullable(String)), DateTime64(6, 'UTC')) COMMENT 'Name of the access point in the newest event that has one',
    location_id AggregateFunction(argMax, Nullable(Int64), DateTime64(6, 'UTC')) COMMENT 'Location in the newest event that has one',
    ssids SimpleAggregateFunction(groupUniqArrayArray, Array(String)) COMMENT 'SSIDs seen on the radio',
    first_seen SimpleAggregateFunction(min, DateTime64(6, 'UTC')) COMMENT 'Oldest event: event_time, or received_at where clock_skew',
    last_seen SimpleAggregateFunction(max, DateTime64(6, 'UTC')) COMMENT 'Newest event: event_time, or received_at where clock_skew'
)
ENGINE = ${aggregating_merge_tree}
ORDER BY (fleet, bssid)
SETTINGS ${dedup_settings}
COMMENT 'Access points as client events show them: one row for each radio';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.access_points_mv ${on_cluster} TO ${database}.access_points AS
SELECT
    fleet,
    assumeNotNull(events.bssid) AS bssid,
    argMaxState(ap_name, if(clock_skew, received_at, event_time)) AS name,
    argMaxState(location_id, if(clock_skew, received_at, event_time)) AS location_id,
    groupUniqArrayIf(assumeNotNull(ssid), isNotNull(ssid)) AS ssids,
    min(if(clock_skew, received_at, event_time)) AS first_seen,
    max(if(clock_skew, received_at, event_time)) AS last_seen
FROM ${database}.client_events AS events
WHERE isNotNull(events.bssid)
GROUP BY fleet, bssid;
