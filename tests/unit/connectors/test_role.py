"""The process of a connector: it ends with the task that delivers."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from tidegate import settings
from tidegate.connectors import role
from tidegate.connectors.hostapd import Hostapd
from tidegate.local.child import free_port


class Broken(Hostapd):
    async def _deliver(self) -> None:
        raise LookupError("a bug")


def test_a_bug_in_what_delivers_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it listened on, was ready, and delivered nothing."""
    monkeypatch.setitem(role.OTHERS, "hostapd", Broken)
    listens: dict[str, Any] = {
        name: f"127.0.0.1:{free_port()}" for name in ("connect_listen", "connect_syslog_listen")
    }
    given = dataclasses.replace(
        settings.load({}),
        connect_gateway_url=f"http://127.0.0.1:{free_port()}",
        connect_token="tg_x",
        **listens,
    )
    with pytest.raises(LookupError, match="a bug"):
        asyncio.run(asyncio.wait_for(role._receive(given, "hostapd"), 60))
