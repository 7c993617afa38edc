"""No control character leaves in any header: what clients send, what upstreams answer."""
import json
import re
import urllib.parse

import pytest
from daemon import Daemon, raw_request
from recorder import Recorder, plain_answer

CHAT = "/v1/chat/completions"
JSON = [("Content-Type", "application/json")]
FIELD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [\t\x20-\x7e\x80-\xff]*")
STATUS_LINE = re.compile(rb"HTTP/1\.1 [2-5]\d\d [ -~]*")

# What a careless program turns into a line end: as such, escaped once or twice, in overlong UTF-8, and
# as the letters U+560D U+560A, whose low bytes are CR and LF.
BREAKS = ["\r\n", "\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x00", "\x85", "\u2028", "\u560d\u560a", "%0d%0a", "%0a",
          "%250d%250a", "\\r\\n", "\\u000d\\u000a", "\x7f", "\x1b[2J", "\t"]
MARK = "X-Injected: yes"
VALUES = [f"a{mark}{MARK}" for mark in BREAKS] + [f"{mark}{mark}{MARK}{mark}{mark}<html>" for mark in BREAKS[:4]]


def heads_of(raw):
    """The heads of all answers in raw, each checked line by line."""
    found = []
    while raw:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        assert blank, head[:200]
        lines = head.split(b"\r\n")
        assert STATUS_LINE.fullmatch(lines[0]), lines[0]
        fields = {}
        for line in lines[1:]:
            assert FIELD_LINE.fullmatch(line), line
            name, _, value = line.partition(b": ")
            fields.setdefault(name.lower(), []).append(value)
        assert b"x-injected" not in fields, head
        assert len(fields.get(b"content-length", [])) + len(fields.get(b"transfer-encoding", [])) <= 1, head
        found.append((int(lines[0].split()[1]), fields))
        if b"transfer-encoding" in fields:
            end = raw.find(b"0\r\n\r\n")
            raw = raw[end + 5 :] if end >= 0 else b""
        else:
            raw = raw[int(fields.get(b"content-length", [b"0"])[0]) :]
    assert found
    return found


def send(daemon, *args, **kwargs):
    return heads_of(daemon.raw(raw_request(*args, **kwargs)))


REQUEST_FIELDS = ["X-Request-Id", "X-Deja-Namespace", "X-Deja-Tags", "X-Deja-TTL", "X-Deja-Mode", "X-Deja-Cache",
                  "X-Deja-Threshold", "X-Deja-Max-Age", "x-portkey-cache-namespace", "x-portkey-trace-id",
                  "Helicone-Cache-Seed", "x-bf-cache-key", "cf-aig-cache-ttl", "Authorization", "Accept", "User-Agent",
                  "Origin", "Cache-Control", "Content-Type", "OpenAI-Organization", "traceparent", "x-stainless-lang"]


@pytest.mark.parametrize("name", REQUEST_FIELDS)
def test_header_value_never_becomes_another_header(daemon, name, word):
    body = json.dumps({"model": "plain", "messages": [{"role": "user", "content": word}]}).encode()
    for value in VALUES:
        raw_value = value.encode("utf-8").decode("latin-1")
        if re.search("[\r\n]", raw_value):
            continue  # that is another header already: test_smuggling.py
        headers = [(name, raw_value)] + (JSON if name != "Content-Type" else [])
        for method, target, sent in (("POST", CHAT, body), ("GET", f"/v1/echo/{word}", b""), ("GET", "/nothing", b"")):
            send(daemon, method, target, headers, sent)
    assert daemon.is_alive()


def bodies_with(value):
    chat = {"model": "plain", "messages": [{"role": "user", "content": "x"}]}
    entry = {"query": "q", "response": "r"}
    yield CHAT, {**chat, "model": value}
    yield CHAT, {**chat, "user": value}
    yield CHAT, {**chat, "messages": [{"role": value, "content": value, "name": value}]}
    yield CHAT, {**chat, "cache": {"namespace": value, "ttl": value}}
    yield CHAT, {**chat, value: value}
    yield CHAT, {**chat, "model": value, "stream": True}
    yield "/v1/embeddings", {"model": value, "input": value}
    yield "/api/v1/entries", {**entry, "model": value, "query": value, "response": value}
    yield "/api/v1/entries", {**entry, "namespace": value, "tags": [value]}
    yield "/api/v1/entries", {**entry, "metadata": {value: value}, value: 1}
    yield "/api/v1/lookup", {"query": value, "namespace": value, "tags": [value]}
    yield "/api/v1/invalidate", {"tags": [value], "reason": value}
    yield "/api/v1/explain", {"query": value, "namespace": value}


