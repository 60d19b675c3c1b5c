"""What each end of the connections between a run's processes hears."""

from __future__ import annotations

import socket
import time

import pytest

from lit_cnn.distributed.connections import DIED, PeerConnections


@pytest.fixture
def first() -> PeerConnections:
    return PeerConnections("127.0.0.1", first=True)


def joined(first: PeerConnections, rank: int) -> PeerConnections:
    link = PeerConnections("127.0.0.1", first=False)
    link.connect(first.address, rank)
    assert heard(first, 0.2) == []  # it has only greeted
    return link


def heard(link: PeerConnections, timeout: float = 5) -> list[tuple[int, str]]:
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if left := link.listen(0.05):
            return left
    return []


def test_rank_zero_receives_last_messages_and_notices_deaths(first):
    leaving, dying = joined(first, 1), joined(first, 2)
    leaving.close("done")
    assert heard(first) == [(1, "done")]
    for end in dying._ranks:
        end.close()  # as the kernel does
    assert heard(first) == [(2, DIED)]


def test_the_other_ranks_receive_the_last_message_of_rank_zero(first):
    other = joined(first, 1)
    first.close("stop")
    assert heard(other) == [(0, "stop")]


def test_an_unknown_connection_that_closes_ends_nothing(first):
    host, port, _ = first.address
    with socket.create_connection((host, port)) as stranger:
        stranger.sendall(b"guess 1\n")
    assert heard(first, 0.3) == []


def test_one_that_cannot_be_reached_is_an_error():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        PeerConnections("127.0.0.1", first=False).connect(("127.0.0.1", port, "word"), 1)
