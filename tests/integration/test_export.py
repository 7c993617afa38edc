"""Entries out as lines of JSON and in again, byte for byte; a GPTCache and a Redis brought over; what cannot
be brought over is told by its number; a stopped run goes on where it was."""
import base64
import http.server
import json
import sqlite3
import struct
import subprocess
import threading

import httpx
import pytest
from conftest import ask, make_http
from daemon import BINARY, clean_environment, poll, run_cli
from test_backup import API, ENTRIES, LOOKUP, admin, api_entry, done, fill, put, settle, token_of, wipe


def export(daemon, path, *more, key=None, ok=True):
    ran = run_cli("export", str(path), "--server", daemon.url, *(["--key", key] if key else []), *more, timeout=600)
    assert not ok or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def bring(daemon, path, *more, key=None, ok=True):
    ran = run_cli("import", str(path), "--server", daemon.url, *(["--key", key] if key else []), *more, timeout=600)
    assert not ok or ran.returncode == 0, ran.stdout + ran.stderr
    return ran


def lines_of(path):
    return {(line["tenant"], line["id"]): line for line in map(json.loads, path.read_text().splitlines())}


def without_ttl(lines):
    return {key: {name: value for name, value in line.items() if name != "ttl_ms"} for key, line in lines.items()}


def test_exported_entries_come_back_as_they_were(spawn, key, tmp_path):
    daemon = spawn()
    fill(daemon, key, 250)
    settle(daemon)
    before = tmp_path / "before.jsonl"
    export(daemon, before, "--vectors", key=key)
    lines = lines_of(before)
    kinds = {line["kind"] for line in lines.values()}
    assert {"api", "chat", "embedding"} <= kinds and len(lines) >= 270
    mine = next(line for line in lines.values() if line.get("embedder") == "@mine")
    assert len(struct.unpack("<8f", base64.b64decode(mine["vector"]))) == 8
    assert mine["tags"] and mine["namespace"] and mine["expires_ms"] > mine["created_ms"] > 0 and mine["ttl_ms"] > 0
    daemon.stop()
    wipe(daemon)
    daemon.start()
    told = json.loads(bring(daemon, before, "--token", token_of(daemon), "--json").stdout)
    assert told == {"lines": len(before.read_text().splitlines()), "stored": told["stored"], "bad": 0}
    after = tmp_path / "after.jsonl"
    export(daemon, after, "--vectors", key=key)
    assert without_ttl(lines_of(after)) == without_ttl(lines)
    with make_http(daemon, key) as client:
        assert client.post(LOOKUP, json={"query": "question number 7 of the backup", "namespace": "ns1"}).json()["hit"]
        assert ask(client, "chat 3 to be kept").headers["x-cache-status"].lower().startswith("hit")


def test_offline_export_and_import_hold_every_tenant(spawn, key, tmp_path):
    daemon = spawn()
    fill(daemon, key, 50)
    settle(daemon)
    daemon.stop()
    path = tmp_path / "all.jsonl"
    assert run_cli("export", "--offline", str(path), "--data", str(daemon.data)).returncode == 0
    lines = lines_of(path)
    assert len({tenant for tenant, _ in lines}) == 2
    wipe(daemon)
    ran = run_cli("import", "--offline", str(path), "--data", str(daemon.data))
    assert ran.returncode == 0, ran.stderr
    daemon.start()
    (daemon.data / "backups").mkdir()
    (daemon.data / "backups" / "all.jsonl").write_bytes(path.read_bytes())
    checked = done(daemon, "verify", file="all.jsonl")
    assert checked["matched"] == len(lines) and not checked["extra"], checked


def test_offline_export_and_import_end_with_their_own_name(spawn, key, tmp_path):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": "kept", "response": "1"}])
    settle(daemon)
    daemon.stop()
    path, here = tmp_path / "all.jsonl", ("--data", daemon.data)
    made = run_cli("export", "--offline", path, *here)
    assert made.returncode == 0 and made.stdout.startswith("export: done, 1 entries") and str(path) in made.stdout
    ran = run_cli("import", "--offline", path, *here)
    assert ran.returncode == 0 and ran.stdout.startswith("import: done, 1 entries"), ran.stdout
    path.write_text(path.read_text() + "{broken\n")
    for words in (("import",), ("restore", "--check")):
        ran = run_cli(*words, "--offline", path, *here)
        assert ran.returncode == 1 and "whole" not in ran.stdout and f"deja {words[0]}: line 2" in ran.stderr, ran.stderr
    ran = run_cli("export", "--offline", tmp_path / "typo" / "x.jsonl", *here)
    assert ran.returncode == 1 and "No such file or directory" in ran.stderr and not (tmp_path / "typo").exists()


