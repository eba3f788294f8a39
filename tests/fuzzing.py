"""schemathesis against a running role, from its own OpenAPI document, with all checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "fuzz"


def finds_nothing(url: str, token: str, config: str, folder: Path) -> None:
    """Run it as `tests/fuzz/<config>.toml` says, each time with the same requests. It writes to `folder`."""
    environment = os.environ | {"PYTHONPATH": str(FOLDER), "PYTHONHASHSEED": "0"}
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            *(str(program), "--config-file", str(FOLDER / f"{config}.toml"), "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--checks", "all", "--no-color"),
        ],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    said = "\n".join(line[:2000] for line in done.stdout.splitlines())
    assert done.returncode == 0, said + done.stderr
    counts = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said)
    assert counts and len(set(counts.groups())) == 1 and int(counts[1]) > 5, said
    generated = re.search(r"(\d+) generated", said)
    assert generated and int(generated[1]) > 500, said
