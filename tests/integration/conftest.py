"""Fixtures: a fake upstream, a real daemon, servers of tiers, a key nobody else has."""
import itertools
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from daemon import BINARY, MODEL, TOOLS, Daemon, poll, run_cli
from fake_upstream import FakeUpstream
from litellm_proxy import MOCK_CONFIG, running
from postgres import Postgres
from s3_server import S3Server
from valkey import Server

# Generous, because a sanitized daemon on a busy machine is slow; it only bounds a hang.
TIMEOUT_S = 120.0


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"no program at {BINARY}: ./dev build", returncode=1)


@pytest.fixture(scope="session")
def upstream():
    server = FakeUpstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def models():
    """The folder of pulled models, or None without network (then semantic tests say so)."""
    data = TOOLS / "model-data"
    if run_cli("model", "verify", MODEL, "--data", data).returncode != 0:
        data.mkdir(parents=True, exist_ok=True)
        pulled = run_cli("model", "pull", MODEL, "--data", data, timeout=600)
        if pulled.returncode != 0:
            print(f"the model could not be pulled: {pulled.stderr}")
            return None
    return data / "models"


@pytest.fixture(scope="session")
def daemon(tmp_path_factory, upstream, models):
    """One daemon for all tests that need nothing special; tests are kept apart by their keys."""
    # Some of them make tenants; the others' credentials are tenants of their own all the same.
    made = Daemon(tmp_path_factory.mktemp("deja"), upstream.url, models=models,
                  env={"DEJA_TENANT__DERIVED": "true"}).start()
    yield made
    made.stop()
    check_sanitizer(made)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def postgres():
    server = Postgres().start()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3")).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    """LiteLLM that answers by itself."""
    with running(tmp_path_factory.mktemp("litellm"), MOCK_CONFIG) as url:
        yield url


def check_sanitizer(daemon):
    text = daemon.log_text()
    for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                 "WARNING: ThreadSanitizer"):
        assert mark not in text, text[text.index(mark) - 200 :][:6000]


@pytest.fixture
def spawn(tmp_path, upstream, models):
    """Makes daemons of the test's own: spawn(config=…, env=…, data=…); they are stopped at its end."""
    made = []
    numbers = itertools.count()

    def make(data=None, start=True, with_model=False, upstream_url=upstream.url, **kwargs):
        daemon = Daemon(data or tmp_path / f"deja{next(numbers)}", upstream_url,
                        models=models if with_model else None, **kwargs)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    for daemon in made:
        try:
            if daemon.process is not None and daemon.process.returncode not in (-9,):
                daemon.stop()
        finally:
            daemon.kill()
        check_sanitizer(daemon)


@pytest.fixture
def key():
    return f"sk-test-{uuid.uuid4().hex}"


@pytest.fixture
def word():
    """A word no other test has, for prompts."""
    return f"w{uuid.uuid4().hex[:12]}"


def make_http(daemon, key=None, headers=None, **kwargs):
    headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    return httpx.Client(base_url=daemon.url, headers=headers, timeout=TIMEOUT_S, trust_env=False, **kwargs)


@pytest.fixture
def http(daemon, key):
    with make_http(daemon, key) as client:
        yield client


@pytest.fixture
def anonymous(daemon):
    """No key: the local tenant."""
    with make_http(daemon) as client:
        yield client


def make_sdk(daemon, key):
    return openai.OpenAI(base_url=daemon.v1, api_key=key, max_retries=0, timeout=TIMEOUT_S,
                         http_client=openai.DefaultHttpxClient(trust_env=False))


@pytest.fixture
def sdk(daemon, key):
    with make_sdk(daemon, key) as client:
        yield client


def chat_body(text, model="plain", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def ask(client, text, model="plain", headers=None, **more):
    return client.post("/v1/chat/completions", json=chat_body(text, model, **more), headers=headers)


def status_of(answer):
    return answer.headers.get("x-cache-status")


def content_of(answer):
    return answer.json()["choices"][0]["message"]["content"]


def wait_for_semantic_of(client, path, body, headers=None):
    """The vector of an answer is made after it was given: asks without calling the upstream until
    the reworded question is found."""
    headers = {**(headers or {}), "Cache-Control": "only-if-cached"}

    def check():
        answer = client.post(path, json=body, headers=headers)
        return answer if answer.status_code == 200 else None

    return poll(check, f"a semantic hit for {body!r}")


def wait_for_semantic(client, text, model="plain", headers=None, **more):
    return wait_for_semantic_of(client, "/v1/chat/completions", chat_body(text, model, **more), headers)


def in_parallel(count, work):
    """work(i) for i < count at the same time, each on a thread; the results in order."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def shared_data():
    folder = os.environ.get("DEJA_SHARED") or str(Path(__file__).resolve().parents[3] / "shared")
    path = Path(folder) / "data" / "dev"
    return path if path.is_dir() else None
