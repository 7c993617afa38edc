"""What is admitted, how long it lives, what it cost and what hits saved."""
import json
import re
from datetime import UTC, datetime

import pytest
from conftest import ask, chat_body, make_http, status_of
from daemon import poll, run_cli
from fake_upstream import FakeUpstream

PRICES = """
plain: {input: 1000000, output: 1000000}
"cheap*": {input: 2.5, cached: 1.25, output: 10}
embedding: {input: 1000}
"""


@pytest.fixture
def own_upstream():
    server = FakeUpstream().start()
    yield server
    server.stop()


@pytest.fixture
def priced(spawn, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return lambda **kwargs: spawn(env={"DEJA_PRICES__FILE": str(path), "DEJA_TTL__JITTER": "0",
                                       **kwargs.pop("env", {})}, **kwargs)


def stats_of(client, period=None):
    return client.get("/api/v1/stats", params={"period": period} if period else None).json()


def ttl_of(answer):
    for part in answer.headers["cache-status"].split(";"):
        if part.strip().startswith("ttl="):
            return int(part.strip()[4:])
    raise AssertionError(answer.headers["cache-status"])


# ---- prices ----


def test_prices_command_lists_finds_and_takes_a_file(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("gpt-4.1: {input: 7, output: 9}\n")
    listed = json.loads(run_cli("prices", "--json").stdout)
    assert listed["gpt-4o"] == {"input": 2.5, "cached": 1.25, "output": 10} and len(listed) > 100
    found = run_cli("prices", "gpt-4o-2024-08-06", "gpt-4o-mini")
    assert found.returncode == 0 and "gpt-4o-mini" in found.stdout and "0.15" in found.stdout
    own = json.loads(run_cli("prices", "--json", "gpt-4.1-2025-04-14", env={"DEJA_PRICES__FILE": str(path)}).stdout)
    assert own["gpt-4.1-2025-04-14"] == {"input": 7, "output": 9}
    unknown = run_cli("prices", "no-such-model")
    assert unknown.returncode == 3 and "no row speaks of no-such-model" in unknown.stderr
    # what it prints is what it reads
    path = tmp_path / "all.json"
    path.write_text(run_cli("prices", "--json").stdout)
    assert json.loads(run_cli("prices", "--json", env={"DEJA_PRICES__FILE": str(path)}).stdout) == listed


@pytest.mark.parametrize("text,complaint", [
    ("gpt-4o: {input: cheap, output: 1}\n", "gpt-4o.input"),
    ("gpt-4o: {input: -1, output: 1}\n", "gpt-4o.input"),
    ("gpt-4o: {inputs: 1}\n", "one of input, cached, output"),
    ("gpt-4o: 3\n", "expects"),
])
def test_prices_file_with_a_fault_is_refused_with_its_place(tmp_path, text, complaint):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    checked = run_cli("config", "check", env={"DEJA_PRICES__FILE": str(path)})
    assert checked.returncode == 78
    assert complaint in checked.stderr and f"{path}:1:" in checked.stderr
    assert run_cli("prices", env={"DEJA_PRICES__FILE": str(path)}).returncode == 78


def test_hit_saves_what_the_answer_had_cost_at_the_price_of_its_model(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client:
        first = ask(client, word).json()
        tokens = first["usage"]["total_tokens"]
        for _ in range(3):
            assert status_of(ask(client, word)) == "HIT"
        stats = stats_of(client)
        assert stats["saved"]["cost_usd"] == pytest.approx(3 * tokens)
        kind = stats["period"]["kinds"]["response"]
        assert kind["hits"] == 3 and kind["misses"] == 1 and kind["hit_rate"] == 0.75
        assert kind["saved"]["cost_usd"] == pytest.approx(3 * tokens)
        assert kind["saved"]["guessed_usd"] == 0
        assert kind["saved"]["input_tokens"] == 3 * first["usage"]["prompt_tokens"]
        assert kind["spent_usd"] == pytest.approx(tokens)
        assert stats["period"]["spent"]["upstream_usd"] == pytest.approx(tokens)
        assert stats["period"]["spent"]["verification_usd"] == 0
        assert f'kind="response"}} {tokens}' in client.get("/metrics").text


def as_of_now(client, path):
    return int(client.get(path).headers["x-deja-as-of"])


def test_what_a_client_computed_saves_the_time_it_took(priced, key, word):
    """As it says, or else as long as it was since the look-up that missed."""
    daemon = priced()
    kv, entries = "/api/v1/kv", "/api/v1/entries"

    def seconds(kind):
        return stats_of(client)["period"]["kinds"][kind]["saved"]["seconds"]

    with make_http(daemon, key) as client:
        assert client.put(f"{kv}/a", headers={"X-Deja-Make-Ms": "2500"}, content=b"1").status_code == 201
        assert client.patch(f"{kv}/a", params={"ttl": "1h"}).status_code == 200  # the same value, made as it was
        assert client.get(f"{kv}/a").content == b"1"
        assert seconds("plain") == pytest.approx(2.5)
        batch = [{"op": "set", "key": "b", "value": 1, "make_ms": 1500}, {"op": "get", "key": "b"}]
        assert client.post(f"{kv}:batch", json={"operations": batch}).json()["results"][1]["found"]
        assert seconds("plain") == pytest.approx(4)
        as_of = as_of_now(client, f"{kv}/c")
        poll(lambda: as_of_now(client, f"{kv}/other") > as_of + 20_000, "20 ms of the server's clock")
        began = {"X-Deja-As-Of": str(as_of)}
        assert client.put(f"{kv}/c", headers=began, content=b"1").json().get("stored", True)
        assert client.get(f"{kv}/c").content == b"1"
        assert 4.019 <= seconds("plain") < 3600
        put = {"query": f"e {word}", "response": "x", "kind": "report", "make_ms": 700}
        assert client.put(entries, json=put).status_code == 201
        assert client.post("/api/v1/lookup", json={"query": f"e {word}"}).json()["hit"]
        assert seconds("report") == pytest.approx(0.7)
        for refused in ("-1", "soon", "86400001"):
            assert client.put(f"{kv}/a", headers={"X-Deja-Make-Ms": refused}, content=b"1").status_code == 400
        assert client.put(entries, json={**put, "make_ms": 86400001}).status_code == 400


def test_plain_keys_save_by_their_kind(priced, key):
    daemon = priced()
    with make_http(daemon, key) as client:
        for name in ("doc:analysis:7:summary", "session:user:7", "anything"):
            assert client.get(f"/api/v1/kv/{name}").status_code == 404
            assert client.put(f"/api/v1/kv/{name}", content=b"x").status_code == 201
            assert client.get(f"/api/v1/kv/{name}").content == b"x"
        batch = client.post("/api/v1/kv:batch", json={"operations": [{"op": "get", "key": "anything"}] * 2})
        assert [result["value"] for result in batch.json()["results"]] == ["x", "x"]
        kinds = stats_of(client)["period"]["kinds"]
        counts = {name: (kind["hits"], kind["misses"]) for name, kind in kinds.items()}
        assert counts == {"doc_analysis": (1, 1), "session_user": (1, 1), "plain": (3, 1)}
        assert kinds["doc_analysis"]["saved"]["cost_usd"] == pytest.approx(0.05)
        assert kinds["doc_analysis"]["saved"]["guessed_usd"] == pytest.approx(0.05)
        assert kinds["session_user"]["saved"]["cost_usd"] == kinds["plain"]["saved"]["cost_usd"] == 0
        text = client.get("/metrics").text
        assert re.search(r'semantic_cache_hits_total\{[^}]*cache_type="plain",level="memory"\} 3', text)
        assert re.search(r'semantic_cache_misses_total\{[^}]*cache_type="plain",level="none"\} 1', text)


def test_sums_of_a_period_outlive_a_restart(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client:
        for _ in range(3):
            ask(client, word)
        before = stats_of(client)
        assert before["period"]["kinds"]["response"]["hits"] == 2
    daemon.restart()
    with make_http(daemon, key) as client:
        after = stats_of(client)
        assert after["hits"]["total"] == 0  # since the start
        assert after["period"]["total"] == before["period"]["total"]
        ask(client, word)
        assert stats_of(client, "30d")["period"]["kinds"]["response"]["hits"] == 3
    assert (daemon.data / "savings").stat().st_mode & 0o777 == 0o600


def test_model_without_a_price_is_guessed_and_says_so(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client:
        usage = ask(client, word, model="vendor:unpriced").json()["usage"]
        ask(client, word, model="vendor:unpriced")
        saved = stats_of(client)["period"]["kinds"]["response"]["saved"]
        assert saved["cost_usd"] == pytest.approx(usage["total_tokens"] * 0.00003)
        assert saved["guessed_usd"] == pytest.approx(saved["cost_usd"])


def test_embeddings_are_an_account_of_their_own(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client:
        def embed():
            return client.post("/v1/embeddings", json={"model": "embedding", "input": [word, word + " two"]}).json()
        tokens = embed()["usage"]["prompt_tokens"]
        embed()
        kinds = stats_of(client)["period"]["kinds"]
        assert kinds["embedding"]["saved"]["cost_usd"] == pytest.approx(tokens * 1e-3)
        assert kinds["embedding"]["spent_usd"] == pytest.approx(tokens * 1e-3)
        assert "response" not in kinds


def test_documents_and_answers_nobody_counted_save_the_figures_of_the_settings(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client:
        for kind in ("document", "analysis", "session"):
            client.put("/api/v1/entries", json={"query": f"{kind} {word}", "response": "x", "kind": kind})
            for _ in range(2):
                assert client.post("/api/v1/lookup", json={"query": f"{kind} {word}"}).json()["hit"]
        kinds = stats_of(client)["period"]["kinds"]
        assert kinds["document"]["saved"]["cost_usd"] == pytest.approx(0.1)
        assert kinds["analysis"]["saved"]["cost_usd"] == pytest.approx(0.06)
        assert kinds["analysis"]["saved"]["output_tokens"] == 2000
        assert kinds["session"]["saved"]["cost_usd"] == 0 and kinds["session"]["hits"] == 2


def test_tenants_see_their_own_savings_only_and_periods_are_checked(priced, key, word):
    daemon = priced()
    with make_http(daemon, key) as client, make_http(daemon, key + "x") as other:
        ask(client, word)
        ask(client, word)
        assert stats_of(other)["period"]["kinds"] == {}
        assert stats_of(client, "7d")["period"]["kinds"]["response"]["hits"] == 1
        assert stats_of(client, "1h")["period"]["seconds"] == 3600
        for wrong in ("31d", "0", "soon"):
            answer = client.get("/api/v1/stats", params={"period": wrong})
            assert answer.status_code == 400 and "period" in answer.text
        told = run_cli("stats", "--period", "7d", "--server", daemon.url, "--key", key)
        assert told.returncode == 0 and "response" in told.stdout and "last 168" in told.stdout


# ---- admission and life ----


def test_answer_that_is_unsure_of_itself_is_not_kept(spawn, own_upstream, key, word):
    daemon = spawn(upstream_url=own_upstream.url)
    with make_http(daemon, key) as client:
        for confidence, second in (("0.65", "MISS"), ("nonsense", "MISS"), ("0.7", "HIT")):
            own_upstream.extra_headers = [("X-Deja-Confidence", confidence)]
            ask(client, confidence + word)
            again = ask(client, confidence + word)
            assert status_of(again) == second, confidence
            if second == "MISS":
                assert "confidence" in again.headers["cache-status"]


def test_put_that_is_unsure_of_itself_is_not_kept_and_the_others_are(http, word):
    alone = http.put("/api/v1/entries", json={"query": word, "response": "x", "confidence": 0.6})
    assert alone.status_code == 201 and (alone.json()["stored"], alone.json()["reason"]) == (False, "confidence")
    many = http.put("/api/v1/entries", json={"entries": [
        {"query": "stars above " + word, "response": "x", "confidence": 0.6},
        {"query": word + " below the sea", "response": "x", "confidence": 0.7}]}).json()["results"]
    assert [item.get("stored", True) for item in many] == [False, True]
    assert not http.post("/api/v1/lookup", json={"query": "stars above " + word}).json()["hit"]
    assert http.post("/api/v1/lookup", json={"query": word + " below the sea"}).json()["hit"]


@pytest.mark.parametrize("said,hours", [
    ({}, 24),
    ({"type": "response"}, 1),
    ({"type": "response", "confidence": 0.9, "cost": 0.1}, 1),
    ({"type": "response", "confidence": 0.95}, 2),
    ({"type": "response", "cost": 0.2}, 1.5),
    ({"type": "analysis"}, 2),
    ({"type": "analysis", "confidence": 0.95, "cost": 0.2}, 6),
    ({"type": "analysis", "ttl": 60}, 1 / 60),
])
def test_life_of_an_entry_is_by_what_it_says_of_itself(priced, key, word, said, hours):
    daemon = priced()
    with make_http(daemon, key) as client:
        client.put("/api/v1/entries", json={"query": word, "response": "x", **said})
        found = client.post("/api/v1/lookup", json={"query": word}).json()
        created, expires = (datetime.fromisoformat(found[name].replace("Z", "+00:00"))
                            for name in ("created_at", "expires_at"))
        assert (expires - created).total_seconds() == pytest.approx(hours * 3600, abs=1)


SIZES = {"DEJA_TTL__SMALL_TEXT": "2h", "DEJA_TTL__LARGE_TEXT": "3h", "DEJA_TTL__SMALL_TEXT_MAX": "100",
         "DEJA_TTL__MEDIUM_TEXT_MAX": "300", "DEJA_TTL__JITTER": "0"}


@pytest.mark.parametrize("chars,said,hours", [
    (100, {}, 2),
    (101, {}, 24),  # medium: no life of its own, so that of ttl.api
    (301, {}, 3),
    (301, {"ttl": 60}, 1 / 60),
    (301, {"type": "analysis"}, 6),
    (301, {"kind": "template_score"}, 6),  # the kind's comes first
])
def test_life_of_an_entry_is_by_the_length_of_its_query(spawn, key, chars, said, hours):
    with make_http(spawn(env=SIZES), key) as client:
        query = ("\u00e9" * chars)  # characters count, not bytes
        stored = client.put("/api/v1/entries", json={"query": query, "response": "x", **said})
        assert stored.status_code == 201, stored.text
        lived = datetime.fromisoformat(stored.json()["expires_at"].replace("Z", "+00:00")) - datetime.now(UTC)
        assert lived.total_seconds() == pytest.approx(hours * 3600, abs=60)


def test_life_of_an_answer_is_by_the_length_of_the_question_and_so_is_what_may_be_asked_for(spawn, key, word):
    daemon = spawn(env={**SIZES, "DEJA_TTL__RESPONSE": "1h", "DEJA_TTL__DYNAMIC": "false"})
    with make_http(daemon, key) as client:
        for text, least, most in ((word, 7000, 7200), (word + " x" * 90, 3400, 3600), (word + " x" * 200, 10600, 10800)):
            ask(client, text)
            assert least <= ttl_of(ask(client, text)) <= most
        longer = ask(client, word + " y" * 200, headers={"X-Deja-TTL": "2h"})
        assert "ttl-clamped" not in longer.headers["cache-status"]
        assert 7000 <= ttl_of(ask(client, word + " y" * 200)) <= 7200
        assert "ttl-clamped" in ask(client, word + " z" * 90, headers={"X-Deja-TTL": "2h"}).headers["cache-status"]


def test_dear_answer_lives_half_as_long_again_within_the_tenants_cap(priced, key, word):
    daemon = priced(env={"DEJA_TTL__RESPONSE": "1h"})
    with make_http(daemon, key) as client:
        for model, least, most in (("plain", 5000, 5400), ("cheap-1", 3400, 3600)):
            ask(client, word, model=model)
            assert least <= ttl_of(ask(client, word, model=model)) <= most
        ask(client, word + "x", headers={"X-Deja-TTL": "60"})
        assert ttl_of(ask(client, word + "x")) <= 60


# ---- several answers ----


def test_answer_with_several_choices_is_kept_whole_where_the_settings_say_so(spawn, key, word):
    daemon = spawn(env={"DEJA_ADMISSION__SEVERAL_ANSWERS": "true"})
    with make_http(daemon, key) as client:
        first = ask(client, word, n=3)
        again = ask(client, word, n=3)
        assert status_of(again) == "HIT" and again.json() == first.json()
        assert [c["index"] for c in again.json()["choices"]] == [0, 1, 2]
        assert status_of(ask(client, word, n=2)) == "MISS"
        with client.stream("POST", "/v1/chat/completions", json=chat_body(word, n=3, stream=True)) as answer:
            events = [json.loads(line[6:]) for line in answer.iter_lines()
                      if line.startswith("data: {")]
            assert answer.headers["x-cache-status"] == "HIT"
        texts = {}
        for event in events:
            for choice in event["choices"]:
                texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
        assert texts == {c["index"]: c["message"]["content"] for c in first.json()["choices"]}


def test_variants_are_filled_one_after_the_other_and_then_taken_at_random(http, upstream, word):
    headers = {"X-Deja-Variants": "3"}
    model = f"plain:{word}"
    poll(lambda: len({content for content in
                      (ask(http, word, model=model, headers=headers).json()["choices"][0]["message"]["content"]
                       for _ in range(6))}) == 3, "three answers")
    before = len(upstream.calls(model))
    met = {ask(http, word, model=model, headers=headers).json()["choices"][0]["message"]["content"] for _ in range(40)}
    assert len(met) == 3 and len(upstream.calls(model)) == before == 3


# ---- headers of the families ----


def answers_of(client, word, headers, **more):
    """A miss and a hit of the same question, both with these headers."""
    return (ask(client, word, headers=headers, **more), ask(client, word, headers=headers, **more))


FAMILIES = {
    "portkey": ({"x-portkey-trace-id": "t-17"}, {
        "x-portkey-cache-status": r"MISS|SEMANTIC MISS", "x-portkey-trace-id": "t-17",
        "x-portkey-retry-attempt-count": "0", "x-portkey-last-used-option-index": "config",
    }, {"x-portkey-cache-status": "HIT", "x-portkey-trace-id": "t-17"}),
    "cloudflare": ({"cf-aig-cache-ttl": "600"}, {
        "cf-aig-cache-status": "MISS", "cf-aig-log-id": ".+", "cf-aig-event-id": ".+",
    }, {"cf-aig-cache-status": "HIT"}),
    "helicone": ({"Helicone-Cache-Enabled": "true"}, {
        "Helicone-Cache": "MISS", "Helicone-Cache-Bucket-Idx": "0"}, {"Helicone-Cache": "HIT"}),
    "openrouter": ({"X-OpenRouter-Cache": "true"}, {
        "X-OpenRouter-Cache-Status": "MISS", "X-Generation-Id": ".+"}, {
        "X-OpenRouter-Cache-Status": "HIT", "X-OpenRouter-Cache-TTL": r"\d+", "X-OpenRouter-Cache-Age": r"\d+",
        "X-OpenRouter-Cache-Source-Id": "[0-9a-f]{32}"}),
    "apisix": ({"X-Cache-Bypass": "0"}, {"X-AI-Cache-Status": "MISS"}, {
        "X-AI-Cache-Status": "HIT-L1", "X-AI-Cache-Age": r"\d+"}),
    "vsr": ({"x-vsr-cache-control": "max-age=600"}, {
        "x-vsr-cache-hit": "false", "x-vsr-response-path": "upstream"}, {
        "x-vsr-cache-hit": "true", "x-vsr-response-path": "cache"}),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_family_whose_header_came_hears_its_own(http, word, family):
    asked, of_miss, of_hit = FAMILIES[family]
    miss, hit = answers_of(http, word, asked)
    assert (status_of(miss), status_of(hit)) == ("MISS", "HIT")
    for answer, wanted in ((miss, of_miss), (hit, of_hit)):
        for name, value in wanted.items():
            assert re.fullmatch(value, answer.headers[name]), (name, answer.headers.get(name))
    for name in set(of_miss) | set(of_hit):
        assert name not in ask(http, word).headers, name


def test_families_of_the_configuration_are_told_to_everybody(spawn, key, word):
    daemon = spawn(env={"DEJA_PROXY__COMPAT": "litellm,kong,vsr"})
    with make_http(daemon, key) as client:
        miss, hit = answers_of(client, word, None)
        assert miss.headers["x-cache-status"] == "Miss" and hit.headers["x-cache-status"] == "Hit"
        assert miss.headers["x-litellm-call-id"] == miss.headers["x-request-id"]
        assert "x-litellm-cache-key" not in miss.headers and "x-litellm-response-cost" not in miss.headers
        assert hit.headers["x-litellm-cache-key"] == hit.headers["x-cache-key"] == hit.headers["x-cache-id"]
        assert float(hit.headers["x-litellm-response-cost"]) == 0
        for answer in (miss, hit):
            assert float(answer.headers["x-litellm-overhead-duration-ms"]) <= \
                float(answer.headers["x-litellm-response-duration-ms"])
            assert int(answer.headers["x-kong-proxy-latency"]) >= 0
        assert "x-kong-upstream-latency" in miss.headers and "x-kong-upstream-latency" not in hit.headers
        assert hit.headers["x-vsr-cache-hit"] == "true"


def test_members_are_left_out_of_the_key_only_where_the_operator_lists_them(spawn, http, key, word):
    ignoring = {"Helicone-Cache-Ignore-Keys": '["user", "seed"]'}
    for seed in (1, 2):
        answer = ask(http, word, headers=ignoring, seed=seed)
        assert status_of(answer) == "MISS" and "ignore-keys-not-allowed" in answer.headers["cache-status"]
    daemon = spawn(env={"DEJA_ADMISSION__IGNORABLE_MEMBERS": "user"})
    with make_http(daemon, key) as client:
        assert status_of(ask(client, word, headers=ignoring, user="a")) == "MISS"
        again = ask(client, word, headers=ignoring, user="b")
        assert status_of(again) == "HIT" and "ignore-keys" not in again.headers["cache-status"]
        assert status_of(ask(client, word, user="b")) == "MISS"
        assert status_of(ask(client, word, headers=ignoring, user="b", seed=3)) == "MISS"


def test_nobody_is_cached_who_does_not_ask_where_the_mode_is_default_off(spawn, key, word):
    daemon = spawn(env={"DEJA_PROXY__MODE": "default_off"})
    with make_http(daemon, key) as client:
        for _ in range(2):
            answer = ask(client, word)
            assert status_of(answer) == "BYPASS" and "proxy.mode" in answer.headers["cache-status"]
        for number, wanted in enumerate(({"Helicone-Cache-Enabled": "true"}, {"X-OpenRouter-Cache": "true"},
                                         {"X-Deja-Cache": "use"})):
            miss, hit = answers_of(client, f"{word} {number}", wanted)
            assert (status_of(miss), status_of(hit)) == ("MISS", "HIT")
        miss, hit = answers_of(client, word + "x", None, cache={"use-cache": True})
        assert (status_of(miss), status_of(hit)) == ("MISS", "HIT")
        embedding = {"model": "embed", "input": word}
        assert status_of(client.post("/v1/embeddings", json=embedding)) == "BYPASS"


# ---- Cache-Control of the upstream ----


@pytest.mark.parametrize("said,second,ttl_max", [
    ("no-store", "MISS", None), ("private, max-age=600", "MISS", None), ("no-cache", "MISS", None),
    ("max-age=0", "MISS", None), ("max-age=100", "HIT", 100), ("max-age=5, s-maxage=200", "HIT", 200),
    ("public", "HIT", 86400),
])
def test_cache_control_of_the_upstream_is_obeyed_where_that_is_switched_on(spawn, own_upstream, key, word, said,
                                                                           second, ttl_max):
    own_upstream.extra_headers = [("Cache-Control", said)]
    obeying = spawn(upstream_url=own_upstream.url, env={"DEJA_UPSTREAM__RESPECT_CACHE_CONTROL": "true"})
    with make_http(obeying, key) as client:
        ask(client, word)
        again = ask(client, word)
        assert status_of(again) == second
        if ttl_max:
            assert 0.8 * ttl_max < ttl_of(again) <= ttl_max
        else:
            assert "upstream-cache-control" in again.headers["cache-status"]


def test_age_of_the_upstreams_answer_is_taken_off_its_life(spawn, own_upstream, key, word):
    own_upstream.extra_headers = [("Cache-Control", "max-age=1000"), ("Age", "900")]
    daemon = spawn(upstream_url=own_upstream.url, env={"DEJA_UPSTREAM__RESPECT_CACHE_CONTROL": "true"})
    with make_http(daemon, key) as client:
        ask(client, word)
        assert ttl_of(ask(client, word)) <= 100


# ---- Bifrost's administration ----


def test_bifrost_clears_an_entry_and_all_of_a_key(http, daemon, key, word):
    named = {"x-bf-cache-key": f"team a/{word}"}
    for text in (word, word + " again"):
        ask(http, text, headers=named)
    ask(http, word)
    entry = ask(http, word, headers=named).headers["x-cache-id"]
    with make_http(daemon, key + "x") as stranger:  # clears nothing of anybody else
        assert stranger.delete(f"/api/cache/clear/{entry}").status_code == 200
    assert status_of(ask(http, word, headers=named)) == "HIT"
    done = http.delete(f"/api/cache/clear/{entry}")
    assert (done.status_code, done.json()) == (200, {"message": "Cache cleared successfully"})
    assert ask(http, word, headers={**named, "Cache-Control": "only-if-cached", "X-Deja-Mode": "exact"}).status_code == 504
    assert http.delete(f"/api/cache/clear-by-key/team%20a%2F{word}").json() == done.json()
    assert ask(http, word + " again", headers={**named, "Cache-Control": "only-if-cached"}).status_code == 504
    assert status_of(ask(http, word)) == "HIT"  # without the key: another namespace
    assert http.delete("/api/cache/clear/no-such-id").status_code == 200
    assert http.delete("/api/cache/clear-by-key/a%00b").status_code == 400


# ---- validity on read ----


@pytest.mark.parametrize("wish,reason", [
    ({"model": "other"}, "invalid-model"), ({"provider": "other"}, "invalid-provider"), ({"type": "other"}, "invalid-type"),
    ({"version": "2"}, "invalid-version"), ({"parameters": {"temperature": 1}}, "invalid-parameters"),
])
def test_entry_that_is_not_what_the_asker_wants_is_dropped_and_a_miss(http, word, wish, reason):
    http.put("/api/v1/entries", json={
        "query": word, "response": "x", "model": "m", "provider": "p", "type": "analysis", "version": "1",
        "metadata": {"parameters": {"temperature": 0, "top_p": 1}}})

    def look_up(**more):
        return http.post("/api/v1/lookup", json={"query": word, **more}).json()
    good = {"model": "m", "provider": "p", "type": "analysis", "version": "1", "max_age": "1h",
            "parameters": {"top_p": 1.0, "temperature": 0}}
    assert look_up(valid=good)["hit"]
    missed = look_up(valid={**good, **wish})
    assert not missed["hit"] and missed["reason"] == reason
    poll(lambda: not look_up()["hit"], "it to be gone")


def test_wish_that_cannot_be_read_is_refused(http, word):
    assert http.post("/api/v1/lookup", json={"query": word, "valid": {"colour": "red"}}).status_code == 400
    assert http.post("/api/v1/lookup", json={"query": word, "valid": []}).status_code == 400


def test_bifrosts_clients_read_of_a_hit_in_its_body(http, sdk, word):
    headers = {"x-bf-cache-key": "k"}
    first = ask(http, word, headers=headers).json()
    assert "extra_fields" not in first
    hit = ask(http, word, headers=headers)
    debug = hit.json()["extra_fields"]["cache_debug"]
    assert debug["cache_hit"] is True and debug["hit_type"] == "direct" and debug["model_used"] == "plain"
    assert debug["cache_id"] == hit.headers["x-cache-id"]
    assert {**hit.json(), "extra_fields": None} == {**first, "extra_fields": None}
    chunks = list(sdk.chat.completions.create(model="plain", messages=[{"role": "user", "content": word}], stream=True,
                                              extra_headers=headers))
    assert chunks[-1].extra_fields["cache_debug"]["hit_type"] == "direct"
    assert not any(getattr(chunk, "extra_fields", None) for chunk in chunks[:-1])
    assert "extra_fields" not in ask(http, word, headers={"X-Deja-Namespace": "k"}).json()
