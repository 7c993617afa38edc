"""The same random commands to Deja and to a real Valkey give the same replies."""
import os

import pytest
from conftest import check_sanitizer
from daemon import Daemon, free_port
from resp_pair import Pair, run_pair
from valkey import Server

COMMANDS = int(os.environ.get("DEJA_RESP_COMMANDS", "100000"))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("valkey"), options=["databases 16"]).start()
    yield server
    server.stop()


def start(folder, loops, lmdb):
    port = free_port()
    daemon = Daemon(folder, config=f"resp:\n  listen: 127.0.0.1:{port}\nserver:\n  loops: {loops}\n"
                    f"semantic:\n  enabled: false\nlmdb:\n  enabled: {lmdb}\n").start()
    daemon.resp_port = port
    return daemon


@pytest.mark.parametrize("loops, lmdb, part", [(1, "true", 0.5), (3, "true", 0.3), (1, "false", 0.2)])
def test_client_gets_the_replies_of_valkey(tmp_path, valkey, loops, lmdb, part):
    daemon = start(tmp_path / "deja", loops, lmdb)
    try:
        for seed in range(4):
            run_pair(daemon.resp_port, valkey.port, 1000 * loops + seed, int(COMMANDS * part / 4))
        assert daemon.is_alive()
    finally:
        daemon.stop()
    check_sanitizer(daemon)


def test_differences_are_those_of_the_list(tmp_path, valkey):
    """Those that random commands leave out (docs/resp.md)."""
    daemon = start(tmp_path / "deja", 1, "false")
    try:
        pair = Pair(daemon.resp_port, valkey.port, 2)
        pair.compare([[b"FLUSHALL"], [b"SET", b"k", b"1"], [b"APPEND", b"k", b"2"]], "at first")
        assert pair.ask([[b"OBJECT", b"ENCODING", b"k"]]) == [[(b"$", b"int")], [(b"$", b"raw")]]
        assert pair.ask([[b"OBJECT", b"REFCOUNT", b"k"]])[0] == [(b":", b"1")]
        ours, theirs = pair.ask([[b"GETEX", b"none", b"EX", b"0"]])
        assert ours == [(b"-", b"ERR invalid expire time in 'getex' command")] and theirs == [(b"$", None)]
        ours, theirs = pair.ask([[b"MULTI"], [b"HELLO", b"3"], [b"DISCARD"]])
        assert ours[1] == (b"-", b"ERR Command not allowed inside a transaction") and theirs[1] == (b"+", b"QUEUED")
        ours, theirs = pair.ask([[b"PUBSUB", b"NUMPAT"], [b"WATCH", b"k"], [b"INCRBYFLOAT", b"k", b"0x10"]])
        assert [kind for kind, _ in ours] == [b"-", b"-", b"-"] and [kind for kind, _ in theirs] == [b":", b"+", b"$"]
        pair.close()
    finally:
        daemon.stop()
