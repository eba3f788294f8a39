"""What the inventory logs of access points."""

from __future__ import annotations

import random

from tidegate.simulate import events
from tidegate.simulate.events import Stamps
from tidegate.simulate.fleet import Site
from tidegate.simulate.incidents import Change

_CONFIG = (
    ("radio.5.channel", "36", "149"),
    ("radio.5.tx_power", "17", "20"),
    ("radio.24.channel", "1", "11"),
    ("ssid.guest.bandwidth_limit", "10", "20"),
    ("ntp.server", "pool.ntp.org", "10.0.0.2"),
    ("vlan.guest", "90", "91"),
    ("syslog.host", "10.0.0.5", "10.0.0.6"),
)
_USERS = ("admin@example.com", "noc@example.com", "automation")


class DeviceLogs:
    def __init__(self, rng: random.Random, stamps: Stamps) -> None:
        self._rng = rng
        self._stamps = stamps
        self._log_id = 0

    def housekeeping(self, site: Site) -> Change:
        """What is done to one of the site's access points on any day."""
        uniform = self._rng.random
        ap = site.aps[int(uniform() * len(site.aps))]
        choice = uniform()
        if choice < 0.6:
            variable, old, new = _CONFIG[int(uniform() * len(_CONFIG))]
            return Change(ap, "config_change", variable, old, new, "")
        if choice < 0.75:
            return Change(ap, "restart", None, None, None, "")
        if choice < 0.85:
            return Change(ap, "firmware_update", None, "13.0.0", ap.firmware, "")
        return Change(ap, "backup", None, None, None, "")

    def body(self, change: Change, site: Site, time: int) -> bytes:
        """The log of a change at `time`, µs."""
        uniform = self._rng.random
        applied = uniform() < 0.9
        self._log_id += 1
        return events.device_log(
            id=self._log_id,
            ap=change.ap,
            site=site,
            time=self._stamps(time),
            action=change.action,
            variable=change.variable,
            old=change.old,
            new=change.new,
            applied=applied,
            applied_at=self._stamps(time + 20_000_000) if applied else None,
            user=_USERS[int(uniform() * len(_USERS))],
            change_request=f"CR-{2024 + self._log_id % 3}-{self._log_id % 1000:03d}"
            if uniform() < 0.5
            else None,
            notes=change.notes or None,
        )