def test_json_value_never_becomes_a_header(daemon):
    for value in VALUES:
        for target, body in bodies_with(value):
            method = "PUT" if target.endswith("entries") else "POST"
            send(daemon, method, target, JSON, json.dumps(body).encode())
    assert daemon.is_alive()


def test_target_never_becomes_a_header(daemon):
    for value in VALUES:
        quoted = urllib.parse.quote(value, safe="%")
        for target in (f"/api/v1/explain?query={quoted}&namespace={quoted}", f"/api/v1/entries/{quoted}", f"/{quoted}",
                       f"/api/v1/stats?{quoted}", f"/v1/echo/{quoted}?{quoted}={quoted}"):
            send(daemon, "GET", target)
    assert daemon.is_alive()


# -- the upstream's answers --

def answer(head, body=b"ok"):
    return b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body


ODD_BYTES = [b"\r", b"\n", b"\r\n ", b"\r\n\t", b"\x00", b"\x01", b"\x0b", b"\x0c", b"\x1b", b"\x7f", b"\x85", b"\xff"]
ANSWERS = {
    **{f"value-{byte!r}": answer(b"X-Odd: a" + byte + b"X-Injected: yes\r\nX-Good: 1\r\n") for byte in ODD_BYTES
       if byte != b"\n"},
    **{f"name-{byte!r}": answer(b"X-O" + byte + b"dd: a\r\nX-Good: 1\r\n") for byte in ODD_BYTES},
    **{f"type-{byte!r}": answer(b"Content-Type: text/" + byte + b"plain\r\n") for byte in ODD_BYTES},
    **{f"id-{byte!r}": answer(b"X-Request-Id: a" + byte + b"b\r\n") for byte in ODD_BYTES},
    **{f"reason-{byte!r}": b"HTTP/1.1 200 O" + byte + b"K\r\nContent-Length: 2\r\n\r\nok" for byte in ODD_BYTES},
    "space-before-colon": answer(b"X-Odd : a\r\n"),
    "no-colon": answer(b"X-Odd\r\n"),
    "no-name": answer(b": a\r\n"),
    "many": answer(b"".join(b"X-%d: y\r\n" % number for number in range(200))),
    "too-many": answer(b"".join(b"X-%d: y\r\n" % number for number in range(3000))),
    "large": answer(b"X-Odd: " + b"y" * 60000 + b"\r\n"),
    "too-large": answer(b"X-Odd: " + b"y" * 400000 + b"\r\n"),
    "endless-head": b"HTTP/1.1 200 OK\r\n" + b"X-Odd: y\r\n" * 200000,
    "two-lengths": answer(b"Content-Length: 1\r\n"),
    "length-and-chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "negative-length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
    "huge-length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
    "other-coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nok",
    "bad-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "chunk-ext": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\nX-Injected: yes\r\n\r\n",
    "hop-by-hop": answer(b"Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n"
                         b"Proxy-Authenticate: Basic\r\nTrailer: X\r\nTE: x\r\n"),
    "http-0.9": b"ok",
    "status-999": b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status-099": b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status-1000": b"HTTP/1.1 1000 Odd\r\nContent-Length: 2\r\n\r\nok",
    "status-101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nok",
    "continue-flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 20000 + answer(b""),
    "early-hints": b"HTTP/1.1 103 Early Hints\r\nX-Injected: yes\r\n\r\n" + answer(b""),
    # Two readers, two lengths: what follows must not become an answer to the next request.
    "two-equal-lengths": answer(b"Content-Length: 2\r\n"),
    "length-list": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    "length-with-plus": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "length-with-space": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "length-in-hex": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "folded-length": b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok",
    "length-too-short": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Injected: yes\r\n"
                        b"Content-Length: 5\r\n\r\nwrong",
    "length-too-long": b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\nok",
    "chunked-twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"2\r\nok\r\n0\r\n\r\n",
    "chunked-then-other": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunked-hidden": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 2\r\n\r\nok",
    "chunked-in-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunk-of-2^64": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\nok\r\n0\r\n\r\n",
    "chunk-negative": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    "chunk-bare-lf": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
    "chunk-without-end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n",
    "chunk-long-extension": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + b"a" * 200000
                            + b"\r\nok\r\n0\r\n\r\n",
    "trailers-that-frame": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                           b"Content-Length: 5\r\nSet-Cookie: a=b\r\nX-Injected: yes\r\n\r\n",
    "many-trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
                     + b"X-Injected: yes\r\n" * 50000 + b"\r\n",
    "body-of-204": b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nwrong",
    "body-of-304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nwrong",
    "folded-header": answer(b"X-Odd: a\r\n X-Injected: yes\r\n\tX-Injected: yes\r\n"),
    "folded-first": b"HTTP/1.1 200 OK\r\n X-Injected: yes\r\nContent-Length: 2\r\n\r\nok",
    "empty-name": answer(b":\r\n"),
    "hints-with-a-body": b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nwrong" + answer(b""),
    "hints-flood": (b"HTTP/1.1 103 Early Hints\r\nX-Injected: yes\r\n" + b"Link: </a>\r\n" * 20 + b"\r\n") * 3000
                   + answer(b""),
    "continue-for-ever": b"HTTP/1.1 100 Continue\r\nX-Injected: yes\r\n\r\n" * 100000,
    "header-of-a-megabyte": answer(b"X-Odd: " + b"y" * (1 << 20) + b"\r\n"),
    "name-of-a-megabyte": answer(b"X" * (1 << 20) + b": y\r\n"),
    "status-line-of-a-megabyte": b"HTTP/1.1 200 " + b"K" * (1 << 20) + b"\r\nContent-Length: 2\r\n\r\nok",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-7.7": b"HTTP/7.7 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "tab-after-version": b"HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok",
    "no-status": b"HTTP/1.1\r\nContent-Length: 2\r\n\r\nok",
    "set-cookie": answer(b"Set-Cookie: session=upstream\r\nAuthorization: Bearer x\r\nProxy-Authorization: y\r\n"),
    "deja-headers": answer(b"X-Cache-Hit: true\r\nX-Cache-Id: 00\r\nCache-Status: deja; hit\r\nAge: -1\r\n"),
    "nothing": b"",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
}


