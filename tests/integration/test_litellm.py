"""A third party's OpenAI-compatible server (LiteLLM with mock answers) as the upstream."""
import os
import signal
import subprocess

import httpx
import openai
import pytest
from conftest import make_http, make_sdk, status_of
from daemon import TOOLS, chunks_of_stream, clean_environment, free_port, poll
from events import events_of

LITELLM = TOOLS / "litellm" / "bin" / "litellm"
MASTER_KEY = "sk-litellm-test-0123456789abcdef0123456789abcdef"
CONFIG = f"""
model_list:
  - model_name: mock-model
    litellm_params:
      model: openai/mock-model
      api_key: none
      mock_response: "The mock says hello."
  - model_name: mock-embedding
    litellm_params:
      model: openai/mock-embedding
      api_key: none
      mock_response: [0.1, 0.2, 0.3]
general_settings:
  master_key: {MASTER_KEY}
litellm_settings:
  telemetry: false
"""


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    if not LITELLM.exists():
        pytest.skip("LiteLLM is not here: ./dev test installs it")
    folder = tmp_path_factory.mktemp("litellm")
    (folder / "config.yaml").write_text(CONFIG)
    port = free_port()
    env = clean_environment({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False",
                             "PATH": f"{LITELLM.parent}:{os.environ['PATH']}"})
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [str(LITELLM), "--config", str(folder / "config.yaml"), "--host", "127.0.0.1", "--port", str(port)],
            env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"

    def is_up():
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        try:
            return httpx.get(url + "/health/liveliness", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    poll(is_up, "LiteLLM to be up", timeout=180, every=0.3)
    yield url
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()


def test_chat_through_litellm_is_cached_in_both_shapes(spawn, litellm, word):
    daemon = spawn(upstream_url=litellm)
    body = {"model": "mock-model", "messages": [{"role": "user", "content": word}]}
    with make_http(daemon, MASTER_KEY) as client:
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
    with make_sdk(daemon, MASTER_KEY) as sdk:
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
    with make_sdk(daemon, MASTER_KEY) as sdk:
        sdk.chat.completions.create(model="mock-model", messages=messages)
    with make_sdk(daemon, "sk-wrong") as sdk, pytest.raises(openai.APIStatusError) as caught:
        sdk.chat.completions.create(model="mock-model", messages=messages)
    assert caught.value.status_code in (400, 401, 403)


def test_model_list_passes_through(spawn, litellm):
    daemon = spawn(upstream_url=litellm)
    with make_sdk(daemon, MASTER_KEY) as sdk:
        assert "mock-model" in [model.id for model in sdk.models.list()]


def test_messages_through_litellm_are_cached_in_both_shapes(spawn, litellm, word):
    """LiteLLM has one address for both APIs, so upstream.anthropic.url need not be said."""
    daemon = spawn(upstream_url=litellm)
    body = {"model": "mock-model", "max_tokens": 50, "messages": [{"role": "user", "content": word}]}
    with make_http(daemon, headers={"x-api-key": MASTER_KEY, "anthropic-version": "2023-06-01"}) as client:
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
    with make_http(daemon, MASTER_KEY) as client:
        first, second = (client.post("/v1/responses", json=body) for _ in range(2))
        assert [status_of(first), status_of(second)] == ["MISS", "HIT"], first.text
        assert second.content == first.content
    with make_sdk(daemon, MASTER_KEY) as sdk, sdk.responses.stream(**body) as stream:
        assert stream.get_final_response().output_text == "The mock says hello."
