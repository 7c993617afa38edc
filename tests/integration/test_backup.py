"""Backup, wipe, restore, verify: every kind of entry, through the API and offline; damaged backups are
refused and say where; what was erased or made void since stays so."""
import base64
import itertools
import json
import os
import random
import re
import shutil

import httpx
import pytest
from conftest import ask, make_http
from daemon import poll, run_cli
from kept import Kept, settings

API = "/api/v1"
ENTRIES, LOOKUP = f"{API}/entries", f"{API}/lookup"
# ./dev soak takes 100,000.
COUNT = int(os.environ.get("DEJA_BACKUP_ENTRIES", "3000"))
PATIENCE_S = 1800
RECORD_MAGIC = b"DJE1"


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
        for i in range(20):
            value = bytes([i, 0, 255]) * i
            answer = client.put(f"{API}/kv/plain%00{i}", content=value, headers={"X-Deja-TTL": "3600"} if i % 2 else {})
            assert answer.status_code < 300, answer.text
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


def test_backup_wipe_restore_verify_finds_no_difference(spawn, upstream, key):
    daemon = spawn(env=settings())
    fill(daemon, key, COUNT)
    kept = Kept(daemon, upstream, key + "-kept", {"X_Deja_TTL": "1d"} if COUNT > 10_000 else {})
    kept.put()
    settle(daemon)
    before, lines = kept.look()
    made = done(daemon, "backup", file="all.djb")
    assert made["entries"] >= COUNT + 90 + len(lines)
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
        assert client.get(f"{API}/kv/plain%007").content == bytes([7, 0, 255]) * 7
    assert kept.look() == (before, lines)
    kept.check_what_voids_them()


# ---- where the file is ----

def order(daemon, *args):
    return run_cli(*args, "--server", daemon.url, "--token", token_of(daemon), timeout=PATIENCE_S)


def test_folder_in_a_name_is_never_cut_off(spawn, key, tmp_path):
    daemon = spawn()
    folder = daemon.data / "backups"
    with make_http(daemon, key) as client:
        put(client, [{"query": "kept", "response": "here"}])
    settle(daemon)
    made = order(daemon, "backup", "x.djb")
    assert made.returncode == 0 and str(folder / "x.djb") in made.stdout, made.stdout + made.stderr
    elsewhere = tmp_path / "x.djb"
    for words in (("backup", elsewhere), ("restore", elsewhere, "--merge"), ("verify", elsewhere), ("backup", "./y.djb"),
                  ("migrate-data", "--from", "lmdb", "--to", tmp_path / "z.djb")):
        ran = order(daemon, *words)
        assert ran.returncode == 1 and str(folder) in ran.stderr and "--offline" in ran.stderr, ran.stdout + ran.stderr
    assert [path.name for path in folder.iterdir()] == ["x.djb"] and not elsewhere.exists()
    # The daemon's own folder may be named, too; JSON has where it is.
    told = json.loads(order(daemon, "verify", folder / "x.djb", "--json").stdout)
    assert told["matched"] == 1 and told["path"] == str(folder / "x.djb")
    daemon.stop()
    away = cli(daemon, "backup", str(elsewhere))
    assert elsewhere.exists() and f": {elsewhere}" in away.stdout


