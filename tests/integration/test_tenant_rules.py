"""What a tenant may and wants, where it counts: features, models, lives, thresholds, guards, sizes, suspension,
and credentials that share one tenant."""
import threading

import pytest
from conftest import ask, chat_body, content_of, make_http, status_of
from daemon import poll
from test_tenant_admin import Admin

REWORDED = ("What is the capital of France?", "What's the capital city of France?")


@pytest.fixture(scope="module")
def place(tmp_path_factory, upstream, models):
    """One daemon whose credentials "sk-NAME" are given to tenants by the tests."""
    from daemon import Daemon
    daemon = Daemon(tmp_path_factory.mktemp("rules"), upstream.url, models=models).start()
    yield Admin(daemon)
    daemon.stop()


@pytest.fixture
def tenant(place, word):
    """A tenant of the test's own, and a client of it."""
    made = place.add(word)
    place("POST", f"/{made}/links", {"credential": f"sk-{word}"}, status=201)
    with make_http(place.daemon, f"sk-{word}") as client:
        yield made, client


def configure(place, tenant, **config):
    return place("PATCH", f"/{tenant}", {"config": config})


def put(client, query, response="r", status=201, **more):
    answer = client.put("/api/v1/entries", json={"query": query, "response": response, **more})
    assert answer.status_code == status, answer.text
    return answer.json()


