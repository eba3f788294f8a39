"""schemathesis against a running role, from its own OpenAPI document, with all checks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "fuzz"


def finds_nothing(
    url: str,
    token: str,
    config: str,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    left_out: int = 0,
) -> None:
    """Run it as `tests/fuzz/<config>.toml` says, each time with the same requests. It writes to `folder`.

    `left_out` operations are disabled there, no more and no fewer.
    """
    python_path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get("PYTHONPATH"))))
    own = os.environ | {"PYTHONPATH": python_path, "PYTHONHASHSEED": "0"} | dict(environment or {})
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            *(str(program), "--config-file", str(FOLDER / f"{config}.toml"), "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}", "--checks", "all", "--no-color"),
        ],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=900,
    )
    said = "\n".join(line[:2000] for line in done.stdout.splitlines())
    assert done.returncode == 0, said + done.stderr
    counts = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", said)
    assert counts, said
    selected, operations, tested = map(int, counts.groups())
    assert tested == selected == operations - left_out > 5, said
    generated = re.search(r"(\d+) generated", said)
    assert generated and int(generated[1]) > 500, said
