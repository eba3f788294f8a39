"""Traces of OpenTelemetry: by batch, from the gateway's request to the sink's insert. Off by default.

`start` alone is imported by the roles: what makes spans, and OpenTelemetry's SDK behind it, is loaded where
`otel_endpoint` is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.errors import UsageError
from tidegate.masking import masked_url
from tidegate.settings import Settings

if TYPE_CHECKING:
    from tidegate.tracing.spans import Traces


def start(role: str, settings: Settings) -> Traces | None:
    """The traces of a role; None where no endpoint is set. Raises UsageError without the extra `otel`."""
    if not settings.otel_endpoint:
        return None
    if not settings.otel_endpoint.startswith(("http://", "https://")):
        raise UsageError(
            f"otel_endpoint: {masked_url(settings.otel_endpoint)!r} is no http:// or https:// URL"
        )
    try:
        from tidegate.tracing.spans import Traces
    except ImportError as error:
        raise UsageError(
            f"otel_endpoint is set, but {error.name} is not installed: pip install 'tidegate[otel]'"
        ) from error
    return Traces(role, settings.otel_endpoint, settings.otel_share)
