"""What each end of the connections between a run's processes hears."""

from __future__ import annotations

import socket
import time

import pytest

from lit_cnn.distributed.connections import LOST, Link


@pytest.fixture
def first() -> Link:
    return Link("127.0.0.1", first=True)


def joined(first: Link, rank: int) -> Link:
    link = Link("127.0.0.1", first=False)
    link.join(first.invitation, rank)
    assert heard(first, 0.2) == []  # it has only greeted
    return link


def heard(link: Link, timeout: float = 5) -> list[tuple[int, str]]:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if left := link.listen(0.05):
            return left
    return []


def test_the_first_process_hears_a_last_word_and_a_death_without_one(first):
    leaving, dying = joined(first, 1), joined(first, 2)
    leaving.leave("done")
    assert heard(first) == [(1, "done")]
    for end in dying._ranks:
        end.close()  # as the kernel does
    assert heard(first) == [(2, LOST)]


def test_the_others_hear_the_first_process(first):
    other = joined(first, 1)
    first.leave("stop")
    assert heard(other) == [(0, "stop")]


def test_a_stranger_who_connects_and_leaves_ends_nothing(first):
    host, port, _ = first.invitation
    with socket.create_connection((host, port)) as stranger:
        stranger.sendall(b"guess 1\n")
    assert heard(first, 0.3) == []


def test_one_that_cannot_be_reached_is_an_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        Link("127.0.0.1", first=False).join(("127.0.0.1", port, "word"), 1)
