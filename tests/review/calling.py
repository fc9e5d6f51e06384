"""Calls of the review server's application without a network, header by header.

Covered: what a test needs to send that no client library would. Not covered: sockets
(tests.review.test_serving) and browsers (tests.review.browser).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

PORT = 23456
TOKEN = "a-token_of-the-tests"
HOST = f"127.0.0.1:{PORT}"
COOKIE = f"derta_review_{PORT}={TOKEN}"


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    parts_read: int = 0
    """How much of the request's body was read."""

    def header(self, name: str) -> str:
        found = [value for key, value in self.headers if key == name]
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Any,
    method: str,
    address: str,
    headers: Sequence[tuple[str, str]] = (),
    body: Sequence[bytes] = (),
) -> Answer:
    """Send one request, and read the answer."""
    path, _, query = address.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in headers],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", PORT),
        "state": {},
    }
    answer = Answer()
    parts = list(body) or [b""]

    async def receive() -> dict[str, Any]:
        if answer.parts_read == len(parts):
            return {"type": "http.disconnect"}
        answer.parts_read += 1
        part = parts[answer.parts_read - 1]
        more = answer.parts_read < len(parts)
        return {"type": "http.request", "body": part, "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(key.decode(), value.decode()) for key, value in message["headers"]]
        else:
            answer.body += message.get("body", b"")

    anyio.run(app, scope, receive, send)
    return answer


class Caller:
    """A browser that has been let in: it sends the host and the cookie."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def get(self, address: str) -> Answer:
        return call(self.app, "GET", address, [("host", HOST), ("cookie", COOKIE)])

    def post(self, address: str, content: Any) -> Answer:
        headers = [
            ("host", HOST),
            ("cookie", COOKIE),
            ("origin", f"http://{HOST}"),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
        ]
        return call(self.app, "POST", address, headers, [json.dumps(content).encode()])
