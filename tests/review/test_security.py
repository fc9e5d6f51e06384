"""Who is let in to the review server, and what its answers allow a browser.

Covered: hosts, origins, the token, bodies, headers of every answer, and that the page's own files
need nothing that the policy refuses. Not covered: the socket (test_serving), hostile texts in a
browser (browser.test_hostile).
"""

from __future__ import annotations

import json
import re
from importlib import resources

import anyio
import pytest

from derta.review.security import (
    HEADERS,
    MOST_BODY_BYTES,
    REVIEW_HEADER,
    Guard,
    review_name,
    same_text,
)
from derta.review.server import FILES, make_app
from tests.review.calling import COOKIE, HOST, PORT, TOKEN, Caller, call
from tests.review.making import items, made_store

NEITHER = (("host", "evil.example"), ("cookie", COOKIE))


@pytest.fixture
def app(tmp_path):
    store = made_store(tmp_path / "review", items(3), ["Ada"])
    yield make_app(store, token=TOKEN, port=PORT)
    store.close()


def asked(app, *headers, address="/api/state", method="GET", body=()):
    return call(app, method, address, headers, body)


def let_in(*more):
    return (("host", HOST), ("cookie", COOKIE), *more)


# --- the token ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/review.js", "/review.css", "/api/state", "/nothing"])
def test_without_the_token_nothing_is_told(address, app):
    answer = asked(app, ("host", HOST), address=address)
    assert answer.status == 403
    assert "derta review" in answer.text
    assert "Ada" not in answer.text
    assert "<" not in answer.text


def test_the_address_of_the_start_line_gives_a_cookie_and_goes_away(app):
    answer = asked(app, ("host", HOST), address=f"/?token={TOKEN}")
    assert answer.status == 303
    assert answer.header("location") == "/"
    cookie, *attributes = answer.header("set-cookie").split("; ")
    assert cookie == COOKIE
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    page = asked(app, ("host", HOST), ("cookie", cookie), address="/")
    assert page.status == 200
    assert page.header("content-type") == "text/html; charset=utf-8"
    assert TOKEN not in page.text


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "%FF%00", TOKEN.upper()])
def test_a_wrong_token_is_refused_even_with_the_right_cookie(token, app):
    assert asked(app, ("host", HOST), address=f"/?token={token}").status == 403
    assert asked(app, *let_in(), address=f"/?token={token}").status == 403


@pytest.mark.parametrize(
    "cookie",
    [
        "derta_review=" + TOKEN,
        f"derta_review_{PORT + 1}={TOKEN}",
        f"derta_review_{PORT}=",
        f"derta_review_{PORT}={TOKEN}x",
        f"derta_review_{PORT}=\xff\xfe",
        "",
    ],
)
def test_another_cookie_is_refused(cookie, app):
    assert asked(app, ("host", HOST), ("cookie", cookie)).status == 403


@pytest.mark.parametrize("other", ["a=b", "{bad}=x y", "=", 'a="unclosed', "sess[0]=1,2"])
def test_cookies_of_others_stand_beside_ours(other, app):
    for both in (f"{other}; {COOKIE}", f"{COOKIE}; {other}"):
        assert asked(app, ("host", HOST), ("cookie", both)).status == 200


def test_the_token_works_nowhere_but_in_the_first_address(app):
    assert asked(app, ("host", HOST), address=f"/api/state?token={TOKEN}").status == 403
    assert (
        asked(app, ("host", HOST), ("authorization", f"Bearer {TOKEN}")).status == 403
    )  # there is one way in


def test_texts_are_compared_in_constant_time_whatever_is_in_them(monkeypatch):
    compared = []
    monkeypatch.setattr(
        "derta.review.security.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b
    )
    assert same_text("secret", "secret")
    assert not same_text("\ud800\u00e9", "secret")
    assert len(compared) == 2


# --- where a request comes from -----------------------------------------------------------------


@pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", f"localhost:{PORT}", f"LOCALHOST:{PORT}"])
def test_the_machines_own_names_are_let_in(host, app):
    assert asked(app, ("host", host), ("cookie", COOKIE)).status == 200
    with_origin = (("host", host), ("cookie", COOKIE), ("origin", f"http://{host}"))
    assert asked(app, *with_origin).status == 200


