"""Connections between two parts, which can be cut, delayed, left half open, or lose the answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from tidegate.local.child import free_port

CHUNK = 65_536


class Trouble(Enum):
    NONE = "none"
    CUT = "cut"  # connections are reset, new ones too
    DELAY = "delay"  # every piece comes later, in both directions
    STALL = "stall"  # nothing passes, nothing is lost: it comes when the trouble is over
    HALF_OPEN = "half-open"  # one end is gone and the other is not told
    LATE = "late"  # requests go through; the connection breaks before their answer comes


class Proxies:
    """The loop that all links run in, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.servers: list[asyncio.Server] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def link(self, name: str, target: str) -> Link:
        link = Link(name, target, self)
        self.call(link.listen())
        return link

    def call(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(30)

    def stop(self) -> None:
        async def end() -> None:
            for server in self.servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Link:
    """A listener on `address` whose connections lead to `target`."""

    def __init__(self, name: str, target: str, proxies: Proxies) -> None:
        self.name = name
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.lead(target)
        self._proxies = proxies
        self._trouble = Trouble.NONE
        self._delay = 0.0
        self._over = asyncio.Event()
        self._over.set()
        self._near: set[asyncio.StreamWriter] = set()  # towards who connected
        self._far: set[asyncio.StreamWriter] = set()  # towards the target

    def lead(self, target: str) -> None:
        """Where connections lead from now on; those that are there stay as they are."""
        self._host, port = target.split(":")
        self._target_port = int(port)

    async def listen(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=CHUNK)
        self._proxies.servers.append(server)

    def begin(self, trouble: Trouble, delay: float = 0.0) -> None:
        self._proxies.call(self._begin(trouble, delay))

    def end(self) -> None:
        self._proxies.call(self._end())

    async def _begin(self, trouble: Trouble, delay: float) -> None:
        self._trouble, self._delay = trouble, delay
        self._over.clear()
        if trouble is Trouble.CUT:
            _abort(self._near | self._far)
        elif trouble is Trouble.HALF_OPEN:
            _abort(self._far)

    async def _end(self) -> None:
        before, self._trouble, self._delay = self._trouble, Trouble.NONE, 0.0
        if before is Trouble.HALF_OPEN:
            _abort(self._near)  # at last it is told
        self._over.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._near.add(writer)
        try:
            if self._trouble is Trouble.CUT:
                return
            if self._trouble is Trouble.HALF_OPEN:
                await self._over.wait()
                return
            far_reader, far_writer = await asyncio.open_connection(self._host, self._target_port, limit=CHUNK)
            self._far.add(far_writer)
            try:
                back = asyncio.create_task(self._pass(far_reader, writer, answers=True))
                try:
                    await self._pass(reader, far_writer, answers=False)
                    await back
                finally:
                    back.cancel()
            finally:
                self._far.discard(far_writer)
                _abort({far_writer})
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._near.discard(writer)
            _abort({writer})

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        """Until the end of one direction, which ends the other too."""
        ended: Callable[[], None] = writer.transport.abort
        with suppress(OSError):
            while piece := await reader.read(CHUNK):
                if self._trouble is Trouble.STALL:
                    await self._over.wait()
                elif self._trouble is Trouble.HALF_OPEN:
                    await self._over.wait()
                    break
                elif self._trouble is Trouble.DELAY:
                    await asyncio.sleep(self._delay)
                elif self._trouble is Trouble.LATE and answers:
                    break
                writer.write(piece)
                await writer.drain()
            else:
                ended = writer.close
        if self._trouble is Trouble.HALF_OPEN:
            await self._over.wait()
        ended()


def _abort(writers: set[asyncio.StreamWriter]) -> None:
    for writer in list(writers):
        writer.transport.abort()
