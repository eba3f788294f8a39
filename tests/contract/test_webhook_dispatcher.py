"""From changes of alerts to requests: a faked clock, a real HTTPS server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

import pytest
from alert_documents import alert
from standardwebhooks import Webhook
from webhook_receiver import Receiver, Reply, receiver

from tidegate.contracts.alerts import Alert
from tidegate.notify.consumer import Record
from tidegate.notify.dispatcher import Dispatcher
from tidegate.notify.outbox import DELAYS
from tidegate.store.deliveries import Entry
from tidegate.webhooks.addresses import allowed
from tidegate.webhooks.endpoints import EndpointFile
from tidegate.webhooks.signing import webhook_id
from tidegate.webhooks.transport import Transport


class Clock:
    def __init__(self) -> None:
        self.now = datetime.now(UTC).timestamp()  # signatures are checked by the real clock

    def __call__(self) -> float:
        return self.now


class Kept:
    """A delivery log in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entries: list[Entry]) -> None:
        self.entries += entries

    async def newest(self, webhook_ids: Iterable[str]) -> list[Entry]:
        return [found for id in webhook_ids if (found := self.state(id)) is not None]

    async def told(self, alert_ids: Iterable[str]) -> set[tuple[str, str]] | None:
        wanted = set(alert_ids)
        return {(entry.endpoint_id, entry.alert_id) for entry in self.entries if entry.alert_id in wanted}

    def state(self, id: str) -> Entry | None:
        entries = [entry for entry in self.entries if entry.webhook_id == id]
        return entries[-1]._replace(alert=entries[0].alert) if entries else None

    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in self.entries]


class Bench:
    def __init__(self, at: Receiver, folder: Path) -> None:
        self.at, self.clock, self.log = at, Clock(), Kept()
        self.quotes = False  # whether the receiver finds nothing, and quotes what it was asked for
        self.file = EndpointFile(folder / "webhooks.json", check_seconds=0.0, clock=self.clock)
        self.dispatcher = self.restarted()

    def restarted(self) -> Dispatcher:
        """A new process with the same files and log."""
        sender = Transport(allowed("127.0.0.1"), seconds=10.0, ca_file=str(self.at.ca_file))
        self.dispatcher = Dispatcher(
            self.file, self.log, sender, clock=self.clock, chance=lambda: 0.0, public_url="https://t.example/"
        )
        return self.dispatcher

    def endpoint(self, path: str = "/hook", format: str = "standard", **more: str) -> str:
        made = self.file.create(
            path,
            fleet="demo",
            format=format,
            url=self.at.url + path,
            allow=allowed("127.0.0.1"),
            **more,  # type: ignore[arg-type]
        )
        self.secret = made.secret
        return made.endpoint.id

    async def take(self, *alerts: Alert) -> None:
        await self.dispatcher.take(
            Record(0, number, self.clock(), told) for number, told in enumerate(alerts)
        )

    async def go(self) -> None:
        """Send what is due now, to its end."""
        while True:
            self.dispatcher.step()
            if not self.dispatcher._attempts:
                return
            await self.dispatcher.settle()

    async def go_on(self) -> list[float]:
        """Let time pass until nothing is owed; the seconds from one attempt to the next."""
        waited = []
        while (due := self.dispatcher.outbox.next_at()) is not None:
            waited.append(due - self.clock.now)
            self.clock.now = due
            await self.go()
        return waited


@pytest.fixture
def statuses() -> dict[str, list[int]]:
    """What the receiver answers at a path, one after another; then 204."""
    return {}


@pytest.fixture
def bench(statuses: dict[str, list[int]], tmp_path: Path):  # type: ignore[no-untyped-def]
    def choose(path: str, before: int) -> Reply:
        if found[0].quotes:
            said = f"POST {path} was not found (also known as {unquote(path)})"
            said += " for R0123456789ABCDEF" if path == "/v2/enqueue" else ""
            return Reply(404, body=said.encode())
        answers = statuses.get(path, [])
        return Reply(answers[before] if before < len(answers) else 204, {"Location": "https://127.0.0.1:1/"})

    with receiver(choose, tmp_path) as at:
        found = [Bench(at, tmp_path)]
        yield found[0]


