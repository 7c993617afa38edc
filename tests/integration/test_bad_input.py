"""Bad input: a clear error in the surface's own format, the process alive, memory bounded."""
import json
import socket

import pytest
from conftest import ask, make_http
from daemon import parse_response, poll, raw_request

CHAT = "/v1/chat/completions"
SURFACES = [("POST", CHAT), ("POST", "/v1/embeddings"), ("PUT", "/api/v1/entries"), ("POST", "/api/v1/lookup")]
JSON = [("Content-Type", "application/json")]


def answer_of(raw):
    status, got, text = parse_response(raw)
    return status, {name.lower(): value for name, value in got}, text


def send(daemon, method, target, body, headers=JSON):
    return answer_of(daemon.raw(raw_request(method, target, headers, body)))


def is_clear_error(target, status, headers, text, statuses=(400,)):
    assert status in statuses, (status, text[:300])
    body = json.loads(text)
    if target.startswith("/api/"):
        assert headers["content-type"].startswith("application/problem+json")
        assert set(body) >= {"type", "title", "status"}
    else:
        assert headers["content-type"].startswith("application/json")
        assert set(body["error"]) >= {"message", "type"}
        assert body["error"]["message"]


@pytest.mark.parametrize(("method", "target"), SURFACES)
@pytest.mark.parametrize("body", [
    b"{", b"", b"{\"a\":}", b"[1,2", b"nonsense", b"{\"a\":1}}", b"\"\\ud800\"", b"{\"a\":01}", b"\x00", b"{'a':1}",
    b"{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\xfe\"}]}",
    b"{\"query\":\"\xc0\xaf\",\"response\":\"\xed\xa0\x80\"}",
], ids=["open", "empty", "no-value", "open-array", "words", "extra", "surrogate", "leading-zero", "nul", "quotes",
        "invalid-utf8", "overlong-utf8"])
def test_malformed_body_is_a_clear_400(daemon, method, target, body):
    is_clear_error(target, *send(daemon, method, target, body))
    assert daemon.is_alive()


@pytest.mark.parametrize(("method", "target"), SURFACES)
@pytest.mark.parametrize("open_close", [(b"[", b"]"), (b'{"a":', b"}")], ids=["arrays", "objects"])
def test_depth_of_ten_thousand_is_a_clear_400(daemon, method, target, open_close):
    opening, closing = open_close
    body = opening * 10000 + b"1" + closing * 10000
    is_clear_error(target, *send(daemon, method, target, body))
    assert daemon.is_alive()


@pytest.mark.parametrize("body", [
    {"model": "plain"}, {"model": "plain", "messages": []}, {"model": "plain", "messages": "hi"},
    {"model": "plain", "messages": [1]}, {"model": 5, "messages": [{"role": "user", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}]}, {"model": "plain", "messages": [{"role": "user"}]},
    {"model": "plain", "messages": [{"role": "user", "content": {"a": 1}}]},
    {"model": "plain", "messages": [{"role": "user", "content": "x"}], "stream": "yes"},
    {"model": "plain", "messages": [{"role": "user", "content": "x"}], "n": "many"},
    {"model": "plain", "messages": [{"role": "user", "content": "x"}], "stream_options": 3},
    [], "text", 1, None, True,
], ids=str)
def test_chat_of_the_wrong_types_is_never_a_crash(daemon, http, body):
    """What is odd but JSON may be the upstream's business: any answer, but an answer."""
    answer = http.post(CHAT, json=body)
    assert answer.status_code in (200, 400, 422, 502)
    assert daemon.is_alive()


