"""The shared tier over TLS with an ACL user, and servers that fail, hang, or say what they should not."""
import socket
import struct
import threading

import pytest
from daemon import ROOT, free_port, poll
from valkey import Driver, Server, TlsServer


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    made = TlsServer(tmp_path_factory.mktemp("tls")).start()
    yield made
    made.stop()


def test_tls_with_a_client_certificate_and_an_acl_user(tls):
    with Driver(**tls.options()) as driver:
        assert driver("put 1 1 1 @3000000").startswith("ok")
        assert driver("get 1 1").startswith("hit 1 3000000")
        assert driver("gets 1 1 100") == "ok hits 1 errors 0"
        assert driver("remove 1 1 any") == "ok 1"
        assert driver("raise 1 a").startswith("ok")
        seen = driver("look")
        assert "tls=1 auth=1 user=deja software=valkey" in seen
        assert "not encrypted" not in seen and "no password" not in seen
        assert "may not CONFIG GET" in seen


@pytest.mark.parametrize("change,what", [
    ({"password": "wrong"}, "check l2.redis.user and l2.redis.password"),
    ({"server_name": "elsewhere.test"}, "hostname mismatch"),
    ({"ca": None}, "self-signed certificate in certificate chain"),
])
def test_a_connection_that_is_not_secured_as_told_is_not_used(tls, change, what):
    options = {k: v for k, v in {**tls.options(), **change}.items() if v is not None}
    with Driver(**options) as driver:
        assert driver("get 1 1").startswith("error ")
        assert what in driver("trouble")
        assert what in driver("look")


def test_plain_speech_to_a_tls_port_fails_soon(tls):
    with Driver(address=f"127.0.0.1:{tls.port}", dial_ms=500) as driver:
        assert driver("get 1 1").startswith("error ")


def test_a_password_that_is_missing_is_said(tmp_path):
    server = Server(tmp_path / "s", options=["requirepass sesame"]).start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}") as driver:
            assert driver("get 1 1") == "error denied"
            assert "set l2.redis.password" in driver("trouble")
        with Driver(address=f"127.0.0.1:{server.port}", password="sesame") as driver:
            assert driver("get 1 1") == "miss"
    finally:
        server.stop()


def test_a_user_without_a_right_is_told_which(tmp_path):
    server = TlsServer(tmp_path / "s", acl="~deja:* +@all -@scripting -@transaction").start()
    try:
        with Driver(**server.options()) as driver:
            assert driver("get 1 1") == "miss"
            assert driver("put 1 1 1 a") == "error denied"
            assert "watch" in driver("trouble")
    finally:
        server.stop()


def test_nobody_there_is_an_error_at_once_and_found_when_it_comes(tmp_path):
    port = free_port()
    with Driver(address=f"127.0.0.1:{port}") as driver:
        assert driver("get 1 1") == "error io_failed"
        assert "Connection refused" in driver("trouble")
        server = Server(tmp_path / "s", port=port).start()
        try:
            driver.until("get 1 1", "miss", timeout=10)
            assert driver("trouble") == "ok "
            server.kill()
            driver.until("get 1 1", "error", timeout=10)
            server.start()
            driver.until("get 1 1", "miss", timeout=10)
        finally:
            server.stop()


def test_a_name_that_does_not_resolve_is_an_error():
    with Driver(address="no.such.host.invalid:6379") as driver:
        assert driver("get 1 1") == "error io_failed"
        assert "no.such.host.invalid" in driver("trouble")


def test_a_name_is_looked_up(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"localhost:{server.port}") as driver:
            assert driver("get 1 1") == "miss"
    finally:
        server.stop()


