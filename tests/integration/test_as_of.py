"""What was computed before something was made void is not kept after it, whoever computed it and however
that was named. Nothing here waits for a time: what is made void is so while the computation runs."""
import asyncio
import json
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import chat_body, make_http
from daemon import clean_environment, poll
from deja_client import AsyncDeja, Deja
from exposition import read, total
from test_client_node import NODE, PACKAGE, PROGRAM
from test_shared import tier, wait_for_first_pull  # noqa: F401 (a fixture)

ENTRIES, LOOKUP, INVALIDATE = "/api/v1/entries", "/api/v1/lookup", "/api/v1/invalidate"
MODEL = {"name": "model:updated", "model": "some"}

# What names what is to go, of a value under KEY with the tag TAG in SPACE that was made from DEP.
FORMS = {
    "tag": {"tag": "TAG"},
    "namespace": {"namespace": "SPACE"},
    "all": {"all": True},
    "pattern": {"pattern": "KEY*"},
    "pattern of the tag": {"pattern": "TA?"},
    "filter": {"filter": {"lang": "en"}},
    "version": {"filter": {"$version": "v1"}},
    "tag and filter": {"tag": "TAG", "filter": {"lang": "en"}},
    "event": {"event": MODEL},
    "cascade": {"cascade": "DEP"},
    "pattern with cascade": {"pattern": "DEP", "cascade": True},
}


def named(form, word):
    """The form with this test's own words in the place of the capitals."""
    text = json.dumps(FORMS[form])
    for name, own in {"KEY": f"{word}:key", "TAG": f"{word}:tag", "TA?": f"{word}:ta?", "SPACE": word, "DEP": f"{word}:dep"}.items():
        text = text.replace(name, own)
    return json.loads(text)


def invalidate(client, form, word):
    answer = client.post(INVALIDATE, json=named(form, word))
    assert answer.status_code == 200, answer.text


def kv(client, word, name="key"):
    return client.get(f"/api/v1/kv/{word}:{name}", headers={"X-Deja-Namespace": word})


def put_kv(client, word, value, as_of=None, **headers):
    answer = client.put(f"/api/v1/kv/{word}:key", content=value,
                        headers={"X-Deja-Namespace": word, "X-Deja-Tags": f"{word}:tag",
                                 "X-Deja-Depends-On": f"{word}:dep", **headers,
                                 **({} if as_of is None else {"X-Deja-As-Of": as_of})})
    assert answer.status_code == 201, answer.text
    return answer.json()


# ---- the API ----

@pytest.mark.parametrize("form", FORMS)
def test_value_that_is_as_of_before_is_not_kept(http, word, form):
    missed = kv(http, word)
    assert missed.status_code == 404
    as_of = missed.headers["x-deja-as-of"]
    invalidate(http, form, word)
    refused = put_kv(http, word, b"old", as_of)
    assert (refused["stored"], refused["reason"]) == (False, "outrun")
    again = kv(http, word)
    assert again.status_code == 404
    assert "stored" not in put_kv(http, word, b"new", again.headers["x-deja-as-of"])
    assert kv(http, word).content == b"new"


@pytest.mark.parametrize("form", FORMS)
def test_entry_that_is_as_of_before_is_not_kept(http, word, form):
    question = {"query": f"{word} question", "namespace": word}
    missed = http.post(LOOKUP, json=question)
    as_of = missed.json()["as_of"]
    assert missed.headers["x-deja-as-of"] == str(as_of) and not missed.json()["hit"]
    invalidate(http, form, word)
    entry = {**question, "response": "old", "tags": [f"{word}:tag"], "depends_on": [f"{word}:dep"]}
    by_member = http.put(ENTRIES, json={**entry, "as_of": as_of})
    by_header = http.put(ENTRIES, json={"entries": [entry]}, headers={"X-Deja-As-Of": str(as_of)})
    for refused in by_member.json(), by_header.json()["results"][0]:
        assert (refused["stored"], refused["reason"]) == (False, "outrun"), by_header.text
    again = http.post(LOOKUP, json={"queries": [question]}).json()["results"][0]
    assert not again["hit"]
    assert "stored" not in http.put(ENTRIES, json={**entry, "as_of": again["as_of"]}).json()
    assert http.post(LOOKUP, json=question).json()["hit"]


