"""The stages at which a connection attempt can fail: a closed list, in the order of an attempt."""

from __future__ import annotations

import re

STAGES = (
    "association",
    "authentication",
    "aaa",
    "dhcp",
    "dns",
    "network",
    "disconnect",
    "configuration",
    "unknown",
)

ACTIONS: dict[str, str] = {
    "association": "Check that the access point's rates, channel width and security settings suit the client",
    "authentication": "Check the client's credentials and that its security settings match the SSID's",
    "aaa": "Check that the RADIUS server answers, and its log for this user",
    "dhcp": "Check the DHCP server and the free addresses of this VLAN's pool",
    "dns": "Check that the DNS servers given by DHCP answer from this VLAN",
    "network": "Check gateway, VLAN and firewall between the access point and the network",
    "disconnect": "Check signal, roaming and idle-timeout settings where clients leave",
    "configuration": "Look at the change request and the device's log, then apply the change again",
    "unknown": "",
}
"""What to do where nothing more is known than the stage."""

KEYWORDS: tuple[tuple[str, str], ...] = (
    ("aaa", r"radius|\baaa\b|802\.?1x|\beap\b|eap (?!ol)|certificate|access reject"),
    ("dhcp", r"dhcp|no ip|ip address|address pool|lease|bootp"),
    ("dns", r"\bdns|name resolution|resolve|nxdomain|servfail"),
    (
        "authentication",
        r"psk|passphrase|password|eapol|handshake|\bauth(?!or)|deauth|credential"
        r"|captive|portal|login|sign ?in"
        r"|\bsae\b|\bwpa|\bwep|\bkey\b|cipher|\bmic\b|unauthori[sz]ed|denied|forbidden",
    ),
    ("association", r"associat|\bassoc|\bap (full|busy)|too many (clients|stations)|roam|probe|beacon"),
    ("configuration", r"config|apply|provision|firmware"),
    (
        "network",
        r"gateway|vlan|\barp\b|internet|unreachable|\broute|network|timed? ?out|refused|\bwan\b|connect",
    ),
    ("disconnect", r"disconnect|inactiv|idle|left|leaving|kick"),
)
"""Stage by words of the failure's text, tried from top to bottom (the narrower word stands higher)."""

_PATTERNS = tuple((stage, re.compile(pattern, re.IGNORECASE)) for stage, pattern in KEYWORDS)


def stage_of_text(text: str) -> str:
    """The stage that the words of a failure's text speak of, else ``unknown``. The caller cuts long texts."""
    text = text.replace("_", " ").replace("-", " ")
    for stage, pattern in _PATTERNS:
        if pattern.search(text):
            return stage
    return "unknown"
