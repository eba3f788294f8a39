"""Two versions side by side under load: rolled forward and back, as docs/upgrade.md promises.

The previous version is the newest release tag that git knows. As long as there is none, or where a clone is
too shallow to have it, it is the oldest commit whose contracts, tables and topics are those of today. The
next one is this tree with what the policy allows a version to add: a migration that only adds, and a header
that nobody knows.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import roles
from chaos.balance import balance
from chaos.parts import Role
from chaos.world import World
from conftest import require_apache_kafka
from waiting import await_

from tidegate.store.templates import migrations

SECONDS = 120.0
WIRE = ("src/tidegate/contracts", "src/tidegate/store", "src/tidegate/kafka")
ADDS = """-- works from {last:04d}
ALTER TABLE ${{database}}.rejects ${{on_cluster}}
ADD COLUMN IF NOT EXISTS drill String DEFAULT 'new' COMMENT 'x';

ALTER TABLE ${{database}}.sink_batches ${{on_cluster}} ADD COLUMN IF NOT EXISTS drill UInt8 COMMENT 'x';

CREATE TABLE IF NOT EXISTS ${{database}}.drill ${{on_cluster}} (at DateTime COMMENT 'x')
ENGINE = ${{merge_tree}}
ORDER BY at
COMMENT 'x';
"""
REJECTS_HEADER = '    if lines:\n        headers.append(("rejects", '


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True)
    return done.stdout.strip()


def previous(repository: Path, folder: Path) -> Path:
    """The source of the version before this one."""
    found = git(repository, "describe", "--tags", "--abbrev=0", "HEAD^") or git(
        repository, "log", "-1", "--format=%H", "--", *WIRE
    )
    if not found:
        pytest.skip("this is no checkout of git: there is no other version here")
    print(f"the previous version is {found}")
    folder.mkdir()
    archive = folder / "src.tar"
    git(repository, "archive", "-o", str(archive), found, "src")
    subprocess.run(["tar", "-x", "-C", folder, "-f", archive], check=True)
    return folder / "src"


def following(repository: Path, folder: Path) -> Path:
    """The source of a version behind this one."""
    shutil.copytree(repository / "src/tidegate", folder / "src/tidegate")
    last = migrations()[-1].version
    (folder / f"src/tidegate/store/migrations/{last + 1:04d}_drill.sql").write_text(ADDS.format(last=last))
    frames = folder / "src/tidegate/contracts/frames.py"
    text = frames.read_text()
    assert text.count(REJECTS_HEADER) == 1
    frames.write_text(text.replace(REJECTS_HEADER, f'    headers.append(("drill", b"1"))\n{REJECTS_HEADER}'))
    return folder / "src"


class Fleet:
    """The world, and which version its processes are started with."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self._monkeypatch = monkeypatch

    def take(self, tree: Path) -> None:
        """What is started from now on is of this version."""
        self._tree = tree
        self._monkeypatch.setenv("PYTHONPATH", str(tree))

    def migrate(self) -> None:
        """What the hooks of the chart run before an upgrade."""
        for command in ("topics", "migrate"):
            done = roles.run(command, values=self.world.direct)
            assert done.returncode == 0, done.stderr

    def roll(self, parts: list[Role]) -> None:
        """Restart each with the version that was taken last, and see that the flow goes on."""
        before = {part.name: part.starts for part in parts}
        for part in parts:
            part.child.stop(30)
        await_(
            lambda: all(part.starts > before[part.name] and part.ready() for part in parts),
            self.world.says,
            SECONDS,
        )
        for part in parts:
            environment = Path(f"/proc/{part.child.pid}/environ").read_bytes().split(b"\0")
            assert f"PYTHONPATH={self._tree}".encode() in environment
        self.world.goes_on(SECONDS)


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_rolled_forward_and_back_under_load(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_apache_kafka()
    old, new = previous(repository, tmp_path / "previous"), following(repository, tmp_path / "next")
    world = World(tmp_path / "world", "kafka", seed=1, rate=200.0)
    fleet = Fleet(world, monkeypatch)
    try:
        fleet.take(old)
        world.start()
        [gateway], workers, sinks = (world.roles(role) for role in ("gateway", "worker", "sink"))
        for tree in (new, old):
            fleet.take(tree)
            fleet.migrate()
            world.goes_on(SECONDS)  # what ran before runs on
            fleet.roll([workers[0], sinks[0]])
            fleet.roll([gateway, workers[1], sinks[1]])
        world.stop_load()
        assert world.drained(SECONDS, print), world.says()
        found = balance(world)
        assert not found.damage and not world.ill(), found.damage
        assert world.rows("SELECT DISTINCT drill FROM rejects") == [("new",)]
        fleet.take(new)
        assert not world.verify()[1]["findings"]
    finally:
        world.stop(keep=False)
