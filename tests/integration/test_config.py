"""Configuration: YAML with positions in errors, environment, SIGHUP reload."""
import re
import signal

import pytest
from conftest import ask, make_http
from daemon import poll, run_cli


def check(tmp_path, text, *args, env=None):
    path = tmp_path / "deja.yaml"
    path.write_text(text)
    return run_cli("config", "check", "--config", path, *args, env=env), path


def test_good_file_is_exit_0(tmp_path):
    done, _ = check(tmp_path, "ttl:\n  response: 2h\nstore:\n  durability: always\n")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("text", "line", "column", "said"), [
    ("ttl:\n  respones: 2h\n", 2, 3, 'did you mean "ttl.response"'),
    ("\nsemantics:\n  enabled: true\n  limits: 3\n", 2, 1, 'did you mean "semantic"'),
    ("semantic:\n  threshold: high\n", 2, 14, "threshold"),
    ("semantic:\n  threshold: 1.5\n", 2, 14, "threshold"),
    ("ttl:\n  response: [1, 2]\n", 2, None, "response"),
    ("store:\n  durability: sometimes\n", 2, 15, "everysec"),
    ("semantic:\n  enabled: yes\n", 2, 12, "true"),
    ("ttl:\n  response: 1h\n  response: 2h\n", 3, 3, "duplicate"),
    ("ttl:\n\tresponse: 1h\n", 2, None, ""),
    ("ttl: {response: 1h\n", None, None, ""),
])
def test_wrong_file_is_exit_78_with_file_line_and_column(tmp_path, text, line, column, said):
    done, path = check(tmp_path, text)
    assert done.returncode == 78, (done.stdout, done.stderr)
    output = done.stdout + done.stderr
    found = re.search(re.escape(str(path)) + r":(\d+):(\d+)", output)
    assert found, output
    if line:
        assert int(found[1]) == line, output
    if column:
        assert int(found[2]) == column, output
    assert said.lower() in output.lower()


def test_all_errors_are_told_at_once(tmp_path):
    done, _ = check(tmp_path, "ttl:\n  a_wrong_one: 1\nstore:\n  another_one: 2\nthird_one: 3\n")
    assert done.returncode == 78
    output = done.stdout + done.stderr
    assert all(name in output for name in ("a_wrong_one", "another_one", "third_one"))


def test_missing_file_is_exit_78(tmp_path):
    assert run_cli("config", "check", "--config", tmp_path / "none.yaml").returncode == 78


@pytest.mark.parametrize("text", [
    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n",
    "[" * 5000, "a: !!python/object 1\n", "\x00\x01\x02", "- 1\n- 2\n", "just words\n",
], ids=["aliases", "deep", "tag", "binary", "list", "scalar"])
def test_hostile_file_is_exit_78_and_not_a_crash(tmp_path, text):
    done, _ = check(tmp_path, text)
    assert done.returncode == 78, (done.returncode, done.stderr[:500])


def test_unknown_environment_setting_is_exit_78(tmp_path):
    done, _ = check(tmp_path, "", env={"DEJA_STORE__DURABILTY": "always"})
    assert done.returncode == 78
    assert "DEJA_STORE__DURABILTY" in done.stdout + done.stderr


def test_json_tree_is_accepted(tmp_path):
    path = tmp_path / "deja.json"
    path.write_text('{"ttl": {"response": "2h"}}')
    assert run_cli("config", "check", "--config", path).returncode == 0


@pytest.mark.parametrize("text", ["default_ttl: 60\n", "memory_cache_size: 100\n"])
def test_old_flat_name_is_accepted_with_one_warning(tmp_path, text):
    done, _ = check(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert text.split(":")[0] in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["monitoring:\n  enabled: true\n"])
def test_section_of_a_later_version_is_refused_rather_than_ignored(tmp_path, text):
    done, _ = check(tmp_path, text)
    assert done.returncode == 78
    assert "not part of this version" in done.stdout + done.stderr


def test_section_of_a_later_version_may_be_switched_off(tmp_path):
    done, _ = check(tmp_path, "l2:\n  enabled: false\n")
    assert done.returncode == 0, done.stderr


def test_serve_refuses_a_wrong_file(spawn):
    daemon = spawn(config="nonsense: 1\n", start=False)
    daemon.start(wait=False)
    assert daemon.wait() == 78
    assert "deja.yaml:1:1" in daemon.log_text()
    daemon.process = None


def test_file_is_obeyed_and_environment_wins_over_it(spawn, word):
    daemon = spawn(config="ttl:\n  response: 100s\n")
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        assert int(re.search(r"ttl=(\d+)", ask(client, word).headers["cache-status"])[1]) <= 110
    other = spawn(config="ttl:\n  response: 100s\n", env={"DEJA_TTL__RESPONSE": "50s"})
    with make_http(other, f"sk-{word}") as client:
        ask(client, word)
        assert int(re.search(r"ttl=(\d+)", ask(client, word).headers["cache-status"])[1]) <= 55


def gauge(client, name):
    for line in client.get("/metrics").text.splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    return None


def test_sighup_takes_over_a_changed_file(spawn, word):
    daemon = spawn(config="ttl:\n  response: 1000s\n")
    with make_http(daemon, f"sk-{word}") as client:
        daemon.config.write_text("ttl:\n  response: 50s\n")
        daemon.signal(signal.SIGHUP)
        numbers = iter(range(100000))

        def ttl_now():
            text = f"{word} {next(numbers)}"
            ask(client, text)
            return int(re.search(r"ttl=(\d+)", ask(client, text).headers["cache-status"])[1]) <= 55

        poll(ttl_now, "the new TTL to be in force")
        assert gauge(client, "semantic_cache_config_reload_success") == 1


def test_sighup_with_a_wrong_file_keeps_the_old_settings(spawn, word):
    daemon = spawn(config="ttl:\n  response: 1000s\n")
    with make_http(daemon, f"sk-{word}") as client:
        daemon.config.write_text("ttl:\n  response: never\n")
        daemon.signal(signal.SIGHUP)
        poll(lambda: gauge(client, "semantic_cache_config_reload_success") == 0, "the failed reload to be shown")
        assert ask(client, word).status_code == 200
        ask(client, word)
        assert int(re.search(r"ttl=(\d+)", ask(client, word).headers["cache-status"])[1]) > 500
    assert daemon.is_alive()


@pytest.mark.parametrize("more", [{}, {"DEJA_COMPRESSION__ALGORITHM": "gzip", "DEJA_COMPRESSION__LEVEL": "9"},
                                  {"DEJA_COMPRESSION__ENABLED": "false"}, {"CACHE_COMPRESSION_THRESHOLD": "1mb"}])
@pytest.mark.parametrize("sealed", ["true", "false"])
def test_what_tiers_keep_is_compressed_as_configured(spawn, key, word, more, sealed):
    daemon = spawn(env={"DEJA_ENCRYPTION__ENABLED": sealed, **more})
    text = "the same again and again, " * 4000
    with make_http(daemon, key) as client:
        client.put("/api/v1/entries", json={"query": word, "response": text}).raise_for_status()
        sizes = poll(lambda: (lambda level: level if level["entries"] else None)(client.get("/api/v1/stats").json()["levels"]["lmdb"]),
                     "the entry on disk")
    is_small = not more or "DEJA_COMPRESSION__ALGORITHM" in more
    assert (sizes["bytes"] < len(text) / 2) == is_small, sizes
    daemon.restart()
    with make_http(daemon, key) as client:
        found = client.post("/api/v1/lookup", json={"query": word}).json()
        assert found["hit"] and found["response"] == text and found["tier"] == "lmdb"