def find(client, query, **more):
    answer = client.post("/api/v1/lookup", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_features_that_are_off_answer_403(place, tenant, word):
    made, client = tenant
    model = f"plain:{word}"
    assert ask(client, word, model).status_code == 200
    configure(place, made, features={"proxy": False})
    for answer in (ask(client, word, model), client.get("/v1/models"),
                   client.post("/v1/embeddings", json={"model": model, "input": word})):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "feature_disabled"
    put(client, word)
    configure(place, made, features={"proxy": True, "api": False, "embeddings": False})
    assert ask(client, word, model).status_code == 200
    assert client.post("/v1/embeddings", json={"model": model, "input": word}).status_code == 403
    for path in ("/api/v1/lookup", f"/v1/caches/{word}/entries/search", "/gptcache/get"):
        answer = client.post(path, json={"query": word, "prompt": word})
        assert answer.status_code == 403, path
    assert client.get("/api/v1/stats").json()["type"] == "feature_disabled"


def test_without_meaning_only_the_same_words_are_hits(place, tenant, word, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    made, client = tenant
    put(client, REWORDED[0], "Paris")
    poll(lambda: find(client, REWORDED[1], threshold=0.8)["hit"], "a hit by meaning")
    configure(place, made, features={"semantic": False})
    assert find(client, REWORDED[0])["hit"]
    missed = find(client, REWORDED[1], threshold=0.8)
    assert not missed["hit"]
    assert find(client, REWORDED[1], threshold=0.1, limit=5).get("candidates", []) == []
    configure(place, made, features={"semantic": None})
    assert find(client, REWORDED[1], threshold=0.8)["hit"]


def test_thresholds_are_the_administrators_and_clients_only_raise(place, tenant, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    made, client = tenant
    put(client, REWORDED[0], "Paris")
    hit = poll(lambda: (lambda f: f if f["hit"] else None)(find(client, REWORDED[1], threshold=0.5)), "a hit")
    similarity = hit["similarity"]
    configure(place, made, semantic={"api_threshold": round(similarity + 0.01, 3)})
    assert not find(client, REWORDED[1])["hit"]
    assert not find(client, REWORDED[1], threshold=0.5)["hit"]
    configure(place, made, semantic={"api_threshold": round(similarity - 0.01, 3)})
    assert find(client, REWORDED[1])["hit"]
    assert not find(client, REWORDED[1], threshold=round(similarity + 0.01, 3))["hit"]


def test_the_proxys_threshold_may_be_raised_and_lowered_for_a_tenant(place, tenant, word, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    made, client = tenant
    model = f"plain:{word}"
    cached = {"Cache-Control": "only-if-cached"}
    ask(client, REWORDED[0], model)
    configure(place, made, semantic={"threshold": 0.5})
    poll(lambda: ask(client, REWORDED[1], model, cached).status_code == 200, "a hit by meaning")
    configure(place, made, semantic={"threshold": 1})
    assert ask(client, REWORDED[1], model, cached).status_code == 504
    configure(place, made, semantic={"threshold": 0.5})
    strict = ask(client, REWORDED[1], model, {**cached, "X-Deja-Threshold": "0.999"})
    assert strict.status_code == 504


def test_guards_are_off_where_the_administrator_says_so(place, tenant, models):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    made, client = tenant
    put(client, "How do I boil 5 eggs in a pot of water?", "five")
    other = "How do I boil 7 eggs in a pot of water?"
    poll(lambda: find(client, "How do I boil 5 eggs in a pot of the water?", threshold=0.5)["hit"], "the index")
    assert not find(client, other, threshold=0.5)["hit"]
    configure(place, made, guards={"numbers": False})
    assert find(client, other, threshold=0.5)["hit"]


def test_models_that_are_not_listed_are_refused_everywhere(place, tenant, word):
    made, client = tenant
    configure(place, made, models=[f"plain:{word}*"])
    assert ask(client, word, f"plain:{word}-1").status_code == 200
    for path, body in [("/v1/chat/completions", chat_body(word, "plain:other")),
                       ("/v1/embeddings", {"model": "plain:other", "input": word}),
                       ("/v1/completions", {"model": "plain:other", "prompt": word}),
                       ("/v1/completions", {"prompt": word})]:
        refused = client.post(path, json=body)
        assert refused.status_code == 403, (path, refused.text)
        assert refused.json()["error"]["code"] == "model_not_allowed"
        assert refused.json()["error"]["param"] == "model"
    assert client.post("/v1/moderations", content=b"not json").status_code == 403, "nobody can tell its model"
    assert client.post("/v1/completions", content=b"not json").status_code == 400
    assert client.post("/v1/completions", json={"model": f"plain:{word}", "prompt": word}).status_code != 403


def test_lives_are_the_tenants_and_cut_at_its_longest(place, tenant, word):
    made, client = tenant
    configure(place, made, ttl={"api": "1h", "max": "2h"})

    def life(**more):
        stored = put(client, f"{word} {more}", **more)
        return client.get(f"/api/v1/entries/{stored['id']}").json()["ttl_s"]

    lives = [life(), life(ttl="24h"), life(ttl="5m")]
    assert 3000 <= lives[0] <= 3600
    assert 6000 <= lives[1] <= 7200
    assert 200 <= lives[2] <= 300


def test_lives_by_the_length_of_the_query_are_the_tenants(place, tenant, word):
    made, client = tenant
    configure(place, made, ttl={"api": "1h", "max": "2h", "small_text": "30m", "large_text": "9h"})
    stored = put(client, word)
    assert 1500 <= client.get(f"/api/v1/entries/{stored['id']}").json()["ttl_s"] <= 1800
    configure(place, made, ttl={"small_text": "9h"})
    stored = put(client, word + " again")
    assert 6000 <= client.get(f"/api/v1/entries/{stored['id']}").json()["ttl_s"] <= 7200


def test_what_is_longer_than_a_tenant_may_keep_is_not_kept(place, tenant, word):
    made, client = tenant
    configure(place, made, limits={"max_entry_bytes": 64})
    put(client, word, "short")
    assert put(client, f"{word} 2", "x" * 100, status=413)["type"] == "payload_too_large"
    model = f"plain:{word}"
    assert ask(client, word, model).status_code == 200
    assert status_of(ask(client, word, model)) == "MISS"
    configure(place, made, limits={"max_entry_bytes": None})
    ask(client, word, model)
    poll(lambda: status_of(ask(client, word, model)) == "HIT", "a hit")


def test_a_suspended_tenant_is_served_nothing(place, tenant, word):
    made, client = tenant
    model = f"plain:{word}"
    assert ask(client, word, model).status_code == 200
    put(client, word)
    place("POST", f"/{made}/suspend")
    for answer in (ask(client, word, model), client.post("/api/v1/lookup", json={"query": word})):
        assert answer.status_code == 403
    place("POST", f"/{made}/resume")
    poll(lambda: status_of(ask(client, word, model)) == "HIT", "a hit again")
    assert find(client, word)["hit"]


def test_who_comes_to_a_running_call_after_the_suspension_gets_nothing_of_it(place, tenant, upstream, word):
    made, client = tenant
    flow = upstream.flow(word)
    model = f"step:{word}"
    first = []
    thread = threading.Thread(target=lambda: first.append(ask(client, word, model, stream=True)))
    thread.start()
    try:
        assert flow.started.wait(60)
        place("POST", f"/{made}/suspend")
        with make_http(place.daemon, f"sk-{word}") as late:
            assert ask(late, word, model, stream=True).status_code == 403
    finally:
        flow.send("late")
        flow.finish()
        thread.join()
    assert first[0].status_code == 200
    assert flow.calls == 1


def test_credentials_of_one_tenant_share_and_others_do_not(place, tenant, word):
    made, client = tenant
    model = f"plain:{word}"
    place("POST", f"/{made}/links", {"credential": f"sk-{word}-2"}, status=201)
    content = content_of(ask(client, word, model))
    with make_http(place.daemon, f"sk-{word}-2") as second:
        assert content_of(ask(second, word, model)) == content
        assert status_of(ask(second, word, model)) == "HIT"
        links = place("GET", f"/{made}")["links"]
        assert len(links) == 2
        for link in links:
            place("DELETE", f"/{made}/links/{link['id']}")
        # Nobody's now: with tenants configured no request goes without one.
        answer = ask(second, word, model)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "tenant_missing"


def test_a_deleted_tenants_answers_are_not_served_to_who_gets_its_id(place, word):
    made = place.add(f"first {word}")
    model = f"plain:{word}"
    place("POST", f"/{made}/links", {"credential": f"sk-{word}"}, status=201)
    with make_http(place.daemon, f"sk-{word}") as client:
        before = content_of(ask(client, word, model))
        poll(lambda: status_of(ask(client, word, model)) == "HIT", "a hit")
        place("DELETE", f"/{made}")
        assert place.add(f"second {word}", id=made) == made
        place("POST", f"/{made}/links", {"credential": f"sk-{word}"}, status=201)
        answer = ask(client, word, model)
        assert status_of(answer) == "MISS"
        assert content_of(answer) != before
