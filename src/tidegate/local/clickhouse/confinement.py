"""Confines the server process by Landlock: whatever SQL may find, it reaches its own folders alone.

The wall behind the wall. What a statement may do is decided before it runs (`permission`, `engine_users`);
this holds for what was overlooked there, or comes with a later engine. Landlock is in Linux since 5.13, rules
for TCP since 6.7; where there is none, `confine` says so and the process runs without it.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import site
import struct
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import tidegate

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
VERSION = 1
PATH_BENEATH, NET_PORT = 1, 2
NO_NEW_PRIVILEGES = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
READ = EXECUTE | READ_FILE | READ_DIR
FILES_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
TRUNCATE, IOCTL = 1 << 14, 1 << 15
OF_A_FILE = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL
BIND, CONNECT = 1 << 0, 1 << 1
TCP_SINCE = 4

SYSTEM = (
    # Python, the engine's library and what both load; the machine's figures that the engine watches.
    *(sys.prefix, sys.base_prefix, *site.getsitepackages(), site.getusersitepackages()),
    *(str(Path(tidegate.__file__).parent), "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib"),
    *("/usr/share/zoneinfo", "/etc/localtime", "/etc/ld.so.cache", "/sys"),
    *("/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/loadavg", "/proc/uptime"),
    *("/proc/vmstat", "/proc/pressure", "/proc/sys/vm", "/proc/sys/kernel", "/proc/mounts"),
    *("/dev/zero", "/dev/random", "/dev/urandom"),
)


def confine(writable: Iterable[Path], *, port: int, readable: Iterable[Path] = ()) -> str:
    """From here on this thread and those that it starts reach the `writable` folders, the `readable` ones,
    and `SYSTEM` for reading; no TCP but listening on `port`. Returns what was left out, "" if nothing was.
    """
    if sys.platform != "linux":
        return "this system has no Landlock"
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    if version < 1:
        return "this kernel has no Landlock"
    files = FILES_BY_VERSION[max(known for known in FILES_BY_VERSION if known <= version)]
    tcp = BIND | CONNECT if version >= TCP_SINCE else 0
    attributes = struct.pack("=QQ", files, tcp) if tcp else struct.pack("=Q", files)
    ruleset = libc.syscall(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    try:
        for path in writable:
            _allow(libc, ruleset, path, files)
        _allow(libc, ruleset, Path("/dev/null"), files)
        for path in (*readable, *map(Path, SYSTEM)):
            _allow(libc, ruleset, path, READ & files)
        if tcp:
            _add(libc, ruleset, NET_PORT, struct.pack("=QQ", BIND, port))
        if libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.syscall(RESTRICT_SELF, ruleset, 0):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return "" if tcp else "this kernel's Landlock has no rules for TCP"


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError):
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            _add(
                libc,
                ruleset,
                PATH_BENEATH,
                struct.pack("=Qi", rights if path.is_dir() else rights & OF_A_FILE, place),
            )
        finally:
            os.close(place)


def _add(libc: ctypes.CDLL, ruleset: int, kind: int, rule: bytes) -> None:
    if libc.syscall(ADD_RULE, ruleset, ctypes.c_uint32(kind), rule, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
