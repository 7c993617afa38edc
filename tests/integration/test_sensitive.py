"""What becomes of entries with sensitive data: by class and rule, on every way in."""
import json
import time

import httpx
import pytest
import redis
from conftest import ask, check_sanitizer, content_of, make_http, status_of
from daemon import poll
from resp import RespDaemon

CARD = "4111 1111 1111 1111"
PASSWORD = "hunter2-Tr0ub4dor"
SECRET = f"my password is {PASSWORD}"


def policies(**rules):
    return {f"DEJA_SECURITY__SENSITIVE__{name.upper()}": rule for name, rule in rules.items()}


@pytest.fixture
def guarded(spawn, word):
    """guarded(secret="redact"): a daemon with these rules, and a client."""
    clients = []

    def make(with_model=False, env=(), **rules):
        daemon = spawn(env={**policies(**rules), **dict(env)}, with_model=with_model)
        clients.append(make_http(daemon, f"sk-{word}"))
        return daemon, clients[-1]

    yield make
    for client in clients:
        client.close()


def on_disk(daemon, text):
    """Files of the data directory that have the text as it is."""
    return [path.name for path in daemon.data.rglob("*")
            if path.is_file() and "models" not in path.parts and text.encode() in path.read_bytes()]


def put(client, query="What is it?", response="It is.", **more):
    return client.put("/api/v1/entries", json={"query": query, "response": response, **more})


# ---- the proxy ----

@pytest.mark.parametrize("stream", [False, True])
def test_refused_answer_reaches_its_client_and_is_not_kept(guarded, upstream, word, stream):
    daemon, client = guarded(secret="refuse")
    for _ in range(2):
        answer = ask(client, f"{word}: {SECRET}", f"plain:{word}", stream=stream)
        assert answer.status_code == 200 and status_of(answer) == "MISS"
        if not stream: # of a stream the head is gone before its end
            assert PASSWORD in answer.text
            assert 'detail="' in answer.headers["cache-status"]
            assert "sensitive-secret" in answer.headers["cache-status"]
            assert "stored" not in answer.headers["cache-status"].replace("not-stored", "")
    assert len(upstream.calls(f"plain:{word}")) == 2
    assert 'semantic_cache_sensitive_total{class="secret",action="refused"} 2' in client.get("/metrics").text
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


def test_redacted_copy_is_what_later_hits_get(guarded, upstream, word):
    daemon, client = guarded(secret="redact")
    question = f"{word}: {SECRET}, is it a good one?"
    first = ask(client, question, f"plain:{word}")
    assert PASSWORD in content_of(first) and "x-deja-redacted" not in first.headers
    again = ask(client, question, f"plain:{word}")
    assert status_of(again) == "HIT" and again.headers["x-deja-redacted"] == "true"
    assert PASSWORD not in again.text and "my password is [REDACTED]" in content_of(again)
    third = ask(client, question, f"plain:{word}")
    assert third.content == again.content
    entry = client.get(f"/api/v1/entries/{again.headers['x-cache-id']}").json()
    assert entry["redacted"] is True and PASSWORD not in json.dumps(entry)
    assert entry["query"] == f"{word}: my password is [REDACTED], is it a good one?"
    assert len(upstream.calls(f"plain:{word}")) == 1
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


def test_redacted_stream_is_replayed_redacted(guarded, word):
    _, client = guarded(secret="redact")
    first = ask(client, f"{word}: {SECRET}", stream=True)
    assert first.status_code == 200
    again = poll(lambda: (lambda a: a if status_of(a) == "HIT" else None)(
        ask(client, f"{word}: {SECRET}", stream=True)), "a hit")
    text = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                   for line in again.text.splitlines() if line.startswith("data: {") and '"choices":[{' in line)
    assert "[REDACTED]" in text and PASSWORD not in again.text


@pytest.mark.parametrize("is_stream", [False, True])
def test_message_is_kept_redacted_and_signed_thinking_not_at_all(guarded, word, is_stream):
    """Of a stream also its pieces hold nothing; what is signed is never changed, so it is not kept."""
    daemon, client = guarded(secret="redact")
    body = {"max_tokens": 99, "messages": [{"role": "user", "content": f"{word}: {SECRET}"}]}
    for kind, status in (("text", "HIT"), ("think", "MISS")):
        first = client.post("/v1/messages", json={"model": f"{kind}:{word}", "stream": is_stream, **body})
        assert first.status_code == 200
        again = client.post("/v1/messages", json={"model": f"{kind}:{word}", "stream": True, **body})
        assert status_of(again) == status
        if kind == "text":
            assert again.headers["x-deja-redacted"] == "true" and PASSWORD not in again.text.replace('"', "")
            assert "[REDACTED]" in again.text
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


