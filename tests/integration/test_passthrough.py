"""Every other path under /v1/ goes through untouched, in both directions."""
import hashlib
import json
import os

import pytest
from conftest import make_http
from daemon import parse_response, raw_request

CACHE_HEADERS = {
    "X-Deja-Cache": "bypass", "X-Deja-TTL": "5", "X-Deja-Namespace": "n", "X-Deja-Tags": "a,b",
    "X-Deja-Mode": "exact", "X-Deja-Threshold": "0.99", "X-Deja-Max-Age": "5",
    "x-portkey-cache-force-refresh": "true", "cf-aig-skip-cache": "true", "Helicone-Cache-Enabled": "true",
    "x-bf-cache-key": "k", "X-OpenRouter-Cache": "true", "X-Cache-Bypass": "1",
    "x-higress-skip-ai-cache": "on", "op-cache": "readWrite",
}


def last(upstream, path):
    return [request for request in upstream.requests if request.path == path][-1]


@pytest.mark.parametrize("body", [b"", b"{}", b'{ "b" : 1 ,\n"a":2.50}', bytes(range(256)) * 40,
                                  "ünïcode".encode()], ids=["empty", "object", "spaces", "binary", "utf8"])
def test_client_gets_the_bytes_it_sent_back(http, upstream, word, body):
    path = f"/v1/echo/{word}"
    answer = http.post(path, content=body, headers={"Content-Type": "application/x-odd"})
    assert answer.content == body
    assert last(upstream, path).body == body
    assert answer.headers["content-type"] == "application/x-odd"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_method_path_and_query_are_kept(http, word, method):
    target = f"/v1/threads/{word}/a%2Fb/%E2%82%AC?x=1&y=a+b&empty=&x=2"
    answer = http.request(method, target)
    assert answer.headers["x-echo-method"] == method
    assert answer.headers["x-echo-target"] == target


def test_answer_headers_are_kept_with_repeated_ones(http, word):
    answer = http.get(f"/v1/echo/{word}")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers["cache-control"] == "no-cache"


