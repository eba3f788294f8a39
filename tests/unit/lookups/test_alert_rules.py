"""Alert rules: what is wrong in a file is told with its line, and an unknown name with the nearest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.contracts.alert_rules import Threshold
from tidegate.errors import UsageError
from tidegate.lookups.alert_rules import load, parse

HEAD = '[defaults]\nodds_ratio = 4.0\n\n[[rule]]\nname = "a"\nsignal = "stage_failures"\n'


def test_the_products_rules_hold_without_a_file() -> None:
    rules = {rule.name: rule for rule in load("").rules}
    assert {rule.signal for rule in rules.values()} >= {"stage_failures", "no_events", "clock_skew"}
    assert rules["hard-floor"].threshold == Threshold(0.5, 10, 5)


def test_a_rule_has_the_defaults_of_its_file() -> None:
    [rule, other] = parse(f'{HEAD}[[rule]]\nname = "b"\nsignal = "no_events"\nodds_ratio = 2.0\n', "f").rules
    assert (rule.odds_ratio, other.odds_ratio) == (4.0, 2.0)
    assert rule.score_open == 12.0


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("min_client = 3", "f:7: min_client: .*did you mean 'min_clients'"),
        ("odds_ratio = -1", "f:7: odds_ratio: -1 is not between"),
        ("min_clients = true", "f:7: min_clients: True is not between"),
        ('sites = ["Tornto"]', "f:7: sites: no site 'Tornto'; did you mean 'Toronto'"),
        ('stages = ["dhpc"]', "f:7: stages: no stage 'dhpc'; did you mean 'dhcp'"),
        ("threshold = { share = 2.0 }", "f:7: share: 2.0 is not between 0 and 1"),
        ("flap = { cycle = 3 }", "f:7: flap: .*cycle"),
        ("score_close = 20.0", "f:7: score_close: 20.0 is not below"),
        ("x = ", "f:7: "),
        ('[[rule]]\nname = "a"\nsignal = "no_events"', "f:8: name: 'a' stands there twice"),
        ('[[rule]]\nname = "b"\nsignal = "no_event"', "f:9: signal: Invalid enum value 'no_event'"),
        ('[[rule]]\nname = "b"', "f:7: signal: is missing"),
        ("[defauls]\nx = 1", "f:7: defauls: .*did you mean 'defaults'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(line: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse(HEAD + line, "f", ["Toronto", "Sydney"])


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load(str(tmp_path / "none.toml"))
