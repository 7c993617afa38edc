"""Clients of Redis, unchanged, against Deja: redis-py, redis-cli, redis-benchmark, ioredis."""
import asyncio
import json
import subprocess
import threading

import httpx
import pytest
import redis
import redis.asyncio
from conftest import check_sanitizer
from daemon import poll
from node_sdk import run_module
from resp import RespDaemon, run_tool, tool
from valkey import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = RespDaemon(tmp_path_factory.mktemp("deja"), env={"DEJA_SERVER__LOOPS": "2"}).start()
    yield made
    made.stop()
    check_sanitizer(made)


def connect(server, **kwargs):
    return redis.Redis(host="127.0.0.1", port=server.resp_port, **kwargs)


@pytest.fixture
def r(server):
    client = connect(server)
    client.flushall()
    yield client
    client.close()


# ---- redis-py ----


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_does_what_it_does_with_redis(server, protocol):
    with connect(server, protocol=protocol, decode_responses=True) as r:
        r.flushall()
        assert r.ping()
        assert r.set("k", "v") is True and r.get("k") == "v"
        assert r.ttl("k") == -1 and r.ttl("none") == -2
        assert r.set("k", "w", nx=True) is None and r.set("k", "w", xx=True, get=True) == "v"
        assert r.set("e", "1", ex=1000) and 900 <= r.ttl("e") <= 1000
        assert r.set("e", "2", keepttl=True) and 900 <= r.ttl("e") <= 1000
        assert r.expire("k", 1000) and r.persist("k") and r.ttl("k") == -1
        assert r.incr("n") == 1 and r.incrby("n", 41) == 42 and r.decr("n") == 41
        assert r.incrbyfloat("f", 0.1) == 0.1 and r.incrbyfloat("f", 0.2) == 0.3
        assert r.append("k", "!") == 2 and r.strlen("k") == 2 and r.getrange("k", 0, 0) == "w"
        assert r.mset({"a": 1, "b": 2}) and r.mget("a", "none", "b") == ["1", None, "2"]
        assert r.msetnx({"a": 9, "z": 9}) is False and r.exists("a", "b", "z") == 2
        assert r.getset("a", 5) == "1" and r.getdel("a") == "5" and r.get("a") is None
        assert r.getex("b", ex=500) == "2" and r.ttl("b") > 400
        assert sorted(r.keys("*")) == ["b", "e", "f", "k", "n"] and r.dbsize() == 5
        assert sorted(r.scan_iter(match="[bk]", count=2)) == ["b", "k"]
        assert r.type("k") == "string" and r.type("none") == "none"
        assert r.randomkey() in ("b", "e", "f", "k", "n")
        assert r.delete("b", "e", "none") == 2 and r.unlink("f") == 1
        assert r.object("encoding", "n") == "int" and r.memory_usage("k") > 0
        assert r.info()["role"] == "master" and r.info("server")["server_name"] == "deja"
        assert r.config_get("maxmemory*") == {"maxmemory": str(r.info("memory")["maxmemory"]),
                                              "maxmemory-policy": "allkeys-s3fifo"}
        assert r.client_setname("me") and r.client_getname() == "me" and r.client_id() > 0
        assert r.client_info()["name"] == "me" and len(r.client_list()) == 1
        assert r.echo("hello") == "hello" and r.time()[0] > 0
        assert r.command_count() > 50 and r.command_getkeys("MSET", "a", "1", "b", "2") == ["a", "b"]
        assert r.flushdb() and r.dbsize() == 0


def test_info_tells_the_keys_of_the_database_where_that_is_asked_for(server, r):
    r.mset({"a": 1, "b": 2})
    r.set("c", 3, ex=10000)
    assert r.info("keyspace") == {"db0": {"keys": 3, "expires": 1, "avg_ttl": 0}}
    assert "db0" not in r.info() and r.info("memory")["maxmemory_policy"] == "allkeys-s3fifo"
    with connect(server, db=3) as other:
        other.flushdb()
        assert other.info("keyspace") == {}
        other.set("d", 4)
        # Behind a write in one pipeline: what it wrote is counted.
        with other.pipeline(transaction=False) as pipe:
            pipe.set("e", 5)
            pipe.info("keyspace")
            assert pipe.execute() == [True, {"db3": {"keys": 2, "expires": 0, "avg_ttl": 0}}]
        with other.pipeline() as pipe:
            pipe.delete("d", "e")
            pipe.info("keyspace")
            assert pipe.execute() == [2, {}]


