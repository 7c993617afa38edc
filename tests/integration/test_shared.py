"""Two daemons on one shared tier: what one keeps the other serves, what one makes void is void for
both, and a tier that is away takes nothing down with it."""
import os
import time
import uuid

import pytest
from conftest import ask, content_of, in_parallel, make_http, status_of
from daemon import poll

ENTRIES, LOOKUP = "/api/v1/entries", "/api/v1/lookup"
SECRET = "5e" * 32
CASCADE = int(os.environ.get("DEJA_CASCADE_ENTRIES", "1000"))
# A tier that is slow for a while is no miss: of many entries one would be.
PATIENT = {"DEJA_L2__REDIS__SOFT_TIMEOUT": "0ms", "DEJA_L3__POSTGRES__SOFT_TIMEOUT": "0ms",
           "DEJA_PERFORMANCE__GET_TIMEOUT": "60s", "DEJA_PERFORMANCE__SET_TIMEOUT": "60s",
           "DEJA_PERFORMANCE__DELETE_TIMEOUT": "60s"}


@pytest.fixture(params=["redis", "postgres"])
def tier(request):
    """Level, server, and the environment that makes a daemon use it."""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        url = server.create_database(f"t{uuid.uuid4().hex[:12]}")
        return "postgres", server, {"DEJA_L3__POSTGRES__URL": url, "DEJA_SECURITY__SECRET": SECRET,
                                    "DEJA_L3__POSTGRES__SEARCH": "true"}
    server = request.getfixturevalue("valkey")
    # No secret: the first daemon publishes its own, the second takes that.
    return "redis", server, {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{server.port}",
                             "DEJA_L2__REDIS__PREFIX": f"t{uuid.uuid4().hex[:12]}"}


@pytest.fixture
def lease():
    """How long memory answers without asking the tier again."""
    return "5s"


@pytest.fixture
def pair(spawn, tier, key, lease):
    """Two daemons and a client of each, of the same tenant."""
    level, _, env = tier
    daemons = [spawn(env={**env, "DEJA_L1__LEASE": lease}, with_model=True) for _ in range(2)]
    clients = [make_http(daemon, key) for daemon in daemons]
    for daemon in daemons:
        wait_for_first_pull(daemon, level)
    yield clients
    for client in clients:
        client.close()


def wait_for_first_pull(daemon, level):
    """Nothing of a shared tier is believed before it."""
    def check():
        with make_http(daemon) as client:
            details = client.get("/health/detailed").json()["components"][level]["details"]
            return details.get("generations", {}).get("age_ms") is not None
    poll(check, "the first pull")


