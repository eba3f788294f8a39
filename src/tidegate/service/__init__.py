"""What every role that runs for long shares: HTTP serving, pages, the shape of a refusal, waiting."""
