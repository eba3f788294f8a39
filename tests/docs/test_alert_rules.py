"""The alert rules speak of metrics that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from tidegate import telemetry

RULES = Path(__file__).resolve().parents[2] / "deploy/prometheus/tidegate-rules.yml"


def samples() -> set[str]:
    assert telemetry.SINK_RETENTION_SHARE
    return {
        metric.name + ("_total" if metric.type == "counter" else "")
        for metric in REGISTRY.collect()
        if metric.name.startswith("tidegate_")
    }


def test_each_rule_is_of_metrics_that_exist_and_says_what_to_do() -> None:
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    known = samples()
    for rule in group["rules"]:
        assert rule["annotations"]["summary"] and rule["annotations"]["description"], rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        names = re.findall(r"\btidegate_[a-z_]+\b(?!\()", rule["expr"])
        patterns = re.findall(r'__name__=~"([^"]+)"', rule["expr"])
        for pattern in patterns:
            options = [name for name in known if re.fullmatch(pattern, name)]
            assert len(options) == 2, pattern
        if not patterns and 'up{job="tidegate"}' not in rule["expr"]:
            assert names and set(names) <= known, rule["alert"]


def test_prometheus_takes_the_file() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
