"""Health and logs."""
import json
import re

from conftest import ask, make_http


def test_live_ready_and_healthy(anonymous):
    assert anonymous.get("/livez").status_code == 200
    assert anonymous.get("/readyz").status_code == 200
    assert anonymous.get("/healthz").text.startswith("ok")
    assert anonymous.get("/health").status_code == 200


def test_detailed_health_names_components(anonymous):
    answer = anonymous.get("/health/detailed")
    assert answer.status_code in (200, 207)
    body = answer.json()
    assert body["status"] in ("healthy", "degraded")
    assert set(body) == {"status", "timestamp", "version", "components"}
    components = body["components"]
    assert set(components) == {"l1", "lmdb", "embedder", "vector_store", "lru_manager", "circuit_breaker", "encryption", "redis",
                               "postgres", "s3"}
    for name, component in components.items():
        assert set(component) == {"status", "message", "details"}, name
        assert component["status"] in ("healthy", "degraded", "unhealthy", "disabled"), name
        assert component["message"], name
    for name in ("l1", "lmdb", "embedder"):
        assert components[name]["details"]["latency_ms"] >= 0, name
    for name in ("redis", "postgres", "s3"):
        assert components[name] == {"status": "disabled", "message": "not configured", "details": {}}
    assert components["circuit_breaker"]["status"] == "healthy"
    assert set(components["circuit_breaker"]["details"]) == {"upstream", "upstream_embeddings", "upstream_other"}
    assert components["circuit_breaker"]["details"]["upstream"]["state"] == "closed"
    assert components["lru_manager"]["details"]["tracking_enabled"] is True
    assert components["lru_manager"]["details"]["tenants_tracked"] >= 0


def test_unreachable_upstream_does_not_make_it_unready(spawn):
    daemon = spawn(upstream_url="http://127.0.0.1:9")
    with make_http(daemon) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/livez").status_code == 200


def test_log_lines_are_json_without_prompt_or_secret(daemon, http, word, key):
    ask(http, f"a very private {word}")
    ask(http, f"a very private {word}", "error-500")
    http.put("/api/v1/entries", json={"query": f"private {word}", "response": f"private {word}"})
    http.post("/v1/chat/completions", content=b"{" + word.encode(), headers={"Content-Type": "application/json"})
    text = daemon.log_text()
    assert word not in text
    assert key not in text
    lines = [line for line in text.splitlines() if line.startswith("{")]
    assert lines, "no structured log line"
    for line in lines:
        item = json.loads(line)
        assert {"ts", "level", "msg"} <= set(item)
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["ts"])


def test_lexical_embedder_serves_when_there_is_no_model(spawn, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as client:
        assert client.get("/readyz").status_code == 200
        assert ask(client, word).status_code == 200
        assert ask(client, word).headers["x-cache-hit"] == "true"
