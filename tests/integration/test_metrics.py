"""/metrics: the required names, sums that mean something, both text formats (WIRE 13)."""
import re

import pytest
from conftest import ask, chat_body

REQUIRED = {
    "semantic_cache_hits_total": "counter", "semantic_cache_misses_total": "counter",
    "semantic_cache_operation_duration_seconds": "histogram", "semantic_cache_size_bytes": "gauge",
    "semantic_cache_evictions_total": "counter", "semantic_cache_requests_total": "counter",
    "semantic_cache_request_duration_seconds": "histogram", "semantic_cache_stage_duration_seconds": "histogram",
    "semantic_cache_similarity": "histogram", "semantic_cache_saved_tokens_total": "counter",
    "semantic_cache_entries": "gauge", "semantic_cache_level_bytes": "gauge", "semantic_cache_level_up": "gauge",
    "semantic_cache_upstream_requests_total": "counter", "semantic_cache_inflight": "gauge",
    "semantic_cache_queue_depth": "gauge", "semantic_cache_config_reload_success": "gauge",
    "semantic_cache_config_last_reload_timestamp_seconds": "gauge", "semantic_cache_build_info": "gauge",
}
LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)( # .*)?$')


def scrape(client, **headers):
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200
    return answer


def samples(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = LINE.match(line)
            assert match, line
            found[match[1] + (match[2] or "")] = float(match[3])
    return found


def total(found, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(value for sample, value in found.items()
               if sample.split("{")[0] == name and all(label in sample for label in wanted))


@pytest.fixture
def busy(http, word):
    ask(http, word)
    ask(http, word)
    ask(http, word, headers={"X-Deja-Cache": "bypass"})
    http.put("/api/v1/entries", json={"query": f"where is {word}", "response": "x"})
    http.post("/api/v1/lookup", json={"query": f"where was {word}"})
    return http


def test_required_names_are_there_with_their_types(busy):
    text = scrape(busy).text
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    for name, kind in REQUIRED.items():
        assert types.get(name) == kind, name
    helps = set(re.findall(r"^# HELP (\S+) \S", text, re.M))
    assert set(types) <= helps


def test_text_format_is_well_formed(busy):
    answer = scrape(busy)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert samples(answer.text)
    assert answer.text.endswith("\n")


def test_openmetrics_by_accept(busy):
    answer = scrape(busy, Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", answer.text, re.M))
    assert "semantic_cache_hits" in types and "semantic_cache_hits_total" not in types


def test_histograms_are_cumulative_and_start_at_a_tenth_of_a_millisecond(busy):
    text = scrape(busy).text
    series = {}
    for line in text.splitlines():
        match = re.match(r'^(semantic_cache_\w+_seconds)_bucket\{(.*)le="([^"]+)"\} (\S+)', line)
        if match:
            series.setdefault((match[1], match[2]), []).append((match[3], float(match[4])))
    assert series
    for (name, labels), buckets in series.items():
        values = [value for _, value in buckets]
        assert values == sorted(values), (name, labels)
        assert float(buckets[0][0]) <= 0.0001, name
        assert buckets[-1][0] == "+Inf"


def test_a_hit_and_a_miss_are_counted_once_each(http, word):
    before = samples(scrape(http).text)
    ask(http, word)
    ask(http, word)
    after = samples(scrape(http).text)

    def grew(name, **labels):
        return total(after, name, **labels) - total(before, name, **labels)

    assert grew("semantic_cache_requests_total", result="hit_exact") == 1
    assert grew("semantic_cache_requests_total", result="miss") == 1
    assert grew("semantic_cache_hits_total", cache_type="response") == 1
    assert grew("semantic_cache_misses_total", cache_type="response") >= 1
    assert grew("semantic_cache_saved_tokens_total") > 0
    assert grew("semantic_cache_upstream_requests_total") == 1


def test_stages_of_a_request_are_timed(busy):
    found = samples(scrape(busy).text)
    for stage in ("canon", "upstream", "store"):
        assert total(found, "semantic_cache_stage_duration_seconds_count", stage=stage) > 0, stage


def test_no_prompt_nor_key_is_in_the_metrics(busy, word, key):
    text = scrape(busy).text
    assert word not in text and key not in text


def test_tenant_labels_are_bounded(daemon, upstream, word):
    from conftest import make_http

    for number in range(150):
        with make_http(daemon, f"sk-{word}-{number}") as client:
            client.post("/v1/chat/completions", json=chat_body(word))
    with make_http(daemon) as client:
        text = scrape(client).text
    tenants = set(re.findall(r'tenant_id="([^"]*)"', text))
    assert len(tenants) <= 110
