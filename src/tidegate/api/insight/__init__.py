"""Insight: which site fails, at which stage, why, whom it hits; the calls and how their answers are made."""
