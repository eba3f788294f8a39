"""`tidegate replay`: refused lines come back, once each, under their first id and in the day they arrived.

It may be killed at any moment and run again. Before it chooses, it waits until all that is in the raw topics
is stored, so that what an earlier run sent is visible in the tables; it chooses the lines that are not. One
run at a time: it is a member of a consumer group on the control topic, and stops when it is one no longer.
"""
