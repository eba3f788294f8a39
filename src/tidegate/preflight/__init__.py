"""What the guarantee rests on, and whether it holds here: broker, topics, ClickHouse, epoch, clocks.

`tidegate check` prints all of it. A role asks before it touches anything, and does not begin on what is
wrong. Nothing in here writes.
"""
