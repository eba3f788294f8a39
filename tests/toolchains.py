"""The toolchains that the clients of other makers need, where they are missing or too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

GO = (1, 21)
"""The first Go that fetches the newer one that a go.mod names, which Debian 12's 1.19 does not."""


def need(*programs: str) -> None:
    """Skip without a program; with `CI` set its absence is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        refuse(f"needs {' and '.join(missing)} on the PATH")
    if "go" in programs:
        said = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True).stdout.strip()
        if is_old(said):
            refuse(f"needs Go {GO[0]}.{GO[1]} or newer; this is {said or 'unknown'}")


def helm() -> str:
    """Helm as `make helm` builds it, or that of the PATH."""
    makefile = (Path(__file__).resolve().parents[1] / "Makefile").read_text()
    [version] = re.findall(r"^HELM := (\S+)", makefile, re.MULTILINE)
    built = Path.home() / ".cache/tidegate" / f"helm-{version}"
    program = shutil.which("helm", path=f"{built}:{os.environ['PATH']}")
    if program is None:
        refuse("needs helm: `make helm` builds it")
        raise AssertionError
    return program


def is_old(version: str) -> bool:
    """Whether a Go is too old to fetch another, by what ``go env GOVERSION`` says (``go1.26.8``)."""
    found = re.match(r"go(\d+)\.(\d+)", version)
    return found is None or (int(found[1]), int(found[2])) < GO


def refuse(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
