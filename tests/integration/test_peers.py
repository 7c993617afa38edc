"""Several daemons over one Valkey: one of them asks the upstream, the others wait for its answer."""
import asyncio
import json
import signal
import threading

import pytest
from conftest import ask, content_of, in_parallel, make_http, status_of
from daemon import poll, raw_request
from test_single_flight import in_flight, one_raw, raw_text_of
from test_stale import metric
from valkey import Server

CROWD = 500  # at each of the two


def environment(valkey, **more):
    """Nobody loses patience with the tier on a busy machine: a read that is given up is a miss, and
    a lock that is given up a call upstream too many."""
    return {"DEJA_L2__REDIS__URL": f"redis://127.0.0.1:{valkey.port}", "DEJA_SECURITY__SECRET": "5e" * 32,
            "DEJA_L2__REDIS__SOFT_TIMEOUT": "60s", "DEJA_PERFORMANCE__GET_TIMEOUT": "60s",
            "DEJA_PERFORMANCE__SET_TIMEOUT": "60s", "DEJA_CONNECTION_POOL__READ_TIMEOUT": "60s",
            "DEJA_CONNECTION_POOL__WRITE_TIMEOUT": "60s", **more}


def wait_for_tier(daemon):
    """Nothing of a shared tier is believed before its generations have been pulled."""
    def check():
        with make_http(daemon) as client:
            details = client.get("/health/detailed").json()["components"]["redis"]["details"]
            return details.get("generations", {}).get("age_ms") is not None
    poll(check, "the shared tier to be believed")
    return daemon


@pytest.fixture
def pair(spawn, valkey):
    patient = environment(valkey, DEJA_PROXY__PEER_WAIT="10m", DEJA_UPSTREAM__FIRST_BYTE_TIMEOUT="10m")
    return [wait_for_tier(spawn(env=patient)) for _ in range(2)]


@pytest.fixture
def clients(pair, key):
    made = [make_http(daemon, key) for daemon in pair]
    yield made
    for client in made:
        client.close()


def turns(client, outcome):
    return metric(client, "semantic_cache_turns_total", outcome=outcome)


def locks(valkey):
    return [name for name in valkey.call("KEYS", "*") if name.endswith(b":l") or b":l:" in name]


def test_thousand_identical_misses_at_two_daemons_make_one_upstream_call(pair, clients, valkey, upstream, key, word):
    flow = upstream.flow(word)
    body = json.dumps({"model": f"step:{word}", "messages": [{"role": "user", "content": word}]}).encode()
    request = raw_request("POST", "/v1/chat/completions", [
        ("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")], body)

    async def all_arrived(daemon):
        for _ in range(2400):
            _, _, text = await one_raw(daemon, raw_request("GET", "/metrics"))
            if in_flight(text.decode()) > CROWD:  # the question itself is one
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the crowd never was in flight")

    async def crowd():
        tasks = [asyncio.ensure_future(one_raw(daemon, request)) for daemon in pair for _ in range(CROWD)]
        while not flow.started.is_set():
            await asyncio.sleep(0.01)
        for daemon in pair:
            await all_arrived(daemon)
        flow.send("one answer")
        flow.finish()
        return await asyncio.gather(*tasks)

    answers = asyncio.run(crowd())
    assert {raw_text_of(answer, False) for answer in answers} == {"one answer"}
    assert len(answers) == 2 * CROWD and flow.calls == 1
    assert sum(turns(client, "held") for client in clients) == 1
    assert sum(turns(client, "found") for client in clients) == 1
    poll(lambda: not locks(valkey), "the lock to be given back")


def asked(client, operation):
    """How often the tier was asked for it."""
    return metric(client, "semantic_cache_operation_duration_seconds_count", level="redis",
                  operation=operation)


def test_hit_of_the_shared_tier_is_one_question_to_it(clients, word):
    one, two = clients
    ask(one, word)
    poll(lambda: ask(two, word, headers={"Cache-Control": "only-if-cached"}).status_code == 200,
         "the tier to have it")
    before = [asked(two, operation) for operation in ("get", "set", "lock", "unlock")]
    elsewhere = {"X-Deja-Skip-Tiers": "memory"}
    assert [status_of(ask(two, word, headers=elsewhere)) for _ in range(3)] == ["HIT"] * 3
    after = [asked(two, operation) for operation in ("get", "set", "lock", "unlock")]
    assert [late - early for late, early in zip(after, before)] == [3, 0, 0, 0]


