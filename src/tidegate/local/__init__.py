"""Behind `tidegate up`: a broker, a ClickHouse, and the supervisor of the roles, on one machine."""
