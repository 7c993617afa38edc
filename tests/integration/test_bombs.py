"""Small requests that want to become large: JSON and compressed bodies; memory stays bounded."""
import gzip
import json
import struct
import zlib

import pytest
from conftest import ask, chat_body, make_http
from daemon import parse_response, raw_request

CHAT = "/v1/chat/completions"
SURFACES = [("POST", CHAT), ("POST", "/v1/embeddings"), ("PUT", "/api/v1/entries"), ("POST", "/api/v1/lookup"),
            ("POST", "/api/v1/invalidate"), ("POST", "/api/v1/explain")]
# Every other place where JSON comes in.
FURTHER = [("POST", "/api/v1/feedback"), ("POST", "/api/v1/evict"), ("POST", "/api/v1/index"),
           ("POST", "/v1/caches/c/entries"), ("POST", "/v1/caches/c/entries/search"),
           ("POST", "/v1/caches/c/conversations/search"), ("DELETE", "/v1/caches/c/entries"),
           ("POST", "/gptcache/put"), ("POST", "/gptcache/get")]
JSON = [("Content-Type", "application/json"), ("Authorization", "Bearer sk-bombs")]
ROOM_BYTES = 200 << 20  # what a request of 32 MB may cost for a while, and slack of malloc


def wrap(value, method, target):
    """value (JSON text) in a body that is good otherwise, where the surface looks at it."""
    if (method, target) in FURTHER:
        return value if value.startswith(b"[") else b'{"prompt":"x","response":"r","attributes":' + value + b"}"
    if target == CHAT:
        return b'{"model":"plain","messages":[{"role":"user","content":"x"}],"metadata":' + value + b"}"
    if target == "/v1/embeddings":
        return b'{"model":"plain","input":"x","user":' + value + b"}"
    return b'{"query":"x","response":"r","metadata":' + value + b"}"


MILLION = 1_000_000
JSON_BOMBS = {
    "deep-arrays": b"[" * MILLION + b"]" * MILLION,
    "deep-objects": b'{"a":' * MILLION + b"1" + b"}" * MILLION,
    "deep-unclosed": b"[" * MILLION,
    "million-names": b"{" + b",".join(b'"n%d":1' % number for number in range(MILLION)) + b"}",
    "million-times-one-name": b"{" + b",".join([b'"n":1'] * MILLION) + b"}",
    "million-numbers": b"[" + b",".join([b"1"] * MILLION) + b"]",
    "million-empty-objects": b"[" + b",".join([b"{}"] * MILLION) + b"]",
    "long-number": b"1" * (10 << 20),
    "long-fraction": b"0." + b"1" * (10 << 20),
    "long-exponent": b"1e" + b"9" * (10 << 20),
    "long-name": b'{"' + b"n" * (10 << 20) + b'":1}',
    "long-string": b'"' + b"s" * (10 << 20) + b'"',
    "escapes": b'"' + b"\\u0041" * (2 << 20) + b'"',
    "high-surrogates": b'"' + b"\\ud800" * (1 << 20) + b'"',
    "low-surrogates": b'"' + b"\\udc00" * (1 << 20) + b'"',
    "swapped-surrogates": b'"' + b"\\udc00\\ud800" * 1000 + b'"',
    "names-that-are-one-unescaped": b'{"ab":1,"\\u0061b":2}',
    "blanks": b" " * (20 << 20) + b"1",
}


@pytest.mark.heavy
@pytest.mark.parametrize("name", JSON_BOMBS)
def test_json_bomb_costs_bounded_memory(daemon, name):
    before = daemon.rss_bytes()
    for method, target in SURFACES:
        raw = daemon.raw(raw_request(method, target, JSON, wrap(JSON_BOMBS[name], method, target)))
        assert parse_response(raw)[0] in (200, 201, 400, 413, 422, 502), (target, raw[:300])
        assert daemon.rss_bytes() < before + ROOM_BYTES
    assert daemon.is_alive()


REFUSED = ["deep-arrays", "deep-objects", "deep-unclosed", "million-times-one-name", "high-surrogates",
           "low-surrogates", "swapped-surrogates", "names-that-are-one-unescaped"]