def test_head_request_has_the_upstreams_length_and_no_body(http, word):
    answer = http.head(f"/v1/files/{word}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["x-from"] == "upstream"


@pytest.mark.parametrize("status", [201, 202, 204, 301, 304, 404, 418, 429, 500, 503])
def test_status_is_kept(http, status):
    assert http.get(f"/v1/status/{status}").status_code == status


def test_model_list_passes(sdk):
    assert next(iter(sdk.models.list())).id == "plain"


def test_upload_of_a_file_arrives_whole(http, upstream, word):
    content = os.urandom(3_000_000)
    path = f"/v1/files/{word}"
    answer = http.post(path, files={"file": ("a.bin", content)}, data={"purpose": "assistants"})
    seen = last(upstream, path)
    assert hashlib.sha256(seen.body).digest() == hashlib.sha256(answer.content).digest()
    assert content in seen.body
    assert seen.header("content-type").startswith("multipart/form-data; boundary=")


def test_chunked_upload_arrives_whole(http, upstream, word):
    path = f"/v1/files/{word}"
    http.post(path, content=iter([b"one ", b"two ", b"three"]))
    assert last(upstream, path).body == b"one two three"


def test_large_answer_arrives_whole(http):
    assert len(http.get("/v1/large/20000000").content) == 20_000_000


def test_foreign_event_stream_passes_byte_for_byte(http):
    answer = http.get("/v1/raw-stream")
    assert answer.content == b"event: odd\ndata: {\"a\": 1}\n\n: comment\n\ndata: [END]\n\n"
    assert answer.headers["content-type"] == "text/event-stream"


def test_credentials_and_own_headers_of_the_client_go_upstream(http, upstream, word, key):
    path = f"/v1/echo/{word}"
    http.get(path, headers={"OpenAI-Organization": "org", "X-Mine": "yes", "User-Agent": "me/1"})
    seen = last(upstream, path)
    assert seen.header("authorization") == f"Bearer {key}"
    assert (seen.header("openai-organization"), seen.header("x-mine")) == ("org", "yes")
    assert seen.header("user-agent") == "me/1"
    assert seen.header("host") == f"127.0.0.1:{upstream.port}"


@pytest.mark.parametrize("path", ["/v1/echo/x", "/v1/chat/completions"])
def test_cache_headers_are_removed_before_forwarding(http, upstream, word, path):
    body = {"model": f"plain:{word}", "messages": [{"role": "user", "content": word}],
            "cache": {"ttl": 5}, "cache_skip": True} if "chat" in path else {"a": word}
    http.post(path, json=body, headers=CACHE_HEADERS)
    seen = [r for r in upstream.requests if word.encode() in r.body][-1]
    names = {name.lower() for name, _ in seen.headers}
    assert not names & {name.lower() for name in CACHE_HEADERS}
    if "chat" in path:
        assert not {"cache", "cache_skip"} & set(json.loads(seen.body))


def test_hop_by_hop_headers_stay_on_their_hop(daemon, upstream, word):
    path = f"/v1/echo/{word}"
    raw = daemon.raw(raw_request("POST", path, [
        ("Connection", "close, X-Private"), ("X-Private", "1"), ("Keep-Alive", "timeout=5"), ("TE", "trailers"),
        ("Proxy-Authorization", "Basic x"), ("Upgrade", "h2c"), ("Content-Type", "application/json")], b"{}"))
    status, _, body = parse_response(raw)
    assert (status, body) == (200, b"{}")
    names = {name.lower() for name, _ in last(upstream, path).headers}
    assert not names & {"x-private", "keep-alive", "te", "proxy-authorization", "upgrade"}


def test_unknown_body_fields_of_a_chat_go_upstream_unchanged(http, upstream, word):
    body = {"model": f"plain:{word}", "messages": [{"role": "user", "content": word}],
            "weird": {"deep": [1, 2.5, None, "ü"]}, "temperature": 0.10, "big": 12345678901234567890}
    http.post("/v1/chat/completions", json=body)
    assert upstream.calls(f"plain:{word}")[0].json() == body


def test_unknown_path_elsewhere_is_404_and_never_forwarded(http, upstream, word):
    for path in (f"/{word}", f"/v2/{word}", f"/api/v1/{word}", "/v1"):
        assert http.get(path).status_code == 404, path
    assert not [r for r in upstream.requests if word in r.path]


def test_path_cannot_leave_v1(daemon, upstream, word):
    for target in (f"/v1/../{word}", f"/v1/%2e%2e/{word}", f"/v1/..%2f{word}", f"//v1/{word}"):
        daemon.raw(raw_request("GET", target))
    assert not [r for r in upstream.requests if r.path.startswith(f"/{word}")]


def test_keep_alive_connection_serves_many_requests_in_order(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        for number in range(50):
            assert client.post(f"/v1/echo/{number}", content=str(number)).text == str(number)


def test_pipelined_requests_are_answered_in_order(daemon, word):
    parts = []
    for number in range(10):
        body = f"{word}-{number}".encode()
        close = b"Connection: close\r\n" if number == 9 else b""
        parts.append(b"POST /v1/echo/p HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n%s\r\n%s"
                     % (len(body), close, body))
    got = daemon.raw(b"".join(parts))
    places = [got.index(f"{word}-{number}".encode()) for number in range(10)]
    assert places == sorted(places)
    assert got.count(b"HTTP/1.1 200") == 10


def test_expect_continue_is_answered(daemon, word):
    import socket

    with socket.create_connection(("127.0.0.1", daemon.port), 60) as peer:
        peer.sendall(b"POST /v1/echo/e HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\n"
                     b"Content-Length: 5\r\nConnection: close\r\n\r\n")
        first = peer.recv(1000)
        assert first.startswith(b"HTTP/1.1 100")
        peer.sendall(b"hello")
        rest = b""
        while part := peer.recv(65536):
            rest += part
    assert b"200" in rest.split(b"\r\n")[0] and rest.endswith(b"hello")


def test_chat_asks_only_for_encodings_deja_can_decode(http, upstream, word):
    http.post("/v1/chat/completions", headers={"Accept-Encoding": "br, gzip"}, json={
        "model": f"plain:{word}", "messages": [{"role": "user", "content": word}]})
    accepted = (upstream.calls(f"plain:{word}")[0].header("accept-encoding") or "").lower()
    assert "br" not in [item.strip().split(";")[0] for item in accepted.split(",")]
