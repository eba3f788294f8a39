"""What each kind of fault does to the world."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from leave_group import give_up
from stopping import stop_at

from chaos.parts import Part, Role
from chaos.proxy import Trouble
from chaos.schedule import Fault
from chaos.world import World

THERE_SECONDS = 30.0  # for the part to be there
MOMENT_SECONDS = 30.0  # for a moment to be reached
DELAY_SECONDS = 0.3
SECOND_SECONDS = 15.0  # that a second sink by mistake runs at most

# Tells the suite as which member of its group a sink goes on.
MEMBER = """
from pathlib import Path
from tidegate.sink.consumer import Sink
from tidegate.sink.group import membership
take_over = Sink._take_over
def telling(self, partitions):
    Path({path!r}).write_text(membership(self._consumer).member)
    take_over(self, partitions)
Sink._take_over = telling
"""
GROUP = "tidegate-sink"
UNHEARD_MS = 120_000  # session of a sink whose heartbeats come too seldom to tell it anything
OWN_CUTS = 10  # behind the batches that a take-over cuts again, which keep their token
AWAKE_SECONDS = 3.0  # for what it had in hand
WITHIN_MS = 200  # of an insert


class Faults:
    """Brings faults about; several at once from threads, but one at a time on a part."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()
        self.ending = threading.Event()  # do not wait for anything any more

    def bring(self, fault: Fault) -> str:
        """Do it; what came of it, in words."""
        action: dict[str, Callable[[Fault], str]] = {
            "kill": self._kill,
            "freeze": self._freeze,
            "term": self._term,
            "moment": self._moment,
            "given up": self._given_up,
            "within": self._within,
            "link": self._link,
            "disk": self._disk,
            "scale": self._scale,
            "second": self._second,
            "roll": self._roll,
        }
        return action[fault.kind](fault)

    # --- signals

    def _kill(self, fault: Fault) -> str:
        with self._part(fault) as part:
            self._kill_part(part)
            return f"{part.name} killed"

    def _term(self, fault: Fault) -> str:
        with self._part(fault) as part:
            begun, starts = time.monotonic(), part.starts
            status = part.child.stop(30.0)
            seconds = time.monotonic() - begun
            self._again(part, starts)
            return f"{part.name} ended with {status} in {seconds:.1f} s"

    def _freeze(self, fault: Fault) -> str:
        with self._part(fault) as part:
            part.signal(signal.SIGSTOP)
            self._wait(fault.seconds)
            part.signal(signal.SIGCONT)
            return f"{part.name} stood still"

    def _moment(self, fault: Fault) -> str:
        """Start it anew so that it stops itself at the moment; then kill it there, or let it be a zombie."""
        moment, _, then = fault.how.partition(", ")
        with self._part(fault) as part:
            assert isinstance(part, Role)
            count = fault.draw % 4 + 1
            part.once_prelude = stop_at(moment, count)
            self._kill_part(part)
            reached = self._until(lambda: part.stopped, MOMENT_SECONDS)
            if reached and then == "freeze":
                self._wait(fault.seconds)
                part.signal(signal.SIGCONT)
            else:
                self._kill_part(part)
            return (
                f"{part.name} {then} at {moment} {count}"
                if reached
                else f"{part.name} killed before {moment}"
            )

    def _given_up(self, fault: Fault) -> str:
        """Stopped with a batch cut, a sink loses its partitions and does not hear of it: no heartbeat is
        due. Its heirs cut the same frames into other batches; then it goes on with its own."""
        with self._only("group"), self._part(fault) as part:
            assert isinstance(part, Role)
            told = self._world.folder / f"{part.name}.member"
            told.unlink(missing_ok=True)
            part.once = {"kafka_session_timeout_ms": UNHEARD_MS}
            part.once_prelude = MEMBER.format(path=str(told)) + stop_at("cut", OWN_CUTS + fault.draw % 4)
            self._kill_part(part)
            inherited = self._until(lambda: part.stopped, MOMENT_SECONDS)
            if inherited:
                self._until(lambda: bool(self._terms()), MOMENT_SECONDS)
                before = self._terms()
                give_up(self._world.broker.bootstrap, GROUP, told.read_text())
                inherited = self._until(lambda: _all_newer(self._terms(), before), MOMENT_SECONDS)
                part.signal(signal.SIGCONT)
                self._wait(AWAKE_SECONDS)
            self._kill_part(part)
            if told.exists():
                with suppress(RuntimeError):  # no member any more, as a rule
                    give_up(self._world.broker.bootstrap, GROUP, told.read_text())
            return f"{part.name} went on beside its heirs" if inherited else f"{part.name} had no heirs"

    def _terms(self) -> dict[tuple[str, int], int]:
        """The newest plan's generation, by stream and partition; empty while ClickHouse is away."""
        try:
            rows = self._world.rows(
                "SELECT stream, partition, max(generation) FROM sink_batches GROUP BY stream, partition"
            )
        except (OSError, RuntimeError):
            return {}
        return {(stream, partition): generation for stream, partition, generation in rows}

    def _within(self, fault: Fault) -> str:
        """Kill ClickHouse some milliseconds into an insert."""
        with self._part(fault) as sink, self._only("clickhouse"):
            assert isinstance(sink, Role)
            server = self._world.part("clickhouse")
            assert server is not None
            sink.once_prelude = stop_at("fenced", OWN_CUTS + fault.draw % 4)
            self._kill_part(sink)
            reached = self._until(lambda: sink.stopped, MOMENT_SECONDS)
            seconds = fault.draw % WITHIN_MS / 1000
            sink.signal(signal.SIGCONT)
            self._wait(seconds)
            self._kill_part(server)
            when = f"{seconds * 1000:.0f} ms into an insert" if reached else "before the insert"
            return f"clickhouse killed {when} of {sink.name}"

    # --- connections and disk

    def _link(self, fault: Fault) -> str:
        with self._only(fault.target):
            link = self._world.links[fault.target]
            link.begin(Trouble(fault.how), DELAY_SECONDS)
            self._wait(fault.seconds)
            link.end()
        return fault.how

    def _disk(self, fault: Fault) -> str:
        with self._only("disk"):
            how = self._world.disk.fill()
            self._wait(fault.seconds)
            self._world.disk.free()
        return how

    # --- how many, and which

    def _scale(self, fault: Fault) -> str:
        """Down to one of each, up to three, back to two."""
        world = self._world
        with self._only("scale"):
            for role in ("worker", "sink"):
                for part in world.roles(role)[1:]:
                    world.remove(part)
            self._wait(fault.seconds)
            more = [world.add(role) for role in ("worker", "sink") for _ in range(2)]
            self._wait(fault.seconds + world.session_seconds)
            for part in (more[1], more[3]):
                world.remove(part)
        return "workers and sinks 1, 3, 2"

    def _second(self, fault: Fault) -> str:
        """Another group on the same partitions: somebody set `sink_group` wrong."""
        world = self._world
        with self._only("scale"):
            part = world.add("sink", sink_group="by-mistake")
            part.expected = 1
            self._until(lambda: bool(part.ends), SECOND_SECONDS)
            world.remove(part)
        return f"ended with {part.ends}" if part.ends else "it went on beside the other"

    def _roll(self, fault: Fault) -> str:
        """One worker after the other gets a new version."""
        world = self._world
        with self._only("scale"):
            world.version += 1
            for part in world.roles("worker"):
                part.settings["transform_version"] = world.version
                part.child.stop(30.0)
                self._until(part.ready, MOMENT_SECONDS)
        return f"transform_version {world.version}"

    # --- one at a time

    @contextmanager
    def _only(self, what: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(what, threading.Lock())
        with lock:
            yield

    @contextmanager
    def _part(self, fault: Fault) -> Iterator[Part]:
        """The part that is meant, running."""
        while True:
            part = self._meant(fault)
            with self._only(part.name):
                if self._there(part):
                    yield part
                    return

    def _meant(self, fault: Fault) -> Part:
        of_role: list[Part] = [part for part in self._world.roles(fault.target) if part.wanted]
        return self._world.part(fault.target) or of_role[fault.draw % len(of_role)]

    def _kill_part(self, part: Part) -> None:
        starts = part.starts
        part.child.kill()
        self._again(part, starts)

    def _again(self, part: Part, starts: int) -> None:
        """Wait until it was started once more: a fault that meets what is dead already is none."""
        self._until(lambda: part.starts > starts or not part.wanted, THERE_SECONDS)

    def _there(self, part: Part) -> bool:
        """Whether it runs; False when it was taken away meanwhile."""
        there = self._until(lambda: part.child.running or not part.wanted, THERE_SECONDS)
        if part.wanted and not there:
            raise TimeoutError(f"{part.name} is not started again")
        return part.wanted

    def _wait(self, seconds: float) -> None:
        self.ending.wait(seconds)

    def _until(self, what: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not what():
            if time.monotonic() > deadline or self.ending.wait(0.05):
                return False
        return True


def _all_newer(terms: dict[tuple[str, int], int], before: dict[tuple[str, int], int]) -> bool:
    return bool(terms) and all(term > before.get(partition, 0) for partition, term in terms.items())
