"""A worker that stores pseudonyms: nothing that it writes says whose an event is; replay finds the lines."""

from __future__ import annotations

import os
from pathlib import Path

import control_key
import msgspec
from conftest import running_broker
from waiting import await_
from worker_rig import Rig

from builders import device_log, envelope, failure, network_log
from tidegate import keyfile
from tidegate.contracts.frames import read_rejects
from tidegate.contracts.topics import ALERTS, FAILURES, HEALTH, PARTIALS, REJECTS, STREAMS, enriched
from tidegate.kafka.connection import connection
from tidegate.pseudonyms import stored
from tidegate.replay.choice import Refused
from tidegate.replay.raw_log import RawLog
from tidegate.settings import Settings

MAC, DEVICE = "00:1a:2b:3c:4d:77", "tablet-of-anna"
CLEAR = [MAC, MAC.upper().replace(":", "-"), "001a.2b3c.4d77", DEVICE]


def test_nothing_that_leaves_the_worker_says_whose_it_is(tmp_path: Path) -> None:
    with (
        running_broker("embedded", tmp_path) as broker,
        Rig(broker.bootstrap, tmp_path / "worker", pseudonymise=True) as rig,
    ):
        path = tmp_path / "worker" / "pseudonym-key.json"
        rig.worker.start()
        await_(lambda: "`tidegate key rotate pseudonym` draws the first key" in rig.worker.tail())
        keyfile.rotate(path)
        await_(rig.ready, rig.worker.tail)
        try:
            lines = [envelope(failure(macAddress=CLEAR[1], peer=CLEAR[2])), envelope({"macAddress": MAC})]
            rig.send("client_events", b"\n".join(lines))
            device = [("fleet", b"demo"), ("device", DEVICE.encode())]
            body = msgspec.json.encode(network_log(note=MAC))
            rig.send("connection_logs", body + b'\n{"network_type":7}', headers=device)
            log = device_log(parent={"id": DEVICE}, notes=f"{MAC} was here")
            rig.send("device_logs", envelope(log))
            first = {stream: rig.await_frame(stream, 0, 0) for stream in STREAMS}
            await_(lambda: bool(rig.read(PARTIALS)) and len(rig.read(REJECTS)) == 2)
            keys = keyfile.load(path)
            assert first["client_events"].rows.column("mac").to_pylist() == [stored(keys, "demo", MAC)]
            for stream in ("connection_logs", "device_logs"):
                assert first[stream].rows.column("device_id").to_pylist() == [stored(keys, "demo", DEVICE)]
            [told] = [msgspec.json.decode(message.value() or b"") for message in rig.read(FAILURES)]
            assert told["client"] == stored(keys, "demo", MAC)
            for topic in (*map(enriched, STREAMS), FAILURES, REJECTS, HEALTH, PARTIALS, ALERTS):
                for message in rig.read(topic):
                    said = repr((message.key(), message.value(), message.headers())).lower()
                    assert not [name for name in CLEAR if name.lower() in said], topic

            # What the refused lines were, the raw topic alone has, with the header of its record.
            kafka = connection(
                Settings(kafka_bootstrap=broker.bootstrap, control_key_file=os.environ[control_key.VARIABLE])
            )
            log_of_lines = RawLog(kafka, 16_777_216)
            for stream, line, of in (
                ("client_events", lines[1].decode(), ""),
                ("connection_logs", '{"network_type":7}', DEVICE),
            ):
                [reject] = read_rejects(list(first[stream].headers.items()))  # type: ignore[index]
                values = msgspec.to_builtins(reject)
                refused = Refused(**{name: values[name] for name in Refused._fields if name in values})
                refused = refused._replace(number=reject.index)
                again = log_of_lines.restored(stream, refused)  # type: ignore[arg-type]
                assert again is not None
                assert (again.original, again.original_encoding, again.device) == (line, "utf8", of)

            # Another key is another version of the rows.
            rig.stop()
            rotated = keyfile.rotate(path)
            rig.start()
            rig.send("client_events", lines[0])
            second = rig.await_frame("client_events", 0, 1)
            assert second.rows.column("mac").to_pylist() == [stored(rotated, "demo", MAC)]
            assert stored(rotated, "demo", MAC, id=keys.current) == stored(keys, "demo", MAC)
            assert second.head.transform_version != first["client_events"].head.transform_version
        finally:
            rig.worker.kill()
            rig.worker.wait(10)
