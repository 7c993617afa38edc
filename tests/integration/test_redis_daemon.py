"""Daemons on one Valkey: each other's entries, one secret, and what doctor and the log say of it."""
import json

import pytest
from conftest import make_http
from daemon import free_port, poll, run_cli
from test_stale import metric
from valkey import Server, TlsServer

ENTRIES, LOOKUP = "/api/v1/entries", "/api/v1/lookup"


@pytest.fixture
def server(tmp_path):
    made = Server(tmp_path / "valkey").start()
    yield made
    made.stop()


def put(daemon, query, response):
    with make_http(daemon) as http:
        answer = http.put(ENTRIES, json={"query": query, "response": response})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]


def lookup(daemon, query):
    with make_http(daemon) as http:
        answer = http.post(LOOKUP, json={"query": query})
        assert answer.status_code == 200, answer.text
        return answer.json()


def test_two_daemons_serve_each_others_entries(spawn, server):
    url = {"REDIS_URL": f"redis://127.0.0.1:{server.port}"}
    first, second = spawn(env=url), spawn(env=url)
    ident = put(first, "who wrote it", "Woolf")
    found = lookup(second, "who wrote it")
    assert (found["hit"], found["response"], found["tier"]) == (True, "Woolf", "redis")
    assert lookup(second, "who wrote it")["tier"] == "memory"
    with make_http(second) as http:
        assert http.delete(f"{ENTRIES}/{ident}").status_code < 300
    assert not lookup(second, "who wrote it")["hit"]
    assert (first.data / "secret").read_bytes() == (second.data / "secret").read_bytes()


def test_litellms_operators_see_the_servers_figures(spawn, server):
    daemon = spawn(env={"REDIS_URL": f"redis://127.0.0.1:{server.port}"})
    put(daemon, "q", "a")

    def measured():
        with make_http(daemon) as http:
            answer = http.get("/cache/redis/info")
            assert answer.status_code == 200, answer.text
            return answer.json() if answer.json()["info"].get("servers") else None

    told = poll(measured, "figures of the server")
    info = told["info"]
    assert told["clients"] == [] and told["num_clients"] == info["connected_clients"] > 0
    assert info.keys() & {"valkey_version", "redis_version"}
    assert info["used_memory"] > 100_000 and info["servers"] == 1
    assert {"keys", "maxmemory", "evicted_keys", "expired_keys"} <= info.keys()


def test_a_secret_is_kept_for_a_start_without_the_tier(spawn, server):
    url = {"REDIS_URL": f"redis://127.0.0.1:{server.port}"}
    first, second = spawn(env=url), spawn(env=url)
    second.stop()
    put(first, "q", "a")
    server.pause()
    try:
        second.start()
        assert "the shared tier cannot be used yet" in second.log_text()
    finally:
        server.resume()
    poll(lambda: lookup(second, "q")["hit"], "the tier to be used again")


def test_a_secret_of_ones_own_is_told_from_the_shared_one(spawn, server):
    url = {"REDIS_URL": f"redis://127.0.0.1:{server.port}"}
    spawn(env=url)
    other = spawn(env={**url, "DEJA_SECURITY__SECRET": "ab" * 32})
    assert "security.secret is not the secret that the tier's programs share" in other.log_text()


def test_a_daemon_starts_and_serves_without_its_tier(spawn):
    daemon = spawn(env={"REDIS_URL": f"redis://127.0.0.1:{free_port()}"})
    put(daemon, "q", "a")
    assert lookup(daemon, "q")["hit"]


def test_a_step_in_the_background_that_fails_is_counted_and_told(spawn, server):
    daemon = spawn(env={"REDIS_URL": f"redis://127.0.0.1:{server.port}"})
    put(daemon, "q", "a")
    server.kill()
    with make_http(daemon) as client:
        poll(lambda: metric(client, "semantic_cache_recovered_total", operation="pull_generations") > 0,
             "a pull that failed to be counted")
    assert "pull_generations" in daemon.log_text()


def doctor(tmp_path, url, *args):
    ended = run_cli("doctor", "--json", "--offline", "--data", tmp_path / "data", "--set",
                    f"server.listen=127.0.0.1:{free_port()}", *args, env={"REDIS_URL": url})
    checks = json.loads(ended.stdout)["checks"]
    return [check for check in checks if check["name"].strip().startswith("redis")]


def test_doctor_compares_the_server_with_what_is_recommended(tmp_path, server):
    checks = doctor(tmp_path, f"redis://127.0.0.1:{server.port}")
    assert checks[0]["status"] == "ok" and "valkey 8" in checks[0]["message"]
    told = " ".join(check["message"] for check in checks)
    for what in ("no password", "maxmemory is 0", "appendonly is not yes"):
        assert what in told
    for setting in ("maxmemory 4gb", "maxmemory-policy volatile-lru", "appendonly yes",
                    "appendfsync everysec", "tcp-keepalive 60", "timeout 300",
                    "notify-keyspace-events Ex"):
        server.call("CONFIG", "SET", *setting.split(" ", 1))
    told = " ".join(check["message"] for check in doctor(tmp_path, f"redis://127.0.0.1:{server.port}"))
    assert "no password" in told and "is not" not in told and "maxmemory" not in told


def test_doctor_says_why_the_tier_cannot_be_used(tmp_path):
    server = Server(tmp_path / "s", options=["requirepass sesame"]).start()
    try:
        (check,) = doctor(tmp_path, f"redis://:wrong@127.0.0.1:{server.port}")
        assert check["status"] == "fail" and "l2.redis.password" in check["message"]
        assert "wrong" not in json.dumps(check)
    finally:
        server.stop()


def test_a_daemon_over_tls_with_an_acl_user(spawn, tmp_path):
    server = TlsServer(tmp_path / "tls").start()
    try:
        daemon = spawn(env={"REDIS_URL": f"rediss://deja:wonder@localhost:{server.port}",
                            "REDIS_TLS_CA_PATH": server.paths["ca_crt"],
                            "REDIS_TLS_CERT_PATH": server.paths["client_crt"],
                            "REDIS_TLS_KEY_PATH": server.paths["client_key"]})
        put(daemon, "q", "a")
        assert lookup(daemon, "q")["hit"]
        with server.client(context=server.context(), user="admin", password="root") as client:
            assert client("DBSIZE") >= 2
    finally:
        server.stop()


def test_health_tells_how_the_tier_is_secured_and_filled(spawn, server):
    daemon = spawn(env={"REDIS_URL": f"redis://127.0.0.1:{server.port}"})
    put(daemon, "q", "a")
    with make_http(daemon) as http:
        found = http.get("/health/detailed").json()["components"]["redis"]["details"]
        assert found["server"].startswith("valkey 8")
        security = found["security"]
        assert (security["tls"], security["authenticated"]) == (False, False)
        assert any("l2.redis.password" in cure for cure in security["recommendations"])
        poll(lambda: http.get("/health/detailed").json()["components"]["redis"]["details"]["keys"] >= 2,
             "the figures to come")
        server.kill()
        make_http(daemon).put(ENTRIES, json={"query": "other", "response": "b"})
        poll(lambda: "trouble" in http.get("/health/detailed").json()["components"]["redis"]["details"],
             "the trouble to be told")
