"""What strangers, slow and broken clients of Redis may not do to Deja, and who may see what."""
import contextlib
import http.client
import socket

import httpx
import pytest
import redis
from certificates import Authority
from conftest import check_sanitizer, make_http
from daemon import free_port, poll, run_cli
from resp import RespDaemon
from resp_pair import Wire, encode
from test_keys import TOKEN, Deployment

PATIENCE_S = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = RespDaemon(tmp_path_factory.mktemp("deja")).start()
    yield made
    made.stop()
    check_sanitizer(made)


def talk(port, data, patience=PATIENCE_S):
    """What comes back until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), patience) as wire:
        wire.sendall(data)
        return read_to_end(wire)


def read_to_end(wire):
    got = b""
    try:
        while chunk := wire.recv(65536):
            got += chunk
    except ConnectionResetError:
        pass
    return got


def metric(server, name, **labels):
    text = httpx.get(server.url + "/metrics", trust_env=False).text
    wanted = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
    for line in text.splitlines():
        if line.startswith(name + wanted + " "):
            return float(line.split()[-1])
    return 0.0


# ---- bytes that are not commands ----


@pytest.mark.parametrize("data, said", [
    (b"*1\r\n:1\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"*x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2147483647\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2\r\n$3\r\nGET\r\n$2147483648\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"*2\r\n$3\r\nGET\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"PING\r\nGET 'a\r\n", b"+PONG\r\n-ERR Protocol error: unbalanced quotes in request\r\n"),
    (b"x" * 100000, b"-ERR Protocol error: too big inline request\r\n"),
    (b"*1\r\n$4\r\nPINGxx", b"-ERR Protocol error: a bulk string does not end where it said\r\n"),
])
def test_who_sends_garbage_is_told_and_cut(server, data, said):
    before = metric(server, "semantic_cache_resp_troubles_total", reason="protocol")
    assert talk(server.resp_port, data) == said
    assert metric(server, "semantic_cache_resp_troubles_total", reason="protocol") == before + 1


def test_large_command_may_be_the_first_where_nobody_has_to_say_who_he_is(server):
    with Wire(server.resp_port) as wire:
        assert wire.ask(b"ECHO", b"x" * 1000000) == (b"$", b"x" * 1000000)
        wire.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$33554433\r\n")
        assert wire.read()[1] == b"ERR Protocol error: invalid bulk length"


@pytest.mark.parametrize("data", [
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n\r\nSET crossed protocol\r\n",
    b"GET /k HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET crossed protocol\r\n",
    b"Host: 127.0.0.1\r\nSET crossed protocol\r\n",
    b"PUT /k HTTP/1.1\r\n\r\nSET crossed protocol\r\n",
])
def test_web_page_cannot_speak_through_http(server, data):
    before = metric(server, "semantic_cache_resp_troubles_total", reason="http")
    assert b"not HTTP" in talk(server.resp_port, data)
    assert metric(server, "semantic_cache_resp_troubles_total", reason="http") == before + 1
    with redis.Redis(port=server.resp_port) as r:
        assert r.get("crossed") is None


def test_http_client_is_told_what_the_port_is(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.resp_port, timeout=PATIENCE_S)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 400 and b"RESP" in answer.read()


def test_commands_cut_anywhere_are_the_same(server):
    commands = b"".join(map(encode, ([b"SET", b"cut", b"v" * 300], [b"GET", b"cut"], [b"DEL", b"cut"])))
    whole = b"+OK\r\n$300\r\n" + b"v" * 300 + b"\r\n:1\r\n"
    for at in range(1, len(commands), 7):
        with socket.create_connection(("127.0.0.1", server.resp_port), PATIENCE_S) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire.sendall(commands[:at])
            wire.sendall(commands[at:])
            wire.shutdown(socket.SHUT_WR)
            assert read_to_end(wire) == whole


# ---- time and memory ----


def test_slow_clients_are_cut(tmp_path):
    server = RespDaemon(tmp_path / "deja", more="  login_timeout: 300ms\n",
                        extra="server:\n  write_timeout: 500ms\n  min_body_rate: 1mb\n").start()
    try:
        with socket.create_connection(("127.0.0.1", server.resp_port), PATIENCE_S) as silent:
            assert silent.recv(10) == b""
        with Wire(server.resp_port) as known:
            assert known.ask(b"PING") == (b"+", b"PONG")
            known.socket.sendall(b"*2\r\n$3\r\nGET\r\n$10\r\nab")
            assert known.socket.recv(10) == b""
        with Wire(server.resp_port) as wire:
            assert wire.ask(b"SET", b"big", b"x" * (4 << 20)) == (b"+", b"OK")
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", server.resp_port))
            reader.sendall(encode([b"GET", b"big"]) * 50)
            poll(lambda: metric(server, "semantic_cache_resp_troubles_total", reason="slow") >= 3, "the reader to be cut")
            assert len(read_to_end(reader)) < 50 * (4 << 20)
            reader.close()
            assert wire.ask(b"PING") == (b"+", b"PONG")
    finally:
        server.stop()


def test_reader_that_does_not_read_holds_one_answer_not_all(server):
    with Wire(server.resp_port) as wire:
        assert wire.ask(b"SET", b"big", b"x" * (1 << 20)) == (b"+", b"OK")
        reader = socket.socket()
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", server.resp_port))
        sent = metric(server, "semantic_cache_resp_bytes_total", direction="out")
        reader.sendall(encode([b"GET", b"big"]) * 200)
        for _ in range(50):
            assert wire.ask(b"PING") == (b"+", b"PONG")
        assert metric(server, "semantic_cache_resp_bytes_total", direction="out") - sent < 20 << 20
        got = 0
        while got < 200 * ((1 << 20) + 12):
            got += len(reader.recv(1 << 20))
        reader.close()


def test_thousand_idle_connections_are_kept_and_served(server):
    idle = [Wire(server.resp_port) for _ in range(1000)]
    for wire in idle:
        wire.send([[b"PING"]])
    assert all(wire.read() == (b"+", b"PONG") for wire in idle)
    assert metric(server, "semantic_cache_resp_connections") >= 1000
    for wire in idle:
        wire.close()
    poll(lambda: metric(server, "semantic_cache_resp_connections") < 10, "their places to be free")


def test_connections_beyond_the_limit_are_turned_away(tmp_path):
    server = RespDaemon(tmp_path / "deja", more="  max_connections: 4\n", env={"DEJA_SERVER__LOOPS": "1"}).start()
    try:
        kept = [Wire(server.resp_port) for _ in range(5)]
        assert all(wire.ask(b"PING") == (b"+", b"PONG") for wire in kept)
        assert talk(server.resp_port, b"") == b"-ERR max number of clients reached\r\n"
        kept.pop().close()

        def is_let_in():
            with socket.create_connection(("127.0.0.1", server.resp_port), PATIENCE_S) as wire:
                wire.sendall(b"PING\r\n")
                return wire.recv(100) == b"+PONG\r\n"

        poll(is_let_in, "a free place")
    finally:
        server.stop()


def test_reply_beyond_the_limit_is_an_error_and_the_client_goes_on(tmp_path):
    server = RespDaemon(tmp_path / "deja", more="  max_reply_bytes: 1mb\n").start()
    try:
        with redis.Redis(port=server.resp_port) as r:
            r.set("k", b"x" * 600000)
            with pytest.raises(redis.ResponseError, match="max_reply_bytes"):
                r.mget("k", "k")
            assert len(r.get("k")) == 600000
    finally:
        server.stop()


def test_keys_beyond_a_bound_names_scan_and_the_client_goes_on(tmp_path):
    limits = {"DEJA_SERVER__MAX_IN_FLIGHT_BYTES": "1200kb", "DEJA_SERVER__MAX_BODY_BYTES": "256kb"}
    long = {b"long:%0200d" % i for i in range(3000)}
    short = {b"short:%06d" % i for i in range(14000)}
    server = RespDaemon(tmp_path / "deja", env=limits, more="  max_reply_bytes: 512kb\n").start()
    try:
        with redis.Redis(port=server.resp_port) as r:
            with r.pipeline(transaction=False) as all_of_them:
                for name in long | short:
                    all_of_them.set(name, b"v")
                all_of_them.execute()
            with pytest.raises(redis.ResponseError, match="max_reply_bytes: walk them with SCAN"):
                r.keys("long:*")
            with pytest.raises(redis.ResponseError, match="walk the keys with SCAN"):
                r.keys("short:*")  # room for the reply, but not for what is gathered for it
            assert set(r.scan_iter("short:*", count=1000)) == short
            assert len(r.keys("*00???")) == 1000 + 1000
    finally:
        server.stop()


def test_drain_answers_what_was_asked(tmp_path):
    server = RespDaemon(tmp_path / "deja").start()
    with Wire(server.resp_port) as idle, Wire(server.resp_port) as wire:
        assert idle.ask(b"PING") == (b"+", b"PONG")
        wire.send([[b"SET", b"k%d" % i, b"v"] for i in range(500)])
        assert [wire.read() for _ in range(500)] == [(b"+", b"OK")] * 500
        server.stop()
        assert idle.socket.recv(10) == b"" and wire.socket.recv(10) == b""


# ---- who is who ----


@pytest.fixture
def keyed(tmp_path):
    made = []

    def spawn(env=None, **kwargs):
        made.append(RespDaemon(tmp_path / "deja", env=env, **kwargs).start())
        return made[0]

    yield Deployment(spawn)
    made[0].stop()
    check_sanitizer(made[0])


def open_as(server, key, **kwargs):
    return redis.Redis(port=server.resp_port, password=key, **kwargs)


def test_tenants_do_not_see_each_others_keys(keyed):
    server = keyed.daemon
    keys = [keyed.key(keyed.tenant()) for _ in range(2)]
    with open_as(server, keys[0]) as a, open_as(server, keys[1], protocol=3) as b:
        for i in range(50):
            a.set(f"k{i}", f"a{i}")
            b.set(f"k{i}", f"b{i}")
        assert a.mget(*[f"k{i}" for i in range(50)]) == [f"a{i}".encode() for i in range(50)]
        assert b.mget(*[f"k{i}" for i in range(50)]) == [f"b{i}".encode() for i in range(50)]
        assert a.dbsize() == b.dbsize() == 50
        a.set("only a", 1)
        assert b.get("only a") is None and b.exists("only a") == 0 and b.delete("only a") == 0
        assert b"only a" not in b.keys() and b"only a" not in list(b.scan_iter())
        a.flushall()
        assert b.dbsize() == 50 and a.dbsize() == 0
        listener = b.pubsub()
        listener.subscribe("cache:invalidate")
        assert listener.get_message(timeout=10)["type"] == "subscribe"
        a.publish("cache:invalidate", '{"all": true}')
        b.publish("cache:invalidate", '{"pattern": "k1*"}')
        message = poll(lambda: listener.get_message(timeout=1), "b's own message")
        assert b"k1*" in message["data"] and b.dbsize() == 39
        listener.close()


def test_key_of_http_is_the_password_of_resp(keyed):
    server, tenant = keyed.daemon, keyed.tenant()
    key = keyed.key(tenant)
    with make_http(server, key) as web, open_as(server, key) as r:
        assert web.put("/api/v1/kv/k", content=b"v").is_success
        assert r.get("k") == b"v"
    with redis.Redis(port=server.resp_port, username="default", password=key) as r:
        assert r.get("k") == b"v"
    with redis.Redis(port=server.resp_port, username="user:ann", password=key) as ann:
        assert ann.get("k") is None and ann.set("k", "ann's")
    with make_http(server, key, headers={"X-Deja-User": "ann"}) as web:
        assert web.get("/api/v1/kv/k").text == "ann's"
    with redis.Redis(port=server.resp_port, username="admin", password=key) as other:
        with pytest.raises(redis.AuthenticationError, match="user:NAME"):
            other.ping()


def test_one_tenant_does_not_take_all_places_of_those_who_follow(keyed):
    server = keyed.daemon
    own, other = (keyed.key(keyed.tenant()) for _ in range(2))
    with contextlib.ExitStack() as stack:
        for i in range(257):
            wire = stack.enter_context(Wire(server.resp_port))
            assert wire.ask(b"AUTH", own.encode()) == (b"+", b"OK")
            kind, told = wire.ask(b"SUBSCRIBE", b"cache:invalidate")
            assert kind == (b"*" if i < 256 else b"-"), told
        assert b"256 of a tenant" in told
        with make_http(server, own) as web:
            refused = web.get("/api/v1/invalidations")
            assert refused.status_code == 429 and "256 of a tenant" in refused.json()["detail"]
        with make_http(server, other) as web:
            assert web.get("/api/v1/invalidations", params={"wait": "50ms"}).status_code == 200


def test_one_user_is_not_told_what_all_users_make_void(keyed):
    server, tenant = keyed.daemon, keyed.tenant()
    key = keyed.key(tenant)
    with redis.Redis(port=server.resp_port, username="user:ann", password=key) as ann:
        for words in (("SUBSCRIBE", "cache:invalidate"), ("PSUBSCRIBE", "cache:*")):
            with pytest.raises(redis.exceptions.NoPermissionError, match="all users"):
                ann.execute_command(*words)
        assert ann.set("k", "ann's")


def test_nobody_gets_nothing_where_tenants_are_configured(keyed):
    keyed.tenant()
    server = keyed.daemon
    for announced in (b"*2\r\n$4\r\nPING\r\n$1000000\r\n", b"*1000\r\n"):
        assert talk(server.resp_port, announced).startswith(b"-ERR Protocol error")
    with Wire(server.resp_port) as wire:
        for words in ([b"GET", b"k"], [b"PING"], [b"INFO"], [b"KEYS", b"*"], [b"SUBSCRIBE", b"cache:invalidate"],
                      [b"COMMAND"], [b"MULTI"]):
            kind, text = wire.ask(*words)
            assert kind == b"-" and text.startswith(b"NOAUTH"), words
        assert wire.ask(b"HELLO", b"3")[1].startswith(b"NOAUTH")
        assert wire.ask(b"QUIT") == (b"+", b"OK")


def test_wrong_password_is_refused_and_then_locked_out(keyed):
    server, key = keyed.daemon, keyed.key(keyed.tenant())
    said = []
    with Wire(server.resp_port) as wire:
        wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
        for _ in range(30):
            said.append(wire.ask(b"AUTH", wrong.encode())[1])
        assert said[0].startswith(b"WRONGPASS") and b"too many attempts" in said[-1], said[-1]
        # Not somebody else meanwhile: not even the local tenant.
        assert wire.ask(b"SET", b"k", b"v")[1].startswith(b"NOAUTH")


def test_failed_auth_does_not_leave_the_tenant_before(keyed):
    server, key = keyed.daemon, keyed.key(keyed.tenant())
    with Wire(server.resp_port) as wire:
        assert wire.ask(b"AUTH", key.encode()) == (b"+", b"OK")
        assert wire.ask(b"SET", b"k", b"v") == (b"+", b"OK")
        assert wire.ask(b"AUTH", b"deja_wrong")[0] == b"-"
        assert wire.ask(b"GET", b"k")[1].startswith(b"NOAUTH")
        assert wire.ask(b"AUTH", key.encode()) == (b"+", b"OK")
        assert wire.ask(b"GET", b"k") == (b"$", b"v")


def test_roles_hold_for_each_command(keyed):
    server, tenant = keyed.daemon, keyed.tenant()
    writer, reader = keyed.key(tenant), keyed.key(tenant, roles=["read"])
    with open_as(server, writer) as w, open_as(server, reader) as r:
        w.set("k", "v")
        assert r.get("k") == b"v" and r.ttl("k") == -1 and r.keys() == [b"k"]
        for words in (("SET", "k", "x"), ("DEL", "k"), ("INCR", "n"), ("FLUSHDB",), ("EXPIRE", "k", 1),
                      ("PUBLISH", "cache:invalidate", '{"all":true}'), ("MSETNX", "a", 1), ("GETDEL", "k")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                r.execute_command(*words)
        assert w.get("k") == b"v"

    def refused():
        events = keyed.admin.get("/api/v1/audit", params={"type": "access", "tenant": tenant}).json()["events"]
        return len(events) == 8 and events

    events = poll(refused, "refusals to be in the audit log", every=0.2)
    assert {e["operation"] for e in events} == {"kv.put", "kv.remove", "kv.clear", "cache.invalidate"}
    assert {(e["result"], e["metadata"]["error"]) for e in events} == {("failure", "forbidden")}


def test_revoked_key_ends_within_seconds_on_an_open_connection(keyed):
    server, tenant = keyed.daemon, keyed.tenant()
    made = keyed.make(tenant)
    with Wire(server.resp_port) as wire:
        assert wire.ask(b"AUTH", made["secret"].encode()) == (b"+", b"OK")
        assert wire.ask(b"SET", b"k", b"v") == (b"+", b"OK")
        assert keyed.admin.delete(f"/api/v1/keys/{made['key']['id']}").is_success
        poll(lambda: wire.ask(b"GET", b"k")[1].startswith(b"NOAUTH"), "the key to be over", every=0.2)


def test_limit_of_the_tenant_holds(keyed):
    server, tenant = keyed.daemon, keyed.tenant()
    key = keyed.key(tenant)
    assert keyed.admin.patch(f"/api/v1/tenants/{tenant}", json={
        "config": {"limits": {"requests_per_s": 5, "burst": 5, "max_entry_bytes": 1000}}}).is_success
    with Wire(server.resp_port) as wire:
        assert wire.ask(b"AUTH", key.encode()) == (b"+", b"OK")
        wire.send([[b"GET", b"k"]] * 50)
        replies = [wire.read() for _ in range(50)]
        refused = [text for kind, text in replies if kind == b"-"]
        assert 30 <= len(refused) < 50 and b"try again in" in refused[0]


def test_tls_is_spoken_where_there_is_a_certificate(tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.make("localhost")
    port = free_port()
    server = RespDaemon(tmp_path / "deja", extra=f"tls:\n  cert_file: {cert}\n  key_file: {key}\n")
    both = f"['127.0.0.1:{server.resp_port}', 'redis://127.0.0.1:{port}']"
    server.config.write_text(server.config.read_text().replace(f"127.0.0.1:{server.resp_port}", both))
    server.args += ["--listen", f"http://127.0.0.1:{server.port}"]
    server.start()
    try:
        with redis.Redis(host="localhost", port=server.resp_port, ssl=True, ssl_ca_certs=str(authority.certificate)) as r:
            value = b"x" * 3000000
            assert r.set("k", value) and r.get("k") == value
            with r.pipeline(transaction=False) as pipe:
                for i in range(300):
                    pipe.set(f"k{i}", i).get(f"k{i}")
                assert pipe.execute()[1::2] == [str(i).encode() for i in range(300)]
        with redis.Redis(port=port) as plain:
            assert plain.get("k0") == b"0"
        assert talk(server.resp_port, b"PING\r\n")[:1] != b"+"
    finally:
        server.stop()


def test_public_address_wants_tls_and_keys(tmp_path):
    def start(*args, listen="0.0.0.0:0"):
        return run_cli("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "d", *args, timeout=60,
                       env={"DEJA_RESP__LISTEN": listen})

    refused = start()
    assert refused.returncode == 78 and "without TLS" in refused.stderr
    authority = Authority(tmp_path)
    cert, key = authority.make("localhost")
    tls = {"DEJA_TLS__CERT_FILE": str(cert), "DEJA_TLS__KEY_FILE": str(key), "DEJA_RESP__LISTEN": "0.0.0.0:0"}
    refused = run_cli("serve", "--listen", "http://127.0.0.1:0", "--data", tmp_path / "d", timeout=60, env=tls)
    assert refused.returncode == 78 and "nobody has a key yet" in refused.stderr


def test_unix_socket_is_one_more_address(tmp_path):
    server = RespDaemon(tmp_path / "deja")
    path = tmp_path / "s"
    server.config.write_text(server.config.read_text().replace(f"127.0.0.1:{server.resp_port}", f"unix:{path}"))
    server.start()
    try:
        with redis.Redis(unix_socket_path=str(path)) as r:
            assert r.set("k", "v") and r.get("k") == b"v"
    finally:
        server.stop()
