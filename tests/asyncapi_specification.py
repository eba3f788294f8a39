"""The official JSON Schema of AsyncAPI 3 (Apache-2.0), from the npm package of the AsyncAPI project."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

VERSION = "6.11.1"
FILE = "package/schemas/3.0.0.json"
SHA256 = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"


def schema() -> dict[str, Any]:
    """The schema, fetched once by npm and kept. Skips the test where it cannot be fetched, and says why."""
    kept = Path.home() / ".cache" / "tidegate" / f"asyncapi-{VERSION}.json"
    if not kept.is_file():
        _fetch(kept)
    text = kept.read_bytes()
    assert hashlib.sha256(text).hexdigest() == SHA256, f"{kept} is not the file that was published"
    found: dict[str, Any] = json.loads(text)
    return found


def _fetch(kept: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs npm, to fetch the schema of AsyncAPI")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", f"@asyncapi/specs@{VERSION}"],
                cwd=scratch,
                check=True,
                capture_output=True,
                timeout=240,
            )
        except subprocess.SubprocessError as error:
            pytest.skip(f"needs a network where npm finds @asyncapi/specs@{VERSION}: {error}")
        [package] = Path(scratch).glob("*.tgz")
        with tarfile.open(package) as archive:
            member = archive.extractfile(FILE)
            assert member is not None
            whole = Path(scratch) / "schema.json"
            whole.write_bytes(member.read())
        whole.rename(kept)
