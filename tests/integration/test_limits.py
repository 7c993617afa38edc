"""What a tenant may use: rates, budgets, connections, its share. Counted, never timed."""
import json
import re
import signal
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from conftest import TIMEOUT_S, ask, chat_body, make_http
from daemon import poll
from exposition import read

TOKEN = "0123456789abcdef0123456789abcdef"
EVERYBODY = {"DEJA_RATE_LIMIT__ENABLED": "true"}
# So slow a rate that no test is long enough for a token to come back.
FEW = {**EVERYBODY, "DEJA_RATE_LIMIT__REQUESTS_PER_SECOND": "0.001", "DEJA_RATE_LIMIT__BURST": "5"}


def metric(client, name, **labels):
    series = read(client.get("/metrics").text, False).get(name, {})
    return sum(value for found, value in series.items() if set(labels.items()) <= set(found))


def test_tenant_gets_its_burst_then_429_with_all_it_needs_to_know(spawn, key):
    daemon = spawn(env=FEW)
    with make_http(daemon, key) as client:
        first = ask(client, "one question")
        assert first.status_code == 200
        assert (first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == ("5", "4")
        assert int(first.headers["ratelimit-reset"]) > 0
        for _ in range(4):
            assert ask(client, "one question").headers["x-cache-hit"] == "true"
        refused = ask(client, "one question")
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limited")
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["x-should-retry"] == "false"  # in a quarter of an hour: not by itself
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.headers["ratelimit-policy"].startswith('"requests";q=5;w=')
        assert refused.headers["ratelimit"].startswith('"requests";r=0;t=')
        assert refused.headers["x-ratelimit-limit-requests"] == "5"
        assert "detail=rate_limited" in refused.headers["cache-status"]
        native = client.get("/api/v1/stats")
        assert native.status_code == 429
        assert native.headers["content-type"] == "application/problem+json"
        assert native.json()["type"] == "rate_limited"
        assert int(native.headers["retry-after"]) >= 1
        assert metric(client, "semantic_cache_rate_limited_total") == 2
        assert metric(client, "semantic_cache_rate_limited_reasons_total", reason="requests") == 2
        assert client.get("/readyz").status_code == 200  # health is nobody's quota


def test_tenants_do_not_share_a_bucket(spawn, key):
    daemon = spawn(env=FEW)
    with make_http(daemon, key) as one, make_http(daemon, key + "x") as other:
        for _ in range(20):
            ask(one, "hello")
        assert [ask(other, "hello").status_code for _ in range(6)] == [200] * 5 + [429]


def test_sdk_sees_its_own_error_and_waits_as_it_is_told(spawn, key):
    """One token a second: the SDK's second try, after Retry-After, is let in."""
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__REQUESTS_PER_SECOND": "1",
                        "DEJA_RATE_LIMIT__BURST": "1"})
    http_client = openai.DefaultHttpxClient(trust_env=False)
    with openai.OpenAI(base_url=daemon.v1, api_key=key, max_retries=0, timeout=TIMEOUT_S,
                       http_client=http_client) as client:
        refused = None
        for _ in range(50):
            try:
                client.chat.completions.create(**chat_body("hello"))
            except openai.RateLimitError as error:
                refused = error
                break
        assert refused is not None
        assert refused.code == "rate_limited"
        assert refused.response.headers["x-should-retry"] == "true"
        assert refused.response.headers["retry-after"] == "1"
        patient = client.with_options(max_retries=10)
        for _ in range(3):
            assert patient.chat.completions.create(**chat_body("hello")).choices


