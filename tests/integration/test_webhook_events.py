"""Webhooks that are told of gets, sets, deletes and evictions: several at a time, and never of contents."""
import http.server
import json
import re
import threading

import pytest
import redis
from conftest import ask, make_http
from daemon import poll
from resp import RespDaemon

MEMBERS = {"event", "time", "tenant", "id", "kind", "tier", "reason", "ttl_s"}
ALL = "set_success,delete_success,eviction,get_success,get_miss"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.may_answer.wait(60)
        self.server.got.append((self.headers["X-Deja-Event"], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Receiver(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.got, self.may_answer = [], threading.Event()
        self.may_answer.set()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def settings(self, events, **more):
        address = f"127.0.0.1:{self.server_port}"
        return {"DEJA_WEBHOOKS__URLS": f"http://{address}/", "DEJA_WEBHOOKS__ALLOWED_ADDRESSES": address,
                "DEJA_WEBHOOKS__SECRET": "s", "DEJA_WEBHOOKS__EVENTS": events, **more}

    def events(self, name=None):
        """What was told so far, in order."""
        told = [event for kind, body in list(self.got) if kind == "cache" for event in json.loads(body)["events"]]
        assert all(set(event) == MEMBERS for event in told)
        return [event for event in told if event["event"] == name or not name]

    def wait_for(self, name, count):
        return poll(lambda: len(self.events(name)) >= count and self.events(name), f"{count} of {name}")


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.may_answer.set()
    server.shutdown()
    server.server_close()


def put(client, name, value=b"v", ttl="60"):
    answer = client.put(f"/api/v1/kv/{name}", content=value, headers={"X-Deja-TTL": ttl})
    assert answer.status_code == 201, answer.text


def metric(client, name):
    found = re.search(rf"(?m)^{name} (\d+)$", client.get("/metrics").text)
    return int(found[1]) if found else 0


def test_plain_keys_are_told_with_facts_and_without_contents(spawn, receiver, key, word):
    daemon = spawn(env=receiver.settings(ALL))
    with make_http(daemon, key) as client:
        tenant = client.get("/api/v1/limits").json()["tenant"]
        put(client, word, b"secret contents")
        client.get(f"/api/v1/kv/{word}")
        client.get(f"/api/v1/kv/{word}-none")
        client.delete(f"/api/v1/kv/{word}")
        client.post("/api/v1/kv:batch", json={"operations": [{"op": "set", "key": f"{word}2", "value": 1, "ttl": None},
                                                            {"op": "get", "key": f"{word}2"}, {"op": "get", "key": "none"}]})
        made, forever = receiver.wait_for("set_success", 2)
        found, again = receiver.wait_for("get_success", 2)
        missed, none = receiver.wait_for("get_miss", 2)
        (gone,) = receiver.wait_for("delete_success", 1)
    assert all(event["tenant"] == tenant and event["kind"] == "plain" for event in receiver.events())
    assert 30 < made["ttl_s"] <= 60 and 30 < found["ttl_s"] <= 60 and forever["ttl_s"] is None
    assert found["tier"] == again["tier"] == "memory" and missed["tier"] is None
    assert made["id"] == found["id"] == gone["id"] != missed["id"] and forever["id"] == again["id"]
    assert len({event["id"] for event in (made, forever, missed, none)}) == 4
    assert not any(word.encode() in body or b"secret" in body for _, body in receiver.got)


def test_entries_and_answers_are_told(spawn, receiver, key, word):
    daemon = spawn(env=receiver.settings(ALL))
    with make_http(daemon, key) as client:
        entry = client.put("/api/v1/entries", json={"query": f"{word} q", "response": word}).json()["id"]
        client.post("/api/v1/lookup", json={"query": f"{word} q"})
        client.post("/api/v1/lookup", json={"query": "another thing entirely"})
        client.delete(f"/api/v1/entries/{entry}")
        assert ask(client, f"{word} chat").headers["x-cache-hit"] == "false"
        poll(lambda: ask(client, f"{word} chat").headers["x-cache-hit"] == "true", "a hit")
        sets, gets, misses = (receiver.wait_for(name, 2) for name in ("set_success", "get_success", "get_miss"))
        (gone,) = receiver.wait_for("delete_success", 1)
    assert [event["kind"] for event in sets[:2]] == [event["kind"] for event in gets] == ["api", "chat"]
    assert [event["kind"] for event in misses[:2]] == ["api", "chat"]
    assert sets[0]["id"] == gets[0]["id"] == gone["id"] == entry
    assert not any(word.encode() in body for _, body in receiver.got)


def test_clients_of_redis_are_told_of(tmp_path, receiver):
    daemon = RespDaemon(tmp_path, env=receiver.settings(ALL)).start()
    try:
        with redis.Redis(port=daemon.resp_port) as r:
            r.set("k", "v", ex=60), r.get("k"), r.get("none"), r.delete("k")
        assert [event["event"] for event in poll(lambda: len(receiver.events()) >= 4 and receiver.events(), "all of them")] == [
            "set_success", "get_success", "get_miss", "delete_success"]
    finally:
        daemon.stop()


def test_evictions_are_told_with_their_reason(spawn, receiver, key):
    daemon = spawn(env=receiver.settings("eviction", DEJA_L1__MAX_SIZE="100", DEJA_LMDB__ENABLED="false"))
    with make_http(daemon, key) as client:
        for i in range(5):
            client.post("/api/v1/kv:batch", json={"operations": [
                {"op": "set", "key": f"k{i}-{k}", "value": "v"} for k in range(200)]})
        told = receiver.wait_for("eviction", 100)
    assert {event["tier"] for event in told} == {"memory"} and {event["reason"] for event in told} <= {"size", "tenant_limit"}
    assert {event["event"] for event in receiver.events()} == {"eviction"}, "what was not asked for is not told"


def test_invalidations_alone_are_told_unless_others_are_named(spawn, receiver, key, word):
    settings = receiver.settings("invalidation")
    del settings["DEJA_WEBHOOKS__EVENTS"]
    with make_http(spawn(env=settings), key) as client:
        put(client, word)
        client.post("/api/v1/invalidate", json={"tag": "t"})
        poll(lambda: receiver.got, "the invalidation")
    assert [kind for kind, _ in receiver.got] == ["invalidation"] and not receiver.events()


def test_invalidations_can_be_left_out(spawn, receiver, key, word):
    with make_http(spawn(env=receiver.settings("set_success")), key) as client:
        client.post("/api/v1/invalidate", json={"tag": "t"})
        put(client, word)
        receiver.wait_for("set_success", 1)
    assert {kind for kind, _ in receiver.got} == {"cache"}


def test_receiver_that_does_not_answer_slows_nobody_and_what_is_lost_is_counted(spawn, receiver, key):
    daemon = spawn(env=receiver.settings("set_success,get_miss", DEJA_WEBHOOKS__TIMEOUT="60s"))
    receiver.may_answer.clear()
    reads = [{"op": "exists", "key": "none"}] * 1000
    with make_http(daemon, key) as client:
        put(client, "first")
        for _ in range(40):  # beyond what is kept while the receiver is silent
            assert client.post("/api/v1/kv:batch", json={"operations": reads}).status_code == 200
        assert not receiver.got
        receiver.may_answer.set()
        poll(lambda: metric(client, "semantic_cache_webhook_events_lost_total") > 0, "the loss in the metrics")
        poll(lambda: sum(json.loads(body)["lost"] for _, body in list(receiver.got)) > 0, "the loss in a delivery")
        lost = metric(client, "semantic_cache_webhook_events_lost_total")
        poll(lambda: len(receiver.events()) + lost == 40001, "the rest, in their order", timeout=60)
    assert sum(json.loads(body)["lost"] for _, body in receiver.got) == lost
    assert max(len(json.loads(body)["events"]) for _, body in receiver.got) == 500


def test_what_a_receiver_refuses_for_good_is_counted(spawn, key):
    daemon = spawn(env={"DEJA_WEBHOOKS__URLS": "http://127.0.0.1:1/", "DEJA_WEBHOOKS__SECRET": "s",
                        "DEJA_WEBHOOKS__ALLOWED_ADDRESSES": "127.0.0.1:1",
                        "DEJA_WEBHOOKS__ATTEMPTS": "1", "DEJA_WEBHOOKS__EVENTS": "set_success"})
    with make_http(daemon, key) as client:
        put(client, "k")
        poll(lambda: metric(client, "semantic_cache_webhook_events_lost_total") == 1, "the loss")
    assert "events could not be delivered to a webhook" in daemon.log_text()
