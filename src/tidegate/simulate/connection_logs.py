"""What apps on people's devices log of their connections."""

from __future__ import annotations

import random

from tidegate.simulate import events
from tidegate.simulate.clients import AppDevice
from tidegate.simulate.events import Stamps
from tidegate.simulate.fleet import FREQUENCY, Site
from tidegate.simulate.incidents import Effects

_APPLICATIONS = (b"APP-MOBILE-001", b"APP-POS-002", b"APP-DESK-003")


class ConnectionLogs:
    """In the network form mostly; some in the session form, few in the legacy one."""

    def __init__(self, rng: random.Random, stamps: Stamps) -> None:
        self._rng = rng
        self._stamps = stamps

    def body(self, site: Site, device: AppDevice, effects: Effects, presence: float, time: int) -> bytes:
        """A log of one of the site's devices. `presence`: share of its people that are there; `time`: µs."""
        uniform = self._rng.random
        form = uniform()
        if form < 0.80:
            return self._network_log(site, device, presence)
        if form < 0.97:
            return self._session_log(site, device, effects, time)
        if form < 0.98:
            return events.wrapped(self._network_log(site, device, presence))
        return events.wrapped(
            events.legacy_body(
                device,
                application=b"app_%d" % int(uniform() * 4),
                type=b"wifi" if uniform() < 0.7 else b"mobile",
                status=b"connected" if uniform() < 0.9 else b"failed",
                time=self._stamps(time),
                signal=-40 - int(uniform() * 50),
                transferred=int(self._rng.expovariate(1e-5)),
            )
        )

    def _network_log(self, site: Site, device: AppDevice, presence: float) -> bytes:
        uniform, expo = self._rng.random, self._rng.expovariate
        inbytes, outbytes = int(expo(1e-7)), int(expo(1e-6))
        choice = uniform()
        at_work = uniform() < presence
        latitude, longitude = site.latitude, site.longitude
        if choice < 0.62 and at_work:
            position = int(uniform() * len(site.aps))
            radios = list(site.aps[position].radios.values())
            radio = radios[int(uniform() * len(radios))]
            return events.network_log(
                name=b'"%b"' % radio.ssid.name.encode(),
                type=b"wi",
                security=radio.ssid.security.encode(),
                mccmnc=b"null",
                frequency=b"%.1f" % FREQUENCY[radio.band],
                authentication=b'"%b"' % radio.ssid.authentication.encode(),
                bssid=b'"%b"' % radio.bssid.encode(),
                cellid=b"null",
                roaming=b"false",
                latitude=latitude + (uniform() - 0.5) * 0.001,
                longitude=longitude + position * 0.00008,
                inbytes=inbytes,
                outbytes=outbytes,
                link_speed=20 + uniform() * (120 if radio.band == "2.4" else 840),
                metric=b'"rssi"',
                quality=b"%d" % (-40 - int(uniform() * 42)),
            )
        if choice < 0.62:
            secure = uniform()
            return events.network_log(
                name=b'"%b"' % device.home_network,
                type=b"wi",
                security=b"wp2" if secure < 0.93 else b"wpa" if secure < 0.97 else b"wep",
                mccmnc=b"null",
                frequency=b"5.0" if uniform() < 0.7 else b"2.4",
                authentication=b'"psk"',
                bssid=b'"%b"' % device.home_bssid,
                cellid=b"null",
                roaming=b"false",
                latitude=device.home_latitude,
                longitude=device.home_longitude,
                inbytes=inbytes,
                outbytes=outbytes,
                link_speed=20 + uniform() * 400,
                metric=b'"rssi"',
                quality=b"%d" % (-35 - int(uniform() * 40)),
            )
        if choice < 0.92 and device.mobile:
            sinr = uniform() < 0.4
            way = uniform()
            return events.network_log(
                name=b"null",
                type=b"mo",
                security=b"3gp",
                mccmnc=b'"%b"' % device.operator,
                frequency=b"1.8" if uniform() < 0.5 else b"3.5",
                authentication=b'"3gp"',
                bssid=b"null",
                cellid=b'"%d"' % (site.index * 100_000 + int(uniform() * 400)),
                roaming=b"true" if device.abroad else b"false",
                latitude=latitude + (device.home_latitude - latitude) * way,
                longitude=longitude + (device.home_longitude - longitude) * way,
                inbytes=inbytes // 4,
                outbytes=outbytes // 4,
                link_speed=2 + uniform() * 280,
                metric=b'"sinr"' if sinr else b'"rssi"',
                quality=b"%.1f" % (uniform() * 28 - 3) if sinr else b"%d" % (-70 - int(uniform() * 45)),
            )
        wired = choice < 0.97
        return events.network_log(
            name=b'"Wired"' if wired else b'"Headset"',
            type=b"et" if wired else b"bl",
            security=b"opn",
            mccmnc=b"null",
            frequency=b"null" if wired else b"2.4",
            authentication=b'"eap"' if wired and at_work else b'"non"',
            bssid=b"null",
            cellid=b"null",
            roaming=b"false",
            latitude=latitude,
            longitude=longitude,
            inbytes=inbytes * 2 if wired else inbytes // 100,
            outbytes=outbytes * 2 if wired else outbytes // 100,
            link_speed=1000.0 if wired else 2.0,
            metric=b"null" if wired else b'"rssi"',
            quality=b"null" if wired else b"%d" % (-45 - int(uniform() * 30)),
        )

    def _session_log(self, site: Site, device: AppDevice, effects: Effects, time: int) -> bytes:
        uniform = self._rng.random
        established = uniform() < 0.6
        failing = 0.03 + 0.5 * effects.radius_down + 0.5 * effects.dhcp_dry + effects.dns_lost
        failed = uniform() < failing
        return events.session_log(
            device,
            application=_APPLICATIONS[int(uniform() * 3)],
            type=b"established" if established else b"terminated",
            time=self._stamps(time),
            status=b"failure" if failed else b"success",
            duration=b"null" if established else b"%d" % int(self._rng.expovariate(0.002)),
            place=b"%b - Floor %d" % (site.name.encode(), 1 + int(uniform() * 4)),
            network=b"WiFi" if uniform() < 0.7 else b"Mobile",
            signal=-40 - int(uniform() * 45),
            session=self._rng.getrandbits(32),
        )
