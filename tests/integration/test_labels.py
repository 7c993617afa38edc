"""x-portkey-metadata and cf-aig-metadata: kept with the answer as its metadata, searched like any other, and no
part of its key. x-portkey-trace-id: in the answer, as ever, and in the log."""
import json

import pytest
from conftest import ask, make_http, status_of, wait_for_semantic
from events import events_of
from test_logs import line_of, talkative  # noqa: F401, a fixture
from test_sensitive import PASSWORD, SECRET, guarded  # noqa: F401, a fixture

PORTKEY, CLOUDFLARE = "x-portkey-metadata", "cf-aig-metadata"


def entry_of(client, answer):
    assert status_of(answer) == "HIT", answer.headers
    return client.get(f"/api/v1/entries/{answer.headers['x-cache-id']}").json()


def select(client, **found):
    answer = client.post("/api/v1/invalidate", json=found)
    assert answer.status_code == 200, answer.text
    return answer.json()["would_remove" if found.get("dry_run") else "removed"]


@pytest.mark.parametrize("header", [PORTKEY, CLOUDFLARE])
@pytest.mark.parametrize("stream", [False, True])
def test_labels_are_kept_found_and_no_part_of_the_key(http, upstream, word, header, stream):
    model = f"plain:{word}"
    said = {"team": word, "tier": 2, "beta": True, "note": "ü", "none": None}
    ask(http, word, model, headers={header: json.dumps(said)}, stream=stream)
    for other in ({}, {header: '{"team": "another"}'}):
        assert entry_of(http, ask(http, word, model, headers=other))["metadata"] == said
    assert len(upstream.calls(model)) == 1
    for wanted, count in (({"team": word}, 1), ({"team": word, "tier": {"gt": 1}}, 1), ({"team": "another"}, 0)):
        assert select(http, filter=wanted, dry_run=True) == count
    assert select(http, filter={"team": word, "beta": True}) == 1
    assert status_of(ask(http, word, model)) == "MISS"


@pytest.mark.parametrize("bad", [
    "team=a", "[1]", '"text"', "{", '{"a": {}}', '{"a": 1, "b": [2]}', '{"": 1}', '{"a": 1, "a": 2}',
    json.dumps({"a": "x" * 5000}), json.dumps({f"n{i}": i for i in range(33)}),
])
def test_what_is_no_object_of_scalars_is_ignored_and_told(http, word, bad):
    first = ask(http, word, headers={PORTKEY: bad})
    assert first.status_code == 200 and "metadata-ignored" in first.headers["cache-status"]
    assert entry_of(http, ask(http, word))["metadata"] is None


def test_tape_of_a_stream_is_kept_beside_the_labels(daemon, key, word):
    body = {"model": f"think:{word}", "max_tokens": 100, "stream": True,
            "messages": [{"role": "user", "content": word}]}
    with make_http(daemon, headers={"x-api-key": key, "anthropic-version": "2023-06-01"}) as client:
        first, second = (client.post("/v1/messages", json=body, headers={PORTKEY: '{"tape": "x", "redacted": true}'})
                         for _ in range(2))
        assert events_of(second.text) == events_of(first.text)
        entry = entry_of(client, second)
        assert entry["metadata"] == {"tape": "x", "redacted": True} and "redacted" not in entry
        assert select(client, filter={"tape": "x"}, dry_run=True) == 1


def test_embeddings_have_them_too(http, word):
    body = {"model": f"plain:{word}", "input": [word, word + "2"]}
    http.post("/v1/embeddings", json=body, headers={CLOUDFLARE: json.dumps({"team": word})})
    assert status_of(http.post("/v1/embeddings", json=body)) == "HIT"
    assert select(http, filter={"team": word, "$kind": "embedding"}) == 2


def test_answer_found_by_meaning_has_the_labels_of_who_asked_first(http, models, word):
    if models is None:
        pytest.skip("the model could not be pulled")
    ask(http, f"What is the capital of France? {word}", headers={PORTKEY: '{"team": "a"}'})
    hit = wait_for_semantic(http, f"What's the capital city of France? {word}", headers={PORTKEY: '{"team": "b"}'})
    assert entry_of(http, hit)["metadata"] == {"team": "a"}


def test_headers_go_upstream_as_they_came(http, upstream, word):
    sent = {PORTKEY: '{ "team":1 }', CLOUDFLARE: "not json", "x-portkey-trace-id": "t 1"}
    ask(http, word, f"plain:{word}", headers=sent)
    seen = upstream.calls(f"plain:{word}")[0]
    assert {name: seen.header(name) for name in sent} == sent


@pytest.mark.parametrize("is_stream", [False, True])
def test_sensitive_labels_are_redacted_with_their_answer(guarded, word, is_stream):  # noqa: F811
    daemon, client = guarded(secret="redact")
    body = {"model": f"text:{word}", "max_tokens": 99, "messages": [{"role": "user", "content": word}]}
    said = {PORTKEY: json.dumps({"team": word, "note": SECRET})}
    for _ in range(2):
        answer = client.post("/v1/messages", json={**body, "stream": is_stream}, headers=said)
    assert answer.headers["x-deja-redacted"] == "true"
    entry = entry_of(client, answer)
    assert entry["metadata"]["team"] == word and "[REDACTED]" in entry["metadata"]["note"]
    daemon.stop()
    assert not [path for path in daemon.data.rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()]


def test_trace_id_is_told_again_and_logged(talkative, word):  # noqa: F811
    with make_http(talkative, f"sk-{word}") as client:
        answer = ask(client, word, headers={"x-portkey-trace-id": f"t {word}", "X-Request-Id": f"{word}-p"})
        assert answer.headers["x-portkey-trace-id"] == f"t {word}"
        assert line_of(talkative, f"{word}-p")["trace_id"] == f"t {word}"
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        ask(client, word + "x", headers={"x-portkey-trace-id": "other", "X-Request-Id": f"{word}-w",
                                         "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
        assert line_of(talkative, f"{word}-w")["trace_id"] == trace
