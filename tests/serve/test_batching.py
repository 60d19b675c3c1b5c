from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from lit_cnn.serve.batching import Batcher


def collect(items: Sequence[int], most: int, fails: int | None = None) -> tuple[list[object], list[list[int]]]:
    """Submit the first item, the others while it is answered; returns results and batches."""
    batches: list[list[int]] = []
    begun, go_on = threading.Event(), threading.Event()

    def answer(batch: Sequence[int]) -> list[int]:
        batches.append(list(batch))
        begun.set()
        assert go_on.wait(30)
        if fails in batch:
            raise ValueError(fails)
        return [10 * item for item in batch]

    async def run() -> list[object]:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(answer, executor, most)
            tasks = [asyncio.create_task(batcher.submit(items[0]))]
            await asyncio.to_thread(begun.wait)
            tasks += [asyncio.create_task(batcher.submit(item)) for item in items[1:]]
            await asyncio.sleep(0)
            go_on.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert batcher.items == sum(not isinstance(each, Exception) for each in found)
            return found

    return asyncio.run(run()), batches


def test_the_first_item_is_answered_at_once_and_what_waits_meanwhile_together():
    results, batches = collect(range(10), most=4)
    assert results == [10 * item for item in range(10)]
    assert batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


def test_batches_of_one_are_one_at_a_time():
    assert collect(range(4), most=1)[1] == [[0], [1], [2], [3]]


def test_an_item_that_fails_does_so_alone():
    results, batches = collect(range(4), most=8, fails=2)
    assert [str(each) for each in results] == ["0", "10", "2", "30"]
    assert isinstance(results[2], ValueError)
    assert batches == [[0], [1, 2, 3], [1], [2], [3]]


def test_items_whose_request_was_given_up_are_left_out():
    answered: list[int] = []
    go_on = threading.Event()

    def answer(batch: Sequence[int]) -> list[int]:
        assert go_on.wait(30)
        answered.extend(batch)
        return list(batch)

    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(answer, executor, 8)
            first, second = (asyncio.create_task(batcher.submit(item)) for item in (1, 2))
            await asyncio.sleep(0.05)
            third = asyncio.create_task(batcher.submit(3))
            await asyncio.sleep(0)
            third.cancel()
            go_on.set()
            assert await first == 1
            assert await second == 2
            with pytest.raises(asyncio.CancelledError):
                await third

    asyncio.run(run())
    assert 3 not in answered
