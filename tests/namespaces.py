"""Two network namespaces with a line between them that can be cut. Only root may make them."""

from __future__ import annotations

import ctypes
import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import toolchains

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Place:
    """A namespace with an address that the other one reaches."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self._device = f"{name}-line"

    def make(self) -> None:
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")

    def connect(self, other: Place) -> None:
        _ip(
            *f"-n {self.name} link add {self._device} type veth peer name {other._device}".split(),
            *f"netns {other.name}".split(),
        )
        for place in (self, other):
            _ip("-n", place.name, "address", "add", f"{place.address}/30", "dev", place._device)
            place.line("up")

    def line(self, state: str) -> None:
        """`down` cuts it, without a word to either side."""
        _ip("-n", self.name, "link", "set", self._device, state)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread, and what it starts meanwhile, is there."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(before)
        finally:
            os.close(before)
            os.close(there)


@contextmanager
def two_places() -> Iterator[tuple[Place, Place]]:
    """Skips where they cannot be made, and says why."""
    toolchains.need("ip")
    if os.geteuid():
        pytest.skip("network namespaces need root")
    name = secrets.token_hex(2)
    a, b = Place(f"a{name}", "10.77.0.1"), Place(f"b{name}", "10.77.0.2")
    try:
        try:
            a.make()
            b.make()
            a.connect(b)
        except PermissionError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield a, b
    finally:
        for place in (a, b):
            subprocess.run(["ip", "netns", "del", place.name], capture_output=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
