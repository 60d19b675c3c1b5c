"""Dynamic batching: what waits while the network is busy is answered together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items while a batch is answered, and answers them in the next one.

    The first item of a quiet time is answered at once and by itself: nobody waits for a batch to fill.

    Args:
        answer: maps items to as many results; it runs in the executor.
        executor: with one thread, as the network runs one batch at a time.
        most: items of a batch.

    Attributes:
        items: that were answered.
        batches: that they were answered in.
    """

    def __init__(self, answer: Callable[[Sequence[T]], Sequence[R]], executor: Executor, most: int) -> None:
        self._answer, self._executor, self._most = answer, executor, most
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self.items = self.batches = 0

    async def submit(self, item: T) -> R:
        """The result of an item.

        Raises:
            Exception: what answering it alone has raised.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch: list[tuple[T, asyncio.Future[R]]] = []
            while self._waiting and len(batch) < self._most:
                item, future = self._waiting.popleft()
                if not future.done():  # its request was given up
                    batch.append((item, future))
            if batch:
                await self._run(batch)

    async def _run(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._executor, self._answer, [item for item, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # of one of them, or too many for the memory
                for single in batch:
                    await self._run([single])
            elif not batch[0][1].done():
                batch[0][1].set_exception(error)
            return
        self.items += len(batch)
        self.batches += 1
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
