"""The disk under ClickHouse: a tmpfs where that may be mounted, which a fault shrinks to what is on it.

Elsewhere (no root) a limit on the size of files is set on ClickHouse's process instead: its writes fail too.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from pathlib import Path

import psutil

SIZE_BYTES = 4 << 30  # more than a run writes; memory goes only into what is there
SMALL_BYTES = 4096
ATTEMPTS = 20  # to shrink it while ClickHouse writes


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_mounted = False
        self._limited: psutil.Process | None = None

    def mount(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.is_mounted = self._mount(["-t", "tmpfs", "tidegate-chaos"], SIZE_BYTES)

    def unmount(self, keep: Path | None = None) -> None:
        """What is on it goes, but for a copy in `keep`."""
        if self.is_mounted:
            if keep is not None:
                shutil.copytree(self.path, keep, symlinks=True, dirs_exist_ok=True)
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True)
            self.is_mounted = False

    def fill(self, pid: int | None) -> str:
        """No room from now on; how that was done. `pid` is ClickHouse's process."""
        if not self.is_mounted:
            return self._limit(pid)
        for _ in range(ATTEMPTS):
            space = os.statvfs(self.path)
            if self._remount((space.f_blocks - space.f_bfree + 1) * space.f_frsize):
                return "no room left"
        raise TimeoutError("ClickHouse wrote faster than its disk could be shrunk")

    def free(self) -> None:
        """Room again."""
        if self.is_mounted:
            self._remount(SIZE_BYTES)
        if self._limited is not None:
            try:
                self._limited.rlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            except psutil.Error:
                pass
            self._limited = None

    def _remount(self, size: int) -> bool:
        return self._mount(["-t", "tmpfs", "tidegate-chaos"], size, "remount,")

    def _mount(self, what: list[str], size: int, how: str = "") -> bool:
        command = ["mount", "-o", f"{how}size={size}", *what, str(self.path)]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _limit(self, pid: int | None) -> str:
        if pid is None:
            return "ClickHouse is not there"
        self._limited = psutil.Process(pid)
        _, hard = self._limited.rlimit(resource.RLIMIT_FSIZE)
        self._limited.rlimit(resource.RLIMIT_FSIZE, (SMALL_BYTES, hard))
        return "files limited to a page (no tmpfs without root)"
