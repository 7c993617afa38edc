"""Warming: answers made before they are asked for, by order, on the schedule, and because they are
likely; within budgets, with a credential, counted when they are used."""
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from conftest import ask, check_sanitizer, content_of, make_http
from daemon import Daemon, poll, run_cli

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LEARNING = {"DEJA_WARMUP__PREDICT__ENABLED": "true", "DEJA_SEMANTIC__ENABLED": "false"}


@pytest.fixture(scope="module")
def learning(tmp_path_factory, upstream):
    """Remembers what is asked; its schedule is idle: there is no budget."""
    made = Daemon(tmp_path_factory.mktemp("warm"), upstream.url, env=LEARNING).start()
    yield made
    made.stop()
    check_sanitizer(made)


def headers_of(key):
    return {"Authorization": f"Bearer {key}"} if key else {}


def status_of(daemon, key):
    answer = httpx.get(daemon.url + "/api/v1/warm", headers=headers_of(key), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def order(daemon, key, **body):
    return httpx.post(daemon.url + "/api/v1/warm", json=body, headers=headers_of(key), timeout=60)


def finished(daemon, key):
    def check():
        run = status_of(daemon, key)["run"]
        return run if run and run["status"] not in ("listing", "running") else None

    return poll(check, "the run to end")


def run(daemon, key, **body):
    answer = order(daemon, key, **body)
    assert answer.status_code == 202, answer.text
    return finished(daemon, key)


def metric(daemon, name):
    text = httpx.get(daemon.url + "/metrics", timeout=30).text
    return sum(float(line.split()[-1]) for line in text.splitlines()
               if line.startswith((name, name.rstrip("}") + ",") if "{" in name else (name + "{", name + " ")))


def asked_of(upstream, model):
    return len(upstream.calls(model))


def prompts(word, count):
    return [f"{word} question {i}" for i in range(count)]


def test_file_of_prompts_is_warmed_and_then_hit(learning, upstream, key, word, tmp_path):
    model = f"plain:{word}"
    path = tmp_path / "faq.jsonl"
    whole = {"model": model, "messages": [{"role": "system", "content": "short"},
                                          {"role": "user", "content": f"{word} whole"}],
             "temperature": 0, "stream": True}
    lines = [json.dumps(f"{word} one"), json.dumps({"prompt": f"{word} two"}), json.dumps(whole), ""]
    path.write_text("\n".join(lines))
    args = ("warm", path, "--model", model, "--server", learning.url, "--key", key)
    dry = run_cli(*args, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "3 would be warmed, 3 of them asked upstream" in dry.stdout
    assert asked_of(upstream, model) == 0
    done = run_cli(*args, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["warmed"] == 3 and told["requests"] == 3 and told["cost_usd"] > 0
    assert asked_of(upstream, model) == 3
    with make_http(learning, key) as client:
        for text in ("one", "two"):
            answer = ask(client, f"{word} {text}", model)
            assert answer.headers["x-cache-hit"] == "true"
            assert content_of(answer)
        hit = client.post("/v1/chat/completions", json={**whole, "stream": False})
        assert hit.headers["x-cache-hit"] == "true"
    assert asked_of(upstream, model) == 3
    again = json.loads(run_cli(*args, "--json").stdout)
    assert again["warmed"] == 0 and again["present"] == 3 and again["requests"] == 0
    warmed = status_of(learning, key)["warmed"]
    assert warmed["entries"] == 3 and warmed["used"] == 3 and warmed["used_share"] == 1
    assert warmed["cost_usd"] > 0 and warmed["unused_usd"] == pytest.approx(0)
    status = run_cli("warm", "status", "--server", learning.url, "--key", key).stdout
    assert "\nall runs    3 entries warmed, 100.0 % used" in status
    assert "\nlast run    done: 3 of 3\n  warmed      0, 0 requests" in status and "\nwarmed" not in status


def test_line_that_is_no_request_is_told_by_its_number(learning, key, word, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('"good"\nnot json\n')
    args = ("--server", learning.url, "--key", key)
    done = run_cli("warm", path, "--model", "m", *args)
    assert done.returncode == 2 and "line 2" in done.stderr
    path.write_text('"good"\n{"what": 1}\n')
    done = run_cli("warm", path, "--model", "m", *args)
    assert done.returncode != 0 and "requests[1]" in done.stderr
    path.write_text('"good"\n')
    done = run_cli("warm", path, *args)
    assert done.returncode != 0 and "model" in done.stderr


def test_run_without_a_credential_says_what_to_do(spawn, upstream, word):
    daemon = spawn(env={"DEJA_TENANT__DERIVED": "true", "DEJA_SECURITY__ADMIN_TOKEN": "t" * 40})
    made = run_cli("tenant", "add", "acme", env={"DEJA_SERVER": daemon.url, "DEJA_TOKEN": "t" * 40})
    assert made.returncode == 0, made.stderr
    created = run_cli("key", "create", "ci", "--tenant", "acme", "--json",
                      env={"DEJA_SERVER": daemon.url, "DEJA_TOKEN": "t" * 40})
    secret = json.loads(created.stdout)["secret"]
    body = {"requests": prompts(word, 2), "model": f"plain:{word}"}
    refused = order(daemon, secret, **body)
    assert refused.status_code == 409
    assert "no_upstream_credential" in refused.text and "deja key upstream set" in refused.text
    assert asked_of(upstream, f"plain:{word}") == 0
    held = run_cli("key", "upstream", "set", "acme", stdin="sk-held-by-deja\n",
                   env={"DEJA_SERVER": daemon.url, "DEJA_TOKEN": "t" * 40})
    assert held.returncode == 0, held.stderr
    done = run(daemon, secret, **body)
    assert done["warmed"] == 2
    sent = [r for r in upstream.requests if r.model() == f"plain:{word}"]
    assert {r.header("authorization") for r in sent} == {"Bearer sk-held-by-deja"}


def test_operators_credential_goes_upstream_where_none_is_held(spawn, upstream, word):
    daemon = spawn(env={"DEJA_WARMUP__CREDENTIAL": "sk-of-the-operator",
                        "DEJA_SECURITY__ADMIN_TOKEN": "t" * 40, "DEJA_TENANT__DERIVED": "true"})
    env = {"DEJA_SERVER": daemon.url, "DEJA_TOKEN": "t" * 40}
    run_cli("tenant", "add", "acme", env=env)
    secret = json.loads(run_cli("key", "create", "ci", "--tenant", "acme", "--json", env=env).stdout)["secret"]
    done = run(daemon, secret, requests=prompts(word, 1), model=f"plain:{word}")
    assert done["warmed"] == 1
    sent = [r for r in upstream.requests if r.model() == f"plain:{word}"]
    assert [r.header("authorization") for r in sent] == ["Bearer sk-of-the-operator"]
    assert "sk-of-the-operator" not in daemon.log_text()


def test_budget_of_requests_is_kept(learning, upstream, key, word):
    model = f"plain:{word}"
    done = run(learning, key, requests=prompts(word, 20), model=model, budget={"requests": 7})
    assert done["requests"] == 7 and done["warmed"] == 7
    assert done["status"] == "stopped" and "budget of requests" in done["reason"]
    assert asked_of(upstream, model) == 7


def test_budget_of_money_is_kept(learning, upstream, key, word):
    model = f"plain:{word}"
    first = run(learning, key, requests=prompts(word, 1), model=model)
    each = first["cost_usd"]
    assert each > 0
    done = run(learning, key, requests=prompts(word, 40)[1:], model=model,
               budget={"usd": 10.5 * each})
    assert done["status"] == "stopped" and "money" in done["reason"]
    assert done["cost_usd"] <= 11.5 * each
    assert 1 <= asked_of(upstream, model) - 1 <= 15 # a few may be under way when the first is paid


def test_budget_of_a_day_is_the_tenants(spawn, upstream, word):
    daemon = spawn(env={"DEJA_WARMUP__MAX_REQUESTS_PER_DAY": "5"})
    model = f"plain:{word}"
    assert run(daemon, f"sk-a-{word}", requests=prompts(word, 3), model=model)["warmed"] == 3
    done = run(daemon, f"sk-a-{word}", requests=prompts(word + "x", 4), model=model)
    assert done["warmed"] == 2 and "today" in done["reason"]
    assert run(daemon, f"sk-b-{word}", requests=prompts(word, 1), model=model)["warmed"] == 1
    assert status_of(daemon, f"sk-a-{word}")["today"]["requests"] == 5
    # Use is counted where no habits are kept, too.
    with make_http(daemon, f"sk-a-{word}") as client:
        assert ask(client, f"{word} question 1", model).headers["x-cache-hit"] == "true"
        warmed = client.get("/api/v1/stats").json()["warmed"]
    assert warmed["entries"] == 5 and warmed["used"] == 1 and warmed["cost_usd"] > 0


def test_warming_is_not_counted_among_clients_requests(learning, upstream, key, word):
    model = f"plain:{word}"
    run(learning, key, requests=prompts(word, 3), model=model)
    stats = httpx.get(learning.url + "/api/v1/stats", headers=headers_of(key), timeout=30).json()
    assert stats["requests"] == 0 and stats["misses"] == 0
    assert metric(learning, "semantic_cache_warmed_total") >= 3
    used = metric(learning, "semantic_cache_warmed_used_total")
    with make_http(learning, key) as client:
        for _ in range(2):
            ask(client, f"{word} question 0", model)
    assert metric(learning, "semantic_cache_warmed_used_total") == used + 1


def test_run_can_be_cancelled(learning, upstream, key, word):
    model = f"step:{word}"
    flow = upstream.flow(word)
    try:
        answer = order(learning, key, requests=prompts(word, 20), model=model)
        assert answer.status_code == 202
        poll(lambda: asked_of(upstream, model) >= 1, "a call upstream")
        second = order(learning, key, requests=prompts(word, 1), model=model)
        assert second.status_code == 409 and "warm_in_progress" in second.text
        assert httpx.delete(learning.url + "/api/v1/warm", headers=headers_of(key)).status_code == 200
    finally:
        for _ in range(25):
            flow.finish()
    done = finished(learning, key)
    assert done["status"] == "cancelled" and done["done"] < 20
    assert httpx.delete(learning.url + "/api/v1/warm", headers=headers_of(key)).status_code == 404


def test_credential_that_the_upstream_refuses_stops_the_run(learning, upstream, key, word):
    done = run(learning, key, requests=prompts(word, 30), model="error-401")
    assert done["status"] == "stopped" and "credential" in done["reason"]
    assert done["done"] < 30 and done["warmed"] == 0


def test_users_go_first_where_the_upstream_is_full(spawn, upstream, word):
    daemon = spawn(env={"DEJA_RATE_LIMIT__UPSTREAM_CALLS": "1", "DEJA_RATE_LIMIT__UPSTREAM_DELAY": "60s",
                        "DEJA_SEMANTIC__ENABLED": "false"})
    flow = upstream.flow(word)
    model = f"plain:{word}"
    warmed = f"plain:{word}w"
    with ThreadPoolExecutor(3) as pool:
        def user(name):
            with make_http(daemon, f"sk-{word}") as client:
                return ask(client, word, name).status_code

        try:
            first = pool.submit(user, f"step:{word}")  # has the upstream's only place
            poll(lambda: asked_of(upstream, f"step:{word}") == 1, "the first user's call")
            second = pool.submit(user, model)
            poll(lambda: metric(daemon, 'semantic_cache_queue_depth{queue="upstream"}') == 1, "a user who waits")
            assert order(daemon, f"sk-{word}", requests=prompts(word, 3), model=warmed).status_code == 202
            poll(lambda: status_of(daemon, f"sk-{word}")["run"]["status"] == "running", "the run to begin")
            assert asked_of(upstream, warmed) == 0
        finally:
            flow.finish()
        assert first.result() == 200 and second.result() == 200
    done = finished(daemon, f"sk-{word}")
    assert done["status"] == "done" and done["warmed"] == 3, done
    numbers = {name: [r.number for r in upstream.calls(name)] for name in (model, warmed)}
    assert all(n > numbers[model][0] for n in numbers[warmed])


def test_top_asks_again_for_what_was_asked_most(learning, upstream, key, word):
    model = f"plain:{word}"
    with make_http(learning, key) as client:
        for i, text in enumerate(prompts(word, 4)):
            for _ in range(4 - i):
                ask(client, text, model)
        assert client.post("/api/v1/invalidate", json={"all": True}).status_code == 200
        calls = asked_of(upstream, model)
        dry = order(learning, key, sources=["top"], dry_run=True, limit=3).json()
        assert [item["query"] for item in dry["items"]] == prompts(word, 4)[:3]
        assert [item["requests_24h"] for item in dry["items"]] == [4, 3, 2]
        done = run(learning, key, sources=["top"], limit=3)
        assert done["warmed"] == 3 and asked_of(upstream, model) == calls + 3
        assert ask(client, f"{word} question 1", model).headers["x-cache-hit"] == "true"


def test_expiring_entries_are_made_anew_before_their_end(learning, upstream, key, word):
    model = f"plain:{word}"
    with make_http(learning, key) as client:
        for _ in range(3):
            ask(client, word, model, {"X-Deja-TTL": "60"}) # ends before the schedule's next time
        assert asked_of(upstream, model) == 1
        done = run(learning, key, sources=["expiring"])
        assert done["warmed"] == 1
        assert asked_of(upstream, model) == 2
        assert ask(client, word, model).headers["x-cache-hit"] == "true"


def test_keys_are_brought_from_lower_tiers_into_memory(spawn, key, word):
    data = None
    daemon = spawn()
    data = daemon.data
    with make_http(daemon, key) as client:
        for i in range(5):
            put = client.put("/api/v1/entries", json={"query": f"{word}:{i}", "response": f"r{i}"})
            assert put.status_code == 201, put.text
        client.put("/api/v1/entries", json={"query": f"other {word}", "response": "no"})
    daemon.stop()
    again = spawn(data=data)
    done = run(again, key, keys=[f"{word}:*"])
    assert done["promoted"] == 5 and done["requests"] == 0 and done["missing"] == 0
    with make_http(again, key) as client:
        found = client.post("/api/v1/lookup", json={"query": f"{word}:3"}).json()
        assert found["hit"] and found["tier"] == "memory"


@pytest.mark.heavy
def test_each_time_of_the_schedule_is_one_programs_and_nobodys_without_a_budget(spawn, valkey, upstream, word, tmp_path):
    """Times are whole minutes, so that everything about them waits for the same one."""
    def scheduled(model, **more):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text("\n".join(json.dumps({"prompt": p, "model": model}) for p in prompts(word, 3)))
        return spawn(env={"DEJA_WARMUP__SOURCES": "file", "DEJA_WARMUP__FILE": str(path),
                          "DEJA_WARMUP__SCHEDULE": "* * * * *", **more})

    shared, own = f"plain:{word}", f"plain:own{word}"
    tier = {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}", "DEJA_WARMUP__MAX_REQUESTS": "10"}
    both = [scheduled(shared, **tier), scheduled(shared, **tier)]
    idle, alone = scheduled(own), scheduled(own, DEJA_WARMUP__MAX_REQUESTS="10")
    assert status_of(idle, None)["idle"] is True and status_of(alone, None)["next_at"]

    def check():
        runs = [status_of(daemon, None)["run"] for daemon in (alone, *both)]
        return runs if all(r and r["status"] in ("done", "stopped") for r in runs) else None

    done, *runs = poll(check, "the schedule's runs", timeout=150, every=0.5)
    assert done["scheduled"] and (done["status"], done["warmed"]) == ("done", 3)
    assert status_of(idle, None)["run"] is None and asked_of(upstream, own) == 3
    assert sorted(r["status"] for r in runs) == ["done", "stopped"], runs
    assert next(r for r in runs if r["status"] == "stopped")["reason"].startswith("another program")
    assert asked_of(upstream, shared) == 3


def test_operators_file_is_not_told_to_another_tenant(spawn, key, word, tmp_path):
    path = tmp_path / "faq.jsonl"
    path.write_text(json.dumps({"prompt": f"{word} of the operator", "model": "m"}))
    daemon = spawn(env={"DEJA_WARMUP__FILE": str(path)})
    own = order(daemon, None, sources=["file"], dry_run=True).json()
    assert [item["query"] for item in own["items"]] == [f"{word} of the operator"]
    for dry_run in (True, False):
        refused = order(daemon, key, sources=["file"], dry_run=dry_run)
        assert refused.status_code == 409 and "no_file" in refused.text and word not in refused.text


def test_users_named_users_are_not_remembered(learning, key, word):
    model = f"plain:{word}"
    with make_http(learning, key) as client:
        for _ in range(3):
            ask(client, word, model, {"X-Deja-User": "anna"})
    dry = order(learning, key, sources=["top"], dry_run=True).json()
    assert dry["items"] == [] and dry["present"] == 0


def history_of(word, hour, rng):
    """Four weeks before the hour: 20 requests of each day and 10 of each week at it, 20 at other
    hours, and 60 that came once. Assumed: a habit is kept with 0.95, and 0.9 if it is weekly."""
    accesses = {}
    for i in range(20):
        accesses[f"{word} daily {i}"] = [(hour - 24 * d) * HOUR_MS + rng.randrange(HOUR_MS)
                                         for d in range(1, 29) if rng.random() < 0.95]
    for i in range(10):
        accesses[f"{word} weekly {i}"] = [(hour - 168 * w) * HOUR_MS + rng.randrange(HOUR_MS)
                                          for w in range(1, 5) if rng.random() < 0.9]
    for i in range(20):
        accesses[f"{word} elsewhere {i}"] = [(hour - 24 * d - 5) * HOUR_MS + rng.randrange(HOUR_MS)
                                             for d in range(1, 29)]
    for i in range(60):
        accesses[f"{word} once {i}"] = [(hour - rng.randrange(2, 600)) * HOUR_MS]
    return accesses


def chance_of(text):
    return 0.95 if " daily " in text else 0.9 if " weekly " in text else 0.0


def test_what_is_warmed_for_an_hour_is_used_in_it(learning, upstream, key, word):
    model = f"plain:{word}"
    rng = random.Random(20260824)
    hour = int(time.time() * 1000) // HOUR_MS + 2
    history = history_of(word, hour, rng)
    learned = httpx.post(learning.url + "/api/v1/warm/history", headers=headers_of(key), timeout=120,
                         json={"accesses": [{"request": {"prompt": text, "model": model}, "at": at}
                                            for text, at in history.items() if at]})
    assert learned.status_code == 200, learned.text
    assert learned.json()["learned"] == sum(1 for at in history.values() if at)
    assert asked_of(upstream, model) == 0 # nothing was asked for learning
    dry = order(learning, key, sources=["predict"], dry_run=True, at=hour * HOUR_MS).json()
    assert asked_of(upstream, model) == 0
    foreseen = {item["query"]: item for item in dry["items"]}
    assert all(item["probability"] > 0.7 and item["weeks"] >= 1 for item in dry["items"])
    assert not any(" elsewhere " in text or " once " in text for text in foreseen)
    assert sum(" daily " in text for text in foreseen) >= 18
    done = run(learning, key, sources=["predict"], at=hour * HOUR_MS)
    assert done["warmed"] == len(foreseen) and done["cost_usd"] > 0
    # The hour comes: users ask as they are used to.
    asked = [text for text in history if rng.random() < chance_of(text)]
    with make_http(learning, key) as client:
        for text in asked + [f"{word} new {i}" for i in range(10)]:
            ask(client, text, model)
    warmed = status_of(learning, key)["warmed"]
    recall = sum(text in foreseen for text in asked) / len(asked)
    print(f"warmed {warmed['entries']}, used {100 * warmed['used_share']:.1f} %, recall "
          f"{100 * recall:.1f} %, cost ${warmed['cost_usd']:.4f}, unused ${warmed['unused_usd']:.4f}")
    assert warmed["entries"] == len(foreseen)
    assert warmed["used_share"] >= 0.70
    assert recall >= 0.70


def test_habits_survive_a_restart_and_are_not_readable_on_disk(spawn, upstream, key, word):
    daemon = spawn(env=LEARNING)
    hour = int(time.time() * 1000) // HOUR_MS + 2
    secret = f"{word}-habit-of-somebody"
    at = [(hour - 24 * d) * HOUR_MS for d in range(1, 29)]
    body = {"accesses": [{"request": {"prompt": secret, "model": f"plain:{word}"}, "at": at}]}
    httpx.post(daemon.url + "/api/v1/warm/history", json=body, headers=headers_of(key), timeout=60)
    # Its first look at what a former life knew must be over before it writes.
    poll(lambda: order(daemon, key, sources=["predict"], dry_run=True,
                       at=hour * HOUR_MS).json()["items"], "the prediction")
    poll(lambda: status_of(daemon, key)["predict"]["ready"], "what was known before")
    daemon.stop()
    for path in daemon.data.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert secret.encode() not in path.read_bytes(), path
    again = spawn(data=daemon.data, env=LEARNING)
    dry = poll(lambda: (lambda d: d if d["items"] else None)(
        order(again, key, sources=["predict"], dry_run=True, at=hour * HOUR_MS).json()),
        "what was known before")
    assert [item["query"] for item in dry["items"]] == [secret]
    with make_http(again, key) as client:
        assert client.post("/api/v1/invalidate", json={"all": True}).status_code == 200

