"""The disk under ClickHouse: a tmpfs where that may be mounted, which a fault shrinks to what is on it.

Not to the last byte: ClickHouse 26.9 answers an insert as done when its last files found no room at all
(`docs/reliability.md`), so Tidegate's tables refuse inserts below `FREE_BYTES`: that is what a full disk is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tidegate.store.templates import FREE_BYTES

SIZE_BYTES = 4 << 30  # more than a run writes; memory goes only into what is there
LEFT_BYTES = FREE_BYTES // 4


class Disk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_mounted = False

    def mount(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.is_mounted = self._mount(SIZE_BYTES)

    def unmount(self, keep: Path | None = None) -> None:
        """What is on it goes, but for a copy in `keep`."""
        if self.is_mounted:
            if keep is not None:
                shutil.copytree(self.path, keep, symlinks=True, dirs_exist_ok=True)
            subprocess.run(["umount", "-l", str(self.path)], capture_output=True)
            self.is_mounted = False

    def fill(self) -> str:
        """Hardly any room from now on; or why that cannot be."""
        if not self.is_mounted:
            return "skipped: a disk to fill is a tmpfs, which only root may mount"
        space = os.statvfs(self.path)
        used = (space.f_blocks - space.f_bfree) * space.f_frsize
        if not self._mount(used + LEFT_BYTES, again=True):
            raise OSError(f"{self.path} cannot be shrunk")
        return "full"

    def free(self) -> None:
        """Room again."""
        if self.is_mounted:
            self._mount(SIZE_BYTES, again=True)

    def _mount(self, size: int, *, again: bool = False) -> bool:
        options = f"{'remount,' if again else ''}size={size}"
        command = ["mount", "-t", "tmpfs", "-o", options, "tidegate-chaos", str(self.path)]
        return subprocess.run(command, capture_output=True).returncode == 0
