"""Room made on demand and by the clock, who would go, indexes looked after; profiles."""
import json
import re
import time

import pytest
from conftest import make_http
from daemon import poll, run_cli
from test_cache_api import lookup, put

STRATEGIES = ["s3fifo", "lru", "lfu", "ttl"]


def admin_token(daemon):
    return re.search(r"admin +token ([0-9a-f]+)", daemon.log_text()).group(1)


def levels(client):
    return client.get("/api/v1/stats").json()["levels"]


def fill(client, word, count, size=1000):
    for start in range(0, count, 100):
        entries = [{"query": f"{word} {i}", "response": "x" * size} for i in range(start, min(count, start + 100))]
        assert client.put("/api/v1/entries", json={"entries": entries}).status_code in (200, 201)


def memory_entries(client):
    return levels(client)["memory"]["entries"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evict_makes_so_much_room_in_memory_and_loses_no_answer(spawn, word, key, strategy):
    daemon = spawn(config=f"eviction:\n  strategy: {strategy}\n")
    with make_http(daemon, key) as client:
        fill(client, word, 100)
        before = levels(client)["memory"]
        assert before["entries"] == 100
        answer = client.post("/api/v1/evict", json={"bytes": before["bytes"] // 2})
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["levels"]["memory"]["removed"] == told["removed"]
        after = levels(client)["memory"]
        assert after["entries"] == 100 - told["removed"]
        assert before["bytes"] // 2 - 5000 < after["bytes"] <= before["bytes"] // 2
        assert after["evictions"] == before["evictions"] + told["removed"]
        for i in range(0, 100, 9):
            assert lookup(client, f"{word} {i}", threshold=1)["hit"] is True


def test_evict_of_others_is_for_the_admin_token(spawn, word, key):
    daemon = spawn()
    token = {"X-Deja-Token": admin_token(daemon)}
    with make_http(daemon, key) as client, make_http(daemon, key + "b") as other:
        fill(client, word, 50)
        fill(other, word, 50)
        tenant = other.get("/api/v1/stats").json()["tenant"]
        for body in ({"all": True}, {"tenant": tenant}):
            assert client.post("/api/v1/evict", json=body).status_code == 401
        assert client.get("/api/v1/index?all=true").status_code == 401
        assert client.post("/api/v1/index", json={"action": "optimise", "all": True}).status_code == 401
        assert client.post("/api/v1/evict", json={"tenant": tenant, "bytes": 1 << 30}, headers=token).status_code == 200
        assert memory_entries(other) == 0
        assert memory_entries(client) == 50
        assert client.post("/api/v1/evict", json={"all": True, "bytes": 1 << 40}, headers=token).status_code == 200
        assert memory_entries(client) == 0


@pytest.mark.parametrize(("body", "field"), [
    ({"bytes": 0}, "bytes"), ({"bytes": -5}, "bytes"), ({"bytes": "10mb"}, "bytes"), ({"tenant": "x"}, "tenant"),
    ({"all": 1}, "all"), ({"tenant": "00000000-0000-0000-0000-000000000000", "all": True}, "all"), ({"x": 1}, "x")])
def test_malformed_evict_is_refused(http, body, field):
    answer = http.post("/api/v1/evict", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["fields"][0]["field"] == field


def test_full_memory_goes_down_to_its_low_water_mark_by_the_clock(spawn, word, key):
    daemon = spawn(config="l1:\n  max_size: 200\nlmdb:\n  enabled: false\nsemantic:\n  enabled: false\n"
                          "eviction:\n  low_water: 0.5\n  batch: 10\n  check_interval: 1s\n  sweep_interval: 100ms\n")
    with make_http(daemon, key) as client:
        fill(client, word, 150)
        assert memory_entries(client) == 150
        fill(client, word + "b", 150)
        poll(lambda: memory_entries(client) <= 100, "the low-water mark")
        assert memory_entries(client) >= 90


def test_expired_entries_leave_memory_by_the_clock(spawn, word, key):
    daemon = spawn(config="lmdb:\n  enabled: false\neviction:\n  sweep_interval: 100ms\n")
    with make_http(daemon, key) as client:
        entries = [{"query": f"{word} {i}", "response": 1, "ttl": 1} for i in range(50)]
        assert client.put("/api/v1/entries", json={"entries": entries}).status_code in (200, 201)
        put(client, f"{word} stays", 1)
        poll(lambda: memory_entries(client) == 1, "what expired to go")
        assert levels(client)["memory"]["expired"] == 50


def let_the_millisecond_pass():
    """Accesses are dated in milliseconds; several requests fit into one."""
    until = time.time_ns() // 10**6 + 2
    while time.time_ns() // 10**6 < until:
        pass


def test_top_tells_who_would_go(spawn, word, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        for i in range(6):
            put(client, f"{word} {i}", i)
            let_the_millisecond_pass()
        for i in (0, 3, 3):
            let_the_millisecond_pass()
            assert lookup(client, f"{word} {i}", threshold=1)["hit"] is True
        idle = client.get("/api/v1/top?k=100&order=idle").json()["entries"]
        assert [entry["query"] for entry in idle] == [f"{word} {i}" for i in (1, 2, 4, 5, 0, 3)]
        assert all(entry["level"] == "memory" and entry["bytes"] > 0 for entry in idle)
        scored = client.get("/api/v1/top?k=100&order=score").json()["entries"]
        assert [entry["query"] for entry in scored[-2:]] == [f"{word} 0", f"{word} 3"]
        assert [entry["hits"] for entry in scored[-2:]] == [1, 2]
        scores = [entry["score"] for entry in scored]
        assert scores == sorted(scores)
        assert client.get("/api/v1/top?order=newest").status_code == 400
        done = run_cli("top", "--order", "idle", "--server", daemon.url, "--key", key)
        assert done.returncode == 0
        assert done.stdout.splitlines()[1].endswith(f"{word} 1")


def test_index_is_made_anew_without_what_is_gone(spawn, word, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        for i in range(40):
            put(client, f"what is the use of {word}{i}", str(i))
        for i in range(0, 40, 2):
            assert client.delete("/api/v1/entries", params={"query": f"what is the use of {word}{i}"}).status_code == 200
        before = client.get("/api/v1/index").json()
        assert before["vectors"] == 20 and before["free_slots"] > 0 and before["optimise"] is None
        done = run_cli("index", "optimise", "--server", daemon.url, "--key", key)
        assert done.returncode == 0, done.stderr
        assert "1 of 1 indexes" in done.stdout
        after = client.get("/api/v1/index").json()
        assert after["vectors"] == 20 and after["free_slots"] == 0
        assert after["optimise"]["status"] == "done" and after["optimise"]["freed_bytes"] > 0
        assert lookup(client, f"what is the use of {word}1", threshold=1)["hit"] is True
    with make_http(daemon, key + "b") as other:  # another tenant learns nothing of it
        assert other.get("/api/v1/index").json()["optimise"] is None


def test_cli_evicts_and_tells(spawn, word, key):
    daemon = spawn()
    common = ["--server", daemon.url, "--key", key]
    with make_http(daemon, key) as client:
        fill(client, word, 30)
        done = run_cli("evict", "--bytes", "1gb", *common)
        assert done.returncode == 0, done.stderr
        assert re.search(r"memory +30 evicted", done.stdout)
        assert memory_entries(client) == 0
        told = json.loads(run_cli("evict", "--json", *common).stdout)
        assert told["removed"] == 0
        refused = run_cli("evict", "--all", *common)
        assert refused.returncode == 77 and "admin token" in refused.stderr
        assert run_cli("evict", "--all", *common, env={"DEJA_TOKEN": admin_token(daemon)}).returncode == 0
        assert run_cli("index", "stats", "--all", *common, "--token", admin_token(daemon)).returncode == 0
        assert run_cli("evict", "--bytes", "much", *common).returncode == 2
        assert run_cli("index", "break", *common).returncode == 2


def test_levels_say_the_same_everywhere(spawn, word, key):
    daemon = spawn(config="l1:\n  max_size: 40\n")
    with make_http(daemon, key) as client:
        fill(client, word, 100)
        client.post("/api/v1/evict", json={"bytes": 1 << 40})
        for i in range(10):
            for _ in range(2):  # from the embedded tier, then from memory
                assert lookup(client, f"{word} {i}", threshold=1)["hit"] is True
        assert lookup(client, f"{word} none such", threshold=1)["hit"] is False
        told = levels(client)
        assert (told["memory"]["hits"], told["memory"]["misses"]) == (10, 11)
        assert (told["lmdb"]["hits"], told["lmdb"]["misses"]) == (10, 1)
        assert told["lmdb"]["hit_rate"] == pytest.approx(10 / 11)
        assert told["memory"]["evictions"] >= 100 and told["lmdb"]["evictions"] == 0
        assert told["memory"]["latency_ms"] > 0 and told["lmdb"]["latency_ms"] > 0
        text = client.get("/metrics").text
        for level, figures in told.items():
            def metric(name):
                return float(re.search(rf'^semantic_cache_{name}{{[^}}]*level="{level}"[^}}]*}} (\S+)', text, re.M)[1])

            assert metric("hits_total") == figures["hits"]
            assert metric("level_misses_total") == figures["misses"]
            assert metric("level_evictions_total") == figures["evictions"]
            assert metric("level_hit_rate") == pytest.approx(figures["hit_rate"])
            assert metric("level_latency_seconds") * 1000 == pytest.approx(figures["latency_ms"])
            assert metric("entries") == figures["entries"]
            assert metric("level_bytes") == figures["bytes"]
        shown = run_cli("stats", "--plain", "--server", daemon.url, "--key", key).stdout
        for level, figures in told.items():
            for name in ("hits", "misses", "evictions", "entries", "bytes"):
                assert re.search(rf"^levels\.{level}\.{name}\W+{figures[name]}$", shown, re.M), (level, name, shown)


def test_profile_is_where_a_value_came_from():
    done = run_cli("config", "print", "--origin", "--set", "performance.profile=high-throughput",
                   "--set", "performance.tracker_batch=9")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("performance.")}
    assert "profile high-throughput" in rows["performance.tracker_size"] and "100000" in rows["performance.tracker_size"]
    assert "profile" not in rows["performance.tracker_batch"].replace("performance", "")
    plain = run_cli("config", "print", "--origin").stdout
    assert re.search(r"performance.tracker_flush +100ms +# default", plain)


@pytest.mark.parametrize("profile", ["low-latency", "balanced", "high-throughput"])
def test_hits_are_counted_in_every_profile(spawn, word, key, profile):
    daemon = spawn(config=f"performance:\n  profile: {profile}\n")
    with make_http(daemon, key) as client:
        put(client, word, "kept")
        for _ in range(250):
            assert lookup(client, word, threshold=1)["hit"] is True
        assert client.get("/api/v1/top").json()["entries"][0]["hits"] == 250
    daemon.stop()  # what waits to be counted or kept is not lost by it
    daemon.start()
    with make_http(daemon, key) as client:
        assert client.get("/api/v1/top").json()["entries"][0]["hits"] == 250


def test_indexes_of_postgres_are_made_anew_with_progress(spawn, postgres, word, key):
    daemon = spawn(config=f"l3:\n  postgres:\n    url: {postgres.create_database('upkeep')}\n")
    with make_http(daemon, key) as client:
        fill(client, word, 20)
        common = ["--server", daemon.url, "--key", key, "--token", admin_token(daemon)]
        own = run_cli("index", "optimise", *common)
        assert own.returncode == 0 and "1 of 1 indexes" in own.stdout
        done = run_cli("index", "optimise", "--all", *common)
        assert done.returncode == 0, (done.stdout, done.stderr)
        told = client.get("/api/v1/index?all=true", headers={"X-Deja-Token": admin_token(daemon)}).json()["optimise"]
        assert told["indexes_done"] == told["indexes_total"] > 3
        assert told["error"] is None and told["running"] is None
        for i in range(20):
            assert lookup(client, f"{word} {i}", threshold=1)["hit"] is True
        postgres.stop()
        failed = run_cli("index", "optimise", "--all", *common)
        assert failed.returncode == 1 and "failed" in failed.stdout


def test_evict_asks_every_tier_that_can(spawn, postgres, word, key):
    postgres.start()
    daemon = spawn(config=f"l3:\n  postgres:\n    url: {postgres.create_database('evicted')}\n")
    with make_http(daemon, key) as client:
        fill(client, word, 30)
        told = client.post("/api/v1/evict", json={"bytes": 1 << 40}).json()["levels"]
        assert told["memory"]["removed"] == 30 and told["memory"]["error"] is None
        assert told["postgres"]["removed"] == 30 and told["postgres"]["error"] is None, told
