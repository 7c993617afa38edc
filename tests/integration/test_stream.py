"""Streams: passed on as they come, stored only after their proper end."""
import json

import httpx
import pytest
from chat import join
from conftest import ask, chat_body, in_parallel, make_http, status_of
from daemon import chunks_of_stream, events_of, poll


def lines_until(lines, text):
    """Reads SSE lines until a delta holds text; the deltas read so far."""
    got = ""
    for line in lines:
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                got += choice["delta"].get("content") or ""
        if text in got:
            return got
    raise AssertionError(f"the stream ended before {text!r}: {got!r}")


def test_chunks_arrive_while_the_upstream_is_still_writing(http, upstream, word):
    flow = upstream.flow(word)
    flow.send("one ")
    with http.stream("POST", "/v1/chat/completions",
                     json=chat_body(word, f"step:{word}", stream=True)) as answer:
        lines = answer.iter_lines()
        lines_until(lines, "one ")
        for text in ("two ", "three "):
            flow.send(text)
            lines_until(lines, text)  # the next is sent only after this one was seen
        flow.finish()
        rest = list(lines)
    assert "data: [DONE]" in rest


def test_finished_stream_is_stored_and_an_interrupted_one_is_not(http, upstream, word):
    cut = f"cut:{word}"
    for _ in range(2):
        with pytest.raises((httpx.RemoteProtocolError, AssertionError)):
            answer = http.post("/v1/chat/completions", json=chat_body(word, cut, stream=True))
            assert "[DONE]" in events_of(answer.text)
    assert len(upstream.calls(cut)) == 2
    assert ask(http, word, cut, headers={"Cache-Control": "only-if-cached"}).status_code == 504


@pytest.mark.parametrize("kind", ["nodone", "midfail"])
def test_stream_without_its_proper_end_is_not_stored(http, upstream, word, kind):
    model = f"{kind}:{word}"
    for _ in range(2):
        answer = http.post("/v1/chat/completions", json=chat_body(word, model, stream=True))
        assert answer.status_code == 200
    assert len(upstream.calls(model)) == 2


def test_error_event_inside_a_stream_reaches_the_client(http, word):
    answer = http.post("/v1/chat/completions", json=chat_body(word, f"midfail:{word}", stream=True))
    assert any("error" in json.loads(event) for event in events_of(answer.text) if event != "[DONE]")


def test_usage_chunk_is_given_to_who_asked_and_only_then(http, word):
    model = f"plain:{word}"
    without = http.post("/v1/chat/completions", json=chat_body(word, model, stream=True))
    asked = http.post("/v1/chat/completions", json=chat_body(
        word, model, stream=True, stream_options={"include_usage": True}))
    assert all(chunk["choices"] for chunk in chunks_of_stream(without.text))
    last = chunks_of_stream(asked.text)[-1]
    assert last["choices"] == [] and last["usage"]["total_tokens"] > 0


def test_client_leaves_and_the_upstream_call_finishes_to_fill_the_cache(http, upstream, word):
    flow = upstream.flow(word)
    model = f"step:{word}"
    flow.send("kept ")
    with http.stream("POST", "/v1/chat/completions", json=chat_body(word, model, stream=True)) as answer:
        lines_until(answer.iter_lines(), "kept ")
    flow.send("whole")
    flow.finish()

    def cached():
        answer = ask(http, word, model, headers={"Cache-Control": "only-if-cached"})
        return answer if answer.status_code == 200 else None

    found = poll(cached, "the finished answer in the cache")
    assert found.json()["choices"][0]["message"]["content"] == "kept whole"
    assert flow.calls == 1


def test_upstream_that_fails_before_the_first_chunk_is_an_error_with_its_status(http, upstream, word):
    flow = upstream.flow(word)
    flow.fail(429)
    answer = http.post("/v1/chat/completions", json=chat_body(word, f"step:{word}", stream=True))
    assert answer.status_code == 429
    assert answer.headers["content-type"].startswith("application/json")


def test_upstream_that_refuses_stream_options_still_streams(spawn, upstream, word):
    daemon = spawn()
    upstream.refuse_stream_options = True
    try:
        with make_http(daemon, f"sk-{word}") as client:
            answer = client.post("/v1/chat/completions", json=chat_body(word, stream=True))
            assert answer.status_code == 200, answer.text
            assert join(chunks_of_stream(answer.text))["choices"][0]["message"]["content"]
    finally:
        upstream.refuse_stream_options = False


def test_long_stream_arrives_whole_and_is_replayed_whole(http, word):
    model = f"long:20000:{word}"
    first = http.post("/v1/chat/completions", json=chat_body(word, "long:20000", stream=True))
    second = http.post("/v1/chat/completions", json=chat_body(word, "long:20000", stream=True))
    text = join(chunks_of_stream(first.text))["choices"][0]["message"]["content"]
    assert len(text) > 120000, model
    assert join(chunks_of_stream(second.text))["choices"][0]["message"]["content"] == text
    assert status_of(second) == "HIT"


def test_slow_reader_does_not_hold_up_the_others(daemon, http, upstream, word):
    """Back-pressure is per client: one that does not read leaves the rest of the daemon alone."""
    with make_http(daemon, f"sk-{word}") as slow:
        with slow.stream("POST", "/v1/chat/completions",
                         json=chat_body(word, "long:100000", stream=True)) as answer:
            lines = answer.iter_lines()
            next(lines)
            others = in_parallel(8, lambda i: ask(http, f"{word} {i}").status_code)
            assert others == [200] * 8
            assert "data: [DONE]" in list(lines)
