"""`make release`: what is handed out, and that a second run makes the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path


def release(repository: Path, folder: Path) -> dict[str, bytes]:
    """Make a release into `folder`, with the virtual environment as it is; its files."""
    command = ["make", "--assume-old=.venv/.installed", "release", f"DIST={folder}"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_releases_are_the_same_and_their_sums_hold(repository: Path, tmp_path: Path) -> None:
    first, second = (release(repository, tmp_path / name) for name in ("first", "second"))
    assert first == second
    lines = [line.split() for line in first["SHA256SUMS"].decode().splitlines()]
    sums = {name: digest for digest, name in lines}
    assert sums.keys() == first.keys() - {"SHA256SUMS"} and len(sums) == 3
    assert all(hashlib.sha256(first[name]).hexdigest() == digest for name, digest in sums.items())
    lock = (repository / "deploy/requirements.lock").read_text()
    components = json.loads(first["sbom.cdx.json"])["components"]
    found = {(one["name"], one["version"]) for one in components}
    assert found == set(re.findall(r"^([a-z0-9._-]+)(?:\[\w+\])?==(\S+)", lock, re.MULTILINE))
