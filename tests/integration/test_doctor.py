"""deja doctor against real daemons in good and bad states: each fault is found and has its advice."""
import http.server
import json
import resource
import subprocess
import threading
from email.utils import formatdate

import pytest
from conftest import make_http
from daemon import BINARY, clean_environment, free_port, poll, run_cli

VOLATILE = "The time is 2026-02-03T04:05:{:02d}Z. You are terse."


def doctor(*args, **kwargs):
    """(exit code, {name: [check]})"""
    ended = run_cli("doctor", "--json", *args, **kwargs)
    assert ended.stdout, ended.stderr
    told = json.loads(ended.stdout)
    assert told["ok"] == (ended.returncode == 0) == (not any(c["status"] == "fail" for c in told["checks"]))
    checks = {}
    for check in told["checks"]:
        checks.setdefault(check["name"].strip(), []).append(check)
    for named in checks.values():
        assert named[-1]["status"] in ("ok", "skip") or named[-1]["advice"], named
    return ended.returncode, checks


def status_of(checks, name):
    return [check["status"] for check in checks[name]]


def local(tmp_path, *args, **kwargs):
    """Without daemon and upstream."""
    return doctor("--offline", "--data", tmp_path, "--set", f"server.listen=127.0.0.1:{free_port()}", *args,
                  **kwargs)


def test_a_sound_installation_passes(spawn, models):
    daemon = spawn(with_model=True)
    code, checks = doctor("--data", daemon.data, "--upstream", daemon.upstream, "--server", daemon.url)
    assert code == 0, checks
    for name in ("program", "configuration", "data", "secret", "lock", "daemon", "l1", "lmdb", "upstream"):
        assert status_of(checks, name) == ["ok"], checks[name]
    assert f"process {daemon.process.pid} " in checks["lock"][0]["message"]
    assert set(status_of(checks, "model")) == ({"ok"} if models else {"warn"})
    assert "prompts" in checks and "redis" not in checks
    assert [path.name for path in daemon.data.iterdir() if "doctor" in path.name] == []


def test_text_has_a_line_for_each_check(spawn):
    daemon = spawn()
    ended = run_cli("doctor", "--data", daemon.data, "--upstream", daemon.upstream, "--server", daemon.url)
    assert ended.returncode == 0 and not ended.stderr
    lines = ended.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "skip", "->") for line in lines[:-1])
    assert lines[-1].endswith(" 0 failed") and "\x1b" not in ended.stdout


def test_a_secret_that_others_can_read_fails(spawn):
    daemon = spawn()
    (daemon.data / "secret").chmod(0o644)
    code, checks = local(daemon.data)
    assert code == 1 and status_of(checks, "secret") == ["fail"]
    assert checks["secret"][0]["advice"] == f"chmod 600 {daemon.data / 'secret'}"


def test_a_damaged_secret_fails(tmp_path):
    (tmp_path / "secret").write_bytes(b"short")
    (tmp_path / "secret").chmod(0o600)
    code, checks = local(tmp_path)
    assert code == 1 and "damaged" in checks["secret"][0]["message"]


def test_a_broken_configuration_fails_with_its_lines(tmp_path):
    config = tmp_path / "deja.yaml"
    config.write_text("l1:\n  max_size: lots\nsemantic:\n  treshold: 0.9\n")
    code, checks = local(tmp_path, "--config", config)
    assert code == 1 and "fail" in status_of(checks, "configuration")
    assert any("deja.yaml:2" in check["message"] for check in checks["configuration"])


def test_a_deprecated_name_is_a_warning(tmp_path):
    config = tmp_path / "deja.yaml"
    config.write_text("default_ttl: 3600\n")
    code, checks = local(tmp_path, "--config", config)
    assert code == 0 and status_of(checks, "configuration") == ["warn"]


def test_no_daemon_is_a_warning_unless_one_was_named(tmp_path):
    code, checks = local(tmp_path)
    assert code == 0 and status_of(checks, "daemon") == ["warn"]
    code, checks = local(tmp_path, "--server", f"http://127.0.0.1:{free_port()}")
    assert code == 1 and status_of(checks, "daemon") == ["fail"]
    code, checks = local(tmp_path, env={"DEJA_SERVER": f"http://127.0.0.1:{free_port()}"})
    assert code == 1 and status_of(checks, "daemon") == ["fail"]


def test_a_daemon_elsewhere_is_told_by_its_lock(spawn):
    daemon = spawn()
    code, checks = local(daemon.data)
    assert code == 1 and "--server" in checks["daemon"][0]["advice"]
    daemon.stop()
    code, checks = local(daemon.data)
    assert code == 0 and "nobody" in checks["lock"][0]["message"]


def test_something_else_that_listens_is_no_daemon(tmp_path, upstream):
    """It answers everything with 200, but not as Deja does."""
    code, checks = local(tmp_path, "--server", upstream.url)
    assert code == 1 and status_of(checks, "health") == ["fail"] and "is it Deja" in checks["health"][0]["advice"]


def test_an_unreachable_upstream_fails_and_offline_skips_it(tmp_path):
    nowhere = ["--upstream", f"http://127.0.0.1:{free_port()}", "--data", tmp_path]
    code, checks = doctor(*nowhere)
    assert code == 1 and status_of(checks, "upstream") == ["fail"]
    code, checks = doctor(*nowhere, "--offline")
    assert status_of(checks, "upstream") == ["skip"]


