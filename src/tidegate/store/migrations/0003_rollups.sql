-- Rollups: attempts, outcomes, latencies, clients and bytes by minute, hour and day. See docs/decisions.
-- The hour is fed by the minute and the day by the hour, so an insert pays once for the grouping of its rows;
-- the engine merges the rest. Partitioned by received time like the events: one block of the sink stays one block here, which
-- its token can recognise.

CREATE TABLE IF NOT EXISTS ${database}.client_events_1m ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    site LowCardinality(String) COMMENT 'Site',
    ssid LowCardinality(String) COMMENT 'SSID; empty if not sent',
    ap LowCardinality(String) COMMENT 'Name of the access point, else its bssid',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz); empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash of the site',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    failure_code Int64 COMMENT 'Vendor code of the failure class; -1 for none',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients',
    dhcp_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DHCP latency, milliseconds; from 30 s on 30 s',
    aaa_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the AAA latency, milliseconds; from 30 s on 30 s',
    dns_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DNS latency, milliseconds; from 30 s on 30 s',
    connect_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of association to network, milliseconds; from 30 s on 30 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMMDD(received_day)
ORDER BY (fleet, bucket, site, ssid, ap, band, geohash, outcome, stage, failure_code, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Client events by minute: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.client_events_1h ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    site LowCardinality(String) COMMENT 'Site',
    ssid LowCardinality(String) COMMENT 'SSID; empty if not sent',
    ap LowCardinality(String) COMMENT 'Name of the access point, else its bssid',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz); empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash of the site',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    failure_code Int64 COMMENT 'Vendor code of the failure class; -1 for none',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients',
    dhcp_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DHCP latency, milliseconds; from 30 s on 30 s',
    aaa_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the AAA latency, milliseconds; from 30 s on 30 s',
    dns_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DNS latency, milliseconds; from 30 s on 30 s',
    connect_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of association to network, milliseconds; from 30 s on 30 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, site, ssid, ap, band, geohash, outcome, stage, failure_code, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Client events by hour: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.client_events_1d ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    site LowCardinality(String) COMMENT 'Site',
    ssid LowCardinality(String) COMMENT 'SSID; empty if not sent',
    ap LowCardinality(String) COMMENT 'Name of the access point, else its bssid',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz); empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash of the site',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    failure_code Int64 COMMENT 'Vendor code of the failure class; -1 for none',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients',
    dhcp_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DHCP latency, milliseconds; from 30 s on 30 s',
    aaa_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the AAA latency, milliseconds; from 30 s on 30 s',
    dns_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of the DNS latency, milliseconds; from 30 s on 30 s',
    connect_latency AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Int64)) COMMENT 'Quantiles of association to network, milliseconds; from 30 s on 30 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, site, ssid, ap, band, geohash, outcome, stage, failure_code, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Client events by day: one row for each combination of what happened';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.client_events_1m_mv ${on_cluster} TO ${database}.client_events_1m AS
SELECT
    fleet,
    toStartOfMinute(if(clock_skew, received_at, event_time)) AS bucket,
    toDate(received_at) AS received_day,
    clock_skew,
    site,
    ifNull(ssid, '') AS ssid,
    coalesce(ap_name, bssid, '') AS ap,
    band,
    geohash,
    outcome,
    stage,
    ifNull(failure_code, -1) AS failure_code,
    count() AS events,
    uniqState(mac) AS clients,
    quantilesTimingState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(if(dhcp_latency < 0, 0, dhcp_latency)) AS dhcp_latency,
    quantilesTimingState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(if(aaa_latency < 0, 0, aaa_latency)) AS aaa_latency,
    quantilesTimingState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(if(dns_latency < 0, 0, dns_latency)) AS dns_latency,
    quantilesTimingState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(if(network_time < association_time, 0, dateDiff('millisecond', association_time, network_time))) AS connect_latency
FROM ${database}.client_events
GROUP BY fleet, bucket, received_day, clock_skew, site, ssid, ap, band, geohash, outcome, stage, failure_code;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.client_events_1h_mv ${on_cluster} TO ${database}.client_events_1h AS
SELECT
    * REPLACE (toStartOfHour(bucket) AS bucket)
FROM ${database}.client_events_1m;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.client_events_1d_mv ${on_cluster} TO ${database}.client_events_1d AS
SELECT
    * REPLACE (toStartOfDay(bucket) AS bucket)
