"""The audit log of a running daemon: what is in it, what happens to it, and who can tell."""
import json
import re
import resource
import shutil

import pytest
import redis
from conftest import chat_body, make_http
from daemon import poll, run_cli
from resp import RespDaemon

SECRET_TEXT = "sk-audit-canary-3f9c1e77"


def token_of(daemon):
    return re.findall(r"admin +token ([0-9a-f]{64})", daemon.log_text())[-1]  # of the last start


def admin(daemon):
    client = make_http(daemon)
    client.headers["X-Deja-Token"] = token_of(daemon)
    return client


def tenant_of(daemon, key=None):
    with make_http(daemon, key) as client:
        return client.get("/api/v1/stats").json()["tenant"]


def files_of(daemon):
    return sorted((daemon.data / "audit").glob("audit-*.jsonl"))


def events_of(daemon):
    return [json.loads(line) for file in files_of(daemon) for line in file.read_text().splitlines()]


def reload(daemon):
    """One event that is durable, and one that is noted."""
    with admin(daemon) as client:
        return client.post("/admin/reload", json={})


def verify(daemon, *words):
    done = run_cli("audit", "verify", *words, "--json", "--data", daemon.data)
    return done.returncode, json.loads(done.stdout)


def test_a_reload_is_in_the_log_before_it_is_acknowledged(spawn):
    daemon = spawn()
    answer = reload(daemon)
    assert answer.status_code == 202, answer.text
    events = [event for event in events_of(daemon) if event["operation"] == "config.reload"]
    assert events[0]["metadata"] == {"phase": "requested"}
    assert events[0]["event_type"] == "admin" and events[0]["actor"] == "operator"
    assert events[0]["result"] == "success" and events[0]["request_id"]
    poll(lambda: any(e["operation"] == "config.reloaded" for e in events_of(daemon)), "what became of it")
    code, report = verify(daemon)
    assert code == 0 and report["ok"] and report["end_known"], report
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files_of(daemon))