def test_question_without_its_secret_is_never_found_by_meaning(guarded, upstream, word):
    _, client = guarded(with_model=True, secret="redact")
    for query in (f"Is {PASSWORD} a good password for {word}? password={PASSWORD}", f"What is {word}?"):
        assert put(client, query, "yes").status_code == 201
    found = client.post("/api/v1/lookup", json={"query": f"Is [REDACTED] a good password for {word}? "
                                                         "password=[REDACTED]", "threshold": 0.5, "limit": 5}).json()
    assert "password" not in json.dumps(found.get("matches", [])) and "password" not in str(found.get("query"))
    exact = client.post("/api/v1/lookup",
                        json={"query": f"Is {PASSWORD} a good password for {word}? password={PASSWORD}"}).json()
    assert exact["hit"] and exact["kind"] == "exact"


@pytest.mark.parametrize("is_sealed", [True, False])
def test_by_default_secrets_lie_only_where_they_are_sealed(guarded, word, is_sealed):
    daemon, client = guarded(env={"DEJA_ENCRYPTION__ENABLED": str(is_sealed).lower()})
    texts = (SECRET, f"card {CARD}", "SSN 536-22-1234")
    for text in texts:
        question = f"{word}: {text}"
        assert status_of(ask(client, question)) == "MISS"
        hit = ask(client, question)
        assert status_of(hit) == "HIT" and text in content_of(hit) and "x-deja-redacted" not in hit.headers
    plain = f"{word}: what is the capital of France?"
    ask(client, plain)
    metrics = client.get("/metrics").text
    for name in ("secret", "card", "identity"):
        assert f'semantic_cache_sensitive_total{{class="{name}",action="sealed"}} 1' in metrics
    daemon.restart()
    with make_http(daemon, f"sk-{word}") as later:
        assert status_of(ask(later, plain)) == "HIT"
        for text in texts:
            later.headers["Cache-Control"] = "only-if-cached"
            assert (ask(later, f"{word}: {text}").status_code == 200) == is_sealed
    daemon.stop()
    for text in (PASSWORD, CARD, "536-22-1234"):
        assert on_disk(daemon, text) == []


def test_allowed_secrets_are_kept_like_all_else(guarded, word):
    daemon, client = guarded(secret="allow")
    ask(client, f"{word}: {SECRET}")
    daemon.restart()
    with make_http(daemon, f"sk-{word}") as later:
        assert status_of(ask(later, f"{word}: {SECRET}")) == "HIT"


def test_addresses_are_an_option(guarded, word):
    _, client = guarded(contact="refuse")
    for _ in range(2):
        assert status_of(ask(client, f"{word}: write to somebody@example.com")) == "MISS"
        assert status_of(ask(client, f"{word}: call +49 30 1234567")) == "MISS"
    _, client = guarded()
    ask(client, f"{word}: write to somebody@example.com")
    assert status_of(ask(client, f"{word}: write to somebody@example.com")) == "HIT"


def test_vectors_of_sensitive_inputs_are_not_kept(guarded, upstream, word):
    _, client = guarded(secret="redact", card="refuse")
    body = {"model": f"m-{word}", "input": [f"{word} a", f"{word} {SECRET}", f"{word} {CARD}", f"{word} b"]}
    first = client.post("/v1/embeddings", json=body)
    again = client.post("/v1/embeddings", json=body)
    assert first.status_code == again.status_code == 200
    assert len(again.json()["data"]) == 4
    calls = upstream.calls(f"m-{word}", "/v1/embeddings")
    assert [len(call.json()["input"]) for call in calls] == [4, 2]


def test_refusals_of_the_upstream_are_looked_at_too(spawn, upstream, word):
    daemon = spawn(env={"DEJA_TTL__NEGATIVE": "1h", **policies(secret="refuse")})
    model = f"plain:{word}"
    upstream.failing[model] = 404
    with make_http(daemon, f"sk-{word}") as client:
        for _ in range(2):
            assert status_of(ask(client, f"{word} {SECRET}", model)) == "MISS"
        for _ in range(2):
            last = ask(client, word, model)
        assert status_of(last) == "HIT"


