"""LangCache's REST API on the wire: statuses, bodies, matching, limits, tenants."""
import json
import uuid

import pytest
from conftest import ask, make_http
from daemon import parse_response, poll, raw_request
from langcache_kit import ASKED, REWORDED, Wire, is_error


@pytest.fixture
def wire(daemon, key):
    return Wire(daemon, key)


@pytest.fixture
def needs_model(models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")


def find_soon(wire, prompt, **more):
    """The vector of an entry may come after its acknowledgement."""
    return poll(lambda: wire.find(prompt, **more), f"{prompt!r} to be found")


# -- set and search --

def test_set_is_201_with_an_entry_id_and_nothing_else(wire, word):
    answer = wire.set(word)
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) == {"entryId"}


def test_same_words_are_found_exactly(wire, word):
    entry = wire.set(f"Where is {word}?", "in the drawer").json()["entryId"]
    assert wire.find(f"Where is {word}?") == [
        {"id": entry, "prompt": f"Where is {word}?", "response": "in the drawer", "attributes": {},
         "similarity": 1, "searchStrategy": "exact"}]


def test_miss_is_200_with_an_empty_list(wire, word):
    answer = wire.search(word)
    assert (answer.status_code, answer.json()) == (200, {"data": []})
    assert answer.headers["x-cache-status"] == "MISS"


def test_reworded_prompt_is_found_by_meaning_on_the_normalised_scale(wire, needs_model, daemon, key):
    wire.set(ASKED, "Settings, Security.")
    found = find_soon(wire, REWORDED, similarityThreshold=0.9)
    assert [(item["searchStrategy"], item["prompt"]) for item in found] == [("semantic", ASKED)]
    with make_http(daemon, key) as native:
        raw = native.post("/api/v1/lookup", json={"query": REWORDED, "namespace": "cache1",
                                                  "threshold": 0.5}).json()
    assert found[0]["similarity"] == pytest.approx((1 + raw["similarity"]) / 2, abs=1e-4)
    assert wire.find(REWORDED, similarityThreshold=found[0]["similarity"] + 0.001) == []
    assert wire.find(REWORDED, similarityThreshold=found[0]["similarity"] - 0.001) != []


def test_scale_can_be_the_cosine(spawn, needs_model, key):
    daemon = spawn(with_model=True, args=["--set", "langcache.similarity_scale=cosine"])
    wire = Wire(daemon, key)
    wire.set(ASKED)
    found = find_soon(wire, REWORDED, similarityThreshold=0.8)
    with make_http(daemon, key) as native:
        raw = native.post("/api/v1/lookup", json={"query": REWORDED, "namespace": "cache1",
                                                  "threshold": 0.5}).json()
    assert found[0]["similarity"] == pytest.approx(raw["similarity"], abs=1e-4)


def test_other_spaces_are_not_exact_but_mean_the_same(wire, word):
    wire.set(f"where is {word}")
    spaced = f" where  is {word}"
    assert wire.find(spaced, searchStrategies=["exact"]) == []
    found = wire.find(spaced, searchStrategies=["exact", "semantic"])
    assert [(item["searchStrategy"], item["similarity"]) for item in found] == [("semantic", 1)]


def test_strategies_come_in_the_order_that_was_asked_for(wire, word):
    wire.set(f"where is {word}")
    for order in (["exact", "semantic"], ["semantic", "exact"]):
        found = wire.find(f"where is {word}", searchStrategies=order)
        assert [item["searchStrategy"] for item in found] == order[:1]
    for only in ("exact", "semantic"):
        found = wire.find(f"where is {word}", searchStrategies=[only])
        assert [item["searchStrategy"] for item in found] == [only]


def test_max_results_are_the_nearest_first_and_exact_ones_before(wire, needs_model):
    prompts = [ASKED, REWORDED, "How could I reset my password?", "What is the capital of France?"]
    for prompt in prompts:
        wire.set(prompt)
    poll(lambda: len(wire.find(REWORDED, similarityThreshold=0.5, maxResults=10)) >= 3, "the vectors")
    found = wire.find(REWORDED, similarityThreshold=0.9, maxResults=10)
    assert found[0]["prompt"] == REWORDED
    assert [item["searchStrategy"] for item in found] == ["exact", "semantic", "semantic"]
    likeness = [item["similarity"] for item in found]
    assert likeness == sorted(likeness, reverse=True)
    assert len({item["id"] for item in found}) == 3
    assert len(wire.find(REWORDED, similarityThreshold=0.9, maxResults=2)) == 2
    assert len(wire.find(REWORDED, similarityThreshold=0.9)) == 1


