"""detect: closed minutes of sites in, changes of alerts out. No clock: all times are those of the minutes.

A unit is one stream at one site. Each minute is held against what is usual there at this hour (`baseline.py`,
`usual.py`) by a binomial CUSUM (`evidence.py`): the evidence, in nats, that the share of failures is three
times the usual odds (and five points more) rather than usual. Enough of it opens an alert (`opening.py`,
`silence.py`), which is told with whom it hits and why (`incidents.py`) until it is quiet (`closing.py`,
`flapping.py`), and belongs to an incident (`grouping.py`). `state.py` is what is kept of a unit, `context.py`
what is looked up, `figures.py` what a minute's document says.
"""

from tidegate.steps.detect.baseline import Totals
from tidegate.steps.detect.context import Context, context_of, no_silence
from tidegate.steps.detect.detector import Detector
from tidegate.steps.detect.figures import Counted
from tidegate.steps.detect.grouping import Grouping
from tidegate.steps.detect.state import Unit, UnitKey, iso, micros

__all__ = [
    "Context",
    "Counted",
    "Detector",
    "Grouping",
    "Totals",
    "Unit",
    "UnitKey",
    "context_of",
    "iso",
    "micros",
    "no_silence",
]
