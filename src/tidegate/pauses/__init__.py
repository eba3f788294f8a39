"""Streams of fleets that are paused for a flood of refused lines."""
