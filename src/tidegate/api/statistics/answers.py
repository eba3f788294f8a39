"""The answers of the statistics, as models for the contract."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from tidegate.contracts.topics import Stream

Value = str | int | bool


class Statistics(BaseModel):
    """The window that is answered for, `to` not included: that of the question, widened to whole minutes."""

    stream: Stream
    rollup: str = Field(description="The table that the numbers come from", examples=["client_events_1h"])
    from_: str = Field(alias="from", examples=["2025-11-20T00:00:00Z"])
    to: str = Field(examples=["2025-11-21T00:00:00Z"])
    step: Literal["1m", "1h", "1d"] | None
    by: list[str] = Field(examples=[["site"]])
    truncated: bool = Field(description="There are more rows than `limit`")


class Grouped(BaseModel):
    """A group of events."""

    time: str | None = Field(
        description="Start of the step; null without `step`", examples=["2025-11-20T08:00:00Z"]
    )
    group: dict[str, Value] = Field(
        description="A value for each dimension of `by`; '' is not sent, a failure_code of -1 is none",
        examples=[{"site": "Riverside"}],
    )
    events: int


class StageOutcome(BaseModel):
    """`reached`: attempts that came to this stage, those that failed in it included."""

    stage: str = Field(examples=["dhcp"])
    reached: int
    failed: int
    success_rate: float | None


class Outcome(Grouped):
    success: int
    failure: int
    intermediate: int
    unknown: int
    success_rate: float | None = Field(description="Of successes and failures together")
    clients: int
    stages: list[StageOutcome]


class Outcomes(Statistics):
    rows: list[Outcome]


class Quantiles(BaseModel):
    """Milliseconds, `duration` seconds; null where nothing was measured. 30,000 stands for more, too."""

    p25: float | None
    p50: float | None
    p75: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class LatencyRow(Grouped):
    latency: dict[str, Quantiles]


class Latency(Statistics):
    rows: list[LatencyRow]


class FailureClass(Grouped):
    """Failures of one class. `failure_code` and `sub_failure_code` are null in streams without codes."""

    failure_code: int | None
    sub_failure_code: int | None
    failure: str | None = Field(description="Text of the code on the events, else in the catalogue")
    sub_failure: str | None = Field(description="Text of the sub-code, likewise")
    stage: str = Field(examples=["authentication"])
    action: str = Field(description="What to do: of the code in the catalogue, else of the stage")
    clients: int


class FailureRow(FailureClass):
    share: float = Field(description="Of the failures of its step and group")


class FailureClasses(Statistics):
    rows: list[FailureRow]


class Touched(BaseModel):
    """How many different ones; null where the stream does not know them."""

    clients: int
    ap: int | None
    site: int | None
    ssid: int | None
    geohash: int | None
    device_model: int | None


class BlastRow(FailureClass):
    first: str = Field(description="Start of the bucket of the first failure")
    last: str = Field(description="Start of the bucket of the last failure")
    touched: Touched


class BlastRadius(Statistics):
    """`of`: what there is in the whole window, failing or not."""

    of: Touched
    rows: list[BlastRow]


class TopRow(Grouped):
    value: float | None
    clients: int


class Top(Statistics):
    metric: str = Field(examples=["failure_rate"])
    rows: list[TopRow]


class DistinctRow(Grouped):
    distinct: dict[str, int] = Field(examples=[{"ap": 12, "clients": 340}])


class Distinct(Statistics):
    rows: list[DistinctRow]
