"""Generated traffic of the shipped kinds against the real daemon: hit rates, spend and response times
(tests/support/traffic.py says what is assumed; bench/traffic.py is the same with times)."""
import statistics
import time
from collections import Counter
from types import SimpleNamespace

import pytest
import redis
from conftest import check_sanitizer, in_parallel, make_http
from fake_upstream import FakeUpstream
from resp import RespDaemon
from traffic import (DOCUMENT_USD, MODEL, OVER_RESP, SETTINGS, Changed, Player, Traffic, path_of, rates, spent,
                     without_documents)

# With seed 1 no question is answered anew in the ten steps before a model changes: an answer that is under way then is
# rightly not kept, and nothing here could tell whether it was.
COUNT = 1000
KEY = "sk-of-the-traffic"
UPSTREAM_S = 1.0  # what a model's answer takes: little


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A daemon that finds only what is asked again (meaning is off), and a model of its own."""
    model = FakeUpstream().start()
    daemon = RespDaemon(tmp_path_factory.mktemp("traffic"), upstream=model.url, env=SETTINGS).start()
    yield daemon, model
    daemon.stop()
    model.stop()
    check_sanitizer(daemon)


@pytest.fixture(scope="module")
def played(served):
    daemon, _ = served
    traffic = Traffic(COUNT)
    with make_http(daemon, KEY) as client, redis.Redis(port=daemon.resp_port, password=KEY) as resp:
        player = Player(client, resp, traffic)
        results = [result for step in traffic.steps if (result := player.play(step))]
        return SimpleNamespace(
            traffic=traffic, asked=traffic.asked, hits=[one.is_hit for one in results], lives=player.lives,
            wrong=[one for one, result in zip(traffic.asked, results, strict=True) if result.is_wrong],
            kinds={kind["name"]: kind for kind in client.get("/api/v1/kinds").json()["kinds"]},
            period=client.get("/api/v1/stats").json()["period"])


def test_what_was_asked_before_and_has_not_changed_is_a_hit_and_nothing_else(played):
    assert played.hits == played.traffic.expected()
    assert not played.wrong


def test_every_shipped_kind_takes_part_with_its_own_life(played):
    assert {kind for one in played.asked for kind in one.kinds} == {"response", *played.kinds}
    changed = {dict(step.event)["name"] for step in played.traffic.steps if isinstance(step, Changed)}
    assert changed == {event for kind in played.kinds.values() for event in kind["events"]}
    assert set(played.lives) == set(played.kinds) - {"template_semantic", *OVER_RESP}  # whose puts are told no life
    for kind, life in (played.lives | OVER_RESP).items():
        assert 0.9 * played.kinds[kind]["ttl_s"] < life <= played.kinds[kind]["ttl_s"], kind


def test_hit_rates_and_spend_reach_their_goals(played):
    found = rates(played.asked, played.hits)
    assert found["overall"] > 0.6 and found["repeated"] > 0.8 and found["template"] > 0.9, found
    for part in (spent, without_documents):
        paid, everything = part(played.asked, played.hits)
        assert 1 - paid / everything >= 0.6


@pytest.mark.parametrize("seed", range(2, 12))
def test_goals_do_not_hang_on_the_seed(seed):
    traffic = Traffic(COUNT, seed)
    hits = traffic.expected()
    found = rates(traffic.asked, hits)
    assert found["overall"] > 0.6 and found["repeated"] > 0.8 and found["template"] > 0.9, found
    paid, everything = without_documents(traffic.asked, hits)
    assert 1 - paid / everything >= 0.6


def test_the_daemon_tells_the_same_hits_savings_and_spend(played):
    hits, misses, saved = Counter(), Counter(), Counter()
    for one, hit in zip(played.asked, played.hits, strict=True):
        for kind in one.kinds:
            (hits if hit else misses)[kind] += 1
            saved[kind] += one.cost_usd() / len(one.kinds) * hit
    told = played.period["kinds"]
    assert {kind: (line["hits"], line["misses"]) for kind, line in told.items()} == \
        {kind: (hits[kind], misses[kind]) for kind in (*played.kinds, "response")}
    assert told["doc_extraction"]["saved"]["cost_usd"] == pytest.approx(DOCUMENT_USD * hits["doc_extraction"])
    for kind, line in told.items():
        assert line["saved"]["cost_usd"] == pytest.approx(saved[kind], rel=1e-3), kind
        # what goes through the proxy is known to the token, the rest is what the settings say
        assert line["saved"]["guessed_usd"] == (0 if kind == "response" else line["saved"]["cost_usd"]), kind
    ai = [(one, hit) for one, hit in zip(played.asked, played.hits, strict=True) if one.is_ai]
    paid, everything = spent(*zip(*ai))
    answers = told["response"]
    assert answers["spent_usd"] == pytest.approx(paid, rel=1e-3)
    less = answers["saved"]["cost_usd"] / (answers["saved"]["cost_usd"] + answers["spent_usd"])
    assert less == pytest.approx(1 - paid / everything, rel=1e-3)
    whole = played.period["total"]
    assert (whole["hits"], whole["misses"]) == (hits.total(), misses.total()) and whole["hit_rate"] > 0.6
    assert whole["saved"]["cost_usd"] == pytest.approx(saved.total(), rel=1e-3)


def test_cached_requests_take_at_least_nine_tenths_less(served, key):
    """Medians: a machine that stands still once or twice changes neither."""
    daemon, model = served

    def timed(client, request):
        begun = time.perf_counter()
        answer = client.request(**request)
        assert answer.status_code == 200, answer.text
        return time.perf_counter() - begun, answer.headers.get("x-cache-hit")

    def question(number):
        return {"method": "POST", "url": "/v1/chat/completions",
                "json": {"model": MODEL, "messages": [{"role": "user", "content": f"question {number}"}]}}

    with make_http(daemon, key) as client:
        model.delay_s = UPSTREAM_S
        try:
            misses = in_parallel(3, lambda number: timed(client, question(number)))
        finally:
            model.delay_s = 0.0
        hits = [timed(client, question(number)) for number in range(3) for _ in range(7)]
        assert {hit for _, hit in misses} == {"false"} and {hit for _, hit in hits} == {"true"}
        client.put(path_of("template:score:1"), content=b"0.9").raise_for_status()
        keys = [timed(client, {"method": "GET", "url": path_of("template:score:1")}) for _ in range(21)]
    uncached = statistics.median(seconds for seconds, _ in misses)
    for cached in (hits, keys):
        assert 1 - statistics.median(seconds for seconds, _ in cached) / uncached >= 0.9


def test_traffic_is_the_same_for_the_same_seed():
    assert Traffic(300, 7).steps == Traffic(300, 7).steps != Traffic(300, 8).steps