def test_removal_of_a_key_refuses_what_began_before_though_nothing_was_there(http, word):
    as_of = kv(http, word).headers["x-deja-as-of"]
    other = kv(http, word, "other").headers["x-deja-as-of"]
    space = {"X-Deja-Namespace": word}
    assert http.delete(f"/api/v1/kv/{word}:key", headers=space).json()["removed"] == 0
    assert put_kv(http, word, b"old", as_of)["stored"] is False
    kept = http.put(f"/api/v1/kv/{word}:other", content=b"x", headers={**space, "X-Deja-As-Of": other})
    assert "stored" not in kept.json()  # of another key that says nothing


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_newer_value_stays(http, word, is_in_memory):
    as_of = kv(http, word).headers["x-deja-as-of"]
    put_kv(http, word, b"new", **({} if is_in_memory else {"X-Deja-Skip-Tiers": "memory"}))
    assert put_kv(http, word, b"old", as_of)["stored"] is False
    assert kv(http, word).content == b"new"
    assert put_kv(http, word, b"newest", kv(http, word).headers["x-deja-as-of"])["version"]
    assert kv(http, word).content == b"newest"


def test_removed_entry_is_not_brought_back(http, word):
    entry = {"query": f"{word} question", "response": "old"}
    as_of = http.post(LOOKUP, json={"query": entry["query"]}).json()["as_of"]
    made = http.put(ENTRIES, json=entry).json()
    assert http.delete(f"{ENTRIES}/{made['id']}").status_code == 200
    assert http.put(ENTRIES, json={**entry, "as_of": as_of}).json()["stored"] is False
    assert not http.post(LOOKUP, json={"query": entry["query"]}).json()["hit"]


def test_batch_and_lock_tell_the_time_and_take_it(http, word):
    space = {"X-Deja-Namespace": word}

    def batch(*operations):
        return http.post("/api/v1/kv:batch", json={"operations": operations}, headers=space).json()["results"]
    as_of = batch({"op": "get", "key": f"{word}:key"})[0]["as_of"]
    locked = http.post("/api/v1/kv:lock", json={"key": f"{word}:key"}, headers=space).json()
    assert locked["locked"] and locked["as_of"] > as_of
    invalidate(http, "tag", word)
    old = batch({"op": "set", "key": f"{word}:key", "value": "old", "tags": [f"{word}:tag"], "as_of": as_of},
                {"op": "set", "key": f"{word}:other", "value": "new", "as_of": locked["as_of"]})
    assert (old[0]["stored"], old[0]["reason"], old[1]["stored"]) == (False, "outrun", True)


def test_as_of_is_checked(http, word):
    now = int(kv(http, word).headers["x-deja-as-of"])
    for wrong in "", "soon", "-1", "0", "1.5", str(now + 60_000_000):
        answer = http.put(f"/api/v1/kv/{word}", content=b"x", headers={"X-Deja-As-Of": wrong})
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (400, "X-Deja-As-Of"), wrong
        assert "miss was answered with" in answer.json()["fields"][0]["message"]
    for wrong in "soon", -1, 1.5, now + 60_000_000:
        answer = http.put(ENTRIES, json={"query": word, "response": 1, "as_of": wrong})
        assert (answer.status_code, answer.json()["fields"][0]["field"]) == (400, "as_of"), wrong
    assert put_kv(http, word, b"x", str(now - 3_700_000_000))["stored"] is False  # more than an hour ago
    assert kv(http, word).status_code == 404


def test_what_began_before_the_daemon_did_is_not_kept(spawn, key, word):
    daemon = spawn()
    with make_http(daemon, key) as http:
        as_of = kv(http, word).headers["x-deja-as-of"]
        http.delete(f"/api/v1/kv/{word}:key", headers={"X-Deja-Namespace": word})
    daemon.restart()
    with make_http(daemon, key) as http:
        assert put_kv(http, word, b"old", as_of)["stored"] is False


# ---- a proxied answer under way ----

def outrun(http):
    """Answers that were not kept, and that were."""
    found = read(http.get("/metrics").text)
    return {status: total(found, "semantic_cache_operation_duration_seconds_count", operation="set", level="all",
                          status=status) for status in ("outrun", "ok")}


def answer_while(http, upstream, word, make_void, **headers):
    """Asks; the upstream answers once make_void() was told that all is done."""
    flow = upstream.flow(f"{word}{uuid.uuid4().hex[:6]}")
    before = outrun(http)
    body = chat_body(f"{word} question", f"step:{flow.name}")
    return answer_by(http, flow, body, word, make_void, before, headers)


