"""Plain keys: any bytes under a name, in every tier, for one daemon and for several."""
import json
import random
import threading
import uuid
from urllib.parse import quote

import pytest
from conftest import in_parallel, make_http
from daemon import poll
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY

KV, BATCH, STATS = "/api/v1/kv", "/api/v1/kv:batch", "/api/v1/kv:stats"
SECRET = "5e" * 32
BINARY_KEY = bytes(range(1, 256)) + b"\x00/%"


def environment_of(request, level):
    """What makes a daemon use that tier; new and empty."""
    name = f"t{uuid.uuid4().hex[:12]}"
    if level == "lmdb":
        return {}
    if level == "redis":
        server = request.getfixturevalue("valkey")
        return {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{server.port}", "DEJA_L2__REDIS__PREFIX": name}
    if level == "postgres":
        server = request.getfixturevalue("postgres")
        return {"DEJA_L3__POSTGRES__URL": server.create_database(name), "DEJA_SECURITY__SECRET": SECRET}
    server = request.getfixturevalue("s3")
    return {"DEJA_LMDB__ENABLED": "false", "DEJA_L3__S3__ENABLED": "true", "DEJA_L3__S3__ENDPOINT": server.url, "DEJA_L3__S3__BUCKET": BUCKET,
            "DEJA_L3__S3__PREFIX": f"{name}/", "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "DEJA_SECURITY__SECRET": SECRET}


def path(name):
    return f"{KV}/{quote(name, safe='')}"


def put(client, name, value=b"v", **headers):
    answer = client.put(path(name), content=value, headers={key.replace("_", "-"): text for key, text in headers.items()})
    assert answer.status_code == 201, answer.text
    return answer.json()


def get(client, name):
    answer = client.get(path(name))
    assert answer.status_code in (200, 404), answer.text
    return answer.content if answer.status_code == 200 else None


def at_once(works):
    works = list(works)
    return in_parallel(len(works), lambda i: works[i]())


def batch(client, *operations, headers=None):
    answer = client.post(BATCH, json={"operations": list(operations)}, headers=headers)
    assert answer.status_code in (200, 207), answer.text
    return answer.json()["results"]


def names_of(client, **params):
    """Every key that is listed, in pieces of a few."""
    found, cursor = [], "0"
    while cursor:
        answer = client.get(KV, params={"limit": 7, "cursor": cursor, **params}).json()
        found += [item.get("key") for item in answer["keys"]]
        cursor = answer["cursor"]
    return found


# ---- one daemon ----

def test_value_comes_back_as_it_was_put(http):
    value = bytes(range(256)) * 50
    made = put(http, "blob", value, Content_Type="image/png", X_Deja_TTL="5m")
    answer = http.get(path("blob"))
    assert (answer.content, answer.headers["content-type"]) == (value, "image/png")
    assert 0 < int(answer.headers["x-deja-ttl"]) <= 300
    assert answer.headers["etag"] == f'"{made["version"]}"'
    assert "sandbox" in answer.headers["content-security-policy"]
    head = http.head(path("blob"))
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(len(value)), b"")
    assert http.get(path("blob"), headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    assert http.delete(path("blob")).json() == {"removed": 1}
    assert http.delete(path("blob")).json() == {"removed": 0}
    assert http.get(path("blob")).status_code == 404


def test_life_is_an_hour_unless_something_else_is_said(http):
    assert put(http, "a")["ttl"] == 3600
    assert put(http, "b", X_Deja_TTL="0")["ttl"] is None
    assert put(http, "c", X_Deja_TTL="90")["ttl"] == 90
    assert http.get(path("b")).headers["x-deja-ttl"] == "0"
    changed = http.patch(path("b"), headers={"X-Deja-TTL": "10"})
    assert changed.json()["ttl"] == 10, changed.text
    assert get(http, "b") == b"v"
    assert http.put(path("d"), content=b"", headers={"X-Deja-TTL": "soon"}).status_code == 400


def test_key_ends_with_its_life(http):
    put(http, "short", X_Deja_TTL="20ms")
    poll(lambda: get(http, "short") is None, "the end of its life")
    assert "short" not in names_of(http)


def test_conditions_hold_where_the_change_happens(http):
    first = http.put(path("c"), content=b"1", headers={"If-None-Match": "*"})
    assert first.status_code == 201
    assert http.put(path("c"), content=b"2", headers={"If-None-Match": "*"}).status_code == 412
    assert http.put(path("c"), content=b"2", headers={"If-Match": first.headers["etag"]}).status_code == 201
    assert http.put(path("c"), content=b"3", headers={"If-Match": first.headers["etag"]}).status_code == 412
    assert http.delete(path("c"), headers={"If-Match": first.headers["etag"]}).status_code == 412
    assert get(http, "c") == b"2"
    assert http.put(path("none"), content=b"", headers={"If-Match": "*"}).status_code == 404


def test_patch_changes_in_place_and_keeps_the_life(http):
    put(http, "j", b'{"a":1,"b":{"c":2}}', Content_Type="application/json", X_Deja_TTL="77")
    answer = http.patch(path("j"), json={"a": None, "b": {"d": 3}})
    assert answer.status_code == 200 and answer.json()["ttl"] <= 77
    assert json.loads(get(http, "j")) == {"b": {"c": 2, "d": 3}}
    assert http.patch(path("nothing"), json={}).status_code == 404
    put(http, "text", b"hello")
    assert http.patch(path("text"), json={}).status_code == 409


def test_patches_at_the_same_time_are_all_kept(http):
    put(http, "p", b"{}")
    at_once([lambda i=i: http.patch(path("p"), json={f"m{i}": i}).raise_for_status() for i in range(30)])
    assert json.loads(get(http, "p")) == {f"m{i}": i for i in range(30)}


def test_batch_does_its_operations_in_their_order(http):
    results = batch(http, {"op": "set", "key": "n", "value": "41", "ttl": 60}, {"op": "incr", "key": "n"},
                    {"op": "get", "key": "n"}, {"op": "set", "key": "n", "value": "x", "if": "absent"},
                    {"op": "ttl", "key": "n"}, {"op": "expire", "key": "n", "ttl": None}, {"op": "ttl", "key": "n"},
                    {"op": "delete", "key": "n"}, {"op": "exists", "key": "n"}, {"op": "incr", "key": "n", "by": -5},
                    {"op": "set", "key": "j", "value": {"a": [1]}}, {"op": "get", "key": "j"}, {"op": "nonsense"})
    assert results[1]["value"] == 42
    assert (results[2]["found"], results[2]["value"]) == (True, "42")
    assert not results[3]["stored"]
    assert 0 < results[4]["ttl"] <= 60
    assert results[6]["ttl"] is None
    assert results[7] == {"removed": 1}
    assert results[8] == {"exists": False}
    assert results[9]["value"] == -5
    assert results[11]["value"] == {"a": [1]}
    assert results[12]["error"]["status"] == 400


def test_batch_merges_into_what_is_there(http):
    results = batch(http, {"op": "set", "key": "bm", "value": {"a": 1, "b": {"c": 2}}, "ttl": 6000},
                    {"op": "merge", "key": "bm", "value": {"a": None, "b": {"d": 3}}},
                    {"op": "get", "key": "bm"}, {"op": "merge", "key": "bm none", "value": {"a": 1}},
                    {"op": "exists", "key": "bm none"}, {"op": "merge", "key": "bm", "value": "text"},
                    {"op": "set", "key": "bm text", "value": "no object"},
                    {"op": "merge", "key": "bm text", "value": {"a": 1}},
                    {"op": "merge", "key": "bm", "value": {"e": 5}, "ttl": 60000, "if": "present"},
                    {"op": "get", "key": "bm"})
    assert results[1]["stored"] and results[1]["ttl"] <= 6000
    assert results[2]["value"] == {"b": {"c": 2, "d": 3}}
    assert results[3] == {"stored": False} and results[4] == {"exists": False}
    assert results[5]["error"]["status"] == 400 and "object" in str(results[5])
    assert results[7]["error"]["type"] == "not_an_object"
    assert results[9]["value"] == {"b": {"c": 2, "d": 3}, "e": 5} and results[9]["ttl"] > 6000


def test_batch_puts_and_finds_versions(http):
    results = batch(http, {"op": "set", "key": "bv", "value": "one", "version": "v1"},
                    {"op": "set", "key": "bv", "value": "two", "version": "v2"},
                    {"op": "set", "key": "other", "value": "o"},
                    {"op": "get", "key": "bv", "version": "v1"}, {"op": "get", "key": "other"},
                    {"op": "get", "key": "bv", "version": "v2"}, {"op": "get", "key": "bv", "version": "v0"},
                    {"op": "get", "key": "bv"}, {"op": "delete", "key": "bv"},
                    {"op": "get", "key": "bv", "version": "v1"},
                    {"op": "incr", "key": "bv", "version": "v1"}, {"op": "get", "key": "bv", "version": ""})
    assert [result.get("value") for result in results[3:8]] == ["one", "o", "two", None, "two"]
    assert results[6]["found"] is False and results[6]["as_of"] > 0
    assert results[9]["found"] is False
    assert "get and set" in str(results[10]) and results[11]["error"]["status"] == 400


def test_thousand_operations_are_one_batch(http):
    results = batch(http, *({"op": "set", "key": f"m{i}", "value": str(i)} for i in range(1000)))
    assert all(result["stored"] for result in results)
    results = batch(http, *({"op": "get", "key": f"m{i}"} for i in range(1000)))
    assert [result["value"] for result in results] == [str(i) for i in range(1000)]
    assert http.post(BATCH, json={"operations": [{"op": "get", "key": "k"}] * 1001}).status_code == 400


def test_names_are_listed_and_removed_by_pattern(http):
    for i in range(25):
        put(http, f"user:{i}")
    put(http, "other")
    assert sorted(names_of(http, pattern="user:*")) == sorted(f"user:{i}" for i in range(25))
    assert len(names_of(http)) == 26
    assert http.delete(KV, params={"pattern": "user:?", "dry_run": "true"}).json()["would_remove"] == 10
    assert http.delete(KV, params={"pattern": "user:?"}).json()["removed"] == 10
    assert len(names_of(http)) == 16
    assert http.delete(KV).status_code == 400
    assert http.delete(KV, params={"all": "true"}).json()["removed"] == 16
    assert names_of(http) == []


def test_figures_tell_keys_hits_and_memory(http):
    put(http, "a", b"12345")
    get(http, "a")
    get(http, "none")
    stats = http.get(STATS).json()
    assert (stats["keys"], stats["hits"]["memory"], stats["misses"], stats["puts"]) == (1, 1, 1, 1)
    assert stats["hit_rate"] == 0.5 and stats["bytes"] >= 6 and stats["memory"]["bytes"] > 0


def test_lock_lets_one_of_many_compute(http):
    lock, unlock = "/api/v1/kv:lock", "/api/v1/kv:unlock"
    answers = at_once([lambda: http.post(lock, json={"key": "r", "get": True}).json() for _ in range(20)])
    held = [answer for answer in answers if answer["locked"]]
    assert len(held) == 1 and not any(answer["found"] for answer in answers)
    assert http.post(lock, json={"key": "r", "token": held[0]["token"], "lease": "1m"}).json()["locked"], "held anew"
    put(http, "r", b"made", Content_Type="text/plain")
    assert http.post(unlock, json={"key": "r", "token": "0" * 32}).json() == {"unlocked": False}
    assert http.post(unlock, json={"key": "r", "token": held[0]["token"]}).json() == {"unlocked": True}
    assert http.post(lock, json={"key": "r", "get": True}).json()["value"] == "made"
    assert names_of(http) == ["r"], "locks are nobody's keys"


def test_lock_ends_by_itself(http):
    assert http.post("/api/v1/kv:lock", json={"key": "l", "lease": "20ms"}).json()["locked"]
    poll(lambda: http.post("/api/v1/kv:lock", json={"key": "l"}).json()["locked"], "the end of the lease")


def test_tenants_namespaces_and_users_are_apart(daemon, http, word):
    put(http, "same", b"mine")
    put(http, "same", b"paper", X_Deja_Namespace="paper")
    put(http, "same", b"ann's", X_Deja_User="ann")
    with make_http(daemon, f"sk-other-{word}") as other:
        assert get(other, "same") is None and names_of(other) == []
    assert get(http, "same") == b"mine"
    assert http.get(path("same"), headers={"X-Deja-Namespace": "paper"}).content == b"paper"
    assert http.get(path("same"), headers={"X-Deja-User": "ann"}).content == b"ann's"
    assert http.get(path("same"), headers={"X-Deja-User": "bob"}).status_code == 404
    assert len(http.get(KV, headers={"X-Deja-User": "ann"}).json()["keys"]) == 1
    assert len(names_of(http)) == 1


def test_tag_makes_its_keys_void(http):
    put(http, "a", X_Deja_Tags="user:1, project:2")
    put(http, "b", X_Deja_Tags="user:2")
    assert http.post("/api/v1/invalidate", json={"tag": "project:2"}).json()["removed"] == 1
    assert get(http, "a") is None and get(http, "b") == b"v"


def test_sensitive_values_are_treated_as_the_rules_say(spawn, key):
    daemon = spawn(env={"DEJA_SECURITY__SENSITIVE__CARD": "refuse", "DEJA_SECURITY__SENSITIVE__SECRET": "redact"})
    with make_http(daemon, key) as client:
        answer = client.put(path("card"), content=b"pay with 4111 1111 1111 1111")
        assert answer.status_code == 422 and answer.json()["type"] == "sensitive_data"
        assert client.put(path("4111 1111 1111 1111"), content=b"x").status_code == 422
        put(client, "note", b"api_key = sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ")
        assert b"abcdefgh" not in get(client, "note")
        results = batch(client, {"op": "set", "key": "x", "value": "4111 1111 1111 1111"})
        assert results[0]["error"]["status"] == 422


def test_command_line_gets_sets_and_counts(daemon, key):
    def cli(*words, **more):
        return daemon.cli("kv", *words, env={"DEJA_KEY": key}, **more)
    assert cli("set", "greeting", "hello", "--ttl", "5m", "--tag", "t").returncode == 0
    assert cli("get", "greeting").stdout == "hello"
    assert 0 < int(cli("ttl", "greeting").stdout) <= 300
    assert cli("incr", "n", "5").stdout.strip() == "5"
    assert cli("incr", "n").stdout.strip() == "6"
    assert cli("incr", "greeting").returncode == 1
    assert sorted(cli("keys").stdout.split()) == ["greeting", "n"]
    assert cli("keys", "g*").stdout.split() == ["greeting"]
    assert "keys      2" in cli("stats").stdout
    assert cli("del", "greeting").returncode == 0
    assert cli("get", "greeting").returncode == 3
    assert cli("ttl", "greeting").returncode == 3
    assert cli("del", "greeting").returncode == 3
    assert cli("frobnicate").returncode == 2


def kv(daemon, key, *words, **more):
    return daemon.cli("kv", *words, env={"DEJA_KEY": key}, **more)


def test_command_line_lists_names_as_one_document(daemon, key, http):
    batch(http, *({"op": "set", "key": f"k{i}", "value": str(i)} for i in range(1000)))
    batch(http, *({"op": "set", "key": f"k{i}", "value": str(i)} for i in range(1000, 1200)))
    told = json.loads(kv(daemon, key, "keys", "--json").stdout)
    assert {row["key"] for row in told["keys"]} == {f"k{i}" for i in range(1200)} and told["cursor"] is None
    assert len(json.loads(kv(daemon, key, "keys", "--json", "--limit", "1001").stdout)["keys"]) == 1001
    told = json.loads(kv(daemon, key, "keys", "k*", "--json", "--limit", "2").stdout)
    assert len(told["keys"]) == 2 and told["cursor"]
    assert json.loads(kv(daemon, key, "keys", "none*", "--json").stdout) == {"keys": [], "cursor": None}


def test_command_line_tells_one_key_or_many_as_json(daemon, key):
    assert kv(daemon, key, "mset", "a", "1", "b", "two\nlines", "--ttl", "2m").stderr == "2 stored\n"
    assert json.loads(kv(daemon, key, "get", "a", "--json").stdout)["results"][0]["value"] == "1"
    missed = kv(daemon, key, "get", "nothing", "--json")
    told = json.loads(missed.stdout)["results"]
    assert missed.returncode == 3 and told == [{"found": False, "as_of": told[0]["as_of"]}]
    got = kv(daemon, key, "mget", "a", "nothing")
    assert (got.returncode, got.stdout, got.stderr) == (0, "a\t1\n", "nothing: miss\n")
    assert [row["found"] for row in json.loads(kv(daemon, key, "mget", "a", "x", "--json").stdout)["results"]] \
        == [True, False]
    assert kv(daemon, key, "exists", "a", "x").stdout == "a\tyes\nx\tno\n"
    assert kv(daemon, key, "exists", "x").returncode == 3
    gone = json.loads(kv(daemon, key, "del", "a", "x", "--json").stdout)
    assert gone == {"results": [{"removed": 1}, {"removed": 0}]}


def test_command_line_clears_what_it_is_told_to(daemon, key):
    assert kv(daemon, key, "mset", "a:1", "1", "a:2", "2", "b:1", "3").returncode == 0
    assert kv(daemon, key, "clear", stdin="").returncode == 2
    assert kv(daemon, key, "clear", "", "--yes").returncode == 2
    assert kv(daemon, key, "clear", "a:*", "--dry-run").stdout == "2 would be removed\n"
    assert kv(daemon, key, "clear", "a:*", stdin="").stdout == "2 removed\n"
    assert kv(daemon, key, "keys").stdout == "b:1\n"
    assert json.loads(kv(daemon, key, "clear", "--yes", "--json").stdout)["removed"] == 1


def test_command_line_sets_with_all_that_the_api_has(daemon, key):
    assert kv(daemon, key, "set", "once", "1", "--if-absent").returncode == 0
    taken = kv(daemon, key, "set", "once", "2", "--if-absent")
    assert taken.returncode == 1 and "there already" in taken.stderr
    taken = kv(daemon, key, "mset", "once", "3", "twice", "1", "--if-absent")
    assert taken.returncode == 1 and "1 stored" in taken.stderr and "once is there already" in taken.stderr
    assert kv(daemon, key, "get", "once").stdout == "1"
    assert kv(daemon, key, "set", "mine", "1", "--kind", "template_score").returncode == 0
    assert 3600 < int(kv(daemon, key, "ttl", "mine").stdout) <= 6 * 3600
    assert kv(daemon, key, "mset", "x", "1", "--kind", "template_score").returncode == 2
    assert kv(daemon, key, "set", "made", "1", "--depends-on", "doc:7").returncode == 0
    assert daemon.cli("invalidate", "--depends-on", "doc:7", "--yes", env={"DEJA_KEY": key}).stdout == "1 removed\n"
    for version in ("v1", "v2"):
        assert kv(daemon, key, "set", "named", version, "--version", version).returncode == 0
    assert kv(daemon, key, "get", "named", "--version", "v1").stdout == "v1"
    assert kv(daemon, key, "get", "named").stdout == "v2"


def test_command_line_takes_any_name_but_none(daemon, key):
    for words in (("get", ""), ("set", "", "1"), ("del", ""), ("incr", ""), ("mset", "a", "1", "", "2"), ("get", ".")):
        done = kv(daemon, key, *words)
        assert done.returncode == 2 and "a key " in done.stderr, words
    assert kv(daemon, key, "mset", ".", "dot").returncode == 0
    assert kv(daemon, key, "mget", ".").stdout == ".\tdot\n"
    assert kv(daemon, key, "incr", "n", "-7").stdout == "-7\n"
    assert kv(daemon, key, "set", "n", "-5").returncode == 0
    assert kv(daemon, key, "get", "n").stdout == "-5"
    assert "stands behind --" in kv(daemon, key, "set", "n", "-x").stderr
    assert kv(daemon, key, "set", "n", "--", "-x").returncode == 0


def test_command_line_acts_for_a_user(daemon, key):
    assert kv(daemon, key, "set", "mine", "1", "--user", "anna").returncode == 0
    assert kv(daemon, key, "get", "mine", "--user", "anna").stdout == "1"
    assert kv(daemon, key, "get", "mine", "--user", "bert").returncode == 3


def test_command_line_says_how_long_a_value_may_be(daemon, key):
    done = kv(daemon, key, "set", "huge", "-", stdin="x" * ((32 << 20) + 1))
    assert done.returncode == 1 and "32 MiB" in done.stderr


# ---- every tier ----

@pytest.mark.parametrize("is_sealed", [True, False])
@pytest.mark.parametrize("level", ["lmdb", "redis", "postgres", "s3"])
def test_tier_keeps_keys_of_any_bytes_and_promotes_them(request, spawn, key, level, is_sealed):
    daemon = spawn(env={**environment_of(request, level), "DEJA_ENCRYPTION__ENABLED": str(is_sealed).lower()})
    with make_http(daemon, key) as client:
        put(client, BINARY_KEY, b"\x00\xff bytes", X_Deja_TTL="1h")
        put(client, "for ever", b"1", X_Deja_TTL="0")
        put(client, "gone", b"1")
        client.delete(path("gone"))
        poll(lambda: len(names_of(client)) == 2, "both to be listed")
    daemon.restart()
    with make_http(daemon, key) as client:
        answer = poll(lambda: found if (found := client.get(path(BINARY_KEY))).status_code == 200 else None,
                      "the tier to be believed again")
        assert (answer.content, answer.headers["x-cache-tier"]) == (b"\x00\xff bytes", level)
        assert 0 < int(answer.headers["x-deja-ttl"]) <= 3600
        poll(lambda: client.get(path(BINARY_KEY)).headers["x-cache-tier"] == "memory", "the promotion")
        results = batch(client, {"op": "get", "key": "for ever"}, {"op": "exists", "key": "gone"},
                        {"op": "ttl", "key": "for ever"})
        assert results[0]["value"] == "1" and not results[1]["exists"] and results[2]["ttl"] is None
        assert client.post(BATCH, json={"operations": [{"op": "incr", "key": "for ever", "by": 9}]}).json()[
            "results"][0]["value"] == 10
        assert http_stats(client)["hits"][level] >= 2
        assert client.delete(KV, params={"all": "true"}).json()["removed"] == 2
        assert names_of(client) == []


def http_stats(client):
    return client.get(STATS).json()


def test_keys_survive_kill_minus_nine(spawn, key):
    daemon = spawn(env={"DEJA_STORE__DURABILITY": "always"})
    with make_http(daemon, key) as client:
        for i in range(50):
            put(client, f"k{i}", str(i).encode())
        batch(client, {"op": "incr", "key": "n", "by": 7})
    daemon.kill()
    daemon.start()
    with make_http(daemon, key) as client:
        assert [get(client, f"k{i}") for i in range(50)] == [str(i).encode() for i in range(50)]
        assert get(client, "n") == b"7"


# ---- two daemons ----

@pytest.fixture(params=["redis", "postgres"])
def pair(request, spawn, key):
    env = environment_of(request, request.param)
    daemons = [spawn(env=env) for _ in range(2)]
    clients = [make_http(daemon, key) for daemon in daemons]
    for client in clients:
        poll(lambda c=client: c.get("/health/detailed").json()["components"][request.param]["details"]
             .get("generations", {}).get("age_ms") is not None, "the first pull")
    yield clients
    for client in clients:
        client.close()


def test_increments_on_two_daemons_are_all_counted(pair):
    answers = at_once([lambda c=client: batch(c, {"op": "incr", "key": "n"})[0]
                           for client in pair for _ in range(60)])
    assert sorted(answer["value"] for answer in answers) == list(range(1, 121)), "each saw a number of its own"
    for client in pair:
        assert batch(client, {"op": "incr", "key": "n", "by": 0})[0]["value"] == 120


def test_change_on_one_is_read_on_the_other_soon(pair):
    put(pair[0], "k", b"1")
    assert get(pair[1], "k") == b"1"
    put(pair[0], "k", b"2")
    poll(lambda: get(pair[1], "k") == b"2", "its stay in memory to end")
    pair[1].delete(path("k"))
    poll(lambda: get(pair[0], "k") is None, "the same of a delete")


def test_conditional_operations_on_two_daemons_are_one_history(pair):
    """Each thread swaps by version what it read. Whoever was told 201 or 200 has changed that very version,
    so the number of winners is the number in the value, and no version has two successors."""
    put(pair[0], "cas", b"0", X_Deja_TTL="0")
    successors, lock = {}, threading.Lock()

    def swap(client, seed):
        chance, won = random.Random(seed), 0
        for _ in range(25):
            answer = client.get(path("cas"))
            made = client.put(path("cas"), content=str(int(answer.content) + 1).encode(),
                              headers={"If-Match": answer.headers["etag"], "X-Deja-TTL": "0"})
            assert made.status_code in (201, 412), made.text
            if made.status_code == 201:
                won += 1
                with lock:
                    successors.setdefault(answer.headers["etag"], []).append(made.headers["etag"])
            if chance.random() < 0.2:
                batch(client, {"op": "get", "key": "cas"})
        return won
    won = sum(at_once([lambda c=client, s=seed: swap(c, s) for seed, client in enumerate(pair * 4)]))
    assert won > 0 and all(len(after) == 1 for after in successors.values())
    assert batch(pair[0], {"op": "incr", "key": "cas", "by": 0})[0]["value"] == won


def test_one_of_two_daemons_sets_what_is_absent(pair):
    for i in range(20):
        made = at_once([lambda c=client, i=i: c.put(path(f"once{i}"), content=b"x",
                                                        headers={"If-None-Match": "*"}).status_code
                            for client in pair * 3])
        assert sorted(made) == [201] + [412] * 5
