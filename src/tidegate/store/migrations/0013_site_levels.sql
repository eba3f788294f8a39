-- works from 0009
-- Coverage, roaming, capacity and stability of each site by received minute, counted of site_events behind its
-- refresh: what a call asks of a day is some ten thousand rows of counts in place of two million events. A refresh
-- counts the quarters of an hour of the last two received days that are over and of which the copy has more events
-- than this table, and the four behind each, whose clients' lines begin in it; the newest first, until they have two
-- million events. A row takes the place of the one before it. Read with FINAL. (docs/decisions/0033)

CREATE TABLE IF NOT EXISTS ${database}.site_levels ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    site LowCardinality(String) COMMENT 'Site; empty for none',
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)) COMMENT 'Start of the minute in which the events were received',
${site_level_columns}
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toDate(minute)
ORDER BY (fleet, site, minute)
SETTINGS ${level_settings}
COMMENT 'Coverage, roaming, capacity and stability by received minute and site, of quarters of an hour that are over';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.site_levels_mv ${on_cluster}
REFRESH EVERY 5 MINUTE DEPENDS ON ${database}.site_events_mv APPEND TO ${database}.site_levels AS
WITH due AS
(
    SELECT DISTINCT fleet, quarter
    FROM
    (
        SELECT fleet, arrayJoin(arrayMap(behind -> changed + behind * 900, range(5))) AS quarter
        FROM
        (
            SELECT
                fleet, toStartOfFifteenMinutes(minute) AS changed,
                sum(sum(there)) OVER
                    (ORDER BY changed DESC, fleet ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer
            FROM
            (
                SELECT fleet, minute, count() AS there, 0 AS known
                FROM ${database}.site_events
                WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
                GROUP BY fleet, minute
                UNION ALL
                SELECT fleet, minute, 0, events
                FROM ${database}.site_levels FINAL
                WHERE minute >= toStartOfHour(now('UTC') - INTERVAL 2 DAY, 'UTC')
            )
            WHERE minute < toStartOfFifteenMinutes(now('UTC') - INTERVAL 2 MINUTE) AND ${copies_here}
            GROUP BY fleet, changed
            HAVING sum(there) > sum(known)
        )
        WHERE newer < 2000000
    )
    WHERE quarter < toStartOfFifteenMinutes(now('UTC') - INTERVAL 2 MINUTE)
)
${site_levels_refreshed};
