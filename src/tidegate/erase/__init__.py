"""`tidegate erase`: the rows of one client, out of the tables for good, with a ledger that still balances."""
