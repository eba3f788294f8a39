"""The exception tree, split by what the caller does next.

TidegateError
├── RetryLater   infrastructure is away (broker, ClickHouse, a lookup file): wait and try again
├── Rejected     the input is bad: answer or record it, go on with the next
├── Stop         going on could lose or double data: stop and let an operator decide
└── UsageError   wrong command line or settings: exit status 2
"""

from __future__ import annotations


class TidegateError(Exception):
    """Base of every error that Tidegate raises itself."""


class RetryLater(TidegateError):
    """Infrastructure trouble. Nothing was lost, nothing was accepted; the same call may work later."""

    def __init__(self, message: str, *, after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class Rejected(TidegateError):
    """The input cannot be taken, now or later."""


class Stop(TidegateError):
    """Going on could lose or double data. The message says what is wrong and what to do."""


class UsageError(TidegateError):
    """Wrong command line or settings; the message names the setting."""