# ---- the cache APIs ----

WAYS = {
    "query": {"query": SECRET},
    "response": {"response": {"text": [SECRET]}},
    "member": {"response": {"db_password": "letmein"}},
    "number": {"response": {"card": 4111111111111111}},
    "nested": {"response": {"arguments": json.dumps({"password": "letmein"})}},
    "metadata": {"metadata": {"note": SECRET}},
    "metadata name": {"metadata": {SECRET: 1}},
    "tag": {"tags": [f"password={PASSWORD}"]},
    "namespace": {"namespace": f"password={PASSWORD}"},
    "model": {"model": f"password={PASSWORD}"},
    "depends_on": {"depends_on": [f"password={PASSWORD}"]},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_part_of_an_entry_is_looked_at(guarded, word, way):
    _, client = guarded(secret="refuse", card="refuse")
    answer = put(client, **{"query": word, **WAYS[way]})
    assert answer.status_code == 422, answer.text
    assert answer.json()["type"].endswith("sensitive_data")
    assert PASSWORD not in answer.text and "letmein" not in answer.text


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("tag", "namespace", "model", "depends_on")])
def test_every_part_of_an_entry_is_redacted(guarded, word, way):
    _, client = guarded(secret="redact", card="redact")
    answer = put(client, **{"query": word, **WAYS[way]})
    assert answer.status_code == 201 and answer.json()["redacted"] is True
    entry = client.get(f"/api/v1/entries/{answer.json()['id']}")
    assert entry.json()["redacted"] is True and "[REDACTED]" in entry.text
    for text in (PASSWORD, "letmein", "4111111111111111"):
        assert text not in entry.text


@pytest.mark.parametrize("way", ["tag", "namespace", "depends_on"])
def test_what_entries_are_looked_up_by_is_refused_instead(guarded, word, way):
    _, client = guarded(secret="redact")
    assert put(client, **{"query": word, **WAYS[way]}).status_code == 422


def test_batch_refuses_only_the_sensitive_ones(guarded, word):
    _, client = guarded(secret="refuse", card="redact")
    answer = client.put("/api/v1/entries", json={"entries": [
        {"query": f"{word} 1", "response": "a"}, {"query": f"{word} 2", "response": SECRET},
        {"query": f"{word} 3", "response": f"card {CARD}"}]})
    assert answer.status_code == 207
    first, second, third = answer.json()["results"]
    assert "id" in first and "sensitive" not in first
    assert second["error"]["type"].endswith("sensitive_data")
    assert third["redacted"] is True and third["sensitive"] == ["card"]


def test_long_entries_are_looked_at_on_a_worker(guarded, word):
    _, client = guarded(secret="redact")
    answer = put(client, word, "lorem ipsum " * 20000 + SECRET)
    assert answer.status_code == 201 and answer.json()["redacted"] is True
    found = client.post("/api/v1/lookup", json={"query": word}).json()
    assert found["hit"] and found["response"].endswith("my password is [REDACTED]")


def test_other_caches_surfaces_obey_too(guarded, word):
    _, client = guarded(secret="refuse")
    langcache = client.post("/v1/caches/c1/entries", json={"prompt": word, "response": SECRET})
    assert langcache.status_code == 422 and langcache.json()["type"].endswith("invalid-data")
    gptcache = client.post("/gptcache/put", json={"prompt": f"{word} {SECRET}", "answer": "a"})
    assert gptcache.status_code == 422
    assert client.post("/gptcache/get", json={"prompt": f"{word} {SECRET}"}).json()["answer"] is None
    assert client.post("/gptcache/put", json={"prompt": word, "answer": "a"}).status_code == 200