def test_similar_words_of_another_meaning_are_not_found(wire, needs_model):
    wire.set("How do I enable two-factor login?", "Switch it on.")
    find_soon(wire, "How can I enable two-factor login?", similarityThreshold=0.8)
    assert wire.find("How do I disable two-factor login?", similarityThreshold=0.8, maxResults=10) == []


def test_set_again_replaces(wire, word):
    first = wire.set(word, "one").json()["entryId"]
    second = wire.set(word, "two").json()["entryId"]
    assert first == second
    assert [item["response"] for item in wire.find(word, maxResults=10)] == ["two"]


def test_ttl_ends_an_entry(wire, word):
    wire.set(word, ttlMillis=1)
    poll(lambda: wire.find(word) == [], "the entry to expire")


def test_prompt_and_response_come_back_to_the_byte(wire, word):
    prompt = f"{word}  Köln \t\n \"q\" \\ ☃ 𝄞 e\u0301"
    response = '[{"lc": 1}]\n' + "ü" * 5000
    wire.set(prompt, response)
    assert [(i["prompt"], i["response"]) for i in wire.find(prompt)] == [(prompt, response)]


# -- attributes --

def test_attributes_part_entries_of_the_same_prompt(wire, word):
    for model in ("a", "b"):
        assert wire.set(word, f"of {model}", attributes={"model": model}).status_code == 201
    for model in ("a", "b"):
        found = wire.find(word, attributes={"model": model}, maxResults=10)
        assert [(i["response"], i["attributes"]) for i in found] == [(f"of {model}", {"model": model})]
    assert wire.find(word, attributes={"model": "c"}, maxResults=10) == []


def test_search_with_fewer_attributes_finds_entries_with_more(wire, word):
    wire.set(word, attributes={"model": "a", "lang": "de"})
    for asked in ({"model": "a"}, {"lang": "de"}, {}, None):
        more = {} if asked is None else {"attributes": asked}
        found = find_soon(wire, word, **more)
        assert [i["attributes"] for i in found] == [{"model": "a", "lang": "de"}]
        assert found[0]["searchStrategy"] == "exact"
        assert find_soon(wire, word, searchStrategies=["exact"], **more)
    assert wire.find(word, attributes={"model": "a", "lang": "de", "x": "y"}) == []


def test_attribute_values_are_opaque_strings(wire, word):
    values = ["a%253Db", "a%3Db", "a=b", "", " ", "ß☃", "[('x', 1)]" * 300]
    for value in values:
        wire.set(word, value, attributes={"llm_string": value})
    for value in values:
        found = wire.find(word, attributes={"llm_string": value})
        assert [(i["response"], i["attributes"]["llm_string"]) for i in found] == [(value, value)]


def test_attributes_hold_for_meaning_too(wire, needs_model):
    wire.set(ASKED, "of a", attributes={"model": "a"})
    found = find_soon(wire, REWORDED, similarityThreshold=0.9, attributes={"model": "a"})
    assert [i["response"] for i in found] == ["of a"]
    assert wire.find(REWORDED, similarityThreshold=0.9, attributes={"model": "b"}) == []


# -- removing --

def test_entry_is_removed_by_its_id_once(wire, word):
    entry = wire.set(word).json()["entryId"]
    answer = wire.remove(entry)
    assert (answer.status_code, answer.content) == (204, b"")
    assert wire.find(word) == []
    is_error(wire.remove(entry), 404)


@pytest.mark.parametrize("entry", ["nonsense", "0" * 32, "%00", "%"])
def test_unknown_id_is_404(wire, entry):
    is_error(wire.remove(entry), 404)


def test_entries_are_removed_by_attributes_and_counted(wire, word):
    for number in range(4):
        wire.set(f"{word} {number}", attributes={"batch": word, "odd": str(number % 2)})
    wire.set(word)
    answer = wire.remove_matching(batch=word, odd="1")
    assert (answer.status_code, answer.json()) == (200, {"deletedEntriesCount": 2})
    assert [len(wire.find(f"{word} {n}", attributes={"batch": word})) for n in range(4)] == [1, 0, 1, 0]
    assert wire.remove_matching(batch=word).json() == {"deletedEntriesCount": 2}
    assert wire.remove_matching(batch=word).json() == {"deletedEntriesCount": 0}
    assert len(wire.find(word, searchStrategies=["exact"])) == 1


