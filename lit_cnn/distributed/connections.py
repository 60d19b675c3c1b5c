"""Connections from every rank to rank zero: all ranks are notified at once when one dies.

The kernel closes a process's connections when it dies, however it dies, and a machine that no longer answers is noticed
by TCP's keep-alive. A process that is only slow, or stopped in a debugger, stays connected. The backend's own
connections do not report it: gloo raises in the next collective, NCCL may wait in it for ever.
"""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket

DIED = ""  # the last message of a process that sent none

# seconds: an unreachable machine counts as gone after 10 + 3 * 5
_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}


class PeerConnections:
    """One end of the connections.

    A process sends a last message and closes its end; the others receive that message, or :data:`DIED`.

    Args:
        host: address of rank zero's machine, as the others reach it.
        first: whether this is rank zero. It listens; :attr:`address` is for the others.

    Attributes:
        address: host, port and a secret by which rank zero recognizes connections of this run.
    """

    def __init__(self, host: str, first: bool) -> None:
        self._selector = selectors.DefaultSelector()
        self._ranks: dict[socket.socket, int | None] = {}
        self._received: dict[socket.socket, bytes] = {}
        self._listener: socket.socket | None = None
        self.address = ("", 0, "")
        if first:
            try:
                family = socket.getaddrinfo(host, 0)[0][0]
                self._listener = socket.create_server((host, 0), family=family, backlog=4096)
            except OSError:  # the machine has another name inside its network than outside
                self._listener = socket.create_server(("", 0), backlog=4096)
            self._listener.setblocking(False)
            self._selector.register(self._listener, selectors.EVENT_READ)
            # anyone can connect to a port, but only this run's ranks have the secret
            self.address = (host, self._listener.getsockname()[1], secrets.token_hex(16))

    def connect(self, address: tuple[str, int, str], rank: int) -> None:
        """Connect ``rank`` to rank zero.

        Raises:
            OSError: when it cannot be reached.
        """
        host, port, secret = address
        connection = socket.create_connection((host, port), timeout=10)
        connection.sendall(f"{secret} {rank}\n".encode())
        self._add(connection, 0)

    def accept(self) -> None:
        """Accept all pending connections."""
        assert self._listener is not None
        with contextlib.suppress(OSError):  # no more, or gone again
            while True:
                self._add(self._listener.accept()[0], None)

    def listen(self, timeout: float) -> list[tuple[int, str]]:
        """Wait up to ``timeout`` seconds for closed connections; return their ranks and last messages."""
        closed = []
        for key, _ in self._selector.select(timeout):
            end = key.fileobj
            assert isinstance(end, socket.socket)
            if end is self._listener:
                self.accept()
                continue
            try:
                received = end.recv(4096)
            except OSError:
                received = b""
            self._received[end] += received
            if self._ranks[end] is None and b"\n" in self._received[end]:
                self._identify(end)
            if not received:
                rank, message = self._ranks.pop(end), self._received.pop(end)
                self._selector.unregister(end)
                end.close()
                if rank is not None:
                    closed.append((rank, message.decode(errors="replace")))
        return closed

    def close(self, message: str) -> None:
        """Send a last message to everyone connected. Safe to call from another thread than :meth:`listen`."""
        for end in list(self._ranks):
            with contextlib.suppress(OSError):  # gone already
                end.sendall(message.encode())
                end.shutdown(socket.SHUT_WR)

    def _add(self, connection: socket.socket, rank: int | None) -> None:
        connection.settimeout(5)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEP_ALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._received[connection] = b""
        self._ranks[connection] = rank
        self._selector.register(connection, selectors.EVENT_READ)

    def _identify(self, end: socket.socket) -> None:
        line, _, rest = self._received[end].partition(b"\n")
        secret, _, rank = line.decode(errors="replace").partition(" ")
        if secrets.compare_digest(secret.encode(), self.address[2].encode()) and rank.isdigit():
            self._ranks[end], self._received[end] = int(rank), rest
