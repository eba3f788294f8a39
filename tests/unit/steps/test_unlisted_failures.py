from __future__ import annotations

from enriched_events import enriched_frame, shipped

import builders
from tidegate.lookups.failures import LEARNED_PAIRS, Seen
from tidegate.steps.unlisted_failures import unlisted


def test_codes_that_the_catalogue_lacks_are_counted_with_their_texts() -> None:
    strange = builders.failure(
        failureCode=55, subFailureCode=3, failure="DHCP Failure", subFailure="Pool empty"
    )
    batch = enriched_frame(
        "client_events",
        builders.frame(
            builders.success(), strange, builders.failure(), strange, builders.failure(failureCode=8)
        ),
    )
    assert unlisted(batch, shipped().failures) == {Seen(55, 3, "DHCP Failure", "Pool empty"): 2}


def test_a_frame_without_failures_has_none() -> None:
    assert not unlisted(
        enriched_frame("client_events", builders.frame(builders.success())), shipped().failures
    )


def test_what_is_learned_stays_bounded() -> None:
    pairs = (Seen(code, 1, f"text {code}", None) for code in range(100, 100 + 2 * LEARNED_PAIRS))
    assert len(shipped().failures.with_learned(pairs).learned) <= LEARNED_PAIRS + 1
