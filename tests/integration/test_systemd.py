"""What a service manager is told on $NOTIFY_SOCKET, and the unit file (WIRE 17)."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from conftest import ask, make_http
from daemon import ROOT, clean_environment, poll

UNIT = ROOT / "deploy" / "deja.service"


class Manager:
    """A datagram socket that a daemon writes to as it would to systemd's."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(60)

    def close(self):
        self.socket.close()

    def next(self):
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def wait_for(self, name):
        """The first message that has that variable; earlier ones may only be the watchdog's."""
        while True:
            message = self.next()
            if name in message:
                return message
            assert set(message) == {"WATCHDOG"}, f"{message} while waiting for {name}"


@pytest.fixture
def manager(tmp_path):
    made = Manager(str(tmp_path / "notify"))
    made.environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    yield made
    made.close()


def test_ready_is_said_when_requests_are_answered(spawn, manager):
    daemon = spawn(env=manager.environment, start=False)
    daemon.start(wait=False)
    assert manager.next() == {"READY": "1", "STATUS": "Serving"}
    assert daemon.is_ready()


def test_the_abstract_namespace_is_understood(spawn, word):
    manager = Manager(f"\0deja-{word}")
    daemon = spawn(env={"NOTIFY_SOCKET": f"@deja-{word}"}, start=False)
    daemon.start(wait=False)
    try:
        assert manager.next()["READY"] == "1"
    finally:
        manager.close()


def test_a_reload_tells_its_time_and_its_end(spawn, manager):
    daemon = spawn(env=manager.environment, config="log:\n  level: info\n")
    manager.wait_for("READY")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    daemon.signal(signal.SIGHUP)
    told = manager.wait_for("RELOADING")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert told["RELOADING"] == "1"
    assert before <= int(told["MONOTONIC_USEC"]) <= after
    assert manager.wait_for("READY") == {"READY": "1", "STATUS": "Serving"}


def test_a_stop_is_said_first(spawn, manager):
    daemon = spawn(env=manager.environment)
    manager.wait_for("READY")
    daemon.signal(signal.SIGTERM)
    assert manager.wait_for("STOPPING")["STOPPING"] == "1"
    assert daemon.wait() == 0


def test_the_watchdog_hears_from_it_again_and_again(spawn, manager, word):
    daemon = spawn(env={**manager.environment, "WATCHDOG_USEC": "60000"})
    manager.wait_for("READY")
    for _ in range(3):
        assert manager.next() == {"WATCHDOG": "1"}
    with make_http(daemon, f"sk-{word}") as client:
        assert ask(client, word).status_code == 200


def test_a_stopped_process_is_silent_and_goes_on(spawn, manager):
    daemon = spawn(env={**manager.environment, "WATCHDOG_USEC": "60000"})
    manager.wait_for("READY")
    manager.wait_for("WATCHDOG")
    daemon.signal(signal.SIGSTOP)
    try:
        manager.socket.settimeout(0.3)  # several turns: what is still under way arrives, then nothing
        with pytest.raises(TimeoutError):
            for _ in range(100):
                manager.next()
    finally:
        daemon.signal(signal.SIGCONT)
    manager.socket.settimeout(60)
    assert manager.next() == {"WATCHDOG": "1"}


def test_another_process_watchdog_is_left_alone(spawn, manager):
    daemon = spawn(env={**manager.environment, "WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"})
    manager.wait_for("READY")
    daemon.signal(signal.SIGTERM)
    assert "STOPPING" in manager.next()
    assert daemon.wait() == 0