class Peer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response_only(self.server.status)
        self.send_header("Date", self.server.date)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def peer():
    """An upstream whose status and clock the test sets."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Peer)
    server.status, server.date = 401, formatdate(usegmt=True)
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("status,expected", [(200, "ok"), (401, "ok"), (404, "ok"), (503, "warn")])
def test_any_answer_of_the_upstream_is_one(tmp_path, peer, status, expected):
    peer.status = status
    _, checks = doctor("--data", tmp_path, "--upstream", peer.url)
    assert status_of(checks, "upstream") == [expected]


@pytest.mark.parametrize("date,expected", [(None, "ok"), ("Sat, 03 Jan 2015 04:05:06 GMT", "warn"),
                                           ("yesterday", "skip"), ("Sat, 03 Foo 2015 04:05:06 GMT", "skip")])
def test_the_clock_is_held_against_the_upstreams(tmp_path, peer, date, expected):
    peer.date = date or formatdate(usegmt=True)
    _, checks = doctor("--data", tmp_path, "--upstream", peer.url)
    assert status_of(checks, "clock") == [expected], checks["clock"]


def test_a_missing_model_fails_only_where_it_is_required(tmp_path):
    code, checks = local(tmp_path)
    assert code == 0 and status_of(checks, "model") == ["warn"]
    assert "deja model pull" in checks["model"][0]["advice"]
    code, checks = local(tmp_path, "--set", "semantic.embedder=transformer")
    assert code == 1 and status_of(checks, "model") == ["fail"]
    code, checks = local(tmp_path, "--set", "semantic.embedder=lexical")
    assert code == 0 and "model" not in checks and "lexical" in checks["embedder"][0]["message"]


def test_a_changed_byte_of_the_model_fails(tmp_path, models):
    if models is None:
        pytest.skip("the model could not be pulled")
    copy = tmp_path / "models" / "all-minilm-l6-v2"
    copy.mkdir(parents=True)
    for file in (models / "all-minilm-l6-v2").iterdir():
        if file.name == "vocab.txt":
            (copy / file.name).write_bytes(b"X" + file.read_bytes()[1:])
        else:
            (copy / file.name).symlink_to(file)
    code, checks = local(tmp_path)
    assert code == 1 and "vocab.txt" in checks["model"][0]["message"]


def test_too_few_open_files_are_told(tmp_path):
    command = [str(BINARY), "doctor", "--json", "--offline", "--data", str(tmp_path)]
    ended = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False,
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    checks = {check["name"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks["open files"]["status"] == "warn" and "LimitNOFILE" in checks["open files"]["advice"]


def test_volatile_prompts_are_met_with_the_line_to_add(spawn):
    daemon = spawn()
    with make_http(daemon, "sk-volatile") as client:
        for second in range(3):
            answer = client.post("/v1/chat/completions", json={"model": "plain", "messages": [
                {"role": "system", "content": VOLATILE.format(second)},
                {"role": "user", "content": "How long is the warranty?"}]})
            assert answer.status_code == 200
    code, checks = doctor("--offline", "--data", daemon.data, "--server", daemon.url)
    assert code == 0 and status_of(checks, "prompts") == ["warn"]
    assert "scope.fold: [time" in checks["prompts"][0]["advice"]


@pytest.mark.parametrize("kind", ["model", "lexical", "exact"])
def test_smoke_goes_round_and_leaves_nothing(spawn, models, kind):
    if kind == "model" and models is None:
        pytest.skip("the model could not be pulled")
    daemon = spawn(with_model=kind == "model", args=["--set", "semantic.enabled=false"] if kind == "exact" else [])
    code, checks = doctor("--smoke", daemon.url + "/")
    assert code == 0, checks
    assert list(checks) == ["put", "get", "reworded get", "delete"]
    assert status_of(checks, "reworded get") == ["skip" if kind == "exact" else "ok"]
    with make_http(daemon) as client:
        poll(lambda: client.get("/api/v1/stats").json()["levels"]["memory"]["entries"] == 0, "no entry left")


def test_smoke_fails_where_no_daemon_is(upstream):
    for url in (f"http://127.0.0.1:{free_port()}", upstream.url, "not a url"):
        code, checks = doctor("--smoke", url)
        assert code == 1 and status_of(checks, "put") == ["fail"]


def test_what_a_stranger_says_is_told_harmlessly(tmp_path, peer):
    peer.date = "\x1b[31m\xff"
    _, checks = doctor("--data", tmp_path, "--server", peer.url + "/%ff", "--upstream", peer.url)
    assert status_of(checks, "clock") == ["skip"] and status_of(checks, "daemon") == ["fail"]
    for part in (b"\xff\xfe", "é".encode() * 900):
        ended = subprocess.run([str(BINARY).encode(), b"doctor", b"--offline", b"--json", b"--data",
                                str(tmp_path).encode(), b"--server", b"http://127.0.0.1:1/" + part[:400]],
                               env=clean_environment(), capture_output=True, check=False)
        assert json.loads(ended.stdout.decode("utf-8"))["ok"] is False


def test_usage_errors_say_so():
    ended = run_cli("doctor", "words")
    assert ended.returncode == 2 and "takes no words" in ended.stderr
    ended = run_cli("doctor", "--ofline")
    assert ended.returncode == 2 and "--offline" in ended.stderr
