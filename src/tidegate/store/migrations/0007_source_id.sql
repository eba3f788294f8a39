-- A device log is also found by the id that its sender gave it.

ALTER TABLE ${database}.device_logs ${on_cluster}
    ADD INDEX IF NOT EXISTS by_source_id source_id TYPE bloom_filter(0.01) GRANULARITY 1;

ALTER TABLE ${database}.device_logs ${on_cluster}
    MATERIALIZE INDEX IF EXISTS by_source_id;
