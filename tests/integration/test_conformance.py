"""One suite for every tier (tests/conformance/store_conformance.c): here those that are servers, each
alone, behind the wrapper a daemon puts around it, and sealed as well."""
import os
import re
import subprocess

import pytest
from daemon import BINARY, run_cli
from postgres import Postgres
from postgres import environment as postgres_environment
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server
from valkey import Server

PROGRAM = BINARY.parent / "tests/conformance/store_conformance"
# What a tier need not have, by what the suite then says; docs/tiers.md has the reasons.
LACKS = {
    "valkey": {"no search"}, "redis": {"no search"}, "postgres": set(),
    "s3": {"no search", "no locks", "no generations"},
}


def start_valkey(folder):
    server = Server(folder, "valkey").start()
    return server.stop, {"DEJA_TEST_REDIS": f"127.0.0.1:{server.port}"}


def start_redis(folder):
    server = Server(folder, "redis").start()
    return server.stop, {"DEJA_TEST_REDIS": f"127.0.0.1:{server.port}"}


def start_postgres(_folder):
    server = Postgres().start()
    url = server.create_database("conformance")
    migrated = run_cli("migrate", "up", env={"DEJA_L3__POSTGRES__URL": url})
    assert migrated.returncode == 0, migrated.stderr
    return server.remove, {**postgres_environment(), "DEJA_TEST_POSTGRES": url}


def start_s3(folder):
    server = S3Server(folder).start()
    return server.stop, {"DEJA_TEST_S3": server.url, "DEJA_TEST_S3_BUCKET": BUCKET,
                         "DEJA_TEST_S3_KEY": ACCESS_KEY, "DEJA_TEST_S3_SECRET": SECRET_KEY}


@pytest.mark.parametrize("name, start", [("valkey", start_valkey), ("redis", start_redis),
                                         ("postgres", start_postgres), ("s3", start_s3)])
def test_tier_does_what_every_tier_does(name, start, tmp_path):
    stop, environment = start(tmp_path)
    tier = "redis" if name == "valkey" else name
    try:
        runs = [subprocess.Popen([str(PROGRAM), tier, *more], env={**os.environ, **environment},
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                for more in ([], ["guarded"], ["guarded", "sealed"])]
        told = [run.communicate(timeout=300)[0] for run in runs]
    finally:
        stop()
    for run, text in zip(runs, told):
        assert run.returncode == 0, text
        assert "SKIPPED" not in text
        # What is sealed is not searched by who keeps it.
        lacks = LACKS[name] | ({"no search"} if "sealed" in run.args else set())
        assert set(re.findall(rf"^{tier} (?:has|keeps) (no \w+)$", text, re.M)) == lacks
