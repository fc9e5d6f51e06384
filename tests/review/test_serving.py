"""Listening: on this machine only, on a port that stays, until Ctrl-C.

Covered: real sockets and processes. Not covered: what is answered (test_server).
"""

from __future__ import annotations

import http.client
import inspect
import socket
import threading
import urllib.parse

import pytest

from derta.errors import DataError
from derta.review.serving import HOST, bind, serve, usual_port
from tests.review.making import items, made_store
from tests.review.serving_process import ServerProcess

SECONDS = 60


@pytest.fixture
def folder(tmp_path):
    made_store(tmp_path / "review", items(3), ["Ada"]).close()
    return tmp_path / "review"


def ask(address: str, path: str | None = None, **headers: str) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
    try:
        connection.request("GET", path or f"{parts.path}?{parts.query}", headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


# --- the port -----------------------------------------------------------------------------------


def test_it_listens_on_this_machine_and_there_is_no_other_choice():
    with bind(None, 0) as listening:
        assert listening.getsockname()[0] == HOST == "127.0.0.1"
        assert listening.family == socket.AF_INET
        port = listening.getsockname()[1]
        # Another address of the same machine: who listens on all of them would answer here.
        with pytest.raises(OSError, match=r"refused|assign|timed out|unreachable"):
            socket.create_connection(("127.0.0.2", port), timeout=5).close()
    assert not {"host", "address", "bind"} & set(inspect.signature(serve).parameters)


def test_a_port_that_is_asked_for_is_taken_or_refused_with_the_remedy():
    with bind(0, 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=rf"--port {port}.*listens on this port already"):
            bind(port, 0)
    with bind(port, 0) as free:
        assert free.getsockname()[1] == port


def test_an_impossible_port_is_refused():
    with pytest.raises(DataError, match="--port 70000"):
        bind(70_000, 0)


def test_where_nobody_asked_a_taken_port_is_no_hindrance():
    with bind(0, 0) as taken:
        usual = taken.getsockname()[1]
        with bind(None, usual) as other:
            assert other.getsockname()[1] != usual


def test_the_port_that_is_taken_instead_is_one_that_no_system_hands_out():
    usual = usual_port("a token")
    with bind(None, usual) as first, bind(None, usual) as second:
        ports = [each.getsockname()[1] for each in (first, second)]
        assert len(set(ports)) == 2
        assert all(20_000 <= port < 30_000 for port in ports)


def test_a_review_keeps_its_port_and_others_have_another():
    ports = [usual_port(f"token {number}") for number in range(50)]
    assert ports == [usual_port(f"token {number}") for number in range(50)]
    assert len(set(ports)) > 40
    assert all(20_000 <= port < 30_000 for port in ports)


# --- serving ------------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_ends_when_it_is_told(tmp_path):
    with made_store(tmp_path / "review", items(2)) as store:
        told, ends = [], threading.Event()
        announced = threading.Event()

        def announce(address: str) -> None:
            told.append(address)
            announced.set()

        thread = threading.Thread(
            target=serve,
            args=(store,),
            kwargs={"port": 0, "announce": announce, "should_stop": ends.is_set},
        )
        thread.start()
        try:
            assert announced.wait(SECONDS)
            (address,) = told
            assert address.startswith("http://127.0.0.1:")
            assert urllib.parse.parse_qs(urllib.parse.urlsplit(address).query) == {
                "token": [store.token()]
            }
            assert ask(address).status == 303
            assert ask(address, "/api/state").status == 403
        finally:
            ends.set()
            thread.join(SECONDS)
        assert not thread.is_alive()
        assert store.reviewers() == []  # the store is still open
    with pytest.raises(ConnectionRefusedError):
        ask(address)


def served(store, port=None, *, judging=True):
    """Let somebody begin to judge; return the port, and which port of before was told."""
    ports, told, ends = [], [], threading.Event()

    def announce(address: str) -> None:
        ports.append(urllib.parse.urlsplit(address).port)
        try:
            if judging:
                cookie = ask(address).getheader("set-cookie").partition(";")[0]
                assert ask(address, "/api/queue?reviewer=Ada", Cookie=cookie).status == 200
        finally:
            ends.set()

    def moved(before: int) -> None:
        assert not ports
        told.append(before)

    serve(store, port=port, announce=announce, moved=moved, should_stop=ends.is_set)
    return ports[0], told


def test_it_is_served_where_somebody_judged_last(tmp_path):
    with made_store(tmp_path / "review", items(2), ["Ada"]) as store:
        usual = usual_port(store.token())
        with bind(0, 0) as free:
            named = free.getsockname()[1]
        assert served(store, named) == (named, [])  # nobody has judged elsewhere
        assert store.port() == named
        assert served(store) == (named, [])
        assert served(store, named) == (named, [])
        with bind(0, 0) as free:
            other = free.getsockname()[1]
        assert served(store, other) == (other, [named])
        assert served(store) == (other, [])
        assert usual != other


def test_a_second_server_by_mistake_moves_nothing(tmp_path):
    with made_store(tmp_path / "review", items(2), ["Ada"]) as store:
        first, _ = served(store)
        with bind(first, 0):
            second, told = served(store, judging=False)
        assert (second != first, told) == (True, [first])
        assert served(store) == (first, [])


def test_where_the_port_of_last_time_is_taken_it_is_told_which_one_that_was(tmp_path):
    with made_store(tmp_path / "review", items(2), ["Ada"]) as store:
        first, _ = served(store)
        with bind(first, 0):
            second, told = served(store)
        assert second != first
        assert told == [first]
        assert served(store) == (second, [])
        assert served(store, first) == (first, [second])


def test_who_judged_before_ports_were_remembered_did_so_at_the_usual_one(tmp_path):
    with made_store(tmp_path / "review", items(2), ["Ada"]) as store:
        usual = usual_port(store.token())
        with bind(usual, 0):
            other, told = served(store)
        assert (other != usual, told) == (True, [])
    with made_store(tmp_path / "another", items(2), ["Ada"]) as store:
        store.record(id="event-one", reviewer="Ada", item="item0", verdict="SAFE")
        usual = usual_port(store.token())
        with bind(usual, 0):
            assert served(store)[1] == [usual]


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_word(folder):
    server = ServerProcess(folder)
    with server:
        assert ask(server.address).status == 303
        assert ask(server.address, "/", Cookie="x=y").status == 403
        status, errors = server.interrupt()
    assert status == 0
    assert errors == ""


@pytest.mark.slow
def test_after_a_crash_the_same_address_works_again_at_once(folder):
    with ServerProcess(folder) as server:
        first = server.address
        cookie = ask(first).getheader("set-cookie").partition(";")[0]
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(first)
        server.start()
        assert server.address == first
        assert ask(first, "/api/state", Cookie=cookie).status == 200


@pytest.mark.slow
def test_a_name_that_leads_here_from_outside_is_refused(folder):
    with ServerProcess(folder) as server:
        assert ask(server.address, Host=f"rebound.example:{server.port}").status == 403
        assert ask(server.address, Host=f"localhost:{server.port}").status == 303
