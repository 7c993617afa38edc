"""What lies outside memory is sealed: nothing readable in the data directory, Valkey, PostgreSQL or S3;
daemons that share a tier read each other; keys are rotated under load; a wrong master key is said."""
import json
import os
import random
import re
import struct
import threading
import urllib.parse
import uuid

import boto3
import botocore.config
import httpx
import pytest
from conftest import make_http
from daemon import poll, run_cli
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from test_mutants import BUILD, mutants, needs_build
from test_shared import wait_for_first_pull

ENTRIES, LOOKUP = "/api/v1/entries", "/api/v1/lookup"
SECRET = "5e" * 32
MASTER, OTHER = "0a" * 32, "0b" * 32
ROTATIONS = int(os.environ.get("DEJA_ROTATIONS", "20"))
CANARY = "Zinnober-Kanarienvogel-4711"
VECTOR = [0.5, -0.25, 0.125, 0.0625, -0.5, 0.25, 0.5, 0.3125] * 4
# As floats of either order, and as the bytes that int8 with the largest as 127 would be.
PATTERNS = [CANARY.encode(), struct.pack("<8f", *VECTOR[:8]), struct.pack(">8f", *VECTOR[:8]),
            bytes(round(x * 254) & 255 for x in VECTOR[:8])]


def token_of(daemon):
    return re.findall(r"admin\s+token ([0-9a-f]{64})", daemon.log_text())[-1]


def call(daemon, method, path, body=None, status=200):
    answer = httpx.request(method, f"{daemon.url}/api/v1/encryption{path}", json=body, timeout=60, trust_env=False,
                           headers={"X-Deja-Token": token_of(daemon)})
    assert answer.status_code == status, answer.text
    return answer.json()


def rotated(daemon, **body):
    call(daemon, "POST", "/rotate", body, 202)
    return poll(lambda: (lambda told: told["rotation"]["status"] != "running" and told)(call(daemon, "GET", "")),
                "the rotation to end")