FROM ${database}.client_events_1h;

CREATE TABLE IF NOT EXISTS ${database}.connection_logs_1m ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    network_type LowCardinality(String) COMMENT 'wi, mo, bl or et; empty if not sent',
    ssid LowCardinality(String) COMMENT 'Name of the network; empty if not sent',
    ap LowCardinality(String) COMMENT 'bssid of the access point; empty if not sent',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz), from the frequency; empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash, at most five characters',
    operator LowCardinality(String) COMMENT 'Mobile operator',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    inbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes received',
    outbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes sent',
    insecure SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events on open or WEP networks',
    roaming SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events while roaming',
    rssi_sum SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)) COMMENT 'Sum of the RSSI, dBm',
    rssi_count SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events with an RSSI',
    clients AggregateFunction(uniq, Nullable(String)) COMMENT 'Distinct devices',
    duration AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Float64)) COMMENT 'Quantiles of the duration, whole seconds; from 30,000 s on 30,000 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMMDD(received_day)
ORDER BY (fleet, bucket, network_type, ssid, ap, band, geohash, operator, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Connection logs by minute: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.connection_logs_1h ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    network_type LowCardinality(String) COMMENT 'wi, mo, bl or et; empty if not sent',
    ssid LowCardinality(String) COMMENT 'Name of the network; empty if not sent',
    ap LowCardinality(String) COMMENT 'bssid of the access point; empty if not sent',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz), from the frequency; empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash, at most five characters',
    operator LowCardinality(String) COMMENT 'Mobile operator',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    inbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes received',
    outbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes sent',
    insecure SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events on open or WEP networks',
    roaming SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events while roaming',
    rssi_sum SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)) COMMENT 'Sum of the RSSI, dBm',
    rssi_count SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events with an RSSI',
    clients AggregateFunction(uniq, Nullable(String)) COMMENT 'Distinct devices',
    duration AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Float64)) COMMENT 'Quantiles of the duration, whole seconds; from 30,000 s on 30,000 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, network_type, ssid, ap, band, geohash, operator, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Connection logs by hour: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.connection_logs_1d ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    network_type LowCardinality(String) COMMENT 'wi, mo, bl or et; empty if not sent',
    ssid LowCardinality(String) COMMENT 'Name of the network; empty if not sent',
    ap LowCardinality(String) COMMENT 'bssid of the access point; empty if not sent',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz), from the frequency; empty if unknown',
    geohash LowCardinality(String) COMMENT 'Geohash, at most five characters',
    operator LowCardinality(String) COMMENT 'Mobile operator',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    inbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes received',
    outbytes SimpleAggregateFunction(sum, Int64) CODEC(ZSTD(1)) COMMENT 'Bytes sent',
    insecure SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events on open or WEP networks',
    roaming SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events while roaming',
    rssi_sum SimpleAggregateFunction(sum, Float64) CODEC(ZSTD(1)) COMMENT 'Sum of the RSSI, dBm',
    rssi_count SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events with an RSSI',
    clients AggregateFunction(uniq, Nullable(String)) COMMENT 'Distinct devices',
    duration AggregateFunction(quantilesTiming(0.25, 0.5, 0.75, 0.9, 0.95, 0.99), Nullable(Float64)) COMMENT 'Quantiles of the duration, whole seconds; from 30,000 s on 30,000 s'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, network_type, ssid, ap, band, geohash, operator, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Connection logs by day: one row for each combination of what happened';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.connection_logs_1m_mv ${on_cluster} TO ${database}.connection_logs_1m AS
SELECT
    fleet,
    toStartOfMinute(if(clock_skew, received_at, event_time)) AS bucket,
    toDate(received_at) AS received_day,
    clock_skew,
    ifNull(network_type, '') AS network_type,
    ifNull(network_name, '') AS ssid,
    ifNull(bssid, '') AS ap,
    multiIf(isNull(frequency), '', frequency < 2, '', frequency < 3, '2.4', frequency < 4.9, '', frequency < 5.925, '5', frequency < 7.2, '6', '') AS band,
    substring(geohash, 1, 5) AS geohash,
    operator,
    outcome,
    stage,
    count() AS events,
    sum(ifNull(inbytes, 0)) AS inbytes,
    sum(ifNull(outbytes, 0)) AS outbytes,
    sum(toUInt64(insecure)) AS insecure,
    sum(toUInt64(ifNull(roaming, false))) AS roaming,
    sum(if(ifNull(quality_metric, '') = 'rssi', ifNull(quality_value, 0), 0)) AS rssi_sum,
    sum(toUInt64(ifNull(quality_metric, '') = 'rssi' AND isNotNull(quality_value))) AS rssi_count,
    uniqState(device_id) AS clients,
    quantilesTimingState(0.25, 0.5, 0.75, 0.9, 0.95, 0.99)(if(duration < 0, 0, duration)) AS duration
