"""LiteLLM with `cache_params: type: redis`, unchanged, and Deja in the place of Redis."""
import httpx
import pytest
import redis
from daemon import poll
from litellm_proxy import running
from resp import RespDaemon

MASTER_KEY = "sk-litellm-resp-0123456789abcdef"
PASSWORD = "a-tenant-of-its-own"


def config(upstream, port):
    return f"""
model_list:
  - model_name: through-litellm
    litellm_params:
      model: openai/plain:litellm
      api_base: {upstream.url}/v1
      api_key: none
general_settings:
  master_key: {MASTER_KEY}
litellm_settings:
  telemetry: false
  cache: true
  cache_params:
    type: redis
    host: 127.0.0.1
    port: {port}
    password: {PASSWORD}
    ttl: 600
"""


@pytest.fixture(scope="module")
def deja(tmp_path_factory):
    made = RespDaemon(tmp_path_factory.mktemp("deja")).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def litellm(tmp_path_factory, upstream, deja):
    with running(tmp_path_factory.mktemp("litellm"), config(upstream, deja.resp_port)) as url, httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {MASTER_KEY}"}, timeout=120, trust_env=False) as client:
        yield client


def ask(client, text, **more):
    answer = client.post("/v1/chat/completions", json={
        "model": "through-litellm", "messages": [{"role": "user", "content": text}], **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_litellm_answers_the_second_time_from_deja(litellm, deja, upstream, word):
    before = len(upstream.calls("plain:litellm"))
    first = ask(litellm, f"hello {word}")
    with redis.Redis(port=deja.resp_port, password=PASSWORD) as own:
        poll(lambda: own.dbsize() > 0, "LiteLLM to have written its answer")
        lives = [own.ttl(key) for key in own.scan_iter()]
        assert lives and -1 not in lives, "what it writes has an end; some of it is over in a second"

    def again():
        return ask(litellm, f"hello {word}")

    assert again()["choices"] == first["choices"] and again()["id"] == first["id"]
    assert len(upstream.calls("plain:litellm")) == before + 1


def test_litellm_finds_its_cache_healthy(litellm):
    answer = litellm.get("/cache/ping")
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "healthy" and answer.json()["cache_type"] == "redis"


def test_what_litellm_wrote_is_its_tenants_alone(litellm, deja, word):
    ask(litellm, f"secret {word}")
    with redis.Redis(port=deja.resp_port, password=PASSWORD) as own, \
            redis.Redis(port=deja.resp_port, password="another") as other, \
            redis.Redis(port=deja.resp_port) as nobody:
        poll(lambda: own.dbsize() > 0, "LiteLLM to have written its answer")
        assert other.dbsize() == 0 and nobody.dbsize() == 0
