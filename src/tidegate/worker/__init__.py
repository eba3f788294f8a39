"""The worker: raw frames in, enriched frames, failures, rejects and minute counts out. It alone knows Faust.

One agent a stream takes the raw records, and one merges the partial counts. Faust gives the records,
the assignment and the table; positions are kept here. Faust's own acks are switched off for the raw
topics: a record is done when the broker has acknowledged everything that came of it, and Faust would
commit past holes and past records that it dropped in a rebalance. So every offset is checked when it
arrives (`processing.lane`), and what is committed is what the lane says.

A record's way: `intake` (its offset, a place in its lane) → `dispatch` (through `transforms`, to the broker)
→ `in_flight` (until it is acknowledged) → `commits` (partial counts, `marks` of keys, then the position).
`assignment` makes the `lanes`, `counts` is the way of the minutes, `watch` looks on from beside. `app` is
Faust, `consumer` the aiokafka consumer below it; `worker` puts the parts together, `role` is the process.

Whatever cannot be put right from inside ends the process: the supervisor starts it again, and it goes on
behind its last commit. What was sent twice that way is dropped by the sink.
"""

from tidegate.worker.role import run

__all__ = ["run"]