def test_check_says_what_the_backup_has_and_a_failure_says_only_why(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": f"kept {i}", "response": "x" * 100} for i in range(6)])
    settle(daemon)
    made = order(daemon, "backup", "six.djb")
    order(daemon, "backup", "six.jsonl")
    size = re.search(r"6 entries of (\d+) bytes", made.stdout)[1]
    for name in ("six.djb", "six.jsonl"):
        ran = order(daemon, "restore", name, "--check")
        assert ran.returncode == 0 and f"restore: whole, 6 entries of {size} bytes" in ran.stdout, ran.stdout
        assert ("backup of 20" in ran.stdout) == name.endswith("djb") and "stored" not in ran.stdout, ran.stdout
    told = json.loads(order(daemon, "restore", "six.djb", "--check", "--json").stdout)
    assert told["made_at"] <= told["started_at"] and told["entries"] == 6
    path = daemon.data / "backups" / "six.djb"
    path.write_bytes(path.read_bytes()[:-1])
    for words in (("restore", "six.djb", "--merge"), ("restore", "none.djb"), ("backup", "six.jsonl")):
        ran = order(daemon, *words)
        assert ran.returncode == 1 and ran.stdout == "" and ran.stderr, (words, ran.stdout)


def test_differences_are_told_by_name_kind_and_what_differs(spawn, key):
    daemon = spawn()
    secret = "sk-proj-" + "aB3dE5gH7jK9mN1pQ3rS5tU7" * 2
    with make_http(daemon, key) as client:
        def keep(name, value, ttl):
            answer = client.put(f"{API}/kv/{name}", content=value, headers={"X-Deja-TTL": str(ttl)})
            assert answer.status_code < 300, answer.text
        put(client, [{"query": "what is it", "response": "a"}, {"query": f"is {secret} mine", "response": "a"}])
        for name in ("doc:1", "doc:2", "%00bin%FF"):
            keep(name, "old", 3600)
        settle(daemon)
        done(daemon, "backup", file="before.djb")
        keep("doc:1", "newer", 7200)
        keep("doc:3", "more", 600)
        assert client.delete(f"{API}/kv/doc:2").status_code < 300
        assert client.delete(f"{API}/kv/%00bin%FF").status_code < 300
        for query in ("what is it", f"is {secret} mine"):
            assert client.request("DELETE", ENTRIES, params={"query": query}).status_code == 200
        settle(daemon)
    now = transfer(daemon, "verify", file="before.djb")
    found = {item.get("key") or item.get("query") or item.get("key_base64"): item for item in now["mismatches"]}
    assert {name: (item["what"], item["kind"]) for name, item in found.items()} == {
        "doc:1": ("differs", "plain"), "doc:2": ("missing", "plain"), "doc:3": ("extra", "plain"),
        "what is it": ("missing", "api"), base64.b64encode(b"\0bin\xff").decode(): ("missing", "plain"),
        None: ("missing", "api")}
    changed = found["doc:1"]
    assert "value" in changed["fields"] and "ttl" in changed["fields"]
    assert (changed["source"]["bytes"], changed["target"]["bytes"]) == (3, 5)
    assert changed["source"]["expires_at"] < changed["target"]["expires_at"]
    assert "target" not in found["doc:2"] and "source" not in found["doc:3"]
    assert found[None]["sensitive"] is True
    told = order(daemon, "verify", "before.djb")
    assert told.returncode == 1 and secret not in told.stdout + told.stderr
    line = next(line for line in told.stdout.splitlines() if "doc:1" in line)
    assert line.split()[:2] == ["differs", "plain"] and "source 3 bytes, until 20" in line and "target 5" in line


def test_restore_after_a_flush_says_that_it_stays_void_and_where_it_comes_back(spawn, key, tmp_path):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": f"kept {i}", "response": "x", "tags": ["two"] if i < 2 else []} for i in range(6)])
        settle(daemon)
        assert order(daemon, "backup", "six.djb").returncode == 0
        assert client.post(f"{API}/invalidate", json={"tag": "two"}).status_code == 200
        ran = order(daemon, "restore", "six.djb", "--merge")
        assert ran.returncode == 0 and "4 stored" in ran.stdout and "2 were made void" in ran.stderr, ran.stderr
        assert client.post(f"{API}/invalidate", json={"all": True}).status_code == 200
    ran = order(daemon, "restore", "six.djb", "--merge")
    assert ran.returncode == 1 and "6 were made void" in ran.stderr and "--offline" in ran.stderr, ran.stderr
    assert "since the backup was made" in ran.stderr
    daemon.stop()
    shutil.copy(daemon.data / "backups" / "six.djb", tmp_path)
    other = spawn(start=False)
    shutil.copy(daemon.data / "master.key", other.data)
    ran = cli(other, "restore", str(tmp_path / "six.djb"))
    assert "6 stored" in ran.stdout and not ran.stderr, ran.stderr
    assert "6 matched" in cli(other, "verify", str(tmp_path / "six.djb")).stdout


# ---- whose ----

def test_tenant_is_named_by_its_name_or_its_id(spawn, tmp_path):
    daemon = spawn()
    ids = {}
    for name in ("acme & co", "another"):
        ids[name] = admin(daemon, "POST", "/tenants", {"name": name}).json()["id"]
        made = admin(daemon, "POST", "/keys", {"tenant": ids[name], "roles": ["read", "write"]}).json()
        with make_http(daemon, made["secret"]) as client:
            put(client, [{"query": f"of {name}", "response": "kept"}])
    tenant = ids["acme & co"]
    settle(daemon)
    here = ("--data", daemon.data)
    for i, name in enumerate((tenant, "acme & co")):
        lines = tmp_path / f"{i}.jsonl"
        assert order(daemon, "export", lines, "--tenant", name).returncode == 0
        assert [json.loads(line)["query"] for line in lines.read_text().splitlines()] == ["of acme & co"]
        for words, told in ((("import", lines), "1 stored"), (("backup", f"{i}.djb"), "1 entries"),
                            (("restore", f"{i}.djb", "--merge"), "1 entries"), (("verify", f"{i}.djb"), "1 matched"),
                            (("erase", "--dry-run"), "1 entries"), (("migrate-data", "--confirm", "none"), "no migration")):
            ran = order(daemon, *words, "--tenant", name)
            assert told in ran.stdout + ran.stderr, (words, ran.stdout, ran.stderr)
        audit = run_cli("audit", "export", "--tenant", name, *here)
        assert audit.returncode == 0 and tenant in audit.stdout and ids["another"] not in audit.stdout
    for words in (("export", tmp_path / "no.jsonl"), ("import", tmp_path / "0.jsonl"), ("backup", "no.djb"),
                  ("verify",), ("erase", "--yes"), ("migrate-data", "--from", "lmdb", "--to", "s3")):
        for name in ("acme", ""):
            ran = order(daemon, *words, "--tenant", name)
            assert ran.returncode == 1 and f'no tenant "{name}"' in ran.stderr, (words, ran.stdout, ran.stderr)
    assert not (tmp_path / "no.jsonl").exists()
    assert run_cli("audit", "tail", "--tenant", "acme", *here).returncode == 2
    daemon.stop()
    ran = cli(daemon, "backup", str(tmp_path / "off.djb"), "--tenant", "acme & co")
    assert "1 entries" in ran.stdout, ran.stdout + ran.stderr


# ---- without a daemon ----

def cli(daemon, *args, ok=True):
    ran = run_cli(*args, "--offline", "--data", str(daemon.data), timeout=PATIENCE_S)
    assert not ok or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def test_offline_backup_is_restored_on_another_machine_that_has_the_master_key(spawn, key, tmp_path):
    first = spawn()
    fill(first, key, 300)
    settle(first)
    busy = cli(first, "backup", str(tmp_path / "x.djb"), ok=False)
    assert busy.returncode == 75, busy.stderr  # the daemon has the directory
    assert f"process {first.process.pid} has it" in busy.stderr and "leave out --offline" in busy.stderr
    assert "deja backup:" in busy.stderr and "deja serve" not in busy.stderr, busy.stderr
    for words in (("verify",), ("export", str(tmp_path / "x.jsonl"))):
        assert f"deja {words[0]}: " in cli(first, *words, ok=False).stderr
    first.stop()
    file = tmp_path / "moved.djb"
    told = cli(first, "backup", str(file), "--json").stdout
    assert '"state":"done"' in told and file.stat().st_mode & 0o777 == 0o600
    assert cli(first, "backup", str(file), ok=False).returncode == 1  # never written over
    second = spawn(start=False)
    without = cli(second, "restore", str(file), ok=False)
    assert without.returncode == 1 and "master.key" in without.stderr
    assert not (second.data / "master.key").exists()
    shutil.copy(first.data / "master.key", second.data / "master.key")
    cli(second, "restore", str(file))
    again = cli(second, "restore", str(file), ok=False)
    assert again.returncode == 1 and "not empty" in again.stderr
    assert "0 missing" not in cli(second, "verify", str(file)).stdout
    second.start()
    with make_http(second, key) as client:
        answer = client.post(LOOKUP, json={"query": "question number 8 of the backup", "namespace": "ns2"})
        assert answer.json()["hit"], answer.text
        assert ask(client, "chat 3 to be kept").headers["x-cache-status"].lower().startswith("hit")


def test_verify_reads_every_record_of_a_data_directory(spawn, key):
    daemon = spawn()
    rng = random.Random(3)
    with make_http(daemon, key) as client:
        put(client, [{"query": f"row {i}", "response": rng.randbytes(10000).hex()} for i in range(30)])
    daemon.stop()
    assert "verify: done" in cli(daemon, "verify").stdout
    path = next((daemon.data / "entries").glob("data.mdb"))
    data = bytearray(path.read_bytes())
    # Rows that fill pages of their own (their flag is 4), behind a page's head and the row's: not the tree.
    places = [found.start() for found in re.finditer(RECORD_MAGIC, bytes(data))
              if found.start() % 4096 == 56 and data[found.start() - 46] == 4]
    assert places
    for at in places:
        data[at + 5000] ^= 0x55
    path.write_bytes(data)
    assert cli(daemon, "verify", ok=False).returncode == 1


# ---- damage ----

def test_damaged_backup_is_refused_region_by_region_and_nothing_is_written(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": f"kept {i}", "response": "x" * 500} for i in range(100)])
    done(daemon, "backup", file="whole.djb")
    with make_http(daemon, key) as client:
        assert client.post(f"{API}/invalidate", json={"all": True}).status_code == 200
    folder = daemon.data / "backups"
    whole = (folder / "whole.djb").read_bytes()
    regions = {"magic": 3, "header": 20, "wrapped key": 100, "first head": 196, "first block": 250,
               "middle": len(whole) // 2, "end block": len(whole) - 20, "last byte": len(whole) - 1}
    for name, at in regions.items():
        damaged = bytearray(whole)
        damaged[at] ^= 1
        (folder / "bad.djb").write_bytes(damaged)
        now = transfer(daemon, "restore", file="bad.djb", into="merge")
        assert now["state"] == "failed" and now["stored"] == 0, (name, now)
        assert "at byte" in now["error"] or "not a backup" in now["error"], (name, now["error"])
    for name, cut in {"empty": 0, "cut": len(whole) // 2, "no end": len(whole) - 160}.items():
        (folder / "bad.djb").write_bytes(whole[:cut])
        now = transfer(daemon, "restore", file="bad.djb", into="merge")
        assert now["state"] == "failed" and now["stored"] == 0, (name, now)
    assert done(daemon, "restore", file="whole.djb", check=True)["stored"] == 0


def test_backup_of_another_deployment_is_refused_with_what_to_do(spawn, key):
    master = {"DEJA_ENCRYPTION__MASTER_KEY": "0a" * 32}
    first, second = spawn(env=master), spawn(env=master)
    other = spawn(env={"DEJA_ENCRYPTION__MASTER_KEY": "0b" * 32})
    with make_http(first, key) as client:
        put(client, [{"query": "whose", "response": "theirs"}])
    done(first, "backup", file="theirs.djb")
    for daemon, word in ((second, "deployment secret"), (other, "master key")):
        (daemon.data / "backups").mkdir()
        shutil.copy(first.data / "backups" / "theirs.djb", daemon.data / "backups")
        now = transfer(daemon, "restore", file="theirs.djb")
        assert now["state"] == "failed" and word in now["error"], now
        assert now["stored"] == 0


def test_killed_restore_is_done_again_over_what_is_there(spawn, upstream, key):
    daemon = spawn(env=settings())
    with make_http(daemon, key) as client:
        for start in range(0, 3000, 100):
            put(client, [{"query": f"row {i}", "response": "x" * 2000} for i in range(start, start + 100)])
    kept = Kept(daemon, upstream, key + "-kept")
    kept.put()
    settle(daemon)
    before = kept.look()
    entries = done(daemon, "backup", file="rows.djb")["entries"]
    daemon.stop()

    def killed():
        """What was there after a restore that was killed; None: it had ended by then."""
        wipe(daemon)
        daemon.start()
        answer = admin(daemon, "POST", "/restore", {"file": "rows.djb"})
        assert answer.status_code == 202, answer.text
        told = f"/transfers/{answer.json()['id']}"
        poll(lambda: admin(daemon, "GET", told).json()["stored"] > 100, "some to be stored", every=0.001)
        daemon.kill()
        daemon.start()
        some = transfer(daemon, "verify", file="rows.djb")
        if some["matched"] == entries:
            daemon.stop()
            return None
        return some

    some = poll(killed, "a restore to be killed in its middle")
    assert 0 < some["matched"] < entries and not some["differing"] and not some["extra"], some
    refused = transfer(daemon, "restore", file="rows.djb")
    assert refused["state"] == "failed" and "--merge" in refused["error"]
    assert not done(daemon, "restore", file="rows.djb", into="merge")["failed"]
    assert done(daemon, "verify", file="rows.djb")["matched"] == entries
    assert kept.look() == before
    kept.check_what_voids_them()


# ---- what happened since ----

def test_newer_versions_win_and_what_was_made_void_since_stays_void(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": "changed since", "response": "old"}, {"query": "deleted since", "response": "old"},
                     {"query": "void since", "response": "old", "tags": ["price"]}])
        done(daemon, "backup", file="before.djb")
        put(client, [{"query": "changed since", "response": "new"}])
        assert client.post(f"{API}/invalidate", json={"tag": "price"}).status_code == 200
        assert client.request("DELETE", ENTRIES, params={"query": "deleted since"}).status_code == 200
        daemon.restart()  # what only memory knew of the delete is gone
        now = done(daemon, "restore", file="before.djb", into="merge")
        assert now["voided"] == 1, now
    with make_http(daemon, key) as client:
        def look(text):
            answer = client.post(LOOKUP, json={"query": text}).json()
            return answer["response"] if answer["hit"] and answer["kind"] == "exact" else None
        assert look("changed since") == "new"
        assert look("void since") is None
        assert look("deleted since") == "old"  # that is what a restore is for


def test_who_was_erased_does_not_come_back(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client, make_http(daemon, key + "2") as other:
        put(client, [{"query": "of the erased", "response": "gone"}])
        put(other, [{"query": "of the other", "response": "kept"}])
        tenant = client.get(f"{API}/stats").json()["tenant"]
    made = done(daemon, "backup", file="both.djb")
    assert made["entries"] == 2
    answer = admin(daemon, "POST", "/erase", {"tenant": tenant})
    assert answer.status_code in (200, 202), answer.text
    now = done(daemon, "restore", file="both.djb", into="merge")
    assert now["voided"] == 1, now


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_what_is_of_all_tenants_does_not_go_with_one(spawn, key, what):
    daemon = spawn()
    with make_http(daemon, key) as client:
        tenant = client.get(f"{API}/stats").json()["tenant"]
    answer = admin(daemon, "POST", f"/{what}", {"file": "one.djb", "tenant": tenant, "config": True})
    assert answer.status_code == 400 and "either tenant or config" in answer.text, answer.text


def test_schedules_of_who_was_erased_do_not_come_back(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client, make_http(daemon, key + "2") as other:
        for each in (client, other):
            answer = each.post(f"{API}/invalidate", json={"tag": "t", "cron": "0 4 * * *"})
            assert answer.status_code == 202, answer.text
        tenant = client.get(f"{API}/stats").json()["tenant"]
        kept = other.get(f"{API}/schedules").json()["schedules"]
        done(daemon, "backup", file="config.djb", config=True)
        assert admin(daemon, "POST", "/erase", {"tenant": tenant}).status_code == 200
        assert client.get(f"{API}/schedules").json()["schedules"] == []
        done(daemon, "restore", file="config.djb", into="merge", config=True)
        daemon.stop()
        daemon.start()
        assert client.get(f"{API}/schedules").json()["schedules"] == []
        assert other.get(f"{API}/schedules").json()["schedules"] == kept


# ---- tenants and keys ----

def test_tenants_and_keys_come_along_when_that_is_asked_for(spawn):
    master = {"DEJA_ENCRYPTION__MASTER_KEY": "0a" * 32, "DEJA_SECURITY__SECRET": "5e" * 32}
    first, second = spawn(env=master), spawn(env=master)
    made = admin(first, "POST", "/tenants", {"name": "acme"})
    assert made.status_code == 201, made.text
    tenant = made.json()["id"]
    secret = admin(first, "POST", "/keys", {"tenant": tenant, "roles": ["read", "write"]}).json()["secret"]
    with make_http(first, secret) as client:
        put(client, [{"query": "of acme", "response": "kept"}])
    now = done(first, "backup", file="config.djb", config=True)
    assert now["documents"] >= 3  # the secret, the tenant, its key
    (second.data / "backups").mkdir()
    shutil.copy(first.data / "backups" / "config.djb", second.data / "backups")
    assert secret.encode() not in (first.data / "backups" / "config.djb").read_bytes()
    done(second, "restore", file="config.djb", config=True)
    with make_http(second, secret) as client:
        assert client.post(LOOKUP, json={"query": "of acme"}).json()["hit"]


@pytest.mark.parametrize("body, word", [({}, "file"), ({"file": "../x"}, "plain name"), ({"file": "/etc/x"}, "plain"),
                                        ({"file": ".hidden"}, "plain"), ({"file": "x", "tenant": "y"}, "tenant"),
                                        ({"file": "x", "from": "floppy"}, "from"), ({"file": "x", "more": 1}, "more")])
def test_order_that_cannot_be_is_refused(daemon, body, word):
    answer = admin(daemon, "POST", "/backup", body)
    assert answer.status_code == 400 and word in answer.text, answer.text


def test_only_administrators_may(daemon, http):
    for path in ("backup", "restore", "verify", "migrate"):
        assert http.post(f"{API}/{path}", json={"file": "x"}).status_code in (401, 403)
    assert http.get(f"{API}/transfers").status_code in (401, 403)