def test_default_setup_on_loopback_limits_nobody(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        answers = [ask(client, "hello") for _ in range(500)]
        assert {a.status_code for a in answers} == {200}
        assert "ratelimit-limit" not in answers[-1].headers
        assert metric(client, "semantic_cache_rate_limited_total") == 0


def test_miss_budget_is_spent_by_misses_and_hits_go_on(spawn, upstream, key, word):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__MISSES_PER_MINUTE": "0.01"})
    model = f"plain:{word}"
    with make_http(daemon, key) as client:
        assert ask(client, "known", model).status_code == 200
        refused = ask(client, "not known", model)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limited"
        assert int(refused.headers["retry-after"]) >= 1
        for _ in range(20):
            assert ask(client, "known", model).headers["x-cache-hit"] == "true"
        only = ask(client, "not known", model, headers={"Cache-Control": "only-if-cached"})
        assert only.status_code == 504 and only.json()["error"]["code"] == "not_cached"
        assert len(upstream.calls(model)) == 1
        listed = client.get("/v1/models")  # passed through: a call upstream as well
        assert listed.status_code == 429
        vectors = client.post("/v1/embeddings", json={"model": model, "input": "text"})
        assert vectors.status_code == 429
        assert metric(client, "semantic_cache_rate_limited_reasons_total", reason="misses") == 3
    with make_http(daemon, key + "x") as other:
        assert ask(other, "not known", model).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_money_of_the_day_is_spent_by_what_answers_cost(spawn, upstream, key, word, stream):
    """A token costs $0.00003: the first answer is worth more than the budget."""
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__SPEND_PER_DAY": "0.0001"})
    model = f"plain:{word}"
    with make_http(daemon, key) as client:
        assert ask(client, "what is a tenant, in a few words", model, stream=stream).status_code == 200
        refused = ask(client, "another", model, stream=stream)
        assert refused.status_code == 429
        assert refused.headers["x-should-retry"] == "false" or int(refused.headers["retry-after"]) <= 60
        assert ask(client, "what is a tenant, in a few words", model).headers["x-cache-hit"] == "true"
        assert len(upstream.calls(model)) == 1
        assert metric(client, "semantic_cache_rate_limited_reasons_total", reason="spend") == 1


def test_money_that_was_spent_is_spent_after_a_restart(spawn, key, word):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__SPEND_PER_DAY": "0.0001"})
    model = f"plain:{word}"
    with make_http(daemon, key) as client:
        assert ask(client, "what is a tenant, in a few words", model).status_code == 200
        spent = client.get("/api/v1/limits").json()["spend"]["spent_usd"]
        assert spent > 0.0001
    daemon.stop()
    daemon.start()
    with make_http(daemon, key) as client:
        assert client.get("/api/v1/limits").json()["spend"]["spent_usd"] == spent
        assert ask(client, "another", model).status_code == 429
        assert ask(client, "what is a tenant, in a few words", model).headers["x-cache-hit"] == "true"


def test_what_is_passed_through_costs_what_its_end_says(spawn, key):
    """The upstream echoes: the usage of the answer is what the request says."""
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__SPEND_PER_DAY": "0.01"})
    with make_http(daemon, key) as client:
        for tokens, status in ((100, 200), (200, 200), (100, 200), (1, 429)):
            body = {"model": "any", "input": "x" * 20000, "usage": {"input_tokens": tokens, "output_tokens": 0}}
            assert client.post("/v1/something/else", json=body).status_code == status
        spent = client.get("/api/v1/limits").json()["spend"]["spent_usd"]
        assert abs(spent - 400 * 0.00003) < 1e-6


def test_embeddings_cost_as_well(spawn, key, word):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__SPEND_PER_DAY": "0.00002",
                        "DEJA_PRICES__GUESS_EMBEDDED_TOKEN": "0.00003"})
    with make_http(daemon, key) as client:
        body = {"model": f"embed:{word}", "input": "some words to be made a vector of"}
        assert client.post("/v1/embeddings", json=body).status_code == 200
        assert client.post("/v1/embeddings", json={**body, "input": "others"}).status_code == 429
        assert client.post("/v1/embeddings", json=body).headers["x-cache-hit"] == "true"


def test_bytes_of_an_answer_are_paid_before_the_next_request(spawn, key):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__BYTES_PER_SECOND": "1"})
    with make_http(daemon, key) as client:
        assert ask(client, "hello").status_code == 200
        refused = ask(client, "hello")
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 100
        assert metric(client, "semantic_cache_rate_limited_reasons_total", reason="bytes") == 1


def test_connections_of_a_tenant_are_counted_while_they_are_open(spawn, key):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__MAX_CONNECTIONS": "2"})
    with make_http(daemon, key) as first, make_http(daemon, key) as second:
        assert ask(first, "hello").status_code == 200
        assert ask(second, "hello").status_code == 200
        with make_http(daemon, key) as third:
            refused = ask(third, "hello")
            assert refused.status_code == 429 and refused.headers["connection"] == "close"
        with make_http(daemon, key + "x") as other:
            assert ask(other, "hello").status_code == 200
        assert ask(first, "hello").status_code == 200  # a connection that is counted goes on
        second.close()
        for _ in range(1000):  # the daemon learns of it in its own time
            with make_http(daemon, key) as again:
                if ask(again, "hello").status_code == 200:
                    break
        else:
            raise AssertionError("a connection that was closed is still counted")


