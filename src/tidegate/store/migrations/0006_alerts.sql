-- Alerts, one row a change of state, as `tidegate.alerts` has them.
-- A record of the topic may come twice: it has the same key here, and FINAL reads it once. The month is that
-- of the change itself, so that a repeat falls into the same partition whenever it comes.

CREATE TABLE IF NOT EXISTS ${database}.alerts ${on_cluster}
(
    fleet LowCardinality(String) COMMENT 'Fleet',
    id String CODEC(ZSTD(1)) COMMENT 'Id of the alert, the same while it lasts',
    sequence UInt32 COMMENT 'Number of the change within the alert, from 1, without a gap',
    incident String CODEC(ZSTD(1)) COMMENT 'Alerts that belong together: stages of a site, sites of a fleet',
    rule LowCardinality(String) COMMENT 'Rule that raised it',
    signal LowCardinality(String) COMMENT 'What it watches: stage_failures, slow_stage, …',
    state LowCardinality(String) COMMENT 'open, acked, flapping, silenced or resolved',
    severity LowCardinality(String) COMMENT 'info, warning or critical',
    site LowCardinality(String) COMMENT 'Scope: site; empty for the whole fleet',
    stage LowCardinality(String) COMMENT 'Scope: stage; empty where it is not told apart, as the ones below',
    ssid LowCardinality(String) COMMENT 'Scope: name of the network',
    ap LowCardinality(String) COMMENT 'Scope: access point',
    stream LowCardinality(String) COMMENT 'Scope: stream',
    started_at DateTime64(6, 'UTC') COMMENT 'Start of the first minute that counts to it',
    updated_at DateTime64(6, 'UTC') COMMENT 'When it came to this state',
    `by` String COMMENT 'Who acknowledged or silenced it',
    until Nullable(DateTime64(6, 'UTC')) COMMENT 'End of a silence',
    attempts UInt64 COMMENT 'Impact: attempts while it lasted',
    failures UInt64 COMMENT 'Impact: failures among them',
    usual Float64 COMMENT 'Impact: share of attempts that usually fails there at this hour',
    clients UInt32 COMMENT 'Impact: distinct clients that failed',
    clients_seen UInt32 COMMENT 'Impact: distinct clients at all',
    aps UInt32 COMMENT 'Impact: access points with failures',
    aps_seen UInt32 COMMENT 'Impact: access points at all',
    code Nullable(Int64) COMMENT 'Cause: failure code that most failures beyond the usual have',
    sub_code Nullable(Int64) COMMENT 'Cause: its sub-code',
    reason String COMMENT 'Cause: text of that code',
    cause_share Float64 COMMENT 'Cause: its share of the failures beyond the usual',
    cause_dimension LowCardinality(String) COMMENT 'Cause: ssid, ap, … whose one value explains them; empty where they are even',
    cause_value String COMMENT 'Cause: that value',
    summary String CODEC(ZSTD(1)) COMMENT 'One sentence for people',
    action String CODEC(ZSTD(1)) COMMENT 'What to do',
    details String CODEC(ZSTD(1)) COMMENT 'Further figures by name, as JSON text',
    epoch LowCardinality(String) COMMENT 'Life of the topics in which it was told'
)
ENGINE = ${replacing_merge_tree}
PARTITION BY toYYYYMM(updated_at)
ORDER BY (fleet, id, sequence)
SETTINGS ${dedup_settings}
COMMENT 'Alerts, one row a change of state; read it with FINAL';

-- The newest state of each alert. What was not resolved when the topics were made anew is over: the state of
-- its detector is gone with them.
CREATE VIEW IF NOT EXISTS ${database}.alerts_now ${on_cluster} AS
SELECT * REPLACE (
    if(epoch < (SELECT max(epoch) FROM ${database}.epochs), 'resolved', state) AS state
)
FROM ${database}.alerts FINAL
ORDER BY fleet, id, sequence DESC
LIMIT 1 BY fleet, id;
