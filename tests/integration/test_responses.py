"""OpenAI's /v1/responses: what says all it means is cached, and told again event by event."""
import httpx
import openai
import pydantic
import pytest
from conftest import make_http, make_sdk, status_of, wait_for_semantic_of
from events import events_of, without
from fake_families import ENCRYPTED, response_events

KINDS = ["text", "think", "cite", "refusal", "unknown"]
PATH = "/v1/responses"


def body_of(question, model="text", **more):
    return {"model": model, "input": question, "store": False, **more}


def ask(client, question, model="text", headers=None, **more):
    return client.post(PATH, json=body_of(question, model, **more), headers=headers)


def calls(upstream, model):
    return upstream.calls(model, PATH)


# -- one entry, both modes --

@pytest.mark.parametrize("kind", KINDS)
def test_stream_is_replayed_event_by_event(http, upstream, word, kind):
    model = f"{kind}:{word}"
    first, second = (ask(http, word, model, stream=True) for _ in range(2))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"]
    told = events_of(second.text)
    assert told == without_padding(events_of(first.text))
    assert [e["sequence_number"] for _, e in told] == list(range(len(told)))
    assert len(calls(upstream, model)) == 1


def without_padding(events):
    """obfuscation hides how long a piece is: it is no part of an answer."""
    return [(name, without(event, {"obfuscation"})) for name, event in events]


@pytest.mark.parametrize("kind", KINDS)
def test_json_answer_is_the_same_bytes(http, word, kind):
    first, second = (ask(http, word, f"{kind}:{word}") for _ in range(2))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"]
    assert second.content == first.content


@pytest.mark.parametrize("kind", KINDS)
def test_stream_fills_the_entry_of_a_whole_answer(http, upstream, word, kind):
    model = f"{kind}:{word}"
    events = events_of(ask(http, word, model, stream=True).text)
    whole = ask(http, word, model)
    assert status_of(whole) == "HIT"
    assert whole.json() == events[-1][1]["response"]
    assert len(calls(upstream, model)) == 1


@pytest.mark.parametrize("kind", ["text", "think", "cite", "refusal"])
def test_whole_answer_is_told_as_the_upstream_would(http, word, kind):
    model = f"{kind}:{word}"
    whole = ask(http, word, model).json()
    told = events_of(ask(http, word, model, stream=True).text)
    wanted = list(response_events(whole, kind))
    # The same but that a text comes in one piece.
    assert [e["type"] for _, e in told] == joined([e["type"] for e in wanted])
    assert [e for n, e in told if n == "response.output_item.done"] == [
        {**e, "sequence_number": t["sequence_number"]} for e, t in zip(
            [e for e in wanted if e["type"] == "response.output_item.done"],
            [t for n, t in told if n == "response.output_item.done"])]
    assert told[-1][1]["response"] == whole
    assert told[0][1]["response"] == wanted[0]["response"]


def joined(types):
    return [t for at, t in enumerate(types) if at == 0 or t != types[at - 1] or not t.endswith(".delta")]


def test_sdk_streams_and_creates_from_one_call(sdk, upstream, word):
    model = f"think:{word}"
    made = sdk.responses.create(model=model, input=word, store=False, include=["reasoning.encrypted_content"])
    again = sdk.responses.create(model=model, input=word, store=False, include=["reasoning.encrypted_content"])
    assert again == made and again.output[0].encrypted_content == ENCRYPTED
    with sdk.responses.stream(model=model, input=word, store=False, include=["reasoning.encrypted_content"]) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == made.output_text == final.output_text
    assert final.output[0].encrypted_content == ENCRYPTED
    assert len(calls(upstream, model)) == 1


def test_sdk_streams_twice_and_sees_the_same(sdk, upstream, word):
    model = f"think:{word}"

    def stream():
        return [event.to_dict() for event in sdk.responses.create(model=model, input=word, store=False, stream=True)]

    assert without(stream(), {"obfuscation"}) == stream()
    assert len(calls(upstream, model)) == 1


class Event(pydantic.BaseModel):
    name: str
    places: list[str]


def test_sdk_parses_a_kept_answer(sdk, upstream, word):
    asked = dict(model=f"json:{word}", input=word, store=False, text_format=Event)
    first, second = (sdk.responses.parse(**asked) for _ in range(2))
    assert second.output_parsed == first.output_parsed == Event(name="fair", places=["Köln", "Bonn"])
    with sdk.responses.stream(**asked) as stream:
        assert stream.get_final_response().output_parsed == first.output_parsed
    assert len(calls(upstream, f"json:{word}")) == 1


