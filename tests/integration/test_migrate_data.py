"""Entries of one tier into another, with real servers: stopped by kill -9 and gone on with, compared at the
end, rolled back until it is confirmed. Backups in a bucket."""
import os
import re
import shutil
import uuid

import pytest
from conftest import make_http
from daemon import poll, run_cli
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from test_backup import API, ENTRIES, LOOKUP, admin, done, fill, put, settle, token_of, transfer, wipe
from test_shared import wait_for_first_pull

SECRET = "5e" * 32


def settings_of(s3, **more):
    rows = {"enabled": "true", "endpoint": s3.url, "bucket": BUCKET, "prefix": f"t{uuid.uuid4().hex[:12]}/", **more}
    return f"security:\n  secret: {SECRET}\nl3:\n  s3:\n" + "".join(f"    {k}: {v}\n" for k, v in rows.items())


def with_bucket(spawn, config):
    return spawn(config=config, env={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                                     "DEJA_ENCRYPTION__MASTER_KEY": "0a" * 32})


def count(daemon, level):
    """Entries that the tier lists."""
    return done(daemon, "verify", **{"from": level})["entries"]


def test_backup_in_a_bucket_is_restored_and_compared(spawn, s3, key):
    daemon = with_bucket(spawn, settings_of(s3, kinds="bytes"))
    fill(daemon, key, 400)
    settle(daemon)
    name = f"s3://b{uuid.uuid4().hex[:8]}"
    made = done(daemon, "backup", file=name, config=True)
    again = transfer(daemon, "backup", file=name)
    assert again["state"] == "failed" and "there already" in again["error"]
    checked = done(daemon, "verify", file=name)
    assert checked["matched"] == made["entries"] and not checked["missing"]
    daemon.stop()
    wipe(daemon, keep=("secret", "deja.yaml"))
    daemon.start()
    assert done(daemon, "restore", file=name)["stored"] == made["entries"]
    assert done(daemon, "verify", file=name)["matched"] == made["entries"]
    missing = transfer(daemon, "restore", file="s3://nothing", into="merge")
    assert missing["state"] == "failed" and "no backup" in missing["error"]


MIB = 1024 * 1024
PART = 8 * MIB