def test_export_shows_a_tenant_only_its_own(spawn, key, tmp_path):
    daemon = spawn()
    with make_http(daemon, key) as client, make_http(daemon, key + "2") as other:
        put(client, [{"query": "mine", "response": "1"}])
        put(other, [{"query": "theirs", "response": "2"}])
        text = client.get(f"{API}/export").text
        assert "mine" in text and "theirs" not in text
        assert client.get(f"{API}/export", params={"cursor": "x"}).status_code == 400
        assert client.get(f"{API}/export", headers={"X-Deja-User": "alice"}).status_code == 403
        assert client.post(f"{API}/import", json={"entries": [json.loads(text)]}).status_code in (401, 403)


def test_stopped_export_goes_on_and_a_changed_file_is_noticed(spawn, key, tmp_path):
    daemon = spawn()
    with make_http(daemon, key) as client:
        for start in range(0, 400, 100):
            put(client, [{"query": f"row {i}", "response": "x" * 100} for i in range(start, start + 100)])
    settle(daemon)
    path, state = tmp_path / "out.jsonl", tmp_path / "out.state"
    export(daemon, path, "--resume", str(state), key=key)
    whole = path.read_bytes()
    # As a kill in the middle leaves it: a state of an earlier piece, and a piece that was not noted.
    with make_http(daemon, key) as client:
        first = client.get(f"{API}/export", params={"vectors": "false"})
    size = len(first.content)
    tail = whole[:size][-1048576:]
    import hashlib
    state.write_text(json.dumps({"deja_state": 1, "position": size, "units": first.text.count("\n"), "stored": 0,
                                 "bad": 0, "cursor": first.headers["x-deja-cursor"],
                                 "digest": hashlib.sha256(tail).hexdigest(), "done": False}))
    path.write_bytes(whole[:size + 77])
    export(daemon, path, "--resume", str(state), key=key)
    keys = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert sorted(set(keys)) == sorted({json.loads(line)["id"] for line in whole.decode().splitlines()})
    broken = json.loads(state.read_text()) | {"done": False}
    state.write_text(json.dumps(broken))
    path.write_bytes(b"x" + path.read_bytes()[1:])
    ran = export(daemon, path, "--resume", str(state), key=key, ok=False)
    assert ran.returncode == 1 and "begin anew" in ran.stderr
    assert export(daemon, path, key=key, ok=False).returncode == 1  # never written over


def test_export_that_fails_leaves_no_file_behind(spawn, key, tmp_path):
    daemon = spawn()
    path, state = tmp_path / "all.jsonl", tmp_path / "all.state"
    for words, code in ((("--key", "deja_" + "A" * 43), 77), (("--tenant", "nobody", "--token", token_of(daemon)), 1)):
        ran = export(daemon, path, *words, ok=False)
        assert ran.returncode == code and not path.exists(), ran.stderr
        ran = export(daemon, path, *words, "--resume", state, ok=False)
        assert ran.returncode == code and not path.exists() and not state.exists(), ran.stderr
    export(daemon, path, key=key)  # an empty cache: an empty file
    assert path.read_bytes() == b""
    again = export(daemon, path, key=key, ok=False)
    assert again.returncode == 1 and "there already" in again.stderr and "--resume" in again.stderr
    assert path.exists()


def test_export_that_breaks_off_in_the_middle_goes_unless_it_can_be_gone_on_with(tmp_path):
    class Half(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            is_first = "cursor" not in self.path
            body = b'{"deja":1}\n' if is_first else b'{"detail":"away"}'
            self.send_response(200 if is_first else 503)
            if is_first:
                self.send_header("X-Deja-Cursor", "next")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Half)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    path, state = tmp_path / "all.jsonl", tmp_path / "all.state"
    ran = run_cli("export", path, "--server", url)
    assert ran.returncode == 75 and not path.exists(), ran.stderr
    ran = run_cli("export", path, "--server", url, "--resume", state)
    assert ran.returncode == 75 and path.read_text() == '{"deja":1}\n' and state.exists(), ran.stderr
    server.shutdown()
    server.server_close()


def test_backup_as_lines_says_that_they_are_not_sealed(spawn, key):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": "plain to see", "response": "1"}])
    settle(daemon)
    words = ("--server", daemon.url, "--token", token_of(daemon))
    for order in (("backup", "all.jsonl"), ("migrate-data", "--from", "lmdb", "--to", "more.jsonl")):
        assert "not sealed" in run_cli(*order, *words).stdout
    assert "not sealed" not in run_cli("backup", "all.djb", *words).stdout
    assert b"plain to see" in (daemon.data / "backups" / "more.jsonl").read_bytes()


