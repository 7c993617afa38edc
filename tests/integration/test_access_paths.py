"""One suite for every way in: what one puts, each other reads, with the same words, the same end and the
same removal. Native API, command line and LangCache's API share entries; the proxy and the library are
asked to behave the same among themselves (docs/tiers.md says why they are apart)."""
import json
import time
import uuid

import pytest
from conftest import ask, chat_body, content_of, make_http
from daemon import poll
from langcache_kit import Wire

LIFE_S = 2
SKEW_S = 1.0  # what is promised of an end
ODD = "Zürich – \"quoted\" \\ {v:1} *? 東京 \u0001".replace("\u0001", "") + " 100 %"


class Native:
    name = "native"

    def __init__(self, daemon, key, cache):
        self.cache = cache
        self.http = make_http(daemon, key)

    def put(self, prompt, text, ttl_s=None):
        body = {"query": prompt, "response": text, "namespace": self.cache}
        answer = self.http.put("/api/v1/entries", json={**body, **({"ttl": ttl_s} if ttl_s else {})})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def get(self, prompt):
        answer = self.http.post("/api/v1/lookup", json={"query": prompt, "namespace": self.cache, "threshold": 1})
        assert answer.status_code == 200, answer.text
        return answer.json()["response"] if answer.json()["hit"] else None

    def remove(self, _prompt, entry):
        return self.http.delete(f"/api/v1/entries/{entry}").status_code == 200


class Command:
    name = "command"

    def __init__(self, daemon, key, cache):
        self.daemon, self.cache = daemon, cache
        self.env = {"DEJA_KEY": key}

    def run(self, *words):
        return self.daemon.cli(*words, env=self.env)

    def put(self, prompt, text, ttl_s=None):
        done = self.run("put", prompt, text, "--namespace", self.cache, "--json",
                        *(["--ttl", f"{ttl_s}s"] if ttl_s else []))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["id"]

    def get(self, prompt):
        done = self.run("get", prompt, "--namespace", self.cache, "--json", "--threshold", "1")
        assert done.returncode in (0, 3), done.stderr
        return json.loads(done.stdout)["response"] if done.returncode == 0 else None

    def remove(self, prompt, _entry):
        return self.run("del", "--query", prompt, "--namespace", self.cache).returncode == 0


class LangCache:
    name = "langcache"

    def __init__(self, daemon, key, cache):
        self.wire = Wire(daemon, key, cache)

    def put(self, prompt, text, ttl_s=None):
        answer = self.wire.set(prompt, text, **({"ttlMillis": ttl_s * 1000} if ttl_s else {}))
        assert answer.status_code == 201, answer.text
        return answer.json()["entryId"]

    def get(self, prompt):
        found = self.wire.find(prompt, similarityThreshold=1.0, searchStrategies=["exact"])
        return found[0]["response"] if found else None

    def remove(self, _prompt, entry):
        return self.wire.remove(entry).status_code == 204


WAYS = [Native, Command, LangCache]
EACH = pytest.mark.parametrize("writer", WAYS, ids=lambda way: way.name)


@pytest.fixture
def ways(daemon, key):
    cache = f"c{uuid.uuid4().hex[:12]}"
    return {way: way(daemon, key, cache) for way in WAYS}


@EACH
def test_what_one_puts_each_other_reads_word_for_word(ways, writer, word):
    prompt = f"what of {word} in Zürich"
    ways[writer].put(prompt, ODD)
    assert {way.name: reader.get(prompt) for way, reader in ways.items()} == {way.name: ODD for way in WAYS}


@EACH
def test_what_one_replaces_is_new_for_each(ways, writer, word):
    for way in WAYS:
        ways[way].put(word, f"of {way.name}")
    ways[writer].put(word, "the last")
    assert {reader.get(word) for reader in ways.values()} == {"the last"}


@pytest.mark.parametrize("remover", WAYS, ids=lambda way: way.name)
@EACH
def test_what_one_removes_is_gone_for_each(ways, writer, remover, word):
    entry = ways[writer].put(word, "here")
    assert ways[remover].remove(word, entry)
    assert {reader.get(word) for reader in ways.values()} == {None}


@EACH
def test_what_one_puts_ends_for_each_at_the_same_time(ways, writer, word):
    began = time.time()
    ways[writer].put(word, "for a while", ttl_s=LIFE_S)
    kept = time.time()
    left = set(WAYS)
    while left:
        for way in list(left):
            asked = time.time()
            if ways[way].get(word) is None:
                left.discard(way)
                # Lives are shortened at random by at most a tenth, so that not all end at once.
                assert time.time() - began >= LIFE_S * 0.9 - SKEW_S, f"{way.name}: ended early"
            else:
                assert asked - kept <= LIFE_S * 1.1 + SKEW_S, f"{way.name}: does not end"


def test_nobody_reads_what_another_tenant_put(daemon, ways, word):
    cache = ways[Native].cache
    for writer in ways.values():
        writer.put(f"{word} {writer.name}", "secret")
    others = [way(daemon, f"sk-{uuid.uuid4().hex}", cache) for way in WAYS]
    assert {other.get(f"{word} {writer.name}") for other in others for writer in ways.values()} == {None}


def test_the_proxy_does_likewise_among_its_own(daemon, key, word):
    only = {"Cache-Control": "only-if-cached"}
    with make_http(daemon, key) as http, make_http(daemon, f"sk-{uuid.uuid4().hex}") as stranger:
        first = ask(http, f"tell {word}")
        again = ask(http, f"tell {word}", headers=only)
        assert (again.status_code, content_of(again)) == (200, content_of(first))
        stream = http.post("/v1/chat/completions", json=chat_body(f"tell {word}", stream=True), headers=only)
        assert stream.status_code == 200 and word in stream.text
        assert ask(stranger, f"tell {word}", headers=only).status_code == 504
        assert not http.post("/api/v1/lookup", json={"query": f"tell {word}", "threshold": 1}).json()["hit"]
        removed = http.delete(f"/api/v1/entries/{again.headers['x-cache-id']}")
        assert removed.status_code == 200, removed.text
        assert ask(http, f"tell {word}", headers=only).status_code == 504
        ask(http, f"brief {word}", headers={"Cache-Control": "max-age=1", "X-Deja-TTL": "1"})
        poll(lambda: ask(http, f"brief {word}", headers=only).status_code == 504, "the answer to end")
