"""docs/production.md: each command is run by a test, or says that it is not."""

from __future__ import annotations

import re
from pathlib import Path

import production_page
import pytest

WALKED = ("2.", "3.", "4.", "5.", "6.", "7.")  # typed by tests/flow/test_production.py, a block each
ELSEWHERE = {  # by whom a command of the other sections is run, and by which words of it one finds it there
    "docker build -f deploy/Dockerfile": ("tests/flow/test_containers.py", "docker-compose.yml"),
    "tidegate topics": ("tests/flow/test_production.py", "tidegate-topics"),  # as the chart's hooks
    "tidegate migrate": ("tests/flow/test_production.py", "tidegate-migrate"),
    "A=BROKER-OF-A:9092": ("tests/drills/test_second_place.py", "connect-mirror-maker.sh"),
    "tidegate verify": ("tests/drills/test_second_place.py", "verify"),
}
MARK = re.compile(r"not run here|\[Kubernetes\]")
FOREIGN = ("kubectl ", "helm ", "docker ", "kafka-")


def commands(text: str) -> list[str]:
    """The commands of a block, lines that go on joined."""
    return [
        line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")
    ]


@pytest.mark.parametrize("heading", list(production_page.sections()))
def test_each_command_of_a_block_is_run_or_says_that_it_is_not(repository: Path, heading: str) -> None:
    found = production_page.blocks(heading) if heading else []
    if heading.startswith(WALKED):
        walk = (repository / "tests/flow/test_production.py").read_text()
        assert len(found) == 1 and f'production_page.block("{heading[:2]}")' in walk
        return
    for command in (command for text in found for command in commands(text)):
        if "not run here" in command:
            continue
        [(path, words)] = [where for begin, where in ELSEWHERE.items() if command.startswith(begin)]
        assert words in (repository / path).read_text(), command


def test_a_command_in_a_sentence_that_no_test_runs_says_so() -> None:
    for text in production_page.sections().values():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        for sentence in re.split(r"\n\n|\. (?=[A-Z`])", prose):
            for command in re.findall(r"`([^`]+)`", sentence):
                foreign = command.startswith(FOREIGN) and " " in command
                assert not foreign or MARK.search(sentence) or "compose" in command, command


def test_the_secrets_that_are_made_are_those_of_the_value_set(repository: Path) -> None:
    made = set(re.findall(r'create secret \w+ "?([\w$-]+)', production_page.block("4.")))
    roles = re.findall(r"for role in (.+); do", production_page.block("4."))[0].split()
    made = (made - {"kafka-$role"}) | {f"kafka-{role}" for role in roles}
    values = (repository / "deploy/helm/tidegate/ci/secured.yaml").read_text()
    named = set(re.findall(r"(?:Secret|tokens|\w+Keys?|tls): ([a-z-]+)", values))
    named |= set(re.findall(r"^    \w+: (kafka-\w+)", values, re.MULTILINE))
    assert made == named
