"""Connectors: what other makers' systems say, turned into Tidegate's events and posted to the gateway.

`tidegate connect NAME` runs one of them as a process. `record` is what a connector makes of a payload,
`gateway_client` takes it to the gateway. `webhook` receives for `mist` and `meraki`; `syslog` for `hostapd`;
`radius_packet` is the protocol under `radius`.
"""
