"""Answers after their end: served at once and made anew behind, or served when the upstream fails."""
import re

import pytest
from conftest import ask, check_sanitizer, content_of, in_parallel, make_http
from daemon import Daemon, poll

LIFE = {"X-Deja-TTL": "1"}
SWR = {"DEJA_TTL__STALE_WHILE_REVALIDATE": "1h", "DEJA_PROXY__EARLY_REFRESH": "false"}
SIE = {"DEJA_TTL__STALE_IF_ERROR": "1h", "DEJA_PROXY__EARLY_REFRESH": "false"}


@pytest.fixture(scope="module")
def revalidating(tmp_path_factory, upstream):
    yield from serve(tmp_path_factory, upstream, SWR)


@pytest.fixture(scope="module")
def forgiving(tmp_path_factory, upstream):
    yield from serve(tmp_path_factory, upstream, SIE)


def serve(tmp_path_factory, upstream, env):
    made = Daemon(tmp_path_factory.mktemp("stale"), upstream.url, env=env).start()
    yield made
    made.stop()
    check_sanitizer(made)


def ttl_of(answer):
    found = re.search(r"; ttl=(-?\d+)", answer.headers["cache-status"])
    return int(found[1]) if found else None


def is_stale(answer):
    return ttl_of(answer) is not None and ttl_of(answer) < 0


def until(client, text, model, check, headers=None, **more):
    """Asks again and again: an entry's second passes meanwhile."""
    def once():
        answer = ask(client, text, model, headers or LIFE, **more)
        return answer if check(answer) else None

    return poll(once, "the answer wanted")


def metric(client, name, **labels):
    text = client.get("/metrics").text
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(float(line.split()[-1]) for line in text.splitlines()
               if line.startswith(name + "{") and all(part in line for part in wanted))


