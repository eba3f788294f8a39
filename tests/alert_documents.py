"""Alerts as `tidegate.alerts` has them."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.contracts.alerts import Alert, Cause, Impact, Scope


def alert(**changed: Any) -> Alert:
    """A RADIUS incident at Toronto; `site`, `stage`, `ssid` and `ap` go into its scope."""
    scope = {name: changed.pop(name) for name in ("site", "stage", "ssid", "ap") if name in changed}
    found = Alert(
        fleet="demo",
        id="a1b2c3",
        sequence=1,
        incident="i1",
        rule="stage-failures",
        signal="stage_failures",
        state="open",
        severity="critical",
        scope=Scope(site="Toronto", stage="aaa"),
        started_at="2026-03-04T21:26:00Z",
        updated_at="2026-03-04T21:28:00Z",
        impact=Impact(2924, 1690, 0.004, 206, 284, 26, 26),
        cause=Cause(902, 1, "RADIUS server did not respond.", 0.97),
        summary="58 % of logins fail at Toronto (usual 0.4 %)",
        action="Check that the RADIUS server answers",
    )
    return msgspec.structs.replace(found, scope=msgspec.structs.replace(found.scope, **scope), **changed)