def test_a_server_that_hangs_costs_the_read_timeout(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", read_ms=200, dial_ms=200) as driver:
            assert driver("get 1 1") == "miss"
            server.pause()
            assert driver("gets 1 1 50") == "ok hits 0 errors 50"
            assert driver("get 1 1").startswith("error")
            server.resume()
            driver.until("get 1 1", "miss", timeout=10)
    finally:
        server.resume()
        server.stop()


def test_an_idle_connection_the_server_closes_is_no_trouble(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}") as driver:
            assert driver("get 1 1") == "miss"
            with server.client() as client:
                client("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                poll(lambda: b"name=deja" not in client("CLIENT", "LIST"), "the connection to go")
                poll(lambda: not driver.sockets(), "the tier to see it")
                assert driver("trouble") == "ok "
                assert driver("get 1 1") == "miss"
    finally:
        server.stop()


def test_a_crowd_of_calls_opens_more_connections_and_no_more_than_allowed(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", connections_max=3) as driver:
            assert driver("gets 1 1 10000") == "ok hits 0 errors 0"
            assert server.call("CLIENT", "LIST").count(b"name=deja") == 3
    finally:
        server.stop()


def test_a_full_queue_refuses(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", queue_max=100) as driver:
            assert driver("gets 1 1 150") == "ok hits 0 errors 50"
            assert driver("gets 1 1 100") == "ok hits 0 errors 0"
    finally:
        server.stop()


def test_a_value_of_64_mb_is_neither_kept_nor_read(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", record_bytes_max=1 << 20) as driver:
            assert driver("put 1 1 1 @2000000") == "error limit_reached"
            assert driver("put 1 1 1 small").startswith("ok")
            (key,) = server.call("KEYS", "deja:*:q:*")
            server.call("SET", key, b"x" * (64 << 20))
            before = driver.memory_kb()
            assert driver("get 1 1") == "error corrupt"
            assert "larger than is accepted" in driver("trouble")
            assert driver.memory_kb() - before < 16 * 1024
            driver.until("get 1 2", "miss", timeout=10)
    finally:
        server.stop()


class Liar:
    """A server that answers the greeting and then says `reply` to everything."""

    def __init__(self, reply, greeting=b"-ERR unknown command 'HELLO'\r\n"):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.reply, self.greeting = reply, greeting
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.recv(65536)
                    peer.sendall(self.greeting)
                    while self.greeting and peer.recv(65536):
                        for piece in self.reply() if callable(self.reply) else [self.reply]:
                            peer.sendall(piece)
                        if self.reply == b"":
                            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                            struct.pack("ii", 1, 0))
                            break
                except OSError:
                    pass

    def close(self):
        self.listener.close()


def endless(piece):
    def pieces():
        while True:
            yield piece

    return pieces


LIES = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "noise": bytes(range(128, 256)) * 40,
    "2^31 elements": b"*2147483648\r\n",
    "many elements": b"*65536\r\n" + b"*65536\r\n" * 20,
    "negative length": b"$-5\r\n",
    "2^63 bytes": b"$9223372036854775807\r\n" + b"x" * 1000,
    "64 MB promised": b"$67108864\r\nabc",
    "a line without end": endless(b"+" + b"x" * 65535),
    "a text without end": endless(b"$67108864\r\n" + b"x" * 65535),
    "nested without end": endless(b"*1\r\n" * 10000),
    "arrays in arrays": endless(b"*60000\r\n" + b"*0\r\n" * 10000),
    "two answers": b"$-1\r\n$-1\r\n",
    "an integer": b":12\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a push": b">2\r\n+message\r\n+x\r\n$-1\r\n",
    "moved nowhere": b"-MOVED 1 :0\r\n",
    "moved": b"-MOVED 99999 127.0.0.1:1\r\n",
    "an error": b"-ERR what\r\n",
    "a reset": b"",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("mode", ["standalone", "cluster"])
def test_no_answer_of_a_server_hangs_or_breaks_the_tier(lie, mode):
    liar = Liar(LIES[lie])
    try:
        with Driver(mode=mode, address=f"127.0.0.1:{liar.port}", read_ms=300, dial_ms=1000,
                    record_bytes_max=1 << 20) as driver:
            driver("stats")
            before = driver.memory_kb()
            for command in ("get 1 1", "put 1 1 1 a", "remove 1 1 any", "clear 1", "list 1 0",
                            "raise 1 a", "pull 0", "lock 1 1 me 100", "unlock 1 1 me", "probe",
                            "gets 1 1 10"):
                answer = driver(command)
                assert not answer.startswith("hit"), answer
            assert driver.memory_kb() - before < 24 * 1024
    finally:
        liar.close()


@pytest.mark.parametrize("greeting", [b"", b"%1\r\n", b"+OK\r\n" * 3, b"-LOADING wait\r\n", b"*0\r\n"])
def test_no_greeting_of_a_server_hangs_the_tier(greeting):
    liar = Liar(b"$-1\r\n", greeting)
    try:
        with Driver(address=f"127.0.0.1:{liar.port}", read_ms=300, dial_ms=300) as driver:
            for command in ("get 1 1", "put 1 1 1 a", "probe"):
                assert not driver(command).startswith("hit")
    finally:
        liar.close()


def test_the_tier_ends_with_calls_under_way(tmp_path):
    server = Server(tmp_path / "s").start()
    try:
        driver = Driver(address=f"127.0.0.1:{server.port}", read_ms=60000)
        assert driver("get 1 1") == "miss"
        server.pause()
        driver.process.stdin.write("gets 1 1 50\n")
        driver.process.stdin.flush()
        server.kill()
        assert driver.process.stdout.readline() == "ok hits 0 errors 50\n"
        driver.close()
    finally:
        server.stop()


@pytest.mark.parametrize("which", [0, 1], ids=["scripts", "without scripts"])
def test_the_shipped_configuration_serves_with_no_more_rights_than_it_gives(tmp_path, which):
    shipped = (ROOT / "deploy" / "valkey.conf").read_text().splitlines()
    user = [line[2:] for line in shipped if line.startswith("# user deja ")][which]
    assert ("+eval" in user) == (which == 0)
    options = [line for line in shipped
               if line and not line.startswith(("#", "bind", "port", "save"))]
    server = Server(tmp_path / "s", options=[*options, user, "user default off"]).start()
    try:
        with Driver(address=f"127.0.0.1:{server.port}", user="deja", password="CHANGE-ME") as driver:
            for command in ("put 1 1 1 a", "get 1 1", "gets 1 1 3", "probe", "list 1 0", "raise 1 t",
                            "pull 0", "lock 1 1 me 1000", "unlock 1 1 me", "remove 1 1 any", "clear 1",
                            "secret a"):
                answer = driver(command)
                assert "error" not in answer.replace("errors 0", ""), (command, answer)
            assert driver("look").endswith(f"auth=1 user=deja software=valkey {version(driver)}")
    finally:
        server.stop()


def version(driver):
    return driver("look").split("software=valkey ")[1].split()[0]
