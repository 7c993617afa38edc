"""go-redis, unchanged, against Deja."""
import json
import subprocess
from pathlib import Path

import pytest
from daemon import clean_environment
from golang import NO_GO, run_go
from resp import RespDaemon

SOURCE = Path(__file__).parent / "go"

pytestmark = NO_GO


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    made = tmp_path_factory.mktemp("go") / "resp"
    built = run_go("build", "-o", made, ".", cwd=SOURCE)
    assert built.returncode == 0, built.stderr
    return made


def test_go_redis_does_what_it_does_with_redis(tmp_path, program):
    server = RespDaemon(tmp_path / "deja").start()
    try:
        done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120, check=False,
                              env=clean_environment({"TEST_ADDRESS": f"127.0.0.1:{server.resp_port}",
                                                     "TEST_PASSWORD": "of go-redis"}))
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["get"] == "v" and 900 <= result["ttl"] <= 1000 and result["missing"]
        assert result["setnx"] is False and result["last"] == 100 and result["multi"] == 2
        assert result["mget"] == ["2", None, "v"] and result["keys"] == ["a", "k", "n"]
        assert result["channel"] == "cache:invalidate" and result["gone"]
        assert "unknown command" in result["error"]
    finally:
        server.stop()
