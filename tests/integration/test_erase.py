"""Everything of a tenant, or of one of its users, for good: served by nobody, found in no tier and in no
file, written down; also when a tier is away or the daemon is killed meanwhile."""
import json
import subprocess
import uuid

import boto3
import botocore.config
import pytest
from conftest import ask, make_http
from daemon import poll, run_cli
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from test_audit import admin, events_of, tenant_of, token_of, verify
from valkey import Server

SECRET = "5e" * 32
UNSERVABLE_S = 5.0  # the promise: TRUST §7.3


@pytest.fixture
def valkey(tmp_path):
    server = Server(tmp_path / "valkey").start()
    yield server
    server.stop()


@pytest.fixture
def canaries():
    """Texts that nobody else has, for prompts and for answers."""
    return [f"canary{uuid.uuid4().hex}" for _ in range(20)]


def put_all(client, canaries, headers=None):
    for i, canary in enumerate(canaries):
        answer = client.put("/api/v1/entries", headers=headers,
                            json={"query": f"ask {canary}", "response": f"{canary} is it" * (1 + 40 * (i % 3))})
        assert answer.status_code == 201, answer.text


def hits(client, canaries, headers=None):
    return [canary for canary in canaries
            if client.post("/api/v1/lookup", headers=headers, json={"query": f"ask {canary}"}).json()["hit"]]


def erase(daemon, tenant, user=None, **more):
    with admin(daemon) as client:
        return client.post("/api/v1/erase", json={"tenant": tenant, **({"user": user} if user else {}), **more})


def wait_until_done(daemon, answer):
    def check():
        with admin(daemon) as client:
            document = client.get(f"/api/v1/erase/{answer['id']}").json()
        return document if document["state"] == "done" else None
    return poll(check, "the erasure to be done")


def scan(folder, canaries):
    """Files below folder that hold one of them, as deja erase --verify finds them."""
    done = run_cli("erase", "--verify", "--canary-file", "-", "--json", "--data", folder,
                   stdin="\n".join(canaries))
    report = json.loads(done.stdout)
    assert (done.returncode != 0) == bool(report["found"]), done
    return sorted({find["file"] for find in report["found"]})


def grep(folder, canaries):
    """The same with another program; the daemon's own files and those of servers."""
    found = subprocess.run(["grep", "-rlaF", "-f", "-", str(folder)], input="\n".join(canaries), text=True,
                           capture_output=True, check=False)
    return found.stdout.split()


def receipt(daemon, answer):
    return [e for e in events_of(daemon) if e["operation"] == "erase.completed" and e["resource"] == answer["id"]]


@pytest.fixture(params=["sealed", "plain"])
def sealing(request):
    """Plain: nothing but the sweep and the wiping of files keeps what was erased from being read."""
    return {"DEJA_ENCRYPTION__ENABLED": "true" if request.param == "sealed" else "false"}


def test_a_tenant_is_gone_and_the_others_are_untouched(spawn, sealing, canaries, key):
    daemon = spawn(env=sealing)
    mine, theirs = canaries[:10], canaries[10:]
    tenant = tenant_of(daemon, key)
    with make_http(daemon, key) as client, make_http(daemon, "sk-other") as other:
        put_all(client, mine)
        put_all(other, theirs)
        ask(client, f"what of {mine[0]}")
        assert hits(client, mine) == mine
        dry = erase(daemon, tenant, dry_run=True).json()
        assert dry == {"dry_run": True, "would_remove": 11}
        answer = erase(daemon, tenant)
        assert answer.status_code == 200, answer.text
        answer = answer.json()
        assert answer["state"] == "done" and answer["removed"] == 11 and answer["keys_destroyed"]
        assert all(level["state"] == "empty" for level in answer["levels"].values()), answer
        assert hits(client, mine) == [] and hits(other, theirs) == theirs
        assert client.get("/api/v1/top").json()["entries"] == []
        put_all(client, mine[:1])  # it may come back, anew
        assert hits(client, mine) == mine[:1]
        erase(daemon, tenant)
    daemon.stop()
    assert scan(daemon.data, mine) == [] and grep(daemon.data, mine) == []
    assert len(receipt(daemon, answer)) == 1
    assert receipt(daemon, answer)[0]["metadata"]["levels"]["lmdb"]["state"] == "empty"
    assert verify(daemon)[0] == 0
    daemon.start()
    with make_http(daemon, key) as client, make_http(daemon, "sk-other") as other:
        assert hits(client, mine) == [] and hits(other, theirs) == theirs


