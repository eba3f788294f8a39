"""The folder for the engine's pipes."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tidegate.local.clickhouse.scratch import Scratch


def test_what_a_kill_left_behind_goes_and_what_is_in_use_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hold = (
        "import sys, tempfile, time; tempfile.tempdir = sys.argv[1]\n"
        "from tidegate.local.clickhouse.scratch import Scratch\n"
        "print(Scratch().path, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        first = Scratch()
        assert sorted(tmp_path.iterdir()) == sorted([theirs, Path(first.path)])
        other.send_signal(signal.SIGKILL)
        other.wait(30)
    (theirs / "result-0").touch()
    second = Scratch()
    assert sorted(tmp_path.iterdir()) == sorted([Path(first.path), Path(second.path)])
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []
