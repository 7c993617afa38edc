"""Idempotency-Key on native writes: sent twice, done once, answered twice (WIRE 7)."""
import uuid

import pytest
from conftest import in_parallel, make_http
from test_cache_api import ENTRIES, is_problem, lookup, put

INVALIDATE = "/api/v1/invalidate"


def write(client, key, body, path=ENTRIES, **headers):
    method = "PUT" if path == ENTRIES else "POST"
    return client.request(method, path, json=body, headers={"Idempotency-Key": key, **headers})


def test_second_put_with_the_key_gets_the_first_answer_and_stores_nothing(http, word):
    key = uuid.uuid4().hex
    first = write(http, key, {"query": word, "response": 1})
    assert first.status_code == 201
    assert "idempotency-replayed" not in first.headers
    put(http, word, "newer")
    second = write(http, key, {"query": word, "response": 1})
    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["idempotency-replayed"] == "true"
    assert lookup(http, word)["response"] == "newer"


def test_key_with_another_body_is_422(http, word):
    key = uuid.uuid4().hex
    assert write(http, key, {"query": word, "response": 1}).status_code == 201
    is_problem(write(http, key, {"query": word, "response": 2}), 422, "idempotency_mismatch")


def test_key_is_of_one_route_and_one_tenant(daemon, http, word):
    key = uuid.uuid4().hex
    assert write(http, key, {"query": word, "response": 1}).status_code == 201
    assert write(http, key, {"query": word}, INVALIDATE).json()["removed"] == 1
    with make_http(daemon, f"sk-other-{word}") as other:
        answer = write(other, key, {"query": word, "response": 1})
        assert answer.status_code == 201
        assert "idempotency-replayed" not in answer.headers


def test_invalidation_is_done_once(http, word):
    key = uuid.uuid4().hex
    put(http, word, tags=["t"])
    assert write(http, key, {"tag": "t"}, INVALIDATE).json()["removed"] == 1
    put(http, word, tags=["t"])
    assert write(http, key, {"tag": "t"}, INVALIDATE).json()["removed"] == 1
    assert lookup(http, word)["hit"]


def test_failure_is_not_kept(http, word):
    key = uuid.uuid4().hex
    is_problem(write(http, key, {"query": "", "response": 1}), 400)
    assert write(http, key, {"query": word, "response": 1}).status_code == 201


def test_many_at_once_are_stored_once(http, word):
    key = uuid.uuid4().hex
    body = {"entries": [{"query": f"{word} {n}", "response": n} for n in range(50)]}
    answers = in_parallel(8, lambda _: write(http, key, body))
    assert {answer.status_code for answer in answers} <= {201, 409}
    stored = {answer.content for answer in answers if answer.status_code == 201}
    assert len(stored) == 1
    for answer in answers:
        if answer.status_code == 409:
            is_problem(answer, 409, "idempotency_in_flight")


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\x7f"])
def test_odd_key_is_400(http, word, key):
    is_problem(write(http, key, {"query": word, "response": 1}), 400)


def test_hundreds_of_keys_are_remembered(http, word):
    for n in range(300):
        assert write(http, f"{word}-{n}", {"query": word, "response": 1}).status_code == 201
    assert write(http, f"{word}-0", {"query": word, "response": 1}).headers["idempotency-replayed"] == "true"