async def test_the_whole_retry_table_with_one_id(bench: Bench, statuses: dict[str, list[int]]) -> None:
    statuses["/hook"] = [503, 500, 429, 404, 302, 400, 503, 503, 503, 503]
    id = bench.endpoint()
    await bench.take(alert())
    waited = await bench.go_on()
    assert waited == pytest.approx(list(DELAYS))
    assert bench.log.outcomes() == ["owed"] + ["retry"] * 9 + ["failed"]
    assert [entry.status for entry in bench.log.entries[1:]] == statuses["/hook"]
    assert bench.at.ids("/hook") == [webhook_id("a1b2c3", 1, id)] * 10


async def test_every_body_verifies_and_links_to_the_alert(bench: Bench) -> None:
    bench.endpoint()
    await bench.take(alert(), alert(sequence=2, state="acked"), alert(sequence=3, state="resolved"))
    await bench.go()
    found = [Webhook(bench.secret).verify(one.body, dict(one.headers)) for one in bench.at.received]
    assert [one["type"] for one in found] == ["alert.open", "alert.acked", "alert.resolved"]
    assert {one["url"] for one in found} == {"https://t.example/alerts/a1b2c3"}
    assert len(set(bench.at.ids("/hook"))) == 3


async def test_a_restart_loses_no_pending_retry(bench: Bench, statuses: dict[str, list[int]]) -> None:
    statuses["/hook"] = [503, 503]
    bench.endpoint()
    await bench.take(alert())
    await bench.go()
    before = bench.dispatcher.outbox.next_at()
    again = bench.restarted()
    assert again.outbox.next_at() is None
    owed = bench.log.state(bench.log.entries[0].webhook_id)
    assert owed is not None
    again.restore([owed])
    assert again.outbox.next_at() == before
    await bench.go_on()
    assert bench.log.outcomes() == ["owed", "retry", "retry", "delivered"]
    assert len(set(bench.at.ids("/hook"))) == 1 and len(bench.at.received) == 3


async def test_a_record_that_comes_again_after_a_restart_is_not_told_again(
    bench: Bench, statuses: dict[str, list[int]]
) -> None:
    statuses["/b"] = [503]
    bench.endpoint("/a")
    bench.endpoint("/b")
    await bench.take(alert())
    await bench.go()
    bench.restarted()
    await bench.take(alert())  # its offset was not committed
    await bench.go_on()
    assert len(bench.at.of("/a")) == 1 and len(bench.at.of("/b")) == 2


async def test_killed_before_the_log_had_it_the_same_id_comes_again(bench: Bench) -> None:
    bench.endpoint()
    await bench.take(alert())
    await bench.go()
    bench.log.entries.clear()
    bench.restarted()
    await bench.take(alert())
    await bench.go()
    assert len(bench.at.received) == 2 and len(set(bench.at.ids("/hook"))) == 1


async def test_gone_disables_the_endpoint_and_drops_what_is_owed(
    bench: Bench, statuses: dict[str, list[int]]
) -> None:
    statuses["/hook"] = [503, 410]
    id = bench.endpoint()
    bench.endpoint("/other")
    await bench.take(alert(id="first"))
    await bench.go()
    await bench.take(alert(id="second"))
    await bench.go()
    assert bench.file.endpoints()[id].disabled.startswith("answered 410 at ")
    await bench.take(alert(id="third"))
    await bench.go_on()
    assert len(bench.at.of("/hook")) == 2 and len(bench.at.of("/other")) == 3
    ends = {entry.alert_id: entry.outcome for entry in bench.log.entries if entry.endpoint_id == id}
    assert ends == {"first": "dropped", "second": "gone"}
    # Enabled again, it is told of what comes from then on.
    bench.file.disable(id, "")
    await bench.take(alert(id="fourth"))
    await bench.go_on()
    assert len(bench.at.of("/hook")) == 3


