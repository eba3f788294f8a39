-- Hours of sites that no insert pays for: refreshed every five minutes out of the events. A refresh counts again
-- the hours of the last two days in which site_minutes has more events than they do; a row takes the place of
-- the one before it. Read with FINAL.
-- A fleet's hour that is under way and has a million events or more is counted again only when it has doubled, and
-- once it is over: to count all of it every five minutes took more than everything else (docs/decisions/0030).

CREATE TABLE IF NOT EXISTS ${database}.stage_hours ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site',
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour in which the events were received',
    ssid LowCardinality(String) COMMENT 'SSID; empty if not sent',
    stage LowCardinality(String) COMMENT 'Stage of an attempt: association, authentication, aaa, dhcp, dns or network; connect for the whole attempt',
    reached UInt64 CODEC(ZSTD(1)) COMMENT 'Attempts that came to it',
    failed UInt64 CODEC(ZSTD(1)) COMMENT 'Attempts that failed in it',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients that failed in it',
    latencies Map(UInt8, UInt64) CODEC(ZSTD(1)) COMMENT 'Of connect, aaa, dhcp and dns: successes by bucket of their latency, numbered as in tidegate.health'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, site, hour, ssid, stage)
SETTINGS ${dedup_settings}
COMMENT 'Attempts by stage, site and hour: plain sums, and latencies as histograms';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.stage_hours_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.stage_hours AS
SELECT
    fleet, site, hour, ssid, one.1 AS stage, sum(one.2) AS reached, sum(one.3) AS failed,
    uniqStateIf(mac, one.3 > 0) AS clients,
    sumMapIf(map(bucket, toUInt64(1)), one.4 >= 0) AS latencies
FROM
(
    SELECT
        fleet, site, toStartOfHour(received_at, 'UTC') AS hour, ifNull(events.ssid, '') AS ssid, mac,
        outcome = 'success' AS good, dateDiff('millisecond', association_time, network_time) AS took,
        indexOf(['association', 'authentication', 'aaa', 'dhcp', 'dns', 'network'], toString(stage)) AS place,
        arrayJoin([
            ('connect', 1, NOT good,
                if(good, ifNull(if(took < 0, 0, took), -1), -1)),
            ('association', good OR place >= 1, place = 1, -1),
            ('authentication', good OR place >= 2, place = 2, -1),
            ('aaa', good OR place >= 3, place = 3, if(good, ifNull(if(aaa_latency < 0, 0, aaa_latency), -1), -1)),
            ('dhcp', good OR place >= 4, place = 4, if(good, ifNull(if(dhcp_latency < 0, 0, dhcp_latency), -1), -1)),
            ('dns', good OR place >= 5, place = 5, if(good, ifNull(if(dns_latency < 0, 0, dns_latency), -1), -1)),
            ('network', good OR place >= 6, place = 6, -1)
        ]::Array(Tuple(String, UInt8, UInt8, Int64))) AS one,
        toUInt8(arrayCount(edge -> one.4 >= edge, arrayMap(step -> pow(2, step / 4), range(81)))) AS bucket
    FROM ${database}.client_events AS events
    WHERE outcome IN ('success', 'failure') AND received_at >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC') AND (fleet, toStartOfHour(received_at, 'UTC')) IN
    (
        SELECT fleet, hour
        FROM
        (
            SELECT fleet, toStartOfHour(minute, 'UTC') AS hour, sumIf(events, outcome IN ('success', 'failure')) AS there, 0 AS known
            FROM ${database}.site_minutes
            WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, hour
            UNION ALL
            SELECT fleet, hour, 0, sumIf(reached, stage = 'connect')
            FROM ${database}.stage_hours FINAL
            WHERE hour >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, hour
        )
        GROUP BY fleet, hour
        HAVING ${hours_due}
    )
)
GROUP BY fleet, site, hour, ssid, stage
HAVING reached > 0;

CREATE TABLE IF NOT EXISTS ${database}.radio_hours ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site',
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour in which the events were received',
    ap LowCardinality(String) COMMENT 'Name of the access point, else its bssid',
    band LowCardinality(String) COMMENT '2.4, 5 or 6 (GHz); empty if unknown',
    events UInt64 CODEC(ZSTD(1)) COMMENT 'Events',
    attempts UInt64 CODEC(ZSTD(1)) COMMENT 'Successes and failures',
    failures UInt64 CODEC(ZSTD(1)) COMMENT 'Failures',
    clients UInt64 CODEC(ZSTD(1)) COMMENT 'Distinct clients in the hour',
    rssi_count UInt64 CODEC(ZSTD(1)) COMMENT 'Events with an RSSI',
    rssi_sum Int64 CODEC(ZSTD(1)) COMMENT 'Sum of the RSSI, dBm',
    covered UInt64 CODEC(ZSTD(1)) COMMENT 'Events with an RSSI of -72 dBm or more',
    roams UInt64 CODEC(ZSTD(1)) COMMENT 'Successes here of clients that were connected at another access point of the SSID before, within the hour',
    roams_quick UInt64 CODEC(ZSTD(1)) COMMENT 'Those of them that took at most two seconds',
    disassociations UInt64 CODEC(ZSTD(1)) COMMENT 'Events that say that a client was disassociated',
    load UInt64 CODEC(ZSTD(1)) COMMENT 'Most clients that the access point itself told of, both bands; 0 if it told none'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, site, hour, ap, band)
