import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reject_documents import original_bytes

from tidegate.contracts.rejects import KIND_OF, STATUS_OF, Code, Fault, Kind, Reject, original_text


def reject(line: bytes, **fields: object) -> Reject:
    text, encoding = original_text(line)
    given: dict[str, object] = {
        "epoch": "E" * 26,
        "stream": "client_events",
        "partition": 1,
        "offset": 2,
        "index": 3,
        "fleet": "demo",
        "received_at": 1_763_712_000_000_000,
        "stage": "decode",
        "kind": Kind.SYNTAX,
        "code": Code.NOT_JSON,
        "path": "",
        "found": "",
        "allowed": "",
        "detail": "",
        "original": text,
        "original_encoding": encoding,
    }
    return msgspec.convert(given | fields, Reject)


def test_every_code_is_of_one_kind_and_every_kind_has_a_status() -> None:
    assert set(KIND_OF) == set(Code)
    assert set(KIND_OF.values()) == set(Kind) == set(STATUS_OF)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.NOT_JSON, 400),
        (Code.NOT_UTF8, 400),
        (Code.UNKNOWN_FORM, 400),
        (Code.MISSING_FIELD, 400),
        (Code.WRONG_TYPE, 422),
        (Code.NOT_IN_ENUM, 422),
        (Code.OUT_OF_RANGE, 422),
        (Code.BAD_FORMAT, 422),
        (Code.TOO_LARGE, 413),
    ],
)
def test_the_gateways_answer_to_a_fault(code: Code, status: int) -> None:
    assert Fault(code).status == status


@given(st.binary(max_size=200))
def test_the_original_bytes_survive_json(line: bytes) -> None:
    document = msgspec.json.encode(reject(line))
    assert original_bytes(msgspec.json.decode(document, type=Reject)) == line


@given(st.text(max_size=100))
def test_text_stays_readable(text: str) -> None:
    try:
        line = text.encode("utf-8")
    except UnicodeEncodeError:
        return
    assert original_text(line) == (text, "utf8")


def test_a_code_that_is_not_on_the_list_is_not_read() -> None:
    document = msgspec.json.encode(reject(b"x")).replace(b'"not_json"', b'"something_else"')
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(document, type=Reject)
