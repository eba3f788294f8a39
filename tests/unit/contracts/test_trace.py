from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidegate.contracts.trace import (
    LONGEST,
    TRACEPARENT,
    TraceContext,
    context_of,
    parse_traceparent,
    write_traceparent,
)

GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CONTEXT = TraceContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)
HEX = st.text("0123456789abcdefA", max_size=33)


def by_opentelemetry(value: str) -> TraceContext | None:
    """What its own propagator makes of a header."""
    found = TraceContextTextMapPropagator().extract({TRACEPARENT: value})
    span = trace.get_current_span(found).get_span_context()
    return TraceContext(span.trace_id, span.span_id, span.trace_flags.sampled) if span.is_valid else None


@given(
    st.one_of(st.sampled_from(["00", "01", "fe", "ff"]), HEX),
    st.one_of(st.text("0123456789abcdef", min_size=32, max_size=32), st.just("0" * 32), HEX),
    st.one_of(st.text("0123456789abcdef", min_size=16, max_size=16), st.just("0" * 16), HEX),
    st.one_of(st.sampled_from(["00", "01", "02", "ff"]), HEX),
    st.sampled_from(["", "", "-x", "-", "x"]),
)
@example("00", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "01", "")
@example("01", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "03", "-more")
def test_it_is_read_as_opentelemetry_reads_it(
    version: str, trace_id: str, span_id: str, flags: str, more: str
) -> None:
    value = "-".join((version, trace_id, span_id, flags)) + more
    assert parse_traceparent(value.encode()) == by_opentelemetry(value)


@given(st.binary(max_size=80))
def test_no_bytes_are_an_error(value: bytes) -> None:
    parse_traceparent(value)


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_what_is_written_is_read(trace_id: int, span_id: int, sampled: bool) -> None:
    context = TraceContext(trace_id, span_id, sampled)
    assert parse_traceparent(write_traceparent(context)) == context
    assert by_opentelemetry(write_traceparent(context).decode()) == context


def test_one_header_holds_and_two_do_not() -> None:
    assert context_of([("fleet", b"demo"), (TRACEPARENT, GOOD)], TRACEPARENT) == CONTEXT
    assert context_of([(b"traceparent", GOOD)], b"traceparent") == CONTEXT
    assert context_of([(TRACEPARENT, GOOD), (TRACEPARENT, GOOD)], TRACEPARENT) is None
    assert context_of([(TRACEPARENT, None)], TRACEPARENT) is None
    assert context_of(None, TRACEPARENT) is None
    later = b"01" + GOOD[2:] + b"-"
    assert parse_traceparent(later + b"x" * (LONGEST - len(later))) == CONTEXT
    assert parse_traceparent(later + b"x" * (LONGEST - len(later) + 1)) is None
