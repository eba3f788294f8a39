-- Which consumer group fills the tables. Two groups would each read every partition, each with its own fence,
-- and cut it into batches of its own: everything would be stored twice.

CREATE TABLE IF NOT EXISTS ${database}.sink_groups ${on_cluster}
(
    epoch String COMMENT 'Life of the topics',
    sink_group String COMMENT 'Consumer group of the sinks that may write; the newest row of an epoch holds',
    at DateTime64(6, 'UTC') COMMENT 'When it was noted: by the first sink of the epoch, or by an operator'
)
ENGINE = ${merge_tree}
ORDER BY (epoch, at)
SETTINGS ${dedup_settings}
COMMENT 'The consumer group that fills the tables, by life of the topics';
