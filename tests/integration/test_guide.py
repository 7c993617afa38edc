"""docs/guide.md: its Python blocks, one after the other, as somebody who reads it would run them, against a daemon with
the settings of its YAML blocks; and that each kind, each form of its keys and each pattern has one."""
import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from conftest import check_sanitizer, make_http
from daemon import PATIENCE_S, ROOT, Daemon, free_port
from deja_client import client
from fake_upstream import FakeUpstream

TEXT = (ROOT / "docs" / "guide.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
SETTINGS = "".join(re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S))
PORT = "9099"  # of the guide's receiver: here another
KEY = "sk-of-the-guide"
PATTERNS = {  # what shows that a pattern of use is there
    "cache-aside": "get_or_compute(", "decorator": "cache.cacheable(", "write-through": "cache.cache_put(",
    "refresh-ahead": "refresh_ahead=", "negative caching": "cache_none=True", "conditions": "condition=",
    "by meaning": "semantic=True", "stale-while-revalidate": '"stale-while-revalidate" not in',
    "stale-if-error": '"stale-if-error" not in', "warm-up": "cache.warm(", "key builder": "options=options",
    "versions": "version=version", "parts": '"doc:extract:d1:features"', "merge": "cache.kv.merge(",
    "cascade": "cascade=", "schedules": "cache.schedules()", "server-sent events": "follow_invalidations(",
    "webhooks": "X-Deja-Signature", "one of many": "if_absent=True", "without the cache": "DejaUnavailable"}


class Sink(BaseHTTPRequestHandler):
    """Takes what webhooks tell before the guide's own receiver listens."""

    def do_POST(self):  # noqa: N802
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def listening(port):
    server = HTTPServer(("127.0.0.1", port), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def read(tmp_path_factory, models):
    """The daemon after everything was run."""
    upstream, port = FakeUpstream().start(), free_port()
    daemon = Daemon(tmp_path_factory.mktemp("guide"), upstream.url, config=SETTINGS.replace(PORT, str(port)),
                    models=models).start()

    def outage(is_over=False):
        upstream.failing = {} if is_over else {"gpt-4o-mini": 503}

    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as before:
        before.enter_context(listening(port))
        patch.setenv("DEJA_SERVER", daemon.url)
        patch.setenv("DEJA_KEY", KEY)
        patch.setitem(client._Client.__init__.__kwdefaults__, "timeout", PATIENCE_S)
        names = {"outage": outage}
        for block in BLOCKS:
            if PORT in block:
                before.close()
            line = TEXT[:TEXT.index(block)].count("\n") + 1  # of its first
            exec(compile("\n" * (line - 1) + block.replace(PORT, str(port)), "docs/guide.md", "exec"), names)
    yield daemon
    daemon.stop()
    upstream.stop()
    check_sanitizer(daemon)


def test_every_example_runs_and_every_shipped_kind_is_written_and_read_in_one(read):
    with make_http(read, KEY) as http:
        kinds = {kind["name"]: kind for kind in http.get("/api/v1/kinds").json()["kinds"]}
        hits = {name: line["hits"] for name, line in http.get("/api/v1/stats").json()["period"]["kinds"].items()}
    assert len(kinds) >= 18
    for name, kind in kinds.items():
        assert hits.get(name, 0) > 0, f"{name} has no example that reads it"
        for pattern in kind["patterns"]:
            form = re.sub(r"\\\{\w+\\\}", r"[^:/\\s\"]+", re.escape(pattern))
            made = pattern.startswith("query:")  # by the key builder
            assert made or re.search(rf'"{form}"|`{form}`', TEXT), f"{pattern} has no example"
        for event in kind["events"]:
            assert f'"name": "{event}"' in TEXT, f"{event} has no example"


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_of_use_has_an_example(name):
    assert any(PATTERNS[name] in block for block in BLOCKS)
