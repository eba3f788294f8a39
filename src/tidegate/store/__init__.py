"""ClickHouse: the client, the numbered migrations, the named queries."""
