"""Another program that got a review server's address after it was gone.

Covered: one answer to everything, and what was asked. Not covered: a program that pretends on
purpose to be a review.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Stranger:
    """Answers every request alike, on the port of a server that has ended."""

    def __init__(
        self, port: int, status: int, content: Any, headers: Mapping[str, str] | None = None
    ) -> None:
        page = isinstance(content, str)
        body = (content if page else json.dumps(content)).encode()
        kind = "text/html; charset=utf-8" if page else "application/json"
        asked: list[tuple[str, str]] = []
        self.asked = asked
        """Method and path, one a request."""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                asked.append((self.command, self.path))
                self.rfile.read(int(self.headers.get("content-length") or 0))
                self.send_response(status)
                given = {"content-type": kind, "content-length": str(len(body)), **(headers or {})}
                for name, value in given.items():
                    self.send_header(name, value)
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
