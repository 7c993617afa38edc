"""What is made void is told: as server-sent events, to webhooks, through Redis and PostgreSQL."""
import contextlib
import hmac
import http.server
import json
import re
import socket
import threading
import uuid

import pytest
from conftest import TIMEOUT_S, make_http
from daemon import poll, run_cli
from test_keys import Deployment
from valkey import Server

FOLLOW, INVALIDATE, ENTRIES = "/api/v1/invalidations", "/api/v1/invalidate", "/api/v1/entries"


class Follower:
    """Reads the stream on a thread of its own; events as (id, name, data)."""

    def __init__(self, client, headers=None, **params):
        self.client, self.headers, self.params = client, headers, params
        self.events, self.ended, self.failure = [], threading.Event(), None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        poll(lambda: self.events or self.failure, "the stream to begin", every=0.01)
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # close() alone would let the read wait for the next heartbeat
            self.response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self.thread.join(TIMEOUT_S)

    def run(self):
        try:
            with self.client.stream("GET", FOLLOW, headers=self.headers, params=self.params) as self.response:
                assert self.response.status_code == 200
                assert self.response.headers["content-type"] == "text/event-stream"
                event = {}
                for line in self.response.iter_lines():
                    if not line:
                        if event:
                            self.events.append((event.get("id"), event["event"], json.loads(event["data"])))
                        event = {}
                    elif not line.startswith(":"):
                        name, _, value = line.partition(": ")
                        event[name] = value
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error
        self.ended.set()

    def told(self, kind=None):
        return [data for _, name, data in self.events if name == "invalidation" and kind in (None, data["kind"])]

    def wait_for(self, kind, count=1):
        poll(lambda: len(self.told(kind)) >= count, f"{count} notices of {kind}", every=0.02)
        return self.told(kind)


