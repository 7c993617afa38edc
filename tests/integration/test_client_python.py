"""The Python client of this repository: its calls, its decorators, its package."""
import asyncio
import json
import logging
import operator
import os
import shutil
import subprocess
import sys
import threading
import types
import zipfile
from concurrent.futures import ThreadPoolExecutor

import client_operations
import httpx
import pytest
from daemon import ROOT, free_port, poll
from deja_client import (AsyncDeja, Deja, DejaDenied, DejaError, DejaInvalid, DejaNotFound, DejaUnavailable)
from deja_client.calls import Calls

PACKAGE = ROOT / "clients" / "python"


@pytest.fixture
def cache(daemon, key, word):
    with Deja(daemon.url, key=key, namespace=word, timeout=20) as client:
        yield client


@pytest.fixture
def unreachable():
    with Deja(f"http://127.0.0.1:{free_port()}", timeout=1) as client:
        yield client


class Counted:
    """A function that says how often it ran, and can be held or made to fail."""

    def __init__(self, result=None):
        self.result = result
        self.calls = []
        self.error = None
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, *args):
        self.calls.append(args)
        assert self.gate.wait(20)
        if self.error:
            raise self.error
        return self.result(*args) if callable(self.result) else self.result


# ---- calls ----

def test_what_was_put_is_found_by_its_words_and_its_meaning(cache):
    made = cache.put("How do I reset my password?", {"text": "Settings, Security."}, ttl="1h", tags=["help"],
                     metadata={"lang": "en"}, model="m", cost=0.01)
    exact = cache.lookup("How do I reset my password?")
    assert exact and exact.kind == "exact" and exact.response == {"text": "Settings, Security."}
    assert exact.id == made["id"] and exact.similarity == 1 and exact.tier == "memory"
    assert cache.get_entry(made["id"])["metadata"] == {"lang": "en"}
    missed = cache.lookup("Something else altogether")
    assert not missed and missed.reason and missed.response is None
    assert cache.delete_entry(made["id"]) is True and cache.delete_entry(made["id"]) is False
    assert cache.get_entry(made["id"]) is None


def test_batches_answer_in_order(cache):
    results = cache.put_many([{"query": f"q{i}", "response": i} for i in range(5)])
    assert [bool(result["id"]) for result in results] == [True] * 5
    assert [found.response for found in cache.lookup_many(["q3", {"query": "q1"}, "nothing of the kind"])] == [3, 1, None]
    poll(lambda: len(cache.top()["entries"]) == 2, "two hits to be counted")
    assert len(cache.top(1)["entries"]) == 1


def test_invalidation_explanation_feedback_and_figures(cache):
    id = cache.put("which way", "left", tags=["ways"])["id"]
    assert cache.explain("which way")["hit"] is True
    assert cache.invalidate(tag="ways", dry_run=True)["would_remove"] == 1
    cache.feedback(id, "right")
    assert cache.lookup("which way")
    cache.report_false_hit(id)
    assert not cache.lookup("which way"), "a wrong one is withdrawn"
    cache.put("which way", "right", tags=["ways"])
    assert cache.invalidate(tag="ways", reason="test")["removed"] == 1
    assert "entries" in json.dumps(cache.stats()) and isinstance(cache.top(5), dict) and isinstance(cache.limits(), dict)
    assert cache.call("GET", "/api/v1/top", limit=1)


def test_errors_say_what_a_program_would_do_about_them(cache, daemon, unreachable):
    with pytest.raises(DejaInvalid) as wrong:
        cache.put("", "r")
    assert wrong.value.status == 400 and wrong.value.type and wrong.value.fields[0]["field"] == "query"
    with pytest.raises(DejaDenied) as denied:
        cache.call("GET", "/api/v1/tenants")
    assert denied.value.status in (401, 403)
    with pytest.raises(DejaNotFound):
        cache.call("GET", "/api/v1/entries/" + "0" * 32)
    with pytest.raises(DejaUnavailable) as lost:
        unreachable.lookup("q")
    assert lost.value.type == "unreachable"
    for told in (unreachable.export(), unreachable.tail(), unreachable.follow_invalidations()):
        with pytest.raises(DejaUnavailable):
            next(told)
    assert unreachable.ping() is False and cache.ping() is True


def test_plain_keys(cache):
    for name, value in (("text", "häßlich\n"), ("bytes", bytes(range(256))), ("json", {"a": [1, None, "x"]}),
                        ("null", None), ("a/b?c#d %2F*", "odd name"), ("empty", "")):
        assert cache.kv.set(name, value) is True
        assert cache.kv.get(name) == value and type(cache.kv.get(name)) is type(value)
    assert cache.kv.fetch("null").value is None and cache.kv.fetch("no such key") is None
    assert cache.kv.get("no such key", "otherwise") == "otherwise"
    assert cache.kv.exists("text") is True and cache.kv.exists("no such key") is False
    assert cache.kv.set("text", "other", if_absent=True) is False and cache.kv.get("text") == "häßlich\n"
    found = cache.kv.fetch("text")
    assert cache.kv.set("text", "newer", if_match=found.etag) is True
    assert cache.kv.set("text", "stale", if_match=found.etag) is False and cache.kv.get("text") == "newer"
    assert cache.kv.merge("json", {"a": None, "b": 2}) is True and cache.kv.get("json") == {"b": 2}
    assert cache.kv.delete("text") is True and cache.kv.delete("text") is False


def test_a_life_is_as_long_as_it_was_said(cache):
    cache.kv.set("for an hour", 1, ttl=3600)
    cache.kv.set("for ever", 1, ttl=0)
    assert 3500 < cache.kv.fetch("for an hour").ttl_s <= 3600
    assert cache.kv.fetch("for ever").ttl_s is None


def test_names_are_listed_and_removed_by_pattern(cache):
    for i in range(7):
        cache.kv.set(f"user:{i}", i)
    cache.kv.set("order:1", 1)
    page = cache.kv.keys("user:*", limit=100)
    assert sorted(item["key"] for item in page["keys"]) == [f"user:{i}" for i in range(7)]
    assert cache.kv.delete_matching("user:*")["removed"] == 7
    assert cache.kv.exists("order:1") and not cache.kv.exists("user:0")


def test_many_keys_counters_and_lives(cache):
    values = {"m:1": "text", "m:2": {"a": [1, None]}, "m:3": b"\x00\xff", "m:4": None}
    assert cache.kv.set_many(values, ttl=6000, tags=["many"]) == 4
    assert cache.kv.get_many([*values, "m:5"]) == values
    assert 0 < cache.kv.ttl("m:1") <= 6000 and cache.kv.ttl("m:5") is None
    assert [cache.kv.incr("n", 5, ttl=0), cache.kv.incr("n", -7), cache.kv.incr("n")] == [5, -2, -1]
    assert cache.kv.ttl("n") == 0
    with pytest.raises(DejaInvalid) as told:
        cache.kv.incr("m:1")
    assert told.value.type == "not_an_integer"
    with pytest.raises(DejaInvalid):
        cache.kv.set_many({"": 1})
    assert cache.kv.delete("m:1", reason="no longer so")
    assert cache.kv.delete_matching("m:*", reason="tidied up")["removed"] == 3
    assert cache.kv.set("m:1", 1) and cache.kv.clear(reason="all of it")["removed"] >= 2


def test_versions_of_plain_keys(cache):
    for version in ("v1", "v2"):
        assert cache.kv.set("versioned", f"of {version}", version=version)
    found = [cache.kv.get("versioned", version=version) for version in ("v0", "v1", "v2", None)]
    assert found == [None, "of v1", "of v2", "of v2"]
    assert cache.kv.fetch("versioned", version="v1").value == "of v1"


@pytest.mark.parametrize("key", ["", b"", ".", b".."])
def test_what_cannot_be_a_key_is_an_error_and_no_miss(cache, key):
    for call in (lambda: cache.kv.set(key, 1), lambda: cache.kv.get(key), lambda: cache.kv.delete(key),
                 lambda: cache.kv.expire(key, 60), lambda: cache.kv.merge(key, {}), lambda: cache.kv.exists(key)):
        with pytest.raises(DejaInvalid):
            call()


def test_warming_is_ordered_and_looked_at(cache):
    would = cache.warm(requests=["what is a cache?"], model="m", dry_run=True)
    assert would and cache.warm_status() is not None
    assert cache.stats(period="24h")["period"]["seconds"] == 24 * 3600


