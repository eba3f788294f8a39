import inspect

from tidegate import errors


def test_every_error_is_of_the_tree_and_drawn_in_it() -> None:
    found = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if kind.__module__ == errors.__name__ and kind is not errors.TidegateError
    ]
    assert {kind.__base__ for kind in found} == {errors.TidegateError}
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in found)


def test_retry_later_says_when() -> None:
    assert errors.RetryLater("away").after_seconds == 1.0
    assert errors.RetryLater("away", after_seconds=5).after_seconds == 5
    assert str(errors.RetryLater("away")) == "away"
