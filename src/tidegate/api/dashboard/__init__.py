"""The dashboard: pages drawn on the server over the named queries, for people who look after sites."""
