"""No value of a caller ever stands in the text of a statement."""

from datetime import date

import pytest

from tidegate.contracts.position import Position
from tidegate.store import queries
from tidegate.store.queries import ClientEvents, DeviceLogs, Mark, Query

HOSTILE = "'; DROP TABLE x; --"
POSITION = Position("01K9ZQ4T3M8W5X0R2B7C6D1E9F", "device_logs", 1, 2, 3)
EVENTS = ClientEvents(
    fleet=HOSTILE,
    macs=[HOSTILE],
    event_types=[HOSTILE],
    since=1,
    until=2,
    location_id=3,
    failure_code=4,
    failure_or_type_code=5,
    category_code=6,
    protocol=HOSTILE,
    ssids=[HOSTILE],
)
LOGS = DeviceLogs(
    fleet=HOSTILE,
    since=1,
    until=2,
    device_ids=[HOSTILE],
    action=HOSTILE,
    is_pending=True,
    is_applied=False,
    variable_name=HOSTILE,
)


@pytest.mark.parametrize(
    "query",
    [
        queries.connection_attempts(EVENTS, limit=1),
        queries.client_events(EVENTS, offset=1, limit=1),
        queries.client_events_count(EVENTS),
        queries.device_logs(LOGS, limit=1, older=Mark(1, HOSTILE)),
        queries.device_logs(LOGS, limit=1, newer=Mark(1, HOSTILE)),
        queries.device_logs_count(LOGS),
        queries.device_log(LOGS, POSITION, [date(2026, 1, 1)]),
        queries.event_at(HOSTILE, POSITION, [date(2026, 1, 1)]),
        queries.is_duplicate(POSITION, [date(2026, 1, 1)]),
        queries.is_gone(HOSTILE, POSITION),
        queries.reject_at(HOSTILE, POSITION),
        queries.ledger_at(POSITION),
    ],
    ids=lambda query: query.name,
)
def test_values_are_parameters(query: Query) -> None:
    assert "DROP" not in query.sql
    for name in query.parameters:
        assert f"{{{name}:" in query.sql
    assert query.sql.count("{") == query.sql.count("}")


def test_a_fleet_is_always_asked_for_unless_all_are_meant() -> None:
    where = str(ClientEvents(fleet="a", macs=("m",)).where())
    assert where == "WHERE fleet = {fleet:String} AND mac = {mac:String}"
    assert str(ClientEvents(fleet=None, macs=("m",)).where()) == "WHERE mac = {mac:String}"
    assert str(DeviceLogs(fleet=None).where()) == ""
