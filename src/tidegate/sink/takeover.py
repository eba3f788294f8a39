"""What the ledger and the broker say about partitions that were assigned. Runs in a thread: it waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from tidegate.contracts.ledger import BatchPlan
from tidegate.contracts.topics import StreamPartition, enriched, raw
from tidegate.errors import RetryLater, Stop
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, watermarks
from tidegate.kafka.topics import read_epoch
from tidegate.preflight.epoch import require_epoch
from tidegate.sink.group import Membership
from tidegate.sink.partition import TakeOver
from tidegate.store.ledger import Ledger
from tidegate.store.templates import DEDUPLICATION_WINDOW


def look_up(
    consumer: Consumer,
    ledger: Ledger,
    kafka: Connection,
    partitions: Iterable[StreamPartition],
    *,
    group: str,
    membership: Membership,
    check_epochs: Mapping[StreamPartition, set[str]],
    out_of_range: set[StreamPartition],
) -> dict[StreamPartition, TakeOver]:
    """`check_epochs`: earlier epochs whose frames were met; `out_of_range`: the broker refused an offset.

    Raises RetryLater while broker or ClickHouse is away, Stop when the broker has lost what is stored or
    another consumer group than `group` fills the tables.
    """
    partitions = list(partitions)
    try:
        epoch = read_epoch(kafka)
        require_epoch(epoch, ledger.epochs())
        ledger.note_epoch(epoch)
        ledger.claim(epoch, group)
        newest = ledger.newest(partitions)
        wanted = [KafkaPartition(enriched(key.stream), key.partition) for key in partitions]
        committed = {
            (found.topic, found.partition): found.offset
            for found in consumer.committed(wanted, ATTEMPT_SECONDS)
        }
        ends = {key: watermarks(consumer, enriched(key.stream), key.partition) for key in partitions}
        raw_lows = {key: watermarks(consumer, raw(key.stream), key.partition)[0] for key in partitions}
    except KafkaException as error:
        raise RetryLater(f"Kafka does not answer as it should: {error.args[0].str()}") from error

    over = {}
    for key in partitions:
        plans = newest.get(key, {})
        low, high = ends[key]
        plan = plans.get(epoch)
        if plan is not None and key in out_of_range and plan.enriched_last >= high:
            raise Stop(lost_log(key, plan, high))
        stored = {
            name for name in check_epochs.get(key, ()) if name in plans and _is_stored(ledger, plans[name])
        }
        if plan is not None and _needs_no_resend(
            ledger, plan, committed.get((enriched(key.stream), key.partition), -1)
        ):
            stored.add(epoch)
        over[key] = TakeOver(
            epoch=epoch,
            plans=plans,
            stored=frozenset(stored),
            low=low,
            raw_low=raw_lows[key],
            generation=_term(plans.values(), membership.generation),
            member=membership.member,
        )
    return over


def lost_log(key: StreamPartition, plan: BatchPlan, end: int) -> str:
    """What to say when the enriched topic ends before what the ledger says was read from it."""
    return (
        f"{key}: the enriched topic ends at offset {end}, but batch {plan.token} of the same epoch was read"
        f" up to {plan.enriched_last}. The broker lost records, or the topic was made anew without a new"
        " epoch: bring the log back, or delete all tidegate topics and run `tidegate topics`"
    )


def _is_stored(ledger: Ledger, plan: BatchPlan) -> bool:
    return not plan.inserts or ledger.is_stored(plan)


def _needs_no_resend(ledger: Ledger, plan: BatchPlan, committed: int) -> bool:
    """Whether the newest plan is known to be stored, with its views.

    The offset behind a batch is committed once ClickHouse has answered for it. Without that the batch is
    sent again; but not when so many inserts came since that its token may be forgotten: it would double.
    """
    if not plan.inserts:
        return True
    if committed > plan.enriched_last or ledger.plans_since(plan) > DEDUPLICATION_WINDOW // 2:
        return ledger.is_stored(plan)
    return False


def _term(plans: Iterable[BatchPlan], generation: int) -> int:
    """The generation that plans to come carry: above every one before, in the order of take-overs.

    The group's own is not enough: a group that Kafka has forgotten counts from 0 again. Of two members
    that see the same ledger, the one with the later group generation has the higher sum.
    """
    return max((plan.generation for plan in plans), default=0) + generation + 1
