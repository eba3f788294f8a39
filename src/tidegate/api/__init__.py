"""The query API: the reference documents' endpoints over the named queries of the store."""
