"""Child processes: stopped by signal, killed when deaf, ended with their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tidegate.errors import UsageError
from tidegate.local.child import Child, claim_address, free_port, reachable
from tidegate.local.demo import ensure_demo_tokens
from tidegate.tokens import TokenFile

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def start(argv: list[str], log: Path) -> Child:
    child = Child("it", argv, log)
    child.start()
    while "up" not in child.tail():
        assert child.running
        time.sleep(0.01)
    return child


def test_stop_and_status(tmp_path: Path) -> None:
    child = start(SLEEP, tmp_path / "logs" / "it.log")
    assert child.running and child.status is None
    assert child.stop(10) == -signal.SIGTERM
    assert not child.running
    assert Child("never", SLEEP, tmp_path / "x").stop() is None


def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    assert start(DEAF, tmp_path / "log").stop(0.2) == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import time, sys; from pathlib import Path; from tidegate.local.child import Child;"
        f"c = Child('it', {DEAF!r}, Path({str(tmp_path / 'log')!r})); c.start();"
        "print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive


def test_addresses() -> None:
    port = free_port()
    assert claim_address(f"127.0.0.1:{port}", "api_listen") == ("127.0.0.1", port)
    with pytest.raises(UsageError, match="api_listen"):
        claim_address("nonsense", "api_listen")
    assert reachable(f"0.0.0.0:{port}") == f"127.0.0.1:{port}"
    assert reachable("10.0.0.1:1") == "10.0.0.1:1"


def test_demo_tokens_are_kept_while_they_work(tmp_path: Path) -> None:
    path, tokens = tmp_path / "demo-tokens.json", TokenFile(tmp_path / "tokens.json", check_seconds=0)
    first = ensure_demo_tokens(path, tokens)
    assert set(first) == {"ingest", "viewer", "operator", "administrator", "superuser"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert ensure_demo_tokens(path, tokens) == first
    tokens.revoke("demo-viewer")
    second = ensure_demo_tokens(path, tokens)
    assert {role for role in first if first[role] != second[role]} == {"viewer"}
    path.unlink()
    assert set(ensure_demo_tokens(path, tokens).values()).isdisjoint(second.values())
    assert len(tokens.list()) == 5


def test_a_port_is_given_once() -> None:
    assert len({free_port() for _ in range(1000)}) == 1000
