import sys

import pytest

from tidegate.errors import UsageError
from tidegate.settings import Settings, load
from tidegate.tracing import start


def test_it_is_off_without_an_endpoint_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start("sink", Settings()) is None
    with pytest.raises(UsageError, match="otel_endpoint: 'collector:4318' is no http"):
        start("sink", Settings(otel_endpoint="collector:4318"))
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "tidegate.tracing.spans", raising=False)
    with pytest.raises(UsageError, match=r"opentelemetry.* is not installed: pip install 'tidegate\[otel\]'"):
        start("sink", Settings(otel_endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_a_share_is_from_0_to_1(share: str) -> None:
    with pytest.raises(UsageError, match="otel_share: .* is not from 0 to 1"):
        load({"TIDEGATE_OTEL_SHARE": share})
