"""One tenant's flood: others keep what they have, and memory stays bounded (unit: store/memory, with a
million keys)."""
import json
import socket

import pytest
from conftest import make_http
from daemon import parse_response

OTHERS = 40


@pytest.fixture
def small_daemon(spawn):
    return spawn(env={"DEJA_L1__MAX_SIZE": "500", "DEJA_TENANT__MAX_ENTRIES": "100", "DEJA_LMDB__ENABLED": "false",
                      "DEJA_SEMANTIC__ENABLED": "false", "DEJA_L1__MAX_BYTES": "16mb"})


def put_request(key, number, size):
    body = json.dumps({"query": f"flood {number}", "response": "r" * size}).encode()
    return (f"PUT /api/v1/entries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def pipeline(daemon, requests):
    """The number of answers 201 to requests sent without waiting, a hundred at a time."""
    made = 0
    with socket.create_connection(("127.0.0.1", daemon.port), 60) as peer:
        answers = peer.makefile("rb")
        for start in range(0, len(requests), 100):
            peer.sendall(b"".join(requests[start : start + 100]))
            for _ in requests[start : start + 100]:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = answers.readline()
                    assert line, "the daemon has closed"
                    head += line
                status, headers, _ = parse_response(head)
                answers.read(int(dict((name.lower(), value) for name, value in headers)["content-length"]))
                made += status == 201
    return made


def lookup(client, query):
    return client.post("/api/v1/lookup", json={"query": query}).json()


@pytest.mark.parametrize(("count", "size"), [(20000, 10), (3000, 20000)], ids=["entries", "bytes"])
def test_flood_of_one_tenant_leaves_the_others_theirs(small_daemon, word, count, size):
    with make_http(small_daemon, f"sk-{word}") as quiet:
        for number in range(OTHERS):
            put = quiet.put("/api/v1/entries", json={"query": f"{word} {number}", "response": "mine"})
            assert put.status_code == 201
        before = small_daemon.rss_bytes()
        flood = [put_request(f"sk-flood-{word}", number, size) for number in range(count)]
        assert pipeline(small_daemon, flood) > count // 2
        for number in range(OTHERS):
            assert "mine" in json.dumps(lookup(quiet, f"{word} {number}")), number
    assert small_daemon.rss_bytes() < before + (64 << 20)
