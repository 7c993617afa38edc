"""Refusals of the upstream, kept for a while where the operator says so."""
import pytest
from conftest import ask, check_sanitizer, content_of, make_http
from daemon import Daemon, poll

LIFE = {"X-Deja-TTL": "1"}


@pytest.fixture(scope="module")
def remembering(tmp_path_factory, upstream):
    made = Daemon(tmp_path_factory.mktemp("negative"), upstream.url, env={"DEJA_TTL__NEGATIVE": "1h"}).start()
    yield made
    made.stop()
    check_sanitizer(made)


def refusing(upstream, word, status):
    model = f"plain:{word}-{status}"
    upstream.failing[model] = status
    return model


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 404, 422])
def test_refusal_of_the_request_is_given_again(remembering, upstream, key, word, status, stream):
    model = refusing(upstream, word, status)
    with make_http(remembering, key) as client:
        first = ask(client, word, model, stream=stream)
        again = ask(client, word, model, stream=stream)
    assert first.status_code == again.status_code == status
    assert again.content == first.content
    assert again.headers["content-type"] == "application/json"
    assert again.headers["x-cache-hit"] == "true" and again.headers["x-should-retry"] == "false"
    assert again.headers["cache-status"].endswith('; detail="exact, negative"')
    assert len(upstream.calls(model)) == 1


@pytest.mark.parametrize("status", [401, 403, 409, 429, 500, 503])
def test_refusal_of_the_caller_or_the_moment_is_not_kept(remembering, upstream, key, word, status):
    model = refusing(upstream, word, status)
    with make_http(remembering, key) as client:
        for _ in range(2):
            answer = ask(client, word, model)
            assert answer.status_code == status and answer.headers["x-cache-hit"] == "false"
    assert len(upstream.calls(model)) == 2


def test_refusal_belongs_to_its_tenant_and_its_question(remembering, upstream, key, word):
    model = refusing(upstream, word, 404)
    with make_http(remembering, key) as client, make_http(remembering, key + "x") as other:
        ask(client, f"where is my parcel {word}", model)
        assert ask(other, f"where is my parcel {word}", model).headers["x-cache-hit"] == "false"
        del upstream.failing[model]
        assert ask(client, f"where is my parcel, {word}?", model).status_code == 200


def test_refusal_ends_and_then_the_upstream_is_asked(remembering, upstream, key, word):
    model = refusing(upstream, word, 404)
    with make_http(remembering, key) as client:
        ask(client, word, model, LIFE)
        del upstream.failing[model]
        poll(lambda: ask(client, word, model, LIFE).status_code == 200, "the refusal to end")


def test_refusal_does_not_replace_an_answer_that_is_good(remembering, upstream, key, word):
    model = f"plain:{word}"
    with make_http(remembering, key) as client:
        good = content_of(ask(client, word, model))
        upstream.failing[model] = 404
        assert ask(client, word, model, {"Cache-Control": "no-cache"}).status_code == 404
        assert content_of(ask(client, word, model)) == good


def test_deleting_ends_it_and_bypass_does_not_see_it(remembering, upstream, key, word):
    model = refusing(upstream, word, 404)
    with make_http(remembering, key) as client:
        entry = ask(client, word, model, {"X-Deja-Cache": "no-store"})
        assert entry.headers["x-cache-hit"] == "false"
        ask(client, word, model)
        told = ask(client, word, model).headers["x-cache-id"]
        shown = client.get(f"/api/v1/entries/{told}").json()
        assert shown["entry_kind"] == "negative"
        del upstream.failing[model]
        assert client.delete(f"/api/v1/entries/{told}").status_code in (200, 204)
        assert ask(client, word, model).status_code == 200


def test_nothing_is_kept_without_being_asked_for(daemon, upstream, key, word):
    model = refusing(upstream, word, 404)
    with make_http(daemon, key) as client:
        for _ in range(2):
            assert ask(client, word, model).headers["x-cache-hit"] == "false"
