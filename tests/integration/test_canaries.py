"""Secrets and content never appear in logs, metrics, health or crash output, whatever happens."""
import base64
import contextlib
import json
import re
import secrets
import signal
import subprocess
import urllib.parse

import httpx
import pytest
from conftest import ask, make_http
from daemon import free_port, poll, raw_request
from valkey import Client

CHAT = "/v1/chat/completions"
LEVELS = [("debug", "json"), ("debug", "pretty"), ("info", "json"), ("error", "pretty")]
# Where canaries stand; the word after "canary" tells in a failure where one got out.
PLACES = ["key", "prompt", "system", "answer", "model", "header", "query", "path", "namespace", "tag", "meta", "user",
          "config", "cookie", "broken", "upstream", "tool", "tenant", "trace", "attribute", "body", "name", "value", "field",
          "command", "pattern", "password", "credential"]


@pytest.fixture
def canaries():
    made = {place: f"canary{place}{secrets.token_hex(8)}" for place in PLACES}
    made["config"] = secrets.token_hex(32)  # the deployment's secret has this form
    made["upstream"] = f"sk-{made['upstream']}"  # what real upstreams repeat of a key they refuse
    return made


def forms_of(text):
    """As such and as it would look encoded."""
    yield text
    yield urllib.parse.quote(text)
    yield text.encode().hex()
    yield base64.b64encode(text.encode()).decode().rstrip("=")[:-1]
    yield text[:-8]


def chat(canaries, **more):
    return {"model": "plain", "messages": [{"role": "system", "content": canaries["system"]},
                                           {"role": "user", "content": canaries["prompt"]}],
            "user": canaries["user"], **more}