def test_what_a_tenants_schedules_say_is_in_no_file(spawn, canaries, key):
    """Of their documents, too: they are removed before the bytes of what was removed are written over."""
    daemon = spawn(env={"DEJA_ENCRYPTION__ENABLED": "false"})
    mine, theirs = canaries[:10], canaries[10:]
    with make_http(daemon, key) as client, make_http(daemon, "sk-other") as other:
        for http, tags in ((client, mine), (other, theirs)):
            for tag in tags:
                answer = http.post("/api/v1/invalidate", json={"tag": tag, "after": "1d", "reason": tag})
                assert answer.status_code < 300, answer.text
        answer = erase(daemon, tenant_of(daemon, key)).json()
        assert answer["state"] == "done", answer
        assert client.get("/api/v1/schedules").json()["schedules"] == []
        assert len(other.get("/api/v1/schedules").json()["schedules"]) == len(theirs)
    daemon.kill()
    assert grep(daemon.data, mine) == []
    assert grep(daemon.data, theirs) != []


def test_a_user_is_gone_and_the_tenants_others_are_untouched(spawn, sealing, canaries, key):
    daemon = spawn(env=sealing)
    hers, his = canaries[:10], canaries[10:]
    alice, bob = {"X-Deja-User": "alice"}, {"X-Deja-User": "bob"}
    tenant = tenant_of(daemon, key)
    with make_http(daemon, key) as client:
        put_all(client, hers, alice)
        put_all(client, his, bob)
        assert hits(client, hers, alice) == hers
        answer = erase(daemon, tenant, "alice").json()
        assert answer["state"] == "done" and answer["removed"] == 10, answer
        assert hits(client, hers, alice) == [] and hits(client, his, bob) == his
        assert erase(daemon, tenant, "nobody").json()["removed"] == 0
    daemon.stop()
    assert scan(daemon.data, hers) == [] and grep(daemon.data, hers) == []
    assert "alice" not in (daemon.data / "audit" / "audit-000001.jsonl").read_text()


def test_two_daemons_on_valkey_stop_serving_within_the_promise(spawn, valkey, canaries, key):
    env = {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}"}
    first, second = spawn(env=env), spawn(env=env)
    mine, theirs = canaries[:10], canaries[10:]
    with make_http(first, key) as one, make_http(second, key) as two, make_http(second, "sk-other") as other:
        put_all(one, mine)
        put_all(other, theirs)
        assert poll(lambda: hits(two, mine) == mine, "the other daemon to have them in memory")
        answer = erase(first, tenant_of(first, key)).json()
        assert answer["state"] == "done", answer
        assert hits(one, mine) == []
        poll(lambda: hits(two, mine) == [], "the other daemon to stop serving", timeout=UNSERVABLE_S)
        assert hits(other, theirs) == theirs
    valkey.call("SAVE")
    names = [name for name in valkey.call("KEYS", "*") if tenant_of(first, key).replace("-", "").encode() in name]
    assert not [name for name in names if valkey.call("TYPE", name) == b"string" and
                any(canary.encode() in valkey.call("GET", name) for canary in mine)]
    for folder in (first.data, second.data, valkey.folder):
        assert grep(folder, mine) == []


def test_postgres_has_no_row_left(spawn, postgres, canaries, key):
    name = f"t{uuid.uuid4().hex[:12]}"
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(name), "DEJA_SECURITY__SECRET": SECRET}
    first, second = spawn(env=env), spawn(env=env)
    mine, theirs = canaries[:10], canaries[10:]
    tenant = tenant_of(first, key)
    with make_http(first, key) as one, make_http(second, key) as two, make_http(first, "sk-other") as other:
        put_all(one, mine)
        put_all(other, theirs)
        assert poll(lambda: hits(two, mine) == mine, "the other daemon to have them")
        answer = erase(first, tenant).json()
        assert answer["state"] == "done" and answer["levels"]["postgres"]["state"] == "empty", answer
        poll(lambda: hits(two, mine) == [], "the other daemon to stop serving", timeout=UNSERVABLE_S)
        assert hits(other, theirs) == theirs
    tables = postgres.psql("SELECT quote_ident(table_schema)||'.'||quote_ident(table_name) FROM information_schema.tables "
                           "WHERE table_type='BASE TABLE' AND table_schema NOT IN ('pg_catalog','information_schema')",
                           database=name)
    assert tables
    for (table,) in tables:
        text = str(postgres.psql(f"SELECT t::text FROM {table} t", database=name))
        assert not any(canary in text or canary.encode().hex() in text for canary in mine), table


