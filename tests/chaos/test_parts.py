"""The suite's own processes: what was taken away is not started again behind its back."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import psutil

from chaos.parts import Part
from tidegate.local.child import Child


class Starting(Part):
    """Its keeper stands just before the start until told to go on."""

    def __init__(self, child: Child) -> None:
        super().__init__("it", child)
        self.about_to = threading.Event()
        self.go_on = threading.Event()

    def prepare(self) -> None:
        self.about_to.set()
        assert self.go_on.wait(10)


def test_a_part_that_is_removed_while_its_keeper_starts_it_does_not_run_on(tmp_path: Path) -> None:
    part = Starting(Child("it", [sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log"))
    ended = threading.Event()

    def keep() -> None:
        part.keep()
        assert ended.wait(10)  # a child ends with the thread that started it

    keeper, remover = threading.Thread(target=keep), threading.Thread(target=part.end)
    keeper.start()
    assert part.about_to.wait(10)
    remover.start()
    remover.join(0.2)  # it may not be done before the keeper is
    part.go_on.set()
    remover.join(10)
    try:
        assert not remover.is_alive()
        assert part.child.status is not None and part.child.pid is not None
        assert not psutil.pid_exists(part.child.pid)
    finally:
        ended.set()
        keeper.join(10)
        part.child.kill()
        part.child.wait(10)
