"""Clients that take their time, thousands at once: others are served, and memory stays bounded."""
import contextlib
import json
import resource
import selectors
import socket

import pytest
from conftest import ask, chat_body, make_http, status_of
from daemon import parse_response, poll, raw_request

CHAT = "/v1/chat/completions"
JSON = [("Content-Type", "application/json")]
SLOW = 2000
BOUND = 64 << 20
# What a connection costs beside the counted bytes (its structs and the kernel's), and slack of malloc.
EACH_BYTES = 16 << 10
SLACK_BYTES = 64 << 20


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * SLOW + 1000
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def slow_daemon(spawn):
    return spawn(env={"DEJA_SERVER__MAX_IN_FLIGHT_BYTES": str(BOUND), "DEJA_SERVER__IDLE_TIMEOUT": "5m",
                      "DEJA_SERVER__HEADER_TIMEOUT": "5m", "DEJA_SERVER__MIN_BODY_RATE": "0",
                      "DEJA_SERVER__WRITE_TIMEOUT": "5m", "DEJA_TENANT__MAX_DERIVED": "100"})


def connect(daemon, data, receive_bytes=None):
    peer = socket.socket()
    if receive_bytes:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    peer.settimeout(60)
    peer.connect(("127.0.0.1", daemon.port))
    peer.sendall(data)
    return peer


@contextlib.contextmanager
def slow_peers():
    peers = []
    try:
        yield peers
    finally:
        for peer in peers:
            peer.close()


def are_open(peers):
    """How many the daemon has neither answered nor closed."""
    with selectors.DefaultSelector() as selector:
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ)
        return len(peers) - len(selector.select(0))


def serve_others(daemon, word, rounds=20):
    """Hits, misses and the cache API, each at the first try."""
    with make_http(daemon, f"sk-{word}") as client:
        for number in range(rounds):
            assert ask(client, f"{word} {number}").status_code == 200
            assert status_of(ask(client, f"{word} {number}")) == "HIT"
        assert client.get("/livez").status_code == 200
        assert client.put("/api/v1/entries", json={"query": word, "response": "r"}).status_code == 201


def test_two_thousand_slow_requests_leave_room_for_others(slow_daemon, word):
    """A third stops within the head, a third within the body, a third says nothing at all."""
    body = json.dumps(chat_body(word)).encode()
    whole = raw_request("POST", CHAT, JSON, body)
    pieces = [whole[:40], whole[:-10], b""]
    before = slow_daemon.rss_bytes()
    with slow_peers() as peers:
        for number in range(SLOW):
            peers.append(connect(slow_daemon, pieces[number % 3]))
        serve_others(slow_daemon, word)
        assert are_open(peers) == SLOW
        assert slow_daemon.rss_bytes() < before + SLOW * EACH_BYTES + SLACK_BYTES
        # They were waiting, not forgotten: the rest of a body makes its answer.
        peers[1].sendall(whole[-10:])
        assert parse_response(peers[1].recv(65536))[0] == 200
    assert poll(slow_daemon.is_ready, "the daemon to be ready")


def test_two_thousand_readers_of_large_answers_stay_below_the_bound(slow_daemon, word):
    """2,000 answers of 1 MB that nobody reads are 2 GB; the bound is 64 MB."""
    model = "long:180000"
    with make_http(slow_daemon, f"sk-{word}") as client:
        assert len(ask(client, word, model).content) > 1_000_000
        assert status_of(ask(client, word, model)) == "HIT"
    headers = [*JSON, ("Authorization", f"Bearer sk-{word}")]
    request = raw_request("POST", CHAT, headers, json.dumps(chat_body(word, model)).encode())
    before = slow_daemon.rss_bytes()
    with slow_peers() as peers:
        for number in range(SLOW):
            peers.append(connect(slow_daemon, request, receive_bytes=4096))
            if number % 500 == 499:
                assert slow_daemon.rss_bytes() < before + BOUND + SLOW * EACH_BYTES + SLACK_BYTES
        serve_others(slow_daemon, word)
        assert slow_daemon.rss_bytes() < before + BOUND + SLOW * EACH_BYTES + SLACK_BYTES
        # One of those that got an answer still gets all of it once he reads, or was given up.
        got = peers[-1].recv(65536)
        assert got == b"" or parse_response(got)[0] in (200, 503)
    assert slow_daemon.is_alive()


def test_large_bodies_that_never_end_are_refused_beyond_the_bound(slow_daemon, word):
    head = (f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {8 << 20}\r\n\r\n").encode()
    half = b"[" + b"1," * (2 << 20)
    before = slow_daemon.rss_bytes()
    with slow_peers() as peers:
        for _ in range(40):
            peer = connect(slow_daemon, head)
            peers.append(peer)
            with contextlib.suppress(OSError):
                peer.sendall(half)
        assert are_open(peers) < len(peers)
        assert slow_daemon.rss_bytes() < before + 2 * BOUND + SLACK_BYTES

        def small_is_served():
            with make_http(slow_daemon, f"sk-{word}") as client:
                return ask(client, word).status_code == 200

        poll(small_is_served, "a small request to find room")


@pytest.mark.heavy
def test_calls_that_outlive_their_clients_stay_below_the_bound(slow_daemon, upstream, word):
    """The call goes on to fill the cache: 60 of 8 MB, each left by its client, are 480 MB."""
    flow = upstream.flow(word)
    before = slow_daemon.rss_bytes()
    refused = 0
    for number in range(60):
        body = json.dumps(chat_body(f"{number} " + "x" * (8 << 20), f"step:{word}")).encode()
        calls = flow.calls
        with connect(slow_daemon, raw_request("POST", CHAT, JSON, body)) as peer:
            poll(lambda: flow.calls > calls or not are_open([peer]), "the call to begin or to be refused")
            refused += not are_open([peer])
    assert refused > 0
    assert slow_daemon.rss_bytes() < before + 2 * BOUND + SLACK_BYTES
    with make_http(slow_daemon, f"sk-{word}") as client:
        assert ask(client, word).status_code == 200


def test_connections_beyond_the_cap_of_an_address_are_refused(spawn):
    daemon = spawn(env={"DEJA_SERVER__MAX_CONNECTIONS_PER_ADDRESS": "10"})
    request = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with slow_peers() as peers:
        statuses = []
        for _ in range(20):
            peers.append(connect(daemon, request))
            statuses.append(parse_response(peers[-1].recv(65536))[0])
        # The fixture's own questions for readiness may still be open at first.
        assert 8 <= statuses.count(200) <= 10
        assert statuses[-1] == 503
    poll(daemon.is_ready, "room after they have left")


def test_newcomer_is_served_when_all_connections_idle(spawn):
    daemon = spawn(env={"DEJA_SERVER__MAX_CONNECTIONS": "20", "DEJA_SERVER__LOOPS": "1"})
    with slow_peers() as peers:
        for _ in range(40):
            with contextlib.suppress(OSError):
                peers.append(connect(daemon, b"GET /livez HTTP/1.1\r\nHo"))
        poll(daemon.is_ready, "the newcomer to be served")
