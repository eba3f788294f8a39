"""Statistics out of the rollups: the calls, their parameters and their answers."""
