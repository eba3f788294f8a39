"""The worker: raw frames in, enriched frames, failures, rejects and minute counts out. It alone knows Faust.

One agent a stream takes the raw records, and one merges the partial counts. Faust gives the records,
the assignment and the table; positions are kept here. Faust's own acks are switched off for the raw
topics: a record is done when the broker has acknowledged everything that came of it, and Faust would
commit past holes and past records that it dropped in a rebalance. So every offset is checked when it
arrives (`partition`), and its position is what is committed.

A record passes `consume` (its offset is checked, it waits in the state of its `partition`) → `transform` (the
steps, `dedup`, and `isolate` where a step fails) → `producer` → `in_flight` (until it is acknowledged) →
`commit` (partial counts, dedup marks, then the position). `assignment` makes the partition states, `publish`
merges minute counts and publishes them, `quarantine` pauses a fleet that is refused too much, `watchdog` ends
a process that does not move. `faust_app` is Faust, `group_consumer` the aiokafka consumer below it; `role`
wires the parts and is the process.

Whatever cannot be put right from inside ends the process: the supervisor starts it again, and it goes on
behind its last commit. What was sent twice that way is dropped by the sink.
"""
