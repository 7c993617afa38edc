"""Deja behind TLS: clients, certificates that change under load, ends, slow readers, many at once."""
import contextlib
import json
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import httpx
import openai
import pytest
from certificates import Authority
from conftest import TIMEOUT_S
from daemon import Daemon, clean_environment, free_port, poll

MANY = 1000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.make("localhost")


class Https:
    """A daemon that speaks https on `port`, and plain HTTP on its usual one, for whoever waits for it."""

    def __init__(self, spawn, authority, pair, **settings):
        self.authority = authority
        self.port = free_port()
        env = {"DEJA_TLS__CERT_FILE": str(pair[0]), "DEJA_TLS__KEY_FILE": str(pair[1]), **settings}
        self.daemon = spawn(env=env, start=False)
        self.daemon.args = ["--listen", f"http://127.0.0.1:{self.daemon.port},127.0.0.1:{self.port}"]
        self.daemon.start()
        self.url = f"https://localhost:{self.port}"

    def context(self, client=None):
        context = ssl.create_default_context(cafile=self.authority.certificate)
        if client:
            context.load_cert_chain(*client)
        return context

    def client(self, key=None, client=None, **kwargs):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S, trust_env=False,
                            verify=self.context(client), **kwargs)

    def raw(self, context=None, receive_bytes=None):
        plain = socket.socket()
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.settimeout(60)
        plain.connect(("127.0.0.1", self.port))
        return (context or self.context()).wrap_socket(plain, server_hostname="localhost")


@pytest.fixture
def serve(spawn, authority, pair):
    return lambda **settings: Https(spawn, authority, pair, **settings)


@pytest.fixture
def https(serve):
    return serve()


def read_all(peer):
    parts = []
    with contextlib.suppress(ssl.SSLEOFError):
        while part := peer.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_the_sdk_asks_and_hits_over_https(https, key, word):
    client = openai.OpenAI(base_url=https.url + "/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S,
                           http_client=openai.DefaultHttpxClient(trust_env=False, verify=https.context()))
    messages = [{"role": "user", "content": f"say {word}"}]
    with client:
        first = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
        second = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=messages)
        assert second.headers["x-cache-hit"] == "true"
        assert second.parse().choices == first.choices
        chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == first.choices[0].message.content


def test_curl_and_openssl_verify_it(https, authority):
    done = subprocess.run(["curl", "-sS", "--cacert", authority.certificate, https.url + "/readyz"],
                          env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stderr
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{https.port}", "-servername",
                           "localhost", "-CAfile", authority.certificate, "-verify_return_error",
                           "-alpn", "http/1.1", "-quiet", "-no_ign_eof"],
                          input=b"", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("versions", [("-tls1_1",), ("-tls1",)])
def test_old_versions_are_refused(https, versions):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{https.port}", *versions,
                           "-cipher", "ALL:@SECLEVEL=0"], input=b"", capture_output=True, timeout=60)
    assert done.returncode != 0
    assert b"alert protocol version" in done.stderr + done.stdout


def test_min_version_1_3_refuses_1_2(serve):
    https = serve(DEJA_TLS__MIN_VERSION="1.3")
    context = https.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        https.raw(context)
    with https.raw() as peer:
        assert peer.version() == "TLSv1.3"


def test_version_1_2_has_forward_secrecy_and_no_renegotiation(https):
    context = https.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with https.raw(context) as peer:
        assert peer.cipher()[0].startswith("ECDHE-") and peer.version() == "TLSv1.2"
    with subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{https.port}", "-tls1_2"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
        out, _ = client.communicate(b"R\n", timeout=60)
    assert b"no renegotiation" in out or b"unexpected message" in out, out[-600:]


def test_who_speaks_http_to_it_is_told(https):
    with socket.create_connection(("127.0.0.1", https.port), timeout=60) as peer:
        peer.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while part := peer.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ") and b"use https://" in answer


def test_garbage_closes_one_connection_and_no_other(https):
    with https.raw() as good:
        for garbage in (b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\0" * 100, b"\x15\x03\x01\x00\x02\x02\x28"):
            with socket.create_connection(("127.0.0.1", https.port), timeout=60) as bad:
                with contextlib.suppress(ConnectionError):
                    bad.sendall(garbage)
                    while bad.recv(4096):
                        pass
        good.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(good).startswith(b"HTTP/1.1 200 ")


class HalfPeer:
    """A client that can end its own side alone, which Python's TLS sockets cannot."""

    def __init__(self, https):
        self.socket = socket.create_connection(("127.0.0.1", https.port), timeout=60)
        self.taken, self.made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = https.context().wrap_bio(self.taken, self.made, server_hostname="localhost")

    def turn(self, call):
        """call() until it needs no more bytes of the other side."""
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.made.read())
                part = self.socket.recv(65536)
                self.taken.write(part) if part else self.taken.write_eof()

    def end_our_side(self):
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.socket.sendall(self.made.read())