def put(client, query, response, **more):
    answer = client.put(ENTRIES, json={"query": query, "response": response, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def lookup(client, query, **more):
    answer = client.post(LOOKUP, json={"query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


# Plain keys: of no kind, of kinds whose tags repeat what the name says, one that is binary.
KEYS = [f"plain:{CANARY}", f"session:user:{CANARY}", f"template:score:{CANARY}", f"ai:response:{CANARY}:m:1",
        f"\x01\xff{CANARY}"]


def plant(client):
    """An entry that says the canary wherever text can stand, with a vector that can be looked for; and
    plain keys that say it in name, value, media type and the name of their version."""
    for name in KEYS:
        answer = client.put(path_of(name), content=f"value {CANARY}", headers={
            "Content-Type": f"text/{CANARY}", "X-Deja-Version": CANARY, "X-Deja-Depends-On": CANARY})
        assert answer.status_code == 201 and not answer.json().get("tiers_missing"), answer.text
    return put(client, f"question {CANARY}", f"answer {CANARY}", embedding=VECTOR, metadata={"note": CANARY},
               model=CANARY, provider=CANARY)


def path_of(name):
    return f"/api/v1/kv/{urllib.parse.quote(name, safe='', encoding='latin-1')}"


COLD = [name for name in KEYS if "session" not in name]  # that kind is kept on no cold level


def assert_keys_are_read(client, names=KEYS):
    for name in names:
        answer = client.get(path_of(name))
        assert answer.status_code == 200 and answer.text == f"value {CANARY}", (name, answer.text)


def assert_clean(data, where):
    for pattern in PATTERNS:
        assert pattern not in data, f"{pattern!r} is readable in {where}"


def health(daemon):
    with make_http(daemon) as client:
        return client.get("/health/detailed").json()["components"]["encryption"]


# ---- one machine ----

def test_nothing_readable_lies_in_the_data_directory(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        plant(client)
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
        poll(lambda: client.get("/health/detailed").json()["components"]["lmdb"]["details"]["entries"], "the disk")
    daemon.restart()
    with make_http(daemon, key) as client:
        found = lookup(client, f"question {CANARY}")
        assert (found["hit"], found["tier"], found["response"]) == (True, "lmdb", f"answer {CANARY}")
        near = lookup(client, "other words", embedding=VECTOR)
        assert near["hit"] and near["kind"] == "semantic", "its vector was opened, too"
        assert_keys_are_read(client)
    daemon.stop()
    files = [path for path in daemon.data.rglob("*") if path.is_file()]
    assert any(path.name == "master.key" and path.stat().st_mode & 0o777 == 0o600 for path in files)
    for path in files:
        if path.stat().st_size:
            assert_clean(path.read_bytes(), path)


def test_without_encryption_it_is_said_and_lies_there_as_it_is(spawn, key):
    daemon = spawn(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    assert "not encrypted" in daemon.log_text()
    assert health(daemon)["status"] == "disabled"
    with make_http(daemon, key) as client:
        plant(client)
        poll(lambda: client.get("/health/detailed").json()["components"]["lmdb"]["details"]["entries"], "the disk")
    call(daemon, "POST", "/rotate", {}, 409)
    daemon.stop()
    assert any(CANARY.encode() in path.read_bytes() for path in daemon.data.rglob("*.mdb"))


def test_what_was_kept_before_is_believed_only_where_the_operator_says_so(spawn, key):
    """Whoever can write to a tier could leave the seal away."""
    daemon = spawn(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    with make_http(daemon, key) as client:
        put(client, "an old one", "kept in the open")
        poll(lambda: client.get("/health/detailed").json()["components"]["lmdb"]["details"]["entries"], "the disk")
    daemon.env.pop("DEJA_ENCRYPTION__ENABLED")
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "an old one")["hit"] is False
        assert call(daemon, "GET", "")["records"]["plain"] >= 1  # each look counts


def test_what_was_kept_before_stays_readable_and_is_sealed_at_its_next_write(spawn, key):
    daemon = spawn(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    with make_http(daemon, key) as client:
        put(client, "an old one", "kept in the open")
        poll(lambda: client.get("/health/detailed").json()["components"]["lmdb"]["details"]["entries"], "the disk")
    daemon.env.pop("DEJA_ENCRYPTION__ENABLED")
    daemon.env["DEJA_ENCRYPTION__ACCEPT_PLAIN"] = "true"
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "an old one")["response"] == "kept in the open"
        assert call(daemon, "GET", "")["records"]["plain"] == 1
        put(client, "an old one", "kept again")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "an old one")["response"] == "kept again"
        assert call(daemon, "GET", "")["records"]["plain"] == 0


def test_keys_are_rotated_under_load_and_every_entry_stays(spawn, key):
    """ROTATIONS turns, while entries of all ages are read and new ones put: none is ever missed."""
    daemon = spawn(env={"DEJA_L1__MAX_SIZE": "100"})
    failures, is_over, newest = [], threading.Event(), [299]

    def read(draw):
        with make_http(daemon, key) as reader:
            while not is_over.is_set():
                last = newest[0]
                n = draw.choice([draw.randrange(300), draw.randrange(max(0, last - 20), last + 1)])
                found = lookup(reader, f"entry number {n} of them")
                if not found["hit"] or found["response"] != f"answer {n}":
                    failures.append((n, found))

    def write():
        with make_http(daemon, key) as writer:
            while not is_over.is_set():
                put(writer, f"entry number {newest[0] + 1} of them", f"answer {newest[0] + 1}")
                newest[0] += 1
                is_over.wait(0.02)  # the load is the readers'

    with make_http(daemon, key) as client:
        for n in range(300):
            put(client, f"entry number {n} of them", f"answer {n}")
    threads = [threading.Thread(target=read, args=(random.Random(n),)) for n in range(2)]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    try:
        for turn in range(ROTATIONS):
            told = rotated(daemon)
            assert told["rotation"]["status"] == "done", told
            assert told["keys"]["old"] == 0 and told["keys"]["destroyed"] >= turn + 1
            assert told["rotation"]["records"] >= 300 and not failures, (turn, failures[:3])
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not failures and newest[0] > 299, failures[:3]
    daemon.restart()
    with make_http(daemon, key) as client:
        for n in [*range(0, 300, 11), *range(300, newest[0] + 1, 11)]:
            assert lookup(client, f"entry number {n} of them")["response"] == f"answer {n}"
    said = daemon.cli("encryption", "rotate", env={"DEJA_TOKEN": token_of(daemon)})
    assert said.returncode == 0 and "sealed anew" in said.stdout
    said = daemon.cli("encryption", "status", "--json", env={"DEJA_TOKEN": token_of(daemon)})
    assert json.loads(said.stdout)["keys"]["old"] == 0


# ---- a key that is due ----

@pytest.fixture(scope="module")
def later():
    """The daemon, with a clock of its own and another count of records that is too much."""
    clock = "clock_gettime(CLOCK_REALTIME, &now);"
    count = "key->is_previous || key->sealed + key->sealed_before >= DJ_KEYRING_SEALED_MAX"
    return mutants.make(BUILD, "deja", "keys that are due", [
        ("src/loop/loop.c", clock, clock + """
    if (getenv("TEST_DAYS_LATER"))
        now.tv_sec += 86400 * strtol(getenv("TEST_DAYS_LATER"), NULL, 10);
"""),
        ("src/security/keyring.c", count, count.replace(
            "DJ_KEYRING_SEALED_MAX", '(uint64_t)strtol(getenv("TEST_RECORDS_MAX"), NULL, 10)')),
        ("src/loop/loop.c", '#include "loop/loop.h"', '#include <stdlib.h>\n#include "loop/loop.h"'),
        ("src/security/keyring.c", "#include <assert.h>", "#include <assert.h>\n#include <stdlib.h>")])


def put_keys(client, name, count):
    for n in range(count):
        answer = client.put(f"/api/v1/kv/{name}-{n}", content=f"{name} {n}", headers={"X-Deja-TTL": "0"})
        assert answer.status_code == 201, answer.text


def assert_keys(client, name, count):
    for n in range(count):
        assert client.get(f"/api/v1/kv/{name}-{n}").text == f"{name} {n}"


def looked(daemon):
    """What the last look at the keys' age has told, once there was one."""
    return poll(lambda: (lambda told: told["rotation"] and told["rotation"]["status"] != "running" and told)(
        call(daemon, "GET", "")), "a look at ages")


@needs_build
@pytest.mark.heavy
def test_a_key_is_rotated_after_thirty_days(spawn, later, key):
    """The interval is that which ships; only the time between two looks is not an hour."""
    daemon = spawn(env={"DEJA_ENCRYPTION__ROTATION_CHECK": "1s", "TEST_RECORDS_MAX": str(1 << 30)})
    with make_http(daemon, key) as client:
        put_keys(client, "old", 40)
    daemon.program = later
    daemon.env["TEST_DAYS_LATER"] = "29"
    daemon.restart()
    told = looked(daemon)
    assert (told["keys"]["active"], told["keys"]["destroyed"], told["rotation"]["tenants"]) == (1, 0, 0), told
    daemon.env["TEST_DAYS_LATER"] = "30"
    daemon.restart()
    with make_http(daemon, key) as client:
        put_keys(client, "new", 1)
        told = poll(lambda: (lambda told: told["keys"]["destroyed"] and told)(call(daemon, "GET", "")), "a new key")
        assert (told["keys"]["active"], told["keys"]["old"], told["keys"]["destroyed"]) == (1, 0, 1), told
        assert_keys(client, "old", 40)
    daemon.restart()
    told = looked(daemon)
    assert told["keys"]["destroyed"] == 1, "the new one is young"
    with make_http(daemon, key) as client:
        assert_keys(client, "old", 40)
        assert_keys(client, "new", 1)


@needs_build
@pytest.mark.heavy
def test_a_key_is_rotated_after_so_many_records(spawn, later, key):
    """Here 100 are too many. That they are counted over restarts: test_keyring.c."""
    daemon = spawn(start=False, env={"DEJA_ENCRYPTION__ROTATION_CHECK": "1s", "TEST_RECORDS_MAX": "100"})
    daemon.program = later
    daemon.start()
    with make_http(daemon, key) as client:
        put_keys(client, "first", 60)
        told = looked(daemon)
        assert told["keys"]["destroyed"] == 0, told
        put_keys(client, "second", 60)
        told = poll(lambda: (lambda told: told["keys"]["destroyed"] and told)(call(daemon, "GET", "")), "a new key")
        assert told["keys"]["active"] == 1, told
        assert_keys(client, "first", 60)
        assert_keys(client, "second", 60)


def test_another_master_key_reads_nothing_and_says_so(spawn, key):
    daemon = spawn(env={"DEJA_ENCRYPTION__MASTER_KEY": MASTER})
    with make_http(daemon, key) as client:
        put(client, "before", "sealed by the first")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY"] = OTHER
    daemon.restart()
    assert health(daemon)["status"] == "degraded" and "another master key" in health(daemon)["message"]
    assert "of another master key" in daemon.log_text() and MASTER not in daemon.log_text()
    with make_http(daemon, key) as client:
        assert not lookup(client, "before")["hit"]
        put(client, "meanwhile", "in memory only")
        assert lookup(client, "meanwhile")["tier"] == "memory"
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY"] = MASTER
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "before")["response"] == "sealed by the first"
        assert not lookup(client, "meanwhile")["hit"]
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY"] = OTHER
    daemon.restart()
    assert rotated(daemon, lost_master=True)["rotation"]["status"] == "done"
    assert health(daemon)["status"] == "healthy"
    with make_http(daemon, key) as client:
        assert not lookup(client, "before")["hit"]
        put(client, "after", "sealed by the other")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "after")["response"] == "sealed by the other"


def test_a_new_master_key_takes_over_and_nothing_is_lost(spawn, key):
    daemon = spawn(env={"DEJA_ENCRYPTION__MASTER_KEY": MASTER})
    with make_http(daemon, key) as client:
        for i in range(50):
            put(client, f"before {i}", f"sealed by the first: {i}")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"] >= 50, "the entries to be sealed")
    daemon.env |= {"DEJA_ENCRYPTION__MASTER_KEY": OTHER, "DEJA_ENCRYPTION__MASTER_KEY_PREVIOUS": MASTER}
    daemon.restart()
    assert health(daemon)["status"] == "healthy", "the old one is known"
    with make_http(daemon, key) as client:
        assert lookup(client, "before 0")["response"] == "sealed by the first: 0"
        put(client, "meanwhile", "while it is replaced")
    def is_over():
        told = call(daemon, "GET", "")
        return told["keys"]["of_previous_master_key"] == 0 and told["rotation"]["status"] == "done" and told
    told = poll(is_over, "no key of the old one to be left")
    assert told["keys"]["old"] == 0 and told["rotation"]["records"] >= 50
    daemon.env.pop("DEJA_ENCRYPTION__MASTER_KEY_PREVIOUS")
    daemon.restart()
    assert health(daemon)["status"] == "healthy"
    with make_http(daemon, key) as client:
        assert all(lookup(client, f"before {i}")["response"] == f"sealed by the first: {i}" for i in range(50))
        assert lookup(client, "meanwhile")["hit"]
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY"] = MASTER
    daemon.restart()
    with make_http(daemon, key) as client:
        assert not lookup(client, "before 0")["hit"], "the old one opens nothing any more"


def test_the_key_of_the_directory_is_replaced_by_one_of_the_operators(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, "before", "sealed by the directory's")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY"] = OTHER
    daemon.restart()
    poll(lambda: call(daemon, "GET", "")["keys"]["of_previous_master_key"] == 0, "the keys to be replaced")
    (daemon.data / "master.key").unlink()
    daemon.restart()
    with make_http(daemon, key) as client:
        assert lookup(client, "before")["response"] == "sealed by the directory's"


@pytest.mark.parametrize("env, words", [
    ({"DEJA_ENCRYPTION__MASTER_KEY": "abc"}, "64 hex digits"),
    ({"DEJA_ENCRYPTION__MASTER_KEY_PREVIOUS": "abc"}, "64 hex digits"),
    ({"DEJA_ENCRYPTION__MASTER_KEY_COMMAND": "exit 3"}, "code 3"),
    ({"DEJA_ENCRYPTION__MASTER_KEY_COMMAND": "sleep 30", "DEJA_ENCRYPTION__COMMAND_TIMEOUT": "200ms"}, "did not end"),
    ({"DEJA_ENCRYPTION__MASTER_KEY_COMMAND": "yes"}, "did not end"),
    ({"DEJA_ENCRYPTION__MASTER_KEY_FILE": "/nowhere/key"}, "/nowhere/key"),
])
def test_a_master_key_that_cannot_be_used_ends_the_start(tmp_path, env, words):
    done = run_cli("serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data"), env=env)
    assert done.returncode == 78
    assert words in done.stdout + done.stderr


def test_a_command_gives_the_master_key(spawn, key, tmp_path):
    path = tmp_path / "key"
    path.write_text(MASTER + "\n")
    daemon = spawn(env={"DEJA_ENCRYPTION__MASTER_KEY_COMMAND": f"cat {path}"})
    assert call(daemon, "GET", "")["master_key"] == "command"
    with make_http(daemon, key) as client:
        put(client, "by command", "sealed")
        poll(lambda: call(daemon, "GET", "")["records"]["sealed"], "the entry to be sealed")
    daemon.env.pop("DEJA_ENCRYPTION__MASTER_KEY_COMMAND")
    path.chmod(0o600)
    daemon.env["DEJA_ENCRYPTION__MASTER_KEY_FILE"] = str(path)
    daemon.restart()
    assert call(daemon, "GET", "")["master_key"] == "configuration"
    with make_http(daemon, key) as client:
        assert lookup(client, "by command")["response"] == "sealed"


# ---- shared tiers ----

def of_valkey(server):
    return {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{server.port}",
            "DEJA_L2__REDIS__PREFIX": f"t{uuid.uuid4().hex[:12]}", "DEJA_ENCRYPTION__REFRESH": "100ms"}


READS = {"string": ("GET",), "hash": ("HGETALL",), "set": ("SMEMBERS",), "list": ("LRANGE", 0, -1),
         "zset": ("ZRANGE", 0, -1), "stream": ("XRANGE", "-", "+")}


def flat(reply):
    if isinstance(reply, list):
        return b" ".join(map(flat, reply))
    return reply if isinstance(reply, bytes) else str(reply).encode()


def dump_of_valkey(server, prefix):
    """Names and values of all kinds."""
    with server.client() as client:
        for name in client("KEYS", prefix + "*"):
            command, *more = READS[flat(client("TYPE", name)).decode()]
            yield flat(name)
            yield flat(client(command, name, *more))


def test_daemons_share_a_valkey_where_nothing_is_readable(spawn, valkey, key):
    env = of_valkey(valkey)
    first, second = (spawn(env=env) for _ in range(2))
    for daemon in (first, second):
        wait_for_first_pull(daemon, "redis")
    assert "protects only against" in first.log_text()
    with make_http(first, key) as a, make_http(second, key) as b:
        plant(a)
        found = lookup(b, f"question {CANARY}")
        assert (found["hit"], found["response"]) == (True, f"answer {CANARY}"), "at its very first look-up"
        assert_keys_are_read(b)
        dump = b"\n".join(dump_of_valkey(valkey, env["DEJA_L2__REDIS__PREFIX"]))
        assert dump
        assert_clean(dump, "Valkey")
        put(a, "an older one", "of the first key")
        told = rotated(first)
        assert told["rotation"]["status"] == "done" and told["rotation"]["records"] >= 2, told
        put(b, "a newer one", "of the second")
        assert lookup(a, "a newer one")["response"] == "of the second"
        third = spawn(env=env)
        wait_for_first_pull(third, "redis")
        with make_http(third, key) as c:
            for query, response in (("an older one", "of the first key"), ("a newer one", "of the second")):
                assert lookup(c, query)["response"] == response


def test_damaged_and_moved_records_are_misses(spawn, valkey, key):
    env = {**of_valkey(valkey), "DEJA_L1__ENABLED": "false"}
    daemon = spawn(env=env)
    wait_for_first_pull(daemon, "redis")
    with make_http(daemon, key) as client, valkey.client() as server:
        names = set()
        for n in range(2):
            put(client, f"entry {n}", f"answer {n}")
            now = set(map(str, server("KEYS", env["DEJA_L2__REDIS__PREFIX"] + "*q*")))
            names |= now
        for n in range(2):
            found = lookup(client, f"entry {n}")
            assert found["response"] == f"answer {n}"


def test_daemons_share_postgresql_where_nothing_is_readable(spawn, postgres, key):
    name = f"t{uuid.uuid4().hex[:12]}"
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(name), "DEJA_SECURITY__SECRET": SECRET,
           "DEJA_ENCRYPTION__REFRESH": "100ms"}
    first, second = (spawn(env=env) for _ in range(2))
    for daemon in (first, second):
        wait_for_first_pull(daemon, "postgres")
    with make_http(first, key) as a, make_http(second, key) as b:
        plant(a)
        assert lookup(b, f"question {CANARY}")["response"] == f"answer {CANARY}"
        assert_keys_are_read(b, COLD)
        tables = postgres.psql("SELECT schemaname || '.' || tablename FROM pg_tables"
                               " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')", database=name)
        dump = "\n".join(str(row) for [table] in tables
                         for row in postgres.psql(f"SELECT t::text FROM {table} t", database=name))
        assert "444a4531" in dump, "a record is there"
        assert CANARY not in dump and "0.3125" not in dump
        for pattern in PATTERNS:
            assert pattern.hex() not in dump
        row = postgres.psql("SELECT DISTINCT query IS NULL AND metadata IS NULL AND model IS NULL AND embedding IS NULL"
                            " FROM deja.cache_metadata", database=name)
        assert row == [["t"]]
        assert rotated(second)["rotation"]["records"] == 1 + len(COLD)
        third = spawn(env=env)
        wait_for_first_pull(third, "postgres")
        with make_http(third, key) as c:
            assert lookup(c, f"question {CANARY}")["response"] == f"answer {CANARY}"
            assert_keys_are_read(c, COLD)


def test_postgresql_searches_if_vectors_may_be_read(spawn, postgres, key):
    name = f"t{uuid.uuid4().hex[:12]}"
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(name), "DEJA_SECURITY__SECRET": SECRET,
           "DEJA_L3__POSTGRES__SEARCH": "true", "DEJA_ENCRYPTION__REFRESH": "100ms"}
    first, second = (spawn(env=env) for _ in range(2))
    for daemon in (first, second):
        wait_for_first_pull(daemon, "postgres")
    with make_http(first, key) as a, make_http(second, key) as b:
        plant(a)
        assert lookup(b, "other words", embedding=VECTOR)["response"] == f"answer {CANARY}"
        assert rotated(first)["rotation"]["records"] == 1 + len(COLD)
        third = spawn(env=env)
        wait_for_first_pull(third, "postgres")
        with make_http(third, key) as c:
            assert lookup(c, "yet other words", embedding=VECTOR)["response"] == f"answer {CANARY}", \
                "a rotation leaves the readable vector where it is"