def test_killed_import_goes_on_where_it_was(spawn, key, tmp_path):
    source, target = spawn(env={"DEJA_SECURITY__SECRET": "5e" * 32}), spawn(env={"DEJA_SECURITY__SECRET": "5e" * 32})
    with make_http(source, key) as client:
        for start in range(0, 2000, 100):
            put(client, [{"query": f"row {i}", "response": "x" * 100} for i in range(start, start + 100)])
    settle(source)
    path, state = tmp_path / "in.jsonl", tmp_path / "in.state"
    export(source, path, key=key)
    command = [str(BINARY), "import", str(path), "--server", target.url, "--token", token_of(target),
               "--resume", str(state)]
    process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    poll(state.exists, "the first batch")
    process.kill()
    process.wait()
    ran = bring(target, path, "--token", token_of(target), "--resume", str(state), "--json")
    assert json.loads(ran.stdout)["lines"] == len(path.read_text().splitlines())
    again = tmp_path / "again.jsonl"
    export(target, again, key=key)
    assert without_ttl(lines_of(again)) == without_ttl(lines_of(path))


def test_rules_for_sensitive_data_hold_for_what_is_imported(spawn, key, tmp_path):
    daemon = spawn(env={"DEJA_SECURITY__SENSITIVE__SECRET": "allow"})
    texts = {"fine": "It is.", "card": "pay with 4111 1111 1111 1111", "secret": "my password is hunter2-Tr0ub4dor"}
    with make_http(daemon, key) as client:
        for name, text in texts.items():
            assert client.put(ENTRIES, json={"query": name, "response": text}).status_code == 201
            assert client.put(f"/api/v1/kv/{name}", content=text).status_code == 201
    settle(daemon)
    lines = tmp_path / "all.jsonl"
    export(daemon, lines, key=key)
    daemon.stop()
    wipe(daemon)
    daemon = spawn(data=daemon.data, env={"DEJA_SECURITY__SENSITIVE__CARD": "refuse",
                                          "DEJA_SECURITY__SENSITIVE__SECRET": "redact"})
    told = json.loads(bring(daemon, lines, "--token", token_of(daemon), "--json").stdout)
    assert told == {"lines": 6, "stored": 4, "bad": 0}
    with make_http(daemon, key) as client:
        answers = {name: client.get(f"/api/v1/kv/{name}") for name in texts}
        assert answers["fine"].text == texts["fine"] and answers["card"].status_code == 404
        assert answers["secret"].text == "my password is [REDACTED]"
        found = {name: client.post(LOOKUP, json={"query": name}).json() for name in texts}
        assert found["fine"]["hit"] and not found["card"]["hit"]
        assert "[REDACTED]" in json.dumps(found["secret"]) and "hunter2" not in json.dumps(found["secret"])
    daemon.stop()
    for path in daemon.data.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_bad_lines_are_told_by_number_and_left_out_by_choice(spawn, key, tmp_path):
    daemon = spawn()
    with make_http(daemon, key) as client:
        put(client, [{"query": f"row {i}", "response": "x"} for i in range(3)])
    settle(daemon)
    path = tmp_path / "bad.jsonl"
    export(daemon, path, key=key)
    good = list(dict.fromkeys(path.read_text().splitlines()))
    path.write_text("\n".join([good[0], "{broken", good[1], '{"deja":1,"kind":"odd"}', "", good[2],
                               '{"deja":1,"kind":"api","id":"zz"}', '{"hello":1}']) + "\n")
    token = token_of(daemon)
    stopped = bring(daemon, path, "--token", token, ok=False)
    assert stopped.returncode == 1 and "line 2:" in stopped.stderr and "--skip-bad" in stopped.stderr
    told = bring(daemon, path, "--token", token, "--skip-bad", ok=False)
    assert told.returncode == 1
    for number, word in ((2, ""), (4, "kind"), (7, "32 hex digits"), (8, "not a line of deja export")):
        assert any(f"line {number}:" in line and word in line for line in told.stderr.splitlines()), told.stderr
    assert "4 left out" in told.stderr


# ---- others' caches ----

