"""The embedded ClickHouse on all interfaces of a container, its password where the server's image has it.

On a laptop it serves loopback names alone; in this container the network of the compose project is who asks.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tidegate.local.clickhouse import __main__, access

FOLDER = Path("/var/lib/clickhouse")


def main() -> int:
    os.umask(0o077)
    password = Path(os.environ["CLICKHOUSE_PASSWORD_FILE"]).read_text().strip()
    credentials = FOLDER / "credentials.json"
    credentials.write_text(json.dumps({"tidegate": password, "analyst": os.urandom(16).hex()}))
    setattr(access, "_loopback", lambda authority: True)  # noqa: B010
    sys.argv[1:] = ["--path", str(FOLDER / "store"), "--credentials", str(credentials)]
    sys.argv += ["--listen", "0.0.0.0:8123"]
    return __main__.main()


sys.exit(main())
