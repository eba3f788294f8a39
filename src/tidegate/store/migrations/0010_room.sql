-- Inserts are refused while the disk is not full yet, and tried again. A write that found no room at all was
-- answered as done by ClickHouse 26.9, and left a part whose marks were missing.

ALTER TABLE ${database}.connection_logs ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.client_events ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.device_logs ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.rejects ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.alerts ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.sink_batches ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.sink_gaps ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.epochs ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.sink_groups ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.access_points ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.connection_logs_1m ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.connection_logs_1h ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.connection_logs_1d ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.client_events_1m ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.client_events_1h ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.client_events_1d ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.device_logs_1m ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.device_logs_1h ${on_cluster} MODIFY SETTING ${room_settings};

ALTER TABLE ${database}.device_logs_1d ${on_cluster} MODIFY SETTING ${room_settings};
