"""How every Kafka client logs in: one place for librdkafka, aiokafka and Faust.

`connection(settings)` checks what the settings say and that the files can be read; its result goes to
whoever opens a client. Nothing else writes a client's security options.
"""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote_plus

from confluent_kafka import KafkaError

from tidegate.errors import UsageError
from tidegate.settings import Settings

log = logging.getLogger(__name__)

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
TOLD_SECONDS = 30.0  # between two times that the log says the same of a connection

_REASONS = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE})
"""Errors of librdkafka that say why; what it answers to a request is mostly that no broker came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuth:
    """Where tokens come from: OAuth 2.0 client credentials (RFC 6749, 4.4)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""

    def tokens(self) -> Any:
        """A provider for aiokafka and Faust: `kafka.oauth.Tokens`."""
        from tidegate.kafka.oauth import Tokens  # with aiohttp, which few processes need

        return Tokens(**asdict(self))


@dataclass(frozen=True, slots=True)
class Connection:
    """A Kafka cluster as one client of it sees it; made by `connection`, or bare for one without security."""

    bootstrap: str  # host:port, comma-separated
    protocol: str = "PLAINTEXT"
    mechanism: str = ""  # "" without SASL
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""  # "": the system's
    cert_file: str = ""
    key_file: str = ""
    oauth: OAuth | None = None
    control_key_file: str = ""  # what records of the control topic are signed with

    def __str__(self) -> str:
        return self.bootstrap

    @property
    def tls(self) -> bool:
        return self.protocol.endswith("SSL")

    def librdkafka(self) -> dict[str, object]:
        """The first options of a client of confluent-kafka. It says why it cannot log in."""
        options: dict[str, object] = {
            "bootstrap.servers": self.bootstrap,
            "security.protocol": self.protocol,
            "error_cb": Told().tell,
        }
        if self.tls:
            options["ssl.endpoint.identification.algorithm"] = "https"
            options |= _present(
                {
                    "ssl.ca.location": self.ca_file,
                    "ssl.certificate.location": self.cert_file,
                    "ssl.key.location": self.key_file,
                }
            )
        if self.mechanism:
            options["sasl.mechanism"] = self.mechanism
        if self.oauth is not None:
            options["sasl.oauthbearer.method"] = "oidc"
            options["sasl.oauthbearer.token.endpoint.url"] = self.oauth.token_url
            # librdkafka does not form-encode them, as RFC 6749, 2.3.1 asks
            options["sasl.oauthbearer.client.id"] = quote_plus(self.oauth.client_id)
            options["sasl.oauthbearer.client.secret"] = quote_plus(self.oauth.client_secret)
            options |= _present({"sasl.oauthbearer.scope": self.oauth.scope})
        elif self.mechanism:
            options["sasl.username"] = self.username
            options["sasl.password"] = self.password
        return options

    def aiokafka(self) -> dict[str, Any]:
        """The same as arguments of a client of aiokafka."""
        options: dict[str, Any] = {"bootstrap_servers": self.bootstrap, "security_protocol": self.protocol}
        if self.tls:
            options["ssl_context"] = self.ssl_context()
        if self.mechanism:
            options["sasl_mechanism"] = self.mechanism
        if self.oauth is not None:
            options["sasl_oauth_token_provider"] = self.oauth.tokens()
        elif self.mechanism:
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    def ssl_context(self) -> ssl.SSLContext:
        """Verifies chain and host name. Raises UsageError naming the setting whose file does not serve."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(f"kafka_ca_file: {self.ca_file}: {_reason(error)}") from error
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, password=_no_password)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"kafka_cert_file {self.cert_file} with kafka_key_file {self.key_file}: {_reason(error)}"
                ) from error
        return context


class Told:
    """Says in the log why a client of librdkafka cannot log in, the same once in a while."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}

    def tell(self, error: KafkaError) -> None:
        now = time.monotonic()
        if error.code() in _REASONS and now - self._last.get(error.code(), -TOLD_SECONDS) >= TOLD_SECONDS:
            self._last[error.code()] = now
            log.warning("Kafka: %s; `tidegate check` says more", error.str())


def connection(settings: Settings) -> Connection:
    """What the settings `kafka_…` say. Raises UsageError for what cannot be together or be read."""
    protocol = settings.kafka_security_protocol.upper()
    mechanism = settings.kafka_sasl_mechanism.upper()
    _one_of("kafka_security_protocol", protocol, PROTOCOLS)
    sasl, tls = protocol.startswith("SASL_"), protocol.endswith("SSL")
    if sasl:
        _one_of("kafka_sasl_mechanism", mechanism, MECHANISMS)
    _refuse_unused(settings, protocol, sasl=sasl, tls=tls)
    if sasl:
        for name in ("kafka_sasl_username", "kafka_sasl_password"):
            if not getattr(settings, name):
                raise UsageError(f"{name} is empty, but kafka_sasl_mechanism is {mechanism}")
    if mechanism == "OAUTHBEARER" and not settings.kafka_oauth_token_url.startswith(("https://", "http://")):
        raise UsageError("kafka_oauth_token_url: OAUTHBEARER needs the http(s) URL that tokens come from")
    if bool(settings.kafka_cert_file) != bool(settings.kafka_key_file):
        raise UsageError("kafka_cert_file and kafka_key_file go together: one of them is empty")
    found = Connection(
        settings.kafka_bootstrap,
        protocol,
        mechanism if sasl else "",
        settings.kafka_sasl_username,
        settings.kafka_sasl_password,
        settings.kafka_ca_file,
        settings.kafka_cert_file,
        settings.kafka_key_file,
        _oauth(settings) if mechanism == "OAUTHBEARER" else None,
        str(settings.control_key_path),
    )
    if tls:
        found.ssl_context()
    return found


def in_the_clear(settings: Settings, bootstrap: str) -> Settings:
    """The settings for a broker of one's own, which listens without security."""
    return replace(
        settings,
        kafka_bootstrap=bootstrap,
        kafka_security_protocol="PLAINTEXT",
        kafka_sasl_mechanism="",
        kafka_sasl_username="",
        kafka_sasl_password="",
        kafka_oauth_token_url="",
        kafka_oauth_scope="",
        kafka_ca_file="",
        kafka_cert_file="",
        kafka_key_file="",
    )


def _oauth(settings: Settings) -> OAuth:
    return OAuth(
        token_url=settings.kafka_oauth_token_url,
        client_id=settings.kafka_sasl_username,
        client_secret=settings.kafka_sasl_password,
        scope=settings.kafka_oauth_scope,
    )


def _refuse_unused(settings: Settings, protocol: str, *, sasl: bool, tls: bool) -> None:
    """A password that goes unused because the protocol was forgotten is no protection: it is told."""
    needed = {
        "kafka_sasl_mechanism": sasl,
        "kafka_sasl_username": sasl,
        "kafka_sasl_password": sasl,
        "kafka_oauth_token_url": sasl,
        "kafka_oauth_scope": sasl,
        "kafka_ca_file": tls,
        "kafka_cert_file": tls,
        "kafka_key_file": tls,
    }
    for name, used in needed.items():
        if getattr(settings, name) and not used:
            raise UsageError(
                f"{name} is set, but kafka_security_protocol is {protocol}, which does not use it"
            )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name}: {value!r} is none of {', '.join(allowed)}")


def _present(options: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if value}


def _reason(error: OSError | ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not a PEM file that OpenSSL takes"
    return error.strerror or str(error)


def _no_password() -> str:
    raise ssl.SSLError(0, "the key is encrypted")
