"""The gptcache package's client, unchanged, and the routes that operators of LiteLLM know."""
import uuid

import pytest
from conftest import TIMEOUT_S, make_http
from daemon import poll
from gptcache.client import Client
from langcache_kit import ASKED, REWORDED


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def client_of(daemon, key):
    """The client sends no key of its own; its address may hold one."""
    return Client(uri=f"http://:{key}@127.0.0.1:{daemon.port}/gptcache")


def test_client_puts_and_gets_below_the_prefix(daemon, key, word):
    client = client_of(daemon, key)
    assert client.get(word) is None
    assert client.put(word, "hello") == 200
    assert client.get(word) == "hello"
    assert client.put(word, "again") == 200
    assert client.get(word) == "again"


def test_client_without_a_key_is_the_local_tenant(daemon, anonymous, word):
    client = Client(uri=f"{daemon.url}/gptcache")
    assert client.put(word, "hello") == 200
    assert client.get(word) == "hello"
    assert anonymous.post("/api/v1/lookup", json={"query": word}).json()["response"] == "hello"
    assert client_of(daemon, "sk-other").get(word) is None


def test_two_keys_never_see_each_others_entries(daemon, word):
    one, other = (client_of(daemon, f"sk-{uuid.uuid4().hex}") for _ in range(2))
    one.put(word, "mine")
    assert other.get(word) is None
    other.put(word, "theirs")
    assert (one.get(word), other.get(word)) == ("mine", "theirs")


def test_client_finds_by_meaning(spawn, models, key):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    daemon = spawn(with_model=True, args=["--set", "semantic.api_threshold=0.8"])
    client = client_of(daemon, key)
    client.put(ASKED, "Settings, Security.")
    assert poll(lambda: client.get(REWORDED), "the vector") == "Settings, Security."
    assert client.get("What is the capital of France?") is None


def test_bodies_are_those_of_a_gptcache_server(http, word):
    assert http.get("/gptcache").json() == http.get("/gptcache/").json() == "hello gptcache server"
    put = http.post("/gptcache/put", json={"prompt": word, "answer": "hello"})
    assert (put.status_code, put.json()) == (200, "successfully update the cache")
    assert http.post("/gptcache/get", json={"prompt": word}).json() == {"prompt": word, "answer": "hello"}
    missed = http.post("/gptcache/get", json={"prompt": "Why is grass green?"})
    assert (missed.status_code, missed.json()) == (200, {"prompt": "Why is grass green?", "answer": None})


def test_flush_writes_out_and_removes_nothing(http, word):
    http.post("/gptcache/put", json={"prompt": word, "answer": "hello"})
    flushed = http.post("/gptcache/flush")
    assert (flushed.status_code, flushed.json()) == (200, "successfully flush the cache")
    assert http.post("/gptcache/get", json={"prompt": word}).json()["answer"] == "hello"


@pytest.mark.parametrize("body", [{}, {"prompt": None}, {"prompt": 1}, {"prompt": ""},
                                  {"prompt": "p", "answer": 1}])
def test_wrong_bodies_are_422_with_a_detail(http, body):
    answer = http.post("/gptcache/put", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/json"
    for item in answer.json()["detail"]:
        assert set(item) == {"type", "loc", "msg"}


def test_unknown_routes_and_other_origins(http):
    assert http.post("/gptcache/nothing", json={}).status_code == 404
    assert http.get("/gptcache/put").status_code == 405
    for path in ("/gptcache/put", "/gptcache/flush", "/cache/flushall", "/cache/delete"):
        assert http.post(path, json={}, headers={"Origin": "https://evil.example"}).status_code == 403
        assert http.post(path, json={}, headers={"Host": "evil.example"}).status_code == 421
    answer = http.post("/gptcache/put", content=b'{"prompt":"p","answer":"a"}',
                       headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


# -- LiteLLM's cache administration --

def test_litellm_ping_and_redis_info(http):
    ping = http.get("/cache/ping").json()
    assert (ping["status"], ping["ping_response"]) == ("healthy", True)
    info = http.get("/cache/redis/info")
    assert info.status_code == 404
    assert "no Redis" in info.json()["detail"]


def test_litellm_delete_removes_by_the_id_of_a_hit(daemon, http, word):
    ids = [http.put("/api/v1/entries", json={"query": f"{word} {n}", "response": "r"}).json()["id"]
           for n in range(3)]
    with make_http(daemon, "sk-other", ) as other:
        assert other.post("/cache/delete", json={"keys": ids}).json() == {"status": "success"}
    answer = http.post("/cache/delete", json={"keys": [*ids[:2], "nonsense", "0" * 32]}, timeout=TIMEOUT_S)
    assert (answer.status_code, answer.json()) == (200, {"status": "success"})
    hits = [http.post("/api/v1/lookup", json={"query": f"{word} {n}"}).json()["hit"] for n in range(3)]
    assert hits == [False, False, True]
    for body in ({}, {"keys": "x"}, {"keys": ["0" * 32] * 101}):
        assert http.post("/cache/delete", json=body).status_code == 400


def test_litellm_flushall_is_of_one_tenant(daemon, word):
    keys = [f"sk-{uuid.uuid4().hex}" for _ in range(2)]
    with make_http(daemon, keys[0]) as one, make_http(daemon, keys[1]) as other:
        for client in (one, other):
            client.put("/api/v1/entries", json={"query": word, "response": "r"})
        assert one.post("/cache/flushall").json() == {"status": "success"}
        assert one.post("/api/v1/lookup", json={"query": word}).json()["hit"] is False
        assert other.post("/api/v1/lookup", json={"query": word}).json()["hit"] is True
