"""The types of an ASGI application, as far as bare ones here use them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = Message
App = Callable[[Scope, Receive, Send], Awaitable[None]]
