"""What was erased is readable nowhere: entries, proxied answers, plain keys and those of kinds, looked for
in the files of every server, not in their answers: LMDB, Valkey's snapshot and log, PostgreSQL's tables
and WAL, the bucket's objects, the daemon's log and audit.

DEJA_ERASE_CANARIES says how many texts are planted; ./dev soak has a thousand.
"""
import os
import uuid

import pytest
from conftest import make_http
from daemon import poll
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY
from test_audit import admin, tenant_of
from test_erase import erase, grep, scan, wait_until_done
from valkey import Server

CANARIES = int(os.environ.get("DEJA_ERASE_CANARIES", "200"))
AT_ONCE = 100
# Of kinds that are kept on every level, so that each tier has each text.
KINDS = ("ai:response:p:{}:1", "doc:parse:{}:1", "template:plain:{}")
ASKED = {
    "/v1/chat/completions": lambda text: {"model": "plain", "messages": [{"role": "user", "content": text}]},
    "/v1/messages": lambda text: {"model": "text", "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
    "/v1/responses": lambda text: {"model": "text", "input": text, "store": False},
    "/v1/completions": lambda text: {"model": "text", "prompt": text},
    "/v1/embeddings": lambda text: {"model": "plain", "input": text},
}


class Servers:
    """Every tier at once, and where its files are."""

    def __init__(self, folder, postgres, s3):
        self.valkey = Server(folder / "valkey", options=["appendonly yes", "appendfsync always",
                                                         "rdbcompression no"]).start()
        self.postgres, self.s3 = postgres, s3
        self.name = f"t{uuid.uuid4().hex[:12]}"
        self.url = postgres.create_database(self.name)

    def environment(self, is_sealed):
        return {"DEJA_L2__REDIS__ADDRESSES": f"127.0.0.1:{self.valkey.port}", "DEJA_L3__POSTGRES__URL": self.url,
                "DEJA_L3__S3__ENABLED": "true", "DEJA_L3__S3__ENDPOINT": self.s3.url, "DEJA_L3__S3__BUCKET": BUCKET,
                "DEJA_L3__S3__PREFIX": f"{self.name}/", "DEJA_L3__S3__WRITE": "through", "DEJA_LMDB__ENABLED": "true",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "DEJA_LOG__LEVEL": "debug",
                "DEJA_ENCRYPTION__ENABLED": str(is_sealed).lower(), "DEJA_ENCRYPTION__MASTER_KEY": "0a" * 32,
                "DEJA_SECURITY__SECRET": "5e" * 32, "DEJA_SEMANTIC__ENABLED": "false"}

    def write_down(self):
        """What the servers know is in their files."""
        with self.valkey.client() as client:
            client("SAVE")
        self.postgres.psql("CHECKPOINT", database=self.name)

    def rewrite(self):
        """Valkey's log begins anew, as it does by itself in time."""
        with self.valkey.client() as client:
            client("BGREWRITEAOF")

            def is_over():
                told = client("INFO", "persistence")
                return b"aof_rewrite_in_progress:0" in told and b"aof_rewrite_scheduled:0" in told
            poll(is_over, "the log to be rewritten")
            client("SAVE")

    def folders(self):
        return {"valkey": self.valkey.folder, "postgres": self.postgres.folder, "s3": self.s3.folder}

    def rows(self):
        return int(self.postgres.psql("SELECT count(*) FROM deja.cache_metadata", database=self.name)[0][0])

    def objects(self):
        return sum(path.is_file() for path in (self.s3.data / BUCKET / self.name).rglob("*"))


@pytest.fixture
def servers(tmp_path, postgres, s3):
    made = Servers(tmp_path, postgres, s3)
    yield made
    made.valkey.stop()


class Planted:
    """Texts of one owner, planted in turn as entry, proxied answer, plain key and key of a kind."""

    def __init__(self, client, count, headers=None):
        self.client, self.headers = client, headers or {}
        self.texts = [f"canary{uuid.uuid4().hex}" for _ in range(count)]
        self.entries, self.asked, self.plain, self.kinds = (self.texts[i::4] for i in range(4))
        self.names = [*self.plain, *(KINDS[i % len(KINDS)].format(text) for i, text in enumerate(self.kinds))]

    def call(self, method, path, body):
        answer = self.client.request(method, path, json=body, headers=self.headers)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def plant(self):
        entries = [{"query": f"ask {text}", "response": {"text": text}, "metadata": {"note": text}, "model": text}
                   for text in self.entries]
        for i in range(0, len(entries), AT_ONCE):
            self.call("PUT", "/api/v1/entries", {"entries": entries[i : i + AT_ONCE]})
        for i, text in enumerate(self.asked):
            path, body = list(ASKED.items())[i % len(ASKED)]
            self.call("POST", path, body(text))
        sets = [{"op": "set", "key": name, "value": f"{name} {name}", "ttl": "1d"} for name in self.names]
        for i in range(0, len(sets), AT_ONCE):
            self.call("POST", "/api/v1/kv:batch", {"operations": sets[i : i + AT_ONCE]})

    def found(self):
        """How many of the texts are served, without a call upstream."""
        hits = 0
        for i in range(0, len(self.entries), AT_ONCE):
            told = self.call("POST", "/api/v1/lookup", {"queries": [{"query": f"ask {text}"}
                                                                    for text in self.entries[i : i + AT_ONCE]]})
            hits += sum(one["hit"] for one in told["results"])
        for i, text in enumerate(self.asked):
            path, body = list(ASKED.items())[i % len(ASKED)]
            answer = self.client.post(path, json=body(text), headers={**self.headers, "Cache-Control": "only-if-cached"})
            assert answer.status_code in (200, 504), answer.text
            hits += answer.status_code == 200
        for i in range(0, len(self.names), AT_ONCE):
            told = self.call("POST", "/api/v1/kv:batch", {"operations": [
                {"op": "get", "key": name} for name in self.names[i : i + AT_ONCE]]})
            hits += sum(one["found"] for one in told["results"])
        return hits


def erased(daemon, key, user=None):
    """To the end, also where a tier was too slow for the first attempt. (What it counts: test_erase.py.)"""
    answer = erase(daemon, tenant_of(daemon, key), user).json()
    answer = answer if answer["state"] == "done" else wait_until_done(daemon, answer)
    assert all(level["state"] == "empty" for level in answer["levels"].values()), answer
    return answer


def keys_of(daemon):
    with admin(daemon) as operator:
        return operator.get("/api/v1/encryption").json()["keys"]


def wait_for_tiers(servers, count):
    poll(lambda: min(servers.rows(), servers.objects(), servers.valkey.call("DBSIZE")) >= count,
         "every tier to have every text")


def is_nowhere(daemon, servers, texts):
    """The files of all of them, with two programs where the daemon is."""
    for name, folder in servers.folders().items():
        assert grep(folder, texts) == [], name
    assert grep(daemon.data, texts) == [] and scan(daemon.data, texts) == []


def copies_of(valkey):
    with valkey.client() as client:
        return {name: client("DUMP", name) for name in client("KEYS", "*") if client("TYPE", name) == "string"}


def put_back(valkey, copies):
    with valkey.client() as client:
        for name, copy in copies.items():
            client("RESTORE", name, 0, copy, "REPLACE")


def planted(servers, client, other):
    """Texts of this tenant and, fewer, of another, once every tier has them."""
    both = Planted(client, CANARIES), Planted(other, 12)
    for one in both:
        one.plant()
    wait_for_tiers(servers, CANARIES + 12)
    return both


def test_a_tenants_texts_are_readable_nowhere(spawn, servers, key):
    """Sealed: not before and not after, with logs and WAL as they are; what was copied opens no more."""
    daemon = spawn(env=servers.environment(True))
    with make_http(daemon, key) as client, make_http(daemon, key + "-other") as other:
        mine, theirs = planted(servers, client, other)
        assert (mine.found(), theirs.found()) == (CANARIES, 12)
        servers.write_down()
        is_nowhere(daemon, servers, mine.texts)
        copies = copies_of(servers.valkey)
        assert len(copies) >= CANARIES
        answer = erased(daemon, key)
        assert answer["keys_destroyed"], answer
        assert (mine.found(), theirs.found()) == (0, 12)
        servers.write_down()
        is_nowhere(daemon, servers, mine.texts)
        put_back(servers.valkey, copies)
        assert (mine.found(), theirs.found()) == (0, 12)
    daemon.restart()
    with make_http(daemon, key) as client, make_http(daemon, key + "-other") as other:
        mine.client, theirs.client = client, other
        assert (mine.found(), theirs.found()) == (0, 12)


def test_without_seals_the_sweep_alone_leaves_nothing(spawn, servers, key):
    """But for PostgreSQL's files, which are not wiped, and logs of Valkey until they are rewritten."""
    daemon = spawn(env=servers.environment(False))
    with make_http(daemon, key) as client, make_http(daemon, key + "-other") as other:
        mine, theirs = planted(servers, client, other)
        servers.write_down()
        for folder in (*servers.folders().values(), daemon.data):
            assert grep(folder, mine.texts), "who looks sees them where they are"
        erased(daemon, key)
        assert (mine.found(), theirs.found()) == (0, 12)
        servers.rewrite()
    daemon.stop()
    for folder in (servers.valkey.folder, servers.s3.folder, daemon.data):
        assert grep(folder, mine.texts) == [], folder
        assert grep(folder, theirs.texts), "the other's are there"
    assert scan(daemon.data, mine.texts) == []


def test_a_users_texts_are_readable_nowhere(spawn, servers, key):
    """A user has no key of his own: the tenant gets a new one, and that by which his were sealed ends."""
    daemon = spawn(env=servers.environment(True))
    with make_http(daemon, key) as client:
        hers, his, nobodys = (Planted(client, count, {"X-Deja-User": user} if user else None)
                              for count, user in ((CANARIES, "alice"), (12, "bob"), (12, None)))
        for one in (hers, his, nobodys):
            one.plant()
        wait_for_tiers(servers, CANARIES + 24)
        assert (hers.found(), his.found(), nobodys.found()) == (CANARIES, 12, 12)
        answer = erased(daemon, key, "alice")
        assert not answer["keys_destroyed"], answer
        assert (hers.found(), his.found(), nobodys.found()) == (0, 12, 12)
        servers.write_down()
        is_nowhere(daemon, servers, hers.texts)
        poll(lambda: keys_of(daemon)["destroyed"], "the tenant's key to be replaced")
        assert keys_of(daemon)["old"] == 0
        assert (hers.found(), his.found(), nobodys.found()) == (0, 12, 12)
    daemon.stop()
    is_nowhere(daemon, servers, hers.texts)
