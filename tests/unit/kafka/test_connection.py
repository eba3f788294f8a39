"""What the settings say of Kafka, as the options of each client."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tidegate.errors import UsageError
from tidegate.kafka.connection import MECHANISMS, Connection, connection, in_the_clear
from tidegate.settings import Settings

SCRAM: dict[str, Any] = {
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "worker",
    "kafka_sasl_password": "geheim",
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    mine = authority.issue_cert("worker")
    mine.private_key_pem.write_to_path(tmp_path / "key.pem")
    for number, blob in enumerate(mine.cert_chain_pems):
        blob.write_to_path(tmp_path / "cert.pem", append=number > 0)
    return {f"kafka_{name}_file": str(tmp_path / f"{name}.pem") for name in ("ca", "cert", "key")}


def options_of(kafka: Connection) -> dict[str, object]:
    return {name: value for name, value in kafka.librdkafka().items() if name != "error_cb"}


def test_without_security_there_is_none() -> None:
    kafka = connection(Settings())
    assert kafka == Connection("127.0.0.1:9092", control_key_file="tidegate-data/control-key.json")
    plain = {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "PLAINTEXT"}
    assert options_of(kafka) == plain
    assert kafka.aiokafka() == {"bootstrap_servers": "127.0.0.1:9092", "security_protocol": "PLAINTEXT"}


def test_tls_with_a_client_certificate_reaches_both_clients(files: dict[str, Any]) -> None:
    kafka = connection(Settings(kafka_security_protocol="ssl", **files))
    options = options_of(kafka)
    assert options["security.protocol"] == "SSL"
    assert options["ssl.ca.location"] == files["kafka_ca_file"]
    assert options["ssl.certificate.location"] == files["kafka_cert_file"]
    assert options["ssl.key.location"] == files["kafka_key_file"]
    assert options["ssl.endpoint.identification.algorithm"] == "https"
    context = kafka.aiokafka()["ssl_context"]
    assert context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED
    assert context.cert_store_stats()["x509_ca"] == 1  # the given one alone


def test_a_password_reaches_both_clients_and_no_log(files: dict[str, Any]) -> None:
    ca = {"kafka_ca_file": files["kafka_ca_file"]}
    kafka = connection(Settings(kafka_security_protocol="SASL_SSL", **SCRAM, **ca))
    options = options_of(kafka)
    assert (options["sasl.mechanism"], options["sasl.username"]) == ("SCRAM-SHA-512", "worker")
    assert options["sasl.password"] == "geheim"
    theirs = kafka.aiokafka()
    assert (theirs["sasl_mechanism"], theirs["sasl_plain_username"]) == ("SCRAM-SHA-512", "worker")
    assert theirs["sasl_plain_password"] == "geheim"
    assert "geheim" not in repr(kafka) + str(kafka)


def test_tokens_come_from_the_url() -> None:
    values = {**SCRAM, "kafka_sasl_mechanism": "oauthbearer"}
    url = "https://id.example/token"
    settings = Settings(
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_oauth_token_url=url,
        kafka_oauth_scope="kafka",
        **values,
    )
    kafka = connection(settings)
    options = options_of(kafka)
    assert options["sasl.oauthbearer.token.endpoint.url"] == url
    assert options["sasl.oauthbearer.scope"] == "kafka"
    assert "sasl.password" not in options
    assert "geheim" not in repr(kafka)
    assert "sasl_oauth_token_provider" in kafka.aiokafka()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kafka_security_protocol": "TLS"}, "kafka_security_protocol: 'TLS' is none of PLAINTEXT, SSL"),
        ({"kafka_security_protocol": "SASL_SSL"}, "kafka_sasl_mechanism: '' is none of PLAIN, SCRAM"),
        (SCRAM, "kafka_sasl_mechanism is set, but kafka_security_protocol is PLAINTEXT"),
        ({"kafka_ca_file": "/ca.pem"}, "kafka_ca_file is set, but kafka_security_protocol is PLAINTEXT"),
        (
            {"kafka_security_protocol": "SSL", "kafka_cert_file": "/c.pem"},
            "kafka_cert_file and kafka_key_file go",
        ),
        ({"kafka_security_protocol": "SSL", "kafka_ca_file": "/away"}, "kafka_ca_file: /away: No such file"),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", **SCRAM, "kafka_sasl_password": ""},
            "password is empty",
        ),
        (
            {"kafka_security_protocol": "SASL_PLAINTEXT", **SCRAM, "kafka_sasl_mechanism": "OAUTHBEARER"},
            "kafka_oauth_token_url: OAUTHBEARER needs",
        ),
    ],
)
def test_what_cannot_be_names_its_setting(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        connection(Settings(**values))


def test_a_file_that_is_no_certificate_names_its_setting(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(UsageError, match="kafka_ca_file"):
        connection(Settings(kafka_security_protocol="SSL", **files))
    other = trustme.CA().issue_cert("other")
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    other.private_key_pem.write_to_path(tmp_path / "key.pem")
    with pytest.raises(UsageError, match="kafka_cert_file .* with kafka_key_file"):
        connection(Settings(kafka_security_protocol="SSL", **files))


def test_a_broker_of_ones_own_is_spoken_to_in_the_clear(files: dict[str, Any]) -> None:
    secured = Settings(kafka_security_protocol="SASL_SSL", **SCRAM, **files)
    mine = connection(in_the_clear(secured, "127.0.0.1:1"))
    assert mine == connection(Settings(kafka_bootstrap="127.0.0.1:1"))


def test_every_mechanism_is_taken() -> None:
    for mechanism in MECHANISMS:
        url = "http://id/token" if mechanism == "OAUTHBEARER" else ""
        values = {**SCRAM, "kafka_sasl_mechanism": mechanism, "kafka_oauth_token_url": url}
        assert connection(Settings(kafka_security_protocol="SASL_PLAINTEXT", **values)).mechanism == mechanism