def test_backup_in_a_bucket_that_lost_a_part_is_refused_and_says_where(spawn, s3, key):
    settings = settings_of(s3, kinds="bytes")
    daemon = with_bucket(spawn, settings)
    with make_http(daemon, key) as client:
        for i in range(36):  # 18 MB: three parts
            put(client, [{"query": f"large {i}", "response": os.urandom(500_000).hex()}])
    settle(daemon)
    made = done(daemon, "backup", file="s3://parts")
    parts = sorted(path for path in s3.data.rglob("parts/*") if path.is_file())
    assert len(parts) == 3 and made["entries"] == 36, parts
    whole = {path: path.read_bytes() for path in parts}

    def check(*words):
        ran = run_cli("restore", "s3://parts", *words, "--server", daemon.url, "--token", token_of(daemon), timeout=300)
        return ran.returncode, ran.stdout, ran.stderr

    assert check("--check")[0] == 0
    assert done(daemon, "verify", file="s3://parts")["matched"] == 36
    for number, path in enumerate(parts):  # the first, the middle, the last: gone, or shorter than it was
        for cut in (None, 1, len(whole[path]) // 2):
            path.unlink(missing_ok=True)
            if cut:
                path.write_bytes(whole[path][:-cut])
            code, out, told = check("--merge")
            assert code == 1 and "stored" not in out, (path, cut, told)
            if not cut and not number:
                assert "parts/000000, is missing" in told, told
                continue
            at = int(re.search(r"block \d+ at byte (\d+)", told)[1])  # that block holds it, and is of about 1 MiB
            wanted = number * PART + (len(whole[path]) - cut if cut else 0)
            assert wanted - 2 * MIB < at <= wanted, (path, cut, told)
        path.write_bytes(whole[path])
    assert check("--check")[0] == 0


def test_bucket_is_needed_for_a_backup_there(daemon):
    now = transfer(daemon, "backup", file="s3://x")
    assert now["state"] == "failed" and "l3.s3" in now["error"]


def migrate(daemon, *args, ok=True):
    ran = run_cli("migrate-data", *args, "--server", daemon.url, "--token", token_of(daemon), timeout=600)
    assert not ok or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def rows(client, first, last):
    for start in range(first, last, 100):
        put(client, [{"query": f"row {i}", "response": "x" * 300} for i in range(start, start + 100)])


def test_killed_migration_goes_on_is_compared_and_taken_back(spawn, s3, key):
    config = settings_of(s3, write="through")
    daemon = with_bucket(spawn, config + "    kinds: bytes\n")  # nothing of ours goes there yet
    with make_http(daemon, key) as client:
        rows(client, 0, 600)
    settle(daemon)
    daemon.stop()
    daemon.config.write_text(config)
    daemon.start()
    assert (count(daemon, "lmdb"), count(daemon, "s3")) == (600, 0)
    answer = admin(daemon, "POST", "/migrate", {"from": "lmdb", "to": "s3"})
    assert answer.status_code == 202, answer.text
    told = f"/transfers/{answer.json()['id']}"
    poll(lambda: admin(daemon, "GET", told).json()["stored"] > 70, "more than a piece to be put")
    daemon.kill()
    daemon.start()
    some = count(daemon, "s3")
    assert 70 < some < 600, "it was killed in the middle"
    assert "ended" not in migrate(daemon, "--confirm", "lmdb-to-s3", ok=False).stdout
    assert "not ended" in migrate(daemon, "--confirm", "lmdb-to-s3", ok=False).stderr
    again = done(daemon, "migrate", **{"from": "lmdb", "to": "s3"})
    assert again["entries"] < 600, "it began where it was"
    assert (again["missing"], again["differing"], again["matched"]) == (0, 0, 600), again
    assert count(daemon, "s3") == 600
    assert done(daemon, "verify", **{"from": "lmdb", "to": "s3"})["matched"] == 600
    third = transfer(daemon, "migrate", **{"from": "lmdb", "to": "s3"})
    assert third["state"] == "failed" and "confirm" in third["error"]
    migrate(daemon, "--rollback", "lmdb-to-s3")
    assert (count(daemon, "lmdb"), count(daemon, "s3")) == (600, 0)
    missing = migrate(daemon, "--rollback", "lmdb-to-s3", ok=False)
    assert missing.returncode == 1 and "no migration" in missing.stderr


def test_confirmed_migration_stays_and_what_the_target_had_comes_back_before(spawn, s3, key):
    config = settings_of(s3, write="through")
    daemon = with_bucket(spawn, config)
    with make_http(daemon, key) as client:
        rows(client, 0, 100)
        settle(daemon)
        assert count(daemon, "s3") == 100
        # The bucket keeps older versions of some: put while it is left out.
        daemon.stop()
        daemon.config.write_text(config + "    kinds: bytes\n")
        daemon.start()
        put(client, [{"query": f"row {i}", "response": "newer"} for i in range(10)])
        settle(daemon)
        daemon.stop()
        daemon.config.write_text(config)
        daemon.start()
        different = transfer(daemon, "verify", **{"from": "lmdb", "to": "s3"})
        assert different["state"] == "failed" and different["differing"] == 10, different
        assert all("version" in item["fields"] and "value" in item["fields"] for item in different["mismatches"])
        assert done(daemon, "migrate", **{"from": "lmdb", "to": "s3", "name": "one"})["stored"] == 10
        migrate(daemon, "--rollback", "one")
        back = transfer(daemon, "verify", **{"from": "lmdb", "to": "s3"})
        assert back["differing"] == 10 and back["missing"] == 0, back
        assert done(daemon, "migrate", **{"from": "lmdb", "to": "s3", "name": "two"})["state"] == "done"
        migrate(daemon, "--confirm", "two")
        assert migrate(daemon, "--rollback", "two", ok=False).returncode == 1
        # What was put back is newer than what it gave way to: such a service forgets no version.
        after = transfer(daemon, "verify", **{"from": "lmdb", "to": "s3"})
        assert (after["matched"], after["differing"]) == (90, 10), after


def test_migration_that_was_compared_in_vain_is_not_confirmed_without_saying_so(spawn, s3, key):
    config = settings_of(s3, write="through")
    daemon = with_bucket(spawn, config + "    kinds: bytes\n")  # the bucket takes nothing of ours
    with make_http(daemon, key) as client:
        rows(client, 0, 100)
    settle(daemon)
    for name in ("again", "forced"):
        ran = migrate(daemon, "--from", "lmdb", "--to", "s3", "--name", name, ok=False)
        assert ran.returncode == 1 and "100 missing" in ran.stdout + ran.stderr, ran.stdout + ran.stderr
        assert re.search(r"(?m)^  missing +api +row \d+ ", ran.stdout), ran.stdout
        ran = migrate(daemon, "--confirm", name, ok=False)
        assert ran.returncode == 1 and "--force" in ran.stderr and "roll" in ran.stderr, ran.stderr
    migrate(daemon, "--confirm", "forced", "--force")
    assert "no migration" in migrate(daemon, "--rollback", "forced", ok=False).stderr
    daemon.stop()
    daemon.config.write_text(config)
    daemon.start()
    again = done(daemon, "migrate", **{"from": "lmdb", "to": "s3", "name": "again"})
    assert (again["stored"], again["missing"]) == (100, 0), again
    migrate(daemon, "--rollback", "again")  # a second way through left the journal whole
    assert (count(daemon, "lmdb"), count(daemon, "s3")) == (100, 0)
    for body in ({"action": "rollback", "name": "x", "force": True}, {"from": "lmdb", "to": "s3", "force": True}):
        answer = admin(daemon, "POST", "/migrate", body)
        assert answer.status_code == 400 and "confirm" in answer.text, answer.text


@pytest.mark.parametrize("tier", ["redis", "postgres"])
def test_one_machine_moves_to_a_shared_tier_by_a_backup(spawn, valkey, postgres, key, tmp_path, tier):
    daemon = spawn()
    fill(daemon, key, 300)
    with make_http(daemon, key) as client:  # void before: it must not come to life in a tier that knows nothing of it
        put(client, [{"query": "void before", "response": "old", "tags": ["gone"]}])
        assert client.post(f"{API}/invalidate", json={"tag": "gone"}).status_code == 200
    settle(daemon)
    daemon.stop()
    path = tmp_path / "move.djb"
    ran = run_cli("backup", "--offline", str(path), "--with-config", "--data", str(daemon.data))
    assert ran.returncode == 0, ran.stderr
    name = f"t{uuid.uuid4().hex[:12]}"
    daemon.env |= {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}", "DEJA_L2__REDIS__PREFIX": name} \
        if tier == "redis" else {"DEJA_L3__POSTGRES__URL": postgres.create_database(name)}
    daemon.start()
    wait_for_first_pull(daemon, tier)
    (daemon.data / "backups").mkdir()
    shutil.copy(path, daemon.data / "backups")
    restored = done(daemon, "restore", file="move.djb", into="merge")
    assert restored["stored"] >= 390 and not restored["failed"], restored
    checked = done(daemon, "verify", file="move.djb")
    assert checked["matched"] == restored["stored"] and not checked["missing"], checked
    with make_http(daemon, key) as client:
        def look(text):
            return client.post(LOOKUP, json={"query": text, "namespace": "ns1"}).json()
        assert look("question number 7 of the backup")["hit"]
        assert client.get(f"{API}/kv/plain%007").status_code == 200
        assert not client.post(LOOKUP, json={"query": "void before"}).json().get("response") == "old"


@pytest.mark.parametrize("tier, setting", [("s3", "l3.s3.bucket"), ("redis", "l2.redis.addresses"),
                                           ("postgres", "l3.postgres.url"), ("l3", "l3.s3.bucket")])
def test_tier_that_is_not_configured_is_refused_before_anything_is_written(daemon, tier, setting):
    words = ("--server", daemon.url, "--token", token_of(daemon))
    for order in (("migrate-data", "--from", "lmdb", "--to", tier), ("migrate-data", "--from", tier, "--to", "lmdb"),
                  ("verify", "--from", "lmdb", "--to", tier), ("verify", "--from", tier),
                  ("backup", "none.djb", "--from", tier), ("restore", "none.djb", "--to", tier, "--merge")):
        ran = run_cli(*order, *words)
        assert ran.returncode == 1 and not ran.stdout, ran.stdout + ran.stderr
        assert "is not configured" in ran.stderr and setting in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    assert not (daemon.data / "migrations").exists() and not (daemon.data / "backups" / "none.djb").exists()


def test_tier_that_is_only_read_is_no_target(spawn, s3):
    daemon = with_bucket(spawn, settings_of(s3, read_only="true"))
    ran = migrate(daemon, "--from", "lmdb", "--to", "s3", ok=False)
    assert ran.returncode == 1 and "only read" in ran.stderr, ran.stderr
    assert not (daemon.data / "migrations").exists()


@pytest.mark.parametrize("args, word", [((), "from where"), (("--from", "lmdb", "--to", "lmdb"), "different tiers"),
                                        (("--from", "a.djb", "--to", "b.djb"), "one side"),
                                        (("--confirm", "x", "--rollback", "y"), "or")])
def test_migration_that_cannot_be_says_why(daemon, args, word):
    ran = migrate(daemon, *args, ok=False)
    assert ran.returncode in (1, 2) and word in ran.stderr, ran.stderr
