"""What traces cost: of each role a process without and one with `otel_endpoint`, side by side.

    python -m benchmarks.traces

In posts of 500 events, as a controller sends them, and of single ones, where each event has a span of its own
at the gateway. The receiver reads and drops.
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click

from benchmarks.halves import compare
from benchmarks.stack import Stack
from benchmarks.usage import machine

RATES = {500: 20_000.0, 1: 1_000.0}  # events/s, by events in a post


class Drop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *values: object) -> None:
        pass


@click.command()
@click.option("--rounds", default=8, show_default=True)
@click.option("--seconds", default=3.0, show_default=True, help="Length of each round.")
@click.option("--share", default=1.0, show_default=True, help="The setting `otel_share`.")
def main(rounds: int, seconds: float, share: float) -> None:
    """Measure CPU an event without and with traces."""
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Drop)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    traced = {"otel_endpoint": f"http://127.0.0.1:{receiver.server_port}", "otel_share": share}
    click.echo(machine())
    for batch, rate in RATES.items():
        stack = Stack(second=traced)
        table = compare(
            stack, ("without", "with traces"), rounds=rounds, rate=rate, seconds=seconds, batch=batch
        )
        click.echo(f"\nPosts of {batch}, {rate:,.0f} events/s\n\n{table}")
    receiver.shutdown()


if __name__ == "__main__":
    main()
