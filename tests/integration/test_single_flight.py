"""Identical requests that run at the same time make one upstream call."""
import asyncio
import json
import resource

import httpx
import pytest
from conftest import ask, chat_body, make_http
from daemon import events_of, parse_response, raw_request
from test_stream import lines_until

CROWD = 1000


def in_flight(metrics):
    for line in metrics.splitlines():
        if line.startswith("semantic_cache_inflight"):
            return float(line.split()[-1])
    return 0.0


async def one_raw(daemon, request):
    """One connection of its own, as a thousand clients would have; the client library is too slow
    for a thousand at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(request)
        await writer.drain()
        return parse_response(await reader.read())
    finally:
        writer.close()


async def wait_until_in_flight(daemon, count):
    """All have arrived when the daemon says that it is answering that many."""
    for _ in range(2400):
        _, _, body = await one_raw(daemon, raw_request("GET", "/metrics"))
        if in_flight(body.decode()) > count:  # the question itself is one
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{count} requests never were in flight at the same time")


async def crowd(daemon, key, body, count, flow):
    """count identical requests; the upstream answers only after the daemon has got them all."""
    request = raw_request("POST", "/v1/chat/completions", [
        ("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")], json.dumps(body).encode())
    tasks = [asyncio.ensure_future(one_raw(daemon, request)) for _ in range(count)]
    while not flow.started.is_set():
        await asyncio.sleep(0.01)
    flow.send("shared ")
    await wait_until_in_flight(daemon, count)
    flow.send("answer")
    flow.finish()
    return await asyncio.gather(*tasks)


def unchunked(headers, body):
    if "chunked" not in {value.lower() for name, value in headers if name.lower() == "transfer-encoding"}:
        return body
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        body = rest[length + 2 :] if length else b""
    return whole


def raw_text_of(answer, is_stream):
    status, headers, body = answer
    assert status == 200, body[:300]
    text = unchunked(headers, body).decode()
    if not is_stream:
        return json.loads(text)["choices"][0]["message"]["content"]
    return joined(text)


def joined(text):
    events = events_of(text)
    assert events[-1] == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for event in events[:-1]
                   for choice in json.loads(event)["choices"])


def text_of(answer, is_stream):
    return joined(answer.text) if is_stream else answer.json()["choices"][0]["message"]["content"]


@pytest.fixture
def many_files():
    """Room for a thousand connections in this process and, inherited, in nobody else's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.heavy
@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_thousand_identical_requests_make_one_upstream_call(daemon, upstream, many_files, word, is_stream):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=is_stream)
    answers = asyncio.run(crowd(daemon, f"sk-{word}", body, CROWD, flow))
    assert len(answers) == CROWD
    assert {raw_text_of(answer, is_stream) for answer in answers} == {"shared answer"}
    assert flow.calls == 1


@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_fifty_identical_requests_make_one_upstream_call(daemon, upstream, word, is_stream):
    flow = upstream.flow(word)
    body = chat_body(word, f"step:{word}", stream=is_stream)
    answers = asyncio.run(crowd(daemon, f"sk-{word}", body, 50, flow))
    assert {raw_text_of(answer, is_stream) for answer in answers} == {"shared answer"}
    assert flow.calls == 1
    told = [value for _, headers, _ in answers for name, value in headers if name.lower() == "cache-status"]
    assert sum("collapsed" in value for value in told) == 49


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
            await wait_until_in_flight(daemon, 20)
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
