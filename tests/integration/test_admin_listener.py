"""Operations and administration are where the operator wants them, and nowhere else."""
import http.client
import json
import os
import re
import socket
import ssl
import stat

import httpx
import pytest
from certificates import Authority
from conftest import TIMEOUT_S, make_http
from daemon import ROOT, Daemon, free_port

OPERATIONS = [("GET", "/metrics"), ("GET", "/health"), ("GET", "/health/detailed"),
              ("POST", "/admin/reload")]
# Whatever the description says an administrator's token is for, now and later.
ADMINISTRATION = [
    (method.upper(), re.sub(r"{\w+}", "x1", path))
    for path, operations in json.loads((ROOT / "src/api/openapi.json").read_text())["paths"].items()
    for method, operation in operations.items()
    if isinstance(operation, dict) and any("adminToken" in way for way in operation.get("security", []))]
OPEN = ["/livez", "/readyz", "/healthz", "/startupz", "/openapi.json"]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self.path))


def token_of(daemon):
    return next(line.split()[-1] for line in daemon.log_text().splitlines() if "admin      token" in line)


def ask_all(client, token):
    """Status of each operation with the token, as somebody who may do everything."""
    return [client.request(method, path, headers={"X-Deja-Token": token, "Content-Type": "application/json"},
                           content="{}" if method == "POST" else None).status_code
            for method, path in OPERATIONS]


def assert_absent(client, token):
    """As if they were not there: neither a method nor a token makes a difference."""
    unknown = client.get("/no/such/path")
    for method, path in OPERATIONS:
        for verb in (method, "PATCH", "HEAD", "OPTIONS"):
            for headers in ({}, {"X-Deja-Token": token}, {"Authorization": f"Bearer {token}"}):
                answer = client.request(verb, path, headers=headers)
                assert answer.status_code == 404, (verb, path, answer.status_code)
                assert "allow" not in answer.headers
    for method, path in ADMINISTRATION:
        for headers in ({}, {"X-Deja-Token": token}):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 404, (method, path, answer.status_code)
            assert answer.json()["detail"] == unknown.json()["detail"], (method, path)
    assert len(ADMINISTRATION) > 20
    answer = client.get("/metrics").json()
    assert answer["type"] == unknown.json()["type"] and answer["detail"] == unknown.json()["detail"]


def test_on_loopback_one_listener_serves_all(daemon):
    with make_http(daemon) as client:
        assert all(status < 400 for status in ask_all(client, token_of(daemon)))


def test_an_admin_listener_takes_them_from_traffic(spawn, word):
    port = free_port()
    daemon = spawn(env={"DEJA_ADMIN__LISTEN": f"127.0.0.1:{port}"})
    token = token_of(daemon)
    with make_http(daemon, f"sk-{word}") as traffic:
        assert_absent(traffic, token)
        for path in OPEN:
            assert traffic.get(path).status_code == 200
        assert traffic.post("/v1/chat/completions", json={
            "model": "m", "messages": [{"role": "user", "content": word}]}).status_code == 200
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S, trust_env=False) as admin:
        assert all(status < 400 for status in ask_all(admin, token))
        for path in OPEN:
            assert admin.get(path).status_code == 200
        # Nothing goes to the upstream from here.
        for path in ("/v1/chat/completions", "/v1/models"):
            assert admin.post(path, json={"model": "m", "messages": []}).status_code == 404
        assert admin.post("/admin/reload", json={}).status_code == 401
        for path in ("/api/v1/tenants", "/api/v1/keys"):
            assert admin.get(path, headers={"X-Deja-Token": token}).status_code == 200
            assert admin.get(path).status_code == 401
    assert f"operations http://127.0.0.1:{port}" in daemon.log_text()


def test_a_public_listener_never_has_them(tmp_path, upstream):
    daemon = Daemon(tmp_path / "deja", upstream.url)
    public = free_port()
    daemon.args = ["--listen", f"127.0.0.1:{daemon.port},0.0.0.0:{public}", "--insecure"]
    daemon.start()
    try:
        with make_http(daemon) as local:
            assert all(status < 400 for status in ask_all(local, token_of(daemon)))
        with httpx.Client(base_url=f"http://127.0.0.1:{public}", timeout=TIMEOUT_S, trust_env=False) as client:
            assert_absent(client, token_of(daemon))
    finally:
        daemon.stop()


def test_who_has_them_nowhere_is_told(tmp_path, upstream):
    daemon = Daemon(tmp_path / "deja", upstream.url)
    daemon.args = ["--listen", f"0.0.0.0:{daemon.port}", "--insecure"]
    daemon.start()
    daemon.stop()
    assert "operations served nowhere" in daemon.log_text() and "admin.listen" in daemon.log_text()


def test_a_unix_socket_is_for_its_user_alone(spawn, tmp_path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as left:  # of a process that ended without removing it
        left.bind(str(path))
    daemon = spawn(env={"DEJA_ADMIN__LISTEN": f"unix:{path}", "DEJA_SERVER__LOOPS": "2"})
    mode = os.stat(path)
    assert stat.S_ISSOCK(mode.st_mode) and stat.S_IMODE(mode.st_mode) == 0o600
    for _ in range(20):  # both loops take connections of the one socket
        connection = UnixConnection(path)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200 and b"semantic_cache_" in answer.read()
        connection.close()
    with make_http(daemon) as traffic:
        assert_absent(traffic, token_of(daemon))
    other = Daemon(tmp_path / "other", env={"DEJA_ADMIN__LISTEN": f"unix:{path}"}).start(wait=False)
    assert other.wait() == 75
    assert "listens on" in other.log_text()
    daemon.stop()
    assert not path.exists()


def test_admins_show_certificates(spawn, tmp_path):
    authority = Authority(tmp_path / "authority")
    certificate, key = authority.make("localhost")
    port = free_port()
    spawn(env={"DEJA_ADMIN__LISTEN": f"127.0.0.1:{port}", "DEJA_ADMIN__TLS__CERT_FILE": str(certificate),
               "DEJA_ADMIN__TLS__KEY_FILE": str(key), "DEJA_ADMIN__TLS__CLIENT_AUTH": "required",
               "DEJA_ADMIN__TLS__CLIENT_CA_FILE": str(authority.certificate)})
    context = ssl.create_default_context(cafile=authority.certificate)
    with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT_S) as client:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError, httpx.ConnectError)):
            client.get(f"https://localhost:{port}/metrics")
    context.load_cert_chain(*authority.make_client("an admin"))
    with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT_S) as client:
        assert client.get(f"https://localhost:{port}/metrics").status_code == 200


@pytest.mark.parametrize("value,said", [
    ("0.0.0.0:0", "without TLS"), ("unix:relative", "admin.listen expects"), ("nowhere", "admin.listen expects"),
    ("unix:/" + "x" * 200, "admin.listen expects"),
    (",".join(f"127.0.0.1:{p}" for p in range(9001, 9010)), "up to 8"),
])
def test_wrong_addresses_are_told(tmp_path, value, said):
    daemon = Daemon(tmp_path / "deja", env={"DEJA_ADMIN__LISTEN": value}).start(wait=False)
    assert daemon.wait() == 78
    assert said in daemon.log_text()