def test_daemons_share_a_bucket_where_nothing_is_readable(spawn, s3, key):
    prefix = f"t{uuid.uuid4().hex[:12]}/"
    rows = {"enabled": "true", "endpoint": s3.url, "bucket": BUCKET, "prefix": prefix, "write": "through"}
    config = f"security:\n  secret: {SECRET}\nl3:\n  s3:\n" + "".join(f"    {k}: {v}\n" for k, v in rows.items())
    env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
           "DEJA_ENCRYPTION__REFRESH": "100ms"}
    aws = boto3.client("s3", endpoint_url=s3.url, region_name=s3.region, aws_access_key_id=ACCESS_KEY,
                       aws_secret_access_key=SECRET_KEY,
                       config=botocore.config.Config(s3={"addressing_style": "path"}))
    first = spawn(config=config, env=env)
    with make_http(first, key) as client:
        plant(client)
        objects = aws.list_objects_v2(Bucket=BUCKET, Prefix=prefix)["Contents"]
        assert len(objects) >= 2, "the entry and its key"
        for item in objects:
            answer = aws.get_object(Bucket=BUCKET, Key=item["Key"])
            assert_clean(answer["Body"].read() + repr(answer["Metadata"]).encode(), "S3")
    second = spawn(config=config, env=env)
    with make_http(second, key) as client:
        found = lookup(client, f"question {CANARY}")
        assert (found["tier"], found["response"]) == ("s3", f"answer {CANARY}")
        assert_keys_are_read(client, [name for name in COLD if "template" not in name])
    assert rotated(second)["rotation"]["status"] == "done"
    third = spawn(config=config, env=env)
    with make_http(third, key) as client:
        assert lookup(client, f"question {CANARY}")["response"] == f"answer {CANARY}"
