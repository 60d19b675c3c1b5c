from __future__ import annotations

import pytest

from lit_cnn.errors import UserError
from lit_cnn.utils.registry import Registry


def test_callables_are_found_by_their_own_or_a_given_name():
    registry = Registry("loss", "model.loss", built_in=("mse",))

    @registry.register
    def focal() -> int:
        return 1

    @registry.register(name="other")
    def named() -> int:
        return 2

    assert (registry["focal"](), registry["other"](), list(registry)) == (1, 2, ["mse", "focal", "other"])


def test_a_name_that_is_taken_is_refused_and_an_unknown_one_lists_the_known():
    registry = Registry("loss", "model.loss", built_in=("mse",))
    registry.register(len)
    with pytest.raises(UserError, match="there is a loss 'len' already"):
        registry.register(name="len")(max)
    with pytest.raises(UserError, match="there is a loss 'mse' already"):
        registry.register(name="mse")(max)
    with pytest.raises(UserError, match="unknown loss 'lem', did you mean 'len'"):
        registry["lem"]
