"""Who may talk to the review server, and what a browser may do with its answers.

The server listens on this machine only. Other users of the machine, and web pages that are open in
the same browser, can reach it all the same; so every request needs

- a Host that is this machine's own (a foreign name that resolves to it is refused: DNS rebinding),
- no Origin, or the page's own, and no other site as its cause (Sec-Fetch-Site),
- the token of the start line: once in the address, from then on in a cookie that no script reads.

Every answer, a refusal too, tells the browser to run and load nothing but the page's own files, and
says which review it is from: an address may belong to another program tomorrow, or to another
review, and a page that is still open must neither believe the one nor write into the other.

Covered: requests and answers. Not covered: somebody who reads the terminal, the browser's profile
or the database, and other servers on this machine that the same browser visits: cookies know no
ports, so these are sent the cookie, too.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from derta.files import digest

__all__ = [
    "HEADERS",
    "MOST_BODY_BYTES",
    "REVIEW_HEADER",
    "Guard",
    "RequestError",
    "allowed_hosts",
    "cookie_name",
    "read_json",
    "review_name",
    "same_text",
]

MOST_BODY_BYTES = 64 * 1024
_MACHINE = ("127.0.0.1", "localhost", "[::1]")
_SITES = ("same-origin", "none")
"""Sec-Fetch-Site of the page's own requests, and of an address that somebody typed."""

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
_REFUSED_FEATURES = (
    "accelerometer",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "microphone",
    "midi",
    "payment",
    "usb",
)
HEADERS = {
    "content-security-policy": "; ".join(_POLICY),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": ", ".join(f"{feature}=()" for feature in _REFUSED_FEATURES),
}
"""Headers of every answer, beside `REVIEW_HEADER`."""
REVIEW_HEADER = "x-derta-review"
"""Of an answer: from which review it is. Of a request: for which one it is."""

_OPEN_AGAIN = (
    "Copy the whole address that `derta review` printed when it started into the address bar "
    "of your browser."
)
_ANOTHER_REVIEW = (
    "another review is served at this address now; serve this page's own again, with the same port"
)
_SAME_PORT = "A port that is forwarded from another machine needs the same number here."


class RequestError(Exception):
    """A request that can't be answered as it is; the message says why, in plain words."""

    def __init__(self, status: int, message: str, **more: Any) -> None:
        """Keep the HTTP status, the message, and what else the answer is to hold."""
        super().__init__(message)
        self.status = status
        self.content: dict[str, Any] = {"error": message, **more}


def allowed_hosts(port: int) -> frozenset[str]:
    """List the values of the Host header that mean this server; a browser omits port 80."""
    return frozenset(f"{name}:{port}" for name in _MACHINE) | frozenset(
        _MACHINE if port == 80 else ()
    )


def cookie_name(port: int) -> str:
    """Name the cookie; cookies know no ports, so that each server needs a name of its own."""
    return f"derta_review_{port}"


def review_name(token: str) -> str:
    """Name a review: the same at every start, and nothing can be learnt of the token by it."""
    return digest("derta review", token)


def same_text(given: str, secret: str) -> bool:
    """Compare with a secret in a time that doesn't tell how much of it was right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


async def read_json(request: Request) -> dict[str, Any]:
    """Read the body of a request: one JSON object of at most `MOST_BODY_BYTES`.

    Raises:
        RequestError: it says that it is something else (415), is too large (413), or isn't one
            JSON object (400).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError(415, "Send JSON, with the content type application/json.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise RequestError(413, f"Send at most {MOST_BODY_BYTES} bytes at once.")
    try:
        content = json.loads(bytes(body), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise RequestError(400, "The request holds no readable JSON.") from None
    if not isinstance(content, dict):
        raise RequestError(400, "Send one JSON object.")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


class Guard:
    """Lets the page's own requests through to the application, and nothing else."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        """Guard `app`, which listens on `port`, with the token of its start line."""
        self._app = app
        self._token = token
        self._review = review_name(token)
        self._cookie = cookie_name(port)
        self._hosts = allowed_hosts(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # no web sockets; there is nothing to do at the start or at the end
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in {**HEADERS, REVIEW_HEADER: self._review}.items():
                    headers[name] = value
            await send(message)

        try:
            location = self._checked(scope)
            if location is None:
                await self._app(scope, receive, send_guarded)
            else:
                await self._let_in(location, send_guarded)
        except RequestError as error:
            await _refuse(scope, error, send_guarded)
        except Exception as error:
            if started:
                raise
            problem = f"The server failed ({type(error).__name__}: {error})."
            await _refuse(scope, RequestError(500, problem), send_guarded)

    def _checked(self, scope: Scope) -> str | None:
        """Check a request; an address to go to means that the token was right.

        Raises:
            RequestError: the request is refused (403), or is for another review (421).
        """
        hosts = _header(scope, b"host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            raise RequestError(
                403, f"This name isn't this server's own. {_OPEN_AGAIN} {_SAME_PORT}"
            )
        origins = _header(scope, b"origin")
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in origins):
            raise RequestError(403, "Other pages may not use this server.")
        if any(site not in _SITES for site in _header(scope, b"sec-fetch-site")):
            raise RequestError(403, f"Other sites may not open this page. {_OPEN_AGAIN}")
        if any(name != self._review for name in _header(scope, REVIEW_HEADER.encode())):
            raise RequestError(421, _ANOTHER_REVIEW)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if scope["path"] == "/" and "token" in query:
            if scope["method"] != "GET" or not same_text(query["token"][-1], self._token):
                raise RequestError(403, f"The token in this address is wrong. {_OPEN_AGAIN}")
            return "/"
        if not any(same_text(given, self._token) for given in self._cookies(scope)):
            raise RequestError(403, f"This page needs its token. {_OPEN_AGAIN}")
        return None

    def _cookies(self, scope: Scope) -> Iterable[str]:
        for header in _header(scope, b"cookie"):
            for part in header.split(";"):
                # One by one: a foreign cookie that can't be read doesn't hide ours.
                cookie: SimpleCookie = SimpleCookie()
                try:
                    cookie.load(part.strip())
                except CookieError:
                    continue
                if self._cookie in cookie:
                    yield cookie[self._cookie].value

    async def _let_in(self, location: str, send: Send) -> None:
        """Hand out the cookie, and lead to an address without the token."""
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", location.encode()), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def _refuse(scope: Scope, error: RequestError, send: Send) -> None:
    """Answer a refused request: the page's own in JSON, others in plain words."""
    if scope["path"].startswith("/api/"):
        kind, body = b"application/json", json.dumps(error.content).encode()
    else:
        kind, body = b"text/plain; charset=utf-8", f"{error}\n".encode("utf-8", "replace")
    length = str(len(body)).encode()
    headers = [(b"content-type", kind), (b"content-length", length)]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
