"""Embeddings: cached for each input item, in either encoding."""
import base64
import struct

import openai
import pytest
from conftest import make_sdk, status_of
from fake_upstream import embedding_of, float32

PATH = "/v1/embeddings"


def embed(client, inputs, model, **more):
    return client.post(PATH, json={"model": model, "input": inputs, **more})


def calls(upstream, model):
    return [call.json()["input"] for call in upstream.calls(model, PATH)]


def test_sdk_gets_vectors_through_its_base64_default(sdk, upstream, word):
    for _ in range(2):
        answer = sdk.embeddings.create(model=word, input=["alpha", "beta"])
        assert [item.index for item in answer.data] == [0, 1]
        assert answer.data[0].embedding == pytest.approx(float32(embedding_of("alpha", word)))
        assert answer.data[1].embedding == pytest.approx(float32(embedding_of("beta", word)))
    assert len(calls(upstream, word)) == 1


def test_encoding_is_not_in_the_key_and_either_is_rendered(http, upstream, word):
    floats = embed(http, "alpha", word, encoding_format="float")
    packed = embed(http, "alpha", word, encoding_format="base64")
    assert len(calls(upstream, word)) == 1
    raw = base64.b64decode(packed.json()["data"][0]["embedding"])
    want = float32(embedding_of("alpha", word))
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == want
    assert floats.json()["data"][0]["embedding"] == pytest.approx(want, rel=1e-6)


def test_float_after_base64_is_the_same_vector(http, upstream, word):
    embed(http, "alpha", word, encoding_format="base64")
    floats = embed(http, "alpha", word)
    assert float32(floats.json()["data"][0]["embedding"]) == float32(embedding_of("alpha", word))
    assert len(calls(upstream, word)) == 1


def test_only_the_missing_items_go_upstream_and_are_merged_in_order(http, upstream, word):
    embed(http, ["alpha", "beta"], word)
    answer = embed(http, ["gamma", "beta", "delta", "alpha"], word)
    assert calls(upstream, word) == [["alpha", "beta"], ["gamma", "delta"]]
    data = answer.json()["data"]
    assert [item["index"] for item in data] == [0, 1, 2, 3]
    for item, text in zip(data, ["gamma", "beta", "delta", "alpha"]):
        assert float32(item["embedding"]) == float32(embedding_of(text, word))


def test_single_string_and_list_of_one_share_an_entry(http, upstream, word):
    embed(http, "alpha", word)
    answer = embed(http, ["alpha"], word)
    assert answer.headers["x-cache-hit"] == "true"
    assert len(calls(upstream, word)) == 1


def test_token_arrays_are_items_too(http, upstream, word):
    embed(http, [1, 2, 3], word)
    answer = embed(http, [[1, 2, 3], [4, 5]], word)
    assert calls(upstream, word)[1] == [[4, 5]]
    assert float32(answer.json()["data"][0]["embedding"]) == float32(embedding_of([1, 2, 3], word))


def test_same_item_twice_in_one_request_is_given_twice(http, upstream, word):
    answer = embed(http, ["alpha", "alpha"], word)
    first, second = answer.json()["data"]
    assert first["embedding"] == second["embedding"]
    assert (first["index"], second["index"]) == (0, 1)


@pytest.mark.parametrize("more", [{"dimensions": 4}, {"user": "u"}], ids=["dimensions", "user"])
def test_other_parameters_are_in_the_key(http, upstream, word, more):
    embed(http, "alpha", word)
    embed(http, "alpha", word, **more)
    assert len(calls(upstream, word)) == 2


def test_usage_is_there_on_a_hit_as_on_a_miss(http, word):
    first = embed(http, ["alpha beta", "gamma"], word)
    second = embed(http, ["alpha beta", "gamma"], word)
    assert status_of(second) == "HIT"
    assert set(second.json()["usage"]) == set(first.json()["usage"]) == {"prompt_tokens", "total_tokens"}


def test_two_keys_do_not_share_embeddings(daemon, upstream, word):
    for key in ("sk-a", "sk-b"):
        with make_sdk(daemon, f"{key}-{word}") as sdk:
            sdk.embeddings.create(model=word, input="alpha")
    assert len(calls(upstream, word)) == 2


def test_upstream_error_is_the_sdks_own_class(sdk, word):
    with pytest.raises(openai.RateLimitError):
        sdk.embeddings.create(model="error-429", input=word)


@pytest.mark.parametrize("body", [
    {"model": "m"}, {"model": "m", "input": []}, {"model": "m", "input": [""]}, {"model": "m", "input": 5},
    {"model": "m", "input": [["a"]]}, {"model": "m", "input": "x", "encoding_format": "morse"},
], ids=["none", "empty", "empty-text", "number", "nested-text", "encoding"])
def test_odd_input_is_never_a_crash(http, daemon, body):
    answer = http.post(PATH, json=body)
    assert answer.status_code in (200, 400, 422, 502)
    assert daemon.is_alive()
