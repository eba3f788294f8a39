"""Whether this user gets in at the brokers (address, TLS, login), or what is wrong, and by which setting."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tidegate.kafka.connection import Connection
from tidegate.kafka.groupless import ATTEMPT_SECONDS, client
from tidegate.preflight.condition import Condition, ok, wrong

_CERTIFICATES = {
    10: ("its certificate has expired", "renew the broker's certificate; then look at this machine's clock"),
    9: ("its certificate is not valid yet", "look at this machine's clock, then at the broker's certificate"),
    18: ("its certificate is self-signed and not in kafka_ca_file", "add it, or have it signed by the CA"),
    19: ("its certificate is signed by another CA", "set kafka_ca_file to the CA that signed it"),
    20: ("its certificate is signed by another CA", "set kafka_ca_file to the CA that signed it"),
    21: ("its certificate is signed by another CA", "set kafka_ca_file to the CA that signed it"),
    62: ("its certificate is of another host name", "name the broker as its certificate does"),
    64: ("its certificate is of another address", "name the broker as its certificate does"),
}
"""By OpenSSL's number of the verification's outcome."""


def inspect_login(kafka: Connection) -> Iterator[Condition]:
    """One condition: that this user gets in, or what is wrong with the first address that says so."""
    for address in kafka.bootstrap.split(","):
        fault = _unreachable(kafka, address.strip())
        if fault is not None:
            yield fault
            return
    errors: list[KafkaError] = []
    admin = AdminClient({**client(kafka), "error_cb": errors.append})
    try:
        found = admin.list_topics(timeout=ATTEMPT_SECONDS)
    except KafkaException as error:
        admin.poll(0)
        yield _refused(kafka, errors, error.args[0])
        return
    how = f"{kafka.protocol}{f' {kafka.mechanism} as {kafka.username}' if kafka.mechanism else ''}"
    brokers = f"{len(found.brokers)} broker{'s' * (len(found.brokers) != 1)}"
    yield ok(f"kafka: {kafka.bootstrap} answers, {brokers}, {how}")


def _unreachable(kafka: Connection, address: str) -> Condition | None:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return wrong(f"kafka: FAILED, {address!r} is not host:port", "see kafka_bootstrap")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ATTEMPT_SECONDS) as plain:
            if kafka.tls:
                plain.settimeout(ATTEMPT_SECONDS)
                with kafka.ssl_context().wrap_socket(plain, server_hostname=host.strip("[]")):
                    pass
    except ssl.SSLCertVerificationError as error:
        what, do = _CERTIFICATES.get(error.verify_code, (error.verify_message, "see kafka_ca_file"))
        return wrong(f"kafka: FAILED, {address} is not trusted: {what}", do)
    except (ssl.SSLError, ConnectionResetError, TimeoutError) as error:
        if kafka.tls:
            return wrong(
                f"kafka: FAILED, {address} takes a connection and no TLS ({type(error).__name__}): it may be"
                " a listener in the clear, or ask for a client certificate",
                "set kafka_bootstrap to the TLS listener; or kafka_cert_file and kafka_key_file",
            )
        return wrong(f"kafka: FAILED, {address} does not answer: {error}", "see kafka_bootstrap")
    except OSError as error:
        return wrong(
            f"kafka: FAILED, {address} does not answer: {error.strerror or error}", "see kafka_bootstrap"
        )
    return None


def _refused(kafka: Connection, errors: list[KafkaError], last: KafkaError) -> Condition:
    """What the broker said to a connection that stands."""
    said = next((error for error in errors if error.code() == KafkaError._AUTHENTICATION), None)
    text = said.str() if said is not None else ""
    if "mechanism" in text.lower() and "credentials" not in text.lower():
        return wrong(
            f"kafka: FAILED, the broker has no SASL mechanism {kafka.mechanism}: {_short(text)}",
            "set kafka_sasl_mechanism to one that the listener has enabled",
        )
    if said is not None:
        return wrong(
            f"kafka: FAILED, the broker refuses user {kafka.username}: {_short(text)}",
            "see kafka_sasl_username and kafka_sasl_password; `kafka-configs.sh --alter --entity-type users`"
            " sets one",
        )
    if not kafka.tls and _speaks_tls(kafka.bootstrap.split(",")[0].strip()):
        return wrong(
            f"kafka: FAILED, {kafka.bootstrap} asks for TLS, and kafka_security_protocol is {kafka.protocol}",
            f"set kafka_security_protocol to {kafka.protocol.replace('PLAINTEXT', '').strip('_') or ''}"
            f"{'_' if kafka.mechanism else ''}SSL",
        )
    reasons = {error.str() for error in errors} - {""}
    detail = next(iter(sorted(reasons, key=len, reverse=True)), last.str())
    return wrong(f"kafka: FAILED, {_short(detail)}", "see kafka_bootstrap and kafka_security_protocol")


def _speaks_tls(address: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: only whether it answers in TLS
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), 2.0) as plain:
            plain.settimeout(2.0)
            with context.wrap_socket(plain):
                return True
    except OSError:
        return False


def _short(text: str) -> str:
    """Without the client's own names in front, on one line."""
    return " ".join(text.split())[-300:]
