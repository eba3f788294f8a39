"""`tidegate erase`: the rows of one client, out of the tables for good, with books that still balance."""