def answer_by(http, flow, body, word, make_void, before, headers):
    asked = []
    thread = threading.Thread(target=lambda: asked.append(
        http.post("/v1/chat/completions", json=body, headers={"X-Deja-Tags": f"{word}:tag", "X-Deja-Namespace": word, **headers})))
    thread.start()
    poll(flow.started.is_set, "the upstream to be asked")
    make_void()
    flow.send("old")
    flow.finish()
    thread.join()
    assert asked[0].status_code == 200 and "old" in asked[0].text  # who asked has the answer
    poll(lambda: outrun(http) != before, "the answer to be kept or not")
    return outrun(http)["outrun"] - before["outrun"]


@pytest.fixture
def own(spawn, key):
    """A client of a daemon whose figures nobody else changes."""
    with make_http(spawn(), key) as client:
        yield client


def test_proxied_answer_under_way_is_not_kept(own, upstream, word):
    for form in FORMS:
        if "cascade" not in form:  # a proxied answer says nothing of what it was made from
            assert answer_while(own, upstream, word, lambda name=form: invalidate(own, name, word)) == 1, form
    assert answer_while(own, upstream, word, lambda: invalidate(own, "cascade", word)) == 0


def test_proxied_answer_made_anew_is_not_kept_when_it_was_removed(own, upstream, word):
    flow = upstream.flow(word)
    body = chat_body(f"{word} question", f"step:{word}")
    assert answer_by(own, flow, body, word, lambda: None, outrun(own), {}) == 0
    hit = own.post("/v1/chat/completions", json=body, headers={"X-Deja-Namespace": word})
    flow.started.clear()

    def remove():
        assert own.delete(f"{ENTRIES}/{hit.headers['x-cache-id']}").status_code == 200
    assert answer_by(own, flow, body, word, remove, outrun(own), {"Cache-Control": "no-cache"}) == 1
    looked = own.post("/v1/chat/completions", json=body,
                      headers={"X-Deja-Namespace": word, "Cache-Control": "only-if-cached"})
    assert looked.status_code != 200, looked.text


@pytest.mark.parametrize("form", [form for form in FORMS if "cascade" not in form])
def test_who_asks_after_it_was_made_void_does_not_join_the_answer_under_way(http, upstream, word, form):
    flow = upstream.flow(word)

    def ask():
        return http.post("/v1/chat/completions", json=chat_body(f"{word} question", f"step:{word}"),
                         headers={"X-Deja-Tags": f"{word}:tag", "X-Deja-Namespace": word}).status_code
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(ask)
        poll(lambda: flow.calls == 1, "the upstream to be asked")
        invalidate(http, form, word)
        after = pool.submit(ask)
        poll(lambda: flow.calls == 2, "the upstream to be asked again")
        flow.fail(400)
        flow.fail(400)
        assert (before.result(), after.result()) == (400, 400)


# ---- the Python client: the function itself makes void what it has read ----

@pytest.fixture
def cache(daemon, key, word):
    with Deja(daemon.url, key=key, namespace=word, timeout=20) as client:
        yield client


def drops(word):
    """How a key is made void through the client, by name."""
    ways = {form: (lambda cache, form=form: cache.invalidate(**named(form, word))) for form in FORMS}
    ways["key"] = lambda cache: cache.kv.delete(f"{word}:key")
    ways["matching"] = lambda cache: cache.kv.delete_matching(f"{word}:k*")
    return ways


RULES = {"ttl": 600}
WAYS = [*FORMS, "key", "matching"]


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_decorated_function_does_not_bring_back_what_it_had_read(cache, word, way, across):
    rows = {"row": 1}

    @cache.cacheable(f"{word}:key", tags=[f"{word}:tag"], depends_on=[f"{word}:dep"], across_processes=across, **RULES)
    def load():
        read = rows["row"]
        if read == 1:
            rows["row"] = 2
            drops(word)[way](cache)
        return read
    assert load() == 1
    assert cache.kv.fetch(f"{word}:key") is None
    assert load() == 2
    assert cache.kv.get(f"{word}:key") == 2


def test_decorated_function_does_not_replace_what_was_put_meanwhile(cache, word):
    @cache.cacheable(f"{word}:key", **RULES)
    def load():
        cache.kv.set(f"{word}:key", "newer")
        return "older"
    assert (load(), load()) == ("older", "newer")


