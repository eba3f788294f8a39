"""The steps: pure functions on a frame's columns. No clock, no client, no Faust, no Kafka, no HTTP."""