def test_the_other_address_of_this_machine_is_let_in(app):
    assert asked(app, ("host", f"[::1]:{PORT}"), ("cookie", COOKIE)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        f"127.0.0.1.evil.example:{PORT}",
        f"localhost.evil.example:{PORT}",
        f"127.0.0.1:{PORT + 1}",
        "127.0.0.1",
        "localhost",
        f"192.168.1.7:{PORT}",
        f"0.0.0.0:{PORT}",
        f"127.0.0.1:{PORT}@evil.example",
        "",
    ],
)
def test_a_foreign_host_is_refused_with_the_right_cookie_and_token(host, app):
    assert asked(app, ("host", host), ("cookie", COOKIE)).status == 403
    answer = asked(app, ("host", host), address=f"/?token={TOKEN}")
    assert answer.status == 403
    assert not [name for name, _ in answer.headers if name == "set-cookie"]


def test_a_request_names_one_host(app):
    assert asked(app, ("cookie", COOKIE)).status == 403
    twice = (("host", HOST), ("host", "evil.example"), ("cookie", COOKIE))
    assert asked(app, *twice).status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        f"https://127.0.0.1:{PORT}",
        f"http://127.0.0.1:{PORT + 1}",
        f"http://localhost:{PORT}",
        f"http://127.0.0.1:{PORT}.evil.example",
        "",
    ],
)
def test_a_foreign_origin_is_refused(origin, app):
    assert asked(app, *let_in(("origin", origin))).status == 403
    body = json.dumps({"name": "Eve"}).encode()
    kind = ("content-type", "application/json")
    answer = asked(
        app, *let_in(("origin", origin), kind), address="/api/reviewers", method="POST", body=[body]
    )
    assert answer.status == 403
    assert "Eve" not in Caller(app).get("/api/state").text


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)],
)
def test_another_site_causes_no_request(site, status, app):
    assert asked(app, *let_in(("sec-fetch-site", site))).status == status


def test_no_answer_invites_other_origins(app):
    for headers in (let_in(), let_in(("origin", f"http://{HOST}")), NEITHER):
        answer = asked(app, *headers)
        assert not [name for name, _ in answer.headers if name.startswith("access-control")]
    preflight = (("origin", "http://evil.example"), ("access-control-request-method", "POST"))
    assert asked(app, *let_in(*preflight), method="OPTIONS").status == 403


# --- bodies -------------------------------------------------------------------------------------


def send(app, body, kind="application/json", address="/api/reviewers"):
    parts = body if isinstance(body, list) else [body]
    return asked(app, *let_in(("content-type", kind)), address=address, method="POST", body=parts)


@pytest.mark.parametrize(
    "kind",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json"],
)
def test_only_json_is_taken(kind, app):
    assert send(app, b'{"name": "Eve"}', kind).status == 415
    assert send(app, b'{"name": "Bea"}', "application/JSON; charset=utf-8").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"name": NaN}',
        b"[" * 60_000,
        b'{"name": ' + b"9" * 60_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused_in_plain_words(body, app):
    answer = send(app, body)
    assert answer.status == 400
    assert "Traceback" not in answer.text
    assert answer.json["error"]


def test_a_large_body_is_refused_before_it_is_read(app):
    parts = [b" " * 1024] * 1000
    answer = send(app, parts)
    assert answer.status == 413
    assert answer.parts_read == MOST_BODY_BYTES // 1024 + 1
    fits = json.dumps({"name": "Bea"}).encode().ljust(MOST_BODY_BYTES)
    assert send(app, fits).status == 200


@pytest.mark.parametrize("address", ["/api/verdicts", "/api/undo", "/api/reviewers"])
def test_nothing_is_changed_by_an_address_alone(address, app):
    assert Caller(app).get(f"{address}?name=Eve").status == 405


