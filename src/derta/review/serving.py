"""Listening for the review page, on this machine and nowhere else.

There is no option for another address on purpose: the page shows harmful text and has no accounts.
Who reviews from elsewhere forwards the port to the same number (`ssh -L`).

What a browser keeps belongs to an address, verdicts that it could not send among it; so a review's
page is served where somebody judged last, and who starts it on another port is told.

Covered: the port, the start line, an end by Ctrl-C. Not covered: what is answered
(`derta.review.server`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from derta.errors import DataError

if TYPE_CHECKING:
    import uvicorn

    from derta.review.store import ReviewStore

__all__ = ["HOST", "bind", "serve", "usual_port"]

HOST = "127.0.0.1"
_FIRST_PORT, _PORTS = 20_000, 10_000
"""Ports that no service has by custom and that systems don't hand out by themselves."""
_TRIES = 10
_MOST_HEADER_BYTES = 16 * 1024
_SECONDS_TO_FINISH = 3
_SECONDS_KEPT_OPEN = 60


def serve(
    store: ReviewStore,
    *,
    port: int | None = None,
    blind: bool = True,
    title: str = "",
    announce: Callable[[str], None],
    moved: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Serve the review page until Ctrl-C.

    Args:
        store: of the review; it stays open.
        port: to listen on; None: the one on which somebody judged last, at first the review's own,
            or a free one where that is taken; 0: a free one.
        blind: keep back model, scenario and automatic verdict.
        title: what is reviewed.
        announce: called with the address, token and all, once the server listens; in a thread of
            its own, so it may take its time.
        moved: called before that with the port on which somebody judged last, if it is another.
        should_stop: asked ten times a second; True ends the server.

    Raises:
        DataError: the port can't be had.
    """
    import uvicorn

    from derta.review.server import make_app

    token = store.token()
    before = store.port()
    if before is None and any(each.source == "page" for each in store.all_current()):
        before = usual_port(token)  # somebody judged before ports were remembered
    listening = bind(port, before or usual_port(token))
    number = listening.getsockname()[1]
    config = uvicorn.Config(
        make_app(store, token=token, port=number, blind=blind, title=title),
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,  # the first address holds the token
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_SECONDS_KEPT_OPEN,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
    )
    address = f"http://{HOST}:{number}/?token={quote(token, safe='')}"
    server = _server(config, lambda: announce(address), should_stop)
    # Once it has ended, uvicorn sends itself the signal again that made it end.
    with contextlib.closing(listening), contextlib.suppress(KeyboardInterrupt):
        if moved is not None and before is not None and before != number:
            moved(before)
        server.run(sockets=[listening])


def usual_port(token: str) -> int:
    """Pick a review's own port, by its token: two reviews at a time rarely want the same."""
    number = int.from_bytes(hashlib.sha256(f"port {token}".encode()).digest()[:4], "big")
    return _FIRST_PORT + number % _PORTS


def bind(port: int | None, usual: int) -> socket.socket:
    """Listen on a port of this machine's own address.

    Args:
        port: the one that was asked for; None: `usual`, or one near it; 0: a free one.
        usual: where nobody asked.

    Raises:
        DataError: the port that was asked for is taken, or may not be used.
    """
    if port is None:
        for number in (usual, *_others(usual)):
            with contextlib.suppress(OSError):
                return _listen(number)
        return _listen(0)
    try:
        return _listen(port)
    except (OSError, OverflowError) as error:
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise DataError.of(
            f"--port {port}",
            "something listens on this port already, perhaps this command in another window"
            if taken
            else f"can't be used ({error})",
            "Name another port from 1024 to 65535, or leave --port away",
        ) from None


def _others(usual: int) -> list[int]:
    """List ports to take instead: near it, where no system hands them out by itself."""
    return [_FIRST_PORT + (usual - _FIRST_PORT + step) % _PORTS for step in range(1, _TRIES)]


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            # The port of a server that was killed a moment ago can be had at once.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def _server(
    config: uvicorn.Config, listens: Callable[[], None], should_stop: Callable[[], bool] | None
) -> uvicorn.Server:
    import uvicorn
    from anyio import to_thread

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            await to_thread.run_sync(listens, abandon_on_cancel=True)

        async def on_tick(self, counter: int) -> bool:
            ends = await super().on_tick(counter)
            return ends or (should_stop is not None and should_stop())

    return Server(config)
