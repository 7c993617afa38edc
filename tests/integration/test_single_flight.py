"""Identical requests that run at the same time make one upstream call."""
import asyncio
import json

import httpx
import pytest
from conftest import ask, chat_body, make_http
from daemon import events_of
from test_stream import lines_until

CROWD = 1000
COLLAPSED = "collapsed"


async def crowd(daemon, key, body, count, flow):
    """count identical requests; the upstream answers only after the daemon has got them all."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=daemon.url, timeout=180, limits=limits, trust_env=False,
                                 headers={"Authorization": f"Bearer {key}"}) as client:
        tasks = [asyncio.ensure_future(client.post("/v1/chat/completions", json=body)) for _ in range(count)]
        while not flow.started.is_set():
            await asyncio.sleep(0.01)
        flow.send("shared ")
        # All have been accepted when a request sent after them is answered on each connection's
        # behalf: the metric counts those in flight.
        for _ in range(600):
            answer = await client.get("/metrics")
            found = [line for line in answer.text.splitlines() if line.startswith("semantic_cache_inflight")]
            if found and float(found[0].split()[-1]) >= count:
                break
            await asyncio.sleep(0.05)
        flow.send("answer")
        flow.finish()
        return await asyncio.gather(*tasks)


def text_of(answer, is_stream):
    if not is_stream:
        return answer.json()["choices"][0]["message"]["content"]
    events = events_of(answer.text)
    assert events[-1] == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for event in events[:-1]
                   for choice in json.loads(event)["choices"])


@pytest.mark.heavy
@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_thousand_identical_requests_make_one_upstream_call(daemon, upstream, word, is_stream):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=is_stream)
    answers = asyncio.run(crowd(daemon, f"sk-{word}", body, CROWD, flow))
    assert {answer.status_code for answer in answers} == {200}
    assert {text_of(answer, is_stream) for answer in answers} == {"shared answer"}
    assert flow.calls == 1


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_fifty_identical_requests_make_one_upstream_call(daemon, upstream, word, is_stream):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=is_stream)
    answers = asyncio.run(crowd(daemon, f"sk-{word}", body, 50, flow))
    assert {text_of(answer, is_stream) for answer in answers} == {"shared answer"}
    assert flow.calls == 1
    assert any(COLLAPSED in answer.headers["cache-status"] for answer in answers)


def test_streaming_and_not_share_one_upstream_call(daemon, upstream, word):
    flow = upstream.flow(word)

    async def both():
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120, trust_env=False,
                                     headers={"Authorization": f"Bearer sk-{word}"}) as client:
            tasks = [asyncio.ensure_future(client.post("/v1/chat/completions", json=chat_body(
                word, f"step:{word}", **({"stream": True} if number % 2 else {})))) for number in range(8)]
            while not flow.started.is_set():
                await asyncio.sleep(0.01)
            flow.send("same")
            flow.finish()
            return await asyncio.gather(*tasks)

    answers = asyncio.run(both())
    assert [text_of(answer, bool(number % 2)) for number, answer in enumerate(answers)] == ["same"] * 8
    # One that comes after the flight has landed is a hit, so 1 is the only right number.
    assert flow.calls == 1


def test_late_follower_gets_what_has_come_and_then_the_rest_as_it_comes(daemon, upstream, word):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=True)
    flow.send("early ")
    with make_http(daemon, f"sk-{word}") as one, make_http(daemon, f"sk-{word}") as two:
        with one.stream("POST", "/v1/chat/completions", json=body) as first:
            first_lines = first.iter_lines()
            lines_until(first_lines, "early ")
            with two.stream("POST", "/v1/chat/completions", json=body) as second:
                second_lines = second.iter_lines()
                assert lines_until(second_lines, "early ") == "early "
                flow.send("late")
                lines_until(first_lines, "late")
                lines_until(second_lines, "late")
                flow.finish()
                assert "data: [DONE]" in list(second_lines)
            assert "data: [DONE]" in list(first_lines)
    assert flow.calls == 1


def test_first_client_leaves_and_the_follower_still_gets_everything(daemon, upstream, word):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=True)
    flow.send("a ")
    with make_http(daemon, f"sk-{word}") as one, make_http(daemon, f"sk-{word}") as two:
        with one.stream("POST", "/v1/chat/completions", json=body) as first:
            lines_until(first.iter_lines(), "a ")
            follower = two.stream("POST", "/v1/chat/completions", json=body)
            second = follower.__enter__()
            lines = second.iter_lines()
            lines_until(lines, "a ")
        flow.send("b")
        lines_until(lines, "b")
        flow.finish()
        assert "data: [DONE]" in list(lines)
        follower.__exit__(None, None, None)
    assert not flow.closed.is_set()
    assert flow.calls == 1


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_upstream_error_is_every_followers_own_answer(daemon, upstream, word, is_stream):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=is_stream)

    async def all_of_them():
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120, trust_env=False,
                                     headers={"Authorization": f"Bearer sk-{word}"}) as client:
            tasks = [asyncio.ensure_future(client.post("/v1/chat/completions", json=body)) for _ in range(20)]
            while not flow.started.is_set():
                await asyncio.sleep(0.01)
            for _ in range(200):
                text = (await client.get("/metrics")).text
                found = [line for line in text.splitlines() if line.startswith("semantic_cache_inflight")]
                if found and float(found[0].split()[-1]) >= 20:
                    break
                await asyncio.sleep(0.02)
            flow.fail(429)
            return await asyncio.gather(*tasks)

    answers = asyncio.run(all_of_them())
    assert [answer.status_code for answer in answers] == [429] * 20
    assert all(answer.json()["error"]["code"] == "rate_limit_exceeded" for answer in answers)
    assert flow.calls == 1


def test_stream_that_breaks_off_ends_every_follower_and_is_not_stored(daemon, upstream, word):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=True)
    flow.send("half ")
    with make_http(daemon, f"sk-{word}") as one, make_http(daemon, f"sk-{word}") as two:
        with one.stream("POST", "/v1/chat/completions", json=body) as first, \
                two.stream("POST", "/v1/chat/completions", json=body) as second:
            readers = [first.iter_lines(), second.iter_lines()]
            for lines in readers:
                lines_until(lines, "half ")
            flow.cut()
            for lines in readers:
                try:
                    rest = list(lines)
                except httpx.RemoteProtocolError:
                    rest = []
                assert "data: [DONE]" not in rest
        answer = ask(one, word, f"step:{word}", headers={"Cache-Control": "only-if-cached"})
        assert answer.status_code == 504


def test_two_keys_never_share_a_flight(daemon, upstream, word):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}")

    async def both():
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120, trust_env=False) as client:
            tasks = [asyncio.ensure_future(client.post("/v1/chat/completions", json=body, headers={
                "Authorization": f"Bearer sk-{name}-{word}"})) for name in ("a", "b")]
            while flow.calls < 2:
                await asyncio.sleep(0.01)
            for _ in range(2):
                flow.send("x")
                flow.finish()
            return await asyncio.gather(*tasks)

    asyncio.run(asyncio.wait_for(both(), 60))
    assert flow.calls == 2


def test_embedding_items_asked_at_the_same_time_are_one_call(daemon, upstream, word):
    async def many():
        async with httpx.AsyncClient(base_url=daemon.url, timeout=120, trust_env=False,
                                     headers={"Authorization": f"Bearer sk-{word}"}) as client:
            return await asyncio.gather(*[client.post("/v1/embeddings", json={
                "model": word, "input": ["alpha", "beta"]}) for _ in range(20)])

    upstream.delay_s = 0.3
    try:
        answers = asyncio.run(many())
    finally:
        upstream.delay_s = 0.0
    assert len({answer.text for answer in answers}) == 1
    assert len(upstream.calls(word, "/v1/embeddings")) == 1
