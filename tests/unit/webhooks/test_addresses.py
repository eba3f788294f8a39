"""Which addresses a webhook may have."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from private_addresses import REFUSED

from tidegate.errors import UsageError
from tidegate.webhooks.addresses import (
    Allowed,
    BadField,
    addresses_of,
    allowed,
    check,
    refusal,
    resolve,
    split,
    target,
)

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700::1111",
    "2a00:1450:4001:81b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_public_is_refused_by_name(text: str) -> None:
    address = ip_address(text)
    assert refusal(address)
    with pytest.raises(BadField, match="url: h.example has address .*, which is ") as raised:
        target("https://h.example/", Allowed(), [address])
    assert raised.value.field == "url" and str(address) in str(raised.value)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_taken(text: str) -> None:
    found = target("https://h.example/a?b=c", Allowed(), [ip_address(text)])
    assert (found.host, found.port, found.path) == ("h.example", 443, "/a?b=c")
    assert found.addresses == (ip_address(text),)


def test_one_private_address_among_public_ones_is_enough() -> None:
    with pytest.raises(BadField, match="10.0.0.1, which is private"):
        target("https://h.example/", Allowed(), [ip_address("8.8.8.8"), ip_address("10.0.0.1")])


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "[::1]", "localhost"],
)
def test_every_way_of_writing_loopback_is_refused(host: str) -> None:
    with pytest.raises(BadField, match="url: "):
        check(f"https://{host}/", Allowed())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example/x",
        "ftp://h.example/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user:secret@h.example/",
        "https://h.example:0/",
        "https://h.example:99999/",
        "https://h.example/\r\nX-Injected: 1",
        "https://h.example/a b",
        "https://h.exa\tmple/",
        "https://höst.example/",
        "https://h.example\\@10.0.0.1/",
        "https://[::1",
        "https://h..example/",
        "https://-h.example/",
        "https://" + "h" * 64 + ".example/",
        "https://h.example/" + "x" * 3000,
    ],
)
def test_what_is_no_url_is_told_without_quoting_it(url: str) -> None:
    with pytest.raises(BadField, match="^url: ") as raised:
        split(url)
    assert "secret" not in str(raised.value)


def test_plain_http_needs_the_list() -> None:
    public, own = [ip_address("8.8.8.8")], [ip_address("10.1.2.3")]
    with pytest.raises(BadField, match="not https"):
        target("http://h.example/", Allowed(), public)
    assert target("http://h.example/", allowed("10.0.0.0/8"), own).port == 80
    assert target("http://hooks.lan:81/", allowed("Hooks.LAN"), own).port == 81
    with pytest.raises(BadField, match="not https"):
        target("http://h.example/", allowed("10.0.0.0/8"), [*own, *public])


def test_the_list_lets_in_what_it_names_and_nothing_else() -> None:
    listed = allowed("127.0.0.1, fd00::/8 , 192.168.7.0/24,hooks.lan")
    for text in ("127.0.0.1", "192.168.7.9"):
        assert target("https://h.example/", listed, [ip_address(text)])
    assert target("https://hooks.lan./", listed, [ip_address("172.16.0.1")])
    for text in ("127.0.0.2", "192.168.8.1", "::ffff:127.0.0.1"):
        with pytest.raises(BadField):
            target("https://h.example/", listed, [ip_address(text)])
    assert allowed("") == Allowed()


@pytest.mark.parametrize("text", ["10.0.0.0/99", "127.1", "*.lan", "http://x", "10.0.0.1/8", "a b"])
def test_a_list_that_cannot_be_read_names_the_item(text: str) -> None:
    with pytest.raises(UsageError, match="webhook_allow: "):
        allowed(text)


def test_a_name_without_an_address() -> None:
    assert resolve("a" * 300, 443) == []
    with pytest.raises(BadField, match="h.invalid has no address"):
        target("https://h.invalid/", Allowed(), [])


def test_addresses_of_an_answer_are_distinct_and_without_zone() -> None:
    found = addresses_of([(0, 0, 0, "", ("fe80::1%eth0", 443, 0, 2)), (0, 0, 0, "", ("fe80::1", 443, 0, 0))])
    assert found == [ip_address("fe80::1")]