@pytest.mark.heavy
@pytest.mark.parametrize(("method", "target"), [*SURFACES, ("POST", "/v1/files/big")])
def test_body_of_100_mb_is_413_and_memory_stays_bounded(daemon, method, target):
    before = daemon.rss_bytes()
    head = (f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {100 << 20}\r\nConnection: close\r\n\r\n").encode()
    is_clear_error(target, *answer_of(daemon.raw(head + b"[" + b"1," * (50 << 20))), (413,))
    assert daemon.is_alive()
    assert daemon.rss_bytes() < before + (64 << 20)


@pytest.mark.heavy
def test_chunked_body_of_100_mb_is_413(daemon):
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    head = b"POST " + CHAT.encode() + (b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                                       b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    is_clear_error(CHAT, *answer_of(daemon.raw(head + chunk * 100 + b"0\r\n\r\n")), (413,))
    assert daemon.is_alive()


def test_gigantic_declared_length_is_413_at_once(daemon):
    raw = daemon.raw(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                     b"Content-Length: 99999999999999999\r\n\r\n{")
    assert parse_response(raw)[0] in (400, 413)


@pytest.mark.parametrize("raw", [
    b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x01 HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\nHost: 127.0.0.1\n\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nBad Header: x\r\n\r\n", b"GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n folded\r\n\r\n",
], ids=["garbage", "tls", "version", "control", "two-hosts", "bare-lf", "two-lengths", "length-and-chunked",
        "negative", "bad-chunk", "space-in-name", "space-before-colon", "folded"])
def test_broken_http_is_refused_and_the_connection_closed(daemon, raw):
    got = daemon.raw(raw, half_close=True)
    if got:
        assert parse_response(got)[0] in (400, 403, 404, 405, 421, 501, 505), got[:200]
    assert daemon.is_alive()


def test_header_block_beyond_the_limit_is_431(daemon):
    raw = daemon.raw(raw_request("GET", "/livez", [(f"X-{n}", "y" * 1000) for n in range(90)]))
    assert parse_response(raw)[0] in (400, 431)
    many = daemon.raw(raw_request("GET", "/livez", [(f"X-{n}", "y") for n in range(5000)]))
    assert parse_response(many)[0] in (400, 431)


def test_target_of_100_kb_is_refused(daemon):
    raw = daemon.raw(raw_request("GET", "/v1/" + "a" * 100000))
    assert parse_response(raw)[0] in (400, 414, 431)


def test_half_requests_end_nothing(daemon, word):
    """Connections that stop in the middle, at every kind of place."""
    whole = raw_request("POST", CHAT, JSON, json.dumps(
        {"model": "plain", "messages": [{"role": "user", "content": word}]}).encode())
    for cut in range(1, len(whole) - 1, 7):
        with socket.create_connection(("127.0.0.1", daemon.port), 30) as peer:
            peer.sendall(whole[:cut])
    assert daemon.is_alive()
    with make_http(daemon, f"sk-{word}") as client:
        assert ask(client, word).status_code == 200


def test_hundreds_of_idle_connections_leave_room_for_others(daemon, http, word):
    peers = [socket.create_connection(("127.0.0.1", daemon.port), 30) for _ in range(300)]
    try:
        for peer in peers:
            peer.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127")
        assert ask(http, word).status_code == 200
    finally:
        for peer in peers:
            peer.close()


def test_same_broken_body_many_times_does_not_grow_memory(daemon):
    body = b"{\"model\":\"plain\",\"messages\":[" + b"{\"role\":\"user\",\"content\":\"x\"}," * 3000
    for _ in range(30):
        send(daemon, "POST", CHAT, body)
    before = daemon.rss_bytes()
    for _ in range(100):
        send(daemon, "POST", CHAT, body)
    assert daemon.rss_bytes() < before + (32 << 20)


def test_number_beyond_every_type_survives_or_is_refused(http, word):
    for number in ("1e400", "-1e400", "123456789012345678901234567890", "0.1e-400", "-0"):
        text = '{"model":"plain","messages":[{"role":"user","content":"%s"}],"odd":%s}' % (word, number)
        answer = http.post(CHAT, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code in (200, 400), number


def test_duplicate_keys_do_not_share_an_entry_with_either(http, word):
    plain = ask(http, word)
    text = '{"model":"plain","messages":[{"role":"user","content":"%s"}],"messages":[{"role":"user","content":"%s x"}]}'
    answer = http.post(CHAT, content=text % (word, word), headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        assert answer.json()["id"] != plain.json()["id"]


def test_gzip_body_is_understood_or_refused_clearly(daemon):
    import gzip

    body = gzip.compress(json.dumps({"model": "plain", "messages": [{"role": "user", "content": "zip"}]}).encode())
    status, _, _ = send(daemon, "POST", CHAT, body, [*JSON, ("Content-Encoding", "gzip")])
    assert status in (200, 400, 415)


def test_slow_client_is_closed_in_the_end(spawn):
    """The header timeout is 10 s; the test only bounds a hang."""
    daemon = spawn()
    with socket.create_connection(("127.0.0.1", daemon.port), 60) as peer:
        peer.sendall(b"GET /livez HTTP/1.1\r\nHo")
        got = peer.recv(4096)
    assert got == b"" or got.startswith(b"HTTP/1.1 408")


def test_daemon_still_answers_after_all_this(daemon, http, word):
    assert poll(daemon.is_ready, "readiness")
    assert ask(http, word).status_code == 200
