"""The chaos suite: the whole of Tidegate under faults, balanced against a log that somebody else keeps.

`producer` sends, and writes down what it sent and what was acknowledged; it knows nothing of the tables.
`schedule` draws faults from a seed, `faults` brings them about in a `world` of real processes whose
connections run through `proxy`. Afterwards `balance` compares the producer's log with ClickHouse, every
column of every row in `contents`, and Tidegate's own ledger with its tables. `sabotage` takes a safeguard
out, to see that the suite would notice.

    make chaos KILLS=60 SEED=7          # BROKER=embedded, SABOTAGE=fence, EVERY=1.5, RATE=1000
"""
