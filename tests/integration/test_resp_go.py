"""go-redis, unchanged, against Deja; where Go and its module can be had."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon import clean_environment
from resp import RespDaemon

SOURCE = Path(__file__).parent / "go"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not shutil.which("go"):
        pytest.skip("no Go on this machine")
    made = tmp_path_factory.mktemp("go") / "resp"
    built = subprocess.run(["go", "build", "-o", str(made), "."], cwd=SOURCE, capture_output=True, text=True,
                           timeout=300, check=False)
    if built.returncode != 0 and ("dial tcp" in built.stderr or "lookup" in built.stderr or "proxy" in built.stderr):
        pytest.skip("go-redis cannot be fetched")
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
        assert result["get"] == "v" and 98 <= result["ttl"] <= 100 and result["missing"]
        assert result["setnx"] is False and result["last"] == 100 and result["multi"] == 2
        assert result["mget"] == ["2", None, "v"] and result["keys"] == ["a", "k", "n"]
        assert result["channel"] == "cache:invalidate" and result["gone"]
        assert "unknown command" in result["error"]
    finally:
        server.stop()
