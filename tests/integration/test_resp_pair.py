"""The same random commands to Deja and to a real Valkey give the same replies."""
import os

import pytest

from daemon import Daemon, free_port
from resp_pair import run_pair
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