@pytest.mark.parametrize("ends_tcp", [False, True])
def test_a_client_that_only_ended_its_side_gets_its_answer(https, key, word, ends_tcp):
    body = json.dumps({"query": f"half {word}"}).encode()
    peer = HalfPeer(https)
    peer.turn(peer.tls.do_handshake)
    peer.tls.write(f"POST /api/v1/lookup HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
                   f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    peer.end_our_side()
    if ends_tcp:
        peer.socket.shutdown(socket.SHUT_WR)
    raw = b""
    while part := peer.socket.recv(65536):
        raw += part
    peer.socket.close()
    # Python's object reads nothing more after it said close_notify: that records came is what shows.
    assert len(raw) > 200 and raw[0] == 0x17


def test_answers_end_with_close_notify(https):
    context = https.context()
    with https.raw(context) as peer:
        peer.suppress_ragged_eofs = False
        peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := peer.recv(4096):  # a ragged end would raise
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_pipelined_requests_are_answered_in_order(https):
    count = 50
    with https.raw() as peer:
        for i in range(count):
            peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: r%d\r\n%s\r\n"
                         % (i, b"Connection: close\r\n" if i == count - 1 else b""))
        answer = read_all(peer)
    at = [answer.index(b"X-Request-Id: r%d\r\n" % i) for i in range(count)]
    assert at == sorted(at)


def test_a_big_body_and_a_slow_reader(https, key, word):
    """An answer of several MiB, read late and slowly: whole, and the daemon holds back meanwhile."""
    value = b"v" * (3 << 20)
    with https.client(key) as client:
        put = client.put("/api/v1/entries", json={"query": f"big {word}", "response": value.decode()})
        assert put.status_code == 201, put.text
        entry = put.json()["id"]
    with https.raw(receive_bytes=4096) as peer:
        peer.sendall(f"GET /api/v1/entries/{entry} HTTP/1.1\r\nHost: localhost\r\n"
                     f"Authorization: Bearer {key}\r\nConnection: close\r\n\r\n".encode())
        with https.client() as other:
            assert other.get("/livez").status_code == 200
        answer = read_all(peer)
    assert value in answer


def test_streams_come_chunk_by_chunk(https, key, word):
    with https.client(key) as client:
        for expected in ("false", "true"):
            with client.stream("POST", "/v1/chat/completions",
                               json={"model": "gpt-4o-mini", "stream": True,
                                     "messages": [{"role": "user", "content": f"stream {word}"}]}) as answer:
                text = answer.read()
                assert answer.headers["x-cache-hit"] == expected
                assert text.endswith(b"data: [DONE]\n\n")


def test_each_host_name_has_its_certificate(spawn, authority, pair):
    other = authority.make("other.example", alt="DNS:other.example")
    https = Https(spawn, authority, (f"{pair[0]},{other[0]}", f"{pair[1]},{other[1]}"))
    for name, wanted in (("localhost", "localhost"), ("other.example", "other.example")):
        with socket.create_connection(("127.0.0.1", https.port), timeout=60) as plain:
            with https.context().wrap_socket(plain, server_hostname=name) as peer:
                names = [value for kind, value in peer.getpeercert()["subjectAltName"] if kind == "DNS"]
                assert wanted in names


def serial_of(https):
    with https.raw() as peer:
        return peer.getpeercert()["serialNumber"]


def copy_pair(pair, to):
    for source, target in zip(pair, to):
        target.write_bytes(source.read_bytes())