# --- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (let_in(), "/"),
        (let_in(), "/review.js"),
        (let_in(), "/icon.svg"),
        (let_in(), "/api/state"),
        (let_in(), "/api/items/none"),
        (let_in(), "/nothing"),
        (let_in(), f"/?token={TOKEN}"),
        ((("host", HOST),), "/"),
        (NEITHER, "/api/state"),
    ],
)
def test_every_answer_carries_the_headers(headers, address, app):
    answer = asked(app, *headers, address=address)
    for name, value in HEADERS.items():
        assert answer.header(name) == value
    assert answer.header(REVIEW_HEADER) == review_name(TOKEN)


def test_what_is_for_another_review_is_not_taken_and_no_refusal_for_good(app):
    body = [json.dumps({"name": "Eve"}).encode()]
    kind = ("content-type", "application/json")
    for name in ("another", "", review_name("another")):
        answer = asked(
            app, *let_in(kind, (REVIEW_HEADER, name)),
            address="/api/reviewers", method="POST", body=body,
        )  # fmt: skip
        assert answer.status == 421
        assert "another review is served at this address now" in answer.json["error"]
    ours = (REVIEW_HEADER, review_name(TOKEN))
    state = asked(app, *let_in(ours))
    assert state.status == 200
    assert [each["name"] for each in state.json["reviewers"]] == ["Ada"]
    assert state.json["review"] == review_name(TOKEN)


def test_reviews_have_names_of_their_own_that_hold_nothing_of_the_token():
    names = {review_name(f"{TOKEN}{number}") for number in range(50)}
    assert len(names) == 50
    assert not any(TOKEN in name for name in names)


def test_the_policy_allows_the_pages_own_files_and_nothing_else():
    policy = dict(
        directive.partition(" ")[::2]
        for directive in HEADERS["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    for name in ("script-src", "style-src", "connect-src", "img-src"):
        assert policy[name] == "'self'"
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == "'none'"
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert HEADERS["x-content-type-options"] == "nosniff"
    assert HEADERS["referrer-policy"] == "no-referrer"
    assert HEADERS["cache-control"] == "no-store"
    assert HEADERS["cross-origin-opener-policy"] == "same-origin"
    assert HEADERS["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in HEADERS["permissions-policy"]


def packaged(name: str) -> str:
    return resources.files("derta.review").joinpath(name).read_text(encoding="utf-8")


def test_the_page_holds_no_script_and_no_style_of_its_own():
    page = packaged("review.html")
    assert "<style" not in page
    assert not re.search(r"\sstyle\s*=", page)
    assert not re.search(r"\son\w+\s*=", page)
    assert re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL) == [
        (' type="module" src="/review.js"', "")
    ]
    assert not re.search(r"https?://|//\w", page)


def test_texts_never_become_markup():
    scripts = [name for name, kind in FILES.values() if "javascript" in kind]
    assert len(scripts) > 3
    for name in scripts:
        script = packaged(name)
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
        assert not re.search(forbidden, script), name
        assert not re.search(r"createContextualFragment|DOMParser|srcdoc|https?://", script), name


def test_only_listed_files_are_served(app):
    for address in ("/review.html", "/server.py", "/../server.py", "/%2e%2e/server.py", "/api"):
        assert Caller(app).get(address).status == 404
    for address, (_, kind) in FILES.items():
        answer = Caller(app).get(address)
        assert answer.status == 200
        assert answer.header("content-type") == kind


def test_a_defect_is_told_in_plain_words_and_with_the_headers():
    async def broken(*_):
        raise RuntimeError("it broke")

    answer = asked(Guard(broken, token=TOKEN, port=PORT), *let_in())
    assert answer.status == 500
    assert answer.json == {"error": "The server failed (RuntimeError: it broke)."}
    assert answer.header("content-security-policy") == HEADERS["content-security-policy"]


def test_a_web_socket_reaches_nothing():
    reached = []

    async def application(*arguments):
        reached.append(arguments)

    async def nobody(*_):
        raise AssertionError("nothing is said")

    guard = Guard(application, token=TOKEN, port=PORT)
    anyio.run(guard, {"type": "websocket", "path": "/", "headers": []}, nobody, nobody)
    assert reached == []
