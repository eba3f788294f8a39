from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tidegate.errors import RetryLater, UsageError
from tidegate.lookups import FILES, load
from tidegate.lookups.sites import Site
from tidegate.lookups.table import SHIPPED

SITES = "fleet,location_id,name,latitude,longitude,timezone\n"


def refusal(folder: Path, name: str, content: str | bytes) -> str:
    """What load says about a folder with this file."""
    data = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(data)
    with pytest.raises(UsageError) as found:
        load(str(folder))
    message = str(found.value)
    assert str(folder / name) in message
    return message.removeprefix(str(folder / name))


def test_the_shipped_files_load_and_judge_nobody() -> None:
    lookups = load()
    assert len(lookups.operators.by_code) > 600
    assert not lookups.sites.by_location
    assert not lookups.approved.fleets


def test_every_shipped_file_names_its_source() -> None:
    sources = (SHIPPED / "SOURCES.md").read_text(encoding="utf-8")
    shipped = {path.name for path in SHIPPED.iterdir()} - {"SOURCES.md"}
    assert {name.removesuffix(".gz") for name in shipped} == {*FILES, "alerts.toml"}
    for name in shipped:
        assert f"`{name}`" in sources


def test_a_users_file_replaces_its_namesake_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "sites.csv").write_text(SITES + "demo,95,Riverside,40.7,-74.0,America/New_York\n")
    lookups = load(str(tmp_path))
    assert lookups.sites.find("demo", 95) == Site("Riverside", 40.7, -74.0, "America/New_York")
    assert lookups.operators.by_code == load().operators.by_code
    assert lookups.digest != load().digest
    assert lookups.digest == load(str(tmp_path)).digest


def test_a_file_may_be_gzip_and_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    content = "\ufefffleet,network_name,bssid\r\ndemo,Office,\r\n\r\n"
    (tmp_path / "approved_networks.csv.gz").write_bytes(gzip.compress(content.encode()))
    assert load(str(tmp_path)).approved.fleets == {"demo"}


def test_optional_columns_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "mccmnc.csv").write_text("mcc,mnc,country_iso2,provider\n001,01,XX,Test\n")
    assert load(str(tmp_path)).operators.find("00101") == ("xx", "Test")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sites.csv", "fleet,location_id\n", ", line 1: column name is missing"),
        ("sites.csv", "", ", line 1: column fleet is missing"),
        ("sites.csv", SITES.replace("name", "name,nmae"), ", line 1, column nmae: not a column"),
        ("sites.csv", SITES + "demo,1,A,1,2\n", ", line 2: 5 cells for 6 columns"),
        (
            "sites.csv",
            SITES + "demo,1,A,,,\ndemo,x,B,,,\n",
            ", line 3, column location_id: 'x' is not",
        ),
        ("sites.csv", SITES + "demo,,A,,,\n", ", line 2, column location_id: is empty"),
        (
            "sites.csv",
            SITES + "demo,1,A,91,0,\n",
            ", line 2, column latitude: 91.0 is not between",
        ),
        ("sites.csv", SITES + "demo,1,A,1,,\n", ", line 2, column longitude: is empty"),
        ("sites.csv", SITES + "demo,1,A,1,nan,\n", ", line 2, column longitude: nan is not between"),
        ("sites.csv", SITES + "demo,1,A,,,Mars/Base\n", ", line 2, column timezone: 'Mars/Base'"),
        ("sites.csv", SITES + "demo,1,A,,,\ndemo,1,B,,,\n", ", line 3, column location_id: 1 of fleet demo"),
        ("sites.csv", b"\xff\xfe", ", line 1: not UTF-8"),
        ("sites.csv", SITES + '"demo', ", line 2: unexpected end of data"),
        ("sites.csv.gz", "plain", ": not gzip"),
        ("oui.csv", "prefix,vendor\n0011,X\n", ", line 2, column prefix: '0011'"),
        ("mccmnc.csv", "mcc,mnc,country_iso2,provider\n31,01,us,X\n", ", line 2, column mcc: '31'"),
        ("approved_networks.csv", "fleet,network_name,bssid\ndemo,,\n", ", line 2, column network_name"),
        ("approved_networks.csv", "fleet,network_name,bssid\ndemo,,xx\n", ", line 2, column bssid: 'xx'"),
        (
            "vendor_failure_codes.csv",
            "failureCode,failure,subFailureCode,subFailure,stage,action\n7,X,,,nowhere,\n",
            ", line 2, column stage: 'nowhere' is none of",
        ),
        (
            "vendor_failure_codes.csv",
            "failureCode,failure,subFailureCode,subFailure,stage,action\n7,X,,,dns,\n7,Y,,,dns,\n",
            ", line 3, column subFailureCode: the pair 7, None stands there twice",
        ),
        ("ieee80211_codes.csv", "kind,code,name,stage\nresaon,1,X,\n", ", line 2, column kind: 'resaon'"),
        ("site.csv", SITES, ": no lookup of this name (there are access_points.csv,"),
    ],
)
def test_a_mistake_is_named_by_file_line_and_column(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert refusal(tmp_path, name, content).startswith(message)


def test_a_folder_that_is_not_there_may_come_later(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="no folder"):
        load(str(tmp_path / "away"))


APS = "fleet,macaddress,devicename,locationid,model,capabilities\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (APS + "demo,x,A,1,,\n", ", line 2, column macaddress: 'x' is not a MAC address"),
        (APS + "demo,00:11:74:00:00:10,,,,\ndemo,001174000010,,,,\n", ", line 3, column macaddress"),
        (APS + "demo,00:11:74:00:00:10,,here,,\n", ", line 2, column locationid"),
        (APS + "demo,00:11:74:00:00:10,,,,49 b\n", ", line 2, column capabilities: '49 b'"),
        (APS + ",00:11:74:00:00:10,,,,\n", ", line 2, column fleet: is empty"),
    ],
)
def test_a_wrong_inventory_is_refused_by_line_and_column(tmp_path: Path, content: str, message: str) -> None:
    assert refusal(tmp_path, "access_points.csv", content).startswith(message)


def test_the_inventory_enriches_nothing(tmp_path: Path) -> None:
    (tmp_path / "access_points.csv").write_text(APS + "demo,00:11:74:00:00:10,Lobby,10,C-130,49 50\n")
    lookups = load(str(tmp_path))
    assert [one.capabilities for one in lookups.inventory.of("demo")] == [(49, 50)]
    assert lookups.digest == load().digest
