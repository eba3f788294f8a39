"""The answers of the insight calls, as models for the contract. Shares are 0 to 1, null of nothing."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

Time = str


class Sql(BaseModel):
    """A query behind the answer. Its parameters stand in the text as `{name:Type}`."""

    name: str
    text: str
    parameters: dict[str, Any]


class Answer(BaseModel):
    """`data_up_to`: when the newest event that is counted was received; null while there is none."""

    fleet: str
    from_: Time = Field(alias="from", examples=["2025-11-21T08:00:00Z"])
    to: Time = Field(description="Not included")
    data_up_to: Time | None
    age_seconds: float | None = Field(description="Of the newest event, when this was answered")
    sql: list[Sql]


class Stage(BaseModel):
    """A stage of the connection attempts. `rate` is the share of those that reached it and failed in it."""

    stage: str = Field(examples=["aaa"])
    reached: int
    failed: int
    rate: float | None
    usual_rate: float
    clients: int | None = Field(description="Distinct clients that failed in it")
    failing: bool = Field(description="More than usual, and of more than a few clients")


class Connects(BaseModel):
    """`rate` is the share that connects. `low` and `high`: between them lies what is usual."""

    attempts: int
    failures: int
    rate: float | None
    usual: float
    low: float
    high: float
    direction: Literal["down", "up", "usual"]
    learning: bool = Field(description="The site's own past does not suffice yet to say what is usual")
    learned_from: Literal["site", "fleet", "default"]


class TimeToConnect(BaseModel):
    """Association to network, of successes alone."""

    p50_ms: float | None
    p95_ms: float | None
    quick: float | None = Field(description="Share within two seconds")
    usual_quick: float | None
    slow: bool
    blame: str | None = Field(description="Where slow: the stage furthest above its own usual time")


class Impact(BaseModel):
    attempts: int
    failures: int
    usual: float
    clients: int
    clients_seen: int
    aps: int
    aps_seen: int


class Cause(BaseModel):
    code: int | None
    sub_code: int | None
    reason: str
    share: float
    dimension: str
    value: str


class Alert(BaseModel):
    """The newest state of an alert."""

    id: str
    sequence: int
    incident: str
    rule: str
    signal: str
    state: str
    severity: str
    site: str
    stage: str
    ssid: str
    ap: str
    stream: str
    started_at: Time
    updated_at: Time
    by: str
    until: Time | None
    impact: Impact
    cause: Cause
    summary: str
    action: str


class SiteState(BaseModel):
    """A site now. `clients`: distinct ones in the window, and those that failed."""

    site: str
    state: Literal["failing", "slow", "silent", "usual"]
    connects: Connects
    stages: list[Stage]
    time_to_connect: TimeToConnect
    clients: int
    clients_failing: int
    disassociations: int
    clock_skew: int = Field(description="Events whose device time was not to be trusted")
    sparkline: list[float | None] = Field(description="Share that connects, by hour, the newest last")
    alerts: list[Alert]
    data_up_to: Time | None


class Summary(BaseModel):
    sites: int
    need_you: int = Field(description="Sites that fail, are slow or have an open alert")
    silent: int
    as_usual: int


class Overview(Answer):
    """The sites, worst first. `alerts`: those of the whole fleet."""

    fleets: list[str]
    minutes: int
    sparkline_from: Time
    sparkline_step: int = Field(description="Seconds")
    summary: Summary
    sites: list[SiteState]
    alerts: list[Alert]


class StageLevel(BaseModel):
    stage: str
    share: float | None
    usual: float


class Level(BaseModel):
    """A service level: `good` of `total` in `unit`. `ok` is null where nothing is usual yet."""

    name: Literal["connects", "time_to_connect", "coverage", "roaming", "capacity", "stability"]
    good: int
    total: int
    share: float | None
    usual: float | None
    ok: bool | None
    unit: str = Field(examples=["attempts"])
    what: str
    by_stage: list[StageLevel] | None
    blame: str | None


class SiteLevels(BaseModel):
    site: str
    levels: list[Level]


class Levels(Answer):
    """`levels`: of all sites together; `sites`: of each, the worst first."""

    site: str | None
    levels: list[Level]
    sites: list[SiteLevels]


class Step(BaseModel):
    """A step of the funnel: `share` of those that came to it go on. The first is `attempts`, the last
    `connected`; `elsewhere` are failures at no stage of an attempt."""

    step: str = Field(examples=["attempts", "aaa", "connected"])
    reached: int
    failed: int
    share: float | None
    usual: float | None
    failing: bool


class Point(BaseModel):
    time: Time
    attempts: int
    failures: int
    rate: float | None = Field(description="Share that connects")
    usual: float
    low: float
    high: float
    by_stage: dict[str, int] = Field(description="Failures by stage; stages without one are left out")
    disassociations: int
    clock_skew: int


class Series(BaseModel):
    step: int = Field(description="Seconds")
    points: list[Point]


class Reason(BaseModel):
    """A code and sub-code at a stage. `share` is of all failures, `excess` failures beyond the usual."""

    stage: str
    code: int | None
    sub_code: int | None
    failure: str | None
    sub_failure: str | None
    action: str
    failures: int
    share: float | None
    clients: int
    aps: int
    first: Time
    last: Time


class ApRow(BaseModel):
    """An access point: `attempts`, `failures` and `clients` have a number for each of the heat's times."""

    ap: str
    total_attempts: int
    total_failures: int
    attempts: list[int]
    failures: list[int]
    clients: list[int]


