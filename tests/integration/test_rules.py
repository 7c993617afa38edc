"""What is admitted, how long it lives, what it cost and what hits saved."""
import json
from datetime import datetime

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


def test_put_that_is_unsure_of_itself_is_refused_and_the_others_are_kept(http, word):
    alone = http.put("/api/v1/entries", json={"query": word, "response": "x", "confidence": 0.6})
    assert alone.status_code == 422 and alone.json()["type"].endswith("not_admitted")
    assert "admission.min_confidence" in alone.json()["detail"]
    many = http.put("/api/v1/entries", json={"entries": [
        {"query": "stars above " + word, "response": "x", "confidence": 0.6},
        {"query": word + " below the sea", "response": "x", "confidence": 0.7}]})
    assert many.status_code == 207
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
