"""One run: the world, faults by the schedule, and what the balance says in the end."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chaos.balance import Balance, balance
from chaos.faults import Faults
from chaos.sabotage import NOTHING, Sabotage
from chaos.schedule import Fault, draw
from chaos.world import World

AT_ONCE = 6  # faults at the same time, at most
SETTLE_SECONDS = 120.0  # without any progress, before frames count as stuck
BEGIN_SECONDS = 3.0  # of load before the first fault
Tell = Callable[[str], None]


@dataclass
class Run:
    """What to do, and what came of it."""

    folder: Path
    seed: int
    kills: int
    broker: str = "kafka"
    every: float = 2.0  # seconds between faults, on average
    rate: float = 1000.0  # events per second
    sabotage: Sabotage = NOTHING
    incidents: bool = False  # among the load, and somebody who is to be told
    round: int = 0  # balance after so many faults, and go on; 0: at the end only
    tell: Tell = print
    faults: Counter[str] = field(default_factory=Counter)
    damage: list[str] = field(default_factory=list)
    result: Balance | None = None
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> list[str]:
        """The damage found; empty: everything accepted is there once, and the ledger agrees."""
        world = World(
            self.folder,
            self.broker,
            seed=self.seed,
            rate=self.rate,
            sabotage=self.sabotage,
            incidents=self.incidents or self.sabotage.incidents,
        )
        try:
            world.start()
            self.tell(f"seed {self.seed}: {self.kills} faults on {self.broker}, logs in {self.folder}")
            time.sleep(BEGIN_SECONDS)
            schedule = draw(
                self.seed,
                on_kafka=world.on_kafka,
                every=self.every,
                session=world.session_seconds,
                only=self.sabotage.cards,
                incidents=world.notices is not None,
            )
            while not self.damage and self.faults.total() < self.kills:
                size = min(self.round or self.kills, self.kills - self.faults.total())
                self._bring(world, list(itertools.islice(schedule, size)))
                last = self.faults.total() >= self.kills
                if last:
                    world.stop_load()
                self._settle(world, last)
        finally:
            world.stop(keep=bool(self.damage))
        return self.damage

    def _bring(self, world: World, faults: list[Fault]) -> None:
        doing = Faults(world)
        slots = threading.Semaphore(AT_ONCE)
        begun = time.monotonic() - faults[0].at
        threads = []
        try:
            for fault in faults:
                slots.acquire()
                time.sleep(max(0.0, fault.at - (time.monotonic() - begun)))
                thread = threading.Thread(target=self._one, args=(doing, fault, slots, begun))
                thread.start()
                threads.append(thread)
            for thread in threads:
                thread.join()
        except BaseException:  # told to stop: the world goes, and nobody may be at it then
            doing.ending.set()
            for thread in threads:
                thread.join()
            raise
        world.heal()

    def _one(self, doing: Faults, fault: Fault, slots: threading.Semaphore, begun: float) -> None:
        at = time.monotonic() - begun
        try:
            came = doing.bring(fault)
        except Exception as error:  # the suite's own trouble, which must not pass for a fault survived
            came = f"NOT BROUGHT ABOUT: {type(error).__name__}: {error}"
            self.damage.append(f"fault {fault.number} ({fault}): {came}")
        finally:
            slots.release()
        self.faults[fault.kind] += 1
        with self._telling:
            self.tell(f"{at:7.1f} s  {fault.number:4}  {fault}: {came}")

    def _settle(self, world: World, last: bool) -> None:
        """Wait until what was sent is stored, then balance. The load goes on in between."""
        if not last:
            world.pause_load()
        patience = SETTLE_SECONDS if not self.sabotage.what else SETTLE_SECONDS / 4
        if not world.drained(patience, self.tell):
            self.damage.append(f"frames stay in flight: {world.says()}")
        self.damage += world.ill()
        self.result = balance(world)
        self.damage += self.result.damage
        if not last:
            world.resume_load()
        self.tell(str(self.result))
        for line in self.damage:
            self.tell(f"DAMAGE after {self.faults.total()} faults: {line}")