async def test_gone_holds_where_the_file_cannot_be_written(
    bench: Bench, statuses: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.errors import UsageError

    def refuse(id: str, reason: str) -> None:
        raise UsageError("webhooks_file: read-only")

    statuses["/hook"] = [410]
    bench.endpoint()
    monkeypatch.setattr(bench.file, "disable", refuse)
    await bench.take(alert(id="first"))
    await bench.go()
    await bench.take(alert(id="second"))
    await bench.go_on()
    assert len(bench.at.received) == 1


async def test_a_deleted_endpoint_is_sent_nothing_more(bench: Bench, statuses: dict[str, list[int]]) -> None:
    statuses["/hook"] = [503]
    bench.endpoint()
    await bench.take(alert())
    await bench.go()
    bench.file.delete("/hook")
    await bench.go()
    assert bench.log.outcomes() == ["owed", "retry", "dropped"]
    assert bench.log.entries[-1].error == "the endpoint was deleted"


async def test_nobody_is_told_of_other_fleets_or_of_what_was_before(bench: Bench) -> None:
    bench.endpoint()
    await bench.take(alert(fleet="other"))
    old = bench.clock.now - 3600
    await bench.dispatcher.take([Record(0, 1, old, alert(id="old")), Record(0, 2, old, None)])
    await bench.go_on()
    assert bench.at.received == [] and bench.log.entries == []


async def test_people_are_not_told_that_a_silenced_alert_is_over(bench: Bench) -> None:
    bench.endpoint("/program")
    bench.endpoint("/chat", format="slack")
    await bench.take(alert(state="silenced"), alert(id="other"))
    await bench.go()
    bench.restarted()  # what was told stands in the log
    await bench.take(alert(sequence=2, state="resolved"), alert(id="other", sequence=2, state="resolved"))
    await bench.go()
    await bench.take(alert(id="both", site="<b>"), alert(id="both", sequence=2, state="resolved"))
    await bench.go()
    assert len(bench.at.of("/program")) == 6
    said = [json.loads(one.body)["text"].split(":")[0] for one in bench.at.of("/chat")]
    assert said == ["CRITICAL opened", "CRITICAL resolved"] * 2


async def test_a_secret_is_rotated_between_two_attempts(bench: Bench, statuses: dict[str, list[int]]) -> None:
    statuses["/hook"] = [503]
    bench.endpoint()
    await bench.take(alert())
    await bench.go()
    new = bench.file.rotate("/hook").secret
    await bench.go_on()
    last = bench.at.received[-1]
    for secret in (bench.secret, new):
        Webhook(secret).verify(last.body, dict(last.headers))
    with pytest.raises(Exception, match="signature"):
        first = bench.at.received[0]
        Webhook(new).verify(first.body, dict(first.headers))


async def test_a_notice_that_cannot_be_made_is_tried_again_like_any_other(bench: Bench) -> None:
    id = bench.endpoint()
    broken = bench.file.path.read_text().replace(bench.secret, "whsec_####")
    bench.file.path.write_text(broken)
    await bench.take(alert())
    await bench.go()
    assert bench.log.outcomes() == ["owed", "retry"]
    assert bench.log.entries[-1].error == "not sent: BadField"
    assert id and bench.at.received == []


async def test_what_a_receiver_quotes_of_address_and_key_is_told_nobody(bench: Bench) -> None:
    """Apache's 404 names the path, which is all the secret of a chat's address."""
    key = "R0123456789ABCDEF"
    bench.endpoint("/services/T00000000/B11111111/x%2FYzSecret", "slack")
    bench.endpoint("/workflows/0123abcd/run?api-version=1&sig=a%2Bsignature", "teams")
    bench.endpoint("/hook?token=mySecretToken", "standard")
    bench.endpoint("/v2/enqueue", "pagerduty", routing_key=key)
    bench.quotes = True
    await bench.take(alert())
    await bench.go()
    errors = [entry.error for entry in bench.log.entries if entry.error]
    assert len(errors) == 4 and all("was not found" in error for error in errors)
    for secret in ("YzSecret", "x/Yz", "T00000000", "signature", "mySecretToken", key):
        assert not any(secret in error for error in errors)
    assert any(error.startswith("answers 404: POST /hook?*** was not found") for error in errors)


async def test_a_notice_whose_first_entry_has_gone_is_told_once(
    bench: Bench, statuses: dict[str, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """With a fleet's retention shorter than its retries it was told at each look, every five seconds."""
    statuses["/hook"] = [503, 503]
    bench.endpoint()
    await bench.take(alert())
    await bench.go()
    left = bench.log.entries[-1]
    assert left.alert == ""
    bench.dispatcher.restore([left])  # it is sent again all the same, for the process knows it
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    again = bench.restarted()
    for _ in range(3):
        again.restore([left])
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    # Where its record comes again, that has the alert.
    bench.restarted()
    bench.log.entries[:] = [left]
    await bench.take(alert())
    assert bench.dispatcher.outbox.next_at() == left.next_attempt_at
    await bench.go_on()
    assert bench.log.outcomes() == ["retry", "retry", "delivered"]