def test_a_trace_is_carried_into_the_log(spawn):
    daemon = spawn()
    with admin(daemon) as client:
        client.post("/admin/reload", json={}, headers={
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Request-Id": "r-17"})
    event = next(e for e in events_of(daemon) if e["operation"] == "config.reload")
    assert event["trace_id"] == "0af7651916cd43dd8448eb211c80319c" and event["request_id"] == "r-17"


@pytest.mark.parametrize("tamper, verdict", [
    (lambda lines: lines[:2] + [lines[2].replace("success", "failure")] + lines[3:], "edited"),
    (lambda lines: lines[:2] + lines[3:], "removed"),
    (lambda lines: lines[:2] + [lines[1]] + lines[2:], "inserted"),
    (lambda lines: lines[:2] + [lines[3], lines[2]] + lines[4:], "reordered"),
    (lambda lines: lines[:-1], "truncated"),
    (lambda lines: lines[:-1] + [lines[-1][:40]], "truncated"),
    (lambda lines: lines[:2] + ["nonsense\n"] + lines[2:], "foreign"),
], ids=["edited", "removed", "inserted", "reordered", "cut", "torn", "foreign"])
def test_each_kind_of_tampering_is_named(spawn, tamper, verdict):
    daemon = spawn()
    for _ in range(5):
        assert reload(daemon).status_code == 202
    daemon.stop()
    assert verify(daemon)[0] == 0
    file = files_of(daemon)[-1]
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) > 5
    file.write_text("".join(tamper(lines)))
    code, report = verify(daemon)
    assert code == 1 and report["verdict"] == verdict, report


def test_a_chain_made_anew_without_the_key_is_found(spawn):
    """Digests need no key; signatures do, and the authority knows whose."""
    daemon, other = spawn(), spawn()
    for made in (daemon, other):
        assert reload(made).status_code == 202
        made.stop()
    shutil.rmtree(daemon.data / "audit")
    shutil.copytree(other.data / "audit", daemon.data / "audit")
    code, report = verify(daemon)
    assert not report["end_known"] and code == 0, "another node's log: nothing is known of its end"
    daemon.start()
    poll(lambda: len(events_of(daemon)) > len(events_of(other)), "its start to be noted")
    daemon.stop()


def test_an_export_is_checked_with_nothing_but_the_public_key(spawn, tmp_path, key):
    daemon = spawn(env={"DEJA_AUDIT__OPERATIONS": "writes"})
    mine = tenant_of(daemon, key)
    with make_http(daemon, key) as client, make_http(daemon) as other:
        for i in range(3):
            assert client.put("/api/v1/entries", json={"query": f"q{i}", "response": "r"}).status_code == 201
            assert other.put("/api/v1/entries", json={"query": f"q{i}", "response": "r"}).status_code == 201
    daemon.stop()
    out = tmp_path / "export.jsonl"
    done = run_cli("audit", "export", "--tenant", mine, "--data", daemon.data)
    assert done.returncode == 0, done.stderr
    out.write_text(done.stdout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    whole = [line for line in lines if "event_id" in line]
    assert len(whole) == 3 and all(line["tenant_id"] == mine for line in whole)
    assert any("skipped" in line for line in lines)
    public = tmp_path / "audit.pub"
    shutil.copy(daemon.data / "audit" / "audit.pub", public)
    elsewhere = tmp_path / "elsewhere"
    check = ["audit", "verify", out, "--public-key", public, "--data", elsewhere]
    assert run_cli(*check).returncode == 0
    out.write_text(done.stdout.replace('"result":"success"', '"result":"failure"', 1))
    assert run_cli(*check).returncode == 1
    out.write_text("\n".join(line for i, line in enumerate(done.stdout.splitlines()) if i != 2) + "\n")
    assert run_cli(*check).returncode == 1


@pytest.mark.parametrize("choice, expected", [("off", set()), ("writes", {"entry.put", "entry.remove", "cache.invalidate"}),
                                              ("all", {"entry.put", "entry.remove", "cache.invalidate",
                                                       "entry.lookup", "entry.get"})])
def test_operations_on_the_cache_are_noted_as_chosen_and_without_what_was_said(spawn, word, choice, expected):
    daemon = spawn(env={"DEJA_AUDIT__OPERATIONS": choice})
    with make_http(daemon, SECRET_TEXT) as client:
        put = client.put("/api/v1/entries", json={"query": f"ask {word}", "response": f"answer {word}"}).json()
        client.post("/api/v1/lookup", json={"query": f"ask {word}"})
        client.get(f"/api/v1/entries/{put['id']}")
        client.delete(f"/api/v1/entries/{put['id']}")
        client.post("/api/v1/invalidate", json={"all": True, "reason": "prices have changed"})
    daemon.stop()
    events = [e for e in events_of(daemon) if e["event_type"] == "cache_operation"]
    assert {e["operation"] for e in events} == expected
    assert all(e["result"] == "success" and e["tenant_id"] for e in events)
    text = "".join(file.read_text() for file in files_of(daemon))
    assert word not in text and SECRET_TEXT not in text
    assert ("prices have changed" in text) == (choice != "off")  # a reason is for the records


@pytest.mark.parametrize("choice", ["writes", "all"])
def test_plain_keys_are_noted_alike_whichever_door_they_came_by(tmp_path, word, choice):
    daemon = RespDaemon(tmp_path / "deja", env={"DEJA_AUDIT__OPERATIONS": choice}).start()
    try:
        with make_http(daemon) as client, redis.Redis(port=daemon.resp_port) as r:
            path = f"/api/v1/kv/{word}"
            client.put(path, content=b"1")
            client.get(path)
            client.patch(path, content=b'{"a": 1}', headers={"Content-Type": "application/merge-patch+json"})
            client.delete(path)
            client.post("/api/v1/kv:batch", json={"operations": [{"op": "set", "key": word, "value": "1"}]})
            token = client.post("/api/v1/kv:lock", json={"key": word}).json()["token"]
            client.post("/api/v1/kv:unlock", json={"key": word, "token": token})
            client.get("/api/v1/kv")
            client.delete("/api/v1/kv", params={"pattern": "*"})
            r.set(word, f"no number {word}")
            r.get(word)
            for words in ([b"INCR", word], [b"EXPIRE", word, "9", word], [b"PUBLISH", "cache:invalidate", word]):
                with pytest.raises(redis.ResponseError):
                    r.execute_command(*words)
            r.mset({f"{word}1": 1, f"{word}2": 2})
            r.delete(word)
            r.keys("*")
            r.flushdb()
    finally:
        daemon.stop()
    events = [e for e in events_of(daemon) if e["event_type"] == "cache_operation"]
    by = {door: [e for e in events if ("surface" in e["metadata"]) == (door == "resp")] for door in ("http", "resp")}
    reads = {"kv.get", "kv.list"} if choice == "all" else set()
    assert {e["operation"] for e in by["http"]} == reads | {
        "kv.put", "kv.patch", "kv.remove", "kv.batch", "kv.lock", "kv.unlock", "kv.clear"}
    assert {e["operation"] for e in by["resp"]} == {"kv.put", "kv.remove", "kv.clear", "cache.invalidate"} | reads
    ids = {e.get("resource") for e in events if e["operation"] in ("kv.get", "kv.patch", "kv.remove", "kv.lock")}
    assert len(ids) == 1 and re.fullmatch("[0-9a-f]{32}", *ids)  # the key's, whoever asks
    assert any("resource" in e for e in by["resp"]) and ids == {
        e["resource"] for e in events if "resource" in e}
    failures = [e for e in by["resp"] if e["result"] == "failure"]
    assert [e["metadata"]["error"] for e in failures] == [
        "ERR value is not an integer or out of range", "ERR Unsupported",
        next(e for e in failures if e["operation"] == "cache.invalidate")["metadata"]["error"]]
    assert all("error" in e["metadata"] for e in by["http"] if e["result"] == "failure")
    assert all(word not in file.read_text() for file in files_of(daemon))


@pytest.mark.parametrize("choice", ["off", "writes", "all"])
def test_proxied_requests_are_noted_as_chosen_and_without_what_was_said(spawn, word, choice):
    daemon = spawn(env={"DEJA_AUDIT__OPERATIONS": choice})
    with make_http(daemon, SECRET_TEXT) as client:
        for _ in range(2):
            assert client.post("/v1/chat/completions", json=chat_body(f"ask {word}")).status_code == 200
        assert client.post("/v1/embeddings", json={"model": "m", "input": [f"one {word}", f"two {word}"]}).status_code == 200
    daemon.stop()
    events = [e for e in events_of(daemon) if e["event_type"] == "cache_operation"]
    puts = [e for e in events if e["operation"] == "entry.put"]
    lookups = [e for e in events if e["operation"] == "entry.lookup"]
    assert len(events) == len(puts) + len(lookups)
    assert len(puts) == (0 if choice == "off" else 3), "an answer, and an entry for each item"
    assert len({e["resource"] for e in puts}) == len(puts)
    assert len(lookups) == (3 if choice == "all" else 0)
    assert all(e["result"] == "success" and e["tenant_id"] for e in events)
    if choice == "all":
        told = [(e["metadata"]["api"], e["metadata"]["result"], e["metadata"]["tier"]) for e in lookups]
        assert told == [("chat", "miss", "none"), ("chat", "hit_exact", "memory"), ("embeddings", "miss", "none")]
        assert lookups[1]["resource"] == puts[0]["resource"]
    text = "".join(file.read_text() for file in files_of(daemon))
    assert word not in text and SECRET_TEXT not in text


def test_a_kill_in_the_middle_of_a_line_is_recovered(spawn):
    daemon = spawn()
    assert reload(daemon).status_code == 202
    daemon.kill()
    file = files_of(daemon)[-1]
    with file.open("a") as log:
        log.write('{"v":1,"seq":9')
    daemon.start()
    assert reload(daemon).status_code == 202
    daemon.stop()
    assert any(e["operation"] == "audit.torn" for e in events_of(daemon))
    assert verify(daemon)[0] == 0


def test_where_the_log_cannot_be_written_the_action_is_refused(spawn):
    daemon = spawn()
    assert reload(daemon).status_code == 202
    poll(lambda: any(e["operation"] == "config.reloaded" for e in events_of(daemon)), "the note of it")
    size = files_of(daemon)[-1].stat().st_size
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        answer = reload(daemon)
        assert answer.status_code == 503 and answer.json()["type"] == "audit_unavailable", answer.text
        with make_http(daemon) as client:
            assert client.get("/livez").status_code == 200
    finally:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert reload(daemon).status_code == 202
    daemon.stop()
    code, report = verify(daemon)
    assert code == 0, report


def test_the_log_is_read_in_pages_and_by_filters(spawn):
    daemon = spawn()
    for _ in range(5):
        assert reload(daemon).status_code == 202
    with admin(daemon) as client:
        poll(lambda: len(client.get("/api/v1/audit", params={"operation": "config.reload"}).json()["events"]) == 10,
             "what became of each")
        seen, before = [], None
        while True:
            query = {"operation": "config.reload", "limit": 4, **({"before": before} if before else {})}
            page = client.get("/api/v1/audit", params=query).json()
            seen += [event["seq"] for event in page["events"]]
            assert len(page["events"]) <= 4
            before = page["next"]
            if not before:
                break
        assert len(seen) == 10 and len(set(seen)) == 10 and seen == sorted(seen, reverse=True)
        assert client.get("/api/v1/audit", params={"type": "erasure"}).json()["events"] == []
        assert client.get("/api/v1/audit", params={"from": "2999"}).json()["events"] == []
        bad = client.get("/api/v1/audit", params={"from": "yesterday"})
        assert bad.status_code == 400 and "2026-02-03" in bad.text
    with make_http(daemon) as client:
        assert client.get("/api/v1/audit").status_code in (401, 403)


def test_the_end_of_the_log_is_shown(spawn):
    daemon = spawn()
    assert reload(daemon).status_code == 202
    done = run_cli("audit", "tail", "--limit", "1", "--type", "admin", "--data", daemon.data)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and "config.reload" in done.stdout
    empty = run_cli("audit", "tail", "--data", daemon.data / "nothing")
    assert empty.returncode == 3 and "no audit log" in empty.stderr
