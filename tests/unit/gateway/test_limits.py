from tidegate.gateway.limits import Bucket, HeldBytes, RateLimits, Rates
from tidegate.tokens import Role, Token


def token(events: float = 0, bytes_: float = 0) -> Token:
    return Token("t", "hash", "demo", Role.INGEST, events, bytes_)


def test_a_bucket_fills_at_its_rate_up_to_its_burst() -> None:
    bucket = Bucket(10, 20, 0.0)
    bucket.take(20)
    assert bucket.wait(1, 0.0) == 0.1
    assert bucket.wait(10, 1.0) == 0
    assert bucket.wait(20, 100.0) == 0
    assert bucket.level == 20


def test_more_than_the_burst_passes_a_full_bucket_and_leaves_a_debt() -> None:
    bucket = Bucket(10, 10, 0.0)
    assert bucket.wait(50, 0.0) == 0
    bucket.take(50)
    assert bucket.wait(1, 0.0) == 4.1


def test_both_buckets_or_neither() -> None:
    rates = Rates(10, 100, 1.0, 0.0)
    refusal = rates.admit(1, 50, 0.0)
    assert refusal is None
    refusal = rates.admit(5, 80, 0.0)
    assert refusal is not None and refusal.status == 429
    assert (b"retry-after", b"1") in refusal.headers
    assert rates.buckets["events"].level == 9
    assert dict(rates.headers())[b"ratelimit"] == b'"events";r=9;t=1, "bytes";r=50;t=1'


def test_nothing_limits_a_token_without_rates() -> None:
    limits = RateLimits(events_per_second=0, bytes_per_second=0, burst_seconds=1, clock=lambda: 0.0)
    assert limits.of(token()) is None
    assert limits.of(token(events=5)) is not None


def test_the_default_holds_where_the_token_names_no_rate() -> None:
    limits = RateLimits(events_per_second=7, bytes_per_second=0, burst_seconds=2, clock=lambda: 0.0)
    default, own = limits.of(token()), limits.of(token(events=3))
    assert default is not None and default.buckets["events"].burst == 14
    assert own is not None and own.buckets["events"].burst == 6


def test_a_tokens_buckets_last_until_its_rates_change() -> None:
    limits = RateLimits(events_per_second=0, bytes_per_second=0, burst_seconds=1, clock=lambda: 0.0)
    assert limits.of(token(events=5)) is limits.of(token(events=5))
    assert limits.of(token(events=5)) is not limits.of(token(events=6))


def test_held_bytes_are_bounded() -> None:
    held = HeldBytes(10)
    assert held.take(6) and not held.take(5) and held.take(4)
    held.give(10)
    assert held.now == 0
