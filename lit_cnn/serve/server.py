"""Serve an application on a socket until SIGTERM or Ctrl-C; requests that have begun are answered first."""

from __future__ import annotations

import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Iterator
from typing import Any

import uvicorn

from lit_cnn.errors import UserError
from lit_cnn.utils.console import say

DRAIN_SECONDS = 30  # for requests that have begun
_BACKLOG = 256


class _Server(uvicorn.Server):
    """Ends without raising the signal again, so that the command returns; a second Ctrl-C waits for nobody."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: Any) -> None:
        self.force_exit = self.should_exit and number == signal.SIGINT
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, before the model is loaded, which takes seconds.

    Args:
        host: an address or a name.
        port: 0: any that is free.

    Raises:
        UserError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"`host` {host}: {getattr(error, 'strerror', None) or 'no such host'}") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(_BACKLOG)  # here another server on this port shows
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} of {host} is in use: choose another `port`, or 0 for any") from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(f"port {port} is for the system's own: choose a `port` from 1024 up") from error
        raise UserError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    return bound


def address_of(bound: socket.socket, host: str) -> str:
    """The address of the page on this machine."""
    host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}/"


def serve(app: Any, bound: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # every stranger's malformed request is a warning
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # whoever connects could name another address, and escape the rate limit
        lifespan="on",
        ws="none",
        loop="asyncio",
        http="h11",
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    server = _Server(config)
    server.run(sockets=[bound])
    if not server.started:
        say("the server did not start", error=True)
