"""Backup, wipe, restore, verify: every kind of entry, through the API and offline; damaged backups are
refused and say where; what was erased or made void since stays so."""
import itertools
import os
import random
import re
import shutil

import httpx
import pytest
from conftest import ask, make_http
from daemon import poll, run_cli

API = "/api/v1"
ENTRIES, LOOKUP = f"{API}/entries", f"{API}/lookup"
# ./dev soak takes 100,000.
COUNT = int(os.environ.get("DEJA_BACKUP_ENTRIES", "3000"))
PATIENCE_S = 1800


def token_of(daemon):
    return re.findall(r"admin\s+token ([0-9a-f]{64})", daemon.log_text())[-1]


def admin(daemon, method, path, body=None):
    return httpx.request(method, daemon.url + API + path, json=body, timeout=60, trust_env=False,
                         headers={"X-Deja-Token": token_of(daemon)})


def transfer(daemon, what, **body):
    """Starts one and waits for its end."""
    answer = admin(daemon, "POST", f"/{what}", body)
    assert answer.status_code == 202, answer.text
    told = f"/transfers/{answer.json()['id']}"
    return poll(lambda: (lambda now: now["state"] != "running" and now)(admin(daemon, "GET", told).json()),
                f"the {what} to end", timeout=PATIENCE_S)


def done(daemon, what, **body):
    now = transfer(daemon, what, **body)
    assert now["state"] == "done", now
    return now


def put(client, entries):
    answer = client.put(ENTRIES, json={"entries": entries})
    assert answer.status_code in (200, 201), answer.text
    assert "error" not in answer.text, answer.text[:2000]


def api_entry(i, rng):
    entry = {"query": f"question number {i} of the backup", "response": {"n": i, "text": "x" * rng.randrange(200)},
             "ttl": rng.choice([3600, 86400, 30 * 86400]), "tags": [f"t{i % 7}", "all"],
             "namespace": f"ns{i % 3}", "metadata": {"i": i}, "model": "m", "provider": "p", "cost": i / 1000}
    if i % 5 == 0:  # a caller's own vector
        entry.update(embedding=[rng.uniform(-1, 1) for _ in range(8)], embedder="mine")
    return entry


def fill(daemon, key, count):
    """count entries through the cache API, and some of every other kind."""
    rng = random.Random(7)
    with make_http(daemon, key) as client:
        numbers = iter(range(count))
        while batch := list(itertools.islice(numbers, 100)):
            put(client, [api_entry(i, rng) for i in batch])
        for i in range(20):
            assert ask(client, f"chat {i} to be kept").status_code == 200
        answer = client.post("/v1/embeddings", json={"model": "embed", "input": ["a text", "another"]})
        assert answer.status_code == 200, answer.text
    with make_http(daemon, key + "-other") as client:
        put(client, [api_entry(i, rng) for i in range(50)])


def settle(daemon):
    """Every put behind its answer has reached the disk."""
    def look():
        now = done(daemon, "verify")
        again = done(daemon, "verify")
        return now["entries"] == again["entries"] and now
    return poll(look, "the entries to come to rest")


def wipe(daemon, keep=("master.key", "secret")):
    for path in daemon.data.iterdir():
        if path.name in keep or path.name == "backups":
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_backup_wipe_restore_verify_finds_no_difference(spawn, key):
    daemon = spawn()
    fill(daemon, key, COUNT)
    settle(daemon)
    made = done(daemon, "backup", file="all.djb")
    assert made["entries"] >= COUNT + 70
    checked = done(daemon, "verify", file="all.djb")
    assert (checked["matched"], checked["missing"], checked["extra"]) == (made["entries"], 0, 0)
    daemon.stop()
    wipe(daemon)
    daemon.start()
    lost = transfer(daemon, "verify", file="all.djb")
    assert lost["state"] == "failed" and lost["missing"] == made["entries"]
    assert len(lost["mismatches"]) == min(1000, made["entries"])
    restored = done(daemon, "restore", file="all.djb")
    assert restored["stored"] == made["entries"], restored
    checked = done(daemon, "verify", file="all.djb")
    assert checked["matched"] == made["entries"] and not checked["mismatches"], checked
    with make_http(daemon, key) as client:  # and they are served: by their words, by meaning, after a restart too
        answer = client.post(LOOKUP, json={"query": "question number 7 of the backup", "namespace": "ns1"})
        assert answer.json()["hit"], answer.text
        assert ask(client, "chat 3 to be kept").headers["x-cache-status"].lower().startswith("hit")