SETTINGS ${dedup_settings}
COMMENT 'The radio side of access points by band and hour: signal, coverage, roaming, load';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.radio_hours_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.radio_hours AS
SELECT
    fleet, site, hour, ap, band,
    count() AS events,
    countIf(outcome IN ('success', 'failure')) AS attempts,
    countIf(outcome = 'failure') AS failures,
    uniqExact(mac) AS clients,
    count(rssi) AS rssi_count,
    ifNull(sum(rssi), 0) AS rssi_sum,
    countIf(rssi >= -72) AS covered,
    countIf(roam) AS roams,
    countIf(roam AND took <= 2000) AS roams_quick,
    countIf(left) AS disassociations,
    toUInt64(max(greatest(0, ifNull(told, 0)))) AS load
FROM
(
    SELECT
        *,
        lagInFrame(tuple(toString(outcome), left, network, ap)) OVER
            (PARTITION BY fleet, site, mac, hour, step ORDER BY at, offset, `index`) AS before,
        outcome = 'success' AND before.1 = 'success' AND before.3 = network AND before.4 != ap AS roam
    FROM
    (
        SELECT
            fleet, site, toStartOfHour(received_at, 'UTC') AS hour, coalesce(ap_name, bssid, '') AS ap, band, mac, outcome, rssi,
            ifNull(events.ssid, '') AS network,
            if(clock_skew, received_at, event_time) AS at, offset, `index`,
            ifNull(ifNull(event_description, sub_event_description) ILIKE '%disassoc%', false) AS left,
            left OR outcome IN ('success', 'failure') AS step,
            dateDiff('millisecond', association_time, network_time) AS took,
            cl_count_2ghz + cl_count_5ghz AS told
        FROM ${database}.client_events AS events
        WHERE received_at >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC') AND (fleet, toStartOfHour(received_at, 'UTC')) IN
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
            FROM ${database}.radio_hours FINAL
            WHERE hour >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, hour
        )
        GROUP BY fleet, hour
        HAVING ${hours_due}
    )
    )
)
GROUP BY fleet, site, hour, ap, band;

CREATE TABLE IF NOT EXISTS ${database}.contrast_hours ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site',
    hour DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the hour in which the events were received',
    stage LowCardinality(String) COMMENT 'Stage of an attempt; connect for the whole attempt',
    dimension LowCardinality(String) COMMENT 'ssid, ap, band, vendor, protocol or randomised',
    value String CODEC(ZSTD(1)) COMMENT 'Its value; empty if not sent',
    attempts UInt64 CODEC(ZSTD(1)) COMMENT 'Attempts that came to the stage',
    failures UInt64 CODEC(ZSTD(1)) COMMENT 'Attempts that failed in it',
    clients AggregateFunction(uniq, String) COMMENT 'Distinct clients that failed in it'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(hour)
ORDER BY (fleet, site, hour, stage, dimension, value)
SETTINGS ${dedup_settings}
COMMENT 'Attempts and failures by stage and by the value of each dimension, in long form';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.contrast_hours_mv ${on_cluster}
REFRESH EVERY 5 MINUTE APPEND TO ${database}.contrast_hours AS
SELECT
    fleet, site, hour, step.1 AS stage, side.1 AS dimension, side.2 AS value,
    sum(step.2) AS attempts, sum(step.3) AS failures, uniqStateIf(mac, step.3 > 0) AS clients
FROM
(
    SELECT
        fleet, site, toStartOfHour(received_at, 'UTC') AS hour, mac,
        outcome = 'success' AS good,
        indexOf(['association', 'authentication', 'aaa', 'dhcp', 'dns', 'network'], toString(stage)) AS place,
        [
            ('connect', 1, NOT good),
            ('association', good OR place >= 1, place = 1),
            ('authentication', good OR place >= 2, place = 2),
            ('aaa', good OR place >= 3, place = 3),
            ('dhcp', good OR place >= 4, place = 4),
            ('dns', good OR place >= 5, place = 5),
            ('network', good OR place >= 6, place = 6)
        ]::Array(Tuple(String, UInt8, UInt8)) AS steps,
        [
            ('ssid', ifNull(events.ssid, '')), ('ap', coalesce(ap_name, bssid, '')), ('band', toString(band)),
            ('vendor', toString(vendor)), ('protocol', ifNull(protocol, '')),
            ('randomised', if(randomised, 'randomised MAC', 'own MAC'))
        ]::Array(Tuple(String, String)) AS sides
    FROM ${database}.client_events AS events
    WHERE outcome IN ('success', 'failure') AND received_at >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC') AND (fleet, toStartOfHour(received_at, 'UTC')) IN
    (
        SELECT fleet, hour
        FROM
        (
            SELECT fleet, toStartOfHour(minute, 'UTC') AS hour, sumIf(events, outcome IN ('success', 'failure')) AS there, 0 AS known
            FROM ${database}.site_minutes
            WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, hour
            UNION ALL
            SELECT fleet, hour, 0, sumIf(attempts, stage = 'connect' AND dimension = 'ssid')
            FROM ${database}.contrast_hours FINAL
            WHERE hour >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            GROUP BY fleet, hour
        )
        GROUP BY fleet, hour
        HAVING ${hours_due}
    )
)
ARRAY JOIN steps AS step
ARRAY JOIN sides AS side
WHERE step.2
GROUP BY fleet, site, hour, stage, dimension, value;
