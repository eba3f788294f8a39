import msgspec

from tidegate.contracts.failures import Failure


def test_a_failure_is_one_json_document_with_every_field() -> None:
    failure = Failure(
        "id", "client_events", "demo", "95", "2025-01-01T00:00:00.000000Z", "2025-01-01T00:00:00.000000Z",
        "association", 7, 14, "Incorrect PSK", "ask for the new passphrase", "68:05:71:a4:ef:0e", "ssid",
        None, None, False,
    )  # fmt: skip
    document = msgspec.json.encode(failure)
    assert list(msgspec.json.decode(document)) == list(Failure.__struct_fields__)
    assert msgspec.json.decode(document, type=Failure) == failure