def test_value_made_anew_before_its_end_is_not_kept_either(cache, word):
    made = threading.Event()
    rows = {"row": 0}

    @cache.cacheable(f"{word}:key", tags=[f"{word}:tag"], ttl=600, refresh_ahead=0.99)
    def load():
        rows["row"] += 1
        if rows["row"] == 2:  # behind
            cache.invalidate(tag=f"{word}:tag")
            made.set()
        return rows["row"]
    assert load() == 1
    cache.kv.set(f"{word}:key", 1, ttl=300, tags=[f"{word}:tag"])
    assert load() == 1
    assert made.wait(20)
    poll(lambda: f"{word}:key" not in str(cache.__dict__.get("_running")), "the refresh to end")
    assert cache.kv.fetch(f"{word}:key") is None


def test_question_that_was_computed_before_is_not_kept(cache, word):
    rows = {"row": 1}

    @cache.cacheable("What is the row of {word}?", tags=[f"{word}:tag"], semantic=True, **RULES)
    def load(word):  # pylint: disable=redefined-outer-name,unused-argument
        read = rows["row"]
        if read == 1:
            rows["row"] = 2
            cache.invalidate(tag=f"{word}:tag")
        return read
    assert (load(word), load(word), load(word)) == (1, 2, 2)


def test_get_or_compute_does_not_bring_back(cache, word):
    def compute():
        cache.kv.delete(f"{word}:key")
        return "old"
    assert cache.get_or_compute(f"{word}:key", compute, ttl=600) == "old"
    assert cache.kv.fetch(f"{word}:key") is None


def test_coroutine_does_not_bring_back(daemon, key, word):
    async def run():
        async with AsyncDeja(daemon.url, key=key, namespace=word, timeout=20) as cache:
            @cache.cacheable(f"{word}:key", tags=[f"{word}:tag"], **RULES)
            async def load():
                await cache.invalidate(pattern=f"{word}:*")
                return "old"
            assert await load() == "old"
            assert await cache.kv.fetch(f"{word}:key") is None
    asyncio.run(run())


# ---- the Node client ----

@pytest.mark.skipif(not NODE.exists(), reason="Node is not here: ./dev test installs it")
def test_node_function_does_not_bring_back_what_it_had_read(daemon, key, word):
    rounds = {form: named(form, word) for form in FORMS}
    environment = clean_environment({"TEST_CLIENT": str(PACKAGE / "src" / "index.js"), "TEST_URL": daemon.url,
                                     "TEST_KEY": key, "TEST_WORD": word, "TEST_ROUNDS": json.dumps(rounds)})
    done = subprocess.run([NODE, PROGRAM.with_name("as_of.mjs")], env=environment, capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(json.loads(done.stdout)) == 2 * (len(FORMS) + 1) + 2


# ---- two daemons on one tier ----

@pytest.fixture
def pair(spawn, tier, key, word):  # noqa: F811
    """Clients of two daemons, of the same tenant."""
    level, _, env = tier
    daemons = [spawn(env=env) for _ in range(2)]
    for daemon in daemons:
        wait_for_first_pull(daemon, level)
    clients = [Deja(daemon.url, key=key, namespace=word, timeout=20) for daemon in daemons]
    yield clients
    for client in clients:
        client.close()


@pytest.mark.parametrize("way", WAYS)
def test_what_the_other_daemon_was_told_counts(pair, word, way):
    here, there = pair
    rows = {"row": 1}

    @here.cacheable(f"{word}:key", tags=[f"{word}:tag"], depends_on=[f"{word}:dep"], **RULES)
    def load():
        read = rows["row"]
        if read == 1:
            rows["row"] = 2
            drops(word)[way](there)
        return read
    assert load() == 1
    poll(lambda: here.kv.fetch(f"{word}:key") is None, "the other's word to come")
    assert there.kv.fetch(f"{word}:key") is None
    poll(lambda: load() == 2 and here.kv.get(f"{word}:key") == 2, "the new value to be kept")
    assert there.kv.get(f"{word}:key") == 2


def test_value_put_through_the_other_daemon_stays(pair, word):
    here, there = pair

    @here.cacheable(f"{word}:key", **RULES)
    def load():
        there.kv.set(f"{word}:key", "newer")
        return "older"
    assert load() == "older"
    assert there.kv.get(f"{word}:key") == "newer"
    assert here.kv.get(f"{word}:key") == "newer"
