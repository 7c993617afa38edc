"""The langcache package for Python, unchanged, blocking and async."""
import asyncio
import uuid

import httpx
import pytest
from conftest import ask, make_http
from daemon import poll
from langcache import LangCache, errors
from langcache.models import SearchStrategy
from langcache_kit import ASKED, LARGE_RESPONSE, REWORDED, SMALL, crowded


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    """The SDK reads the environment; only loopback is wanted."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def make(daemon, key, cache_id="sdk", **more):
    return LangCache(server_url=daemon.url, cache_id=cache_id, api_key=key, timeout_ms=120_000, **more)


@pytest.fixture
def cache(daemon, key):
    with make(daemon, key) as made:
        yield made


def test_set_search_and_delete(cache, word):
    entry = cache.set(prompt=word, response="hello", attributes={"a": "b"}, ttl_millis=60_000).entry_id
    [found] = cache.search(prompt=word, attributes={"a": "b"}).data
    assert (found.id, found.prompt, found.response, found.attributes) == (entry, word, "hello", {"a": "b"})
    assert (found.similarity, found.search_strategy) == (1, SearchStrategy.EXACT)
    assert cache.delete_by_id(entry_id=entry) is None
    assert cache.search(prompt=word).data == []


def test_search_by_meaning(cache, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    cache.set(prompt=ASKED, response="Settings, Security.")
    found = poll(lambda: cache.search(prompt=REWORDED, similarity_threshold=0.9, max_results=5,
                                      search_strategies=[SearchStrategy.SEMANTIC]).data, "the vector")
    assert [(item.response, item.search_strategy) for item in found] == \
        [("Settings, Security.", SearchStrategy.SEMANTIC)]


def test_delete_query_and_flush(cache, word):
    cache.set(prompt=f"{word} 1", response="r", attributes={"batch": word})
    cache.set(prompt=f"{word} 2", response="r", attributes={"batch": word})
    assert cache.delete_query(attributes={"batch": word}).deleted_entries_count == 2
    cache.set(prompt=word, response="r")
    assert cache.flush() is None
    assert cache.search(prompt=word).data == []


def test_search_of_a_conversation(cache, word):
    missed = cache.conversational_search(prompt="And there?", context=[f"Rain in {word}?"])
    assert missed.data == []
    cache.set(prompt=missed.actual_prompt, response="some")
    found = cache.conversational_search(prompt="And there?", context=[f"Rain in {word}?"])
    assert [item.response for item in found.data] == ["some"]


def test_async_client(daemon, key, word):
    async def run():
        async with make(daemon, key) as cache:
            made = await asyncio.gather(*(cache.set_async(prompt=f"{word} {n}", response=str(n),
                                                          attributes={"batch": word}) for n in range(20)))
            found = await asyncio.gather(*(cache.search_async(prompt=f"{word} {n}") for n in range(20)))
            assert [[item.response for item in answer.data[:1]] for answer in found] == \
                [[str(n)] for n in range(20)]
            await cache.delete_by_id_async(entry_id=made[0].entry_id)
            removed = await cache.delete_query_async(attributes={"batch": word})
            assert removed.deleted_entries_count == 19
            await cache.set_async(prompt=word, response="r")
            await cache.flush_async()
            assert (await cache.search_async(prompt=word)).data == []
            asked = await cache.conversational_search_async(prompt=word)
            assert asked.actual_prompt == word

    asyncio.run(run())


def test_keys_are_tenants(daemon, word):
    with make(daemon, f"sk-{uuid.uuid4().hex}") as one, make(daemon, f"sk-{uuid.uuid4().hex}") as other:
        entry = one.set(prompt=word, response="r").entry_id
        assert other.search(prompt=word, similarity_threshold=0, max_results=100).data == []
        with pytest.raises(errors.NotFoundErrorResponseContent):
            other.delete_by_id(entry_id=entry)
        other.flush()
        assert len(one.search(prompt=word).data) == 1


# -- error classes --

def test_400_names_the_fields(cache):
    with pytest.raises(errors.BadRequestErrorResponseContent) as caught:
        cache.set(prompt="", response="r", ttl_millis=0)
    assert [field.field for field in caught.value.data.fields] == ["prompt", "ttlMillis"]
    with pytest.raises(errors.BadRequestErrorResponseContent):
        cache.search(prompt="p", similarity_threshold=2)
    with pytest.raises(errors.BadRequestErrorResponseContent):
        cache.delete_query(attributes={})


def test_401_without_a_key(daemon, monkeypatch):
    monkeypatch.delenv("LANGCACHE_API_KEY", raising=False)
    with make(daemon, None) as cache, pytest.raises(errors.AuthenticationErrorResponseContent):
        cache.search(prompt="p")


def test_403_for_a_key_the_upstream_refused(spawn, key, word):
    daemon = spawn()
    with make(daemon, key) as cache:
        cache.set(prompt=word, response="r")
        with make_http(daemon, key) as client:
            ask(client, word, "error-401")
        with pytest.raises(errors.ForbiddenErrorResponseContent):
            cache.search(prompt=word)


def test_404_for_an_unknown_entry(cache):
    with pytest.raises(errors.NotFoundErrorResponseContent):
        cache.delete_by_id(entry_id="0" * 32)


def test_413_for_a_body_beyond_the_limit(spawn, key):
    daemon = spawn(args=["--set", "server.max_body_bytes=4kb"])
    with make(daemon, key) as cache, pytest.raises(errors.PayloadTooLargeErrorResponseContent):
        cache.set(prompt="p", response="r" * 8000)


def test_424_when_no_tenant_fits_any_more(spawn, word):
    daemon = spawn(args=["--set", "tenant.max_derived=1"])
    with make(daemon, "sk-first") as first, make(daemon, "sk-second") as second:
        first.set(prompt=word, response="r")
        with pytest.raises(errors.FailedDependencyErrorResponseContent):
            second.search(prompt=word)


def test_429_when_too_much_is_under_way(spawn, key):
    daemon = spawn(args=SMALL)
    with make(daemon, key) as cache:
        with crowded(daemon), pytest.raises(errors.TooManyRequestsErrorResponseContent):
            cache.set(prompt="p", response=LARGE_RESPONSE)
        poll(lambda: try_set(cache), "room again")


def try_set(cache):
    try:
        return cache.set(prompt="p", response=LARGE_RESPONSE).entry_id
    except errors.TooManyRequestsErrorResponseContent:
        return None


def test_no_daemon_is_the_transports_error(daemon, key):
    from daemon import free_port

    with LangCache(server_url=f"http://127.0.0.1:{free_port()}", cache_id="c", api_key=key) as cache:
        with pytest.raises(httpx.ConnectError):
            cache.search(prompt="p")
