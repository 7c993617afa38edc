"""What the process gives up before it serves, and what every answer says."""
import os
import pwd
import shutil
import socket
from pathlib import Path

import httpx
import pytest
from conftest import TIMEOUT_S, make_http
from daemon import Daemon

IS_ROOT = os.geteuid() == 0
SOMEBODY = "nobody"


def status_of(daemon):
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def core_limit(daemon):
    line = next(line for line in Path(f"/proc/{daemon.process.pid}/limits").read_text().splitlines()
                if line.startswith("Max core file size"))
    return line.split()[4:6]


def test_no_core_and_no_new_privileges(daemon):
    assert core_limit(daemon) == ["0", "0"]
    assert status_of(daemon)["NoNewPrivs"].strip() == "1"


def test_the_process_still_sees_its_own_files(daemon, anonymous):
    text = anonymous.get("/metrics").text
    fds = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("process_open_fds "))
    assert fds > 5


def test_core_dumps_where_the_operator_wants_them(spawn):
    daemon = spawn(env={"DEJA_SERVER__CORE_DUMPS": "true"})
    with open("/proc/self/limits") as limits:
        ours = next(line for line in limits if line.startswith("Max core file size")).split()[4:6]
    assert core_limit(daemon) == ours


def low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.skip("no low port is free here")


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_root_becomes_another_user_and_keeps_nothing(spawn, tmp_path):
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    data = tmp_path / "data"
    data.mkdir()
    shutil.chown(data, SOMEBODY)
    daemon = spawn(data=data, start=False, env={"DEJA_SERVER__USER": SOMEBODY})
    daemon.port = low_port()
    daemon.log = tmp_path / "daemon.log"
    daemon.start()
    status = status_of(daemon)
    user = pwd.getpwnam(SOMEBODY)
    assert status["Uid"].split() == [str(user.pw_uid)] * 4
    assert status["Gid"].split() == [str(user.pw_gid)] * 4
    assert set(status["Groups"].split()) <= {str(user.pw_gid)}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[kind], 16) == 0, (kind, status[kind])
    for thread in Path(f"/proc/{daemon.process.pid}/task").iterdir():
        assert "CapEff:\t0000000000000000" in (thread / "status").read_text()
    assert {path.stat().st_uid for path in data.rglob("*")} == {user.pw_uid}
    with make_http(daemon) as client:
        metrics = client.get("/metrics").text
        assert "process_open_fds" in metrics


@pytest.mark.parametrize("user,said", [("no-such-user", "there is no user"), ("root", "root")])
def test_wrong_users_are_told(tmp_path, user, said):
    daemon = Daemon(tmp_path / "deja", env={"DEJA_SERVER__USER": user}).start(wait=False)
    assert daemon.wait() == 78
    assert said in daemon.log_text()


# -- headers --

STRICT = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store"}


@pytest.mark.parametrize("method,path", [
    ("GET", "/api/v1/stats"), ("GET", "/api/v1/entries/none"), ("GET", "/metrics"), ("GET", "/health"),
    ("GET", "/livez"), ("GET", "/openapi.json"), ("GET", "/no/such/path"), ("PATCH", "/api/v1/entries"),
    ("POST", "/v1/caches/x/entries/search"), ("POST", "/gptcache/get"), ("GET", "/cache/ping"),
    ("POST", "/admin/reload"), ("GET", "/a/../b")])
def test_each_answer_of_our_own_is_strict(daemon, key, method, path):
    with make_http(daemon, key) as client:
        answer = client.request(method, path)
    for name, value in STRICT.items():
        assert answer.headers[name] == value, (path, name)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers and "x-powered-by" not in answer.headers
    assert "set-cookie" not in answer.headers


def test_an_upstreams_answer_keeps_its_own_headers(http, word):
    body = {"model": "plain", "messages": [{"role": "user", "content": word}]}
    for _ in range(2):
        answer = http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers or answer.headers["x-cache-hit"] == "false"


def test_refusals_before_a_request_is_whole_are_strict_too(daemon):
    with httpx.Client(base_url=daemon.url, timeout=TIMEOUT_S, trust_env=False) as client:
        answer = client.get("/livez", headers={"Host": "evil.example"})
        assert answer.status_code == 421 and answer.headers["x-content-type-options"] == "nosniff"
    raw = daemon.raw(b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n")
    assert b"400 " in raw.split(b"\r\n")[0] and b"X-Content-Type-Options: nosniff" in raw
