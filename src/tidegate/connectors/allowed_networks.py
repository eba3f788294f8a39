"""Whom datagrams and lines are taken from: networks that an operator lists."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from tidegate.errors import UsageError


class Allowed:
    """The networks that `connect_allow` lists. Raises UsageError for anything else."""

    def __init__(self, text: str) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        for item in filter(None, (part.strip() for part in text.split(","))):
            try:
                self._networks.append(ip_network(item))
            except ValueError as error:
                raise UsageError(f"connect_allow: {error}") from None

    def __contains__(self, host: object) -> bool:
        try:
            address = ip_address(str(host).partition("%")[0])
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address.version == one.version and address in one for one in self._networks)
