"""Usage: URL TOKEN BUFFER_BYTES, client events on standard input, one a line. As Produce.java."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "clients" / "python"))

from tidegate_producer import Producer


def refused(event: str, reason: dict[str, Any]) -> None:
    say(f"refused\t{event}\t{json.dumps(reason)}")


def say(line: str) -> None:
    """In one piece: two threads speak."""
    os.write(1, f"{line}\n".encode())


url, token, buffer_bytes = sys.argv[1:]
with Producer(url, token, "client_events", buffer_bytes=int(buffer_bytes), on_refused=refused) as producer:
    for line in sys.stdin:
        producer.send(json.loads(line))
        say("sent")
