"""`tidegate audit`: what operators did, gathered from where each of it is on record."""
