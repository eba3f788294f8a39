"""`tidegate` as a process: its command line, its settings as environment, the pages that it serves."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.local.child import Child

# What a role of a test has unless the test says otherwise: a loaded machine may hold the broker, or the proxy
# before it, up for longer than the second after which posts are refused.
PATIENT: Mapping[str, object] = {"gateway_answer_ms": 60_000}


def command(*arguments: str, prelude: str = "") -> list[str]:
    """`tidegate <arguments>`. `prelude` is Python that runs in its process before it does."""
    if not prelude:
        return [sys.executable, "-m", "tidegate", *arguments]
    start = f"import sys; sys.argv[1:] = {list(arguments)!r}"
    return [sys.executable, "-c", f"{start}\n{prelude}\nfrom tidegate.cli import main; main()"]


def environment(values: Mapping[str, object]) -> dict[str, str]:
    """This process's own, and settings by their names in the table."""
    return os.environ | {f"TIDEGATE_{name.upper()}": str(value) for name, value in values.items()}


def role(
    role: str, folder: Path, values: Mapping[str, object], *, name: str = "", prelude: str = ""
) -> Child:
    """`tidegate <role>`, not started; its log goes into `folder`, under `name` where several of it run."""
    name = name or role
    log = folder / f"{name}.log"
    return Child(name, command(role, prelude=prelude), log, environment=environment({**PATIENT, **values}))


def run(
    *arguments: str, values: Mapping[str, object], prelude: str = "", seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run `tidegate <arguments>` to its end."""
    return subprocess.run(
        command(*arguments, prelude=prelude),
        env=environment(values),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def assert_verified(values: Mapping[str, object], *options: str, seconds: float = 120.0) -> dict[str, Any]:
    """`tidegate verify` finds nothing wrong in the store and the broker that `values` name; its report."""
    done = run("verify", "--json", *options, values=values, seconds=seconds)
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["findings"] == [], report["findings"]
    assert done.returncode == 0, done.stderr
    return report


def get(listen: str, path: str, seconds: float = 2.0) -> tuple[int, str]:
    """Status and text of a page; status 0 without an answer."""
    try:
        try:
            answer = urllib.request.urlopen(f"http://{listen}{path}", timeout=seconds)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException):  # it may go in the middle of an answer
        return 0, ""
