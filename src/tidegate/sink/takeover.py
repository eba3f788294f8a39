"""What the books and the broker say about partitions that were assigned. Runs in a thread: it waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidegate.contracts.topics import enriched, raw
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.topics import read_epoch
from tidegate.sink.group import Membership
from tidegate.sink.ledger import Ledger, Place
from tidegate.sink.partition import TakeOver
from tidegate.sink.plan import Plan
from tidegate.store.templates import DEDUPLICATION_WINDOW

SECONDS = 5.0  # one request to the broker


def look_up(
    onlooker: Consumer,
    ledger: Ledger,
    bootstrap: str,
    places: Iterable[Place],
    *,
    group: str,
    membership: Membership,
    check_epochs: Mapping[Place, set[str]],
    out_of_range: set[Place],
) -> dict[Place, TakeOver]:
    """`check_epochs`: earlier epochs whose frames were met; `out_of_range`: the broker refused an offset.

    Raises RetryLater while broker or ClickHouse is away, Stop when the broker has lost what is stored or
    another consumer group than `group` fills the tables.
    """
    places = list(places)
    try:
        epoch = read_epoch(bootstrap)
        ledger.note_epoch(epoch)
        ledger.claim(epoch, group)
        newest = ledger.newest(places)
        wanted = [TopicPartition(enriched(place.stream), place.partition) for place in places]
        committed = {
            (found.topic, found.partition): found.offset for found in onlooker.committed(wanted, SECONDS)
        }
        ends = {place: _ends(onlooker, enriched(place.stream), place) for place in places}
        raw_lows = {place: _ends(onlooker, raw(place.stream), place)[0] for place in places}
    except KafkaException as error:
        raise RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}") from error

    over = {}
    for place in places:
        plans = newest.get(place, {})
        low, high = ends[place]
        plan = plans.get(epoch)
        if plan is not None and place in out_of_range and plan.enriched_last >= high:
            raise Stop(lost_log(place, plan, high))
        stored = {
            name for name in check_epochs.get(place, ()) if name in plans and _is_stored(ledger, plans[name])
        }
        if plan is not None and _needs_no_resend(
            ledger, plan, committed.get((enriched(place.stream), place.partition), -1)
        ):
            stored.add(epoch)
        over[place] = TakeOver(
            epoch=epoch,
            plans=plans,
            stored=frozenset(stored),
            low=low,
            raw_low=raw_lows[place],
            generation=_term(plans.values(), membership.generation),
            member=membership.member,
        )
    return over


def lost_log(place: Place, plan: Plan, end: int) -> str:
    """What to say when the enriched topic ends before what the ledger says was read from it."""
    return (
        f"{place}: the enriched topic ends at offset {end}, but batch {plan.token} of the same epoch was read"
        f" up to {plan.enriched_last}. The broker lost records, or the topic was made anew without a new"
        " epoch: bring the log back, or delete all tidegate topics and run `tidegate topics`"
    )


def _ends(onlooker: Consumer, topic: str, place: Place) -> tuple[int, int]:
    low, high = onlooker.get_watermark_offsets(TopicPartition(topic, place.partition), timeout=SECONDS)
    return low, high


def _is_stored(ledger: Ledger, plan: Plan) -> bool:
    return not plan.inserts or ledger.is_stored(plan)


def _needs_no_resend(ledger: Ledger, plan: Plan, committed: int) -> bool:
    """Whether the newest plan is known to be stored, with its views.

    The offset behind a batch is committed once ClickHouse has answered for it. Without that the batch is
    sent again; but not when so many inserts came since that its token may be forgotten: it would double.
    """
    if not plan.inserts:
        return True
    if committed > plan.enriched_last or ledger.plans_since(plan) > DEDUPLICATION_WINDOW // 2:
        return ledger.is_stored(plan)
    return False


def _term(plans: Iterable[Plan], generation: int) -> int:
    """The generation that plans to come carry: above every one before, in the order of take-overs.

    The group's own is not enough: a group that Kafka has forgotten counts from 0 again. Of two members
    that see the same ledger, the one with the later group generation has the higher sum.
    """
    return max((plan.generation for plan in plans), default=0) + generation + 1