def test_requests_under_way_are_counted_until_they_are_answered(spawn, upstream, key, word):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__MAX_IN_FLIGHT": "1"})
    flow = upstream.flow(word)
    with make_http(daemon, key) as client, ThreadPoolExecutor(1) as pool:
        held = pool.submit(ask, client, "slow", f"step:{word}", stream=True)
        assert flow.started.wait(TIMEOUT_S)
        with make_http(daemon, key) as second:
            assert ask(second, "hello").status_code == 429
            flow.send("done")
            flow.finish()
            assert held.result(TIMEOUT_S).status_code == 200
            assert ask(second, "hello").status_code == 200


def test_victim_keeps_its_quota_while_another_floods(spawn, key, word):
    """The flood asks as fast as it can, hits and misses; the victim asks its burst, and gets it."""
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__REQUESTS_PER_SECOND": "100",
                        "DEJA_RATE_LIMIT__BURST": "200"})
    is_over = threading.Event()
    refused = []

    def flood(number):
        with make_http(daemon, key + "-flood") as client:
            count = 0
            while not is_over.is_set():
                count += 1
                text = "the same" if count % 2 else f"{word} {number} {count}"
                if ask(client, text).status_code == 429:
                    refused.append(1)

    with ThreadPoolExecutor(4) as pool, make_http(daemon, key + "-victim") as client:
        runs = [pool.submit(flood, number) for number in range(4)]
        try:
            answers = [ask(client, f"{word} victim {i % 40}") for i in range(200)]
        finally:
            is_over.set()
        for run in runs:
            run.result(TIMEOUT_S)
    good = sum(answer.status_code == 200 for answer in answers)
    assert good >= 180, f"{good} of 200"
    assert refused, "the flood was not held back at all"


# ---- tenants and keys of an administrator's making ----

def admin_of(daemon):
    return make_http(daemon, headers={"X-Deja-Token": TOKEN})


