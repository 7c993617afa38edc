"""What every answer says about the cache, and what a request may ask of it (WIRE 5 and 12)."""
import re
import time

import pytest
from conftest import ask, content_of, make_http, status_of
from daemon import free_port, poll


def with_headers(client, text, **headers):
    return ask(client, text, headers={k.replace("_", "-"): v for k, v in headers.items()})


# -- what is always said --

def test_every_answer_carries_the_cache_headers(http, word):
    for answer in (ask(http, word), ask(http, word), http.get("/v1/models"), ask(http, word, "error-400")):
        assert answer.headers["cache-status"].startswith("deja")
        assert answer.headers["x-cache-hit"] in ("true", "false")
        assert answer.headers["x-cache-status"] in ("HIT", "MISS", "BYPASS", "REFRESH")
        assert answer.headers["x-request-id"]
        assert "dur=" in answer.headers["server-timing"]


def test_miss_names_the_upstream_call(http, word):
    answer = ask(http, word)
    assert re.match(r"deja; fwd=(miss|uri-miss)", answer.headers["cache-status"])
    assert "fwd-status=200" in answer.headers["cache-status"]
    assert "upstream;dur=" in answer.headers["server-timing"]
    assert "age" not in answer.headers


def test_hit_carries_age_tier_id_and_similarity(http, word):
    ask(http, word)
    answer = ask(http, word)
    assert answer.headers["cache-status"].startswith("deja; hit")
    assert re.search(r"ttl=\d+", answer.headers["cache-status"])
    assert int(answer.headers["age"]) >= 0
    assert answer.headers["x-cache-tier"] in ("memory", "lmdb")
    assert answer.headers["x-cache-id"]
    assert float(answer.headers["x-cache-similarity"]) == 1.0
    assert "upstream" not in answer.headers["server-timing"]


def test_hit_id_is_the_one_the_api_takes(http, word):
    ask(http, word)
    entry = ask(http, word).headers["x-cache-id"]
    assert http.get(f"/api/v1/entries/{entry}").status_code == 200
    assert http.delete(f"/api/v1/entries/{entry}").status_code in (200, 204)
    assert status_of(ask(http, word)) == "MISS"


def test_request_id_of_the_client_is_kept_and_others_are_unique(http, word):
    assert with_headers(http, word, X_Request_Id="my-id-1").headers["x-request-id"] == "my-id-1"
    made = {ask(http, word).headers["x-request-id"] for _ in range(20)}
    assert len(made) == 20


def test_request_id_with_control_characters_is_replaced(daemon, word):
    from daemon import parse_response, raw_request

    raw = daemon.raw(raw_request("GET", "/v1/models", [("X-Request-Id", "a\x01b")]))
    status, headers, _ = parse_response(raw)
    assert status in (200, 400)
    assert "\x01" not in dict((k.lower(), v) for k, v in headers).get("x-request-id", "")


# -- Cache-Control --

def test_no_cache_skips_the_read_and_stores_the_new_answer(http, word):
    first = ask(http, word)
    fresh = with_headers(http, word, Cache_Control="no-cache")
    assert content_of(fresh) != content_of(first)
    assert fresh.headers["x-cache-hit"] == "false"
    again = ask(http, word)
    assert (status_of(again), content_of(again)) == ("HIT", content_of(fresh))


def test_no_store_neither_reads_nor_stores(http, word):
    first = with_headers(http, word, Cache_Control="no-store")
    assert ask(http, word).headers["x-cache-hit"] == "false"
    stored = ask(http, word)
    other = with_headers(http, word, Cache_Control="no-store")
    assert len({content_of(first), content_of(stored), content_of(other)}) == 3
    assert content_of(ask(http, word)) == content_of(stored)


def test_only_if_cached_is_504_on_a_miss_and_calls_nobody(http, upstream, word):
    model = f"plain:{word}"
    answer = ask(http, word, model, headers={"Cache-Control": "only-if-cached"})
    assert answer.status_code == 504
    assert set(answer.json()["error"]) >= {"message", "type"}
    assert not upstream.calls(model)
    ask(http, word, model)
    assert ask(http, word, model, headers={"Cache-Control": "only-if-cached"}).status_code == 200


def test_max_age_0_accepts_nothing_stored(http, word):
    first = ask(http, word)
    assert content_of(with_headers(http, word, Cache_Control="max-age=0")) != content_of(first)


