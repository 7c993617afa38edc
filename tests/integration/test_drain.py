"""SIGTERM and SIGINT: running answers finish, new ones are refused, the summary is printed."""
import signal
import socket
import threading

import httpx
import pytest
from conftest import ask, chat_body, make_http
from daemon import poll
from test_stream import lines_until


def refuses_connections(daemon):
    try:
        socket.create_connection(("127.0.0.1", daemon.port), 5).close()
        return False
    except ConnectionResetError:
        return False  # it was in the queue of the listener that is just closing
    except ConnectionRefusedError:
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_running_stream_is_finished_and_new_connections_are_refused(spawn, upstream, word, number):
    daemon = spawn()
    flow = upstream.flow(word)
    flow.send("before ")
    with make_http(daemon, f"sk-{word}") as client:
        with client.stream("POST", "/v1/chat/completions",
                           json=chat_body(word, f"step:{word}", stream=True)) as answer:
            lines = answer.iter_lines()
            lines_until(lines, "before ")
            daemon.signal(number)
            poll(lambda: refuses_connections(daemon), "the listener to be closed")
            flow.send("after")
            flow.finish()
            rest = list(lines)
    assert "data: [DONE]" in rest
    assert "after" in "".join(rest)
    assert daemon.wait() == 0


def test_running_json_answer_is_finished(spawn, upstream, word):
    daemon = spawn()
    flow = upstream.flow(word)
    got = []

    def work():
        with make_http(daemon, f"sk-{word}") as client:
            got.append(ask(client, word, f"step:{word}"))

    worker = threading.Thread(target=work)
    worker.start()
    assert flow.started.wait(60)
    daemon.signal(signal.SIGTERM)
    flow.send("whole")
    flow.finish()
    worker.join(60)
    assert got[0].json()["choices"][0]["message"]["content"] == "whole"
    assert daemon.wait() == 0


def test_idle_daemon_ends_with_exit_code_0_and_a_summary(spawn, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        ask(client, word)
        daemon.signal(signal.SIGINT)
        assert daemon.wait() == 0
    text = daemon.log_text().lower()
    assert "requests" in text and "hits" in text and "tokens" in text


def test_answer_that_was_given_before_the_stop_is_there_after_the_start(spawn, upstream, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as client:
        first = ask(client, word)
    daemon.restart()
    with make_http(daemon, f"sk-{word}") as client:
        second = ask(client, word)
    assert second.headers["x-cache-hit"] == "true"
    assert second.json() == first.json()


def test_keep_alive_connection_is_closed_by_the_drain(spawn, word):
    daemon = spawn()
    with make_http(daemon, f"sk-{word}") as client:
        ask(client, word)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        with pytest.raises(httpx.TransportError):
            ask(client, word)


def test_second_signal_ends_it_at_once(spawn, upstream, word):
    daemon = spawn()
    flow = upstream.flow(word)
    flow.send("x")
    with make_http(daemon, f"sk-{word}") as client:
        with client.stream("POST", "/v1/chat/completions",
                           json=chat_body(word, f"step:{word}", stream=True)) as answer:
            lines_until(answer.iter_lines(), "x")
            daemon.signal(signal.SIGTERM)
            poll(lambda: refuses_connections(daemon), "the drain to begin")
            daemon.signal(signal.SIGTERM)
            code = daemon.wait()
    assert code in (0, 1, 130, 143, -signal.SIGTERM)
    daemon.process = None


def test_hits_that_wait_to_be_counted_are_kept_at_a_stop(spawn, word):
    """The tracker is flushed by nothing but the stop here: its interval is a minute."""
    daemon = spawn(config="performance:\n  tracker_flush: 60s\n  tracker_size: 1000000\n")
    with make_http(daemon, f"sk-{word}") as client:
        for _ in range(25):
            ask(client, word)
    daemon.stop()
    daemon.start()
    with make_http(daemon, f"sk-{word}") as client:
        assert client.get("/api/v1/top").json()["entries"][0]["hits"] == 24


def test_many_loops_end_together(spawn):
    """More than half of the cores: each loop is told to be quiet before any is told to end."""
    for _ in range(3):
        daemon = spawn(args=["--set", "server.loops=6"])
        daemon.stop()


def test_what_goes_by_the_clock_is_over_when_it_ends(spawn):
    """A sweep that began while it stopped ended after what it swept was gone: the sanitizers' build tells."""
    for _ in range(8):
        daemon = spawn(env={"DEJA_EVICTION__SWEEP_INTERVAL": "10ms", "DEJA_SERVER__LOOPS": "3"})
        daemon.stop()