def good_requests(client, canaries):
    headers = {"X-Custom": canaries["header"], "Cookie": f"s={canaries['cookie']}",
               "X-Deja-Namespace": canaries["namespace"], "X-Deja-Tags": canaries["tag"]}
    for more in ({}, {}, {"stream": True}, {"stream": True}, {"temperature": 1.5}):
        client.post(CHAT, json=chat(canaries, **more), headers=headers)
    client.post(CHAT, json=chat(canaries, model=canaries["model"]), headers=headers)
    client.post("/v1/embeddings", json={"model": canaries["model"], "input": canaries["prompt"]}, headers=headers)
    entry = {"query": canaries["prompt"], "response": canaries["answer"], "namespace": canaries["namespace"],
             "tags": [canaries["tag"]], "metadata": {"k": canaries["meta"]}}
    client.put("/api/v1/entries", json=entry)
    client.post("/api/v1/lookup", json={"query": canaries["prompt"], "namespace": canaries["namespace"]})
    client.get("/api/v1/explain", params={"query": canaries["query"]})
    client.get(f"/v1/echo/{canaries['path']}", params={"api_key": canaries["query"]}, headers=headers)
    client.post(f"/v1/echo/{canaries['path']}", content=canaries["answer"], headers=headers)
    tools = [{"type": "function", "function": {"name": "f", "description": canaries["tool"],
                                               "parameters": {"type": "object", "title": canaries["tool"]}}}]
    calls = [{"role": "assistant", "content": None, "tool_calls": [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": canaries["tool"]})}}]},
        {"role": "tool", "tool_call_id": "c", "content": canaries["tool"]}]
    client.post(CHAT, json=chat(canaries, tools=tools), headers=headers)
    client.post(CHAT, json={**chat(canaries), "messages": chat(canaries)["messages"] + calls}, headers=headers)
    client.post(CHAT, json=chat(canaries), headers={**headers, "X-Deja-Tenant": canaries["tenant"],
                                                    "traceparent": canaries["trace"], "tracestate": canaries["trace"]})
    client.post("/v1/caches/c/entries", json={"prompt": canaries["prompt"], "response": canaries["answer"],
                                              "attributes": {"a": canaries["attribute"]}})
    client.post("/v1/caches/c/entries/search", json={"prompt": canaries["prompt"],
                                                     "attributes": {"a": canaries["attribute"]}})
    client.post("/gptcache/put", json={"prompt": canaries["prompt"], "answer": canaries["answer"]})
    client.get(f"/api/v1/entries/{canaries['path']}")
    client.post("/api/v1/invalidate", json={"tags": [canaries["tag"]], "reason": canaries["meta"]})


FAMILIES = {
    "/v1/messages": lambda canaries: {"max_tokens": 9, "system": canaries["system"],
                                      "messages": [{"role": "user", "content": canaries["prompt"]}]},
    "/v1/responses": lambda canaries: {"store": False, "instructions": canaries["system"], "input": canaries["prompt"]},
    "/v1/completions": lambda canaries: {"prompt": canaries["prompt"], "user": canaries["user"]},
}


def other_requests(daemon, client, canaries):
    """Every other surface: the other families, plain keys, warming, transfers, and what administers."""
    headers = {"X-Deja-Namespace": canaries["namespace"], "X-Custom": canaries["header"]}
    for path, body in FAMILIES.items():
        for more in ({"model": "text"}, {"model": "text", "stream": True}, {"model": canaries["model"]},
                     {"model": "error-400"}, {"model": "cut@2", "stream": True}):
            with contextlib.suppress(httpx.RemoteProtocolError):  # the stream that is cut
                client.post(path, json={**body(canaries), **more}, headers=headers)
        client.post(path, content=canaries["broken"], headers={"Content-Type": "application/json"})
    plain_keys(client, canaries, headers)
    client.post("/api/v1/kv:key", json={"kind": "session_user", "fields": {"user_id": canaries["field"]}})
    client.post("/api/v1/kv:key", json={"text": canaries["prompt"], "sql": f"SELECT '{canaries['field']}'", "id": canaries["name"]})
    client.post("/api/v1/warm", json={"requests": [canaries["prompt"]], "model": canaries["model"]})
    client.post("/api/v1/warm", json={"keys": [canaries["pattern"]], "dry_run": True})
    client.post("/api/v1/invalidate", json={"pattern": canaries["pattern"], "after": "1d", "reason": canaries["meta"]})
    client.post("/api/v1/invalidate", json={"event": {"name": "session:ended", "user_id": canaries["field"]}})
    client.get("/api/v1/export", params={"cursor": canaries["query"]})
    client.get("/api/v1/patterns", params={"namespace": canaries["namespace"]})
    administration(daemon, client, canaries)
    clients_of_redis(daemon, canaries)


def plain_keys(client, canaries, headers):
    path = f"/api/v1/kv/{canaries['name']}"
    put = client.put(path, content=canaries["value"], headers={
        **headers, "X-Deja-Tags": canaries["tag"], "X-Deja-Version": canaries["meta"],
        "Content-Type": f"text/{canaries['attribute']}"})
    assert put.status_code == 201, put.text
    assert client.get(path, headers=headers).text == canaries["value"]
    client.put(path, content=canaries["value"], headers={**headers, "X-Deja-TTL": canaries["broken"]})
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        client.request(method, path, headers={**headers, "X-Deja-User": canaries["user"]})
        client.request(method, path, headers={**headers, "If-Match": f'"{canaries["broken"]}"'})
    for op in ("set", "get", "incr", "expire", "ttl", "delete", canaries["command"]):
        client.post("/api/v1/kv:batch", headers=headers, json={"operations": [
            {"op": op, "key": canaries["name"], "value": canaries["value"], "tags": [canaries["tag"]], "ttl": 60}]})
    client.get("/api/v1/kv", params={"pattern": f"*{canaries['pattern']}*", "cursor": canaries["query"]})
    client.post("/api/v1/kv:lock", json={"key": canaries["name"], "token": canaries["broken"]})


def administration(daemon, client, canaries):
    """With the admin token, with somebody's key, and with what is none."""
    token = re.findall(r"admin\s+token ([0-9a-f]{64})", daemon.log_text())
    tenant = client.get("/api/v1/stats").json()["tenant"]
    for shown in [*token[-1:], canaries["password"]]:
        admin = {"X-Deja-Token": shown}
        is_admin = shown in token
        made = client.post("/api/v1/tenants", headers=admin, json={"name": canaries["tenant"]})
        assert (made.status_code == 201) == is_admin, made.text
        tenant = made.json()["id"] if is_admin else tenant
        client.post("/api/v1/tenants", headers=admin, json={"name": "t", "config": {"models": canaries["broken"]}})
        client.post(f"/api/v1/tenants/{tenant}/links", headers=admin, json={"credential": canaries["credential"]})
        client.post("/api/v1/keys", headers=admin, json={"tenant": tenant, "roles": [canaries["broken"]]})
        made = client.post("/api/v1/keys", headers=admin, json={"tenant": tenant, "name": "k"})
        assert (made.status_code == 201) == is_admin, made.text
        if is_admin:
            canaries["secret"] = made.json()["secret"]
            client.get("/api/v1/stats", headers={"X-Deja-Key": made.json()["secret"]})
            client.get("/api/v1/stats", headers={"X-Deja-Key": made.json()["secret"][:-8] + "00000000"})
        held = client.put(f"/api/v1/upstream-credentials/{tenant}", headers=admin, json={"value": canaries["credential"]})
        assert (held.status_code == 204) == is_admin, held.text
        client.put(f"/api/v1/upstream-credentials/{tenant}", headers=admin,
                   json={"value": canaries["credential"], "scheme": canaries["broken"]})
        client.post("/api/v1/import", headers=admin, json={"entries": [{"query": canaries["prompt"]}]})
        begun = client.post("/api/v1/backup", headers=admin, json={"file": "canaries.djb"})
        assert (begun.status_code == 202) == is_admin, begun.text
        client.post("/api/v1/restore", headers=admin, json={"file": f"{canaries['broken']}/x"})
        client.post("/api/v1/erase", headers=admin, json={"tenant": tenant, "user": canaries["user"], "dry_run": True})


def clients_of_redis(daemon, canaries):
    name, value = canaries["name"], canaries["value"]
    with Client(int(daemon.env["DEJA_RESP__LISTEN"].rpartition(":")[2])) as redis:
        redis("AUTH", canaries["key"])
        assert (redis("SET", name, value), redis("GET", name)) == ("OK", value.encode())
        for command in (("AUTH", canaries["user"], canaries["password"]), ("AUTH", canaries["password"]),
                        ("AUTH", f"user:{canaries['user']}", canaries["key"]), ("CLIENT", "SETNAME", canaries["user"]),
                        ("SET", name, value), ("SET", name, value, "EX", canaries["broken"]), ("GET", name), ("INCR", name),
                        ("MGET", name, value), ("APPEND", name, value), ("EXPIRE", name, canaries["broken"]),
                        ("KEYS", canaries["pattern"]), ("SCAN", canaries["broken"]), ("SELECT", canaries["broken"]),
                        (canaries["command"], name), ("EVAL", canaries["command"], 0), ("CONFIG", "SET", name, value),
                        ("PUBLISH", "cache:invalidate", json.dumps({"tag": canaries["tag"]})),
                        ("PUBLISH", "cache:invalidate", canaries["broken"]), ("PUBLISH", canaries["broken"], value)):
            try:
                redis(*command)
            except RuntimeError:
                pass  # an error is an answer
        redis.socket.sendall(b"*1\r\n$" + canaries["broken"].encode() + b"\r\n")
        with contextlib.suppress(RuntimeError, AssertionError, OSError):
            redis.read()


def bad_requests(daemon, client, canaries):
    for model in ("error-400", "error-401", "error-429", "error-500", "cut", "notjson", "midfail"):
        client.post(CHAT, json=chat(canaries, model=model))
        client.post(CHAT, json=chat(canaries, model=model, messages=[{"role": "user", "content": canaries["broken"]}]))
    broken = canaries["broken"]
    json_type = [("Content-Type", "application/json"), ("Authorization", f"Bearer {canaries['key']}")]
    for raw in (raw_request("POST", CHAT, json_type, b'{"a":' + broken.encode()),
                raw_request("PUT", "/api/v1/entries", json_type, b'{"query":"' + broken.encode()),
                raw_request("PUT", "/api/v1/entries", json_type, json.dumps({broken: broken}).encode()),
                raw_request("GET", f"/{canaries['path']}?{canaries['query']}", [("X-Y", canaries["header"])]),
                raw_request("GET", "/v1/models", [("Origin", f"https://{broken}.example")]),
                raw_request("GET", "/v1/models", host=f"{broken}.example"),
                raw_request("POST", "/admin/reload", [("Authorization", f"Bearer {canaries['key']}")]),
                f"GET /{broken} HTTP/1.1\r\nHost: 127.0.0.1\r\n{broken} : x\r\n\r\n".encode(),
                f"{broken} / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
                f"POST /{broken} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {broken}\r\n\r\n".encode()):
        daemon.raw(raw, half_close=True)


def echoing_upstream(client, canaries):
    """Errors that repeat what was sent: an upstream that refuses a key shows a part of it."""
    for status in (400, 401, 403, 429, 500, 503):
        answer = client.post(f"/v1/status/{status}", content=canaries["body"],
                             headers={"X-Canary": canaries["upstream"]})
        assert answer.status_code == status
        client.post(CHAT, json=chat(canaries, model=f"error-{status}"), headers={"X-Canary": canaries["upstream"]})


def seen_by_operators(client):
    """All that a person or a program that watches the daemon gets to see."""
    texts = {}
    for path in ("/metrics", "/health", "/health/detailed", "/livez", "/readyz", "/healthz"):
        for accept in ("*/*", "application/openmetrics-text", "application/json"):
            texts[f"{path} as {accept}"] = client.get(path, headers={"Accept": accept}).text
    return texts


def assert_no_canary(texts, canaries, but=()):
    for where, text in texts.items():
        for place, canary in canaries.items():
            for form in forms_of(canary) if place not in but else ():
                assert form not in text, f"{place} in {where}: ...{text[max(0, text.find(form) - 200):][:400]}"


def surfaces(canaries):
    """What makes a daemon listen for clients of Redis, and go on serving who has no tenant of his own."""
    return {"DEJA_RESP__LISTEN": f"127.0.0.1:{free_port()}", "DEJA_TENANT__DERIVED": "true",
            "DEJA_SECURITY__SECRET": canaries["config"]}


@pytest.mark.parametrize(("level", "kind"), LEVELS)
def test_canaries_stay_where_they_were_put(spawn, canaries, level, kind):
    daemon = spawn(env={"DEJA_LOG__LEVEL": level, "DEJA_LOG__FORMAT": kind, "DEJA_MONITORING__SLOW_OPERATION": "1ms",
                        **surfaces(canaries)})
    with make_http(daemon, canaries["key"]) as client:
        good_requests(client, canaries)
        other_requests(daemon, client, canaries)
        bad_requests(daemon, client, canaries)
        echoing_upstream(client, canaries)
        texts = seen_by_operators(client)
    daemon.signal(signal.SIGHUP)
    daemon.stop()
    texts["the log"] = daemon.log_text()
    assert_no_canary(texts, canaries)
    audit = "".join(path.read_text() for path in (daemon.data / "audit").glob("*.jsonl"))
    assert audit
    assert_no_canary({"the audit log": audit}, canaries)


def test_upstream_that_cannot_be_reached_is_told_without_content(spawn, canaries):
    daemon = spawn(upstream_url="http://127.0.0.1:9")
    with make_http(daemon, canaries["key"]) as client:
        answer = client.post(CHAT, json=chat(canaries))
        assert answer.status_code == 502
        assert_no_canary({"the answer": answer.text}, canaries)
        bad_requests(daemon, client, canaries)
    daemon.stop()
    assert_no_canary({"the log": daemon.log_text()}, canaries)


@pytest.mark.heavy  # a sanitizer would report the crash that is made here
@pytest.mark.parametrize("crash", [signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS])
def test_crash_tells_no_content(spawn, canaries, crash):
    """SIGABRT is what a failed assertion raises."""
    daemon = spawn(env={"DEJA_LOG__LEVEL": "debug", **surfaces(canaries)})
    with make_http(daemon, canaries["key"]) as client:
        good_requests(client, canaries)
        other_requests(daemon, client, canaries)
    daemon.signal(crash)
    try:
        daemon.wait()
    except subprocess.TimeoutExpired:
        daemon.kill()
    assert_no_canary({"the log": daemon.log_text()}, canaries)
    daemon.process = None


SECRETS = {"openai": "sk-proj-q7Zk2Wm9XbR4tLp8VcN3sYd6HgJ5fTwA1eUi", "github": "ghp_q7Zk2Wm9XbR4tLp8VcN3sYd6HgJ5fTwA1eUi",
           "card": "4111 1111 1111 1111", "ssn": "536-22-1234", "mail": "somebody@example.com",
           "password": "hunter2-Tr0ub4dor"}


@pytest.mark.parametrize("kind", ["json", "pretty"])
def test_secrets_are_redacted_even_where_texts_are_logged(spawn, canaries, kind):
    """log.content full is for debugging; the redactor does not know that, and cuts do not help anybody."""
    daemon = spawn(env={"DEJA_LOG__CONTENT": "full", "DEJA_LOG__LEVEL": "debug", "DEJA_LOG__FORMAT": kind})
    said = "; ".join(f"the {name} is {value}" for name, value in SECRETS.items())
    with make_http(daemon, canaries["key"]) as client:
        for text in (said, "x" * 900 + " " + said, "y" * 4000 + " " + said, " " * 30 + said * 60):
            for stream in (False, True):
                ask(client, text, stream=stream)
            client.put("/api/v1/entries", json={"query": text[-900:], "response": text, "metadata": {"pwd": "hunter2-Tr0ub4dor"}})
            client.post("/api/v1/lookup", json={"query": text[-900:]})
            client.post("/api/v1/invalidate", json={"tag": "t", "reason": text[-200:]})
    daemon.stop()
    log = daemon.log_text()
    assert "[REDACTED]" in log
    for name, value in SECRETS.items():
        for part in (value, value[:-6], value.replace(" ", "")):
            assert part not in log, f"{name}: ...{log[max(0, log.find(part) - 300):][:500]}"


def test_faults_of_settings_do_not_show_secrets(spawn, canaries):
    config = f"security:\n  secret: {canaries['config'][:-1]}\nserver:\n  listen: nonsense\n"
    daemon = spawn(config=config, start=False)
    daemon.start(wait=False)
    assert daemon.wait() == 78
    daemon.process = None
    assert canaries["config"][:-8] not in daemon.log_text()
    for arguments in (("config", "print"), ("config", "print", "--origin"), ("config", "check")):
        done = daemon.cli(*arguments, "--config", daemon.config)
        assert canaries["config"][:-8] not in done.stdout + done.stderr


def test_answers_of_one_key_are_in_no_answer_to_another(spawn, canaries):
    daemon = spawn()
    with make_http(daemon, canaries["key"]) as client:
        good_requests(client, canaries)
        assert poll(lambda: ask(client, canaries["prompt"]).status_code == 200, "an answer")
    with make_http(daemon, "sk-somebody-else") as other:
        texts = {path: other.get(path).text for path in ("/api/v1/stats", "/api/v1/explain?query=x", "/openapi.json")}
        texts["lookup"] = other.post("/api/v1/lookup", json={"query": "x"}).text
        texts["error"] = other.post(CHAT, content=b"{").text
    assert_no_canary(texts, canaries)