def test_max_age_accepts_younger_and_refuses_older_entries(http, word):
    first = ask(http, word)
    assert status_of(with_headers(http, word, Cache_Control="max-age=600")) == "HIT"
    poll(lambda: int(with_headers(http, word, Cache_Control="only-if-cached").headers["age"]) >= 2,
         "the entry to be two seconds old", every=0.2)
    assert content_of(with_headers(http, word, Cache_Control="max-age=1")) != content_of(first)


def test_upstreams_no_cache_is_ignored(http, word):
    ask(http, word, stream=True)  # the fake's streams carry Cache-Control: no-cache
    assert status_of(ask(http, word)) == "HIT"


# -- X-Deja-* and the families --

@pytest.mark.parametrize("headers", [
    {"X-Deja-Cache": "bypass"}, {"cf-aig-skip-cache": "true"}, {"x-higress-skip-ai-cache": "on"},
    {"X-Cache-Bypass": "1"}, {"x-portkey-debug": "false"},
], ids=lambda headers: next(iter(headers)))
def test_bypass_neither_reads_nor_writes(http, word, headers):
    first = ask(http, word)
    answer = ask(http, word, headers=headers)
    assert (status_of(answer), answer.headers["x-cache-hit"]) == ("BYPASS", "false")
    assert "fwd=bypass" in answer.headers["cache-status"] or "fwd=request" in answer.headers["cache-status"]
    assert content_of(answer) != content_of(first)
    assert content_of(ask(http, word)) == content_of(first)


def test_body_cache_skip_is_a_bypass(http, word):
    first = ask(http, word)
    assert content_of(ask(http, word, cache_skip=True)) != content_of(first)


@pytest.mark.parametrize("headers", [
    {"X-Deja-Cache": "refresh"}, {"x-portkey-cache-force-refresh": "true"}, {"X-OpenRouter-Cache-Clear": "true"},
], ids=lambda headers: next(iter(headers)))
def test_refresh_skips_the_read_and_overwrites(http, word, headers):
    first = ask(http, word)
    fresh = ask(http, word, headers=headers)
    assert status_of(fresh) == "REFRESH"
    assert content_of(fresh) != content_of(first)
    assert content_of(ask(http, word)) == content_of(fresh)


@pytest.mark.parametrize("headers", [{"X-Deja-Cache": "no-store"}, {"x-bf-cache-no-store": "true"},
                                     {"X-Deja-Cache": "read-only"}, {"op-cache": "readOnly"}],
                         ids=lambda headers: "=".join(*headers.items()))
def test_no_store_and_read_only_write_nothing(http, word, headers):
    ask(http, word, headers=headers)
    assert status_of(ask(http, word)) == "MISS"


@pytest.mark.parametrize("headers", [{"X-Deja-Cache": "read-only"}, {"op-cache": "readOnly"}],
                         ids=lambda headers: next(iter(headers)))
def test_read_only_reads(http, word, headers):
    ask(http, word)
    assert status_of(ask(http, word, headers=headers)) == "HIT"


def test_write_only_does_not_read(http, word):
    first = ask(http, word)
    answer = with_headers(http, word, X_Deja_Cache="write-only")
    assert content_of(answer) != content_of(first)
    assert content_of(ask(http, word)) == content_of(answer)


@pytest.mark.parametrize("name", ["X-Deja-Namespace", "x-portkey-cache-namespace", "Helicone-Cache-Seed",
                                  "x-bf-cache-key"])
def test_namespace_separates(http, word, name):
    first = ask(http, word, headers={name: "one"})
    other = ask(http, word, headers={name: "two"})
    assert status_of(other) == "MISS"
    assert content_of(ask(http, word, headers={name: "one"})) == content_of(first)
    assert status_of(ask(http, word)) == "MISS"


def test_body_cache_namespace_separates(http, word):
    ask(http, word, cache={"namespace": "one"})
    assert status_of(ask(http, word, cache={"namespace": "two"})) == "MISS"
    assert status_of(ask(http, word, cache={"namespace": "one"})) == "HIT"


def ttl_of(answer):
    return int(re.search(r"ttl=(-?\d+)", answer.headers["cache-status"]).group(1))


