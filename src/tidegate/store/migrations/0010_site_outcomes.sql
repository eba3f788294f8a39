-- works from 0009
-- What stays when all else of clients is gone: outcomes by day and site, with no client, device, network or access
-- point in it. Refreshed every hour out of site_minutes, so that no insert pays for it: a refresh counts again the
-- received days of the last week on which the minutes have another number of events. Read with FINAL.

CREATE TABLE IF NOT EXISTS ${database}.site_outcomes ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    day Date CODEC(Delta, ZSTD(1)) COMMENT 'Day in which the events were received',
    outcome LowCardinality(String) COMMENT 'success, failure, intermediate or unknown',
    stage LowCardinality(String) COMMENT 'Stage of a failure; empty otherwise',
    failure_code Int64 CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure class; -1 for none',
    sub_failure_code Int64 CODEC(ZSTD(1)) COMMENT 'Vendor code of the failure within its class; -1 for none',
    events UInt64 CODEC(ZSTD(1)) COMMENT 'Events'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYear(day)
ORDER BY (fleet, site, day, outcome, stage, failure_code, sub_failure_code)
SETTINGS ${dedup_settings}
COMMENT 'Client events by received day, site, stage and code: counts alone, nothing of a client';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_outcomes_mv ${on_cluster}
REFRESH EVERY 1 HOUR APPEND TO ${database}.site_outcomes AS
SELECT fleet, site, toDate(minute) AS day, outcome, stage, failure_code, sub_failure_code, sum(minutes.events) AS events
FROM ${database}.site_minutes AS minutes
WHERE minute >= toStartOfDay(now('UTC') - INTERVAL 7 DAY, 'UTC') AND (fleet, toDate(minute)) IN
(
    SELECT fleet, day
    FROM
    (
        SELECT fleet, toDate(minute) AS day, sum(events) AS there, 0 AS known
        FROM ${database}.site_minutes
        WHERE minute >= toStartOfDay(now('UTC') - INTERVAL 7 DAY, 'UTC')
        GROUP BY fleet, day
        UNION ALL
        SELECT fleet, day, 0, sum(events)
        FROM ${database}.site_outcomes FINAL
        WHERE day >= toDate(now('UTC') - INTERVAL 7 DAY)
        GROUP BY fleet, day
    )
    GROUP BY fleet, day
    HAVING sum(there) != sum(known)
)
GROUP BY fleet, site, day, outcome, stage, failure_code, sub_failure_code;
