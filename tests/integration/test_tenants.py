"""Two credentials never see each other's entries: by key, by meaning, by any API, under load."""
import random
import threading

import pytest
from conftest import ask, chat_body, content_of, in_parallel, make_http, status_of, wait_for_semantic
from daemon import chunks_of_stream


@pytest.fixture
def pair(daemon, word):
    with make_http(daemon, f"sk-a-{word}") as one, make_http(daemon, f"sk-b-{word}") as two:
        yield one, two


def put(client, query, response, **more):
    answer = client.put("/api/v1/entries", json={"query": query, "response": response, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def lookup(client, query, **more):
    answer = client.post("/api/v1/lookup", json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_exact_request_of_another_key_is_a_miss(pair, upstream, word):
    one, two = pair
    model = f"plain:{word}"
    first, other = ask(one, word, model), ask(two, word, model)
    assert status_of(other) == "MISS"
    assert content_of(first) != content_of(other)
    assert content_of(ask(one, word, model)) == content_of(first)
    assert content_of(ask(two, word, model)) == content_of(other)
    assert len(upstream.calls(model)) == 2


def test_stream_of_another_key_is_a_miss(pair, word):
    one, two = pair
    body = chat_body(word, f"plain:{word}", stream=True)
    ids = [chunks_of_stream(client.post("/v1/chat/completions", json=body).text)[0]["id"] for client in pair]
    assert ids[0] != ids[1]


def test_reworded_request_of_another_key_is_a_miss(pair, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    one, two = pair
    model = f"plain:{word}"
    ask(one, "What is the capital of France?", model)
    wait_for_semantic(one, "What's the capital of France?", model)
    for text in ("What is the capital of France?", "What's the capital of France?"):
        assert ask(two, text, model, headers={"Cache-Control": "only-if-cached"}).status_code == 504


def test_key_without_and_with_a_credential_are_apart(pair, anonymous, word):
    one, _ = pair
    first, other = ask(one, word), ask(anonymous, word)
    assert status_of(other) == "MISS"
    assert content_of(first) != content_of(other)


def test_entry_put_by_one_key_is_not_found_by_another(pair, word):
    one, two = pair
    put(one, f"where is {word}", "in the drawer")
    assert lookup(one, f"where is {word}")["hit"] is True
    assert lookup(two, f"where is {word}")["hit"] is False
    assert lookup(two, f"where's {word}", threshold=0.1)["hit"] is False


def test_entry_id_is_of_no_use_to_another_key(pair, word):
    one, two = pair
    entry = put(one, f"where is {word}", "in the drawer")
    assert two.get(f"/api/v1/entries/{entry}").status_code == 404
    assert two.delete(f"/api/v1/entries/{entry}").status_code == 404
    assert one.get(f"/api/v1/entries/{entry}").status_code == 200


def test_explain_tells_nothing_of_another_key(pair, word):
    one, two = pair
    put(one, f"where is {word}", "in the drawer")
    answer = two.get("/api/v1/explain", params={"query": f"where is {word}"})
    assert answer.status_code == 200
    assert word not in answer.text.replace(f"where is {word}", "")
    assert "drawer" not in answer.text


def test_statistics_are_those_of_the_asking_key(pair, word):
    one, two = pair
    for number in range(3):
        put(one, f"{word} {number}", "x")
    assert one.get("/api/v1/stats").text != two.get("/api/v1/stats").text


def test_header_cannot_name_another_tenant(pair, word):
    one, two = pair
    put(one, word, "secret of one")
    for headers in ({"X-Deja-Tenant": "a"}, {"X-Tenant-Id": "a"}, {"X-Deja-Namespace": ""},
                    {"x-bf-cache-key": "k"}, {"cf-aig-cache-key": "k"}):
        answer = two.post("/api/v1/lookup", json={"query": word}, headers=headers)
        assert answer.json().get("hit") is not True


def test_custom_cache_key_does_not_cross(pair, word):
    one, two = pair
    headers = {"cf-aig-cache-key": word, "x-portkey-cache-namespace": word, "x-bf-cache-key": word}
    first = ask(one, word, headers=headers)
    other = ask(two, word, headers=headers)
    assert content_of(first) != content_of(other)


def test_organisation_header_separates_too(daemon, word):
    with make_http(daemon, f"sk-{word}") as client:
        first = ask(client, word, headers={"OpenAI-Organization": "org-1"})
        other = ask(client, word, headers={"OpenAI-Organization": "org-2"})
    assert status_of(other) == "MISS"
    assert content_of(first) != content_of(other)


def test_upstream_refuses_the_credential_and_its_hits_are_suspended(spawn, upstream, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        assert status_of(ask(client, word)) == "HIT"
        assert ask(client, f"{word} no", "error-401").status_code == 401
        assert status_of(ask(client, word)) != "HIT"
        # The call above was answered 200 upstream, which lifts the suspension.
        assert status_of(ask(client, word)) == "HIT"


def test_nothing_crosses_under_load(daemon, upstream, word):
    """Eight keys ask the same questions at the same time; every answer must be the key's own."""
    owners, wrong = {}, []
    lock = threading.Lock()
    model = f"plain:{word}"

    def work(number):
        chooser = random.Random(number)
        with make_http(daemon, f"sk-{number % 8}-{word}") as client:
            for _ in range(60):
                question = f"question {chooser.randrange(12)} {word}"
                if chooser.random() < 0.3:
                    answer = client.post("/v1/chat/completions", json=chat_body(question, model, stream=True))
                    identity = chunks_of_stream(answer.text)[0]["id"]
                else:
                    identity = ask(client, question, model).json()["id"]
                with lock:
                    if owners.setdefault(identity, number % 8) != number % 8:
                        wrong.append(identity)

    in_parallel(16, work)
    assert not wrong
    # One entry for each key and question, made by one upstream call each.
    assert len(upstream.calls(model)) == len(owners) <= 8 * 12