def test_certificates_change_under_load_and_bad_ones_do_not(serve, authority, tmp_path):
    old, new = authority.make("localhost"), authority.make("localhost")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    copy_pair(old, files)
    https = serve(DEJA_TLS__CERT_FILE=str(files[0]), DEJA_TLS__KEY_FILE=str(files[1]))
    before = serial_of(https)
    faults, stop = [], threading.Event()

    def load():
        with https.client() as kept:
            while not stop.is_set():
                try:
                    assert kept.get("/livez").status_code == 200
                    with https.client() as fresh:
                        assert fresh.get("/livez").status_code == 200
                except Exception as fault:  # noqa: BLE001 - told at the end
                    faults.append(fault)
                    return

    threads = [threading.Thread(target=load) for _ in range(3)]
    with https.raw() as kept:
        for thread in threads:
            thread.start()
        copy_pair(new, files)
        https.daemon.signal(signal.SIGHUP)
        poll(lambda: serial_of(https) != before, "the new certificate to be shown")
        after = serial_of(https)
        files[0].write_text("no certificate\n")
        https.daemon.signal(signal.SIGHUP)
        poll(lambda: "not reloaded; the old one stays" in https.daemon.log_text(), "the failed reload")
        assert str(files[0]) in https.daemon.log_text()
        assert serial_of(https) == after
        files[0].unlink()
        token = [line for line in https.daemon.log_text().splitlines() if "admin      token" in line][0].split()[-1]
        with https.client() as client:
            answer = client.post("/admin/reload", headers={"X-Deja-Token": token}, json={})
            assert answer.status_code in (200, 202), answer.text
        poll(lambda: https.daemon.log_text().count("not reloaded; the old one stays") >= 2, "the second one")
        assert serial_of(https) == after
        kept.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert read_all(kept).startswith(b"HTTP/1.1 200 ")
    stop.set()
    for thread in threads:
        thread.join()
    assert not faults, faults


def test_clients_show_certificates(serve, authority, tmp_path):
    https = serve(DEJA_TLS__CLIENT_AUTH="required", DEJA_TLS__CLIENT_CA_FILE=str(authority.certificate))
    good = authority.make_client("a client")
    with https.client(client=good) as client:
        assert client.get("/livez").status_code == 200
    strangers = Authority(tmp_path / "strangers", "stranger")
    # An extendedKeyUsage of servers only does not make a client.
    for bad in (None, authority.make_client("late", days=-1), strangers.make_client("a client"),
                authority.make("server")):
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            with https.client(client=bad) as client:
                client.get("/livez")


def test_optional_certificates_are_checked_when_shown(serve, authority, tmp_path):
    https = serve(DEJA_TLS__CLIENT_AUTH="optional", DEJA_TLS__CLIENT_CA_FILE=str(authority.certificate))
    with https.client() as client:
        assert client.get("/livez").status_code == 200
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        with https.client(client=Authority(tmp_path / "s", "s").make_client("x")) as client:
            client.get("/livez")


def test_a_handshake_that_does_not_come_is_not_waited_for(serve):
    https = serve(DEJA_SERVER__HEADER_TIMEOUT="300ms")
    with socket.create_connection(("127.0.0.1", https.port), timeout=60) as silent, \
            socket.create_connection(("127.0.0.1", https.port), timeout=60) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert silent.recv(100) == b"" and half.recv(100) == b""


def test_a_reset_in_the_middle_leaves_others_alone(https):
    for cut in (0, 1, 5, 100):
        peer = https.raw()
        peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"[:cut] or b"G")
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    with https.client() as client:
        assert client.get("/livez").status_code == 200


def test_a_thousand_connections(https):
    context = https.context()
    peers = []
    try:
        started = time.monotonic()
        for _ in range(MANY):
            peers.append(https.raw(context))
        print(f"{MANY} handshakes in {time.monotonic() - started:.1f} s, "
              f"{https.daemon.rss_bytes() >> 20} MiB")
        for peer in peers:
            peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for peer in peers:
            assert peer.recv(4096).startswith(b"HTTP/1.1 200 ")
    finally:
        for peer in peers:
            peer.close()


def test_running_requests_are_answered_before_it_ends(https, key, word):
    with https.raw() as peer:
        peer.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.recv(4096).startswith(b"HTTP/1.1 200 ")
        https.daemon.signal(signal.SIGTERM)
        assert peer.recv(4096) == b""
    assert https.daemon.wait() == 0


@pytest.mark.parametrize("env,said", [
    ({"DEJA_TLS__CERT_FILE": "/nonexistent.pem"}, "go together"),
    ({"DEJA_TLS__CERT_FILE": "/nonexistent.pem", "DEJA_TLS__KEY_FILE": "/nonexistent.key"}, "/nonexistent.pem"),
    ({"DEJA_TLS__CLIENT_AUTH": "required"}, "client_ca_file"),
    ({"DEJA_SERVER__LISTEN": "https://127.0.0.1:0"}, "tls.cert_file"),
])
def test_wrong_settings_are_told(tmp_path, env, said):
    daemon = Daemon(tmp_path / "deja", env=env)
    if "DEJA_SERVER__LISTEN" in env:
        daemon.args = ["--listen", env["DEJA_SERVER__LISTEN"]]
    daemon.start(wait=False)
    assert daemon.wait() == 78
    assert said in daemon.log_text()
