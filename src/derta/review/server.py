"""The review server: addresses, files of the page, and what happens to an error.

    GET  /                      the page        /review.css, /review*.js, /icon.svg
    GET  /api/state             what is reviewed, by whom
    POST /api/reviewers         somebody begins or goes on
    GET  /api/queue             a reviewer's order and verdicts
    GET  /api/items/ID          one response
    GET  /api/list              responses with the reviewer's verdicts, some at a time
    POST /api/verdicts          a verdict; 409 with the current one if another window was first
    POST /api/undo              take one back
    GET  /api/disagreements     what reviewers differ on, once opened on purpose
    POST /api/resolutions       what they settled on

What is said and checked is in views.py, who may ask in security.py, listening in serving.py.
SQLite blocks, so the store is called in worker threads; a request is answered when its verdict is
on disk.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from importlib import resources
from typing import Any

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from derta.errors import DataError
from derta.review.security import Guard, RequestError, read_json
from derta.review.store import ReviewStore
from derta.review.views import Views

__all__ = ["FILES", "make_app"]

_SCRIPTS = (
    "review",
    *(f"review_{part}" for part in ("items", "keys", "list", "outbox", "page", "server", "text")),
)
FILES = {
    "/": ("review.html", "text/html; charset=utf-8"),
    "/review.css": ("review.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
"""Address -> packaged file and its type. Nothing else is served."""

_Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(
    store: ReviewStore, *, token: str, port: int, blind: bool = True, title: str = ""
) -> Starlette:
    """Make the application of one review.

    Args:
        store: of the review.
        token: what the start line holds, and every request must bring.
        port: on which it will listen; other ports in a Host header are refused.
        blind: keep back model, scenario and automatic verdict.
        title: what is reviewed; shown only where the review isn't blind.
    """
    views = Views(store, token=token, blind=blind, title=title)
    routes = [Route(path, _file(name, kind)) for path, (name, kind) in FILES.items()]
    routes += [
        Route("/api/state", _get(lambda _: views.state())),
        Route("/api/queue", _get(lambda request: _queue(views, store, port, request))),
        Route("/api/items/{id}", _get(lambda request: views.item(request.path_params["id"]))),
        Route("/api/list", _get(lambda request: _list(views, request))),
        Route("/api/disagreements", _get(lambda request: _disagreements(views, request))),
        Route("/api/reviewers", _post(views.add_reviewer), methods=["POST"]),
        Route("/api/verdicts", _post(views.record), methods=["POST"]),
        Route("/api/undo", _post(views.undo), methods=["POST"]),
        Route("/api/resolutions", _post(views.resolve), methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, port=port)],
        exception_handlers={HTTPException: _not_found},
    )


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    # With escapes: model output may hold halves of characters, which UTF-8 can't.
    body = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Response(body, status, media_type="application/json")


def _file(name: str, kind: str) -> _Endpoint:
    body = resources.files("derta.review").joinpath(name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(body, headers={"content-type": kind})

    return answer


def _get(view: Callable[[Request], dict[str, Any]]) -> _Endpoint:
    async def answer(request: Request) -> Response:
        return await _answer(view, request)

    return answer


def _post(view: Callable[[Mapping[str, Any]], dict[str, Any]]) -> _Endpoint:
    async def answer(request: Request) -> Response:
        try:
            data = await read_json(request)
        except RequestError as error:
            return _json(error.content, error.status)
        return await _answer(view, data)

    return answer


async def _answer(view: Callable[[Any], dict[str, Any]], argument: Any) -> Response:
    """Call a view in a worker thread; what goes wrong becomes a status and plain words."""
    try:
        return _json(await to_thread.run_sync(view, argument))
    except RequestError as error:
        return _json(error.content, error.status)
    except KeyError:
        problem = "This response or reviewer isn't in the review any more. Load the page again."
        return _json({"error": problem}, 404)
    except ValueError as error:
        return _json({"error": str(error)}, 400)
    except DataError as error:
        # A full disk, say. The page keeps what it could not hand over, and tries again.
        found = error.problems[0]  # without the path: it may name the model
        return _json({"error": f"The review's file {found.problem}. {found.remedy}."}, 503)


async def _not_found(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    problem = "This address takes other requests." if status == 405 else "There is no such address."
    return _json({"error": problem}, status)


def _asked(request: Request, key: str, default: str | None = None) -> str:
    value = request.query_params.get(key, default)
    if value is None:
        raise RequestError(400, f"{key} is missing in the address.")
    return value


def _queue(views: Views, store: ReviewStore, port: int, request: Request) -> dict[str, Any]:
    found = views.queue(_asked(request, "reviewer"))
    # From here on a browser may keep verdicts for this address.
    with contextlib.suppress(DataError):
        if store.port() != port:
            store.keep_port(port)
    return found


def _list(views: Views, request: Request) -> dict[str, Any]:
    return views.list_items([each for each in _asked(request, "items").split(",") if each])


def _disagreements(views: Views, request: Request) -> dict[str, Any]:
    return views.disagreements(opened=_asked(request, "opened", "") == "yes")