def put(client, query, response="r", **more):
    answer = client.put(ENTRIES, json={"query": query, "response": response, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def lookup(client, query, **more):
    answer = client.post(LOOKUP, json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_serves_the_others_entries(pair, tier, word):
    put(pair[0], f"where is {word}", "in the drawer")
    found = lookup(pair[1], f"where is {word}")
    assert (found["hit"], found["response"], found["tier"]) == (True, "in the drawer", tier[0])
    assert lookup(pair[1], f"where is {word}")["tier"] == "memory"


def test_an_answer_of_the_upstream_is_fetched_once(pair, upstream, word):
    first = ask(pair[0], f"tell {word}")
    assert status_of(first) == "MISS"

    def second():
        answer = ask(pair[1], f"tell {word}", headers={"Cache-Control": "only-if-cached"})
        return answer if answer.status_code == 200 else None
    assert content_of(poll(second, "the other's answer")) == content_of(first)


def test_delete_on_one_is_a_miss_on_the_other(pair, word):
    entry = put(pair[0], word)["id"]
    assert pair[0].delete(f"{ENTRIES}/{entry}").status_code == 200
    assert not lookup(pair[1], word)["hit"]
    assert pair[1].get(f"{ENTRIES}/{entry}").status_code == 404


REMOVALS = {
    "id": lambda client, entry, word: client.delete(f"{ENTRIES}/{entry}"),
    "query": lambda client, entry, word: client.post("/api/v1/invalidate", json={"query": word}),
    "filter": lambda client, entry, word: client.post("/api/v1/invalidate", json={"filter": {"team": word}}),
    "wrong": lambda client, entry, word: client.post("/api/v1/feedback", json={"entry": entry, "verdict": "wrong"}),
}


@pytest.mark.parametrize("lease", ["20ms"])
@pytest.mark.parametrize("removal", REMOVALS)
def test_what_one_removes_leaves_the_others_memory(pair, word, removal):
    entry = put(pair[0], word, metadata={"team": word})["id"]
    assert lookup(pair[1], word)["hit"]  # in its memory from now on, for five minutes
    answer = REMOVALS[removal](pair[0], entry, word)
    assert answer.status_code == 200, answer.text
    poll(lambda: not lookup(pair[1], word)["hit"], "the removal on the other")
    poll(lambda: pair[1].get(f"{ENTRIES}/{entry}").status_code == 404, "the entry to be gone there")


@pytest.mark.parametrize("lease", ["20ms"])
def test_what_one_puts_anew_replaces_the_others_copy(pair, word):
    put(pair[0], word, "old")
    assert lookup(pair[1], word)["response"] == "old"
    put(pair[0], word, "new")
    poll(lambda: lookup(pair[1], word)["response"] == "new", "the newer answer on the other")
    put(pair[1], word, "newest")
    poll(lambda: lookup(pair[0], word)["response"] == "newest", "the newest answer on the first")


@pytest.mark.parametrize("lease", ["1ms"])
def test_memory_answers_past_its_lease_while_the_tier_is_away(pair, tier, word):
    _, server, _ = tier
    put(pair[0], word, "kept")
    assert lookup(pair[1], word)["response"] == "kept"
    server.stop()
    try:
        for client in (pair[0], pair[1]) * 5:
            assert lookup(client, word)["response"] == "kept"
    finally:
        server.start()


@pytest.mark.parametrize("lease", ["1ms"])
def test_what_memory_alone_has_needs_no_lease(pair, tier, word):
    answer = pair[0].put(ENTRIES, json={"query": word, "response": "mine"}, headers={"X-Deja-Skip-Tiers": tier[0]})
    assert answer.status_code == 201, answer.text
    for _ in range(5):
        assert lookup(pair[0], word)["response"] == "mine"
    assert not lookup(pair[1], word)["hit"]


@pytest.mark.parametrize("selector", [{"tag": "news"}, {"namespace": "paper"}, {"all": True}])
def test_invalidation_on_one_is_seen_by_the_other(pair, word, selector):
    put(pair[0], word, tags=["news"], namespace="paper")
    assert lookup(pair[1], word, namespace="paper")["hit"]  # in its memory from now on
    answer = pair[0].post("/api/v1/invalidate", json=selector)
    assert answer.status_code == 200, answer.text
    assert not lookup(pair[0], word, namespace="paper")["hit"]
    poll(lambda: not lookup(pair[1], word, namespace="paper")["hit"], "the invalidation on the other")
    put(pair[1], word, "anew", tags=["news"], namespace="paper")
    poll(lambda: lookup(pair[0], word, namespace="paper")["hit"], "what was put after it")


def test_what_one_keeps_outlives_both(pair, spawn, tier, key, word):
    level, _, env = tier
    put(pair[0], word, "kept")
    late = spawn(env=env)
    wait_for_first_pull(late, level)
    with make_http(late, key) as client:
        assert lookup(client, word)["response"] == "kept"


@pytest.mark.parametrize("tier", ["postgres"], indirect=True)
def test_other_words_are_found_where_the_tier_searches(pair, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(pair[0], "How do I reset my password?", "Settings, Security.")
    found = lookup(pair[1], "How can I reset my password?", threshold=0.8)
    assert (found["hit"], found["kind"], found["response"]) == (True, "semantic", "Settings, Security.")


def test_every_level_has_statistics(pair, tier, word):
    put(pair[0], word)
    lookup(pair[1], word)
    levels = pair[1].get("/api/v1/stats").json()["levels"]
    assert list(levels) == ["memory", tier[0]]
    assert levels[tier[0]]["hits"] == 1
    assert f'level="{tier[0]}"' in pair[1].get("/metrics").text


def test_a_put_that_the_tier_missed_says_so(pair, tier, word):
    level, server, _ = tier
    server.stop()
    try:
        body = poll(lambda: (lambda b: b if "tiers_missing" in b else None)(put(pair[0], word)),
                    "the tier to be missed")
        assert body["tiers_missing"] == [level]
        assert lookup(pair[0], word)["hit"]
        refused = pair[0].put(ENTRIES, json={"query": f"{word} 2", "response": 1, "require": "shared"})
        assert refused.status_code == 503, refused.text
        assert refused.json()["type"].endswith("circuit_open")
    finally:
        server.start()


def test_an_invalidation_the_tier_missed_is_made_good(spawn, postgres, key, word):
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(f"t{uuid.uuid4().hex[:12]}"),
           "DEJA_SECURITY__SECRET": SECRET, "DEJA_PERFORMANCE__RECOVERY_PROBE": "100ms",
           "DEJA_CIRCUIT_BREAKER__TIMEOUT": "100ms", "DEJA_CIRCUIT_BREAKER__MAX_TIMEOUT": "200ms"}
    daemons = [spawn(env=env) for _ in range(2)]
    for daemon in daemons:
        wait_for_first_pull(daemon, "postgres")
    with make_http(daemons[0], key) as one, make_http(daemons[1], key) as two:
        put(one, word, tags=["news"])
        assert lookup(two, word)["hit"]
        postgres.stop()
        try:
            answer = one.post("/api/v1/invalidate", json={"tag": "news"})
            assert answer.status_code == 503, answer.text
            assert not lookup(one, word)["hit"]  # here it counts at once
        finally:
            postgres.start()
        poll(lambda: not lookup(two, word)["hit"], "the invalidation to be passed on")


def test_with_the_tier_away_both_go_on(pair, tier, word):
    _, server, _ = tier
    put(pair[0], word, "before")
    server.stop()
    try:
        assert lookup(pair[0], word)["response"] == "before"
        answers = in_parallel(8, lambda i: ask(pair[i % 2], f"{word} {i}"))
        assert [a.status_code for a in answers] == [200] * 8, [a.text for a in answers if a.status_code != 200]
        assert status_of(ask(pair[0], f"{word} 0")) == "HIT"
    finally:
        server.start()


# -- what depends on what --

def hits(client, queries):
    """Those of the queries that the client is answered."""
    found = []
    for start in range(0, len(queries), 100):
        piece = queries[start:start + 100]
        answer = client.post(LOOKUP, json={"queries": [{"query": query, "threshold": 1} for query in piece]})
        assert answer.status_code == 200, answer.text
        found += [query for query, result in zip(piece, answer.json()["results"]) if result["hit"]]
    return found


def put_all(client, queries, depends_on):
    ids = []
    for start in range(0, len(queries), 100):
        answer = client.put(ENTRIES, json={"entries": [
            {"query": query, "response": "r", "depends_on": [depends_on]} for query in queries[start:start + 100]]})
        assert answer.status_code == 201, answer.text
        ids += [result["id"] for result in answer.json()["results"]]
    return ids


@pytest.mark.heavy
def test_cascade_on_one_leaves_none_of_its_dependants_to_the_other(spawn, tier, key, word):
    """Those in the other's memory, too, and those that only depend on a dependant; how long that took is printed."""
    level, _, env = tier
    env = {**env, **PATIENT, "DEJA_L1__LEASE": "1s", "DEJA_L1__MAX_SIZE": "100000",
           "DEJA_SEMANTIC__ENABLED": "false", "DEJA_L3__POSTGRES__SEARCH": "false"}
    daemons = [spawn(env=env) for _ in range(2)]
    for daemon in daemons:
        wait_for_first_pull(daemon, level)
    with make_http(daemons[0], key) as one, make_http(daemons[1], key) as two:
        near = [f"{word} {i}" for i in range(CASCADE)]
        ids = put_all(one, near, f"root:{word}")
        far = [f"{word} far {i}" for i in range(20)]  # behind the last ones, too many for a counter each
        for i, query in enumerate(far):
            put(one, query, depends_on=[ids[-1 - i]])
        put(one, f"{word} other", depends_on=["elsewhere"])
        void, kept = [*near, *far], [f"{word} other"]
        # From here on they are in its memory.
        poll(lambda: hits(two, [*void, *kept]) == [*void, *kept], "the other to have them", every=0.2)
        removed = one.post("/api/v1/invalidate", json={"cascade": f"root:{word}"})
        began = time.monotonic()
        assert removed.status_code == 200 and removed.json()["removed"] == CASCADE + len(far), removed.text
        assert hits(one, void) == []
        poll(lambda: hits(two, void) == [], "the other not to answer them any more", every=0.2)
        print(f"{level}: nothing of {CASCADE} dependants after {time.monotonic() - began:.1f} s")
        assert hits(one, void) == [] and hits(one, kept) == hits(two, kept) == kept
        assert one.post("/api/v1/invalidate", json={"cascade": f"root:{word}", "dry_run": True}).json()["would_remove"] == 0
