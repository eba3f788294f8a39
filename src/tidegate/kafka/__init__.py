"""What every role asks of the broker, beside the records that it reads as a member of its group."""