def test_expired_answer_is_served_at_once_and_made_anew_behind(revalidating, upstream, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        fresh = [ask(client, word, model, LIFE)]
        # The newest that was not stale: a machine that stands still may let a second pass unseen.
        stale = until(client, word, model, lambda answer: is_stale(answer) or fresh.append(answer))
        first = content_of(fresh[-1])
        assert content_of(stale) == first
        assert stale.headers["x-cache-hit"] == "true"
        assert stale.headers["cache-status"].startswith("deja; hit; ttl=-")
        assert 'detail="exact, stale-while-revalidate"' in stale.headers["cache-status"]
        fresh = until(client, word, model, lambda answer: content_of(answer) != first)
        assert fresh.headers["x-cache-hit"] == "true", "nobody waited for it"
        assert metric(client, "semantic_cache_stale_served_total", reason="stale-while-revalidate") >= 1
        assert metric(client, "semantic_cache_refreshes_total", reason="stale", outcome="stored") >= 1


def test_many_stale_hits_make_one_upstream_call(revalidating, upstream, key, word):
    flow = upstream.flow(word)
    model = f"step:{word}"
    with make_http(revalidating, key) as client:
        flow.send("first")
        flow.finish()
        ask(client, word, model, LIFE)
        until(client, word, model, is_stale)
        for _ in range(50):
            assert is_stale(ask(client, word, model, LIFE))
        assert flow.started.wait(60)
        flow.send("second")
        flow.finish()
        until(client, word, model, lambda answer: content_of(answer) == "second")
    assert flow.calls == 2


def test_stale_answer_is_also_streamed(revalidating, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        ask(client, word, model, LIFE)
        stale = until(client, word, model, is_stale, stream=True)
        assert stale.text.rstrip().endswith("data: [DONE]")


def test_failed_refresh_leaves_the_stale_answer_and_is_not_tried_by_every_hit(
        revalidating, upstream, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        first = content_of(ask(client, word, model, LIFE))
        upstream.failing[model] = 503
        until(client, word, model, lambda answer: is_stale(answer) and len(upstream.calls(model)) == 2)
        for _ in range(30):
            answer = ask(client, word, model, LIFE)
            assert answer.status_code == 200 and content_of(answer) == first
        assert len(upstream.calls(model)) <= 3


def test_request_that_wants_it_fresh_takes_nothing_stale(revalidating, key, word):
    directives = ["max-age=3600", "min-fresh=2", "stale-while-revalidate=0", "max-stale=0"]
    with make_http(revalidating, key) as client:
        first = {d: content_of(ask(client, f"{word} {d}", "plain", LIFE)) for d in directives}
        for directive in directives:
            renewed = until(client, f"{word} {directive}", "plain",
                            lambda answer, old=first[directive]: content_of(answer) != old,
                            {**LIFE, "X-Deja-Mode": "exact", "Cache-Control": directive})
            assert renewed.headers["x-cache-hit"] == "false", directive


def test_min_fresh_asks_for_a_longer_rest_of_life(revalidating, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        first = content_of(ask(client, word, model))
        patient = ask(client, word, model, {"Cache-Control": "min-fresh=60"})
        assert content_of(patient) == first
        picky = ask(client, word, model, {"Cache-Control": "min-fresh=100000000"})
        assert content_of(picky) != first


def test_deleted_answer_is_not_served_as_stale(revalidating, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        first = content_of(ask(client, word, model, {**LIFE, "X-Deja-Tags": word}))
        until(client, word, model, is_stale, {**LIFE, "Cache-Control": "only-if-cached"})
        assert client.post("/api/v1/invalidate", json={"tag": word}).status_code == 200
        assert content_of(ask(client, word, model, LIFE)) != first


def test_only_if_cached_takes_a_stale_answer_without_an_upstream_call(revalidating, upstream, key, word):
    model = f"plain:{word}"
    with make_http(revalidating, key) as client:
        ask(client, word, model, LIFE)
        until(client, word, model, is_stale, {"Cache-Control": "only-if-cached"})
        until(client, word, model, is_stale, {"X-Deja-Cache": "read-only"})
    assert len(upstream.calls(model)) == 1


def test_failing_upstream_is_answered_with_the_expired_answer(forgiving, upstream, key, word):
    cases = [(f"plain:{word}-{failure}-{stream}", failure, stream)
             for failure in (500, 503, "cut") for stream in (False, True)]
    with make_http(forgiving, key) as client:
        whole = {model: ask(client, word, model, LIFE) for model, _, _ in cases}
        upstream.failing.update({model: failure for model, failure, _ in cases})
        for model, failure, stream in cases:
            stale = until(client, word, model, is_stale, stream=stream)
            if not stream:
                assert content_of(stale) == content_of(whole[model])
            asked = "" if failure == "cut" else f"fwd-status={failure}; "
            assert stale.headers["cache-status"].startswith(f"deja; fwd=stale; {asked}ttl=-")
            assert 'detail="exact, stale-if-error"' in stale.headers["cache-status"]
            assert stale.headers["x-cache-hit"] == "true"
            strict = {**LIFE, "Cache-Control": "stale-if-error=0"}
            assert ask(client, word, model, strict, stream=stream).status_code >= 500
            del upstream.failing[model]
            back = until(client, word, model, lambda answer: not is_stale(answer), stream=stream)
            assert back.headers["x-cache-hit"] == "false"
            assert back.headers["cache-status"].startswith("deja; fwd=stale; fwd-status=200")


def test_request_that_is_refused_gets_the_refusal(forgiving, upstream, key, word):
    statuses = [400, 401, 404, 429]
    with make_http(forgiving, key) as client:
        for status in statuses:
            ask(client, word, f"plain:{word}-{status}", LIFE)
        for status in statuses:
            model = f"plain:{word}-{status}"
            upstream.failing[model] = status
            answer = until(client, word, model, lambda answer: answer.status_code != 200)
            assert answer.status_code == status


def test_answer_deleted_while_the_upstream_is_asked_is_not_served(forgiving, upstream, key, word):
    flow = upstream.flow(word)
    model = f"step:{word}"
    with make_http(forgiving, key) as client:
        flow.send("first")
        flow.finish()
        ask(client, word, model, {**LIFE, "X-Deja-Tags": word})
        until(client, word, model, lambda answer: answer.status_code == 504,
              {"Cache-Control": "only-if-cached"})
        flow.started.clear()

        def work(number):
            if number == 0:
                return ask(client, word, model, LIFE)
            assert flow.started.wait(60)
            assert client.post("/api/v1/invalidate", json={"tag": word}).status_code == 200
            flow.fail(503)
            return None

        answer = in_parallel(2, work)[0]
    assert answer.status_code == 503, answer.text


def test_without_a_window_an_expired_answer_is_gone(spawn, upstream, key, word):
    model = f"plain:{word}"
    daemon = spawn(env={"DEJA_PROXY__EARLY_REFRESH": "false"})
    with make_http(daemon, key) as client:
        ask(client, word, model, LIFE)
        upstream.failing[model] = 503
        headers = {**LIFE, "Cache-Control": "max-stale, stale-if-error=600, stale-while-revalidate=600"}
        until(client, word, model, lambda answer: answer.status_code == 503, headers)


def test_expired_answer_survives_a_restart_as_stale(spawn, upstream, key, word, tmp_path):
    model = f"plain:{word}"
    daemon = spawn(data=tmp_path / "kept", env=SIE)
    with make_http(daemon, key) as client:
        whole = ask(client, word, model, LIFE)
        upstream.failing[model] = 503
        until(client, word, model, is_stale)
    daemon.stop()
    again = spawn(data=tmp_path / "kept", env=SIE)
    with make_http(again, key) as client:
        stale = ask(client, word, model, LIFE)
        assert content_of(stale) == content_of(whole) and is_stale(stale)
        assert stale.headers["x-cache-tier"] == "lmdb"


def test_answer_is_made_anew_before_its_end(spawn, upstream, key, word):
    """Its making takes a second and its life is two: one hit in seven or more is early."""
    flow = upstream.flow(word)
    model = f"step:{word}"
    with make_http(spawn(), key) as client:
        def work(number):
            if number == 0:
                return ask(client, word, model, {"X-Deja-TTL": "3"})
            assert flow.started.wait(60)
            ask(client, word, "plain:clock", LIFE)
            until(client, word, "plain:clock", lambda answer: answer.status_code == 504,
                  {"Cache-Control": "only-if-cached"})  # a second has passed
            flow.send("first")
            flow.finish()
            return None

        in_parallel(2, work)
        flow.send("second")
        flow.finish()
        renewed = until(client, word, model, lambda answer: content_of(answer) == "second", {"X-Deja-TTL": "3"})
        assert renewed.headers["x-cache-hit"] == "true", "nobody waited for it"
        assert metric(client, "semantic_cache_refreshes_total", reason="early", outcome="stored") == 1
