"""The worker without Faust: what it does with a record, what it sends, and when a record is done."""
