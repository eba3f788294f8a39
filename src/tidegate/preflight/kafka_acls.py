"""Which rights a role's user lacks at the broker, and the command that gives each. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic

from tidegate.contracts.topics import CONTROL, PARTITIONED
from tidegate.kafka.acls import ROLES, WORKER_TOPICS, Acl, acls, command
from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, client
from tidegate.preflight.condition import Condition, ok, wrong

Rights = Mapping[str, frozenset[str]]  # of a topic or group: operations as acls.csv writes them

_NAMES = {
    AclOperation.DESCRIBE: "Describe",
    AclOperation.DESCRIBE_CONFIGS: "DescribeConfigs",
    AclOperation.READ: "Read",
    AclOperation.WRITE: "Write",
    AclOperation.CREATE: "Create",
    AclOperation.ALTER: "Alter",
    AclOperation.ALTER_CONFIGS: "AlterConfigs",
}


def inspect_acls(kafka: Connection, role: str = "") -> Iterator[Condition]:
    """A condition for each right that `role` lacks; without a role, what this user could run as.

    Nothing where the broker does not tell rights, as the embedded one does not.
    """
    admin = AdminClient(client(kafka))
    try:
        topics = _topics(admin, (*PARTITIONED, CONTROL, *_of_workers(admin)))
        groups = _groups(admin, ("tidegate-worker", "tidegate-sink", "tidegate-notify", "tidegate-replay"))
        creates = _may_create(admin)
    except KafkaException:
        return
    user = kafka.username or "ANONYMOUS"
    missing = {one: list(_missing(acls(one), topics, groups, creates)) for one in ROLES}
    if role:
        for acl in missing[role]:
            yield wrong(
                f"acl: {role} lacks {acl.operation} on {acl.resource} {acl.name}"
                f"{'*' if acl.pattern == 'prefixed' else ''}",
                command(acl, user),
            )
        if not missing[role]:
            yield ok(f"acl: {user} may do all that {role} does")
        return
    able = [one for one in ROLES if not missing[one]]
    if able:
        yield ok(f"acl: {user} may run as {', '.join(able)}")
    else:
        yield wrong(
            f"acl: {user} may run as none of the roles",
            "`tidegate check --role ROLE` says what it lacks; deploy/kafka/acls.csv is what each needs",
        )


def _missing(wanted: Iterable[Acl], topics: Rights, groups: Rights, creates: bool) -> Iterator[Acl]:
    for acl in wanted:
        if acl.resource == "group":
            names = [name for name in groups if name.startswith(acl.name)]
            lacking = any(acl.operation not in groups[name] for name in names)
        elif acl.operation == "Create":
            lacking = not creates
        else:
            prefixed = [name for name in topics if name.startswith(acl.name)]
            names = prefixed if acl.pattern == "prefixed" else [acl.name]
            lacking = any(acl.operation not in topics[name] for name in names)
        if lacking:
            yield acl


def _of_workers(admin: AdminClient) -> list[str]:
    """The topics that Faust keeps, those that are there: a worker makes them when it first runs."""
    return [
        name for name in admin.list_topics(timeout=ATTEMPT_SECONDS).topics if name.startswith(WORKER_TOPICS)
    ]


def _topics(admin: AdminClient, names: Iterable[str]) -> Rights:
    found: dict[str, frozenset[str]] = {}
    futures = admin.describe_topics(
        TopicCollection(list(names)), include_authorized_operations=True, request_timeout=ATTEMPT_SECONDS
    )
    for name, future in futures.items():
        try:
            found[name] = _operations(future.result().authorized_operations)
            if not found[name]:  # who is answered at all may describe it: this broker tells no rights
                raise KafkaException(KafkaError(KafkaError.UNSUPPORTED_VERSION))
        except KafkaException as error:
            if error.args[0].code() not in _HIDDEN:
                raise
            found[name] = frozenset()
    return found


_HIDDEN = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN_TOPIC_OR_PART)


def _groups(admin: AdminClient, names: Iterable[str]) -> Rights:
    """Of groups that nobody has joined yet the broker tells nothing; those are left out."""
    found: dict[str, frozenset[str]] = {}
    futures = admin.describe_consumer_groups(
        list(names), include_authorized_operations=True, request_timeout=ATTEMPT_SECONDS
    )
    for name, future in futures.items():
        try:
            found[name] = _operations(future.result().authorized_operations)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                found[name] = frozenset()
            elif error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                raise
    return found


def _may_create(admin: AdminClient) -> bool:
    """Whether a topic with the worker's prefix could be made; it is not."""
    topic = NewTopic(f"{WORKER_TOPICS}-preflight", 1, -1)
    [future] = admin.create_topics([topic], validate_only=True, request_timeout=ATTEMPT_SECONDS).values()
    try:
        future.result()
    except KafkaException as error:
        return error.args[0].code() not in (
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        )
    return True


def _operations(found: Iterable[AclOperation] | None) -> frozenset[str]:
    return frozenset(_NAMES[one] for one in found or () if one in _NAMES)
