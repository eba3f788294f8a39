"""Alerts from outside: acknowledging and silencing them, checking and testing their rules."""
