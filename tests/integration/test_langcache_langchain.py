"""LangChain's and RedisVL's LangCacheSemanticCache, unchanged."""
import asyncio
import uuid

import pytest
from daemon import poll
from langcache_kit import ASKED, REWORDED, Wire
from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.language_models.llms import LLM
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_redis import LangCacheSemanticCache


class CountingChat(SimpleChatModel):
    """A chat model in this process that counts how often it was asked."""

    name: str = "a"
    asked: list = []

    @property
    def _llm_type(self):
        return "counting-chat"

    @property
    def _identifying_params(self):
        return {"name": self.name}

    def _call(self, messages, stop=None, run_manager=None, **kwargs):
        self.asked.append(messages[-1].content)
        return f"answer {len(self.asked)} of {self.name}"


class CountingLLM(LLM):
    name: str = "a"
    asked: list = []

    @property
    def _llm_type(self):
        return "counting-llm"

    @property
    def _identifying_params(self):
        return {"name": self.name}

    def _call(self, prompt, stop=None, run_manager=None, **kwargs):
        self.asked.append(prompt)
        return f"answer {len(self.asked)} of {self.name}"


def make(daemon, key, **more):
    return LangCacheSemanticCache(server_url=daemon.url, api_key=key, cache_id="langchain", **more)


@pytest.fixture
def cache(daemon, key, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    before = get_llm_cache()
    made = make(daemon, key)
    assert isinstance(made, BaseCache)
    set_llm_cache(made)
    yield made
    set_llm_cache(before)


def is_answered_from_the_cache(model, prompt):
    count = len(model.asked)
    model.invoke(prompt)
    return len(model.asked) == count


def test_second_answer_of_a_chat_model_comes_from_the_cache(cache, word):
    model = CountingChat(asked=[])
    first = model.invoke(f"What is {word}?")
    second = model.invoke(f"What is {word}?")
    assert first.content == second.content == "answer 1 of a"
    assert model.asked == [f"What is {word}?"]


def test_models_and_parameters_are_kept_apart(cache, word):
    models = [CountingChat(name=name, asked=[]) for name in ("a", "b")]
    assert [model.invoke(word).content for model in models] == ["answer 1 of a", "answer 1 of b"]
    assert [model.invoke(word).content for model in models] == ["answer 1 of a", "answer 1 of b"]
    models[0].invoke(word, stop=["x"])
    assert len(models[0].asked) == 2


def test_plain_language_models_are_cached_too(cache, word):
    model = CountingLLM(asked=[])
    assert model.invoke(word) == model.invoke(word) == "answer 1 of a"
    assert len(model.asked) == 1


def wait_for_vector(daemon, key, prompt):
    """Searching stores nothing, so that what is found is what was put before."""
    wire = Wire(daemon, key, "langchain")
    poll(lambda: wire.find(prompt, similarityThreshold=0.8), "the vector")


def test_reworded_prompt_is_answered_from_the_cache(cache, daemon, key, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = CountingLLM(asked=[])
    model.invoke(ASKED)
    wait_for_vector(daemon, key, REWORDED)
    assert is_answered_from_the_cache(model, REWORDED)
    assert not is_answered_from_the_cache(model, "What is the capital of France?")


def test_reworded_chat_is_answered_from_the_cache(cache, daemon, key, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = CountingChat(asked=[])
    model.invoke([SystemMessage("Be brief."), HumanMessage(ASKED)])
    reworded = [SystemMessage("Be brief."), HumanMessage(REWORDED)]
    wait_for_vector(daemon, key, dumps(reworded))
    assert is_answered_from_the_cache(model, reworded)
    for other in ([SystemMessage("Be long."), HumanMessage(REWORDED)],
                  [SystemMessage("Be brief."), HumanMessage("How do I delete my account?")]):
        assert not is_answered_from_the_cache(model, other)


def test_async_and_clear(cache, word):
    async def run():
        model = CountingChat(asked=[])
        assert (await model.ainvoke(word)).content == (await model.ainvoke(word)).content
        assert len(model.asked) == 1
        await cache.aclear()
        await model.ainvoke(word)
        assert len(model.asked) == 2

    asyncio.run(run())


def test_tenants_are_apart(daemon, monkeypatch, word):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one, other = (make(daemon, f"sk-{uuid.uuid4().hex}") for _ in range(2))
    model = CountingLLM(asked=[], cache=one)
    model.invoke(word)
    assert CountingLLM(asked=[], cache=other).invoke(word) == "answer 1 of a"
    assert other.lookup(word, "x") is None
    other.clear()
    assert model.invoke(word) == "answer 1 of a"
    assert len(model.asked) == 1


@pytest.mark.parametrize("scale", ["normalized", "redis"])
def test_redisvl_itself(daemon, key, monkeypatch, word, scale):
    from redisvl.extensions.cache.llm import LangCacheSemanticCache as RedisVL

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    cache = RedisVL(server_url=daemon.url, cache_id="redisvl", api_key=key, ttl=60, distance_scale=scale)
    entry = cache.store(prompt=word, response="r", metadata={"llm": "a=b c%"})
    [hit] = cache.check(prompt=word, attributes={"llm": "a=b c%"}, distance_threshold=0.1)
    assert (hit["entry_id"], hit["response"], hit["vector_distance"]) == (entry, "r", 0)
    assert hit["metadata"] == {"llm": "a=b c%"}
    assert cache.check(prompt=word, attributes={"llm": "other"}) == []
    assert cache.delete_by_attributes({"llm": "a=b c%"})["deleted_entries_count"] == 1
    cache.store(prompt=word, response="again")
    cache.clear()
    assert cache.check(prompt=word) == []