def test_entries_are_exported_page_by_page(cache):
    cache.put_many([{"query": f"question {i}", "response": "x" * 20_000, "tags": ["t"]} for i in range(90)])
    cache.kv.set("plain", "value")
    lines = list(cache.export())
    assert len({line["id"] for line in lines}) == len(lines) == 91
    assert {line["query"] for line in lines} == {"plain", *(f"question {i}" for i in range(90))}
    assert all("vector" not in line for line in lines) and any("vector" in line for line in cache.export(vectors=True))


def test_requests_are_told_as_they_are_answered(cache):
    cache.lookup("asked before")
    assert [request["api"] for request in cache.tail(follow=False)] == ["api"]
    told = cache.tail(last=0, wait=20)
    found = []
    reader = threading.Thread(target=lambda: found.extend(next(told) for _ in range(3)))
    reader.start()
    while reader.is_alive():  # whether its first question was there before or after these
        cache.lookup("asked again")
        reader.join(0.05)
    assert [request["result"] for request in found] == ["miss"] * 3


def test_what_is_made_void_is_told_as_it_is(cache):
    told = cache.follow_invalidations(wait=60)
    assert next(told)["event"] == "following"
    cache.put("which way", "left", tags=["ways"])
    cache.invalidate(tag="ways", reason="test")
    event = next(told)
    assert event["event"] == "invalidation" and event["id"]
    assert event["data"]["name"] == "ways" and event["data"]["reason"] == "test"
    told.close()
    assert [event["event"] for event in cache.follow_invalidations(wait=0.1)] == ["following"]
    with pytest.raises(DejaInvalid):
        next(cache.follow_invalidations(wait=1e9))


