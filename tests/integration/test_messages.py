"""Anthropic's /v1/messages: cached, in both modes, and told again event by event."""
import json

import anthropic
import httpx
import pytest
from conftest import TIMEOUT_S, make_http, status_of, wait_for_semantic_of
from events import events_of
from fake_families import SIGNATURE, message_events
from fake_upstream import FakeUpstream

KINDS = ["text", "think", "cite", "unknown", "refusal"]
PATH = "/v1/messages"


def body_of(text, model="text", **more):
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}


def ask(client, text, model="text", headers=None, **more):
    return client.post(PATH, json=body_of(text, model, **more), headers=headers)


@pytest.fixture
def claude(daemon, key):
    """As a client of the API is: its key in x-api-key."""
    with make_http(daemon, headers={"x-api-key": key, "anthropic-version": "2023-06-01"}) as client:
        yield client


@pytest.fixture
def sdk(daemon, key):
    with anthropic.Anthropic(base_url=daemon.url, api_key=key, max_retries=0, timeout=TIMEOUT_S,
                             http_client=anthropic.DefaultHttpxClient(trust_env=False)) as client:
        yield client


def calls(upstream, model):
    return upstream.calls(model, PATH)


# -- one entry, both modes --

@pytest.mark.parametrize("kind", KINDS)
def test_stream_is_replayed_event_by_event(claude, upstream, word, kind):
    model = f"{kind}:{word}"
    first, second = (ask(claude, word, model, stream=True) for _ in range(2))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"]
    assert events_of(second.text) == events_of(first.text)
    assert len(calls(upstream, model)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_json_answer_is_the_same_bytes(claude, word, kind):
    first, second = (ask(claude, word, f"{kind}:{word}") for _ in range(2))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"]
    assert second.content == first.content


@pytest.mark.parametrize("kind", KINDS)
def test_stream_fills_the_entry_of_a_whole_answer(claude, upstream, word, kind):
    model = f"{kind}:{word}"
    events = events_of(ask(claude, word, model, stream=True).text)
    whole = ask(claude, word, model)
    assert status_of(whole) == "HIT"
    if kind == "unknown":
        assert whole.json()["content"][0] == {"type": "hologram", "depth": 2.5e-3, "frames": ["a", "b"], "hint": "new"}
    else: # The upstream made the events of a message: made of that message, they are the same.
        assert [e for _, e in events] == list(message_events(whole.json(), kind))
    assert len(calls(upstream, model)) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unknown"])
def test_whole_answer_is_told_as_a_stream(sdk, upstream, word, kind):
    model = f"{kind}:{word}"
    asked = dict(model=model, max_tokens=100, messages=[{"role": "user", "content": word}])
    whole = sdk.messages.create(**asked)
    with sdk.messages.stream(**asked) as stream:
        told = stream.get_final_message()
    assert told.model_dump(exclude_none=True, exclude={"content": {"__all__": {"parsed_output"}}}) == \
        whole.model_dump(exclude_none=True)
    assert len(calls(upstream, model)) == 1


def test_thinking_signature_is_never_touched(sdk, word):
    asked = dict(model=f"think:{word}", max_tokens=2000, thinking={"type": "enabled", "budget_tokens": 1024},
                 messages=[{"role": "user", "content": word}])
    for _ in range(2):
        with sdk.messages.stream(**asked) as stream:
            seen = [event.signature for event in stream if event.type == "signature"]
            blocks = stream.get_final_message().content
        assert seen == [SIGNATURE] and blocks[0].signature == SIGNATURE
        assert blocks[1].data == "EmwKAhgBEgy3va3pzix/LafPsn4a"
    assert sdk.messages.create(**asked).content[0].signature == SIGNATURE


def test_client_that_waits_joins_a_stream(claude, spawn, word):
    """A stream asked first and a whole answer meanwhile: one upstream call, each its own form."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, claude, word, f"text:{word}", stream=number % 2 == 0) for number in range(8)]
        answers = [future.result() for future in asked]
    bodies = {json.dumps(a.json()) for number, a in enumerate(answers) if number % 2}
    streams = {a.text for number, a in enumerate(answers) if not number % 2}
    assert len(bodies) == 1
    text = json.loads(bodies.pop())["content"][0]["text"]
    for stream in streams:
        deltas = [e["delta"]["text"] for n, e in events_of(stream) if n == "content_block_delta"]
        assert "".join(deltas) == text


# -- tools --

TOOLS = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]


def test_answers_that_call_tools_are_kept_only_where_that_is_set(claude, spawn, key, word):
    asked = dict(stream=True, tools=TOOLS)
    assert [status_of(ask(claude, word, f"tools:{word}", **asked)) for _ in range(2)] == ["MISS", "MISS"]
    whole = [ask(claude, word, f"tools:{word}", tools=TOOLS) for _ in range(2)]
    assert "not-kept:tool-calls" in whole[1].headers["cache-status"]
    own = spawn(config="proxy: {cache_tool_calls: true}\n")
    with make_http(own, headers={"x-api-key": key}) as client:
        first, second = (ask(client, word, f"tools:{word}", **asked) for _ in range(2))
        assert status_of(second) == "HIT" and events_of(second.text) == events_of(first.text)
        block = ask(client, word, f"tools:{word}", tools=TOOLS).json()["content"][1]
        assert block["input"] == {"city": "Köln", "days": 3, "nested": {"list": [1, 2.5, None, True]}}
        # And told of the whole message.
        assert status_of(ask(client, word + "2", f"tools:{word}", tools=TOOLS)) == "MISS"
        with anthropic.Anthropic(base_url=own.url, api_key=key, max_retries=0,
                                 http_client=anthropic.DefaultHttpxClient(trust_env=False)) as sdk:
            with sdk.messages.stream(model=f"tools:{word}", max_tokens=100, tools=TOOLS,
                                     messages=[{"role": "user", "content": word + "2"}]) as stream:
                final = stream.get_final_message()
        assert [b.input for b in final.content if b.type == "tool_use"] == [block["input"], {}]
        assert final.stop_reason == "tool_use"


@pytest.mark.parametrize("extra, reason", [
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "hosted-tools"),
    ({"mcp_servers": [{"type": "url", "url": "https://x.example/", "name": "x"}]}, "hosted-tools"),
    ({"container": "container_1"}, "stateful"),
])
def test_what_depends_on_the_world_is_not_cached(claude, word, extra, reason):
    for _ in range(2):
        answer = ask(claude, word, f"server:{word}", **extra)
        assert status_of(answer) == "BYPASS" and reason in answer.headers["cache-status"]


# -- the key --

@pytest.mark.parametrize("extra", [{"metadata": {"user_id": "u"}}, {"service_tier": "auto"},
                                   {"cache_control": {"type": "ephemeral"}}, {"stream": False}], ids=str)
def test_fields_that_do_not_change_the_answer_are_not_in_the_key(claude, word, extra):
    ask(claude, word)
    assert status_of(ask(claude, word, **extra)) == "HIT"


@pytest.mark.parametrize("extra", [{"max_tokens": 99}, {"system": "Be brief."}, {"temperature": 0.5}, {"top_k": 3},
                                   {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"new_field": 1}], ids=str)
def test_everything_else_is_in_the_key(claude, word, extra):
    ask(claude, word)
    assert status_of(ask(claude, word, **extra)) == "MISS"


def marked(word, mark):
    def with_mark(block):
        return {**block, "cache_control": {"type": "ephemeral", "ttl": "1h"}} if mark else block

    return {"model": "text", "max_tokens": 100, "system": [with_mark({"type": "text", "text": "Be brief."})],
            "tools": [with_mark({"name": "t", "input_schema": {"type": "object"}})],
            "messages": [{"role": "user", "content": [with_mark({"type": "text", "text": word})]},
                         {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "t", "input": {}}]},
                         {"role": "user", "content": [with_mark({
                             "type": "tool_result", "tool_use_id": "t1",
                             "content": [with_mark({"type": "text", "text": "42"})]})]}]}


def test_marks_of_the_prompt_cache_are_not_in_the_key(claude, upstream, word):
    first = claude.post(PATH, json=marked(word, True))
    second = claude.post(PATH, json=marked(word, False))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"]
    sent = next(r for r in upstream.calls("text", PATH) if word in r.body.decode())
    assert sent.json() == marked(word, True)


def test_property_of_a_tool_that_is_named_like_a_mark_is_in_the_key(claude, word):
    def tools(kind):
        return [{"name": "t", "input_schema": {"type": "object", "properties": {"cache_control": {"type": kind}}}}]

    ask(claude, word, tools=tools("string"))
    assert status_of(ask(claude, word, tools=tools("number"))) == "MISS"
    assert status_of(ask(claude, word, tools=tools("string"))) == "HIT"


@pytest.mark.parametrize("name", ["anthropic-beta", "anthropic-version"])
def test_headers_that_change_the_answer_are_in_the_key(claude, word, name):
    ask(claude, word)
    assert status_of(ask(claude, word, headers={name: "other-2099"})) == "MISS"
    assert status_of(ask(claude, word, headers={name: "other-2099"})) == "HIT"


def test_surfaces_do_not_share(claude, word):
    ask(claude, word)
    answer = claude.post("/v1/chat/completions", json={"model": "text", "messages": [{"role": "user", "content": word}]})
    assert status_of(answer) == "MISS"


def test_other_key_is_another_tenant(claude, daemon, word):
    ask(claude, word)
    with make_http(daemon, headers={"x-api-key": "sk-ant-other"}) as other:
        assert status_of(ask(other, word)) == "MISS"


def test_reworded_question_is_a_hit(spawn, key, word, models):
    if models is None:
        pytest.skip("the model could not be pulled")
    own = spawn(with_model=True)
    with make_http(own, headers={"x-api-key": key}) as client:
        ask(client, f"What is the capital of France?", system="Be brief.")
        answer = wait_for_semantic_of(client, PATH, body_of("What's the capital city of France?", system="Be brief."))
        assert answer.headers["x-cache-status"] == "HIT"
        other = ask(client, "Which city is France's capital?", system="Be long.")
        assert status_of(other) == "MISS"


# -- what is not whole is not kept --

EVENTS = len(list(message_events({"id": "m", "content": [{"type": "text", "text": "x" * 14}], "stop_reason": "end_turn",
                                  "usage": {"output_tokens": 1}}, "text")))


def is_kept(client, word, model, mode=True):
    """Asks as a stream that breaks; is the next one answered from the cache?"""
    try:
        ask(client, word, model, stream=mode)
    except httpx.HTTPError:
        pass
    answer = ask(client, word, model, headers={"Cache-Control": "only-if-cached"})
    return answer.status_code == 200


@pytest.mark.parametrize("count", range(EVENTS + 1))
def test_connection_that_breaks_after_any_event_keeps_nothing(claude, word, count):
    assert not is_kept(claude, word, f"cut@{count}:{word}")


@pytest.mark.parametrize("count", range(EVENTS))
def test_error_event_after_any_event_keeps_nothing(claude, word, count):
    assert not is_kept(claude, word, f"error@{count}:{word}")


@pytest.mark.parametrize("kind", ["noend", "badjson", "max", "pause"])
def test_half_a_stream_keeps_nothing(claude, word, kind):
    assert not is_kept(claude, word, f"{kind}:{word}")


def test_half_a_body_keeps_nothing(claude, word):
    assert not is_kept(claude, word, f"half:{word}", mode=False)


def test_error_event_reaches_the_client_as_it_came(sdk, word):
    with pytest.raises(anthropic.APIStatusError) as caught:
        for _ in sdk.messages.create(model=f"error@4:{word}", max_tokens=9, stream=True,
                                     messages=[{"role": "user", "content": word}]):
            pass
    assert "Overloaded" in str(caught.value)


# -- errors and headers --

@pytest.mark.parametrize("status, kind", [(400, anthropic.BadRequestError), (401, anthropic.AuthenticationError),
                                          (403, anthropic.PermissionDeniedError), (404, anthropic.NotFoundError),
                                          (429, anthropic.RateLimitError), (500, anthropic.InternalServerError),
                                          (529, anthropic.APIStatusError)])
def test_errors_of_the_upstream_pass(sdk, word, status, kind):
    with pytest.raises(kind) as caught:
        sdk.messages.create(model=f"error-{status}:{word}", max_tokens=9, messages=[{"role": "user", "content": word}])
    assert caught.value.status_code == status
    assert caught.value.request_id.startswith("req_")
    assert caught.value.body["error"]["message"] == f"says {status}"


def test_own_errors_have_the_form_of_the_api(claude, word):
    answer = ask(claude, word, headers={"Cache-Control": "only-if-cached"})
    assert answer.status_code == 504
    body = answer.json()
    assert body["type"] == "error" and body["error"]["type"] == "timeout_error"
    assert body["request_id"] == answer.headers["request-id"]
    answer = claude.post(PATH, content="{oops", headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_request_id_is_told(claude, sdk, word):
    first, second = ask(claude, word), ask(claude, word)
    assert first.headers["request-id"].startswith("req_")
    assert second.headers["request-id"] == second.headers["x-request-id"]
    made = sdk.messages.create(model="text", max_tokens=100, messages=[{"role": "user", "content": word}])
    assert made._request_id


def test_counting_tokens_passes_through(sdk, upstream, word):
    before = len(upstream.calls(path=PATH + "/count_tokens"))
    for _ in range(2):
        counted = sdk.messages.count_tokens(model="text", messages=[{"role": "user", "content": word}])
        assert counted.input_tokens == 14
    assert len(upstream.calls(path=PATH + "/count_tokens")) == before + 2


def test_hit_may_have_no_usage_and_a_new_id(spawn, key, word):
    own = spawn(config="proxy: {usage_on_hit: zero, id_on_hit: new}\n")
    with make_http(own, headers={"x-api-key": key}) as client:
        first = ask(client, word).json()
        second = ask(client, word).json()
        assert second["usage"]["input_tokens"] == second["usage"]["output_tokens"] == 0
        assert second["id"].startswith("msg_") and second["id"] != first["id"]
        events = dict(events_of(ask(client, word, stream=True).text))
        assert events["message_delta"]["usage"]["output_tokens"] == 0


# -- two upstreams --

def test_anthropic_has_an_upstream_of_its_own(spawn, upstream, key, word):
    other = FakeUpstream().start()
    try:
        own = spawn(config=f"upstream: {{anthropic: {{url: {other.url}/v1/}}}}\n")
        with make_http(own, headers={"x-api-key": key}) as client:
            assert ask(client, word).status_code == 200
            assert client.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).status_code == 200
            assert client.get("/v1/models").status_code == 200
            client.post("/v1/chat/completions", json={"model": "plain", "messages": [{"role": "user", "content": word}]},
                        headers={"anthropic-version": "2023-06-01"})
        assert [r.path for r in other.requests] == [PATH, "/v1/models"]
        assert upstream.calls("plain") and not [r for r in upstream.calls("text", PATH) if word in r.body.decode()]
    finally:
        other.stop()


def test_metrics_tell_this_api(claude, daemon, word):
    ask(claude, word)
    ask(claude, word)
    text = httpx.get(daemon.url + "/metrics", trust_env=False).text
    assert 'api="messages",result="hit_exact"' in text


def test_explain_tells_of_a_kept_message(claude, daemon, key, word, tmp_path):
    body = body_of(word, system="Be brief.")
    claude.post(PATH, json=body)
    told = claude.post("/api/v1/explain", json={"request": body}).json()
    assert (told["hit"], told["kind"], told["surface"]) == (True, "exact", "messages")
    told = claude.post("/api/v1/explain", json={"request": body, "headers": {"anthropic-beta": "b"}}).json()
    assert told["hit"] is False
    told = claude.post("/api/v1/explain", json={"request": body, "api": "chat"}).json()
    assert (told["hit"], told["surface"]) == (False, "chat")
    refused = claude.post("/api/v1/explain", json={"request": body, "api": "chatty"})
    assert refused.status_code == 400 and refused.json()["fields"][0]["field"] == "api"


def test_explain_command_reads_the_body_of_a_request(daemon, key, word, tmp_path):
    path = tmp_path / "body.json"
    for api, url, body in (("messages", PATH, body_of(word)), ("responses", "/v1/responses", {"model": "text", "input": word, "store": False}),
                           ("completions", "/v1/completions", {"model": "text", "prompt": word}),
                           ("chat", "/v1/chat/completions", {"model": "plain", "messages": [{"role": "user", "content": word}]})):
        with make_http(daemon, headers={"anthropic-version": "2023-06-01"}) as client:
            assert client.post(url, json=body).status_code == 200
        path.write_text(json.dumps(body))
        told = daemon.cli("explain", "--request", str(path), "--api", api)
        assert told.returncode == 0 and told.stdout.startswith("hit: exact"), told.stdout + told.stderr
