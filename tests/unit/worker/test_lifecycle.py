"""A process that stood still is told, one that is busy is not; and one ends whatever still runs in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from tidegate.worker.lifecycle import FreezeDetector

FROZEN = """
import os, time
from tidegate.worker.lifecycle import FreezeDetector
def frozen(seconds):
    print("frozen", flush=True)
    os._exit(7)
detector = FreezeDetector(1.0, frozen)
detector.start()
print("began", flush=True)
time.sleep(60)
"""
STUCK = """
import threading
from tidegate.worker.lifecycle import end_within
threading.Thread(target=threading.Event().wait).start()
end_within(0.1, 3)
"""


def test_a_process_that_was_stopped_is_told() -> None:
    with subprocess.Popen([sys.executable, "-c", FROZEN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "began\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        process.send_signal(signal.SIGCONT)
        assert process.wait(30) == 7


def test_a_caller_may_notice_first() -> None:
    told: list[float] = []
    detector = FreezeDetector(0.0, told.append)
    detector.start()
    detector.check()
    detector.stop()
    assert told


def test_one_that_is_busy_is_left_alone() -> None:
    told: list[float] = []
    detector = FreezeDetector(20.0, told.append)
    detector.start()
    end = time.monotonic() + 1
    while time.monotonic() < end:
        detector.check()
    detector.stop()
    assert not told


def test_a_process_ends_whatever_still_runs_in_it() -> None:
    assert subprocess.run([sys.executable, "-c", STUCK], timeout=60).returncode == 3