def while_asked(flow, first, second, then):
    """first() asks and is held by the upstream; second() asks meanwhile; then() once both wait."""
    answers = {}
    threads = [threading.Thread(target=lambda: answers.update(first=first())),
               threading.Thread(target=lambda: answers.update(second=second()))]
    threads[0].start()
    assert flow.started.wait(60)
    threads[1].start()
    then()
    for thread in threads:
        thread.join(120)
    return answers["first"], answers["second"]


def is_asking(client):
    return poll(lambda: in_flight(client.get("/metrics").text) > 1, "the other daemon to ask")


def test_turn_passes_on_when_the_one_who_has_it_fails(clients, upstream, word):
    flow = upstream.flow(word)

    def then():
        is_asking(clients[1])
        flow.fail(400)
        poll(lambda: flow.calls == 2, "the second call")
        flow.send("second")
        flow.finish()

    first, second = while_asked(flow, lambda: ask(clients[0], word, f"step:{word}"),
                                lambda: ask(clients[1], word, f"step:{word}"), then)
    assert first.status_code == 400
    assert content_of(second) == "second"
    assert turns(clients[1], "taken") == 1


def test_daemon_that_died_keeps_nobody_longer_than_peer_wait(spawn, valkey, upstream, key, word):
    flow = upstream.flow(word)
    dying, other = (wait_for_tier(spawn(env=environment(valkey, DEJA_PROXY__PEER_WAIT="1s"))) for _ in range(2))
    with make_http(dying, key) as one, make_http(other, key) as two:
        def asks_and_dies():
            with pytest.raises(Exception):
                ask(one, word, f"step:{word}")

        def then():
            dying.signal(signal.SIGKILL)
            dying.wait()
            poll(lambda: flow.calls == 2, "the second call")
            flow.send("second")
            flow.finish()

        _, second = while_asked(flow, asks_and_dies, lambda: ask(two, word, f"step:{word}"), then)
        assert content_of(second) == "second"
        assert turns(two, "overdue") == 1


@pytest.fixture
def own_valkey(tmp_path):
    """One that the test may end or stop; a stopped one is killed as well as any."""
    server = Server(tmp_path / "valkey").start()
    yield server
    server.stop()


def test_sick_tier_keeps_nobody(spawn, own_valkey, upstream, key, word):
    daemon = wait_for_tier(spawn(env=environment(own_valkey)))
    with make_http(daemon, key) as client:
        assert ask(client, word).status_code == 200
        own_valkey.kill()
        answers = in_parallel(8, lambda number: ask(client, f"{word} {number}"))
        assert {answer.status_code for answer in answers} == {200}


def test_hung_tier_keeps_nobody(spawn, own_valkey, upstream, key, word):
    daemon = wait_for_tier(spawn(env=environment(own_valkey, DEJA_L2__REDIS__SOFT_TIMEOUT="100ms")))
    with make_http(daemon, key) as client:
        assert ask(client, word).status_code == 200
        own_valkey.pause()
        try:
            assert ask(client, f"{word} hung").status_code == 200  # within the client's own timeout
            assert turns(client, "unknown") == 1
        finally:
            own_valkey.resume()


def test_expired_answer_is_made_anew_by_one_of_two_daemons(spawn, valkey, upstream, key, word):
    env = environment(valkey, DEJA_TTL__STALE_WHILE_REVALIDATE="1h", DEJA_PROXY__EARLY_REFRESH="false",
                      DEJA_PROXY__PEER_WAIT="10m", DEJA_UPSTREAM__FIRST_BYTE_TIMEOUT="10m")
    pair = [wait_for_tier(spawn(env=env)) for _ in range(2)]
    flow = upstream.flow(word)
    with make_http(pair[0], key) as one, make_http(pair[1], key) as two:
        flow.send("first")
        flow.finish()
        ask(one, word, f"step:{word}", {"X-Deja-TTL": "1"})

        def content(client, wanted):
            return poll(lambda: wanted in ask(client, word, f"step:{word}").headers["cache-status"],
                        "an answer that is " + wanted)

        for client in (one, two):
            content(client, "stale-while")
        poll(lambda: content(two, "stale") and turns(one, "left") + turns(two, "left") >= 1,
             "one of them to leave it to the other")
        flow.send("second")
        flow.finish()
        for client in (one, two):
            poll(lambda: content_of(ask(client, word, f"step:{word}")) == "second", "the new answer")
    assert flow.calls == 2
