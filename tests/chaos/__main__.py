"""`make chaos`: faults by a seed, each with its moment, and the balance. Exit status 1 on damage."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from chaos.run import Run
from chaos.sabotage import NOTHING, SABOTAGES

ROUND = 5  # faults between two looks, where a sabotage is to be found


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="faults in a run")
    parser.add_argument("--seed", type=int, help="of the first run  [default: a new one]")
    parser.add_argument("--runs", type=int, default=1, help="runs, each with the next seed")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--sabotage", choices=("", *SABOTAGES), default="", help="take a safeguard out")
    parser.add_argument("--incidents", action="store_true", help="and alerts, told to webhooks")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between faults, on average")
    parser.add_argument("--rate", type=float, default=1000.0, help="events per second")
    parser.add_argument("--folder", type=Path, help="for data and logs; kept  [default: kept on damage only]")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is ended and unmounted
    first = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    sabotage = SABOTAGES[options.sabotage] if options.sabotage else NOTHING
    faults, damaged = 0, []
    for seed in range(first, first + options.runs):
        folder = (options.folder or Path(tempfile.mkdtemp(prefix="tidegate-chaos-"))) / f"seed-{seed}"
        run = Run(
            folder,
            seed,
            options.kills,
            options.broker,
            options.every,
            options.rate,
            sabotage,
            incidents=options.incidents,
            round=ROUND if sabotage.what else 0,
            tell=lambda line: print(time.strftime("%H:%M:%S"), line, flush=True),
        )
        damage = run.run()
        faults += run.faults.total()
        if damage:
            damaged.append(seed)
            print(f"seed {seed}: DAMAGE after {run.faults.total()} faults. Again by:", flush=True)
            again = f"KILLS={options.kills} SEED={seed} BROKER={options.broker}"
            again += f" SABOTAGE={options.sabotage}" if options.sabotage else ""
            again += " ARGS=--incidents" if options.incidents else ""
            print(f"  make chaos {again}", flush=True)
        elif options.folder is None:
            shutil.rmtree(folder.parent, ignore_errors=True)
    print(f"{faults} faults in {options.runs} runs; damage with seeds: {damaged or 'none'}", flush=True)
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
