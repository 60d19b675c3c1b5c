"""What a server takes from whom: sizes, rates, and the errors that say so. Standard library only."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass

LOOPBACK_NAMES = ("localhost",)
LEAST_TOKEN = 16  # characters
_MOST_CLIENTS = 10_000  # whose rate is remembered


class RefusedError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP, 4xx or 503.
        reason: one line.
        wait: seconds after which to try again; 0: never.
    """

    def __init__(self, status: int, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.status, self.reason, self.wait = status, reason, wait


@dataclass(frozen=True)
class Limits:
    """Limits of a server.

    Attributes:
        token: that requests for answers must bear; empty: none, and then only requests to a loopback name are taken.
        most_bytes: of an upload.
        rate: answers per second and client; 0: any number.
        waiting: requests that are read, decoded and answered at the same time; more are refused.
        batch_size: images that are answered together.
        seconds: that a client has to send its upload.
    """

    token: str = ""
    most_bytes: int = 20_000_000
    rate: float = 0.0
    waiting: int = 32
    batch_size: int = 16
    seconds: float = 60.0


class RateLimit:
    """Requests of each client by a token bucket: ``rate`` a second, and twice as many (at least 1) at once.

    Args:
        rate: a second; 0: any number.
        burst: at once.
        clock: seconds.
    """

    def __init__(self, rate: float, burst: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._burst = max(1.0, 2 * rate) if burst is None else burst
        self._left: dict[str, tuple[float, float]] = {}  # requests that a client may still send, at a time

    def take(self, client: str, count: float = 1.0) -> float:
        """Count a request of a client; returns the seconds to wait if it has sent too many, else 0.

        A ``count`` of 0 only asks.
        """
        if self._rate <= 0:
            return 0.0
        name, now = _network(client), self._clock()
        left, then = self._left.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= max(count, 1.0)
        self._left[name] = (left - count if allowed else left), now  # last: those that stay away are first
        while len(self._left) > _MOST_CLIENTS:
            del self._left[next(iter(self._left))]
        return 0.0 if allowed else (max(count, 1.0) - left) / self._rate


def _network(client: str) -> str:
    """The address, or of IPv6 the network of 64 bits that one household has."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return client


def is_loopback(host: str) -> bool:
    """Whether only programs on this machine reach a host, by its name or address."""
    name = host.strip().strip("[]").lower().rstrip(".")
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def host_of(header: str) -> str:
    """The host of a Host header, without its port."""
    host, colon, port = header.strip().rpartition(":")
    return host if colon and port.isdigit() else header.strip()
