"""Apache Kafka by TLS and SCRAM beside the same broker in the clear: of each role a process of either.

    python -m benchmarks.secured

The broker is the tests' (`tests/secured_kafka.py`), with its authorizer for both; they differ in the listener
that a role speaks to. A gateway is offered more than it takes, so that the rate is what it can do.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

sys.path.append(str(Path(__file__).parent.parent / "tests"))

from secured_kafka import SecuredKafka

from benchmarks.halves import compare
from benchmarks.stack import Stack
from benchmarks.usage import machine


class OneNode:
    """A broker of the stack: one secured node."""

    durable = True

    def __init__(self) -> None:
        self.kafka = SecuredKafka(Path(tempfile.mkdtemp(prefix="tidegate-bench-kafka-")))
        self.bootstrap = self.kafka.clear
        self.child = self.kafka.nodes[0]

    def start(self) -> None:
        self.kafka.start()

    def stop(self) -> None:
        self.kafka.stop()


@click.command()
@click.option("--rounds", default=8, show_default=True)
@click.option("--rate", default=80_000.0, show_default=True, help="Events/s offered.")
@click.option("--seconds", default=2.0, show_default=True, help="Events of a round, in seconds of that rate.")
def main(rounds: int, rate: float, seconds: float) -> None:
    """Measure ingest over a plain and a secured Kafka."""
    broker = OneNode()
    stack = Stack(broker=broker, kafka_bootstrap=broker.bootstrap, second=broker.kafka.settings("admin"))
    click.echo(machine())
    click.echo(compare(stack, ("plain", "TLS, SCRAM"), rounds=rounds, rate=rate, seconds=seconds))


if __name__ == "__main__":
    main()