def test_info_tells_what_left_memory(tmp_path):
    daemon = RespDaemon(tmp_path / "deja", extra="l1:\n  max_bytes: 1mb\neviction:\n  strategy: lru\n"
                        "lmdb:\n  enabled: false\n").start()
    try:
        with connect(daemon) as r:
            assert r.config_get("maxmemory") == {"maxmemory": str(1 << 20)}
            assert r.info()["maxmemory_policy"] == "allkeys-lru" and r.info("stats")["evicted_keys"] == 0
            for i in range(40):
                r.set(f"k{i}", bytes(100_000))
            poll(lambda: r.info("stats")["evicted_keys"] > 0, "keys to leave memory")
            assert r.info("stats")["expired_keys"] == 0
    finally:
        daemon.stop()


def test_lock_of_redis_py_is_taken_and_ends_by_itself(r):
    lock = r.lock("printer", timeout=1000)
    assert lock.acquire(blocking=False) and not r.lock("printer", timeout=1000).acquire(blocking=False)
    with pytest.raises(redis.ResponseError, match="unknown command 'EVALSHA'"):
        lock.release()
    assert r.pexpire("printer", 1)
    poll(lambda: r.lock("printer", timeout=1000).acquire(blocking=False), "the lock to end")


def test_pipelines_answer_in_order(r):
    for transaction in (False, True):
        with r.pipeline(transaction=transaction) as pipe:
            for i in range(500):
                pipe.set(f"k{i}", i)
                pipe.incr("n")
                if i % 7 == 0:
                    pipe.get(f"k{i}")
                    pipe.get("nothing")
            got = pipe.execute()
        numbers = [x for x in got if isinstance(x, int) and x is not True]
        base = 0 if not transaction else 500
        assert numbers == list(range(base + 1, base + 501))
        assert [x for x in got if isinstance(x, bytes)] == [str(i).encode() for i in range(0, 500, 7)]


def test_error_inside_a_transaction_is_its_own(r):
    with r.pipeline() as pipe:
        pipe.set("a", "x").incr("a").get("a")
        got = pipe.execute(raise_on_error=False)
    assert got[0] is True and isinstance(got[1], redis.ResponseError) and got[2] == b"x"
    r.execute_command("MULTI")
    with pytest.raises(redis.ResponseError, match="unknown command"):
        r.execute_command("NOSUCH")
    with pytest.raises(redis.exceptions.ExecAbortError):
        r.execute_command("EXEC")
    with pytest.raises(redis.ResponseError, match="WATCH is not served"):
        r.execute_command("WATCH", "a")


def test_asyncio_redis_reads_what_it_wrote(server):
    async def run():
        client = redis.asyncio.Redis(host="127.0.0.1", port=server.resp_port)
        await client.flushall()
        await asyncio.gather(*(client.set(f"k{i}", b"v" * i) for i in range(80)))
        values = await asyncio.gather(*(client.get(f"k{i}") for i in range(80)))
        assert values == [b"v" * i for i in range(80)]
        async with client.pipeline(transaction=False) as pipe:
            for i in range(100):
                pipe.set(f"p{i}", i, ex=60)
            assert await pipe.execute() == [True] * 100
        assert len([k async for k in client.scan_iter("p*")]) == 100
        await client.aclose()

    asyncio.run(run())


