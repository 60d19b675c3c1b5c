"""A connection from every process of a run to the first one, to learn at once that another process is gone.

The kernel closes a process's connections when it dies, however it dies, and a machine that no longer answers is noticed
by TCP's keep-alive. A process that is only slow, or stopped in a debugger, stays connected. The backend's own
connections cannot tell: gloo raises in the next collective, NCCL may wait in it for ever.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket

LOST = ""  # what a process said that died without a word

# seconds: an unreachable machine counts as gone after 10 + 3 * 5
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class Link:
    """One end of the connections.

    A process says a last word and closes its end; the others hear that word, or :data:`LOST`.

    Args:
        host: address of the first process's machine, as the others know it.
        first: whether this is the first process. It listens; :attr:`invitation` is for the others.
    """

    def __init__(self, host: str, first: bool) -> None:
        self._selector = selectors.DefaultSelector()
        self._ranks: dict[socket.socket, int | None] = {}
        self._heard: dict[socket.socket, bytes] = {}
        self._listener: socket.socket | None = None
        self.invitation = ("", 0, "")
        if first:
            try:
                family = socket.getaddrinfo(host, 0)[0][0]
                self._listener = socket.create_server((host, 0), family=family, backlog=4096)
            except OSError:  # the machine has another name inside than outside
                self._listener = socket.create_server(("", 0), backlog=4096)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)
            # anyone can connect to a port, but only this run's processes know the word
            self.invitation = (host, self._listener.getsockname()[1], secrets.token_hex(16))

    def join(self, invitation: tuple[str, int, str], rank: int) -> None:
        """Connect process ``rank`` to the first one.

        Raises:
            OSError: when it cannot be reached.
        """
        host, port, word = invitation
        connection = socket.create_connection((host, port), timeout=10)
        connection.sendall(f"{word} {rank}\n".encode())
        self._add(connection, 0)

    def welcome(self) -> None:
        """Take in all that have connected."""
        assert self._listener is not None
        with contextlib.suppress(OSError):  # no more, or gone again
            while True:
                self._add(self._listener.accept()[0], None)

    def listen(self, timeout: float) -> list[tuple[int, str]]:
        """Wait up to ``timeout`` seconds for processes that leave; return their ranks and last words."""
        left = []
        for key, _ in self._selector.select(timeout):
            end = key.fileobj
            assert isinstance(end, socket.socket)
            if end is self._listener:
                self.welcome()
                continue
            try:
                received = end.recv(4096)
            except OSError:
                received = b""
            self._heard[end] += received
            if self._ranks[end] is None and b"\n" in self._heard[end]:
                self._greet(end)
            if not received:
                rank, word = self._ranks.pop(end), self._heard.pop(end)
                self._selector.unregister(end)
                end.close()
                if rank is not None:
                    left.append((rank, word.decode(errors="replace")))
        return left

    def leave(self, word: str) -> None:
        """Say a last word to everyone connected. Safe to call from another thread than :meth:`listen`."""
        for end in list(self._ranks):
            with contextlib.suppress(OSError):  # gone already
                end.sendall(word.encode())
                end.shutdown(socket.SHUT_WR)

    def _add(self, connection: socket.socket, rank: int | None) -> None:
        connection.settimeout(5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._heard[connection] = b""
        self._ranks[connection] = rank
        self._selector.register(connection, selectors.EVENT_READ)

    def _greet(self, end: socket.socket) -> None:
        line, _, rest = self._heard[end].partition(b"\n")
        word, _, rank = line.decode(errors="replace").partition(" ")
        if secrets.compare_digest(word.encode(), self.invitation[2].encode()) and rank.isdigit():
            self._ranks[end], self._heard[end] = int(rank), rest
