import re
from pathlib import Path

from prometheus_client import REGISTRY

from tidegate import telemetry

SOURCE = Path(telemetry.__file__).read_text(encoding="utf-8")


def test_every_metric_is_named_after_its_role_and_has_help() -> None:
    own = [metric for metric in REGISTRY.collect() if metric.name.startswith("tidegate_")]
    assert own
    for metric in own:
        assert re.fullmatch(
            r"tidegate_(http|control|gateway|worker|sink|api|notify|connect|store|up|simulate)_[a-z0-9_]+",
            metric.name,
        )
        assert metric.documentation


def test_a_comment_on_every_metric_says_what_to_do_when_it_moves() -> None:
    lines = SOURCE.splitlines()
    declared = [n for n, line in enumerate(lines) if re.match(r"[A-Z_]+ = (Counter|Gauge|Histogram)\(", line)]
    assert declared
    for number in declared:
        assert lines[number - 1].startswith("# "), lines[number]
