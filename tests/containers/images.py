"""The images of docker-compose.yml without a registry of images.

The base is Debian by debootstrap, by the names that the product's Dockerfile builds on. Apache Kafka is its
jars, and in ClickHouse's place stands the embedded one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tidegate import settings
from tidegate.local.kafka import find_jars

HERE = Path(__file__).resolve().parent
NEEDED = ("dockerd", "docker", "debootstrap", "rustc", "java")
BASE, PRODUCT, KAFKA, CLICKHOUSE = (
    f"tidegate-test/{name}" for name in ("base", "tidegate", "kafka", "clickhouse")
)
PACKAGES = ("bash", "ca-certificates", "python3", "python3-venv", "wget")
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = shutil.ignore_patterns("src.zip", "jmods", "demo", "man")  # of a JDK
LOCAL = ("chdb", "chdb-core", "clickhouse-cityhash")


class Images:
    """Builds on one engine; `host` is its address."""

    def __init__(self, host: str, repository: Path) -> None:
        # The classic builder: BuildKit would ask a registry for its own frontend.
        self._environment = os.environ | {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "0"}
        self._repository = repository

    def build(self) -> None:
        self._import_base()
        self._build("rust", "rust", toolchain())
        for name, image in self._bases().items():
            self._docker("tag", image, name)
        self._docker_build(PRODUCT, self._repository, "deploy/Dockerfile")
        self._build("kafka", "kafka", {"java": java_home(), "jars": find_jars(settings.load().kafka_jars)})
        with tempfile.TemporaryDirectory() as folder:
            lock = Path(folder) / "local.lock"
            lock.write_text(cut_lock((self._repository / "requirements.lock").read_text(), LOCAL))
            self._build("clickhouse", "clickhouse", {"local.lock": lock})

    def _bases(self) -> dict[str, str]:
        """The images that the product's Dockerfile names, and what stands for each."""
        text = (self._repository / "deploy/Dockerfile").read_text()
        names = {name.partition("@")[0] for name in re.findall(r"^FROM (\S+)", text, re.MULTILINE)}
        return {name: "tidegate-test/rust" if name.startswith("rust:") else BASE for name in names}

    def _import_base(self) -> None:
        environment = f"ENV SSL_CERT_FILE={AUTHORITIES} PIP_CERT={AUTHORITIES}"
        self._docker("import", "--change", environment, "--change", 'CMD ["bash"]', str(base_tar()), BASE)

    def _build(self, folder: str, name: str, parts: dict[str, Path]) -> None:
        """Build tests/containers/<folder> with `parts` beside its files."""
        with tempfile.TemporaryDirectory() as scratch:
            context = Path(scratch)
            shutil.copytree(HERE / folder, context, dirs_exist_ok=True)
            for part, source in parts.items():
                if source.is_dir():
                    shutil.copytree(source, context / part, ignore=LEFT_OUT, ignore_dangling_symlinks=True)
                else:
                    shutil.copy(source, context / part)
            self._docker_build(f"tidegate-test/{name}", context, "Dockerfile")

    def _docker_build(self, name: str, context: Path, file: str) -> None:
        self._docker("build", "--network", "host", "--tag", name, "--file", str(context / file), str(context))

    def _docker(self, *arguments: str) -> None:
        done = subprocess.run(
            ["docker", *arguments], env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        said = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{said[-4000:]}"


def base_tar() -> Path:
    """Debian with Python, `python` as its name, and the certificates of this machine. Made once and kept."""
    cache = Path.home() / ".cache" / "tidegate" / "base-bookworm.tar"
    if cache.exists():
        return cache
    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        root = Path(scratch) / "root"
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            "bookworm",
            str(root),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        (root / "usr/bin/python").symlink_to("python3")
        shutil.copy(AUTHORITIES, root / str(AUTHORITIES).lstrip("/"))
        shutil.rmtree(root / "var/cache/apt/archives")
        whole = Path(scratch) / "root.tar"
        with tarfile.open(whole, "w") as tar:
            tar.add(root, ".")
        whole.rename(cache)
    return cache


def toolchain() -> dict[str, Path]:
    """Programs and libraries of this machine's Rust."""
    said = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout
    root = Path(said.strip())
    return {"bin": root / "bin", "lib": root / "lib"}


def java_home() -> Path:
    """The Java that runs here."""
    done = subprocess.run(
        ["java", "-XshowSettings:properties", "-version"], capture_output=True, text=True, check=True
    )
    found = re.search(r"java\.home = (.+)", done.stderr)
    assert found, done.stderr
    return Path(found[1].strip())


def cut_lock(lock: str, names: tuple[str, ...]) -> str:
    """The entries of a lock file for `names`, with their hashes."""
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
    found = [entry for entry in entries if entry.partition("==")[0] in names]
    assert len(found) == len(names), names
    return "".join(found)
