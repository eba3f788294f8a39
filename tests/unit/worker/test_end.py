"""The end of a process in which a thread never ends."""

from __future__ import annotations

import subprocess
import sys

STUCK = """
import threading
from tidegate.worker.lifecycle import end_within
threading.Thread(target=threading.Event().wait).start()
end_within(0.1, 3)
"""


def test_a_process_ends_whatever_still_runs_in_it() -> None:
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=60).returncode == 3
