"""One child process: started in a session of its own, ended with its parent, logged to a file."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tidegate.errors import UsageError
from tidegate.settings import address

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A program with its log. `start` must be called in a thread that lives as long as the child should:
    the kernel counts the end of that thread as the end of the parent.

    `orphaned` is the signal that the child gets when its parent dies without stopping it. Its own session
    keeps the terminal's Ctrl-C from it: the parent decides when it stops.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        log_path: Path,
        *,
        environment: Mapping[str, str] | None = None,
        orphaned: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_path
        self.environment = environment
        self.orphaned = orphaned
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def status(self) -> int | None:
        """None while it runs or was never started; then its exit status, negative for a signal."""
        return self._process.poll() if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, again if it ran before; the log is appended to."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self.environment is None else dict(self.environment),
                start_new_session=True,
                preexec_fn=_die_with_parent(self.orphaned),
            )

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, grace_seconds: float = 15.0) -> int | None:
        """SIGTERM, then after the grace SIGKILL. Returns the exit status, None if it never ran."""
        process = self._process  # this one, also if another thread starts it again meanwhile
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return _end_of(process, grace_seconds)

    def wait(self, grace_seconds: float) -> int | None:
        """Wait for the end of a child that was told to stop; SIGKILL after the grace."""
        return None if self._process is None else _end_of(self._process, grace_seconds)

    def kill(self) -> None:
        """SIGKILL to the child and to what it started in its session."""
        if self._process is not None:
            _kill(self._process)

    def tail(self, lines: int = 20, limit_bytes: int = 65_536) -> str:
        """The end of its log."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - limit_bytes))
                text = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def _end_of(process: subprocess.Popen[bytes], grace_seconds: float) -> int:
    try:
        return process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):  # another thread may be at its end just now
            os.killpg(process.pid, signal.SIGKILL)


_given: set[int] = set()  # ports; who has one may not listen yet

# Below the range from which Linux takes the ports of outgoing connections: no client can take a port that was
# given out, or whose server is being restarted.
PORTS = range(10_240, 32_768)


def claim_address(listen: str, setting: str) -> tuple[str, int]:
    """Split host:port and make sure that nothing listens there. Raises UsageError naming the setting."""
    host, port = address(listen, setting)
    _given.add(port)
    with socket.socket() as probe:
        # As the servers do it: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(f"{setting}: cannot listen on {listen}: {error.strerror}") from error
    return host, port


def reachable(listen: str) -> str:
    """The address under which a server on `listen` is found from this machine."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "", "[::]", "::", "*") else listen


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listened on a moment ago, and that nobody in this process was given or claims."""
    while True:
        port = random.choice(PORTS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None
    parent = os.getpid()

    def before_exec() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return before_exec
