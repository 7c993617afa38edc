"""The exposition is what the formats say, and its numbers are what happened."""
import re

import pytest
from conftest import ask, chat_body, in_parallel, make_http, wait_for_semantic
from daemon import ROOT, poll
from exposition import Malformed, read, total
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture
def lone(spawn):
    """A daemon that nobody else asks, so that its numbers are the test's own."""
    return spawn()


@pytest.fixture
def lone_http(lone, key):
    with make_http(lone, key) as client:
        yield client


def scrape(client, is_openmetrics=False):
    return read(client.get("/metrics", headers=OPENMETRICS if is_openmetrics else None).text, is_openmetrics)


@pytest.mark.parametrize("text,why", [
    ("# HELP a_total A.\n# TYPE a_total counter\na_total 1\na_total 2\n", "twice"),
    ("# HELP a_total A.\n# TYPE a_total counter\na_total -1\n", "negative"),
    ("# HELP a A.\n# TYPE a gauge\nb 1\n", "outside"),
    ("# TYPE a gauge\na 1\n", "without its HELP"),
    ("# HELP a A.\n# TYPE a gauge\na{b=\"1\",b=\"2\"} 1\n", "label twice"),
    ("# HELP a A.\n# TYPE a gauge\na{b=\"1\",} 1\n", "comma"),
    ("# HELP a A.\n# TYPE a gauge\na 1", "end is missing"),
    ("# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 0\na_sum 1\na_count 0\n", "cumulative"),
    ("# HELP a A.\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n", "not the count"),
])
def test_the_reader_is_strict(text, why):
    with pytest.raises(Malformed, match=why):
        read(text)


