"""`tidegate simulate`: a fleet worth looking at, that sends its telemetry over HTTP or straight into Kafka.

fleet       sites, access points, radios: where things stand
clients     Wi-Fi clients and app devices: who connects
rhythm      how busy a site is at an hour of its week
incidents   what goes wrong, and what only looks like it
schedule    which of them is where and when
truth       what they were, for whoever scores a detector
events      the JSON documents
broken      what is wrong with the ones that must be refused
simulation  the clock that ties these together: same seed and start, same events
send_http, send_kafka, report, command   the way out
"""
