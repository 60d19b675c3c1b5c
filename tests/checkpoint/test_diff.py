from __future__ import annotations

import pytest
import torch

from lit_cnn.checkpoint.diff import content_hash, differences, leaves

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros((), dtype=torch.bfloat16)},
    "steps": [1, 2, (3.5, None)],
    "empty": {},
}


def changed(**parts: object) -> dict:
    return {**STATE, **parts}


def test_leaves_have_paths_and_empty_containers_count() -> None:
    assert [path for path, _ in leaves(STATE)] == [
        "weights/a",
        "weights/b",
        "steps/0",
        "steps/1",
        "steps/2/0",
        "steps/2/1",
        "empty",
    ]


def test_equal_states_have_equal_hashes_whatever_their_layout_in_memory() -> None:
    same = changed(
        weights={"a": torch.arange(6.0).reshape(2, 3).t().contiguous().t(), "b": STATE["weights"]["b"].clone()}
    )
    assert content_hash(same) == content_hash(STATE)
    assert list(differences(STATE, same)) == []


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (
            changed(weights={**STATE["weights"], "a": torch.arange(6.0).reshape(3, 2)}),
            "weights/a is torch.float32 (2, 3) and",
        ),
        (
            changed(weights={**STATE["weights"], "b": torch.zeros(())}),
            "weights/b is torch.bfloat16 () and torch.float32 ()",
        ),
        (
            changed(weights={**STATE["weights"], "b": torch.tensor(-0.0, dtype=torch.bfloat16)}),
            "weights/b differs in 0 of 1",
        ),
        (changed(weights={"a": STATE["weights"]["a"]}), "weights/b is only in the first"),
        (changed(steps=[1, 2, (3.5, 0)]), "steps/2/1: None and 0"),
        (changed(empty={"now": 1}), "empty is only in the first"),
        (changed(steps=[1, 2, (3.5, None), 4]), "steps/3 is only in the second"),
    ],
)
def test_any_change_changes_the_hash_and_is_named(other: dict, line: str) -> None:
    assert content_hash(other) != content_hash(STATE)
    assert any(found.startswith(line) for found in differences(STATE, other)), list(differences(STATE, other))


def test_the_distance_of_two_tensors_is_reported() -> None:
    other = changed(weights={**STATE["weights"], "a": STATE["weights"]["a"] + torch.tensor([[0, 0, 0], [0, 0, 0.25]])})
    assert list(differences(STATE, other)) == ["weights/a differs in 1 of 6 values, by at most 0.25"]


def test_nan_equals_nan() -> None:
    assert list(differences({"x": float("nan")}, {"x": float("nan")})) == []
