"""One check of isolation is taken out at a time, and the tests have to notice each."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
from daemon import BINARY

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "isolation"))
import mutants
from test_conformance import start_postgres, start_s3, start_valkey

BUILD = BINARY.resolve().parent
STARTS = {"redis": start_valkey, "postgres": start_postgres, "s3": start_s3}
needs_build = pytest.mark.skipif(not (BUILD / "compile_commands.json").exists(), reason="not a build folder")
in_the_long_run = pytest.mark.skipif(int(os.environ.get("DEJA_ISOLATION_CHECKS", "0")) < 1000,
                                     reason="./dev soak runs it")


# Each costs seconds, so two that stand for the others are in the short run.
KEYS = [pytest.param(name, marks=[] if " of all users" in name or " no name " in name else in_the_long_run)
        for name in mutants.KEY_MUTANTS]


@needs_build
@pytest.mark.heavy
@pytest.mark.parametrize("name", [*mutants.MUTANTS, *KEYS])
def test_engine_without_a_check_is_noticed(name):
    assert mutants.is_noticed(BUILD, name)


@needs_build
@in_the_long_run
@pytest.mark.heavy
@pytest.mark.parametrize("name", mutants.TIER_MUTANTS)
def test_tier_without_the_tenant_is_noticed(name, tmp_path):
    level, edits = mutants.TIER_MUTANTS[name]
    program = mutants.make(BUILD, "tests/conformance/store_conformance", name, edits)
    stop, environment = STARTS[level](tmp_path)
    try:
        done = subprocess.run([str(program), level], env={**os.environ, **environment}, capture_output=True,
                              text=True, timeout=300, check=False)
    finally:
        stop()
    assert done.returncode != 0, done.stdout


@needs_build
@in_the_long_run
@pytest.mark.heavy
@pytest.mark.parametrize("name, edits, tests", [
    *[(name, edits, ("-k", "proxied or cache_api", "test_isolation.py"))
      for name, edits in mutants.DAEMON_MUTANTS.items()],
    *[(name, edits, ("test_isolation_keys.py",)) for name, edits in mutants.DAEMON_KEY_MUTANTS.items()]])
def test_daemon_without_a_check_is_noticed(name, edits, tests):
    program = mutants.make(BUILD, "deja", name, edits)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
                          cwd=Path(__file__).parent, check=False,
                          env={**os.environ, "DEJA_BIN": str(program), "DEJA_ISOLATION_CHECKS": "200",
                               "DEJA_ISOLATION_REPORT": ""}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "leak" in done.stdout, done.stdout
