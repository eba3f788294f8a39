"""`tidegate backup` and `tidegate restore`: what ClickHouse holds as files, and restoring them."""
