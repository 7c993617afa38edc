"""What is made void is told: as server-sent events, to webhooks, through Redis and PostgreSQL."""
import json
import threading

import pytest
from conftest import TIMEOUT_S, make_http
from daemon import poll

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
        self.stop = True
        self.response.close()
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
    with make_http(daemon, key) as reader, Follower(reader, after="4503599627370495") as follower:
        assert follower.events[0][1] in ("lost", "following")


def test_a_stream_ends_when_it_was_to_and_when_the_daemon_drains(spawn, word):
    daemon = spawn()
    with make_http(daemon, word) as client:
        assert "event: following" in client.get(FOLLOW, params={"wait": "1s"}).text
        with Follower(client) as follower:
            daemon.stop()
            assert follower.ended.wait(TIMEOUT_S) and follower.failure is None
