import asyncio
import gzip
import random
import zlib
from collections.abc import Callable

import pytest
import zstandard

from tidegate.gateway.body import FREE, MEMBERS, Disconnected, Unpacking, read
from tidegate.gateway.limits import HeldBytes
from tidegate.gateway.problems import Problem
from tidegate.service.asgi import Message

LIMIT = 1_000_000


def decode(body: bytes, encoding: bytes, limit: int, expansion: int = 100_000) -> bytes | Problem:
    result = Unpacking(body, encoding, limit, expansion).run()
    assert result is not None
    return result


def code(result: bytes | Problem) -> str:
    assert isinstance(result, Problem)
    return result.code


@pytest.mark.parametrize("encoding", [b"", b"identity", b"Identity "])
def test_identity_is_the_body_up_to_the_limit(encoding: bytes) -> None:
    assert decode(b"x" * LIMIT, encoding, LIMIT) == b"x" * LIMIT
    assert code(decode(b"x" * (LIMIT + 1), encoding, LIMIT)) == "too_large"


PACK: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"zstd": zstandard.compress}


@pytest.mark.parametrize("encoding", list(PACK))
@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, LIMIT])
def test_what_was_packed_comes_back(encoding: bytes, size: int) -> None:
    body = bytes(index * 7919 % 251 for index in range(size))
    assert decode(PACK[encoding](body), encoding, LIMIT) == body


@pytest.mark.parametrize("encoding", list(PACK))
def test_members_and_frames_are_joined(encoding: bytes) -> None:
    packed = b"".join(PACK[encoding](part) for part in (b"a" * 100_000, b"", b"b", b"c" * 70_000))
    assert decode(packed, encoding, LIMIT) == b"a" * 100_000 + b"b" + b"c" * 70_000


def test_padding_behind_gzip_is_skipped() -> None:
    assert decode(gzip.compress(b"a") + b"\0" * 100, b"gzip", LIMIT) == b"a"


def test_a_zstd_frame_without_its_size_is_taken() -> None:
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 1000)
    assert decode(packed, b"zstd", LIMIT) == b"abc" * 1000


def test_a_skippable_zstd_frame_is_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"meta"
    assert decode(skippable + zstandard.compress(b"abc"), b"zstd", LIMIT) == b"abc"


@pytest.mark.parametrize("encoding", list(PACK))
def test_cut_short_at_any_place_is_refused(encoding: bytes) -> None:
    packed = PACK[encoding](b"abcdefgh" * 40)
    for cut in range(len(packed)):
        assert code(decode(packed[:cut], encoding, LIMIT)) == "bad_encoding"


@pytest.mark.parametrize("encoding", list(PACK))
def test_garbage_behind_is_refused(encoding: bytes) -> None:
    assert code(decode(PACK[encoding](b"a") + b"garbage!", encoding, LIMIT)) == "bad_encoding"


@pytest.mark.parametrize("encoding", list(PACK))
def test_a_bomb_stops_at_the_limit(encoding: bytes) -> None:
    one = PACK[encoding](b" " * 10_000_000)
    assert code(decode(one, encoding, LIMIT)) == "too_large"
    assert code(decode(PACK[encoding](b" " * 400_000) * 3, encoding, LIMIT)) == "too_large"


@pytest.mark.parametrize("encoding", list(PACK))
def test_what_unpacks_to_far_more_than_was_sent_is_refused_beyond_the_first_mib(encoding: bytes) -> None:
    alike, more = (PACK[encoding](b"[1,1]" * count) for count in (FREE // 5, FREE // 5 + 1))
    assert decode(alike, encoding, 10 * FREE, 2) == b"[1,1]" * (FREE // 5)
    refused = decode(more, encoding, 10 * FREE, 2)
    assert code(refused) == "too_large" and "2 times" in refused.detail  # type: ignore[union-attr]
    various = random.Random(7).randbytes(2 * FREE)
    assert decode(PACK[encoding](various), encoding, 10 * FREE, 2) == various


@pytest.mark.parametrize("encoding", list(PACK))
def test_unpacking_goes_on_where_it_was_left(encoding: bytes) -> None:
    body = random.Random(8).randbytes(900_000)
    unpacking = Unpacking(PACK[encoding](body), encoding, LIMIT, 100)
    assert unpacking.run(300_000) is None
    assert unpacking.run(500_000) is None
    assert unpacking.run() == body


@pytest.mark.parametrize("encoding", list(PACK))
def test_empty_members_without_end_are_refused(encoding: bytes) -> None:
    assert code(decode(PACK[encoding](b"") * (MEMBERS + 2), encoding, LIMIT)) == "bad_encoding"


def test_a_zstd_window_beyond_the_http_limit_is_refused() -> None:
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    assert code(decode(packed.compress(b"a" * 1000) + packed.flush(), b"zstd", LIMIT)) == "bad_encoding"


@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"gzip, gzip", b"gzip,zstd", b"\xff"])
def test_other_encodings_and_chains_are_415(encoding: bytes) -> None:
    result = decode(zlib.compress(b"a"), encoding, LIMIT)
    assert isinstance(result, Problem) and result.status == 415


def run_read(messages: list[Message], held: HeldBytes, limit: int = 100) -> bytes | Problem:
    async def receive() -> Message:
        return messages.pop(0)

    return asyncio.run(read(receive, limit, held))


def part(body: bytes, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_is_held_until_it_is_given_back() -> None:
    held = HeldBytes(100)
    assert run_read([part(b"abc", True), part(b"", True), part(b"de", False)], held) == b"abcde"
    assert held.now == 5


def test_a_refused_body_holds_nothing() -> None:
    held = HeldBytes(10)
    assert code(run_read([part(b"x" * 8, True), part(b"x" * 8, False)], held)) == "queue_full"
    assert code(run_read([part(b"x" * 101, False)], held)) == "too_large"
    assert code(run_read([part(b"x" * 5, True), part(b"x" * 200, True)], held)) == "too_large"
    assert code(run_read([part(b"x" * 11, False)], held)) == "queue_full"
    with pytest.raises(Disconnected):
        run_read([part(b"x" * 5, True), part(b"x", True), {"type": "http.disconnect"}], held)
    assert held.now == 0