@pytest.mark.parametrize("name", REFUSED)
def test_json_that_can_be_read_two_ways_is_a_400(daemon, name):
    before = daemon.rss_bytes()
    for method, target in SURFACES[2:] + FURTHER:
        raw = daemon.raw(raw_request(method, target, JSON, wrap(JSON_BOMBS[name], method, target)))
        # GPTCache's own server says 422.
        assert parse_response(raw)[0] in ((422, 400) if "gptcache" in target else (400,)), (target, raw[:300])
        assert daemon.rss_bytes() < before + ROOM_BYTES
    assert daemon.is_alive()


# -- compressed --

def deflate_bomb(size, window_bits):
    """About a thousandth of size: the same flushed block again and again, under a checksum that nobody
    should come to compare."""
    made = zlib.compressobj(9, zlib.DEFLATED, window_bits)
    piece = b" " * (1 << 20)
    first = made.compress(piece) + made.flush(zlib.Z_FULL_FLUSH)
    block = made.compress(piece) + made.flush(zlib.Z_FULL_FLUSH)
    return first + block * ((size >> 20) - 1) + made.flush()


def gzip_bomb(size):
    return deflate_bomb(size, 31)


def zstd_bomb(size, window_log=20):
    """A frame of blocks that each repeat one byte 128 Ki times: 4 bytes for each."""
    head = struct.pack("<IBB", 0xFD2FB528, 0, (window_log - 10) << 3)
    blocks = size >> 17
    block = struct.pack("<I", 2 | (1 << 17) << 3)[:3] + b" "
    last = struct.pack("<I", 3 | (1 << 17) << 3)[:3] + b" "
    return head + block * (blocks - 1) + last


COMPRESSED_BOMBS = {
    "gzip-1g": ("gzip", gzip_bomb(1 << 30)),
    "gzip-members": ("gzip", gzip.compress(b" " * (1 << 20), 9) * 2000),
    "gzip-of-gzip": ("gzip, gzip", gzip.compress(gzip_bomb(1 << 30), 9)),
    "deflate-1g": ("deflate", deflate_bomb(1 << 30, 15)),
    "zstd-1g": ("zstd", zstd_bomb(1 << 30)),
    "zstd-window-2g": ("zstd", zstd_bomb(1 << 20, 31)),
    "zstd-frames": ("zstd", zstd_bomb(1 << 20) * 2000),
}


@pytest.mark.parametrize("name", COMPRESSED_BOMBS)
def test_compressed_bomb_is_refused_with_bounded_memory(daemon, name):
    coding, body = COMPRESSED_BOMBS[name]
    before = daemon.rss_bytes()
    for method, target in SURFACES:
        raw = daemon.raw(raw_request(method, target, [*JSON, ("Content-Encoding", coding)], body))
        assert parse_response(raw)[0] in (400, 413, 415), (target, raw[:300])
    assert daemon.rss_bytes() < before + ROOM_BYTES
    assert daemon.is_alive()


def test_compressed_body_of_usual_ratio_is_served(http, word):
    body = gzip.compress(json.dumps(chat_body(f"{word} " + "lorem ipsum " * 2000)).encode())
    answer = http.post(CHAT, content=body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert answer.status_code == 200


# -- answers --

def test_compressed_answer_of_an_upstream_is_not_opened(upstream, daemon, word):
    """A bomb for the client's program, if it asks for one: Deja hands the bytes on as they are."""
    body = gzip_bomb(64 << 20)
    before = daemon.rss_bytes()
    with make_http(daemon, f"sk-{word}") as client:
        answer = client.post(f"/v1/echo/{word}", content=body)
        assert answer.content == body
    assert daemon.rss_bytes() < before + ROOM_BYTES


@pytest.mark.heavy
def test_answer_larger_than_the_recorder_is_handed_on_and_not_stored(http, daemon, word):
    model = "long:4000000"  # 24 MB
    before = daemon.rss_bytes()
    for _ in range(2):
        answer = ask(http, word, model)
        assert answer.status_code == 200
        assert len(answer.content) > 20_000_000
        assert answer.headers["x-cache-hit"] == "false"
    assert daemon.rss_bytes() < before + ROOM_BYTES
