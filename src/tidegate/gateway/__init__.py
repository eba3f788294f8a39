"""The gateway: HTTP in, frames of raw events out, an answer only after the broker's ack."""
