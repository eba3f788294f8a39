from tidegate.contracts.topics import CONTROL, PARTITIONED, STREAMS, enriched, raw


def test_the_names_that_users_script_against() -> None:
    assert set(PARTITIONED) >= {
        *(f"tidegate.{stream}.raw" for stream in ("connection_logs", "client_events", "device_logs")),
        *(f"tidegate.{stream}.enriched" for stream in ("connection_logs", "client_events", "device_logs")),
        "tidegate.failures",
        "tidegate.alerts",
        "tidegate.rejects",
        "tidegate.health",
    }
    assert CONTROL == "tidegate.control"


def test_every_topic_is_named_once() -> None:
    names = [*PARTITIONED, CONTROL]
    assert len(set(names)) == len(names)
    assert {raw(stream) for stream in STREAMS} | {enriched(stream) for stream in STREAMS} <= set(names)