class Heat(BaseModel):
    step: int = Field(description="Seconds")
    times: list[Time]
    aps: list[ApRow]


class HitClient(BaseModel):
    """A client with failures; what stands behind `failures` is of its newest one."""

    mac: str
    vendor: str
    attempts: int
    failures: int
    last: Time
    stage: str
    code: int | None
    sub_code: int | None
    failure: str | None
    sub_failure: str | None
    ssid: str
    ap: str


class Change(BaseModel):
    """A device log. `minutes_before` the onset, where one was asked for; negative behind it."""

    time: Time
    id: str
    device_id: str
    device: str | None
    model: str | None
    site: str | None
    action: str
    variable: str | None
    old: str | None
    new: str | None
    user: str | None
    notes: str | None
    outcome: str
    minutes_before: float | None


class Reach(BaseModel):
    clients: int
    clients_failing: int
    aps: int
    aps_failing: int


class Site(Answer):
    site: str
    state: Literal["failing", "slow", "silent", "usual"]
    connects: Connects
    stages: list[Stage]
    funnel: list[Step]
    time_to_connect: TimeToConnect
    levels: list[Level]
    reach: Reach
    series: Series
    reasons: list[Reason]
    heat: Heat
    clients: list[HitClient]
    changes: list[Change]
    alerts: list[Alert]


class ClientEvent(BaseModel):
    """An event of a client. `connect_ms` is association to network, `authentication_ms` association to
    authentication."""

    id: str
    time: Time
    received_at: Time
    clock_skew: bool
    outcome: str
    event_type: str
    stage: str
    code: int | None
    sub_code: int | None
    failure: str | None
    sub_failure: str | None
    action: str
    ap: str
    bssid: str | None
    site: str
    ssid: str | None
    channel: int | None
    band: str
    protocol: str | None
    rssi: int | None
    authentication_ms: int | None
    connect_ms: int | None
    aaa_ms: int | None
    dhcp_ms: int | None
    dns_ms: int | None
    category: str | None
    description: str | None
    detail: str | None
    vlan: int | None
    ip: str | None
    file_id: str | None


class Lane(BaseModel):
    """An access point that the client was seen at, in the order of first sight."""

    ap: str
    site: str
    events: int
    successes: int
    failures: int
    first: Time
    last: Time


class ClientSummary(BaseModel):
    events: int
    attempts: int
    failures: int
    rate: float | None
    disassociations: int


class Client(Answer):
    """A client's events, the newest first, by the time of its device. `truncated`: older ones of the window
    are left out. `oldest` and `newest`: of everything that is kept of it."""

    mac: str
    vendor: str
    randomised: bool
    sites: list[str]
    oldest: Time
    newest: Time
    summary: ClientSummary
    lanes: list[Lane]
    events: list[ClientEvent]
    truncated: bool


class Shared(BaseModel):
    """Attempts with one value of a dimension, or with a pair of values of two.

    `excess` is failures beyond the usual, `explained` its share of the excess of all attempts (more than 1
    where others have less than usual), `lift` how much more that is than the share of attempts.
    """

    dimensions: list[str] = Field(examples=[["ssid"], ["ssid", "band"]])
    values: list[str]
    attempts: int
    failures: int
    clients: int
    rate: float | None
    excess: float
    explained: float
    share_of_attempts: float
    lift: float
    stands_out: bool


class Verdict(BaseModel):
    dimension: str
    verdict: Literal["one value", "uneven", "even", "single"]
    value: str | None = Field(description="The value that stands out, or the only one")
    explained: float | None


class Contrast(Answer):
    """What failing attempts have in common that the others have not. `sentence` says it."""

    site: str | None
    stage: str | None
    ssid: str | None
    attempts: int
    failures: int
    usual_rate: float
    learned_from: Literal["site", "fleet", "default"]
    excess: float
    verdicts: list[Verdict]
    even: list[str]
    sentence: str
    values: list[Shared]
    pairs: list[Shared]
    reasons: list[Reason]


class Changes(Answer):
    """Device logs from half an hour before the onset, the newest first."""

    site: str | None
    onset: Time | None
    changes: list[Change]
