"""The whole cache API: batches in parts, vectors of any dimension, filters, find similar, selections,
top entries, feedback, statistics of a tenant."""
import math
import re
import uuid

import pytest
from conftest import ask, make_http
from daemon import poll
from test_cache_api import ENTRIES, LOOKUP, is_problem, lookup, put

INVALIDATE = "/api/v1/invalidate"


def invalidate(client, **body):
    answer = client.post(INVALIDATE, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def count_of(answer):
    return answer.get("removed", answer.get("would_remove"))


def metric(client, name, **labels):
    total = 0.0
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def unit(dim, *weights):
    """A vector whose first numbers are the weights."""
    return [float(w) for w in weights] + [0.0] * (dim - len(weights))


# -- batches --

def test_one_bad_entry_of_a_batch_has_its_error_in_its_place(http, word):
    entries = [{"query": f"{word} a", "response": 1}, {"query": "", "response": 1}, {"query": f"{word} b"}, "x",
               {"query": f"{word} c", "response": 2, "ttl": -1}, {"query": f"{word} d", "response": 4}]
    answer = http.put(ENTRIES, json={"entries": entries})
    assert answer.status_code == 207, answer.text
    results = answer.json()["results"]
    assert ["error" in item for item in results] == [False, True, True, True, True, False]
    assert results[1]["error"]["type"] == "query_empty"
    assert results[2]["error"]["fields"][0]["field"] == "entries[2].response"
    assert results[4]["error"]["status"] == 400
    assert lookup(http, f"{word} a")["response"] == 1
    assert lookup(http, f"{word} d")["response"] == 4
    assert lookup(http, f"{word} c", threshold=1)["hit"] is False


def test_one_bad_question_of_a_batch_has_its_error_in_its_place(http, word):
    put(http, word, "kept")
    queries = [{"query": word}, {"query": "q" * 1001}, {"query": word, "threshold": 7}, {}, {"query": f"{word} not there", "threshold": 1}]
    answer = http.post(LOOKUP, json={"queries": queries})
    assert answer.status_code == 207, answer.text
    results = answer.json()["results"]
    assert results[0]["response"] == "kept"
    assert [item.get("error", {}).get("type") for item in results[1:4]] == \
        ["query_too_long", "invalid_request", "query_empty"]
    assert results[4]["hit"] is False


@pytest.mark.parametrize("body", [{"entries": []}, {"entries": {}}, {"entries": [{}] * 101}, {"entries": [], "x": 1}])
def test_malformed_batch_is_refused_as_a_whole(http, body):
    is_problem(http.put(ENTRIES, json=body), 400)


def embed_batches(client):
    text = client.get("/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines()
               if re.match(r'semantic_cache_stage_duration_seconds_count{[^}]*stage="embed"', line))


def test_batch_of_a_hundred_is_one_embedding_batch(daemon, http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    before = embed_batches(http)
    items = [{"query": f"What does part number {n} of {word} cost?", "response": n} for n in range(100)]
    assert http.put(ENTRIES, json={"entries": items}).status_code == 201
    assert embed_batches(http) == before + 1
    queries = [{"query": f"Which colour has part number {n} of {word}?"} for n in range(100)]
    answer = http.post(LOOKUP, json={"queries": queries})
    assert len(answer.json()["results"]) == 100
    assert embed_batches(http) - before >= 2


def test_batch_finds_by_meaning_what_it_does_not_find_by_words(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(http, "How do I reset my password?", "Settings", namespace=word)
    put(http, "What is the capital of France?", "Paris", namespace=word)
    queries = [{"query": text, "namespace": word, "threshold": 0.8} for text in
               ("How can I reset my password?", "What is the capital of France?", "How tall is a giraffe?")]
    results = http.post(LOOKUP, json={"queries": queries}).json()["results"]
    assert [(item["kind"], item.get("response")) for item in results] == \
        [("semantic", "Settings"), ("exact", "Paris"), (None, None)]


# -- what a put may say --

def test_everything_a_put_says_is_read_back(http, word):
    said = {"query": f"  Where  is {word}? ", "response": {"a": [1]}, "tags": ["t1", "t2"], "namespace": "n",
            "metadata": {"lang": "en", "deep": {"x": [1, None]}}, "model": "m1", "provider": "p1", "type": "analysis",
            "kind": "doc", "version": "v7", "depends_on": ["doc:1", "user:2"], "confidence": 0.75, "cost": 0.25,
            "tokens": {"input": 3, "output": 4}, "ttl": "1h"}
    stored = http.put(ENTRIES, json=said)
    assert stored.status_code == 201, stored.text
    entry = http.get(f"{ENTRIES}/{stored.json()['id']}").json()
    for name in ("query", "response", "tags", "namespace", "metadata", "model", "provider", "type", "confidence",
                 "cost", "tokens", "depends_on"):
        assert entry[name] == said[name], name
    assert (entry["content_kind"], entry["content_version"]) == ("doc", "v7")
    assert entry["normalized_query"] == f"Where is {word}?"
    assert 3000 < entry["ttl_s"] <= 3600
    assert entry["created_at"] and (entry["hits"], entry["last_access_at"]) == (0, None)


def test_hits_and_last_access_of_an_entry_are_counted(http, word):
    entry = put(http, word).json()["id"]
    for _ in range(3):
        assert lookup(http, word)["hit"]
    found = poll(lambda: (lambda e: e if e["hits"] == 3 else None)(http.get(f"{ENTRIES}/{entry}").json()), "three hits")
    assert found["last_access_at"] >= found["created_at"]


# -- vectors --

@pytest.mark.parametrize("dim", [1, 2, 3, 17, 768, 1536, 4096])
def test_vector_of_any_dimension_is_stored_and_found(http, word, dim):
    stored = http.put(ENTRIES, json={"query": word, "response": dim, "embedding": unit(dim, 1), "embedder": "mine"})
    assert stored.status_code == 201, stored.text
    found = http.post(LOOKUP, json={"embedding": unit(dim, 2), "embedder": "mine"})
    assert found.status_code == 200, found.text
    assert (found.json()["hit"], found.json()["response"]) == (True, dim)
    if dim > 1:
        assert http.post(LOOKUP, json={"embedding": unit(dim, 0, 1), "embedder": "mine"}).json()["hit"] is False


def test_vector_of_a_dimension_nobody_has_is_an_error_not_a_miss(http, word):
    put(http, word, embedding=unit(5, 1), embedder="mine")
    is_problem(http.post(LOOKUP, json={"embedding": unit(6, 1), "embedder": "mine"}), 400, "embedding_mismatch")
    is_problem(http.post(LOOKUP, json={"embedding": unit(5, 1), "embedder": "other"}), 400, "embedding_mismatch")
    answer = http.post(LOOKUP, json={"queries": [{"embedding": unit(6, 1), "embedder": "mine"}, {"query": word}]})
    assert answer.status_code == 207
    assert answer.json()["results"][0]["error"]["type"] == "embedding_mismatch"
    assert answer.json()["results"][1]["hit"] is True


def test_embedder_of_the_daemon_with_another_dimension_is_400(http, word):
    own = http.get("/api/v1/stats").json()["embedder"]["id"]
    is_problem(put(http, word, embedding=unit(3, 1), embedder=own), 400)
    is_problem(put(http, word, embedder=own), 400)


def test_ninth_index_of_a_tenant_is_refused(http, word):
    statuses = [put(http, f"{word} {dim}", embedding=unit(dim, 1), embedder="mine").status_code for dim in range(1, 10)]
    assert statuses[:8] == [201] * 8
    assert statuses[8] == 400
    is_problem(http.put(ENTRIES, json={"embedding": unit(99, 1), "embedder": "mine"}), 400)


def test_bare_vector_is_stored_replaced_found_and_deleted(http, word):
    vector = {"embedding": unit(4, 1, 1), "embedder": "mine", "name": f"row {word}"}
    first = http.put(ENTRIES, json={**vector, "metadata": {"n": 1}})
    assert first.status_code == 201, first.text
    second = http.put(ENTRIES, json={**vector, "embedding": unit(4, 0, 1), "metadata": {"n": 2}})
    assert second.json()["id"] == first.json()["id"]
    entry = http.get(f"{ENTRIES}/{first.json()['id']}").json()
    assert (entry["query"], entry["name"], entry["metadata"], entry["response"]) == (None, f"row {word}", {"n": 2}, None)

    def found(weights):
        body = {"embedding": unit(4, *weights), "embedder": "mine", "limit": 10, "threshold": 0.9}
        return [c["id"] for c in http.post(LOOKUP, json=body).json()["candidates"]]

    assert found((0, 1)) == [first.json()["id"]]
    assert found((1, 1)) == []
    assert http.delete(f"{ENTRIES}/{first.json()['id']}").json() == {"removed": 1}
    assert found((0, 1)) == []


def test_bare_vectors_without_a_name_are_known_by_their_numbers(http, word):
    bodies = [{"embedding": unit(3, *weights), "embedder": word} for weights in ((1,), (0, 1), (1,))]
    ids = [http.put(ENTRIES, json=body).json()["id"] for body in bodies]
    assert ids[0] == ids[2] != ids[1]


def test_name_of_a_vector_is_no_way_to_another_entry(http, word):
    asked = put(http, word, "asked").json()["id"]
    named = http.put(ENTRIES, json={"embedding": unit(3, 1), "embedder": "mine", "name": word}).json()["id"]
    assert asked != named
    assert lookup(http, word)["response"] == "asked"
    is_problem(put(http, word, name="n"), 400)


@pytest.mark.parametrize("more", [{"tags": ["a\u0000"]}, {"tags": ["\u001b"]}, {"depends_on": ["a\u0007b"]},
                                  {"namespace": "a\u0000"}, {"model": "\u0085"}, {"name": "x\u0001"}])
def test_control_characters_are_refused_wherever_a_text_is_a_name(http, word, more):
    is_problem(http.put(ENTRIES, json={"query": word, "response": 1, **more}), 400)
    params = {"query": word, "namespace": "a\u0001"}
    is_problem(http.delete(ENTRIES, params=params), 400)
    is_problem(http.get("/api/v1/explain", params=params), 400)


# -- find similar --

def test_candidates_come_best_first_at_any_threshold(http, word):
    for n in range(20):
        angle = n * math.pi / 40
        body = {"embedding": [math.cos(angle), math.sin(angle)], "embedder": word, "metadata": {"n": n}, "response": n,
                "name": str(n)}
        assert http.put(ENTRIES, json=body).status_code == 201
    ask_for = {"embedding": [1, 0], "embedder": word}

    def find(**more):
        answer = http.post(LOOKUP, json={**ask_for, **more})
        assert answer.status_code == 200, answer.text
        return answer.json()["candidates"]

    assert [c["metadata"]["n"] for c in find(limit=100, threshold=0)] == list(range(20))
    assert [c["metadata"]["n"] for c in find(limit=3, threshold=0)] == [0, 1, 2]
    above = find(limit=100, threshold=0.9)
    assert [c["metadata"]["n"] for c in above] == [n for n in range(20) if math.cos(n * math.pi / 40) >= 0.9]
    for candidate in above:
        assert candidate["similarity"] == pytest.approx(math.cos(candidate["metadata"]["n"] * math.pi / 40), abs=1e-3)
        assert candidate["id"] and "hits" in candidate and "last_access_at" in candidate
        assert "response" not in candidate
    assert [c["response"] for c in find(limit=2, threshold=0, responses=True)] == [0, 1]
    is_problem(http.post(LOOKUP, json={**ask_for, "limit": 101}), 400)


def test_candidates_of_a_text_are_found_in_single_and_batch(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(http, "How do I reset my password?", "Settings", namespace=word)
    put(http, "What is the capital of France?", "Paris", namespace=word)
    body = {"query": "How do I change my password?", "namespace": word, "limit": 5, "threshold": 0.1}
    single = http.post(LOOKUP, json=body).json()
    assert single["candidates"][0]["query"] == "How do I reset my password?"
    batch = http.post(LOOKUP, json={"queries": [body, {**body, "query": "How do I reset my password?"}]}).json()["results"]
    assert [c["id"] for c in batch[0]["candidates"]] == [c["id"] for c in single["candidates"]]
    assert batch[1]["kind"] == "exact"
    assert batch[1]["candidates"][0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_filter_keeps_what_matches(http, word):
    for n in range(10):
        put(http, f"{word} {n}", n, embedding=unit(8, 1, n / 100), embedder="f", model="m1" if n % 2 else "m2",
            metadata={"n": n, "lang": "en" if n < 5 else "de"}, tags=[f"g{n % 3}"], type="analysis", kind="doc",
            version=f"v{n}", confidence=(31 + n) / 40, cost=n)

    def find(**filters):
        body = {"embedding": unit(8, 1), "embedder": "f", "limit": 100, "threshold": 0, "filter": filters}
        answer = http.post(LOOKUP, json=body)
        assert answer.status_code == 200, answer.text
        return sorted(c["metadata"]["n"] for c in answer.json()["candidates"])

    assert find(lang="en") == [0, 1, 2, 3, 4]
    assert find(lang="en", n={"gte": 2, "lt": 4}) == [2, 3]
    assert find(**{"$model": "m1", "lang": {"ne": "en"}}) == [5, 7, 9]
    assert find(**{"$tag": {"in": ["g1", "g2"]}, "n": {"gt": 6}}) == [7, 8]
    assert find(**{"$version": "v3"}) == [3]
    assert find(**{"$kind": "doc", "$type": "analysis", "$confidence": {"gte": 0.97}}) == [8, 9]
    assert find(**{"$cost": {"lte": 1}}) == [0, 1]
    assert find(nothing={"exists": False}, n=6) == [6]
    assert find(lang={"exists": True, "ne": "de"}, n={"in": [1, 9]}) == [1]
    assert lookup(http, f"{word} 3", filter={"lang": "de"})["hit"] is False
    assert lookup(http, f"{word} 3", filter={"lang": "en"})["response"] == 3


@pytest.mark.parametrize("bad", [[], "x", {"a": {"like": "b"}}, {"a": [1]}, {"a": {}}, {"$nothing": 1},
                                 {"a": {"in": "b"}}, {"a": {"in": list(range(101))}}, {"a": {"exists": 1}},
                                 {f"f{n}": 1 for n in range(33)}])
def test_bad_filter_is_a_problem_document(http, bad):
    body = is_problem(http.post(LOOKUP, json={"query": "q", "filter": bad}), 400)
    assert body["fields"][0]["field"] == "filter"
    is_problem(http.post(INVALIDATE, json={"filter": bad}), 400)


# -- invalidation --

def test_selections_remove_what_they_say_and_count_it(http, word):
    for n in range(9):
        put(http, f"{word} {n}", n, namespace=f"n{n % 3}", tags=[f"t{n % 2}"], metadata={"n": n})
    dry = invalidate(http, tag="t1", namespace="n1", dry_run=True)
    assert (dry["would_remove"], dry["kind"], dry["dry_run"]) == (2, "selection", True)
    assert lookup(http, f"{word} 1", namespace="n1")["hit"]
    done = invalidate(http, tag="t1", namespace="n1", reason="tested")
    assert (done["removed"], done["reason"]) == (2, "tested")
    assert lookup(http, f"{word} 1", namespace="n1")["hit"] is False
    assert lookup(http, f"{word} 4", namespace="n1")["hit"]
    assert invalidate(http, filter={"n": {"gte": 7}}) == {"removed": 1, "kind": "filter", "dry_run": False}
    assert invalidate(http, namespace="n0", dry_run=True)["would_remove"] == 3
    assert invalidate(http, namespace="n0")["removed"] == 3
    assert invalidate(http, tag="t0")["removed"] == 2
    assert invalidate(http, older_than="1h")["removed"] == 0
    assert count_of(invalidate(http, all=True, dry_run=True)) == 1
    assert invalidate(http, all=True)["removed"] == 1
    assert invalidate(http, all=True)["removed"] == 0


def test_age_selects(http, word):
    entry = put(http, word).json()["id"]
    poll(lambda: invalidate(http, older_than=1, dry_run=True)["would_remove"] == 1, "a second to pass", every=0.1)
    put(http, f"{word} young")
    invalidate(http, older_than=1, filter={"nothing": {"exists": False}})
    assert http.get(f"{ENTRIES}/{entry}").status_code == 404
    assert lookup(http, f"{word} young")["hit"]


def test_one_entry_is_removed_by_key_by_query_and_by_url(http, word):
    entry = put(http, word).json()["id"]
    assert invalidate(http, key=entry, dry_run=True)["would_remove"] == 1
    assert invalidate(http, key=entry) == {"removed": 1, "kind": "entry", "dry_run": False}
    assert invalidate(http, key=entry)["removed"] == 0
    put(http, word, namespace="n")
    assert invalidate(http, query=word)["removed"] == 0
    assert invalidate(http, query=word, namespace="n")["removed"] == 1
    put(http, f"{word} & more?", namespace="n")
    params = {"query": f"{word} & more?", "namespace": "n"}
    assert http.delete(ENTRIES, params={"query": params["query"]}).json()["removed"] == 0
    assert http.delete(ENTRIES, params=params).json()["removed"] == 1
    is_problem(http.delete(ENTRIES), 400)


def test_invalidation_reaches_proxied_answers_too(http, word):
    ask(http, word)
    assert ask(http, word).headers["x-cache-hit"] == "true"
    assert invalidate(http, all=True)["removed"] >= 1
    assert ask(http, word).headers["x-cache-hit"] == "false"


def test_another_tenants_entries_stay(daemon, http, word):
    with make_http(daemon, f"sk-other-{word}") as other:
        theirs = put(other, word, tags=["t"], namespace="n").json()["id"]
        put(http, word, tags=["t"], namespace="n")
        for body in ({"tag": "t"}, {"namespace": "n"}, {"key": theirs}, {"filter": {"$tag": "t"}}, {"all": True}):
            invalidate(http, **body)
        assert http.post("/api/v1/feedback", json={"entry": theirs, "verdict": "wrong"}).status_code == 404
        assert lookup(other, word, namespace="n")["hit"]


@pytest.mark.parametrize("body", [
    {"pattern": ""}, {"event": "moon:full"}, {"query": "q", "cascade": "doc"}, {"tag": "t", "at": "x"},
    {"tag": "t", "after": 5, "cron": "@daily"}, {"query": None, "namespace": "n"}, {"tag": "t", "query": "q"}, {"key": "xyz"},
    {"all": True, "tag": "t"}, {"all": "yes"}, {"tag": ""}, {"tag": "t", "dry_run": "yes"}, {"older_than": 0},
    {"reason": "only"}, {"tag": "t", "reason": "r" * 257}, {"key": "0" * 32, "namespace": "n"}])
def test_unclear_invalidation_removes_nothing(http, word, body):
    put(http, word, tags=["t"], namespace="n")
    is_problem(http.post(INVALIDATE, json=body), 400)
    assert lookup(http, word, namespace="n")["hit"]


# -- top, feedback, statistics --

def test_top_lists_what_was_served_most(http, word):
    for n in range(5):
        put(http, f"{word} {n}", n)
        for _ in range(n):
            lookup(http, f"{word} {n}")

    def check():
        entries = http.get("/api/v1/top", params={"k": 3}).json()["entries"]
        return entries if [e["hits"] for e in entries] == [4, 3, 2] else None

    entries = poll(check, "the hits to be counted")
    assert [e["query"] for e in entries] == [f"{word} {n}" for n in (4, 3, 2)]
    assert all(e["last_access_at"] and "response" not in e for e in entries)
    for k in ("0", "101", "x", "-1", "1.5"):
        is_problem(http.get("/api/v1/top", params={"k": k}), 400)


def test_wrong_answer_is_withdrawn_at_once(http, word):
    entry = put(http, word).json()["id"]
    right = http.post("/api/v1/feedback", json={"entry": entry, "verdict": "right"})
    assert (right.status_code, right.json()) == (200, {"entry": entry, "verdict": "right", "removed": 0})
    assert lookup(http, word)["hit"]
    before = metric(http, "semantic_cache_false_hits_total", source="user")
    wrong = http.post("/api/v1/feedback", json={"entry": entry, "verdict": "wrong"})
    assert wrong.json() == {"entry": entry, "verdict": "wrong", "removed": 1}
    assert lookup(http, word)["hit"] is False
    assert http.get(f"{ENTRIES}/{entry}").status_code == 404
    assert metric(http, "semantic_cache_false_hits_total", source="user") == before + 1
    assert http.get("/api/v1/stats").json()["feedback"] == {"right": 1, "wrong": 1}
    is_problem(http.post("/api/v1/feedback", json={"entry": entry, "verdict": "wrong"}), 404, "not_found")


def test_wrong_proxied_answer_is_withdrawn_by_its_cache_id(http, word):
    ask(http, word)
    entry = ask(http, word).headers["x-cache-id"]
    assert http.post("/api/v1/feedback", json={"entry": entry, "verdict": "wrong"}).json()["removed"] == 1
    assert ask(http, word).headers["x-cache-hit"] == "false"


@pytest.mark.parametrize("body", [{}, {"entry": "0" * 32}, {"verdict": "wrong"}, {"entry": "x", "verdict": "wrong"},
                                  {"entry": "0" * 32, "verdict": "maybe"}, {"entry": 5, "verdict": "right"},
                                  {"entry": "0" * 32, "verdict": "wrong", "more": 1}])
def test_bad_feedback_is_a_problem_document(http, body):
    is_problem(http.post("/api/v1/feedback", json=body), 400)


def test_statistics_tell_levels_hits_and_verdicts_of_the_tenant_alone(daemon, http, word):
    put(http, word)
    lookup(http, word)
    lookup(http, f"How far away is the moon in miles, {word}?")
    with make_http(daemon, f"sk-other-{word}") as other:
        lookup(other, word)
        body = poll(lambda: (lambda b: b if b["served"] else None)(http.get("/api/v1/stats").json()), "the hit")
    memory = body["levels"]["memory"]
    assert (memory["entries"], memory["hits"], memory["misses"], memory["hit_rate"]) == (1, 1, 1, 0.5)
    assert body["levels"]["lmdb"]["misses"] == 1
    assert (body["served"], body["feedback"]) == (1, {"right": 0, "wrong": 0})


def test_entries_vectors_and_hits_survive_a_restart(spawn, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as http:
        entry = put(http, word, "kept", metadata={"a": 1}).json()["id"]
        http.put(ENTRIES, json={"embedding": unit(7, 1), "embedder": "mine", "name": "n", "metadata": {"b": 2}})
        for _ in range(5):
            lookup(http, word)
        poll(lambda: http.get(f"{ENTRIES}/{entry}").json()["hits"] == 5, "the hits")
    daemon.restart()
    with make_http(daemon, f"sk-{word}") as http:
        kept = http.get(f"{ENTRIES}/{entry}").json()
        assert (kept["response"], kept["metadata"], kept["hits"]) == ("kept", {"a": 1}, 5)
        body = {"embedding": unit(7, 1), "embedder": "mine", "limit": 1}
        found = poll(lambda: http.post(LOOKUP, json=body).json().get("candidates"), "the index to be read")
        assert found[0]["metadata"] == {"b": 2}
        assert invalidate(http, tag="none")["removed"] == 0
        assert invalidate(http, namespace="")["removed"] == 2


def test_id_that_never_was_is_404_everywhere(http):
    entry = uuid.uuid4().hex
    assert http.get(f"{ENTRIES}/{entry}").status_code == 404
    assert http.delete(f"{ENTRIES}/{entry}").status_code == 404
    assert invalidate(http, key=entry)["removed"] == 0
