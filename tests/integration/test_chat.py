"""The main job: repeated and reworded chat requests are answered from the cache, whole."""
import json

import httpx
import openai
import pytest
from chat import join, without_empty
from fake_upstream import FakeUpstream
from conftest import ask, chat_body, content_of, make_http, make_sdk, status_of, wait_for_semantic
from daemon import chunks_of_stream
from fake_upstream import FakeUpstream

FULL_KINDS = ["plain", "reasoning", "vendor"]


def stream(client, text, model="plain", headers=None, **more):
    answer = client.post("/v1/chat/completions", json=chat_body(text, model, stream=True, **more),
                         headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return answer, chunks_of_stream(answer.text)


# -- hits --

def test_sdk_asks_twice_and_gets_the_same_answer_from_one_upstream_call(sdk, upstream, word):
    model = f"plain:{word}"
    messages = [{"role": "user", "content": f"Say {word}"}]
    first = sdk.chat.completions.create(model=model, messages=messages)
    second = sdk.chat.completions.create(model=model, messages=messages)
    assert second == first
    assert first.choices[0].message.content.startswith("answer ")
    assert len(upstream.calls(model)) == 1


def test_second_request_is_a_hit_and_says_so(http, word):
    first, second = ask(http, word), ask(http, word)
    assert (status_of(first), first.headers["x-cache-hit"]) == ("MISS", "false")
    assert (status_of(second), second.headers["x-cache-hit"]) == ("HIT", "true")
    assert second.json() == first.json()


def test_property_order_and_number_spelling_do_not_change_the_key(http, word):
    first = ask(http, word, temperature=0.5, top_p=1)
    body = '{"top_p":1.0,"temperature":5e-1,"messages":[{"content":%s,"role":"user"}],"model":"plain"}'
    second = http.post("/v1/chat/completions", content=body % json.dumps(word),
                       headers={"Content-Type": "application/json"})
    assert status_of(second) == "HIT"
    assert second.json() == first.json()


@pytest.mark.parametrize("extra", [
    {"stream_options": None}, {"metadata": {"trace": "2"}}, {"store": True}, {"service_tier": "flex"},
    {"prompt_cache_key": "k"}, {"safety_identifier": "s"}, {"cache": {"ttl": 60}}, {"cache_skip": False},
], ids=lambda extra: next(iter(extra)))
def test_fields_of_the_deny_list_are_not_in_the_key(http, word, extra):
    ask(http, word)
    assert status_of(ask(http, word, **extra)) == "HIT"


@pytest.mark.parametrize("extra", [
    {"temperature": 0.1}, {"seed": 7}, {"user": "somebody"}, {"max_tokens": 9}, {"stop": ["x"]},
    {"response_format": {"type": "json_object"}}, {"tool_choice": "none"}, {"reasoning_effort": "low"},
    {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"some_new_field": [1]},
], ids=lambda extra: next(iter(extra)))
def test_every_other_field_is_in_the_key(http, word, extra):
    ask(http, word)
    assert status_of(ask(http, word, **extra)) == "MISS"


def test_prompt_differs_in_case_and_is_not_an_exact_hit(http, word):
    ask(http, f"{word} Alpha", headers={"X-Deja-Mode": "exact"})
    assert status_of(ask(http, f"{word} alpha", headers={"X-Deja-Mode": "exact"})) == "MISS"


def test_prompt_differs_in_spaces_and_is_a_hit(http, word):
    first = ask(http, f"tell me about {word}")
    second = ask(http, f"  tell me   about {word} ", headers={"X-Deja-Mode": "exact"})
    assert status_of(second) == "HIT"
    assert second.json() == first.json()


def test_reworded_prompt_is_a_semantic_hit(http, upstream, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"
    first = ask(http, "What is the capital of France?", model)
    second = wait_for_semantic(http, "What's the capital of France?", model)
    assert second.json() == first.json()
    assert second.headers["x-cache-hit"] == "true"
    assert 0.8 < float(second.headers["x-cache-similarity"]) < 1.0
    assert "embed" in second.headers["server-timing"]
    assert len(upstream.calls(model)) == 1


@pytest.mark.parametrize(("said", "asked"), [
    ("How do I enable two-factor authentication?", "How do I disable two-factor authentication?"),
    ("What is 15 percent of 80?", "What is 15 percent of 90?"),
    ("How far is it from Paris to London?", "How far is it from London to Paris by train in 5 hours?"),
    ("Is the shop open on Sunday?", "Is the shop not open on Sunday?"),
], ids=["opposite", "number", "more-detail", "negation"])
def test_similar_prompt_with_another_meaning_is_never_a_hit(http, models, word, said, asked):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"
    ask(http, said, model)
    wait_for_semantic(http, said.replace("What is", "What's").replace("How do I", "How can I")
                      if said.startswith(("What", "How do")) else said, model)
    answer = ask(http, asked, model, headers={"Cache-Control": "only-if-cached"})
    assert answer.status_code == 504


def test_reworded_prompt_under_another_system_prompt_is_a_miss(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"

    def body(system, text):
        return {"model": model, "messages": [{"role": "system", "content": system},
                                             {"role": "user", "content": text}]}

    http.post("/v1/chat/completions", json=body("Be brief.", "What is the capital of France?"))
    answer = http.post("/v1/chat/completions", json=body("Be long.", "What's the capital of France?"))
    assert status_of(answer) == "MISS"


def test_last_turn_is_a_tool_result_and_only_exact_matches(http, upstream, models, word):
    model = f"plain:{word}"

    def body(result):
        return {"model": model, "messages": [
            {"role": "user", "content": "What is the weather?"},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "w", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": result}]}

    http.post("/v1/chat/completions", json=body("It is sunny"))
    again = http.post("/v1/chat/completions", json=body("It is sunny"))
    other = http.post("/v1/chat/completions", json=body("It's sunny"))
    assert (status_of(again), status_of(other)) == ("HIT", "MISS")
    assert len(upstream.calls(model)) == 2


# -- one entry, two shapes --

@pytest.mark.parametrize("kind", FULL_KINDS)
def test_json_answer_is_replayed_as_a_stream_with_every_field(http, word, kind):
    extra = {"logprobs": True, "top_logprobs": 1} if kind == "plain" else {}
    first = ask(http, word, kind, **extra)
    answer, chunks = stream(http, word, kind, stream_options={"include_usage": True}, **extra)
    assert status_of(answer) == "HIT"
    assert without_empty(join(chunks)) == without_empty(first.json())
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == first.json()["usage"]


@pytest.mark.parametrize("kind", FULL_KINDS)
def test_stream_is_replayed_as_json_with_every_field(http, word, kind):
    extra = {"logprobs": True, "top_logprobs": 1} if kind == "plain" else {}
    _, chunks = stream(http, word, kind, stream_options={"include_usage": True}, **extra)
    second = ask(http, word, kind, **extra)
    assert status_of(second) == "HIT"
    assert second.json()["object"] == "chat.completion"
    assert without_empty(second.json()) == without_empty(join(chunks))


def test_stream_is_replayed_as_a_stream_that_says_the_same(http, word):
    _, chunks = stream(http, word, "reasoning")
    answer, again = stream(http, word, "reasoning")
    assert status_of(answer) == "HIT"
    assert without_empty(join(again)) == without_empty(join(chunks))


def test_stream_without_asking_for_usage_still_stores_the_usage(http, upstream, word):
    model = f"plain:{word}"
    _, chunks = stream(http, word, model)
    assert all(chunk["choices"] for chunk in chunks), "a usage chunk that nobody asked for"
    assert upstream.calls(model)[0].json()["stream_options"] == {"include_usage": True}
    assert ask(http, word, model).json()["usage"]["total_tokens"] > 0


def test_sdk_streams_the_same_conversation_it_had_without_streaming(sdk, word):
    messages = [{"role": "user", "content": word}]
    whole = sdk.chat.completions.create(model="plain", messages=messages)
    parts = list(sdk.chat.completions.create(model="plain", messages=messages, stream=True))
    text = "".join(p.choices[0].delta.content or "" for p in parts if p.choices)
    assert text == whole.choices[0].message.content
    assert parts[0].id == whole.id
    assert [p.choices[0].finish_reason for p in parts if p.choices][-1] == "stop"


def test_large_integers_and_odd_numbers_survive(http, word):
    ask(http, word, "vendor")
    second = ask(http, word, "vendor")
    assert status_of(second) == "HIT"
    assert second.json()["x_vendor"] == {"region": "eu", "scores": [0.5, 1e-07, 12345678901234567890]}


# -- tools, n, the write gate --

def test_sdk_gets_tool_calls_streamed_and_not(sdk, word):
    messages = [{"role": "user", "content": word}]
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
    whole = sdk.chat.completions.create(model="tools", messages=messages, tools=tools)
    calls = whole.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0].function.arguments) == {"city": "Köln", "days": 3}
    parts = list(sdk.chat.completions.create(model="tools", messages=messages, tools=tools, stream=True))
    joined = join([part.to_dict() for part in parts])
    assert joined["choices"][0]["message"]["tool_calls"] == whole.to_dict()["choices"][0]["message"]["tool_calls"]


@pytest.mark.parametrize(("kind", "why"), [
    ("tools", "tool calls"), ("length", "cut by length"), ("filter", "content filter"),
])
@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_answer_the_gate_refuses_is_passed_on_but_not_stored(http, upstream, word, kind, why, is_stream):
    model = f"{kind}:{word}"
    for _ in range(2):
        if is_stream:
            stream(http, word, model)
        else:
            answer = ask(http, word, model)
            assert answer.status_code == 200
            assert answer.headers["x-cache-hit"] == "false", why
    assert len(upstream.calls(model)) == 2, why


def test_several_choices_come_whole_and_are_not_mixed(http, upstream, word):
    model = f"plain:{word}"
    for _ in range(2):
        answer = ask(http, word, model, n=3)
        contents = [choice["message"]["content"] for choice in answer.json()["choices"]]
        assert len(set(contents)) == 3
    _, chunks = stream(http, word, model, n=3)
    assert len(join(chunks)["choices"]) == 3


def test_refusal_survives_in_both_shapes(http, word):
    first = ask(http, word, "refusal")
    second = ask(http, word, "refusal")
    assert first.json()["choices"][0]["message"]["refusal"] == "I can't help with that."
    assert second.json()["choices"][0]["message"]["refusal"] == "I can't help with that."
    _, chunks = stream(http, word, "refusal")
    assert join(chunks)["choices"][0]["message"]["refusal"] == "I can't help with that."


@pytest.mark.parametrize("kind", ["notjson", "error-500", "error-429"])
def test_bad_upstream_answer_is_not_stored(http, upstream, word, kind):
    model = kind if kind.startswith("error") else f"{kind}:{word}"
    text = f"{word} {kind}"
    before = len(upstream.calls(model))
    statuses = [ask(http, text, model).status_code for _ in range(2)]
    assert len(upstream.calls(model)) == before + 2
    assert statuses[0] == statuses[1]


def test_truncated_upstream_answer_is_an_error_and_not_stored(http, upstream, word):
    model = f"cut:{word}"
    for _ in range(2):
        try:
            answer = ask(http, word, model)
            assert answer.status_code == 502
            assert set(answer.json()["error"]) >= {"message", "type"}
        except httpx.RemoteProtocolError:
            pass  # headers had been sent: the connection must break, as the upstream's did
    assert len(upstream.calls(model)) == 2


# -- errors --

@pytest.mark.parametrize(("status", "kind"), [
    (400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
    (404, openai.NotFoundError), (409, openai.ConflictError), (422, openai.UnprocessableEntityError),
    (429, openai.RateLimitError), (500, openai.InternalServerError), (503, openai.InternalServerError),
])
@pytest.mark.parametrize("is_stream", [False, True], ids=["json", "stream"])
def test_upstream_error_is_raised_as_the_sdks_own_class(daemon, word, status, kind, is_stream):
    with make_sdk(daemon, f"sk-{word}") as sdk, pytest.raises(kind) as caught:
        sdk.chat.completions.create(model=f"error-{status}", stream=is_stream,
                                    messages=[{"role": "user", "content": word}])
    assert f"the upstream says {status}" in str(caught.value)
    assert caught.value.status_code == status
    assert caught.value.request_id


def test_upstream_error_body_and_headers_come_unchanged(http, upstream, word):
    answer = ask(http, word, "error-429")
    assert answer.json() == {"error": {"message": "the upstream says 429", "type": "rate_limit_error",
                                       "param": None, "code": "rate_limit_exceeded"}}
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-upstream-note"] == "seen"


def test_unreachable_upstream_is_a_clear_502_and_the_cache_still_answers(spawn, word):
    upstream = FakeUpstream().start()
    daemon = spawn(upstream_url=upstream.url)
    with make_http(daemon, f"sk-{word}") as client:
        known = ask(client, word)
        upstream.stop()
        again = ask(client, word)
        assert (again.status_code, status_of(again)) == (200, "HIT")
        assert content_of(again) == content_of(known)
        other = ask(client, f"{word} other", headers={"X-Deja-Mode": "exact"})
        assert other.status_code == 502
        assert set(other.json()["error"]) >= {"message", "type"}
        daemon.restart()
        after = ask(client, word)
        assert (after.status_code, status_of(after)) == (200, "HIT")
