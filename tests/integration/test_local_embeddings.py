"""POST /v1/embeddings with the daemon's own model, through the SDK people use."""
import base64
import json
import math
import struct
import subprocess

import pytest
from conftest import make_http, make_sdk
from daemon import TOOLS, clean_environment

LITELLM = TOOLS / "litellm" / "bin" / "python"
MODEL = "local/all-minilm-l6-v2"


@pytest.fixture
def small(spawn):
    """Without a model: the lexical embedder."""
    return spawn()


def embed(client, **body):
    return client.post("/v1/embeddings", json={"model": "local/lexical", **body})


def test_texts_become_unit_vectors_in_their_order_and_nobody_is_asked(small, upstream, key, word):
    before = len(upstream.calls(path="/v1/embeddings"))
    with make_http(small, key) as client:
        texts = [f"{word} number {i}" for i in range(250)]  # more than one batch
        answer = embed(client, input=texts)
        assert answer.status_code == 200 and answer.headers["x-cache-status"] == "BYPASS"
        assert "local-model" in answer.headers["cache-status"]
        body = answer.json()
        assert (body["object"], body["model"]) == ("list", "local/lexical")
        assert [item["index"] for item in body["data"]] == list(range(250))
        for item in body["data"]:
            assert math.isclose(math.hypot(*item["embedding"]), 1, rel_tol=1e-4)
        assert body["usage"] == {"prompt_tokens": 750, "total_tokens": 750}
        alone = embed(client, input=texts[7]).json()["data"][0]["embedding"]
        assert alone == body["data"][7]["embedding"]
    assert len(upstream.calls(path="/v1/embeddings")) == before


def test_base64_holds_the_same_numbers(small, key, word):
    with make_http(small, key) as client:
        floats = embed(client, input=word).json()["data"][0]["embedding"]
        raw = base64.b64decode(embed(client, input=word, encoding_format="base64").json()["data"][0]["embedding"])
        assert list(struct.unpack(f"<{len(floats)}f", raw)) == pytest.approx(floats, rel=1e-6)


@pytest.mark.parametrize("body,status,param,help_text", [
    ({"input": [1, 2, 3]}, 400, "input", "check_embedding_ctx_length=False"),
    ({"input": [[1, 2], [3]]}, 400, "input", "send the text itself"),
    ({"input": []}, 400, "input", "1 to 2048"),
    ({"input": ""}, 400, "input", "empty"),
    ({"input": ["a", ""]}, 400, "input", "empty"),
    ({"input": "a", "dimensions": 3}, 400, "dimensions", "dimensions"),
    ({"input": "a", "encoding_format": "int8"}, 400, "encoding_format", "float"),
    ({"input": "a", "model": "local/gpt-4o"}, 404, "model", "local/lexical"),
    ({"input": "a", "model": MODEL}, 404, "model", "deja model pull"),
])
def test_what_cannot_be_embedded_is_refused_with_help(small, key, body, status, param, help_text):
    with make_http(small, key) as client:
        answer = embed(client, **body)
        assert answer.status_code == status
        error = answer.json()["error"]
        assert error["param"] == param and help_text in error["message"]


def test_default_is_whatever_model_there_is(small, key):
    with make_http(small, key) as client:
        dim = len(embed(client, input="a").json()["data"][0]["embedding"])
        answer = embed(client, model="local/default", input="a", dimensions=dim)
        assert answer.status_code == 200 and answer.json()["model"] == "local/lexical"



def test_sdk_gets_the_models_vectors_and_its_tokens(spawn, models, key):
    if models is None:
        pytest.skip("the model could not be pulled")
    daemon = spawn(with_model=True)
    with make_sdk(daemon, key) as sdk:
        made = sdk.embeddings.create(model=MODEL, input=["How do I reset my password?", "I forgot my password",
                                                         "The weather in Rome"])
        assert made.model == MODEL and len(made.data) == 3
        vectors = [item.embedding for item in made.data]
        assert all(len(vector) == 384 for vector in vectors)

        def cosine(a, b):
            return sum(x * y for x, y in zip(a, b, strict=True))
        assert cosine(vectors[0], vectors[1]) > 0.6 > 0.2 > cosine(vectors[0], vectors[2])
        # how do i reset my password ? / i forgot my password / the weather in rome
        assert made.usage.prompt_tokens == 7 + 4 + 4
        long = sdk.embeddings.create(model=MODEL, input="word " * 5000)
        assert 200 < long.usage.prompt_tokens <= 512  # what the model reads of it


def test_litellm_embeds_without_a_change(small, key):
    """Its own client code, as a program of somebody would call it."""
    if not LITELLM.exists():
        pytest.skip("LiteLLM is not installed")
    code = ("import litellm, json; r = litellm.embedding(model='openai/local/lexical', input=['good morning', 'two'],"
            f" api_base='{small.v1}', api_key='{key}');"
            "print(json.dumps([r.usage.prompt_tokens, len(r.data), len(r.data[0]['embedding'])]))")
    ended = subprocess.run([LITELLM, "-c", code], env=clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True"}),
                           capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    tokens, count, dim = json.loads(ended.stdout.strip().splitlines()[-1])
    assert (tokens, count) == (3, 2) and dim > 0