TOOLS = [{"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}, "strict": False},
         {"type": "custom", "name": "grep"}]


def test_calls_of_functions_are_kept_only_where_that_is_set(http, spawn, key, word):
    model = f"tools:{word}"
    assert "not-kept:tool-calls" in ask(http, word, model, tools=TOOLS).headers["cache-status"]
    assert status_of(ask(http, word, model, tools=TOOLS)) == "MISS"
    own = spawn(config="proxy: {cache_tool_calls: true}\n")
    with make_http(own, key) as client, make_sdk(own, key) as sdk:
        first, second = (ask(client, word, model, tools=TOOLS, stream=True) for _ in range(2))
        assert status_of(second) == "HIT"
        assert events_of(second.text) == without_padding(events_of(first.text))
        ask(client, word + "2", model, tools=TOOLS)
        with sdk.responses.stream(model=model, input=word + "2", store=False, tools=TOOLS) as stream:
            final = stream.get_final_response()
        assert [getattr(item, "arguments", None) or item.input for item in final.output] == [
            '{"city": "Köln", "days": 3}', "needle in haystack"]


# -- what is cached --

@pytest.mark.parametrize("extra, reason", [
    ({"previous_response_id": "resp_1"}, "stateful"), ({"conversation": "conv_1"}, "stateful"),
    ({"background": True}, "stateful"), ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "stateful"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt-template"), ({"store": True}, "stored-upstream"),
    ({"store": None}, "stored-upstream"), ({"tools": [{"type": "web_search"}]}, "hosted-tools"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "hosted-tools"), ({"input": 5}, "no-input"),
], ids=str)
def test_what_is_not_said_whole_is_not_cached(http, word, extra, reason):
    for _ in range(2):
        answer = ask(http, word, f"text:{word}", **extra)
        assert status_of(answer) == "BYPASS" and reason in answer.headers["cache-status"]


def test_stored_responses_are_kept_where_that_is_set(spawn, key, word):
    own = spawn(config="proxy: {responses: {store_policy: keep}}\n")
    with make_sdk(own, key) as sdk:
        first, second = (sdk.responses.create(model="text", input=word) for _ in range(2))
        assert second == first


@pytest.mark.parametrize("extra", [{"metadata": {"a": "b"}}, {"service_tier": "flex"}, {"stream": False},
                                   {"prompt_cache_key": "k"}, {"safety_identifier": "s"}], ids=str)
def test_fields_that_do_not_change_the_answer_are_not_in_the_key(http, word, extra):
    ask(http, word)
    assert status_of(ask(http, word, **extra)) == "HIT"


@pytest.mark.parametrize("extra", [{"instructions": "Be brief."}, {"temperature": 0.5}, {"include": []},
                                   {"reasoning": {"effort": "low"}}, {"text": {"verbosity": "low"}}], ids=str)
def test_everything_else_is_in_the_key(http, word, extra):
    ask(http, word)
    assert status_of(ask(http, word, **extra)) == "MISS"


def test_input_of_turns_is_cached(http, word):
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"},
             {"type": "message", "role": "user", "content": [{"type": "input_text", "text": word}]}]
    assert [status_of(ask(http, "", input=turns)) for _ in range(2)] == ["MISS", "HIT"]


def test_reworded_question_is_a_hit(spawn, key, models):
    if models is None:
        pytest.skip("the model could not be pulled")
    own = spawn(with_model=True)
    with make_http(own, key) as client:
        ask(client, "What is the capital of France?", instructions="Be brief.")
        wait_for_semantic_of(client, PATH, body_of("What's the capital city of France?", instructions="Be brief."))
        assert status_of(ask(client, "Which city is France's capital?", instructions="Be long.")) == "MISS"


# -- what is not whole is not kept --

EVENTS = 9 + 3  # of a short text: at least as many as any test counts to


def is_kept(client, word, model, stream=True):
    try:
        ask(client, word, model, stream=stream)
    except httpx.HTTPError:
        pass
    return ask(client, word, model, headers={"Cache-Control": "only-if-cached"}).status_code == 200


@pytest.mark.parametrize("count", range(EVENTS))
def test_connection_that_breaks_after_any_event_keeps_nothing(http, word, count):
    assert not is_kept(http, word, f"cut@{count}:{word}")


@pytest.mark.parametrize("count", range(EVENTS))
def test_error_event_after_any_event_keeps_nothing(http, word, count):
    assert not is_kept(http, word, f"error@{count}:{word}")


@pytest.mark.parametrize("kind", ["noend", "badjson", "max", "filter", "failed"])
def test_half_a_stream_keeps_nothing(http, word, kind):
    assert not is_kept(http, word, f"{kind}:{word}")


@pytest.mark.parametrize("kind", ["half", "max", "filter", "failed"])
def test_half_a_body_keeps_nothing(http, word, kind):
    assert not is_kept(http, word, f"{kind}:{word}", stream=False)


def test_errors_have_the_form_of_the_api(sdk, http, word):
    for status, kind in ((400, openai.BadRequestError), (404, openai.NotFoundError), (429, openai.RateLimitError)):
        with pytest.raises(kind):
            sdk.responses.create(model=f"error-{status}:{word}", input=word, store=False)
    answer = ask(http, word, headers={"Cache-Control": "only-if-cached"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "not_cached")


def test_other_paths_of_responses_pass_through(http, word):
    answer = http.get(f"/v1/responses/resp_{word}")
    assert status_of(answer) == "BYPASS" and answer.headers["x-echo-target"] == f"/v1/responses/resp_{word}"