@pytest.mark.parametrize("extra", [
    {"headers": {"X-Deja-TTL": "100"}}, {"headers": {"cf-aig-cache-ttl": "100"}},
    {"headers": {"x-bf-cache-ttl": "100s"}}, {"headers": {"X-OpenRouter-Cache-TTL": "100"}},
    {"headers": {"Cache-Control": "max-age=100"}}, {"headers": {"Cache-Control": "s-maxage=100"}},
    {"cache": {"ttl": 100}},
], ids=lambda extra: str(next(iter(extra.get("headers") or extra))))
def test_ttl_of_a_request_is_the_entrys(http, word, extra):
    ask(http, word, **extra)
    assert 0 < ttl_of(ask(http, word)) <= 110


def test_longer_ttl_than_allowed_is_cut_and_shown(http, word):
    answer = with_headers(http, word, X_Deja_TTL="99999999999")
    assert answer.status_code == 200
    assert "ttl-clamped" in answer.headers["cache-status"]


def test_entry_is_gone_after_its_ttl(http, word):
    with_headers(http, word, X_Deja_TTL="1")
    end = time.monotonic() + 60
    while ask(http, word, headers={"Cache-Control": "only-if-cached"}).status_code == 200:
        assert time.monotonic() < end, "served long after its TTL"
        time.sleep(0.1)


