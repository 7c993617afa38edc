"""Every reason an answer may carry is told in docs/operations.md, and the other way round."""
import re

import pytest
from conftest import ask
from daemon import ROOT

SOURCES = [path for room in ("cache", "policy", "proxy", "api") for path in sorted((ROOT / "src" / room).glob("*.c"))]
DOCUMENT = ROOT / "docs" / "operations.md"
WORD = r'"([a-z][a-z0-9_:-]+)"'
# Where a reason is given: what stands left of the literal, up to the end of the statement.
GIVEN = [
    re.compile(r"\b(?:reason|why|refused|detail)\s*=\s*([^;]*?);", re.S),
    re.compile(r"\bfinish_miss\(\w+,([^;]*?)\);", re.S),
    re.compile(r"\.reason = ([^,;}]*)", re.S),
    re.compile(r"\bread_seconds\(,\s*([^,]*),"),
    re.compile(r"\[DJ_GUARD_\w+\] = ([^,]*),"),
]
# Words in those places that are no reasons of a look-up.
OTHER = {"admitted", "served", "only-if-cached", "reason"}


def reasons_in_source():
    found = {}
    for path in SOURCES:
        text = re.sub(r"/\*.*?\*/|(?:dj_json_get|read_text)\([^)]*\)", "", path.read_text(), flags=re.S)
        for pattern in GIVEN:
            for statement in pattern.findall(text):
                for word in re.findall(WORD, statement):
                    found.setdefault(word, path.name)
    for path in [ROOT / "src/policy/admit.c", *sorted((ROOT / "src/proxy").glob("family_*.c"))]:
        objection = re.search(r"\bobjection\(.*?^}", path.read_text(), re.S | re.M)
        for word in re.findall(r"(?:return|\?|:)\s*" + WORD, objection[0]):
            found.setdefault(word, path.name)
    return {word: where for word, where in found.items() if word not in OTHER}


def reasons_in_document():
    section = DOCUMENT.read_text().partition("## Why was that no hit?")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    errors = section.partition("### Errors")[2]
    return set(re.findall(r"`([^`]+)`", " ".join(rows) + errors.partition("detail`:")[2]))


def test_every_reason_of_the_source_is_in_the_table():
    told = reasons_in_document()
    found = reasons_in_source()
    assert len(found) > 40, "the patterns find too little"
    missing = {word: where for word, where in found.items() if word not in told}
    assert not missing, f"in docs/operations.md there is no row for {missing}"


def test_the_table_promises_no_reason_that_nothing_gives():
    everything = "".join(path.read_text() for path in SOURCES)
    for word in reasons_in_document() - {"asked:NAME", "only-if-cached"}:
        assert f'"{word}"' in everything, word


@pytest.mark.parametrize("headers,detail", [
    ({"X-Deja-Cache": "bypass"}, "asked:x-deja-cache"),
    ({"Cache-Control": "no-store"}, "asked:cache-control"),
    ({"Cache-Control": "no-cache"}, "asked:cache-control"),
    ({"cf-aig-skip-cache": "true"}, "asked:cf-aig-skip-cache"),
    ({"x-portkey-cache-force-refresh": "true"}, "asked:x-portkey-cache-force-refresh"),
    ({"X-Deja-Namespace": "n" * 300}, '"asked:x-deja-namespace, namespace-too-long"'),
    ({"X-Deja-TTL": "99999999"}, '"scope-empty, ttl-clamped"'),
    ({"X-Deja-TTL": "soon"}, '"scope-empty, ttl-ignored"'),
    ({}, "scope-empty"),
])
def test_who_asked_for_it_is_told(http, word, headers, detail):
    answer = ask(http, word, headers=headers)
    assert answer.headers["cache-status"].endswith(f"; detail={detail}"), answer.headers["cache-status"]


def test_a_hit_tells_what_was_cut(http, word):
    ask(http, word)
    status = ask(http, word, headers={"X-Deja-TTL": "99999999"}).headers["cache-status"]
    assert status.startswith("deja; hit;") and status.endswith('; detail="exact, ttl-clamped"')


@pytest.mark.parametrize("body,detail", [
    ({"cache_skip": True}, "asked:cache_skip"),
    ({"cache": {"no-cache": True}}, "asked:cache"),
    ({"web_search_options": {}}, "web-search"),
])
def test_what_the_body_asks_is_told(http, word, body, detail):
    assert ask(http, word, **body).headers["cache-status"].endswith(f"; detail={detail}")


@pytest.mark.parametrize("model,detail", [
    ("length", "length"), ("filter", "content-filter"), ("tools", "tool-calls"), ("error-429", "status"),
])
def test_why_it_was_not_kept_is_told(http, word, model, detail):
    status = ask(http, word, model).headers["cache-status"]
    assert "; stored" not in status
    if detail != "status":  # an answer with an error is told by its code
        assert status.endswith(f'; detail="scope-empty, not-kept:{detail}"'), status


def test_other_routes_are_passed_through(http):
    assert http.get("/v1/models").headers["cache-status"].endswith("; detail=pass-through")


def test_every_look_up_without_a_hit_has_a_reason(http, word):
    answer = http.post("/api/v1/lookup", json={"query": word})
    assert answer.json()["reason"] in reasons_in_document()
    assert answer.json()["reason"] in answer.headers["cache-status"]


@pytest.mark.parametrize("method,path", [
    ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/healthz"), ("GET", "/startupz"), ("GET", "/health"),
    ("GET", "/health/detailed"), ("GET", "/metrics"), ("GET", "/api/v1/stats"), ("GET", "/nowhere"),
    ("PUT", "/metrics"), ("GET", "/v1/models"), ("GET", "/v1/../x"), ("POST", "/v1/chat/completions"),
    ("POST", "/v1/embeddings"), ("POST", "/api/v1/lookup"), ("PUT", "/api/v1/entries"), ("POST", "/api/v1/invalidate"),
    ("GET", "/api/v1/explain?query=x"), ("POST", "/admin/reload"), ("POST", "/v1/caches/c/entries/search"),
    ("POST", "/v1/caches/c/entries"), ("POST", "/gptcache/get"), ("GET", "/cache/ping"),
])
def test_every_answer_says_how_long_it_took(http, method, path):
    answer = http.request(method, path, json={} if method != "GET" else None)
    assert re.search(r"\btotal;dur=\d+\.\d{3}", answer.headers["server-timing"]), answer.headers


def test_an_answer_to_a_broken_request_says_so_too(daemon):
    assert b"server-timing: total;dur=" in daemon.raw(b"NONSENSE\r\n\r\n").lower()