def test_databases_are_namespaces(server, r):
    r.set("k", "zero")
    with connect(server, db=3) as other:
        assert other.get("k") is None
        other.set("k", "three")
        assert other.dbsize() == 1
        with httpx.Client(base_url=server.url, trust_env=False) as http:
            assert http.get("/api/v1/kv/k").text == "zero"
            assert http.get("/api/v1/kv/k", headers={"X-Deja-Namespace": "db3"}).text == "three"
        other.flushdb()
    assert r.get("k") == b"zero"
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        r.execute_command("SELECT", 16)


def test_keys_and_values_are_any_bytes(r):
    key, value = bytes(range(256)), bytes(range(256)) * 5000
    assert r.set(key, value) and r.get(key) == value and r.keys("*") == [key]
    assert r.set("empty", b"") and r.get("empty") == b"" and r.exists("empty") == 1
    for bad in (b"", b"x" * 4097):
        with pytest.raises(redis.ResponseError, match="a key must have 1 to 4096 bytes"):
            r.set(bad, 1)
    large = b"\x00y" * (8 << 20)
    assert r.set("large", large) and r.get("large") == large


def test_values_are_those_of_http(server, r):
    with httpx.Client(base_url=server.url, trust_env=False) as http:
        assert http.put("/api/v1/kv/shared", content=b"from http").status_code in (200, 201)
        assert r.get("shared") == b"from http" and 3000 < r.ttl("shared") <= 3600
        r.set("shared", "from redis")
        assert http.get("/api/v1/kv/shared").content == b"from redis"
        assert r.ttl("shared") == -1
        assert http.delete("/api/v1/kv/shared").status_code in (200, 204)
    assert r.get("shared") is None


def test_set_without_a_life_outlives_a_restart(tmp_path):
    server = RespDaemon(tmp_path / "deja").start()
    try:
        with connect(server) as r:
            r.set("for ever", "here")
            r.set("a day", "too", ex=86400)
        server.stop()
        server.start()
        with connect(server) as r:
            assert r.get("for ever") == b"here" and r.ttl("for ever") == -1
            assert r.get("a day") == b"too" and 86000 < r.ttl("a day") <= 86400
    finally:
        server.stop()


def test_counter_loses_nothing_between_clients(server, r):
    def count():
        with connect(server) as own:
            for _ in range(200):
                own.incr("n")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert r.get("n") == b"1600"


# ---- the channel ----


@pytest.mark.parametrize("protocol", [2, 3])
def test_subscriber_is_told_what_is_made_void(server, r, protocol):
    with connect(server, protocol=protocol) as other:
        channel = other.pubsub()
        channel.subscribe("cache:invalidate")
        channel.psubscribe("cache:*")
        kinds = [channel.get_message(timeout=10)["type"] for _ in range(2)]
        assert kinds == ["subscribe", "psubscribe"]
        r.mset({"user:1": 1, "user:2": 2, "other": 3})
        r.publish("cache:invalidate", json.dumps({"pattern": "user:*", "reason": "test"}))
        assert r.mget("user:1", "user:2", "other") == [None, None, b"3"]
        seen = {}

        def both():
            message = channel.get_message(timeout=1)
            if message and json.loads(message["data"]).get("kind") == "pattern":
                seen[message["type"]] = json.loads(message["data"])
            return len(seen) == 2

        poll(both, "both messages")
        assert seen["message"]["name"] == "user:*" and seen["message"]["reason"] == "test"
        channel.unsubscribe()
        channel.punsubscribe()
        channel.close()
    with pytest.raises(redis.ResponseError, match="the only one"):
        r.execute_command("SUBSCRIBE", "news")
    with pytest.raises(redis.ResponseError, match="a JSON object"):
        r.publish("cache:invalidate", "hello")


def say(client, **message):
    return client.publish("cache:invalidate", json.dumps(message))