def test_room_is_made_and_indexes_are_looked_after(daemon, cache, key, word):
    cache.put_many([{"query": f"{word} {i}", "response": "x" * 1000} for i in range(50)])
    before = cache.stats()["levels"]["memory"]
    told = cache.evict(before["bytes"] // 2)
    assert 0 < told["removed"] < 50
    assert cache.stats()["levels"]["memory"]["entries"] == before["entries"] - told["removed"]
    assert cache.index_stats()["ready"] is True and cache.index_optimise() == {"status": "started"}
    with pytest.raises(DejaDenied):
        cache.evict(1, all=True)
    token = next(line.split()[-1] for line in daemon.log_text().splitlines() if "admin      token" in line)
    with Deja(daemon.url, key=key, token=token, timeout=20) as admin:
        assert "removed" in admin.evict(1, all=True) and admin.index_stats(all=True)["vectors"] >= 0


def test_entries_by_their_question_and_keys_with_another_life(cache):
    cache.put("which way", "left")
    assert cache.explain("which way", threshold=0.9)["threshold"] == 0.9
    assert cache.explain_request({"model": "m", "messages": [{"role": "user", "content": "q"}]})["hit"] is False
    assert cache.delete("which way") is True and cache.delete("which way") is False
    assert cache.top(1, order="idle")
    with pytest.raises(DejaInvalid, match="habits are not kept"):
        cache.learn_history([])
    cache.kv.set("k", 1)
    assert cache.kv.expire("k", 50) is True and cache.kv.fetch("k").ttl_s <= 50 and cache.kv.expire("other", 1) is False
    assert cache.kv.delete("k", if_match='"1"') is False and cache.kv.clear(dry_run=True)["would_remove"] == 1
    assert cache.kv.clear()["removed"] == 1 and cache.kv.stats()["keys"] == 0
    cache.invalidate(tag="t", after="1h")
    id = cache.schedules()[0]["id"]
    assert cache.schedule(id)["id"] == id and cache.cancel_schedule(id) and cache.schedule(id) is None


def test_kinds_and_what_is_put_off(cache):
    assert {"template_score", "session_user"} <= {kind["name"] for kind in cache.kinds()}
    made = cache.kv.name("template_score", id=42)
    assert made["key"] == "template:score:42" and made["ttl_s"] == 6 * 3600
    cache.kv.set(made["key"], {"score": 1})
    assert cache.patterns()
    cache.invalidate(tag="anything", after="1h", reason="test")
    (schedule,) = cache.schedules()
    assert cache.cancel_schedule(schedule["id"]) is True and cache.cancel_schedule(schedule["id"]) is False
    assert cache.schedules() == []


# ---- decorators ----

def test_a_function_is_called_once_for_each_key(cache):
    compute = Counted(lambda user, tenant: {"name": f"{user} of {tenant}"})

    @cache.cacheable("user:{user}:{tenant}", ttl=60, tags=["user:{user}"])
    def load(user, tenant="one"):
        """Loads."""
        return compute(user, tenant)
    assert load.__name__ == "load" and load.__doc__ == "Loads."
    assert [load(1), load(1), load(1, tenant="two"), load(user=1)] == [
        {"name": "1 of one"}, {"name": "1 of one"}, {"name": "1 of two"}, {"name": "1 of one"}]
    assert compute.calls == [(1, "one"), (1, "two")]
    assert load.key(1) == "user:1:one" and cache.kv.get("user:1:one") == {"name": "1 of one"}
    cache.invalidate(tag="user:1")
    load(1)
    assert len(compute.calls) == 3
    load.forget(1)
    load(1)
    assert len(compute.calls) == 4 and load.uncached(1) and len(compute.calls) == 5


def test_arguments_make_the_key_where_none_is_given(cache):
    compute = Counted("made")

    @cache.cacheable(ttl=60)
    def load(a, b=2, *rest, **more):
        return compute()
    assert load.key(1) == load.key(1, 2) == load.key(a=1, b=2) != load.key(2, 1)
    assert load.key(1, x={"b": 1, "a": 2}) == load.key(1, x={"a": 2, "b": 1})
    assert len(load.key("x" * 10000)) < 200
    assert load.key("a") != load.key("b")
    with pytest.raises(TypeError, match="no stable form"):
        load(object())
    with pytest.raises(ValueError, match="does not take"):
        cache.cacheable("user:{nobody}")(load.uncached)


def test_no_argument_reaches_the_syntax_of_patterns(cache):
    load = cache.cacheable("user:{user}")(lambda user: user)
    assert load.key("*") == "user:%2A" and load.key("1:admin") == "user:1%3Aadmin"


def test_a_tag_of_any_argument_is_one_tag(cache):
    compute = Counted(lambda user: user)
    load = cache.cacheable("named:{user}", tags=["named:{user}"])(lambda user: compute(user))
    forget = cache.cache_evict(tags=["named:{user}"])(lambda user: None)
    for user in ("a,b", "Zoë, 7"):
        load(user), load(user), forget(user), load(user)
        assert compute.calls == [(user,), (user,)], "what the tag names is gone"
        compute.calls.clear()


def test_none_is_kept_only_where_that_is_wanted(cache):
    plain, negative = Counted(None), Counted(None)
    load = cache.cacheable("plain:{x}")(lambda x: plain(x))
    load_negative = cache.cacheable("negative:{x}", cache_none=True)(lambda x: negative(x))
    for _ in range(3):
        assert load(1) is None and load_negative(1) is None
    assert (len(plain.calls), len(negative.calls)) == (3, 1)


def test_a_condition_says_when_the_cache_is_used(cache):
    compute = Counted("made")
    load = cache.cacheable("when:{x}", condition=lambda x: x > 0)(lambda x: compute(x))
    for _ in range(2):
        load(1), load(-1)
    assert [args for args in compute.calls] == [(1,), (-1,), (-1,)]


def test_errors_of_the_function_are_its_callers_and_nothing_is_stored(cache):
    compute = Counted("made")
    compute.error = KeyError("the database says no")
    load = cache.cacheable("failing")(lambda: compute())
    with pytest.raises(KeyError):
        load()
    compute.error = None
    assert load() == "made" and load() == "made" and len(compute.calls) == 2


def test_threads_that_ask_for_the_same_wait_for_one(cache):
    compute = Counted("made once")
    compute.gate.clear()
    load = cache.cacheable("together")(lambda: compute())
    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(load) for _ in range(8)]
        poll(lambda: compute.calls, "the first one to compute")
        compute.gate.set()
        assert [future.result(20) for future in running] == ["made once"] * 8
    assert len(compute.calls) == 1


def test_of_several_processes_one_computes(daemon, key, word):
    """Two clients, which share nothing but the daemon."""
    compute = Counted("made once")
    compute.gate.clear()
    with Deja(daemon.url, key=key, namespace=word, timeout=20) as one, Deja(daemon.url, key=key, namespace=word) as two:
        loads = [cache.cacheable("everywhere", across_processes=True)(lambda: compute()) for cache in (one, two)]
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(load) for load in loads]
            poll(lambda: compute.calls, "the first one to compute")
            assert one.kv.lock("everywhere")["locked"] is False
            compute.gate.set()
            assert [future.result(30) for future in running] == ["made once"] * 2
        assert len(compute.calls) == 1
        told = one.kv.lock("everywhere")
        assert told["locked"] is True, "it was given back"
        assert two.kv.unlock("everywhere", told["token"]) is True and two.kv.unlock("everywhere", told["token"]) is False