def test_both_formats_are_read_by_strict_readers_and_agree(daemon, http, word):
    ask(http, word, headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    ask(http, word)
    http.post("/api/v1/lookup", json={"query": f'a "quoted" \\ {word}'})
    ask(http, word, model='strange"model\\name')
    plain = http.get("/metrics").text
    modern = http.get("/metrics", headers=OPENMETRICS).text
    ours = read(plain)
    assert set(read(modern, True)) == set(ours)
    theirs = {sample.name for family in read_text(plain) for sample in family.samples}
    assert theirs == set(ours)
    theirs = list(read_openmetrics(modern))
    assert {sample.name for family in theirs for sample in family.samples} == set(ours)
    exemplars = [sample.exemplar for family in theirs for sample in family.samples if sample.exemplar]
    assert TRACE in {exemplar.labels["trace_id"] for exemplar in exemplars}
    assert " # {" not in plain


def test_durations_have_fifteen_buckets_each_twice_the_last(http, word):
    ask(http, word)
    found = scrape(http)
    for name in [name for name in found if name.endswith("_seconds_bucket")]:
        bounds = sorted({float(dict(labels)["le"]) for labels in found[name]})
        assert len(bounds) == 16 and bounds[0] == 0.0001, name
        assert all(abs(b / a - 2) < 1e-9 for a, b in zip(bounds, bounds[1:-1], strict=False)), name


# ---- numbers ----


def stats_of(client):
    return client.get("/api/v1/stats").json()


def test_metrics_and_stats_say_what_happened(lone, lone_http, word, upstream):
    """A known mix of traffic; the three accounts must agree to the last one."""
    client = lone_http
    before = len(upstream.requests)
    for number in range(5):
        assert ask(client, f"{word} {number}").headers["x-cache-status"] == "MISS"
    for number in range(3):
        assert ask(client, f"{word} {number}").headers["x-cache-status"] == "HIT"
    assert ask(client, f"{word} 0", stream=True).headers["x-cache-status"] == "HIT"
    for number in range(2):
        assert ask(client, f"{word} {number}", headers={"X-Deja-Cache": "bypass"}).status_code == 200
    assert ask(client, f"{word} 4", headers={"Cache-Control": "no-cache"}).headers["x-cache-status"] == "REFRESH"
    for _ in range(2):
        assert ask(client, f"{word} e", "error-500").status_code == 500
    assert client.post("/v1/embeddings", json={"model": "m", "input": ["a", "b"]}).status_code == 200
    assert client.post("/v1/embeddings", json={"model": "m", "input": ["a", "b"]}).headers["x-cache-hit"] == "true"
    assert client.put("/api/v1/entries", json={"query": f"where is {word}", "response": 1}).status_code == 201
    assert client.post("/api/v1/lookup", json={"query": f"where is {word}"}).json()["hit"] is True
    assert client.post("/api/v1/lookup", json={"query": f"{word} was never"}).json()["hit"] is False
    assert client.get("/v1/models").status_code == 200

    stats = stats_of(client)
    found = scrape(client)
    tenant = stats["tenant"]
    expected = {
        ("chat", "miss"): 5, ("chat", "hit_exact"): 4, ("chat", "bypass"): 2, ("chat", "refresh"): 1, ("chat", "error"): 2,
        ("embeddings", "miss"): 1, ("embeddings", "hit_exact"): 1, ("api", "hit_exact"): 1, ("api", "miss"): 1,
        ("passthrough", "bypass"): 1,
    }
    counted = {}
    for labels, value in found["semantic_cache_requests_total"].items():
        labels = dict(labels)
        counted[labels["api"], labels["result"]] = counted.get((labels["api"], labels["result"]), 0) + value
    assert counted == expected
    assert total(found, "semantic_cache_request_duration_seconds_count") == sum(expected.values())

    def of(result):
        return sum(count for (_, met), count in expected.items() if met == result)

    assert (stats["requests"], stats["hits"]["exact"], stats["hits"]["semantic"], stats["misses"], stats["bypassed"],
            stats["refreshed"], stats["errors"], stats["collapsed"]) == \
        (sum(expected.values()), of("hit_exact"), 0, of("miss"), of("bypass"), of("refresh"), of("error"), 0)
    for kind, hits, misses in (("response", 4, 5), ("embedding", 1, 1), ("semantic", 1, 1)):
        assert total(found, "semantic_cache_hits_total", cache_type=kind, tenant_id=tenant) == hits
        assert total(found, "semantic_cache_misses_total", cache_type=kind, tenant_id=tenant) == misses
        assert total(found, "semantic_cache_hit_rate", cache_type=kind) == pytest.approx(hits / (hits + misses))
    assert stats["hit_rate"] == pytest.approx(6 / 13)

    assert total(found, "semantic_cache_upstream_requests_total") == len(upstream.requests) - before == 5 + 2 + 1 + 2 + 1 + 1
    assert total(found, "semantic_cache_upstream_requests_total", code="500") == 2
    assert total(found, "semantic_cache_stage_duration_seconds_count", stage="upstream") == 5 + 2 + 1 + 2 + 1
    for kind, member in (("input", "input_tokens"), ("output", "output_tokens")):
        assert total(found, "semantic_cache_saved_tokens_total", type=kind) == stats["saved"][member] > 0
    assert total(found, "semantic_cache_saved_cost_usd_total") == pytest.approx(stats["saved"]["cost_usd"])
    assert total(found, "semantic_cache_saved_seconds_total") == pytest.approx(stats["saved"]["seconds"])

    for level in ("memory", "lmdb"):
        of_level = stats["levels"][level]
        assert total(found, "semantic_cache_entries", level=level, tenant_id=tenant) == of_level["entries"] == 5 + 2 + 1
        assert total(found, "semantic_cache_level_bytes", level=level, tenant_id=tenant) == of_level["bytes"]
    assert total(found, "semantic_cache_size_bytes", tenant_id=tenant) == \
        sum(stats["levels"][level]["bytes"] for level in ("memory", "lmdb"))
    assert total(found, "semantic_cache_memory_bytes", cache_type="response") == stats["levels"]["memory"]["bytes"]
    assert total(found, "semantic_cache_inflight") == 1  # the scrape itself
    lone.stop()
    assert f"Deja answered {sum(expected.values())} requests: 6 exact hits, 0 semantic hits" in lone.log_text()


def test_a_semantic_hit_is_counted_as_one(spawn, models, key, word):
    if models is None:
        pytest.skip("no model")
    daemon = spawn(with_model=True)
    with make_http(daemon, key) as client:
        ask(client, f"How do I reset my {word} password?")
        wait_for_semantic(client, f"How can I reset my {word} password?")
        found = scrape(client)
        stats = stats_of(client)
        hits = total(found, "semantic_cache_requests_total", result="hit_semantic")
        assert hits == stats["hits"]["semantic"] == 1
        assert total(found, "semantic_cache_similarity_count", outcome="hit") == hits
        assert total(found, "semantic_cache_stage_duration_seconds_count", stage="verify") >= hits


def test_equal_requests_at_once_are_counted_as_collapsed(lone, key, word, upstream):
    count = 8

    def one(_):
        with make_http(lone, key) as client:
            return client.post("/v1/chat/completions", json=chat_body(word, "slow")).status_code

    assert in_parallel(count, one) == [200] * count
    with make_http(lone, key) as client:
        stats = stats_of(client)
        found = scrape(client)
    told = {result: total(found, "semantic_cache_requests_total", result=result)
            for result in ("miss", "collapsed", "hit_exact")}
    assert told["miss"] == 1 and sum(told.values()) == count
    assert (stats["misses"], stats["collapsed"], stats["hits"]["exact"]) == \
        (told["miss"], told["collapsed"], told["hit_exact"])


def test_counters_never_fall_while_traffic_runs(lone, key, word):
    def talk(index):
        with make_http(lone, key) as client:
            for number in range(20):
                ask(client, f"{word} {number % 7} {index % 2}")

    def watch():
        seen = []
        with make_http(lone, key) as client:
            for _ in range(10):
                seen.append(scrape(client, is_openmetrics=True))
        for older, newer in zip(seen, seen[1:], strict=False):
            for name in (name for name in older if name.endswith(("_total", "_count", "_bucket"))):
                for labels, value in older[name].items():
                    assert newer[name][labels] >= value, (name, labels)

    in_parallel(4, lambda index: watch() if index == 0 else talk(index))


def test_every_queue_has_a_depth(http):
    found = scrape(http)
    queues = {dict(labels)["queue"] for labels in found["semantic_cache_queue_depth"]}
    assert queues == {"workers", "reads", "lmdb_writes", "upstream", "engine", "flights"}


def test_the_process_tells_about_itself(lone, lone_http):
    found = scrape(lone_http)
    resident = total(found, "process_resident_memory_bytes")
    assert 0.5 < resident / lone.rss_bytes() < 2
    assert total(found, "process_open_fds") >= 5
    for name in ("process_cpu_seconds_total", "process_start_time_seconds", "process_virtual_memory_bytes", "process_max_fds"):
        assert total(found, name) > 0, name


def test_compression_is_told_once_something_was_written(lone_http, word):
    ask(lone_http, word, system="many words " * 500)
    long = "the same words again and again " * 200
    assert lone_http.put("/api/v1/entries", json={"query": word, "response": long}).status_code == 201
    assert total(scrape(lone_http), "semantic_cache_compression_ratio", level="lmdb") > 1.5


def test_an_index_that_still_loads_is_degraded_and_says_so(lone_http):
    def is_well():
        return total(scrape(lone_http), "semantic_cache_degraded") == 0

    poll(is_well, "the index to be loaded")
    assert lone_http.get("/health").json()["status"] == "healthy"
    assert total(scrape(lone_http), "semantic_cache_level_up", level="lmdb") == 1


def test_every_family_is_in_the_manual_and_the_other_way_round():
    source = "".join((ROOT / path).read_text() for path in ("src/proxy/telemetry_families.c", "src/api/resp_metrics.c"))
    manual = (ROOT / "docs/operations.md").read_text().partition("## Metrics")[2].partition("\n## ")[0]
    names = set(re.findall(r'\.name = "(\w+)"', source))
    rows = [line.split("|")[1:3] for line in manual.splitlines() if line.startswith("| `")]
    told = {name: kind.strip() for cell, kind in rows for name in re.findall(r"`(\w+)`", cell)}
    assert names == set(told)
    for name, kind in re.findall(r'\.name = "(\w+)".*?\.type = DJ_(\w+)', source, re.S):
        assert told[name] == kind.lower(), name


def test_evictions_are_told_by_tenant_and_reason(spawn, word):
    daemon = spawn(config="server:\n  loops: 1\nl1:\n  max_size: 20\ntenant:\n  max_entries: 10\n")
    with make_http(daemon, f"sk-{word}-one") as one, make_http(daemon, f"sk-{word}-two") as two:
        for number in range(8):
            ask(one, f"{word} {number}")
        for number in range(40):
            ask(two, f"{word} {number}")
        found = scrape(one)
        tenants = {client: stats_of(client)["tenant"] for client in (one, two)}
        stats = stats_of(one)
    assert total(found, "semantic_cache_evictions_total", tenant_id=tenants[one]) == 0
    gone = total(found, "semantic_cache_evictions_total", tenant_id=tenants[two], reason="tenant_limit")
    kept = sum(total(found, "semantic_cache_entries", level="memory", tenant_id=tenants[client]) for client in (one, two))
    assert gone > 0 and gone + kept == 48
    assert "evictions" in stats["levels"]["memory"]


def test_a_wrong_answer_that_is_reported_is_a_false_hit_of_its_tenant(lone_http, word):
    made = lone_http.put("/api/v1/entries", json={"query": word, "response": 1}).json()["id"]
    assert lone_http.post("/api/v1/lookup", json={"query": word}).json()["hit"] is True
    answer = lone_http.post("/api/v1/feedback", json={"entry": made, "verdict": "wrong"})
    assert answer.status_code == 200, answer.text
    found = scrape(lone_http)
    tenant = stats_of(lone_http)["tenant"]
    assert total(found, "semantic_cache_false_hits_total", tenant_id=tenant, source="user") == 1
    assert total(found, "semantic_cache_invalidations_total", tenant_id=tenant, kind="feedback") == 1
