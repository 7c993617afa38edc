"""Log lines: one JSON object each, with the members WIRE 15 names; traces that go on (WIRE 14)."""
import json
import re

import pytest
from conftest import ask, chat_body, make_http
from daemon import poll

MEMBERS = {"ts", "level", "msg", "tenant", "req_id", "trace_id", "api", "result", "reason", "tier", "similarity",
           "dur_ms", "code"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def lines_of(daemon):
    return [json.loads(line) for line in daemon.log_text().splitlines() if line.startswith("{")]


def line_of(daemon, request_id):
    """The request's line; it is written after the answer has left."""
    def find():
        return [line for line in lines_of(daemon) if line.get("req_id") == request_id]

    return poll(find, f"a log line of {request_id}")[0]


@pytest.fixture
def talkative(spawn):
    return spawn(config="log:\n  level: debug\n  format: json\n")


def test_every_answer_of_the_proxy_has_a_line_with_all_members(talkative, word):
    with make_http(talkative, f"sk-{word}") as client:
        for name, headers, result in (("a", {}, "miss"), ("b", {}, "hit_exact"),
                                      ("c", {"X-Deja-Cache": "bypass"}, "bypass"),
                                      ("d", {"Cache-Control": "no-cache"}, "refresh")):
            ask(client, word, headers={"X-Request-Id": f"{word}-{name}", **headers})
            line = line_of(talkative, f"{word}-{name}")
            assert MEMBERS <= set(line)
            assert (line["result"], line["code"], line["api"]) == (result, 200, "chat")
            assert line["tier"] == ("memory" if result == "hit_exact" else "none")
            assert line["similarity"] == (1 if result == "hit_exact" else None)
            assert line["dur_ms"] > 0
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", line["tenant"])
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["ts"])
        assert line_of(talkative, f"{word}-a")["reason"] == "scope-empty"
        assert line_of(talkative, f"{word}-c")["reason"] == "x-deja-cache"
        assert line_of(talkative, f"{word}-d")["reason"] == "cache-control"


def test_the_cache_api_has_lines_too(talkative, word):
    with make_http(talkative, f"sk-{word}") as client:
        client.post("/api/v1/lookup", json={"query": word}, headers={"X-Request-Id": f"{word}-l"})
        line = line_of(talkative, f"{word}-l")
        assert (line["route"], line["code"], line["level"]) == ("/api/v1/lookup", 200, "debug")
        client.get("/livez", headers={"X-Request-Id": f"{word}-z"})
        assert line_of(talkative, f"{word}-z")["tenant"] is None


def test_what_the_upstream_refuses_is_a_warning_with_its_code(talkative, word):
    with make_http(talkative, f"sk-{word}") as client:
        ask(client, word, "error-500", headers={"X-Request-Id": f"{word}-e"})
    line = line_of(talkative, f"{word}-e")
    assert (line["level"], line["result"], line["code"]) == ("warn", "error", 500)


def test_a_hit_is_no_line_unless_debug_is_asked_for(daemon, http, word):
    ask(http, word, headers={"X-Request-Id": f"{word}-miss"})
    ask(http, word, headers={"X-Request-Id": f"{word}-hit"})
    ask(http, word + "x", headers={"X-Request-Id": f"{word}-after"})
    line_of(daemon, f"{word}-after")
    assert line_of(daemon, f"{word}-miss")["level"] == "info"
    assert not [line for line in lines_of(daemon) if line.get("req_id") == f"{word}-hit"]


def sent_trace(upstream, body_word):
    seen = [r for r in upstream.requests if body_word.encode() in r.body]
    assert seen, "the upstream was not asked"
    return seen[-1].header("traceparent"), seen[-1].header("tracestate")


def test_a_trace_goes_on_upstream_with_a_new_span_and_into_the_log(daemon, http, upstream, word):
    parent = f"00-{TRACE}-{SPAN}-01"
    ask(http, word, headers={"traceparent": parent, "tracestate": "vendor=1", "X-Request-Id": word})
    sent, state = sent_trace(upstream, word)
    assert re.fullmatch(rf"00-{TRACE}-[0-9a-f]{{16}}-01", sent)
    assert SPAN not in sent
    assert state == "vendor=1"
    assert line_of(daemon, word)["trace_id"] == TRACE


def test_a_broken_trace_is_started_anew_without_its_state(daemon, http, upstream, word):
    ask(http, word, headers={"traceparent": f"00-{'0' * 32}-{SPAN}-01", "tracestate": "vendor=1",
                             "X-Request-Id": word})
    sent, state = sent_trace(upstream, word)
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", sent)
    assert state is None
    assert line_of(daemon, word)["trace_id"] == sent[3:35] != "0" * 32


def test_a_request_without_a_trace_gets_none(http, upstream, word):
    ask(http, word)
    assert sent_trace(upstream, word) == (None, None)


def test_a_trace_does_not_part_entries(http, word):
    ask(http, word, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    assert ask(http, word, headers={"traceparent": f"00-{TRACE[::-1]}-{SPAN}-01"}).headers["x-cache-hit"] == "true"


def test_a_slow_operation_is_logged_and_counted(spawn, word):
    """Storing waits for the disk at this durability, and the threshold is as low as it goes."""
    daemon = spawn(config="monitoring:\n  slow_operation: 1ms\nlog:\n  format: json\n")
    with make_http(daemon, f"sk-{word}") as client:
        def slow():
            body = chat_body(word, messages=[{"role": "user", "content": f"{word} {'long ' * 20000}"}])
            client.post("/v1/chat/completions", json=body, headers={"Cache-Control": "no-cache"})
            return [line for line in lines_of(daemon) if line["msg"] == "slow operation"]

        line = poll(slow, "a slow operation")[0]
        assert {"operation", "tier", "dur_ms", "slower_than_ms", "unsaid", "tenant", "req_id", "trace_id"} <= set(line)
        assert line["dur_ms"] >= line["slower_than_ms"] == 1
        found = re.findall(r"^semantic_cache_slow_operations_total\{operation=\"[^\"]+\"\} (\d+)$",
                           client.get("/metrics").text, re.M)
        assert sum(map(int, found)) >= 1


def test_lines_to_a_file_are_json_by_themselves(spawn, word):
    daemon = spawn()  # log.format is auto, stderr is a file
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word, headers={"X-Request-Id": word})
    assert line_of(daemon, word)["msg"] == "request answered"
