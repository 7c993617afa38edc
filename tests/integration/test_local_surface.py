"""The local surface is not open: Host, Origin, content type, admin token (DESIGN 9)."""
import re

import pytest
from daemon import parse_response, raw_request

JSON = [("Content-Type", "application/json")]
BODY = b'{"query":"q","response":"r"}'


def status(daemon, *args, **kwargs):
    return parse_response(daemon.raw(raw_request(*args, **kwargs)))[0]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:7070", "[::1]", "127.0.0.1:1"])
def test_loopback_host_is_served(daemon, host):
    assert status(daemon, "GET", "/livez", host=host) == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "deja.local", "localhost.evil.example"])
@pytest.mark.parametrize("target", ["/api/v1/stats", "/v1/models", "/metrics"])
def test_foreign_host_is_refused(daemon, upstream, host, target):
    before = upstream.counts[target]
    assert status(daemon, "GET", target, host=host) == 421
    assert upstream.counts[target] == before


def test_missing_host_is_refused(daemon):
    raw = daemon.raw(b"GET /api/v1/stats HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert parse_response(raw)[0] in (400, 403, 421)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
@pytest.mark.parametrize(("method", "target"), [("GET", "/api/v1/stats"), ("PUT", "/api/v1/entries"),
                                                ("POST", "/v1/chat/completions")])
def test_foreign_origin_is_403(daemon, origin, method, target):
    body = BODY if method != "GET" else b""
    assert status(daemon, method, target, [("Origin", origin), *JSON], body) == 403


def test_own_origin_is_served(daemon):
    host = f"127.0.0.1:{daemon.port}"
    assert status(daemon, "GET", "/api/v1/stats", [("Origin", f"http://{host}")], host=host) == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
@pytest.mark.parametrize(("method", "target"), [("PUT", "/api/v1/entries"), ("POST", "/api/v1/lookup")])
def test_write_without_the_json_type_is_refused(daemon, kind, method, target):
    headers = [("Content-Type", kind)] if kind else []
    assert status(daemon, method, target, headers, BODY) == 415


def test_json_type_may_carry_a_charset(daemon):
    headers = [("Content-Type", "application/json; charset=utf-8")]
    assert status(daemon, "PUT", "/api/v1/entries", headers, BODY) == 201


def test_no_answer_allows_other_origins(daemon):
    _, headers, _ = parse_response(daemon.raw(raw_request("OPTIONS", "/api/v1/entries", [
        ("Origin", "https://evil.example"), ("Access-Control-Request-Method", "PUT")])))
    assert "access-control-allow-origin" not in {name.lower() for name, _ in headers}


def test_reload_needs_the_token_printed_at_start(daemon):
    assert status(daemon, "POST", "/admin/reload", JSON, b"{}") in (401, 403)
    assert status(daemon, "POST", "/admin/reload", [("Authorization", "Bearer wrong"), *JSON], b"{}") in (401, 403)


def test_addresses_are_printed_at_start(daemon):
    assert re.search(rf"http://127\.0\.0\.1:{daemon.port}/v1", daemon.log_text())


def test_public_address_is_refused_without_keys_and_tls(spawn):
    daemon = spawn(start=False)
    daemon.args = []
    command = daemon.command()
    command[command.index("--listen") + 1] = f"0.0.0.0:{daemon.port}"
    import subprocess

    from daemon import clean_environment

    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "--insecure" in done.stderr


def test_secret_and_data_are_for_the_owner_only(daemon):
    secret = daemon.data / "secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.stat().st_size >= 32


def test_data_directory_belongs_to_one_process(spawn, daemon):
    import subprocess

    from daemon import clean_environment

    second = spawn(data=daemon.data, start=False)
    done = subprocess.run(second.command(), env=clean_environment(), capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 75
    assert str(daemon.data) in done.stderr


def test_a_port_belongs_to_one_daemon(spawn, daemon):
    """With SO_REUSEPORT alone two daemons would share the port and each get half of the requests."""
    import subprocess

    from daemon import clean_environment

    second = spawn(start=False)
    command = [part if not part.startswith("127.0.0.1:") else f"127.0.0.1:{daemon.port}"
               for part in second.command()]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 75
    assert "another process listens" in done.stderr