@pytest.fixture(scope="module")
def upstream_of_bytes(tmp_path_factory):
    """A daemon whose upstream sends what ANSWERS has under the path's last part."""
    def find(seen):
        name = seen.target.rsplit(b"/", 1)[1].decode()
        if seen.target.endswith(b"/completions"):
            name = json.loads(seen.body)["model"]
        made = ANSWERS.get(name)
        # The connection is closed where the answer's end would not be seen otherwise.
        return plain_answer(seen) if made is None else made + (b"" if name in KEPT_OPEN else CLOSE_MARK)

    recorder = ClosingRecorder(find).start()
    # An upstream that answers nothing but nonsense would soon not be asked any more.
    daemon = Daemon(tmp_path_factory.mktemp("deja"), recorder.url,
                    config="circuit_breaker:\n  enabled: false\n").start()
    yield daemon
    daemon.stop()
    recorder.stop()


CLOSE_MARK = b"\x00CLOSE\x00"
KEPT_OPEN = {"many", "hop-by-hop", "early-hints", "chunk-ext"}


class ClosingRecorder(Recorder):
    async def _write(self, writer, answer):
        await super()._write(writer, answer.removesuffix(CLOSE_MARK))
        return not answer.endswith(CLOSE_MARK)


def fold(name):
    return re.sub(r"[^a-z0-9.-]", "_", name)


ANSWERS = {fold(name): made for name, made in ANSWERS.items()}


@pytest.mark.parametrize("name", ANSWERS)
def test_upstreams_answer_is_cleaned_or_a_502(upstream_of_bytes, name, word):
    daemon = upstream_of_bytes
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": word}]}).encode()
    for round_number in range(2):
        for method, target, sent in (("GET", f"/v1/{word}/{name}", b""), ("POST", CHAT, body)):
            raw = daemon.raw(raw_request(method, target, JSON if sent else [], sent))
            if raw == b"" or raw.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in raw:
                continue  # broken off
            status, fields = heads_of(raw)[0]
            assert status in (200, 204, 304, 502), (status, round_number)
            hop = {b"x-hop", b"upgrade", b"keep-alive", b"proxy-authenticate", b"te", b"trailer"}
            assert not hop & set(fields)
    assert daemon.is_alive()
    # The next call is not answered with what was left of this one.
    (status, _), = heads_of(daemon.raw(raw_request("GET", f"/v1/{word}/good")))
    assert status == 200


def test_bytes_after_an_answer_never_answer_the_next_request(upstream_of_bytes, word):
    daemon = upstream_of_bytes
    ANSWERS[f"extra{word}"] = answer(b"") + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Injected: yes\r\n\r\nwrong"
    KEPT_OPEN.add(f"extra{word}")
    for _ in range(20):
        heads_of(daemon.raw(raw_request("GET", f"/v1/{word}/extra{word}")))
        raw = daemon.raw(raw_request("GET", f"/v1/{word}/good"))
        heads_of(raw)
        assert raw.endswith(b"seen\n")
