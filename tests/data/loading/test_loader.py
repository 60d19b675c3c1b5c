"""Composition of batches for any number of processes, laziness, threads, and what a resume must share."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from lit_cnn.data import Batch, BatchLoader
from lit_cnn.data.transforms.rng import permutation
from lit_cnn.errors import UserError


class Numbers:
    """A source whose image is its own number."""

    shape = (1, 1, 1)

    def __init__(self, n: int, fail_at: int = -1) -> None:
        self.targets = torch.arange(n) % 5
        self.fail_at = fail_at
        self.done: list[int] = []

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, row: int) -> str:
        return str(row)

    def tasks(self, rows: Tensor, out: Tensor, epoch: int | None) -> list[Callable[[], None]]:
        def task(i: int, row: int) -> Callable[[], None]:
            def run() -> None:
                if row == self.fail_at:
                    raise UserError(f"cannot read image {row}")
                time.sleep((row % 7) * 1e-5)  # finish out of order
                out[i] = row % 251
                self.done.append(row)

            return run

        return [task(i, row) for i, row in enumerate(rows.tolist())]


def _loader(
    n: int, batch_size: int, rank: int = 0, world: int = 1, shuffle: bool = True, **kwargs: object
) -> BatchLoader:
    source = Numbers(n)
    return BatchLoader(
        source, torch.arange(n), batch_size=batch_size, shuffle=shuffle, seed=3, rank=rank, world_size=world, **kwargs
    )


def _indices(batches: Iterator[Batch] | BatchLoader) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches]


def _threads() -> int:
    return sum(thread.name.startswith("lit_cnn-decode") for thread in threading.enumerate())


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("n", [3, 4, 24, 25, 26, 29, 30, 31, 100])
def test_training_batches_of_the_ranks_together_are_slices_of_the_permutation(n: int, world: int) -> None:
    loaders = [_loader(n, 4, rank, world, position=lambda: (5, 0)) for rank in range(world)]
    ranks = [_indices(loader) for loader in loaders]
    assert {len(batches) for batches in ranks} == {len(loader) for loader in loaders}
    order = permutation(3, 5, n).tolist()
    size = 4 * world
    used = 0
    for b in range(len(loaders[0])):
        parts = [rank[b] for rank in ranks]
        together = [i for part in parts for i in part]
        assert together == order[b * size : (b + 1) * size]
        lengths = [len(part) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert min(lengths) >= 2 or len(loaders[0]) == 1
        used += len(together)
    # Only a rest that would leave some rank with fewer than 2 samples is dropped.
    rest = n % size
    dropped = rest if rest < 2 * world and n > size else 0
    assert used == n - dropped


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [1, 4, 23, 24, 25])
def test_evaluation_batches_are_the_same_for_any_number_of_ranks(n: int, world: int) -> None:
    alone = _indices(_loader(n, 4, shuffle=False))
    loaders = [_loader(n, 4, rank, world, shuffle=False) for rank in range(world)]
    ranks = [_indices(loader) for loader in loaders]
    assert {len(loader) for loader in loaders} == {len(batches) for batches in ranks} == {-(-len(alone) // world)}
    dealt = [ranks[b % world][b // world] for b in range(len(ranks[0]) * world)]
    assert dealt[: len(alone)] == alone
    assert all(batch == [] for batch in dealt[len(alone) :])
    assert [i for batch in alone for i in batch] == list(range(n))


def test_a_rank_short_of_a_batch_gets_one_of_no_samples_in_the_right_shape() -> None:
    *_, last = _loader(4, 4, rank=1, world=2, shuffle=False)
    assert last.image.shape == (0, 1, 1, 1)
    assert last.image.dtype == torch.uint8
    assert last.target.shape == last.index.shape == (0,)
    assert last.target.dtype == last.index.dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_do_not_depend_on_the_number_of_workers(workers: int) -> None:
    batches = list(_loader(103, 10, workers=workers, position=lambda: (1, 2)))
    assert [batch.index.tolist() for batch in batches] == [
        part.tolist() for part in permutation(3, 1, 103).split(10)[2:]
    ]
    for batch in batches:
        assert torch.equal(batch.image.flatten(), (batch.index % 251).byte())
        assert torch.equal(batch.target, batch.index % 5)


def test_position_is_asked_at_the_first_batch_and_not_when_iter_is_called() -> None:
    position = (0, 0)
    loader = _loader(40, 10, position=lambda: position)
    iterator = iter(loader)
    position = (2, 3)  # what a restored checkpoint does after iter()
    assert _indices(iterator) == [permutation(3, 2, 40)[30:].tolist()]
    position = (3, 0)
    assert _indices(loader) == [part.tolist() for part in permutation(3, 3, 40).split(10)]
    assert len(loader) == 4


def test_an_exception_in_a_thread_surfaces_in_the_main_thread_and_ends_the_threads() -> None:
    loader = BatchLoader(Numbers(50, fail_at=33), torch.arange(50), batch_size=5, workers=3)
    iterator = iter(loader)
    assert [i for _ in range(6) for i in next(iterator).index.tolist()] == list(range(30))
    with pytest.raises(UserError, match="cannot read image 33"):
        next(iterator)
    _wait_for_no_threads()


def test_threads_end_with_the_iterator_and_read_only_a_few_batches_ahead() -> None:
    loader = _loader(1000, 10, workers=2, shuffle=False)
    iterator = iter(loader)
    next(iterator)
    assert _threads() > 0
    time.sleep(0.1)
    source = loader.source
    assert isinstance(source, Numbers)
    assert 10 <= len(source.done) <= 50
    del iterator
    gc.collect()
    _wait_for_no_threads()
    assert len(list(loader)) == 100
    _wait_for_no_threads()


def _wait_for_no_threads() -> None:
    deadline = time.monotonic() + 5
    while _threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _threads() == 0


def test_state_holds_plain_types_and_no_position_and_refuses_what_would_change_the_order() -> None:
    loader = _loader(40, 10)
    state = loader.state_dict()
    list(loader)
    assert loader.state_dict() == state
    assert {type(value) for value in state.values()} <= {int, str}
    loader.load_state_dict(state)
    with pytest.raises(UserError, match=r"batch size 10 -> 20, number of processes 1 -> 2") as caught:
        _loader(40, 20, 0, 2).load_state_dict(state)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="fingerprint a -> b"):
        _loader(40, 10, fingerprint="b").load_state_dict({**state, "fingerprint": "a"})


def test_fewer_training_images_than_processes_are_refused() -> None:
    with pytest.raises(UserError, match="2 training images cannot be divided among 3 processes"):
        _loader(2, 4, 0, 3)