def test_a_lock_is_given_back_when_the_function_fails(cache):
    compute = Counted()
    compute.error = KeyError("no")
    failing = cache.cacheable("locked", across_processes=True)(lambda: compute())
    with pytest.raises(KeyError):
        failing()
    assert cache.kv.lock("locked")["locked"] is True


def test_eviction_happens_after_success_only(cache):
    compute, save = Counted(lambda user: len(compute.calls)), Counted("saved")
    load = cache.cacheable("account:{user}", tags=["user:{user}"])(lambda user: compute(user))
    by_key = cache.cache_evict("account:{user}")(lambda user: save(user))
    by_tag = cache.cache_evict(tags=["user:{user}"])(lambda user: save(user))
    by_rule = cache.cache_evict("account:{user}", condition=lambda user: user == 2)(lambda user: save(user))
    assert load(1) == 1 and load(1) == 1
    save.error = OSError("disk full")
    with pytest.raises(OSError):
        by_key(1)
    assert load(1) == 1
    save.error = None
    assert by_key(1) == "saved" and load(1) == 2
    by_rule(1)
    assert load(1) == 2
    by_tag(1)
    assert load(1) == 3
    with pytest.raises(ValueError, match="what is to go"):
        cache.cache_evict()(save)


def test_write_through(cache):
    save = Counted(lambda user, name: {"user": user, "name": name})
    rename = cache.cache_put("profile:{user}", ttl=60)(lambda user, name: save(user, name))
    load = cache.cacheable("profile:{user}")(lambda user: "never asked")
    assert rename(1, "Ann") == {"user": 1, "name": "Ann"} and load(1) == {"user": 1, "name": "Ann"}
    rename(1, "Bea")
    assert load(1)["name"] == "Bea" and len(save.calls) == 2


def test_what_ages_is_made_anew_behind_the_answer(cache):
    compute = Counted(lambda: len(compute.calls))
    load = cache.cacheable("ageing", ttl=1000, refresh_ahead=0.5)(lambda: compute())
    assert load() == 1 and load() == 1 and len(compute.calls) == 1
    cache.kv.set("ageing", 1, ttl=300)
    assert load() == 1, "the old one is served at once"
    poll(lambda: cache.kv.get("ageing") == 2, "it to be made anew")
    assert cache.kv.fetch("ageing").ttl_s > 900
    with pytest.raises(ValueError, match="needs a ttl"):
        cache.cacheable("x", refresh_ahead=0.5)(lambda: 1)


def test_questions_are_answered_by_their_meaning(cache):
    ask = Counted(lambda question: {"answer": question})
    answer = cache.cacheable("{question}", semantic=True, tags=["faq"])(lambda question: ask(question))
    first = answer("How do I reset my password?")
    assert answer("How do I reset my password?") == first and len(ask.calls) == 1
    assert cache.lookup("How do I reset my password?").kind == "exact", "a question stays as it is"
    cache.invalidate(tag="faq")
    answer("How do I reset my password?")
    assert len(ask.calls) == 2


def test_get_or_compute(cache):
    compute = Counted({"rows": 3})
    assert [cache.get_or_compute("report", compute, ttl=60, tags=["reports"]) for _ in range(3)] == [{"rows": 3}] * 3
    assert len(compute.calls) == 1
    cache.invalidate(tag="reports")
    cache.get_or_compute("report", compute)
    assert len(compute.calls) == 2


def test_without_the_cache_everything_goes_on(unreachable, caplog):
    compute = Counted("made")
    load = unreachable.cacheable("x:{i}", tags=["t"])(lambda i: compute(i))
    save = unreachable.cache_evict("x:{i}")(lambda i: "saved")
    put = unreachable.cache_put("x:{i}")(lambda i: "put")
    with caplog.at_level(logging.WARNING, "deja_client"):
        assert [load(1), load(1), save(1), put(1), unreachable.get_or_compute("y", compute)] == [
            "made", "made", "saved", "put", "made"]
    assert len(compute.calls) == 3 and "without the cache" in caplog.text
    with pytest.raises(DejaError):
        unreachable.kv.get("x")


