"""A third party's OpenAI-compatible server (LiteLLM with mock answers) as the upstream."""
import openai
import pytest
from conftest import make_http, make_sdk, status_of
from daemon import chunks_of_stream
from events import events_of
from litellm_proxy import MOCK_KEY


def test_chat_through_litellm_is_cached_in_both_shapes(spawn, litellm, word):
    daemon = spawn(upstream_url=litellm)
    body = {"model": "mock-model", "messages": [{"role": "user", "content": word}]}
    with make_http(daemon, MOCK_KEY) as client:
        first = client.post("/v1/chat/completions", json=body)
        assert first.status_code == 200, first.text
        second = client.post("/v1/chat/completions", json=body)
        assert status_of(second) == "HIT"
        assert second.json() == first.json()
        streamed = client.post("/v1/chat/completions", json={**body, "stream": True})
        assert status_of(streamed) == "HIT"
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks_of_stream(streamed.text)
                   for choice in chunk["choices"])
    assert text == first.json()["choices"][0]["message"]["content"] == "The mock says hello."


def test_stream_through_litellm_fills_the_cache(spawn, litellm, word):
    daemon = spawn(upstream_url=litellm)
    with make_sdk(daemon, MOCK_KEY) as sdk:
        messages = [{"role": "user", "content": word}]
        parts = list(sdk.chat.completions.create(model="mock-model", messages=messages, stream=True))
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text == "The mock says hello."
        raw = sdk.chat.completions.with_raw_response.create(model="mock-model", messages=messages)
        # The SDK leaves at [DONE]; LiteLLM ends its answer a little later. Until then the second
        # request joins the first one's call.
        assert raw.headers["x-cache-status"] == "HIT" or "collapsed" in raw.headers["cache-status"]
        assert raw.parse().choices[0].message.content == text
        assert raw.parse().usage.total_tokens > 0


def test_wrong_key_is_litellms_own_error_and_never_served_from_the_cache(spawn, litellm, word):
    daemon = spawn(upstream_url=litellm)
    messages = [{"role": "user", "content": word}]
    with make_sdk(daemon, MOCK_KEY) as sdk:
        sdk.chat.completions.create(model="mock-model", messages=messages)
    with make_sdk(daemon, "sk-wrong") as sdk, pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="mock-model", messages=messages)
    assert caught.value.status_code in (400, 401, 403)


def test_model_list_passes_through(spawn, litellm):
    daemon = spawn(upstream_url=litellm)
    with make_sdk(daemon, MOCK_KEY) as sdk:
        assert "mock-model" in [model.id for model in sdk.models.list()]


def test_messages_through_litellm_are_cached_in_both_shapes(spawn, litellm, word):
    """LiteLLM has one address for both APIs, so upstream.anthropic.url need not be said."""
    daemon = spawn(upstream_url=litellm)
    body = {"model": "mock-model", "max_tokens": 50, "messages": [{"role": "user", "content": word}]}
    with make_http(daemon, headers={"x-api-key": MOCK_KEY, "anthropic-version": "2023-06-01"}) as client:
        first, second, whole = (client.post("/v1/messages", json={**body, "stream": is_stream})
                                for is_stream in (True, True, False))
        assert [status_of(a) for a in (first, second, whole)] == ["MISS", "HIT", "HIT"]
        assert events_of(second.text) == events_of(first.text)
        assert whole.json()["content"][0]["text"] == "The mock says hello."
        assert whole.json()["stop_reason"] == "end_turn"


def test_responses_through_litellm_are_cached_in_both_shapes(spawn, litellm, word):
    """Its mock answers cannot stream in this API: ours is told from the whole answer."""
    daemon = spawn(upstream_url=litellm)
    body = {"model": "mock-model", "input": word, "store": False}
    with make_http(daemon, MOCK_KEY) as client:
        first, second = (client.post("/v1/responses", json=body) for _ in range(2))
        assert [status_of(first), status_of(second)] == ["MISS", "HIT"], first.text
        assert second.content == first.content
    with make_sdk(daemon, MOCK_KEY) as sdk, sdk.responses.stream(**body) as stream:
        assert stream.get_final_response().output_text == "The mock says hello."