def test_removing_by_no_attribute_is_refused(wire):
    for body in ({}, {"attributes": {}}, {"attributes": None}):
        problem = is_error(wire.http.request("DELETE", "/entries", json=body), 400)
        assert problem["fields"][0]["field"] == "attributes"


def test_flush_empties_this_cache_and_no_other(daemon, key, word):
    one, other = Wire(daemon, key, "one"), Wire(daemon, key, "other")
    one.set(word)
    other.set(word)
    answer = one.flush()
    assert (answer.status_code, answer.content) == (204, b"")
    assert one.find(word) == []
    assert len(other.find(word)) == 1
    assert one.set(word).status_code == 201
    assert len(one.find(word)) == 1


def test_removed_and_flushed_stay_away_after_a_restart(spawn, key, word):
    daemon = spawn()
    wire = Wire(daemon, key)
    kept = Wire(daemon, key, "kept")
    entry = wire.set(f"{word} 1").json()["entryId"]
    wire.set(f"{word} 2", attributes={"a": "b"})
    kept.set(word)
    wire.remove(entry)
    wire.remove_matching(a="b")
    daemon.restart()
    assert wire.find(f"{word} 1") == wire.find(f"{word} 2") == []
    assert len(kept.find(word)) == 1
    kept.flush()
    daemon.restart()
    assert kept.find(word) == []


# -- conversations --

def test_conversation_without_a_past_is_a_search(wire, word):
    wire.set(word)
    body = wire.http.post("/conversations/search", json={"prompt": word}).json()
    assert body["actualPrompt"] == word
    assert [i["prompt"] for i in body["data"]] == [word]


def test_follow_up_is_found_in_its_own_conversation_only(wire, word):
    def search(*context):
        return wire.http.post("/conversations/search",
                              json={"prompt": "And how many people live there?", "context": context}).json()

    missed = search(f"Where is {word}?")
    assert missed["data"] == []
    wire.set(missed["actualPrompt"], "a million")
    assert [i["response"] for i in search(f"Where is {word}?")["data"]] == ["a million"]
    assert search("Where is Paris?")["data"] == []
    assert search()["data"] == []


# -- tenants and caches --

def test_two_tenants_never_see_each_others_entries(daemon, word):
    mine, theirs = (Wire(daemon, f"sk-{uuid.uuid4().hex}") for _ in range(2))
    entry = mine.set(word, "mine", attributes={"a": "b"}).json()["entryId"]
    for more in ({}, {"attributes": {"a": "b"}}, {"similarityThreshold": 0.0, "maxResults": 100}):
        assert theirs.find(word, **more) == []
    is_error(theirs.remove(entry), 404)
    assert theirs.remove_matching(a="b").json() == {"deletedEntriesCount": 0}
    theirs.flush()
    assert [i["response"] for i in mine.find(word, attributes={"a": "b"})] == ["mine"]


def test_caches_of_a_tenant_are_apart(daemon, key, word):
    one, other = Wire(daemon, key, "one"), Wire(daemon, key, "two")
    entry = one.set(word).json()["entryId"]
    assert other.find(word, similarityThreshold=0.0, maxResults=100) == []
    is_error(other.remove(entry), 404)
    assert len(one.find(word)) == 1


def test_cache_id_is_decoded_once(daemon, key, word):
    Wire(daemon, key, "a%20b%2Fc").set(word)
    with make_http(daemon, key) as native:
        found = native.post("/api/v1/lookup", json={"query": word, "namespace": "a b/c"}).json()
    assert found["hit"]


def test_entries_are_those_of_the_native_api(daemon, key, word):
    wire = Wire(daemon, key, "shared")
    with make_http(daemon, key) as native:
        native.put("/api/v1/entries", json={"query": f"{word} 1", "response": {"n": 1},
                                            "namespace": "shared", "metadata": {"a": "b", "n": 1}})
        entry = wire.set(f"{word} 2", "text").json()["entryId"]
        found = native.post("/api/v1/lookup", json={"query": f"{word} 2", "namespace": "shared"}).json()
        assert (found["id"], found["response"]) == (entry, "text")
        labelled = wire.set(f"{word} 3", "text", attributes={"k": "v"}).json()["entryId"]
        shown = native.get(f"/api/v1/entries/{labelled}").json()
        assert (shown["metadata"], shown["namespace"]) == ({"k": "v"}, "shared")
    [item] = wire.find(f"{word} 1")
    assert json.loads(item["response"]) == {"n": 1}
    assert item["attributes"] == {"a": "b"}