FROM ${database}.connection_logs
GROUP BY fleet, bucket, received_day, clock_skew, network_type, ssid, ap, band, geohash, operator, outcome, stage;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.connection_logs_1h_mv ${on_cluster} TO ${database}.connection_logs_1h AS
SELECT
    * REPLACE (toStartOfHour(bucket) AS bucket)
FROM ${database}.connection_logs_1m;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.connection_logs_1d_mv ${on_cluster} TO ${database}.connection_logs_1d AS
SELECT
    * REPLACE (toStartOfDay(bucket) AS bucket)
FROM ${database}.connection_logs_1h;

CREATE TABLE IF NOT EXISTS ${database}.device_logs_1m ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    device_model LowCardinality(String) COMMENT 'Model; empty if not sent',
    site LowCardinality(String) COMMENT 'Location of the device; empty if not sent',
    log_action LowCardinality(String) COMMENT 'The document''s `action`',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    pending SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations still to be done',
    applied SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations done',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct devices'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMMDD(received_day)
ORDER BY (fleet, bucket, site, device_model, log_action, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Device logs by minute: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.device_logs_1h ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    device_model LowCardinality(String) COMMENT 'Model; empty if not sent',
    site LowCardinality(String) COMMENT 'Location of the device; empty if not sent',
    log_action LowCardinality(String) COMMENT 'The document''s `action`',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    pending SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations still to be done',
    applied SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations done',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct devices'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, site, device_model, log_action, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Device logs by hour: one row for each combination of what happened';

CREATE TABLE IF NOT EXISTS ${database}.device_logs_1d ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    bucket DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the day: event_time, or received_at where clock_skew',
    received_day Date CODEC(Delta, ZSTD(1)) COMMENT 'Received day of the events; partitions and TTL go by it',
    clock_skew Bool COMMENT 'Device time was not to be trusted: bucket is the received time',
    device_model LowCardinality(String) COMMENT 'Model; empty if not sent',
    site LowCardinality(String) COMMENT 'Location of the device; empty if not sent',
    log_action LowCardinality(String) COMMENT 'The document''s `action`',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    events SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Events',
    pending SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations still to be done',
    applied SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)) COMMENT 'Operations done',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct devices'
)
ENGINE = ${aggregating_merge_tree}
PARTITION BY toYYYYMM(received_day)
ORDER BY (fleet, bucket, site, device_model, log_action, outcome, stage, clock_skew, received_day)
SETTINGS ${rollup_settings}
COMMENT 'Device logs by day: one row for each combination of what happened';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.device_logs_1m_mv ${on_cluster} TO ${database}.device_logs_1m AS
SELECT
    fleet,
    toStartOfMinute(if(clock_skew, received_at, event_time)) AS bucket,
    toDate(received_at) AS received_day,
    clock_skew,
    ifNull(device_model, '') AS device_model,
    ifNull(device_location, '') AS site,
    log_action,
    outcome,
    stage,
    count() AS events,
    sum(toUInt64(ifNull(is_pending, false))) AS pending,
    sum(toUInt64(ifNull(is_applied, false))) AS applied,
    uniqState(device_id) AS clients
FROM ${database}.device_logs
GROUP BY fleet, bucket, received_day, clock_skew, device_model, site, log_action, outcome, stage;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.device_logs_1h_mv ${on_cluster} TO ${database}.device_logs_1h AS
SELECT
    * REPLACE (toStartOfHour(bucket) AS bucket)
FROM ${database}.device_logs_1m;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.device_logs_1d_mv ${on_cluster} TO ${database}.device_logs_1d AS
SELECT
    * REPLACE (toStartOfDay(bucket) AS bucket)
FROM ${database}.device_logs_1h;
