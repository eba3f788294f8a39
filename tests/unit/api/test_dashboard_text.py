"""What pages make of text from outside, and of figures."""

from __future__ import annotations

import pytest

from tidegate.api.dashboard import charts, text
from tidegate.api.dashboard.clients import prefix
from tidegate.api.dashboard.web import back_to, templates

HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe\u2066\x00\x1b[31m"


def test_hostile_text_in_a_page() -> None:
    page = templates().from_string("<p title='{{ x }}'>{{ x }}</p>").render(x=HOSTILE)
    assert "<script" not in page and "'\"" not in page[10:-4]
    assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(page)
    assert "&lt;script&gt;" in page and "\ufffd" in page


def test_hostile_text_in_a_chart() -> None:
    lanes = [charts.Lane(HOSTILE, [charts.Mark(5_000_000, "failure", HOSTILE)])]
    drawn = [
        charts.timeline(lanes, 0, 10),
        charts.line([charts.Point(1, 0.5, title=HOSTILE)], 0, 10, label=HOSTILE, changes=[(5, HOSTILE)]),
        charts.spark([1.0, None], label=HOSTILE),
    ]
    for svg in drawn:
        assert "<script" not in svg and "&lt;script" in svg
        assert not {"\u202e", "\u2066", "\x00", "\x1b"} & set(svg)


def test_success_failure_and_intermediate_differ_in_shape() -> None:
    shapes = {outcome: charts.shape(outcome, 5, 5).partition(" ")[0] for outcome in charts.SHAPES}
    assert shapes == {"success": "<rect", "failure": "<path", "intermediate": "<circle"}


@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "evil",
        "",
        "/a\nb",
        "/\t/e",
    ],
)
def test_a_redirection_stays_here(path: str) -> None:
    assert back_to(path) == "/"


@pytest.mark.parametrize("path", ["/", "/clients/68:05:71:a4:ef:0e?window=4h", "/sites/S%C3%A3o%20Paulo"])
def test_a_path_of_this_place(path: str) -> None:
    assert back_to(path) == path


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("68:05", "68:05"),
        ("68-05-7", "68:05:7"),
        ("6805.71a4", "68:05:71:a4"),
        ("Toronto", ""),
        ("6", ""),
        ("%", ""),
    ],
)
def test_the_beginning_of_a_mac(typed: str, canonical: str) -> None:
    assert prefix(typed) == canonical


def test_figures() -> None:
    assert [text.percent(share) for share in (0, 0.004, 0.42, 0.996, 1, None)] == [
        *("0 %", "0.4 %", "42 %", "99.6 %", "100 %", "–"),
    ]
    assert [text.seconds(length) for length in (0, 0.16, 12, 119, 480, 7200, 200_000)] == [
        *("0 s", "0.16 s", "12 s", "119 s", "8 min", "2 h", "2 d"),
    ]