# -- errors --

def test_no_key_is_401_of_the_closed_list(daemon, word):
    nobody = Wire(daemon, None)
    for answer in (nobody.set(word), nobody.search(word), nobody.flush(), nobody.remove("0" * 32),
                   nobody.remove_matching(a="b"), nobody.http.post("/conversations/search", json={})):
        is_error(answer, 401)


def test_suspended_key_is_403(spawn, key, word):
    daemon = spawn()
    wire = Wire(daemon, key)
    wire.set(word)
    with make_http(daemon, key) as client:
        ask(client, word, "error-401")
    is_error(wire.search(word), 403)


@pytest.mark.parametrize("body, field", [
    ({}, "prompt"),
    ({"prompt": None, "response": "r"}, "prompt"),
    ({"prompt": 1, "response": "r"}, "prompt"),
    ({"prompt": "", "response": "r"}, "prompt"),
    ({"prompt": " \n", "response": "r"}, "prompt"),
    ({"prompt": "p" * 65537, "response": "r"}, "prompt"),
    ({"prompt": "p"}, "response"),
    ({"prompt": "p", "response": {"a": 1}}, "response"),
    ({"prompt": "p", "response": "r", "ttlMillis": 0}, "ttlMillis"),
    ({"prompt": "p", "response": "r", "ttlMillis": -5}, "ttlMillis"),
    ({"prompt": "p", "response": "r", "ttlMillis": 1.5}, "ttlMillis"),
    ({"prompt": "p", "response": "r", "ttlMillis": "1"}, "ttlMillis"),
    ({"prompt": "p", "response": "r", "attributes": []}, "attributes"),
    ({"prompt": "p", "response": "r", "attributes": {"a": 1}}, "attributes.a"),
    ({"prompt": "p", "response": "r", "attributes": {"a": None}}, "attributes.a"),
    ({"prompt": "p", "response": "r", "attributes": {"": "x"}}, "attributes."),
    ({"prompt": "p", "response": "r", "attributes": {"$tag": "x"}}, "attributes.$tag"),
    ({"prompt": "p", "response": "r", "attributes": {"n" * 129: "x"}}, "attributes." + "n" * 64),
    ({"prompt": "p", "response": "r", "attributes": {str(n): "x" for n in range(33)}}, "attributes"),
    ({"prompt": "p", "response": "r", "attributes": {"a": "x" * 65537}}, "attributes"),
])
def test_set_tells_what_is_wrong(wire, body, field):
    problem = is_error(wire.http.post("/entries", json=body), 400)
    assert field in [item["field"] for item in problem["fields"]]


@pytest.mark.parametrize("more, field", [
    ({"similarityThreshold": -0.1}, "similarityThreshold"),
    ({"similarityThreshold": 1.1}, "similarityThreshold"),
    ({"similarityThreshold": "0.9"}, "similarityThreshold"),
    ({"maxResults": 0}, "maxResults"),
    ({"maxResults": 101}, "maxResults"),
    ({"maxResults": 1.5}, "maxResults"),
    ({"searchStrategies": []}, "searchStrategies"),
    ({"searchStrategies": "exact"}, "searchStrategies"),
    ({"searchStrategies": ["fuzzy"]}, "searchStrategies"),
    ({"attributes": {"a": ["b"]}}, "attributes.a"),
])
def test_search_tells_what_is_wrong(wire, more, field):
    problem = is_error(wire.search("p", **more), 400)
    assert [item["field"] for item in problem["fields"]] == [field]


@pytest.mark.parametrize("context", ["text", [1], ["x"] * 51, ["x" * 65536]])
def test_conversation_tells_what_is_wrong(wire, context):
    answer = wire.http.post("/conversations/search", json={"prompt": "p", "context": context})
    assert is_error(answer, 400)["fields"][0]["field"] == "context"


def test_members_that_are_not_known_are_ignored(wire, word):
    assert wire.set(word, futureOption=True).status_code == 201
    assert len(wire.find(word, futureOption={"a": 1}, maxResults=None, attributes=None)) == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1", b'{"prompt":"\xff"}', b'{"prompt":"\\ud800"}',
                                  b'{"prompt":"a","prompt":"b","response":"c"}', b"[" * 5000])
