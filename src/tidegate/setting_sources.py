"""Where settings come from: a TOML file, environment variables, files of secrets."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.errors import UsageError

PREFIX = "TIDEGATE_"
SECRET_FILE_BYTES = 65_536  # a secret is a line; whoever names a disk by mistake is told so

NO_SETTINGS = frozenset(
    {
        "TIDEGATE_CONFIG",  # names the TOML file
        "TIDEGATE_IMAGE",  # docker-compose.yml
        "TIDEGATE_GATEWAY_PORT",
        "TIDEGATE_API_PORT",
        "TIDEGATE_BIND",
        "TIDEGATE_MIST_PORT",
        "TIDEGATE_MERAKI_PORT",
        "TIDEGATE_RADIUS_PORT",
        "TIDEGATE_SYSLOG_PORT",
        "TIDEGATE_BENCH_DATA",  # benchmarks
    }
)
"""Variables of this prefix that are read elsewhere."""

# Kubernetes puts these into every pod for each service of its namespace, unless enableServiceLinks is false.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table, for `check` and the reference page."""

    name: str
    type: type
    default: Any
    help: str
    secret: bool

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def file_variable(self) -> str:
        """Names a file that holds the value; secrets alone have it."""
        return self.variable + "_FILE"


def read(
    rows: Mapping[str, Row], environment: Mapping[str, str], overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """The values that some source gives, by name; the last source wins, and an override of None is none.

    Raises UsageError naming the setting for an unknown name and a value of the wrong type.
    """
    _refuse_unknown(environment, rows.values())
    values: dict[str, Any] = {}
    for name, value in _from_toml(environment, rows).items():
        values[name] = _typed(rows[name], value, f"{name} in the TOML file")
    for name, row in rows.items():
        if (text := _from_variables(environment, row)) is not None:
            values[name] = _typed(row, text, row.variable)
    for name, value in overrides.items():
        if value is not None:
            values[name] = _typed(rows[name], value, name)
    return values


def _refuse_unknown(env: Mapping[str, str], rows: Iterable[Row]) -> None:
    known = {row.variable for row in rows} | {row.file_variable for row in rows if row.secret} | NO_SETTINGS
    for name, value in env.items():
        if not name.upper().startswith(PREFIX) or name in known or _is_service_link(name, value):
            continue
        raise UsageError(f"{name} is no setting{_nearest(name.upper(), known)}")


def _is_service_link(name: str, value: str) -> bool:
    return bool(_SERVICE_LINK.search(name) or (name.endswith("_PORT") and _SERVICE_ADDRESS.match(value)))


def _nearest(name: str, known: Iterable[str]) -> str:
    """The prefix, which all have, is no likeness."""
    by_tail = {one.removeprefix(PREFIX): one for one in known}
    found = difflib.get_close_matches(name.removeprefix(PREFIX), by_tail, n=1, cutoff=0.6)
    return f"; did you mean {by_tail[found[0]]}?" if found else "; docs/settings.md lists them all"


def _from_variables(env: Mapping[str, str], row: Row) -> str | None:
    """The value by the environment, None where it says nothing. An empty name of a file says nothing."""
    text = env.get(row.variable)
    path = env.get(row.file_variable) if row.secret else None
    if not path:
        return text
    if text:
        raise UsageError(f"{row.variable} and {row.file_variable} are both set: only one can hold")
    return _from_secret_file(path, row.file_variable)


def _from_secret_file(path: str, source: str) -> str:
    """A secret without the line end behind it."""
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_FILE_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{source}: {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{source}: {path} is not UTF-8 text") from error
    if len(data) > SECRET_FILE_BYTES:
        raise UsageError(f"{source}: {path} is larger than {SECRET_FILE_BYTES} bytes")
    text = text.rstrip("\r\n")
    if not text:
        raise UsageError(f"{source}: {path} is empty")
    return text


def _from_toml(env: Mapping[str, str], rows: Mapping[str, Row]) -> dict[str, Any]:
    named = env.get(PREFIX + "CONFIG")
    path = Path(named or "tidegate.toml")
    if not path.is_file():
        if named:
            raise UsageError(f"{PREFIX}CONFIG: no file at {path}")
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    return _settle_files(_flat(document, path), rows, path)


def _flat(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A table's name stands before the names in it. Raises UsageError for a setting that is there twice."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = (
            {f"{key}_{name}": item for name, item in value.items()}
            if isinstance(value, dict)
            else {key: value}
        )
        for name, item in inner.items():
            if name in flat:
                raise UsageError(f"{path}: {name} is set twice")
            flat[name] = item
    return flat


def _settle_files(flat: Mapping[str, Any], rows: Mapping[str, Row], path: Path) -> dict[str, Any]:
    """The values by name of setting, those of files among them."""
    files = {f"{row.name}_file": row for row in rows.values() if row.secret}
    values: dict[str, Any] = {}
    for name, value in flat.items():
        if name in rows:
            values[name] = value
        elif (row := files.get(name)) is None:
            raise UsageError(f"{path}: unknown setting {name}{_nearest(name, [*rows, *files])}")
        elif row.name in flat:
            raise UsageError(f"{path}: {row.name} and {name} are both set: only one can hold")
        else:
            values[row.name] = _from_secret_file(str(value), f"{name} in {path}")
    return values


def _typed(row: Row, value: Any, source: str) -> Any:
    if row.type is bool:
        text = str(value).strip().lower()
        if text in {"1", "true", "yes", "on"}:
            return True
        if text in {"0", "false", "no", "off"}:
            return False
        raise UsageError(f"{source}: {value!r} is not true or false")
    if not isinstance(value, str | int | float):  # an array, a table or a date of the TOML file
        raise UsageError(f"{source}: {type(value).__name__} is not text or a number")
    if row.type is not str and isinstance(value, bool):
        raise UsageError(f"{source}: {value!r} is not a number")
    try:
        return row.type(value)
    except (TypeError, ValueError) as error:
        kind = {int: "a whole number", float: "a number"}.get(row.type, "text")
        raise UsageError(f"{source}: {value!r} is not {kind}") from error