def test_the_bucket_has_no_object_left(spawn, s3, canaries, key):
    config = (f"security:\n  secret: {SECRET}\nl3:\n  s3:\n    enabled: true\n    endpoint: {s3.url}\n"
              f"    bucket: {BUCKET}\n    prefix: {uuid.uuid4().hex}/\n")
    daemon = spawn(config=config, env={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY})
    aws = boto3.client("s3", endpoint_url=s3.url, region_name=s3.region, aws_access_key_id=ACCESS_KEY,
                       aws_secret_access_key=SECRET_KEY,
                       config=botocore.config.Config(s3={"addressing_style": "path"}))
    prefix = config.rsplit("prefix: ", 1)[1].strip()

    def objects():
        return [item["Key"] for item in aws.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]
    mine, theirs = canaries[:10], canaries[10:]
    with make_http(daemon, key) as client, make_http(daemon, "sk-other") as other:
        put_all(client, mine)
        put_all(other, theirs)
        poll(lambda: len(objects()) >= 20, "the entries to reach the bucket")
        answer = erase(daemon, tenant_of(daemon, key)).json()
        assert answer["state"] == "done" and answer["levels"]["s3"]["state"] == "empty", answer
        assert hits(client, mine) == [] and hits(other, theirs) == theirs
    for name in objects():
        body = aws.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        assert not any(canary.encode() in body for canary in mine), name


def test_a_tier_that_is_away_keeps_the_receipt_open_and_nothing_servable(spawn, valkey, canaries, key):
    env = {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}", "DEJA_RECOVERY_PROBE": "200ms"}
    daemon = spawn(env={"DEJA_L2__REDIS__ADDRESSES": env["DEJA_L2__REDIS__ADDRESSES"]})
    with make_http(daemon, key) as client:
        put_all(client, canaries)
        valkey.pause()
        try:
            answer = erase(daemon, tenant_of(daemon, key))
            assert answer.status_code == 202, answer.text
            answer = answer.json()
            assert answer["state"] == "open" and answer["waits_for"] in ("keys", "tiers")  # keys are in Valkey, too
            assert answer["levels"]["redis"]["state"] == "unreachable"
            assert hits(client, canaries) == []
            assert receipt(daemon, answer) == []
            assert any(e["operation"] == "erase.open" and e["result"] == "failure" for e in events_of(daemon))
        finally:
            valkey.resume()
        document = wait_until_done(daemon, answer)
        assert document["attempts"] > 1 and document["levels"]["redis"]["state"] == "empty"
        assert hits(client, canaries) == []
    assert len(receipt(daemon, answer)) == 1


def test_habits_are_forgotten_before_a_tier_that_is_away_is_back(spawn, valkey, key):
    daemon = spawn(env={"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}",
                        "DEJA_WARMUP__PREDICT__ENABLED": "true", "DEJA_SEMANTIC__ENABLED": "false"})

    def known(client):
        return client.post("/api/v1/warm", json={"sources": ["top"], "dry_run": True}).json()["items"]

    with make_http(daemon, key) as client:
        for _ in range(3):
            ask(client, "what nobody shall know")
        client.post("/api/v1/invalidate", json={"all": True})
        assert [item["query"] for item in known(client)] == ["what nobody shall know"]
        valkey.pause()
        try:
            assert erase(daemon, tenant_of(daemon, key)).json()["state"] == "open"
            assert known(client) == []
        finally:
            valkey.resume()


def test_an_erasure_goes_on_after_a_kill(spawn, valkey, canaries, key):
    daemon = spawn(env={"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{valkey.port}"})
    tenant = tenant_of(daemon, key)
    with make_http(daemon, key) as client:
        put_all(client, canaries)
    valkey.pause()
    try:
        answer = erase(daemon, tenant).json()
        assert answer["state"] == "open"
        daemon.kill()
    finally:
        valkey.resume()
    daemon.start()
    document = wait_until_done(daemon, answer)
    assert document["levels"]["redis"]["state"] == "empty"
    with make_http(daemon, key) as client:
        assert hits(client, canaries) == []
    daemon.stop()
    assert len(receipt(daemon, answer)) == 1 and verify(daemon)[0] == 0
    assert grep(daemon.data, canaries) == []


