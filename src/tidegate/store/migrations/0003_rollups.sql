-- Rollups of each stream by minute, hour and day: described in store/rollups.py.

${client_events_rollups}

${connection_logs_rollups}

${device_logs_rollups}
