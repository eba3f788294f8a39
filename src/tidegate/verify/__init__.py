"""`tidegate verify`: does every event that came in stand in ClickHouse exactly once, and in every rollup?

Reads the views of `store/migrations/0004_verify.sql`: the ledger beside the tables, whether
batches follow one another, the base tables beside their rollups. Counters first; single batches are looked at
only where a partition's counters differ. Balanced is exit status 0, anything else 1, with the SQL that shows
the rows.
"""