def put(client, query, **more):
    answer = client.put(ENTRIES, json={"query": query, "response": 1, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def invalidate(client, **body):
    answer = client.post(INVALIDATE, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# -- server-sent events --

def test_every_kind_is_told_with_its_name_and_reason(daemon, http, key, word):
    with make_http(daemon, key) as reader, Follower(reader) as follower:
        assert follower.events[0][1] == "following"
        entry = put(http, f"{word} a", tags=["t1"], namespace="n")
        invalidate(http, tag="t1", reason="because")
        told = follower.wait_for("tag")[0]
        assert (told["name"], told["reason"], told["removed"], told["source"]) == ("t1", "because", 1, "here")
        put(http, f"{word} b", depends_on=["doc"])
        invalidate(http, cascade="doc")
        assert follower.wait_for("cascade")[0]["name"] == "doc"
        invalidate(http, pattern="x*")
        assert follower.wait_for("pattern")[0]["name"] == "x*"
        invalidate(http, event="template:updated")
        assert follower.wait_for("event")[0]["name"] == "template:updated"
        invalidate(http, namespace="n")
        assert follower.wait_for("namespace")[0]["namespace"] == "n"
        entry = put(http, f"{word} c")
        assert http.delete(f"{ENTRIES}/{entry}").status_code == 200
        assert follower.wait_for("entry")[0]["name"] == entry
        invalidate(http, all=True)
        follower.wait_for("all")
        invalidate(http, tag="t1", dry_run=True)
        invalidate(http, older_than="1h")
        follower.wait_for("age")
        assert len(follower.told("tag")) == 1  # a dry run makes nothing void


def test_deletes_tell_their_reason(daemon, http, key, word):
    """Of a plain key, of those of a pattern, of a batch, of an entry by id and by its question."""
    kv = "/api/v1/kv"
    with make_http(daemon, key) as reader, Follower(reader) as follower:
        for name in ("a", "b", "c"):
            assert http.put(f"{kv}/{word}{name}", content=b"1").status_code == 201
        assert http.delete(f"{kv}/{word}a", params={"reason": "logged out"}).json()["removed"] == 1
        assert follower.wait_for("key")[0]["reason"] == "logged out"
        batch = {"operations": [{"op": "delete", "key": f"{word}b"}], "reason": "why b"}
        assert http.post(f"{kv}:batch", json=batch).json()["results"] == [{"removed": 1}]
        assert follower.wait_for("key", 2)[1]["reason"] == "why b"
        assert http.delete(kv, params={"pattern": f"{word}*", "reason": "räumen"}).json()["removed"] == 1
        assert follower.wait_for("pattern")[0]["reason"] == "räumen"
        entry = put(http, f"{word} d")
        assert http.delete(f"{ENTRIES}/{entry}", params={"reason": "wrong"}).status_code == 200
        assert follower.wait_for("entry")[0]["reason"] == "wrong"
        put(http, f"{word} e")
        assert http.delete(ENTRIES, params={"query": f"{word} e", "reason": "stale"}).json()["removed"] == 1
        assert follower.wait_for("query")[0]["reason"] == "stale"
        for number, words in enumerate((("kv", "del", f"{word}c"), ("del", put(http, f"{word} f")))):
            assert http.put(f"{kv}/{word}c", content=b"1").status_code == 201
            done = run_cli(*words, "--reason", f"by hand {number}", "--server", daemon.url, "--key", key)
            assert done.returncode == 0, done.stderr
        assert follower.wait_for("key", 3)[2]["reason"] == "by hand 0"
        assert follower.wait_for("entry", 2)[1]["reason"] == "by hand 1"
        for refused in ("x" * 257, "a\nb"):
            answer = http.delete(f"{kv}/{word}c", params={"reason": refused})
            assert answer.status_code == 400 and "reason" in answer.text


def test_other_surfaces_tell_too(daemon, http, key, word):
    with make_http(daemon, key) as reader, Follower(reader) as follower:
        http.post(f"/v1/caches/{word}/entries", json={"prompt": "p", "response": "r"})
        assert http.post(f"/v1/caches/{word}/flush").status_code in (200, 204)
        follower.wait_for("namespace")
        entry = put(http, f"{word} a")
        assert http.post("/cache/delete", json={"keys": [entry]}).status_code == 200
        assert follower.wait_for("entry")[0]["name"] == entry
        assert http.post("/cache/flushall", json={}).status_code == 200
        follower.wait_for("all")
        entry = put(http, f"{word} b")
        assert http.post("/api/v1/feedback", json={"entry": entry, "verdict": "wrong"}).status_code == 200
        assert follower.wait_for("entry", 2)[1]["name"] == entry


def test_a_tenant_is_told_of_no_other(daemon, http, key, word):
    with make_http(daemon, word + "-other") as other, make_http(daemon, key) as reader, \
            Follower(reader) as follower:
        invalidate(other, tag="secret")
        invalidate(http, tag="own")
        follower.wait_for("tag")
        assert [told["name"] for told in follower.told("tag")] == ["own"]
    assert http.get(FOLLOW, headers={"X-Deja-User": "ann"}).status_code == 403


def test_a_stream_ends_with_the_key_it_was_asked_with(spawn):
    deployment = Deployment(spawn)
    tenant = deployment.tenant()
    made, other = deployment.make(tenant), deployment.key(tenant)
    with deployment.client(made["secret"]) as reader, Follower(reader) as follower, \
            deployment.client(other) as second, Follower(second) as still:
        assert deployment.admin.delete(f"/api/v1/keys/{made['key']['id']}").is_success
        assert follower.ended.wait(10)
        assert not still.ended.is_set()


def test_a_reader_goes_on_where_it_was_and_is_told_what_is_lost(daemon, http, key):
    with make_http(daemon, key) as reader, Follower(reader) as follower:
        invalidate(http, tag="one")
        follower.wait_for("tag")
        last = follower.events[-1][0]
    invalidate(http, tag="two")
    with make_http(daemon, key) as reader, Follower(reader, headers={"Last-Event-ID": last}) as follower:
        assert [told["name"] for told in follower.wait_for("tag")] == ["two"]
    for _ in range(4100):
        invalidate(http, tag="many")
    with make_http(daemon, key) as reader, Follower(reader, after=last) as follower:
        poll(lambda: any(name == "lost" for _, name, _ in follower.events), "what is lost to be told")
        follower.wait_for("tag", 4000)
    with make_http(daemon, key) as reader, Follower(reader, after="kept") as follower:
        follower.wait_for("tag", 4000)
        assert not [name for _, name, _ in follower.events if name == "lost"]
    with make_http(daemon, key) as reader, Follower(reader, after="4503599627370495") as follower:
        assert follower.events[0][1] in ("lost", "following")


def test_what_was_told_before_is_told_from_the_oldest_on(daemon, http, key, word):
    for number in range(3):
        invalidate(http, tag=f"{word}:{number}")
    with make_http(daemon, key) as client, Follower(client, after="kept") as follower:
        names = [notice["name"] for notice in follower.wait_for("tag", 3)]
    assert names == [f"{word}:{number}" for number in range(3)]
    assert not [event for event in follower.events if event[1] == "lost"]

    def tail(*words):
        done = daemon.cli("tail", "--invalidations", "--once", *words, env={"DEJA_KEY": key})
        assert done.returncode == 0, done.stderr
        return [line.split("  ")[2] for line in done.stdout.splitlines()]

    assert tail() == names and tail("--limit", "2") == names[1:] and tail("--limit", "0") == []


def test_a_stream_ends_when_it_was_to_and_when_the_daemon_drains(spawn, word):
    daemon = spawn()
    with make_http(daemon, word) as client:
        assert "event: following" in client.get(FOLLOW, params={"wait": "1s"}).text
        with Follower(client) as follower:
            daemon.stop()
            assert follower.ended.wait(TIMEOUT_S) and follower.failure is None


# -- channels of other programs --

def redis_env(server, **more):
    return {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{server.port}",
            "DEJA_L2__REDIS__PREFIX": f"t{uuid.uuid4().hex[:12]}", **more}


def is_hit(client, query):
    return client.post("/api/v1/lookup", json={"query": query, "threshold": 1}).json()["hit"]


def is_listening(valkey, channel, count):
    poll(lambda: valkey.client()("PUBSUB", "NUMSUB", channel)[1] >= count, "the subscription")


def tenant_of(client):
    return client.get("/api/v1/limits").json()["tenant"]


def test_redis_channel_is_obeyed(spawn, valkey, key, word):
    channel = f"c:{word}"
    daemon = spawn(env=redis_env(valkey, DEJA_INVALIDATIONS__REDIS_CHANNEL=channel))
    is_listening(valkey, channel, 1)
    with make_http(daemon, key) as client, make_http(daemon, key) as reader, Follower(reader) as follower:
        tenant = tenant_of(client)
        client.put(f"/api/v1/kv/{word}", content=b"v", headers={"Content-Type": "text/plain"})
        put(client, f"{word} a", tags=["t"])
        say = lambda message: valkey.client()("PUBLISH", channel, json.dumps(message))  # noqa: E731
        say({"key": word, "reason": "from outside", "tenant": tenant})
        told = follower.wait_for("key")[0]
        assert (told["name"], told["reason"], told["source"]) == (word, "from outside", "redis")
        assert client.get(f"/api/v1/kv/{word}").status_code == 404
        say({"tag": "t", "tenant": tenant})
        follower.wait_for("tag")
        assert not is_hit(client, f"{word} a")
        entry = put(client, f"{word} b", depends_on=[f"doc:{word}"])
        say({"cascade": f"doc:{word}", "tenant": tenant})
        follower.wait_for("cascade")
        say({"key": put(client, f"{word} c"), "tenant": tenant})
        follower.wait_for("entry")
        say({"event": {"name": "template:updated", "template_id": "1"}, "tenant": tenant})
        follower.wait_for("event")
        assert client.get(f"/api/v1/entries/{entry}").status_code == 404
        before = len(follower.told())
        for bad in ("x", {"key": "a", "tag": "b"}, {"keys": ["a"]}, {"tenant": "nobody", "key": "a"}, {}, [1],
                    {"key": "a\x00b", "tenant": tenant}, {"event": "moon:full", "tenant": tenant}):
            say(bad)
        say({"pattern": "none*", "tenant": tenant})
        follower.wait_for("pattern")
        assert len(follower.told()) == before + 1
    poll(lambda: daemon.log_text().count("message of a channel refused") == 8, "eight refusals in the log")


def test_message_without_a_tenant_means_the_one_of_the_settings_or_is_refused(spawn, valkey, word):
    channel = f"c:{word}"
    env = redis_env(valkey, DEJA_INVALIDATIONS__REDIS_CHANNEL=channel)
    daemon = spawn(env=env)
    is_listening(valkey, channel, 1)
    with make_http(daemon) as local, make_http(daemon) as reader, Follower(reader) as follower:
        put(local, word)
        valkey.client()("PUBLISH", channel, json.dumps({"all": True, "reason": "local"}))
        assert follower.wait_for("all")[0]["source"] == "redis"
        assert not is_hit(local, word)
    daemon.stop()
    refusing = spawn(env={**env, "DEJA_INVALIDATIONS__REFUSE_UNNAMED": "true"})
    is_listening(valkey, channel, 1)
    valkey.client()("PUBLISH", channel, json.dumps({"all": True}))
    poll(lambda: "it names no tenant" in refusing.log_text(), "the refusal")


def test_what_is_made_void_is_published_once_and_other_nodes_see_it(spawn, valkey, key, word):
    """Both publish and both obey: no message goes round in circles, and a delete leaves the other's memory."""
    channel = f"c:{word}"
    env = redis_env(valkey, DEJA_INVALIDATIONS__REDIS_CHANNEL=channel,
                    DEJA_L2__REDIS__PUBLISH_INVALIDATIONS="true")
    daemons = [spawn(env=env) for _ in range(2)]
    is_listening(valkey, channel, 2)
    listener = valkey.client()
    listener("SUBSCRIBE", channel)
    with make_http(daemons[0], key) as one, make_http(daemons[1], key) as two:
        entry = put(one, word, tags=["t"])
        poll(lambda: is_hit(two, word), "the other to serve it")  # in its memory from now on
        assert one.delete(f"{ENTRIES}/{entry}").status_code == 200
        message = json.loads(listener.read()[2])
        assert (message["key"], message["kind"], message["tenant"]) == (entry, "entry", tenant_of(one))
        poll(lambda: not is_hit(two, word), "the delete on the other")
        with make_http(daemons[1], key) as reader, Follower(reader) as follower:
            invalidate(one, tag="t", reason="r")
            told = follower.wait_for("tag")[0]
            assert (told["name"], told["source"]) == ("t", "node")
        assert json.loads(listener.read()[2])["kind"] == "tag"
        invalidate(one, namespace="last")
        assert json.loads(listener.read()[2])["kind"] == "namespace"  # nothing else came between


def test_subscription_comes_back_after_the_server_did(spawn, tmp_path, key, word):
    server = Server(tmp_path / "own").start()
    channel = f"c:{word}"
    daemon = spawn(env=redis_env(server, DEJA_INVALIDATIONS__REDIS_CHANNEL=channel))
    is_listening(server, channel, 1)
    server.kill()
    server.start()
    is_listening(server, channel, 1)
    with make_http(daemon, key) as client, Follower(client) as follower:
        server.client()("PUBLISH", channel, json.dumps({"tag": "t", "tenant": tenant_of(client)}))
        follower.wait_for("tag")
    daemon.stop()
    server.kill()


def test_postgres_notify_is_obeyed_and_sent(spawn, postgres, key, word):
    database = f"t{uuid.uuid4().hex[:12]}"
    url = postgres.create_database(database)
    env = {"DEJA_L3__POSTGRES__URL": url, "DEJA_SECURITY__SECRET": "5e" * 32,
           "DEJA_L3__POSTGRES__PUBLISH_INVALIDATIONS": "true"}
    daemons = [spawn(env=env) for _ in range(2)]
    listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    poll(lambda: postgres.psql(listening, database) == [["2"]], "both to listen", every=0.2)
    with make_http(daemons[0], key) as one, make_http(daemons[1], key) as reader, Follower(reader) as follower:
        tenant = tenant_of(one)
        put(one, word, tags=["row:7"])
        message = json.dumps({"tag": "row:7", "reason": "updated", "tenant": tenant})
        postgres.psql(f"SELECT pg_notify('deja_invalidate', '{message}')", database)
        told = follower.wait_for("tag")[0]
        assert told["name"] == "row:7" and told["source"] in ("postgres", "node")
        poll(lambda: not is_hit(one, word), "the entry to go")
        invalidate(one, namespace="n")
        follower.wait_for("namespace")


# -- webhooks --

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.asked += 1
        status = 500 if server.asked <= server.failures else 204
        if status == 204:
            server.got.append((dict(self.headers), body))
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.asked, server.failures = [], 0, 0
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def webhooks_total(client, result):
    found = re.search(rf'(?m)^semantic_cache_webhooks_total{{result="{result}"}} (\d+)$', client.get("/metrics").text)
    return int(found[1]) if found else 0


def test_webhooks_are_signed_in_order_and_tried_again(spawn, receiver, key, word):
    receiver.failures = 1
    daemon = spawn(env={"DEJA_WEBHOOKS__URLS": f"http://127.0.0.1:{receiver.server_port}/hook",
                        "DEJA_WEBHOOKS__ALLOWED_ADDRESSES": "127.0.0.1", "DEJA_WEBHOOKS__SECRET": "the secret"})
    with make_http(daemon, key) as client:
        invalidate(client, tag="one", reason=word)
        invalidate(client, tag="two")
        poll(lambda: len(receiver.got) == 2, "both deliveries")
        assert receiver.asked == 3
        poll(lambda: webhooks_total(client, "delivered") == 2, "both to be counted")
        assert webhooks_total(client, "retried") == 1 and webhooks_total(client, "dropped") == 0
        headers, body = receiver.got[0]
        told = json.loads(body)
        assert (told["kind"], told["name"], told["reason"]) == ("tag", "one", word)
        assert told["tenant"] == tenant_of(client) and json.loads(receiver.got[1][1])["name"] == "two"
        expected = hmac.new(b"the secret", headers["X-Deja-Timestamp"].encode() + b"." + body, "sha256").hexdigest()
        assert headers["X-Deja-Signature"] == "sha256=" + expected
        assert headers["X-Deja-Event"] == "invalidation" and headers["X-Deja-Delivery"]


def test_webhook_that_does_not_answer_holds_nobody_up(spawn, key):
    daemon = spawn(env={"DEJA_WEBHOOKS__URLS": "http://127.0.0.1:1/", "DEJA_WEBHOOKS__SECRET": "s",
                        "DEJA_WEBHOOKS__ALLOWED_ADDRESSES": "127.0.0.1",
                        "DEJA_WEBHOOKS__ATTEMPTS": "1", "DEJA_WEBHOOKS__QUEUE": "2"})
    with make_http(daemon, key) as client:
        for i in range(20):
            invalidate(client, tag=f"t{i}")
        poll(lambda: "could not be delivered" in daemon.log_text(), "the loss in the log")
        poll(lambda: webhooks_total(client, "dropped") == 20, "every loss to be counted")