def test_shared_tier_that_must_have_it_and_does_not_seal_is_told(guarded, word):
    _, client = guarded(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    answer = put(client, word, SECRET, require="shared")
    assert answer.status_code in (400, 422) # no shared tier at all, or none that seals


def test_each_tenant_has_rules_of_its_own(spawn, word):
    token = "0123456789abcdef0123456789abcdef"
    daemon = spawn(env={"DEJA_SECURITY__ADMIN_TOKEN": token, "DEJA_LOG__LEVEL": "debug", "DEJA_LOG__FORMAT": "json"})
    clients = {}
    with make_http(daemon, headers={"X-Deja-Token": token}) as admin:
        for rule, content in (("allow", "off"), ("redact", "hash"), ("refuse", "full")):
            tenant = admin.post("/api/v1/tenants", json={
                "name": f"{word}-{rule}", "config": {"sensitive": {"secret": rule}, "log": {"content": content}}})
            assert tenant.status_code == 201, tenant.text
            made = admin.post("/api/v1/keys", json={"tenant": tenant.json()["id"]}).json()
            clients[rule] = make_http(daemon, made["secret"])
    answers = {rule: put(client, word, SECRET) for rule, client in clients.items()}
    assert [answer.status_code for answer in answers.values()] == [201, 201, 422]
    assert "sensitive" not in answers["allow"].json() and answers["redact"].json()["redacted"] is True
    for client in clients.values():
        client.close()
    daemon.stop()
    lines = [line for line in lines_of(daemon) if line.get("route") == "/api/v1/entries"]
    assert ["prompt" if "prompt" in line else "prompt_hash" if "prompt_hash" in line else None
            for line in lines] == [None, "prompt_hash", "prompt"]


# ---- log.content ----

def lines_of(daemon):
    return [json.loads(line) for line in daemon.log_text().splitlines() if line.startswith("{")]


def content_lines(spawn, word, how):
    daemon = spawn(env={"DEJA_LOG__CONTENT": how, "DEJA_LOG__LEVEL": "debug", "DEJA_LOG__FORMAT": "json",
                        "DEJA_SECURITY__SECRET": "00" * 32})
    with make_http(daemon, f"sk-{word}") as client:
        for _ in range(2):
            ask(client, f"{word} {SECRET}")
        ask(client, f"{word} {SECRET}", stream=True)
        client.post("/api/v1/lookup", json={"query": f"{word} {SECRET}"})
    daemon.stop()
    assert PASSWORD not in daemon.log_text()
    lines = [line for line in lines_of(daemon) if line["msg"] == "request answered" and line["tenant"]]
    assert len(lines) == 4
    return lines


def test_log_tells_nothing_of_texts_by_default(spawn, word):
    for line in content_lines(spawn, word, "off"):
        assert not {"prompt_hash", "prompt_bytes", "prompt", "answer_hash", "answer_bytes", "answer"} & set(line)


def test_log_tells_digests_and_lengths_where_asked_to(spawn, word):
    lines = content_lines(spawn, word, "hash")
    assert len({line["prompt_hash"] for line in lines if line["api"] == "chat"}) == 1
    for line in lines:
        assert len(line["prompt_hash"]) == 8 and line["prompt_bytes"] == len(f"{word} {SECRET}")
        assert line["answer_bytes"] > 0 and "prompt" not in line and "answer" not in line
    assert word not in json.dumps(lines)


def test_log_tells_texts_redacted_where_asked_to(spawn, word):
    lines = content_lines(spawn, word, "full")
    for line in lines:
        assert line["prompt"] == f"{word} my password is [REDACTED]"


def test_every_part_of_a_plain_value_is_looked_at(guarded):
    _, client = guarded(card="refuse", secret="redact")
    for write in (lambda: client.put("/api/v1/kv/k", content=CARD),
                  lambda: client.put(f"/api/v1/kv/{CARD}", content=b"a key, too"),
                  lambda: client.put("/api/v1/kv/k", content=b"1", params={"tags": CARD}),
                  lambda: client.put("/api/v1/kv/k", content=b"1", params={"namespace": CARD})):
        answer = write()
        assert answer.status_code == 422 and answer.json()["type"].endswith("sensitive_data"), answer.text
    by = int(CARD.replace(" ", ""))
    steps = [{"op": "incr", "key": CARD}, {"op": "incr", "key": f"password={PASSWORD}"},
             {"op": "incr", "key": "n", "tags": [CARD]}, {"op": "incr", "key": "n", "by": by}]
    results = client.post("/api/v1/kv:batch", json={"operations": steps}).json()["results"]
    assert [result.get("error", {}).get("type", "").endswith("sensitive_data") for result in results] == [
        True, True, True, False]
    assert results[3]["value"] == by  # a counter is not a card
    assert [key["key"] for key in client.get("/api/v1/kv").json()["keys"]] == ["n"]


def test_value_stays_where_it_is_sealed_after_a_patch_that_was_redacted(guarded):
    """What is said of the patch must not take away what was said of the rest of the value."""
    daemon, client = guarded(env={"DEJA_ENCRYPTION__ENABLED": "false"}, card="redact")
    assert client.put("/api/v1/kv/k", json={"note": SECRET}, params={"ttl": "1h"}).is_success
    assert client.patch("/api/v1/kv/k", json={"more": CARD}).is_success
    assert client.patch("/api/v1/kv/k", params={"ttl": "2h"}).is_success
    text = client.get("/api/v1/kv/k").text
    assert PASSWORD in text and CARD not in text
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


def test_plain_value_that_nobody_seals_never_leaves_memory(guarded, word):
    daemon, client = guarded(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    value = {"note": SECRET}
    assert client.put("/api/v1/kv/k", json=value, params={"ttl": "1h", "version": "1"}).is_success
    assert client.patch("/api/v1/kv/k", params={"ttl": "2h"}).is_success
    assert client.patch("/api/v1/kv/k", json={"more": "harmless"}).is_success
    assert client.put("/api/v1/kv/k", content=b"harmless", params={"version": "2"}).is_success
    assert PASSWORD in client.get("/api/v1/kv/k", params={"version": "1"}).text
    daemon.stop()
    daemon.start()
    assert client.get("/api/v1/kv/k").text == "harmless"
    assert client.get("/api/v1/kv/k", params={"version": "1"}).status_code == 404


# ---- over RESP ----

@pytest.fixture
def resp_guarded(tmp_path):
    """resp_guarded(card="refuse"): a client of a daemon with these rules, and the daemon."""
    made = []

    def make(env=(), **rules):
        daemon = RespDaemon(tmp_path / f"deja{len(made)}", env={**policies(**rules), **dict(env)}).start()
        made.append(daemon)
        return daemon, redis.Redis(port=daemon.resp_port, socket_timeout=60)

    yield make
    for daemon in made:
        daemon.stop()
        check_sanitizer(daemon)


LONG = "x" * 100_000 + " "
RESP_WRITES = [
    lambda r, value: r.set("k", value), lambda r, value: r.set("k", value, nx=True),
    lambda r, value: r.setnx("k", value), lambda r, value: r.setex("k", 100, value),
    lambda r, value: r.psetex("k", 100_000, value), lambda r, value: r.getset("k", value),
    lambda r, value: r.mset({"k": value, "other": "fine"}), lambda r, value: r.msetnx({"other": "fine", "k": value}),
    lambda r, value: r.append("k", value),
]


@pytest.mark.parametrize("before", ["", LONG])
def test_refused_value_is_not_written_over_resp(resp_guarded, before):
    daemon, r = resp_guarded(card="refuse", secret="refuse")
    for write in RESP_WRITES:
        with pytest.raises(redis.ResponseError, match=r"sensitive data is not stored \(card\)"):
            write(r, f"{before}pay with {CARD}")
        assert r.dbsize() == 0
    for write in RESP_WRITES:
        assert write(r, f"{before}pay in cash") is not False
        assert r.get("k").endswith(b"cash") and r.flushall()
    with pytest.raises(redis.ResponseError, match="card"):
        r.set(CARD, "a key, too")
    with pytest.raises(redis.ResponseError, match="card"):
        r.incr(CARD)
    assert r.incrby("n", int(CARD.replace(" ", ""))) # a counter is not a card
    metrics = httpx.get(daemon.url + "/metrics", trust_env=False).text
    assert f'semantic_cache_sensitive_total{{class="card",action="refused"}} {len(RESP_WRITES) + 2}' in metrics
    daemon.stop()
    assert on_disk(daemon, CARD) == []


@pytest.mark.parametrize("before", ["", LONG])
def test_writes_keep_their_order_while_a_long_one_is_looked_at(resp_guarded, before):
    _, r = resp_guarded(card="refuse")
    pipe = r.pipeline(transaction=False)
    for i in range(20):
        pipe.set("k", f"{before}{i} {CARD if i % 3 == 0 else ''}").set("k", f"short {i}").append("k", f"{before}!")
        pipe.get("k")
    done = pipe.execute(raise_on_error=False)
    for i in range(20):
        first, second, third, fourth = done[4 * i:4 * i + 4]
        assert isinstance(first, redis.ResponseError) if i % 3 == 0 else first is True
        assert second is True and fourth == f"short {i}{before}!".encode() and third == len(fourth)
    pipe = r.pipeline(transaction=True)
    pipe.set("k", f"{before}{CARD}").set("k", f"{before}1").append("k", "2").get("k")
    refused, *rest = pipe.execute(raise_on_error=False)
    assert isinstance(refused, redis.ResponseError) and rest[-1] == f"{before}12".encode()


def test_what_is_appended_in_pieces_is_seen_whole(resp_guarded):
    _, r = resp_guarded(card="refuse", secret="redact")
    for start in ("", LONG):
        r.set("k", f"{start}4111 1111")
        with pytest.raises(redis.ResponseError, match="card"):
            r.append("k", " 1111 1111")
        assert r.get("k") == f"{start}4111 1111".encode()
    r.set("s", "my password ")
    assert r.append("s", f"is {PASSWORD} ") == len(r.get("s"))
    assert PASSWORD.encode() not in r.get("s") and b"[REDACTED]" in r.get("s")
    r.set("s", f"{LONG}my password ")
    with pytest.raises(redis.ResponseError, match="secret"):
        r.append("s", f"is {PASSWORD}")


@pytest.mark.parametrize("before", ["", LONG])
def test_redacted_value_is_what_resp_keeps(resp_guarded, before):
    daemon, r = resp_guarded(secret="redact")
    for write in RESP_WRITES:
        write(r, f"{before}{SECRET} is it")
        assert r.get("k") == f"{before}my password is [REDACTED] is it".encode() and r.flushall()
    r.set("k", SECRET)
    r.expire("k", 1000)
    r.append("k", " indeed")
    assert r.get("k") == b"my password is [REDACTED] indeed"
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


@pytest.mark.parametrize("is_sealed", [True, False])
def test_by_default_resp_writes_secrets_only_where_they_are_sealed(resp_guarded, is_sealed):
    daemon, r = resp_guarded(env={"DEJA_ENCRYPTION__ENABLED": str(is_sealed).lower()})
    r.mset({"plain": "France", "short": SECRET, "long": f"{LONG}{SECRET}"})
    r.append("appended", f"my password is {PASSWORD}")
    r.append("appended", " and more")
    r.expire("short", 1000)
    r.persist("short")
    assert r.get("appended") == f"{SECRET} and more".encode()
    daemon.restart()
    r = redis.Redis(port=daemon.resp_port)
    assert r.get("plain") == b"France"
    for key in ("short", "long", "appended"):
        assert (r.get(key) is not None) == is_sealed, key
    daemon.stop()
    assert on_disk(daemon, PASSWORD) == []


@pytest.mark.parametrize("pause", [0, 1])
def test_what_a_secret_was_written_over_does_not_come_back(resp_guarded, pause):
    """The tier that must not have the secret must not keep the value before it either."""
    daemon, r = resp_guarded(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    for n in range(50):
        r.set(f"k{n}", "old")
    time.sleep(pause)  # written behind the answer: on its way, and there
    for n in range(50):
        r.set(f"k{n}", SECRET)
    r.set("k0", "new")
    assert r.get("k1") == SECRET.encode()
    daemon.restart()
    r = redis.Redis(port=daemon.resp_port)
    assert r.get("k0") == b"new" and {r.get(f"k{n}") for n in range(1, 50)} == {None}


def test_redis_clients_are_looked_at_too(tmp_path):
    def start(name, **rules):
        return RespDaemon(tmp_path / name, env=policies(**rules)).start()

    daemon = start("refuse", secret="refuse")
    try:
        with redis.Redis(port=daemon.resp_port) as r:
            for write in (lambda: r.set("k", SECRET), lambda: r.mset({"a": "fine", "k": SECRET}),
                          lambda: r.append("k", SECRET)):
                with pytest.raises(redis.ResponseError, match="sensitive"):
                    write()
            assert r.mget("k", "a") == [None, None] and r.set("k", "fine")
    finally:
        daemon.stop()
    daemon = start("redact", secret="redact")
    try:
        with redis.Redis(port=daemon.resp_port) as r:
            assert r.set("k", SECRET) and r.get("k") == b"my password is [REDACTED]"
    finally:
        daemon.stop()
    daemon = RespDaemon(tmp_path / "plain", env={"DEJA_ENCRYPTION__ENABLED": "false"}).start()
    try:
        with redis.Redis(port=daemon.resp_port) as r:
            assert r.set("k", SECRET) and r.append("k", "!") and r.expire("k", 1000)
            assert r.set("fine", 1) and r.get("k") == SECRET.encode() + b"!"
            daemon.stop()
            daemon.start()
        with redis.Redis(port=daemon.resp_port) as r:
            assert r.mget("k", "fine") == [None, b"1"]
    finally:
        daemon.stop()