def test_broken_json_is_400_of_the_closed_list(wire, body):
    for method, path in (("POST", "/entries"), ("POST", "/entries/search"), ("DELETE", "/entries")):
        is_error(wire.http.request(method, path, content=body,
                                   headers={"Content-Type": "application/json"}), 400)


def test_other_media_type_is_refused(wire):
    answer = wire.http.post("/entries", content=b'{"prompt":"p","response":"r"}',
                            headers={"Content-Type": "text/plain"})
    is_error(answer, 415)


@pytest.mark.parametrize("cache_id", ["%00", "%0a", "%zz", "%", "%ff", "x" * 129])
def test_bad_cache_id_is_400(daemon, key, cache_id):
    wire = Wire(daemon, key, cache_id)
    for answer in (wire.set("p"), wire.search("p"), wire.flush(), wire.remove("0" * 32),
                   wire.remove_matching(a="b")):
        assert is_error(answer, 400)["fields"][0]["field"] == "cacheId"


@pytest.mark.parametrize("method, path", [
    ("GET", ""), ("GET", "/nothing"), ("POST", "/entries/search/more"), ("DELETE", "/entries/"),
    ("POST", "/health")])
def test_unknown_path_is_404_here_and_not_the_upstreams(daemon, upstream, key, method, path):
    before = upstream.count() if callable(getattr(upstream, "count", None)) else None
    wire = Wire(daemon, key)
    is_error(wire.http.request(method, f"{daemon.url}/v1/caches/c{path}"), 404)
    is_error(wire.http.request(method, f"{daemon.url}/v1/caches"), 404)
    if before is not None:
        assert upstream.count() == before


def test_wrong_method_names_the_right_ones(wire):
    answer = wire.http.get("/entries/search")
    is_error(answer, 405)
    assert "POST" in answer.headers["allow"]


def test_body_beyond_the_limit_is_413(spawn, key):
    daemon = spawn(args=["--set", "server.max_body_bytes=4kb"])
    body = json.dumps({"prompt": "p", "response": "r" * 8000}).encode()
    raw = daemon.raw(raw_request("POST", "/v1/caches/c/entries",
                                 [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")],
                                 body))
    status, headers, text = parse_response(raw)
    assert status == 413
    assert ("content-type", "application/json") in [(n.lower(), v) for n, v in headers]
    assert json.loads(text)["type"] == "/errors/payload-too-large"


def test_too_many_tenants_are_a_dependency_that_failed(spawn, word):
    daemon = spawn(args=["--set", "tenant.max_derived=1"])
    Wire(daemon, "sk-first").set(word)
    is_error(Wire(daemon, "sk-second").search(word), 424)


def test_pages_of_other_origins_are_kept_out(daemon, key, word):
    wire = Wire(daemon, key)
    for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
        is_error(wire.http.post("/entries", json={"prompt": word, "response": "r"}, headers=headers), status)
        is_error(wire.http.post("/flush", headers=headers), status)
        is_error(wire.http.delete("/entries/" + "0" * 32, headers=headers), status)
    assert wire.find(word) == []


def test_without_an_embedder_the_same_words_are_found_still(spawn, key, word):
    wire = Wire(spawn(args=["--set", "semantic.enabled=false"]), key)
    wire.set(word, "plain")
    wire.set(word, "labelled", attributes={"a": "b"})
    assert [i["response"] for i in wire.find(word, maxResults=10)] == ["plain"]
    assert [i["response"] for i in wire.find(word, attributes={"a": "b"})] == ["labelled"]
    assert wire.find(f"{word}?") == wire.find(word, attributes={"a": "c"}) == []
    assert wire.remove_matching(a="b").json() == {"deletedEntriesCount": 1}


def test_served_answers_are_counted_as_hits_of_their_entries(daemon, key, word):
    wire = Wire(daemon, key)
    entry = wire.set(word).json()["entryId"]
    for _ in range(3):
        assert len(wire.find(word)) == 1
    with make_http(daemon, key) as native:
        def counted():
            found = [e for e in native.get("/api/v1/top").json()["entries"] if e["id"] == entry]
            return found and found[0]["hits"] == 3

        poll(counted, "the hits to be counted")
