import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.contracts.position import STREAM_LETTERS, Position, id_expression, parse_id
from tidegate.contracts.topics import STREAMS

EPOCH = "01K9ZQ4T3M8W5X0R2B7C6D1E9F"

positions = st.builds(
    Position,
    epoch=st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26),
    stream=st.sampled_from(STREAMS),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    index=st.integers(0, 2**32 - 1),
)


@given(positions)
def test_an_id_is_its_position(position: Position) -> None:
    assert parse_id(position.id()) == position


def test_the_id_is_as_documented() -> None:
    assert Position(EPOCH, "connection_logs", 3, 1042, 17).id() == f"{EPOCH}-c3-1042-17"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12847",
        f"{EPOCH}-c3-1042",
        f"{EPOCH}-x3-1042-17",
        f"{EPOCH}-c3-1042--17",
        f"{EPOCH}-c3-1042-17\n",
        f"{EPOCH}-c٣-1042-17",
        f"{EPOCH[:-1]}-c3-1042-17",
        f"{EPOCH.lower()}-c3-1042-17",
        f"{EPOCH}-c3-1042-17' OR 1=1",
    ],
)
def test_other_text_is_no_id(text: str) -> None:
    assert parse_id(text) is None


def test_streams_have_letters_of_their_own() -> None:
    assert set(STREAM_LETTERS) == set(STREAMS)
    assert len(set(STREAM_LETTERS.values())) == len(STREAMS)
    for stream, letter in STREAM_LETTERS.items():
        assert f"'-{letter}'" in id_expression(stream)