def make_tenant(admin, name, **config):
    answer = admin.post("/api/v1/tenants", json={"name": name, "config": config} if config else {"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def make_key(admin, tenant, **more):
    answer = admin.post("/api/v1/keys", json={"tenant": tenant, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["secret"]


def test_configured_tenant_is_limited_on_loopback_too_and_its_keys_each(spawn, word):
    daemon = spawn(env={"DEJA_SECURITY__ADMIN_TOKEN": TOKEN})
    with admin_of(daemon) as admin:
        tenant = make_tenant(admin, word)
        plain = make_key(admin, tenant)
        narrow = make_key(admin, tenant, requests_per_s=0.001, burst=3)
    with make_http(daemon, narrow) as client, make_http(daemon, plain) as other:
        assert other.get("/api/v1/limits").json()["requests"]["burst"] == 200  # G3
        told = client.get("/api/v1/limits").json()
        assert told["key"] == {"per_second": 0.001, "burst": 3, "left": 2}
        assert [client.get("/api/v1/stats").status_code for _ in range(4)] == [200, 200, 429, 429]
        assert other.get("/api/v1/stats").status_code == 200
        assert metric(client, "semantic_cache_rate_limited_reasons_total", reason="key") == 2


def test_limits_of_a_tenant_are_its_own_and_change_at_once(spawn, word):
    daemon = spawn(env={"DEJA_SECURITY__ADMIN_TOKEN": TOKEN})
    limits = {"requests_per_s": 0.001, "burst": 2, "weight": 3}
    with admin_of(daemon) as admin:
        tenant = make_tenant(admin, word, limits=limits)
        with make_http(daemon, make_key(admin, tenant)) as client:
            assert client.get("/api/v1/limits").json()["weight"] == 3
            assert [client.get("/api/v1/stats").status_code for _ in range(2)] == [200, 429]
            changed = admin.patch(f"/api/v1/tenants/{tenant}",
                                  json={"config": {"limits": {"requests_per_s": 0}}})
            assert changed.status_code == 200, changed.text
            assert [client.get("/api/v1/stats").status_code for _ in range(20)] == [200] * 20


def test_money_is_counted_at_the_tenants_own_prices(spawn, upstream, word):
    """A dollar for each million tokens in, a thousand for those out: the words of the answer count."""
    daemon = spawn(env={"DEJA_SECURITY__ADMIN_TOKEN": TOKEN})
    model = f"plain:{word}"
    with admin_of(daemon) as admin:
        tenant = make_tenant(admin, word, limits={"spend_usd_per_day": 100},
                             prices={model: {"input": 1, "output": 1000}})
        with make_http(daemon, make_key(admin, tenant)) as client:
            usage = ask(client, "what does that cost", model).json()["usage"]
            spent = client.get("/api/v1/limits").json()["spend"]["spent_usd"]
    wanted = (usage["prompt_tokens"] + 1000 * usage["completion_tokens"]) / 1e6
    assert abs(spent - wanted) < 1e-8


# ---- the upstream's turns ----

def waiting(client):
    return metric(client, "semantic_cache_queue_depth", queue="upstream")


@pytest.fixture
def narrow(spawn, upstream, word):
    """A daemon that asks one thing at a time, and a call that holds it until the test lets go."""
    held = []

    def make(**env):
        daemon = spawn(env={"DEJA_RATE_LIMIT__UPSTREAM_CALLS": "1", **env})
        flow = upstream.flow(word)
        pool = ThreadPoolExecutor(1)
        client = make_http(daemon, "sk-holder")
        held.append((flow, pool, client))
        answer = pool.submit(ask, client, "hold", f"step:{word}", stream=True)
        assert flow.started.wait(TIMEOUT_S)
        return daemon, flow, answer

    yield make
    for flow, pool, client in held:
        flow.finish()
        pool.shutdown()
        client.close()


def test_flood_in_the_queue_costs_another_tenant_one_turn(narrow, upstream, key, word):
    daemon, flow, answer = narrow(DEJA_RATE_LIMIT__UPSTREAM_DELAY="10m")
    flood, victim = f"plain:{word}-flood", f"plain:{word}-victim"
    with make_http(daemon, key) as many, make_http(daemon, key + "x") as other, \
            make_http(daemon) as watch, ThreadPoolExecutor(32) as pool:
        runs = [pool.submit(ask, many, f"question {i}", flood) for i in range(20)]
        poll(lambda: waiting(watch) == 20, "the flood to wait")
        runs.append(pool.submit(ask, other, "my own question", victim))
        poll(lambda: waiting(watch) == 21, "the victim to wait")
        assert ask(watch, "a third", f"plain:{word}", headers={"Cache-Control": "only-if-cached"}
                   ).status_code == 504  # what asks nothing upstream does not wait
        flow.send("go")
        flow.finish()
        assert answer.result(TIMEOUT_S).status_code == 200
        assert {run.result(TIMEOUT_S).status_code for run in runs} == {200}
        order = [r.model() for r in upstream.calls() if r.model() in (flood, victim)]
        assert len(order) == 21 and victim in order[:2]
        assert waiting(watch) == 0


def test_call_that_waits_too_long_is_refused_though_no_slot_came_free(narrow, key, word):
    daemon, _, _ = narrow(DEJA_RATE_LIMIT__UPSTREAM_DELAY="2ms")
    with make_http(daemon, key) as client:
        refused = ask(client, "too late", f"plain:{word}")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert refused.headers["retry-after"] == "1"
        assert client.get("/v1/models").status_code == 503  # what is passed through has the same line
        assert client.get("/readyz").status_code == 200
        assert metric(client, "semantic_cache_overload_refused_total") == 2


def test_hits_are_served_while_the_upstream_is_held(spawn, upstream, key, word):
    daemon = spawn(env={"DEJA_RATE_LIMIT__UPSTREAM_CALLS": "1", "DEJA_RATE_LIMIT__UPSTREAM_QUEUE": "0"})
    flow = upstream.flow(word)
    with make_http(daemon, key) as client, make_http(daemon, key) as second, ThreadPoolExecutor(1) as pool:
        assert ask(client, "known", f"plain:{word}").status_code == 200
        held = pool.submit(ask, second, "hold", f"step:{word}", stream=True)
        assert flow.started.wait(TIMEOUT_S)
        assert ask(client, "not known", f"plain:{word}").status_code == 503
        assert ask(client, "known", f"plain:{word}").headers["x-cache-hit"] == "true"
        flow.finish()
        assert held.result(TIMEOUT_S).status_code == 200
        assert ask(client, "not known", f"plain:{word}").status_code == 200  # the slot came back


def test_client_that_leaves_while_it_waits_takes_no_slot(narrow, upstream, key, word):
    daemon, flow, answer = narrow(DEJA_RATE_LIMIT__UPSTREAM_DELAY="10m")
    with make_http(daemon) as watch:
        with socket.create_connection(("127.0.0.1", daemon.port)) as gone:
            gone.sendall(f"GET /v1/models?{word} HTTP/1.1\r\nHost: localhost\r\n"
                         f"Authorization: Bearer {key}\r\n\r\n".encode())
            poll(lambda: waiting(watch) == 1, "it to wait")
        flow.finish()
        assert answer.result(TIMEOUT_S).status_code == 200
        assert ask(watch, "next", f"plain:{word}").status_code == 200
        poll(lambda: waiting(watch) == 0, "nobody to wait")
    assert not [r for r in upstream.requests if word in r.target]


def test_daemon_stops_while_calls_wait(narrow, key, word):
    daemon, flow, _ = narrow(DEJA_RATE_LIMIT__UPSTREAM_DELAY="10m", DEJA_SERVER__DRAIN_TIMEOUT="1s")
    with make_http(daemon, key) as client, make_http(daemon) as watch, ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(ask, client, f"question {i}", f"plain:{word}") for i in range(4)]
        poll(lambda: waiting(watch) == 4, "them to wait")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        for run in runs:  # cut off at the end of the drain, or refused: never left hanging
            try:
                assert run.result(TIMEOUT_S).status_code >= 500
            except httpx.HTTPError:
                pass


# ---- everything at once (S19) ----

def pipelined(daemon, key, bodies):
    """Sends all of them over one connection without waiting; the statuses, in order."""
    head = ("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nX-Deja-Mode: exact\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: ")
    data = b"".join(f"{head}{len(b)}\r\n\r\n".encode() + b for b in bodies)
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=TIMEOUT_S) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        found, rest = [], b""
        while len(found) < len(bodies):
            chunk = connection.recv(1 << 16)
            assert chunk, f"closed after {len(found)} answers"
            rest += chunk
            while b"\r\n\r\n" in rest:
                lines, _, after = rest.partition(b"\r\n\r\n")
                length = int(re.search(rb"(?i)content-length: (\d+)", lines)[1])
                if len(after) < length:
                    break
                found.append(int(lines.split(b" ", 2)[1]))
                rest = after[length:]
        sender.join()
    return found


def test_ten_thousand_alike_and_ten_thousand_different_misses_stay_in_budget(spawn, upstream, key, word):
    daemon = spawn(env={**EVERYBODY, "DEJA_RATE_LIMIT__REQUESTS_PER_SECOND": "1000000",
                        "DEJA_RATE_LIMIT__BURST": "1000000", "DEJA_RATE_LIMIT__MISSES_PER_MINUTE": "100"})
    model = f"plain:{word}"

    def body(text):
        return json.dumps(chat_body(text, model)).encode()

    same = [body("all alike")] * 1000
    with ThreadPoolExecutor(20) as pool:
        runs = [pool.submit(pipelined, daemon, key, same) for _ in range(10)]
        runs += [pool.submit(pipelined, daemon, key, [body(f"{n} {i} all different") for i in range(1000)])
                 for n in range(10)]
        answers = [run.result(TIMEOUT_S) for run in runs]
    alike = Counter(status for found in answers[:10] for status in found)
    different = Counter(status for found in answers[10:] for status in found)
    calls = upstream.calls(model)
    # What comes back over the test's time is part of the budget: less than three minutes of it.
    assert 100 <= len(calls) <= 400
    assert sum(r.json()["messages"][0]["content"] == "all alike" for r in calls) <= 1
    assert sum(alike.values()) == sum(different.values()) == 10000
    assert set(alike) | set(different) <= {200, 429}
    assert different[200] <= len(calls)
    with make_http(daemon, key) as client:
        assert client.get("/readyz").status_code == 200


def test_tenant_is_told_its_limits_and_what_is_left(spawn, key):
    daemon = spawn(env={**FEW, "DEJA_RATE_LIMIT__MISSES_PER_MINUTE": "0.5",
                        "DEJA_RATE_LIMIT__SPEND_PER_DAY": "1000", "DEJA_RATE_LIMIT__MAX_CONNECTIONS": "7"})
    with make_http(daemon, key) as client:
        ask(client, "how much is left")
        told = client.get("/api/v1/limits").json()
        assert told["requests"] == {"per_second": 0.001, "burst": 5, "left": 3}
        assert told["misses"] == {"per_minute": 0.5, "left": 0}
        assert told["connections"] == {"max": 7, "now": 1}
        assert told["spend"]["usd_per_day"] == 1000 and 0 < told["spend"]["spent_usd"] < 1
        assert told["spend"]["resets_at"].endswith("T00:00:00.000Z")
        assert (told["key"], told["bytes"], told["in_flight"], told["weight"]) == (None, None, None, 1)
    with make_http(spawn(), key) as client:
        told = client.get("/api/v1/limits").json()
        assert [name for name, value in told.items() if value is not None] == ["tenant", "weight"]
