"""CPU seconds and memory of processes, from /proc."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    cpu: float  # seconds, user and system, of the process and its children
    rss: int  # bytes


def usage(pid: int) -> Usage:
    process = psutil.Process(pid)
    everyone = [process, *process.children(recursive=True)]
    cpu, rss = 0.0, 0
    for one in everyone:
        try:
            times = one.cpu_times()
            cpu += times.user + times.system
            rss += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu, rss)


class CpuClock:
    """CPU seconds that named processes use from its making on."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._begin = {name: usage(pid).cpu for name, pid in pids.items()}

    def seconds(self) -> dict[str, float]:
        return {name: usage(pid).cpu - self._begin[name] for name, pid in self._pids.items()}


def machine() -> str:
    """The machine in one phrase."""
    cpus = len(psutil.Process().cpu_affinity() or []) or psutil.cpu_count()
    model = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpus} cores, {memory:.0f} GiB" + (f", {model}" if model else "")
