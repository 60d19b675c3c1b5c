from __future__ import annotations

from functools import partial

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
    with pytest.raises(
        UserError, match="there is a loss 'len' already, in builtins: register yours, in builtins, under"
    ):
        registry.register(name="len")(max)
    with pytest.raises(UserError, match="there is a loss 'mse' already, in lit_cnn: register yours"):
        registry.register(name="mse")(max)
    with pytest.raises(UserError, match="unknown loss 'lem', did you mean 'len'"):
        registry["lem"]


@pytest.mark.parametrize("item", ["focal", partial(max, 1), 3])
def test_what_has_no_name_or_cannot_be_called_is_refused(item):
    with pytest.raises(UserError, match=r"register_loss: got .*; give a function"):
        Registry("loss", "model.loss").register(item)


def test_more_is_loaded_before_a_name_is_unknown():
    registry = Registry("loss", "model.loss", load_more=lambda: registry.register(len) and None)
    assert registry["len"] is len