def test_publish_takes_what_the_channel_of_redis_takes(server, r):
    with httpx.Client(base_url=server.url, timeout=30) as http:
        def put(name, **headers):
            text = {"Content-Type": "text/plain", **{key.replace("_", "-"): value for key, value in headers.items()}}
            assert http.put(f"/api/v1/kv/{name}", content=b"v", headers=text).status_code == 201

        keys = [http.post("/api/v1/kv:key", json={"kind": "template_score", "id": number}).json()["key"] for number in ("7", "8")]
        r.mset(dict.fromkeys(keys, 1))
        assert say(r, event={"name": "template:updated", "template_id": "7"}, reason="test") == 1
        assert r.mget(keys) == [None, b"1"]
        assert say(r, event="template:updated") == 1 and r.get(keys[1]) is None
        put("source", X_Deja_Depends_On="doc:7")
        put("made", X_Deja_Depends_On="source")
        put("tagged", X_Deja_Tags="t")
        put("of-tagged", X_Deja_Depends_On="tagged")
        assert say(r, cascade="doc:7") == 2 and r.exists("source", "made") == 0
        assert say(r, tag="t", cascade=True) == 2 and r.exists("tagged", "of-tagged") == 0
        put("root")
        put("leaf", X_Deja_Depends_On="root")
        assert say(r, key="root", cascade=True) == 2 and r.exists("root", "leaf") == 0
        entry = http.put("/api/v1/entries", json={"query": "an entry", "response": 1}).json()["id"]
        assert say(r, key=entry) == 1 and http.get(f"/api/v1/entries/{entry}").status_code == 404


def test_key_that_is_published_means_the_database_or_the_namespace_that_is_named(server, r):
    with connect(server, db=3) as third:
        r.set("k", 0), third.set("k", 3)
        assert say(third, key="k") == 1
        assert (r.get("k"), third.get("k")) == (b"0", None)
        third.set("k", 3)
        assert say(r, key="k", namespace="db3") == 1
        assert (r.get("k"), third.get("k")) == (b"0", None)
        third.set("k", 3)
        assert say(r, all=True, namespace="db3") == 1 and r.get("k") == b"0"


def test_publish_says_what_is_wrong_and_holds_for_ones_own_tenant(server, r):
    r.set("k", 1)
    for message, text in (({"key": "k", "tag": "t"}, "must say one of"), ({"keys": ["k"]}, "not known"), ({}, "must say one of"),
                          ({"event": "moon:full"}, "no kind names that event"), ({"key": "k", "from": "aabb"}, "is no order"),
                          ({"key": "k", "tenant": "01234567-89ab-8cde-8f01-23456789abcd"}, "your own"),
                          ({"tag": "t" * 70000}, "64 KiB")):
        with pytest.raises(redis.ResponseError, match=text):
            say(r, **message)
    assert r.get("k") == b"1"
    with httpx.Client(base_url=server.url, timeout=30) as http:
        assert say(r, key="k", tenant=http.get("/api/v1/limits").json()["tenant"]) == 1


def test_user_publishes_of_what_is_his_alone(server, r):
    with connect(server, username="user:ada", password="k1") as ada, connect(server, password="k1") as tenant:
        ada.set("k", "ada's"), tenant.set("k", "the tenant's")
        assert say(ada, key="k") == 1
        assert (ada.get("k"), tenant.get("k")) == (None, b"the tenant's")
        ada.set("k", "ada's")
        assert say(ada, pattern="k*") == 1 and tenant.get("k") == b"the tenant's"
        with pytest.raises(redis.ResponseError, match="DELETE /api/v1/entries"):
            say(ada, key="0123456789abcdef0123456789abcdef")
        ada.flushall(), tenant.flushall()


# ---- the command line ----


@pytest.mark.skipif(tool("redis-cli") is None, reason="no redis-cli: ./dev test fetches it")
def test_append_only_file_of_another_server_is_brought_over(r, server, tmp_path):
    other = Server(tmp_path / "other", options=("appendonly yes", "aof-use-rdb-preamble no")).start()
    for i in range(300):
        other.call("SET", f"aof:{i}", "v" * i)
    other.call("SET", b"bin\x00\xff", b"\x00\r\n\xfe", "EX", "1000")
    other.call("SET", "changed", "before")
    other.call("APPEND", "changed", ", after")
    other.call("DEL", "aof:7")
    other.stop()
    files = sorted((tmp_path / "other" / "appendonlydir").glob("*.aof"), key=lambda path: ".incr." in path.name)
    assert len(files) == 2, files
    for path in files:
        done = subprocess.run([*tool("redis-cli"), "-p", str(server.resp_port), "--pipe"], input=path.read_bytes(),
                              capture_output=True, check=False, timeout=120)
        assert done.returncode == 0 and b"errors: 0" in done.stdout, done.stdout + done.stderr
    assert r.get("aof:299") == b"v" * 299 and r.get("aof:7") is None and r.get("changed") == b"before, after"
    assert r.get(b"bin\x00\xff") == b"\x00\r\n\xfe" and 900 < r.ttl(b"bin\x00\xff") <= 1000