def test_only_an_administrator_erases(spawn, key):
    daemon = spawn()
    tenant = tenant_of(daemon, key)
    with make_http(daemon, key) as client:
        assert client.post("/api/v1/erase", json={"tenant": tenant}).status_code in (401, 403)
        assert client.get(f"/api/v1/erase/{'0' * 32}").status_code in (401, 403)
    assert not [e for e in events_of(daemon) if e["event_type"] == "erasure"]
    with admin(daemon) as client:
        assert client.post("/api/v1/erase", json={}).status_code == 400
        assert client.post("/api/v1/erase", json={"tenant": tenant, "user": ""}).status_code == 400
        assert client.get(f"/api/v1/erase/{'0' * 32}").status_code == 404


def test_the_command_erases_and_looks(spawn, canaries, key, tmp_path):
    daemon = spawn()
    tenant = tenant_of(daemon, key)
    file = tmp_path / "canaries.txt"
    file.write_text("\n".join(canaries) + "\n")
    with make_http(daemon, key) as client:
        put_all(client, canaries)
    env = {"DEJA_TOKEN": token_of(daemon)}
    base = ["erase", "--tenant", tenant, "--server", daemon.url, "--data", daemon.data]
    assert run_cli(*base, "--dry-run", env=env).stdout == f"{len(canaries)} entries would be removed\n"
    left = run_cli(*base, "--verify", "--canary-file", file, env=env)
    assert left.returncode == 1 and f"{len(canaries)} entries in the tiers' lists" in left.stdout
    assert run_cli(*base, env=env).returncode == 2, "nobody agreed"
    assert run_cli(*base, "--yes").returncode == 77
    done = run_cli(*base, "--yes", env=env)
    assert done.returncode == 0 and "done" in done.stdout, done.stderr
    gone = run_cli(*base, "--verify", "--canary-file", file, env=env)
    assert gone.returncode == 0 and gone.stdout.startswith("0 places found"), gone.stdout


@pytest.mark.parametrize("form, encode", [
    ("text", lambda text: text.encode()),
    ("utf-16le", lambda text: text.encode("utf-16-le")),
    ("utf-16be", lambda text: text.encode("utf-16-be")),
    ("base64", lambda text: __import__("base64").b64encode(text.encode())),
    ("base64", lambda text: __import__("base64").b64encode(b"x" + text.encode() + b"yz")),
    ("base64", lambda text: __import__("base64").b64encode(b"xy" + text.encode() + b"z")),
])
def test_the_look_finds_a_canary_in_each_form(tmp_path, form, encode):
    text = f"canary {uuid.uuid4().hex}"
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"\xfe" * 1000 + encode(text) + b"\xff" * 10)
    done = run_cli("erase", "--verify", "--canary-file", "-", "--json", "--data", tmp_path / "data", stdin=text)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and {find["form"] for find in report["found"]} == {form}, report
    assert text not in done.stdout, "what should be gone is not repeated"
    other = run_cli("erase", "--verify", "--canary-file", "-", "--data", tmp_path / "data", stdin="another text")
    assert other.returncode == 0


def test_what_one_daemon_erases_leaves_the_memory_of_the_other(spawn, postgres, canaries, key):
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(f"t{uuid.uuid4().hex[:12]}"),
           "DEJA_SECURITY__SECRET": SECRET}
    first, second = spawn(env=env), spawn(env=env)
    tenant = tenant_of(first, key)
    with make_http(first, key) as one, make_http(second, key) as two:
        put_all(one, canaries)
        poll(lambda: hits(two, canaries) == canaries, "the other daemon to have them")
        assert two.get("/api/v1/stats").json()["levels"]["memory"]["entries"] == len(canaries)
        assert erase(first, tenant).json()["state"] == "done"
        poll(lambda: two.get("/api/v1/stats").json()["levels"]["memory"]["entries"] == 0, "its memory to be swept")
    assert not [e for e in events_of(second) if e["event_type"] == "erasure"], "the receipt is the other's"
    assert verify(first)[1]["end_known"]