def make_gptcache(path, questions):
    """As GPTCache's SQLAlchemy models make it (gptcache.manager.scalar_data.sql_storage)."""
    db = sqlite3.connect(path)
    db.executescript("""
        CREATE TABLE gptcache_question (id INTEGER NOT NULL PRIMARY KEY, question VARCHAR(3000) NOT NULL,
            create_on DATETIME, last_access DATETIME, embedding_data BLOB, deleted INTEGER);
        CREATE TABLE gptcache_answer (id INTEGER NOT NULL PRIMARY KEY, question_id INTEGER NOT NULL,
            answer VARCHAR(3000) NOT NULL, answer_type INTEGER NOT NULL);
        CREATE TABLE gptcache_session (id INTEGER NOT NULL PRIMARY KEY, question_id INTEGER NOT NULL,
            session_id VARCHAR(1000) NOT NULL, session_question VARCHAR(3000) NOT NULL);""")
    for number, (question, answer, kind, deleted) in enumerate(questions, 1):
        db.execute("INSERT INTO gptcache_question VALUES (?,?,datetime('now'),datetime('now'),x'00',?)",
                   (number, question, deleted))
        db.execute("INSERT INTO gptcache_answer (question_id, answer, answer_type) VALUES (?,?,?)",
                   (number, answer, kind))
        db.execute("INSERT INTO gptcache_answer (question_id, answer, answer_type) VALUES (?,?,?)",
                   (number, "a second one", kind))
    db.commit()
    db.close()


def test_gptcache_is_brought_over(spawn, key, tmp_path):
    daemon = spawn(with_model=True)
    path = tmp_path / "sqlite.db"
    make_gptcache(path, [(f"what is {i} times {i}", str(i * i), 0, 0) for i in range(150)] +
                  [("gone", "x", 0, -1), ("a picture", "/img.png", 2, 0), ("Grüße?", "Hallo ☃", 0, 0)])
    ran = bring(daemon, path, "--skip-bad", key=key, ok=False)
    assert ran.returncode == 1 and "question 152: its answer is no text" in ran.stderr
    with make_http(daemon, key) as client:
        def look(text):
            return client.post(LOOKUP, json={"query": text}).json()
        assert look("what is 12 times 12")["response"] == "144"
        assert look("Grüße?")["response"] == "Hallo ☃"
        assert not (look("gone")["hit"] and look("gone")["kind"] == "exact")
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t (a)")
    db.commit()
    db.close()
    ran = bring(daemon, other, key=key, ok=False)
    assert ran.returncode == 1 and "not of GPTCache" in ran.stderr
    ran = bring(daemon, path, "--format", "jsonl", key=key, ok=False)
    assert ran.returncode == 1 and "--format gptcache" in ran.stderr


def test_keys_of_a_redis_become_plain_keys(spawn, key, valkey):
    daemon = spawn()
    valkey.call("SET", "litellm:abc", json.dumps({"timestamp": 1.0, "response": "{}"}), "EX", "1000")
    valkey.call("SET", "plain", "for ever")
    valkey.call("SET", b"bin\x00\xff", b"\x00\x01\xfe")
    valkey.call("RPUSH", "a-list", "x")
    for i in range(500):
        valkey.call("SET", f"many:{i}", "v" * i, "PX", str(600000 + i))
    url = f"redis://127.0.0.1:{valkey.port}/0"
    ran = bring(daemon, url, key=key, ok=False)
    assert ran.returncode == 1 and "503 stored, 1 left out" in ran.stderr, ran.stderr  # the list
    with make_http(daemon, key) as client:
        def get(name):
            return client.get(f"{API}/kv/{name}")
        assert get("plain").text == "for ever"
        assert json.loads(get("litellm:abc").text)["timestamp"] == 1.0
        assert get("bin%00%FF").content == b"\x00\x01\xfe"
        assert get("many:300").text == "v" * 300
        answer = client.post(f"{API}/kv:batch", json={"operations": [
            {"op": "ttl", "key": "litellm:abc"}, {"op": "ttl", "key": "plain"}, {"op": "ttl", "key": "many:7"}]}).json()
        text = json.dumps(answer["results"])
        assert '"ttl' in text, text
    with make_http(daemon, key + "2") as client:
        assert bring(daemon, url + "?match=litellm:*", "--format", "litellm", key=key + "2").returncode == 0
        assert client.get(f"{API}/kv/litellm:abc").status_code == 200
        assert client.get(f"{API}/kv/plain").status_code == 404


@pytest.mark.parametrize("content, word", [(b"DJBACKUP\x01", "deja restore"), (b"REDIS0011", "start a server"),
                                           (b"\x89PNG....", "neither")])
def test_other_files_are_named(daemon, tmp_path, content, word):
    path = tmp_path / "file"
    path.write_bytes(content)
    ran = bring(daemon, path, ok=False)
    assert ran.returncode == 1 and word in ran.stderr