@pytest.mark.skipif(tool("redis-cli") is None, reason="no redis-cli: ./dev test fetches it")
def test_redis_cli_and_redis_benchmark_run(server):
    def cli(*args, **kwargs):
        return run_tool("redis-cli", "-p", server.resp_port, *args, **kwargs)

    assert cli("SET", "cli", "x y").stdout.strip() == "OK"
    assert cli("GET", "cli").stdout.strip() == "x y"
    assert cli("-3", "HELLO").stdout.count("deja") == 1
    assert "redis_version" in cli("INFO").stdout
    assert cli("--raw", "--scan", "--pattern", "cl*").stdout.split() == ["cli"]
    assert "ERR unknown command" in cli("HSET", "a", "b", "c").stdout
    fed = cli(stdin="SET a 1\nINCR a\nGET a\n").stdout.split()
    assert fed == ["OK", "2", "2"]
    done = run_tool("redis-benchmark", "-p", server.resp_port, "-n", 2000, "-c", 20, "-P", 8, "-q",
                    "-t", "ping,set,get,incr,mset")
    assert done.returncode == 0 and "requests per second" in done.stdout, done.stdout + done.stderr
    assert "rror" not in done.stdout + done.stderr


# ---- Node ----

SCRIPT = r"""
import Redis from "ioredis";
const client = new Redis(Number(process.env.TEST_PORT), "127.0.0.1", { maxRetriesPerRequest: 1 });
const result = {};
await client.flushall();
result.set = await client.set("k", "v", "EX", 1000);
result.get = await client.get("k");
result.ttl = await client.ttl("k");
result.missing = await client.get("none");
result.pipeline = await client.pipeline().incr("n").incr("n").get("n").get("k").exec();
result.multi = await client.multi().set("a", 1).incr("a").exec();
result.mget = await client.mget("a", "k", "none");
result.buffer = (await client.getBuffer("k")).toString("hex");
const found = [];
for await (const keys of client.scanStream({ match: "*", count: 2 })) found.push(...keys);
result.scan = [...new Set(found)].sort();
const listener = client.duplicate();
await listener.subscribe("cache:invalidate");
const told = new Promise((resolve) => listener.on("message", (channel, text) => {
  const message = JSON.parse(text);
  if (message.kind === "pattern") resolve([channel, message.name]);
}));
result.published = await client.publish("cache:invalidate", JSON.stringify({ pattern: "n" }));
result.told = await told;
result.gone = await client.get("n");
try { await client.hset("h", "f", 1); } catch (error) { result.error = error.message; }
listener.disconnect();
await client.quit();
console.log(JSON.stringify(result));
"""


def test_ioredis_does_what_it_does_with_redis(server):
    result = run_module(SCRIPT, {"TEST_PORT": str(server.resp_port)})
    assert result["set"] == "OK" and result["get"] == "v" and 900 <= result["ttl"] <= 1000
    assert result["missing"] is None
    assert result["pipeline"] == [[None, 1], [None, 2], [None, "2"], [None, "v"]]
    assert result["multi"] == [[None, "OK"], [None, 2]]
    assert result["mget"] == ["2", "v", None] and result["buffer"] == "76"
    assert result["scan"] == ["a", "k", "n"]
    assert result["told"] == ["cache:invalidate", "n"] and result["gone"] is None
    assert "unknown command" in result["error"]