def test_exact_mode_does_not_look_by_meaning(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"
    ask(http, "What is the capital of France?", model)
    answer = ask(http, "What's the capital of France?", model, headers={"X-Deja-Mode": "exact"})
    assert status_of(answer) == "MISS"
    assert "embed" not in answer.headers["server-timing"]


def test_threshold_can_be_raised_and_not_lowered(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"
    ask(http, "What is the capital of France?", model)
    ask(http, f"What is the best {word}?", model, headers={"X-Deja-Threshold": "0.01"})
    only = {"Cache-Control": "only-if-cached"}

    def found():
        return ask(http, "What's the capital of France?", model, headers=only).status_code == 200

    poll(found, "the vector")
    raised = ask(http, "What's the capital of France?", model, headers={**only, "X-Deja-Threshold": "0.99999"})
    assert raised.status_code == 504
    lowered = ask(http, "How tall is the Eiffel tower in France?", model,
                  headers={**only, "X-Deja-Threshold": "0.01"})
    assert lowered.status_code == 504


@pytest.mark.parametrize(("name", "value"), [
    ("X-Deja-TTL", "soon"), ("X-Deja-Threshold", "2"), ("X-Deja-Cache", "maybe"), ("X-Deja-Mode", "vague"),
    ("X-Deja-TTL", "-5"), ("X-Deja-Max-Age", "1e9"), ("Cache-Control", "max-age=x"),
])
def test_knob_with_a_bad_value_never_fails_the_request(http, word, name, value):
    answer = ask(http, word, headers={name: value})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert answer.json()["error"]["message"]


# -- what peers' clients send --

def calls_about(upstream, word):
    return [call for call in upstream.calls() if word in call.body.decode()]


def test_portkey_config_names_mode_and_age(http, models, word):
    if models is None:
        pytest.skip("the embedding model could not be pulled")
    model = f"plain:{word}"
    simple = {"x-portkey-config": '{"cache": {"mode": "simple", "max_age": 120}}'}
    first = ask(http, "What is the capital of France?", model, headers=simple)
    assert first.headers["x-portkey-cache-status"] == "MISS"
    again = ask(http, "What is the capital of France?", model, headers=simple)
    assert again.headers["x-portkey-cache-status"] == "HIT"
    assert ttl_of(again) <= 132  # 120 s and its jitter
    reworded = ask(http, "What's the capital of France?", model, headers=simple)
    assert status_of(reworded) == "MISS"
    assert "embed" not in reworded.headers["server-timing"]


def test_portkey_config_goes_on_to_an_upstream_that_routes_by_it(http, upstream, word):
    sent = '{"retry": {"attempts": 2}, "cache": {"mode": "simple"}}'
    ask(http, word, headers={"x-portkey-config": sent, "x-portkey-cache-namespace": "n"})
    seen = calls_about(upstream, word)[-1]
    assert seen.header("x-portkey-config") == sent
    assert seen.header("x-portkey-cache-namespace") is None


@pytest.mark.parametrize("name", ["Helicone-Cache-Bucket-Max-Size", "X-Deja-Variants"])
def test_variants_keep_several_answers_of_one_question(http, word, name):
    asked = {name: "3", "Helicone-Cache-Enabled": "true"}
    answers = [ask(http, word, headers=asked) for _ in range(60)]
    texts = {content_of(answer) for answer in answers}
    assert len(texts) == 3
    assert sum(status_of(answer) == "MISS" for answer in answers) == 3
    by_index = {}
    for answer in answers:
        by_index.setdefault(answer.headers["helicone-cache-bucket-idx"], set()).add(content_of(answer))
    assert sorted(by_index) == ["0", "1", "2"]
    assert all(len(kept) == 1 for kept in by_index.values())


def test_keys_may_not_be_left_out_of_the_key_by_a_client(http, upstream, word):
    asked = {"Helicone-Cache-Ignore-Keys": '["seed"]'}
    assert "ignore-keys-not-allowed" in ask(http, word, headers=asked, seed=1).headers["cache-status"]
    assert status_of(ask(http, word, headers=asked, seed=2)) == "MISS"
    assert calls_about(upstream, word)[-1].header("helicone-cache-ignore-keys") is None


def test_virtual_keys_behind_one_bearer_never_share(http, upstream, word):
    first = ask(http, word, headers={"x-bf-vk": "vk-one"})
    assert status_of(ask(http, word, headers={"x-bf-vk": "vk-two"})) == "MISS"
    assert status_of(ask(http, word)) == "MISS"
    again = ask(http, word, headers={"x-bf-vk": "vk-one"})
    assert status_of(again) == "HIT"
    assert content_of(again) == content_of(first)
    assert calls_about(upstream, word)[0].header("x-bf-vk") == "vk-one"


def test_a_virtual_key_alone_is_a_credential(anonymous, word):
    ask(anonymous, word, headers={"x-bf-vk": f"vk-{word}"})
    assert status_of(ask(anonymous, word, headers={"x-bf-vk": f"vk-{word}-2"})) == "MISS"
    assert status_of(ask(anonymous, word)) == "MISS"
    assert status_of(ask(anonymous, word, headers={"x-bf-vk": f"vk-{word}"})) == "HIT"


def test_configured_families_are_always_answered(spawn, key, word):
    daemon = spawn(config="proxy:\n  compat: [kong, openrouter, apisix, litellm]\n")
    with make_http(daemon, key) as client:
        miss = ask(client, word)
        hit = ask(client, word)
    assert status_of(miss) == "Miss"
    assert miss.headers["x-openrouter-cache-status"] == "MISS"
    assert miss.headers["x-ai-cache-status"] == "MISS"
    assert "x-litellm-cache-key" not in miss.headers
    assert status_of(hit) == "Hit"
    assert hit.headers["x-ai-cache-status"] == "HIT-L1"
    assert hit.headers["x-cache-key"] == hit.headers["x-cache-id"] == hit.headers["x-litellm-cache-key"]
    assert int(hit.headers["x-cache-ttl"]) == int(hit.headers["x-openrouter-cache-ttl"]) > 0
    assert int(hit.headers["x-openrouter-cache-age"]) >= 0


def test_an_upstream_that_cannot_be_reached_was_a_miss(spawn, key, word):
    daemon = spawn(upstream_url=f"http://127.0.0.1:{free_port()}")
    with make_http(daemon, key) as client:
        answer = ask(client, word)
    assert answer.status_code == 502
    assert status_of(answer) == "MISS"
    assert answer.headers["cache-status"].startswith("deja; fwd=miss")
    assert answer.json()["error"]["type"] == "server_error"


def test_tier_that_a_request_skips_is_neither_read_nor_written(http, word):
    only_disk = {"X-Deja-Skip-Tiers": "memory"}
    assert ask(http, word, headers=only_disk).headers["x-cache-hit"] == "false"

    def found():
        answer = ask(http, word, headers={**only_disk, "Cache-Control": "only-if-cached"})
        return answer if answer.status_code == 200 else None

    assert poll(found, "the entry on disk").headers["x-cache-tier"] == "lmdb"
    other = ask(http, f"{word} again", headers={"X-Deja-Skip-Tiers": "lmdb", "X-Deja-Mode": "exact"})
    assert other.headers["x-cache-hit"] == "false"
    again = {"X-Deja-Mode": "exact", "Cache-Control": "only-if-cached"}
    assert ask(http, f"{word} again", headers=again).headers["x-cache-tier"] == "memory"
    assert ask(http, f"{word} again", headers={**again, **only_disk}).status_code == 504


def test_unknown_tier_to_skip_is_told(http, word):
    assert "skip-tiers-ignored" in ask(http, word, headers={"X-Deja-Skip-Tiers": "l9"}).headers["cache-status"]