def test_without_a_manager_nothing_is_missed(spawn):
    daemon = spawn(env={"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "soon"})
    daemon.signal(signal.SIGHUP)
    poll(lambda: "configuration reloaded" in daemon.log_text(), "the reload")
    daemon.stop()


# ---- socket activation ----


def start_with_socket(daemon, bound, listen_fds="1", is_ours=True):
    """As a manager does it: the socket is descriptor 3, and LISTEN_PID is the new process."""
    command = daemon.command()

    def in_child():
        os.dup2(bound.fileno(), 3)
        os.environ["LISTEN_PID"] = str(os.getpid() if is_ours else 1)
        os.environ["LISTEN_FDS"] = listen_fds
        os.execv(command[0], command)

    with open(daemon.log, "ab") as log:
        daemon.process = subprocess.Popen(command, preexec_fn=in_child, env=clean_environment(), stdin=subprocess.DEVNULL,
                                          stdout=log, stderr=log, pass_fds=[bound.fileno(), 3])


@pytest.fixture
def bound():
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen(16)
        yield made


def test_an_inherited_socket_is_served_and_keeps_who_knocked_before(spawn, bound, word):
    daemon = spawn(start=False, config="server:\n  loops: 2\n")
    daemon.port = bound.getsockname()[1]
    with socket.create_connection(("127.0.0.1", daemon.port)) as early:  # before anybody serves
        early.sendall(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        start_with_socket(daemon, bound)
        early.settimeout(60)
        assert early.recv(100).startswith(b"HTTP/1.1 200")
    daemon.wait_until_ready()
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        assert ask(client, word).headers["x-cache-hit"] == "true"
    daemon.stop()


def test_an_inherited_socket_that_is_not_configured_is_refused(spawn, bound):
    daemon = spawn(start=False)
    assert daemon.port != bound.getsockname()[1]
    start_with_socket(daemon, bound)
    assert daemon.wait() == 78
    daemon.process = None
    assert "server.listen" in daemon.log_text()


def test_sockets_of_another_process_are_left_alone(spawn, bound):
    daemon = spawn(start=False)
    start_with_socket(daemon, bound, is_ours=False)
    daemon.wait_until_ready()
    daemon.stop()


# ---- reload ----


def gauge(client, name):
    return float(re.search(rf"^{name} (\S+)$", client.get("/metrics").text, re.M)[1])


def test_a_reload_that_fails_keeps_the_old_one_and_is_seen(spawn, manager, word):
    daemon = spawn(env=manager.environment, config="ttl:\n  response: 1h\n")
    with make_http(daemon, f"sk-{word}") as client:
        manager.wait_for("READY")
        assert gauge(client, "semantic_cache_config_reload_success") == 1
        loaded_s = gauge(client, "semantic_cache_config_last_reload_timestamp_seconds")
        daemon.config.write_text("ttl:\n  response: soon\n")
        daemon.signal(signal.SIGHUP)
        assert manager.wait_for("RELOADING")
        assert "failed" in manager.wait_for("READY")["STATUS"]
        assert gauge(client, "semantic_cache_config_reload_success") == 0
        assert gauge(client, "semantic_cache_config_last_reload_timestamp_seconds") == loaded_s
        assert "ttl-clamped" in ask(client, word, headers={"X-Deja-TTL": "7200"}).headers["cache-status"]
        daemon.config.write_text("ttl:\n  response: 3h\n")
        daemon.signal(signal.SIGHUP)
        assert manager.wait_for("RELOADING")
        assert manager.wait_for("READY")["STATUS"] == "Serving"
        assert gauge(client, "semantic_cache_config_reload_success") == 1
        assert gauge(client, "semantic_cache_config_last_reload_timestamp_seconds") > loaded_s
        assert "ttl-clamped" not in ask(client, f"{word} 2", headers={"X-Deja-TTL": "7200"}).headers["cache-status"]


def test_what_cannot_be_reloaded_is_named(spawn, manager):
    daemon = spawn(env=manager.environment, config="server:\n  max_connections: 100\nlog:\n  level: info\n")
    manager.wait_for("READY")
    daemon.config.write_text("server:\n  max_connections: 200\nlog:\n  level: info\n  format: json\n")
    daemon.signal(signal.SIGHUP)
    manager.wait_for("RELOADING")
    manager.wait_for("READY")
    line = next(line for line in daemon.log_text().splitlines() if "at the next start only" in line)
    assert "server.max_connections" in line and "log.format" in line and "log.level" not in line


def test_not_ready_comes_before_closed(spawn, word):
    """With a delay, /readyz answers 503 on new connections while requests are still served."""
    daemon = spawn(config="server:\n  drain_delay: 2s\n")
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        daemon.signal(signal.SIGTERM)

        def told():
            with make_http(daemon) as other:
                return other.get("/readyz").status_code == 503 and other

        poll(told, "/readyz to say 503")
        with make_http(daemon, f"sk-{word}") as other:
            assert other.get("/livez").status_code == 200
            assert other.get("/health").status_code == 503
            assert other.get("/healthz").status_code == 503
            assert ask(other, word).headers["x-cache-hit"] == "true"
    assert daemon.wait() == 0


def test_figures_are_logged_at_debug(spawn, word):
    daemon = spawn(config="log:\n  level: debug\nmonitoring:\n  snapshot: 20ms\n")
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        ask(client, word)
    poll(lambda: re.search(r'"msg":"figures","requests":2,"hits_exact":1,.*"misses":1,.*"hit_rate":0.5,', daemon.log_text()),
         "a line of figures")


# ---- the unit file ----


def test_the_unit_file_is_valid(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / "deja.service"
    copy.write_text(UNIT.read_text().replace("/usr/bin/deja", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60,
                          check=False)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr


def test_the_unit_file_exposes_little(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / "deja.service"
    copy.write_text(UNIT.read_text())
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=12", str(copy)],
                          capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze judges no files")
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


def test_the_unit_file_has_what_is_promised():
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w*=", line))
    assert settings["Type"] == "notify" and settings["ExecReload"].endswith("kill -HUP $MAINPID")
    assert settings["ProtectSystem"] == "strict"
    for name in ("DynamicUser", "NoNewPrivileges", "MemoryDenyWriteExecute"):
        assert settings[name] == "yes", name
    assert {"StateDirectory", "SystemCallFilter", "WatchdogSec"} <= set(settings)
