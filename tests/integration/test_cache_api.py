"""The native cache API: put, look up, get, delete, statistics, explain."""
import uuid
from urllib.parse import quote

import pytest
from conftest import ask, make_http
from daemon import poll

ENTRIES, LOOKUP = "/api/v1/entries", "/api/v1/lookup"


def put(client, query, response="r", **more):
    return client.put(ENTRIES, json={"query": query, "response": response, **more})


def lookup(client, query, **more):
    answer = client.post(LOOKUP, json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def is_problem(answer, status, name=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body = answer.json()
    assert set(body) >= {"type", "title", "status", "detail"}
    assert body["status"] == status
    if name:
        assert body["type"].endswith(name)
    return body


# -- put and look up --

def test_put_is_201_with_id_version_and_expiry(http, word):
    answer = put(http, word)
    assert answer.status_code == 201
    body = answer.json()
    assert body["id"] and body["version"] and body["expires_at"]


def test_same_words_are_an_exact_hit(http, word):
    entry = put(http, f"where is {word}", "in the drawer").json()["id"]
    found = lookup(http, f"where is {word}")
    assert (found["hit"], found["kind"], found["response"]) == (True, "exact", "in the drawer")
    assert found["id"] == entry
    assert found["similarity"] == 1
    assert found["age_s"] >= 0
    assert found["tier"] in ("memory", "lmdb")


def test_other_spaces_are_a_normalized_hit(http, word):
    put(http, f"where is {word}", "in the drawer")
    found = lookup(http, f"  where   is {word} ")
    assert (found["hit"], found["kind"]) == (True, "normalized")


def test_other_words_of_the_same_meaning_are_a_semantic_hit(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(http, "How do I reset my password?", "Settings, Security.")
    found = poll(lambda: (lambda r: r if r["hit"] else None)(lookup(http, "How can I reset my password?")),
                 "the vector of the entry")
    assert (found["kind"], found["response"]) == ("semantic", "Settings, Security.")
    assert 0.8 < found["similarity"] < 1


def test_unrelated_question_is_a_miss_with_200(http, word):
    put(http, "How do I reset my password?")
    found = lookup(http, f"What is {word}?")
    assert found["hit"] is False
    assert "response" not in found or found["response"] is None


def test_put_of_the_same_question_replaces_it_with_a_new_version(http, word):
    first = put(http, word, "one").json()
    second = put(http, word, "two").json()
    assert lookup(http, word)["response"] == "two"
    assert second["version"] != first["version"]


def test_many_entries_in_one_put_and_a_batch_lookup_in_order(http, word):
    items = [{"query": f"{word} number {n}", "response": f"r{n}"} for n in range(100)]
    answer = http.put(ENTRIES, json={"entries": items})
    assert answer.status_code == 201, answer.text
    assert len({item["id"] for item in answer.json()["results"]}) == 100
    queries = [{"query": f"{word} number {n}"} for n in (7, 3, 555, 99)]
    found = http.post(LOOKUP, json={"queries": queries})
    assert found.status_code == 200, found.text
    results = found.json()["results"]
    assert [r.get("response") if r["hit"] else None for r in results] == ["r7", "r3", None, "r99"]


def test_structured_response_comes_back_as_it_was_put(http, word):
    value = {"a": [1, 2.5, None, "ü", {"b": True}], "big": 12345678901234567890}
    put(http, word, value)
    assert lookup(http, word)["response"] == value


def test_unicode_and_odd_strings_survive(http, word):
    for text in ("ünïcode ✓ 日本語 🎉", "\\ \" \n \t", "a" * 50000, "e\u0301"):
        put(http, word, text)
        assert lookup(http, word)["response"] == text


def test_namespace_separates(http, word):
    put(http, word, "one", namespace="n1")
    assert lookup(http, word)["hit"] is False
    assert lookup(http, word, namespace="n2")["hit"] is False
    assert lookup(http, word, namespace="n1")["response"] == "one"


def test_own_embedding_is_found_by_its_neighbour(http, word):
    """Any vector of the index's dimension; a tiny turn is a high cosine."""
    dim = http.get("/api/v1/stats").json()["embedder"]["dimension"]
    vector = [1.0 if index == 3 else 0.01 for index in range(dim)]
    answer = put(http, f"one {word}", "by vector", embedding=vector, namespace=word)
    assert answer.status_code == 201, answer.text
    near = [1.0 if index == 3 else 0.011 for index in range(dim)]

    def check():
        found = http.post(LOOKUP, json={"embedding": near, "namespace": word})
        assert found.status_code == 200, found.text
        return found.json() if found.json()["hit"] else None

    assert poll(check, "the vector")["response"] == "by vector"


def test_threshold_of_the_request_is_obeyed(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(http, "How do I reset my password?", "yes", namespace=word)
    loose = poll(lambda: (lambda r: r if r["hit"] else None)(
        lookup(http, "How can I reset my password?", namespace=word, threshold=0.5)), "the vector")
    assert loose["hit"]
    assert lookup(http, "How can I reset my password?", namespace=word, threshold=0.99999)["hit"] is False


def test_entry_is_gone_after_its_ttl(http, word):
    put(http, word, "short", ttl=1)
    poll(lambda: lookup(http, word)["hit"] is False, "the entry to expire", every=0.1)


# -- get and delete --

def test_entry_is_read_by_its_id(http, word):
    entry = put(http, word, "kept", tags=["a", "b"], metadata={"source": "x"}).json()["id"]
    body = http.get(f"{ENTRIES}/{entry}").json()
    assert body["id"] == entry
    assert body["response"] == "kept"
    assert body["query"] == word
    assert sorted(body["tags"]) == ["a", "b"]


def test_deleted_entry_is_never_served_again(http, word):
    entry = put(http, word, "gone").json()["id"]
    removed = http.delete(f"{ENTRIES}/{entry}")
    assert (removed.status_code, removed.json()) == (200, {"removed": 1})
    assert lookup(http, word)["hit"] is False
    is_problem(http.get(f"{ENTRIES}/{entry}"), 404)
    is_problem(http.delete(f"{ENTRIES}/{entry}"), 404)


@pytest.mark.parametrize("entry", ["nothing", "00000000-0000-8000-8000-000000000000", "%00", "a" * 3000, "..%2f.."])
def test_unknown_or_odd_id_is_404_or_400(http, entry):
    assert http.get(f"{ENTRIES}/{entry}").status_code in (400, 404)
    assert http.delete(f"{ENTRIES}/{entry}").status_code in (400, 404)


# -- statistics and explain --

def test_statistics_count_entries_hits_and_misses(http, word):
    put(http, word)
    lookup(http, word)
    lookup(http, f"How far away is the moon in miles, {word}?")
    body = http.get("/api/v1/stats").json()
    assert body["levels"]["memory"]["entries"] >= 1
    assert {"requests", "hits", "misses", "hit_rate", "saved", "embedder", "threshold", "version"} <= set(body)
    assert (body["hits"]["exact"], body["misses"]) == (1, 1)


def test_explain_tells_candidates_threshold_and_reason(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    put(http, "How do I enable two-factor authentication?", "x", namespace=word)
    params = {"query": "How do I disable two-factor authentication?", "namespace": word}

    def check():
        answer = http.get("/api/v1/explain", params=params)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.json().get("candidates") else None

    body = poll(check, "a candidate")
    candidate = body["candidates"][0]
    assert 0.5 < candidate["similarity"] < 1
    assert 0 < body["threshold"] <= 1
    assert body["hit"] is False and body["reason"]
    assert candidate["verdict"] != "ok"
    assert "refused" in candidate["guards"].values() or candidate["verdict"] == "below-threshold"


def test_explain_of_a_proxied_answer_searches_all_scopes_of_the_tenant(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    ask(http, "What is the capital of France?", f"plain:{word}")
    poll(lambda: http.get("/api/v1/explain", params={"query": "What's the capital of France?"})
         .json().get("candidates"), "a candidate from the proxy's scope")


# -- invalidate --

def test_tag_that_is_invalidated_takes_its_entries_along(http, word):
    put(http, f"How do rivers form? {word}", "a", tags=[word])
    put(http, f"What does my phone contract cost? {word}", "b")
    answer = http.post("/api/v1/invalidate", json={"tag": word})
    assert answer.status_code == 200, answer.text
    assert lookup(http, f"How do rivers form? {word}")["hit"] is False
    assert lookup(http, f"What does my phone contract cost? {word}")["hit"] is True
    put(http, f"How do rivers form? {word}", "anew", tags=[word])
    assert lookup(http, f"How do rivers form? {word}")["response"] == "anew"


def test_everything_of_a_tenant_is_invalidated_and_nothing_of_another(daemon, http, word):
    with make_http(daemon, f"sk-other-{word}") as other:
        put(http, word, "mine")
        put(other, word, "theirs")
        assert http.post("/api/v1/invalidate", json={"all": True}).status_code == 200
        assert lookup(http, word)["hit"] is False
        assert lookup(other, word)["response"] == "theirs"


def test_answer_whose_making_began_before_an_invalidation_is_never_served(http, upstream, word):
    import threading

    flow = upstream.flow(word)
    got = []
    worker = threading.Thread(target=lambda: got.append(ask(http, word, f"step:{word}")))
    worker.start()
    assert flow.started.wait(60)
    assert http.post("/api/v1/invalidate", json={"all": True}).status_code == 200
    flow.send("old")
    flow.finish()
    worker.join(60)
    assert got[0].status_code == 200
    answer = ask(http, word, f"step:{word}", headers={"Cache-Control": "only-if-cached"})
    assert answer.status_code == 504


@pytest.mark.parametrize("body", [{}, {"tag": "a", "all": True}, {"all": False}, {"pattern": None}, {"tag": 5}, []])
def test_bad_invalidation_is_a_problem_document(http, body):
    is_problem(http.post("/api/v1/invalidate", json=body), 400)


# -- bad input --

@pytest.mark.parametrize(("body", "status", "name"), [
    ({"query": "", "response": "r"}, 400, "query_empty"),
    ({"query": "   ", "response": "r"}, 400, "query_empty"),
    ({"response": "r"}, 400, None),
    ({"query": "q"}, 400, None),
    ({"query": "q" * 1001, "response": "r"}, 400, "query_too_long"),
    ({"query": "a\u0000b", "response": "r"}, 400, "query_invalid_characters"),
    ({"query": "a\u0085b", "response": "r"}, 400, "query_invalid_characters"),
    ({"query": "a\u001b[0m", "response": "r"}, 400, "query_invalid_characters"),
    ({"query": "q", "response": "r", "namespace": "a\u001fb"}, 400, None),
    ({"query": "q", "response": "r", "namespace": "a\nb"}, 400, None),
    ({"query": "q", "response": "r", "tags": ["a\u0000"]}, 400, None),
    ({"query": "q", "response": "r", "metadata": {"a\tb": 1}}, 400, None),
    ({"query": "q", "response": "r", "metadata": {"a": [{"b\u007f": 1}]}}, 400, None),
    ({"query": "q", "response": "r", "model": "a\u009fb"}, 400, None),
    ({"query": 5, "response": "r"}, 400, None),
    ({"query": ["q"], "response": "r"}, 400, None),
    ({"query": "q", "response": "r", "ttl": "long"}, 400, None),
    ({"query": "q", "response": "r", "ttl": -1}, 400, None),
    ({"query": "q", "response": "r", "tags": "a"}, 400, None),
    ({"query": "q", "response": "r", "tags": ["t" * 5000]}, 400, None),
    ({"query": "q", "response": "r", "embedding": [1] * 4097}, 400, None),
    ({"query": "q", "response": "r", "embedding": []}, 400, None),
    ({"query": "q", "response": "r", "embedding": [0] * 384}, 400, None),
    ({"query": "q", "response": "r", "embedding": "abc"}, 400, None),
    ({"query": "q", "response": "r", "embedding": [1e999] * 384}, 400, None),
    ([], 400, None),
    ({"entries": [{"query": "q", "response": "r"}] * 101}, 400, None), ({"entries": []}, 400, None),
    ("text", 400, None), (None, 400, None), (5, 400, None),
])
def test_bad_put_is_a_problem_document(http, body, status, name):
    import json

    text = json.dumps(body, allow_nan=True).replace("Infinity", "1e999")
    answer = http.put(ENTRIES, content=text, headers={"Content-Type": "application/json"})
    is_problem(answer, status, name)


@pytest.mark.parametrize("text", ["¿Qué pasa, señor? ¡Nada!", "什么是“缓存”？（简短）", "ما هو التخزين المؤقت؟", "क्या हाल है?", "👩‍💻 & 🇩🇪 — “done”…",
                                  "Zażółć gęślą jaźń; №5 ≥ 3 % • §7", "a\tb\nc", "x" * 1000, "é" * 1000])
def test_any_script_and_punctuation_may_be_asked(http, text):
    assert http.put(ENTRIES, json={"query": text, "response": "r", "namespace": text[:20].replace("\t", "").replace("\n", ""),
                                   "tags": ["§" + text[:1]]}).status_code == 201


HOSTILE = ["*", "?", "[a-z]*", "{tag}", "}{v:0}:secret", "'; DROP TABLE entries; --", "\" OR 1=1", "../../etc/passwd",
           "%00", "$(id)", "\\", "return redis.call('KEYS','*')", ":q:", "00000000-0000-0000-0000-000000000000"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_words_like_others(http, word, text):
    """In every place that could reach a key, a pattern or a statement (TRUST S18)."""
    kept = http.put(ENTRIES, json={"query": f"{word}", "response": "kept"}).json()["id"]
    mine = http.put(ENTRIES, json={"query": text + word, "response": "mine", "namespace": text, "tags": [text],
                                   "metadata": {text: text}})
    assert mine.status_code == 201
    found = http.post(LOOKUP, json={"query": text + word, "namespace": text}).json()
    assert found["hit"] and found["response"] == "mine"
    assert http.get(f"{ENTRIES}/{quote(text, safe='')}").status_code in (400, 404)
    assert http.delete(f"{ENTRIES}/{quote(text, safe='')}").status_code in (400, 404)
    assert http.post("/api/v1/invalidate", json={"tag": text}).status_code == 200
    assert http.get(f"{ENTRIES}/{mine.json()['id']}").status_code == 404
    assert http.get(f"{ENTRIES}/{kept}").status_code == 200


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "nan"])
def test_vector_that_is_not_finite_is_400(http, text):
    body = '{"query":"q","response":"r","embedding":[%s]}' % ",".join([text] * 384)
    is_problem(http.put(ENTRIES, content=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("body", [{"query": ""}, {}, {"query": "q", "threshold": 2}, {"query": "q", "threshold": "x"},
                                  {"query": "q", "limit": -1}, {"embedding": []}, {"query": None}])
def test_bad_lookup_is_a_problem_document(http, body):
    is_problem(http.post(LOOKUP, json=body), 400)


def test_method_that_is_not_there_is_405_or_404(http):
    assert http.post(ENTRIES, json={}).status_code in (404, 405)
    assert http.get(LOOKUP).status_code in (404, 405)


def test_entries_and_proxied_answers_do_not_mix(http, word):
    put(http, word, "from the API")
    answer = ask(http, word)
    assert answer.headers["x-cache-hit"] == "false"


def test_unknown_tenant_id_shapes_are_harmless(http):
    assert http.get(f"{ENTRIES}/{uuid.uuid4()}").status_code == 404


# -- settings --

def test_entries_without_a_ttl_live_as_long_as_configured(spawn, key, word):
    with make_http(spawn(config="ttl: {api: 100s, response: 1h, jitter: 0}\n"), key) as client:
        put(client, word)
        entry = put(client, word).json()["id"]
        assert 90 <= client.get(f"{ENTRIES}/{entry}").json()["ttl_s"] <= 100
        put(client, f"{word} proxied")
        ask(client, word)
        assert "ttl=3" in ask(client, word).headers["cache-status"]  # 3,600 s or a little less


def test_memory_that_is_switched_off_answers_from_the_next_tier(spawn, key, word):
    with make_http(spawn(config="l1: {enabled: false}\n"), key) as client:
        for number in range(30):
            put(client, f"{word} {number}")
        found = [lookup(client, f"{word} {number}") for number in range(30)]
        assert all(one["hit"] for one in found)
        assert sum(one["tier"] == "lmdb" for one in found) >= 25
        assert client.get("/api/v1/stats").json()["levels"]["memory"]["entries"] <= 8
