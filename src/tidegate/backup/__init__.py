"""`tidegate backup` and `tidegate restore`: what ClickHouse holds as files, and the way back."""