# ---- coroutines ----

def test_the_same_for_coroutines(daemon, key, word):
    async def main():
        async with AsyncDeja(daemon.url, key=key, namespace=word, timeout=20) as cache:
            assert (await cache.put("q", "r"))["id"] and (await cache.lookup("q")).response == "r"
            assert await cache.kv.set("k", {"a": 1}) and await cache.kv.get("k") == {"a": 1}
            calls = []
            gate = asyncio.Event()

            @cache.cacheable("async:{x}", ttl=60, tags=["t"])
            async def load(x):
                calls.append(x)
                await gate.wait()
                return {"x": x}

            @cache.cache_evict(tags=["t"])
            async def save():
                return "saved"
            running = [asyncio.create_task(load(1)) for _ in range(5)]
            while not calls:
                await asyncio.sleep(0.01)
            running[0].cancel()
            gate.set()
            results = await asyncio.gather(*running, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError) and results[1:] == [{"x": 1}] * 4
            assert calls == [1], "who leaves ends nothing"
            assert await load(1) == {"x": 1} and calls == [1]
            assert await save() == "saved" and await load(1) == {"x": 1} and calls == [1, 1]
            assert [line["query"] async for line in cache.export()] != []
            assert [request async for request in cache.tail(follow=False)] != []
            assert [event async for event in cache.follow_invalidations(wait=0.1)] != []
            assert (await cache.index_stats())["ready"] is True
            with pytest.raises(DejaInvalid):
                await cache.follow_invalidations(wait=1e9).__anext__()
            assert await cache.get_or_compute("g", lambda: asyncio.sleep(0, "made")) == "made"
            with pytest.raises(TypeError):
                cache.cacheable("x")(lambda: 1)
            with pytest.raises(TypeError):
                Deja(daemon.url).cacheable("x")(load)
        async with AsyncDeja(f"http://127.0.0.1:{free_port()}", timeout=1) as lost:
            made = lost.cacheable("k")(_returns_seven)
            assert await made() == 7 and await lost.ping() is False
    asyncio.run(main())


async def _returns_seven():
    return 7


# ---- the package ----

def test_the_package_can_be_built_and_installed(tmp_path, daemon):
    """As a user would: a wheel, into a folder of its own, used by a program elsewhere."""
    source = shutil.copytree(PACKAGE, tmp_path / "source")  # building writes beside what is built
    done = subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index",
                           "-q", "-w", tmp_path, source], capture_output=True, text=True, timeout=120,
                          env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    wheel = next(tmp_path.glob("deja_client-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "deja_client/py.typed" in names and "deja_client/decorators.py" in names
    program = "import deja_client; print(deja_client.__file__); print(deja_client.Deja().ping())"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path,
                           env={**os.environ, "PYTHONPATH": str(wheel), "DEJA_SERVER": daemon.url})
    assert shown.stdout.split() == [f"{wheel}/deja_client/__init__.py", "True"], shown.stderr


def test_every_operation_has_a_method_or_is_left_out():
    """What a new route brings must be offered here, or be named as left out."""
    asked = []

    def answer(request):
        asked.append((request.method, request.url.path))
        return httpx.Response(200, json=client_operations.ANSWER)

    client = Deja("http://unreached", transport=httpx.MockTransport(answer))
    seen = {}
    for operation, methods in client_operations.METHODS.items():
        for name, *arguments in methods:
            made = operator.attrgetter(name)(client)(*arguments)
            if isinstance(made, types.GeneratorType):
                next(made, None)
        seen[operation], asked[:] = list(asked), []
    client.invalidate(tag="t")
    client_operations.check({**seen, client_operations.INVALIDATE: asked})
    for name in vars(Calls).keys() - vars(object).keys() - {"__dict__", "__module__", "__weakref__"}:
        assert getattr(AsyncDeja, name) is getattr(Calls, name), "both clients have one text"


README = (PACKAGE / "README.md").read_text()


@pytest.mark.parametrize("number", range(README.count("```python")))
def test_example_of_the_readme_runs(daemon, key, monkeypatch, number):
    monkeypatch.setenv("DEJA_SERVER", daemon.url)
    monkeypatch.setenv("DEJA_KEY", key)
    exec(README.split("```python\n")[number + 1].split("```")[0], {})
