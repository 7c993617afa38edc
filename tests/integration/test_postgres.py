"""The tier of PostgreSQL against a real server with pgvector: its table, its schema, and what happens
when the server is down, stopped, killed, hostile or set up wrongly."""
import json
import os
import re
import socket
import subprocess
import threading

import pytest
from daemon import BINARY, ROOT, poll, run_cli
from postgres import NOBODY, PASSWORD, Postgres, environment

PROGRAMS = BINARY.parent / "tests/integration/programs"
# Name of a C test: the program it is in.
TESTS = {name: PROGRAMS / source.stem for source in sorted((ROOT / "tests/integration/programs").glob("postgres_*.c"))
         for name in re.findall(r"cmocka_unit_test\((\w+)\)", source.read_text())}
# They bring a server, or what passes for one, of their own.
APART = {name for name in TESTS if name.startswith("server_")}
NEWEST = 4


@pytest.fixture(scope="module")
def postgres():
    server = Postgres().start()
    server.psql('CREATE DATABASE "empty"', database="postgres")
    server.psql('CREATE DATABASE "ready"', database="postgres")
    assert migrate(server.url(database="ready"), "up").returncode == 0
    yield server
    server.remove()


@pytest.fixture
def database(postgres, request):
    """A database with the schema and nothing in it: its name."""
    name = re.sub(r"\W", "_", request.node.name)[-60:]
    postgres.psql(f'CREATE DATABASE "{name}" TEMPLATE "ready"', database="postgres")
    return name


def migrate(url, *words, **env):
    return run_cli("migrate", *words, env={"DEJA_L3__POSTGRES__URL": url, **env})


def program(url, name, patience=float(os.environ.get("DEJA_TEST_PATIENCE", "300"))):
    """The C test of that name; its output when it fails."""
    ended = subprocess.run([str(TESTS[name]), name], env={**environment(), **sanitizers(), "DEJA_TEST_POSTGRES": url},
                           capture_output=True, text=True, timeout=patience, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"[       OK ] {name}" in ended.stdout + ended.stderr, "no such test"
    return ended.stdout + ended.stderr


def sanitizers():
    return {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}


@pytest.mark.parametrize("name", [name for name in TESTS if name not in APART])
def test_table(postgres, database, name):
    program(postgres.url(database=database), name)


# ---- the schema ----

def tables(postgres, database):
    return {row[0] for row in postgres.psql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'deja'", database=database)}


def test_migrations_go_up_down_and_up_again_on_a_database_with_data(postgres, database):
    url = postgres.url(database=database)
    program(url, "list_meets_each_entry_of_the_tenant_once")  # leaves 300 entries of tenant 2
    def count():
        return postgres.psql("SELECT count(*) FROM deja.cache_metadata", database=database)

    before = count()
    assert before == [["300"]]
    assert migrate(url, "down", "--to", "1").returncode == 0
    assert count() == before
    assert "answer_history" not in tables(postgres, database)
    old = migrate(url, "status")
    assert old.returncode == 1
    assert "run: deja migrate up" in old.stderr
    up = migrate(url, "up", "--json")
    assert [step["version"] for step in json.loads(up.stdout)["steps"]] == [2, 3, 4]
    assert count() == before
    program(url, "only_a_newer_version_overwrites")
    assert migrate(url, "down", "--to", "0").returncode == 0
    assert tables(postgres, database) == {"deja_migrations"}
    assert migrate(url, "up").returncode == 0
    status = json.loads(migrate(url, "status", "--json").stdout)
    assert (status["schema"], status["version"]) == ("current", NEWEST)
    program(url, "what_is_put_is_got_and_removed")


def test_a_newer_schema_is_refused_and_left_alone(postgres, database):
    url = postgres.url(database=database)
    postgres.psql("INSERT INTO deja.deja_migrations VALUES (99, 'of tomorrow', now(), 'deja 9')", database=database)
    for words in (["up"], ["down", "--to", "0"], ["status"]):
        refused = migrate(url, *words)
        assert refused.returncode == 1
        assert "version 99 and this program knows 4" in refused.stderr
    assert "cache_metadata" in tables(postgres, database)
    program(url, "server_without_the_schema_is_told_with_what_to_run")


def test_two_programs_that_migrate_at_once_take_turns(postgres):
    postgres.psql('CREATE DATABASE "race"', database="postgres")
    url = postgres.url(database="race")
    ended = []
    threads = [threading.Thread(target=lambda: ended.append(migrate(url, "up"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.returncode for done in ended] == [0] * 4, [done.stderr for done in ended]
    assert sum("up 1:" in done.stdout for done in ended) == 1
    assert len(postgres.psql("SELECT version FROM deja.deja_migrations", database="race")) == NEWEST


def test_a_role_that_may_not_create_the_extension_is_told_what_to_do(postgres):
    postgres.psql("CREATE ROLE plain LOGIN PASSWORD 'plain'", database="postgres")
    postgres.psql('CREATE DATABASE "plain" OWNER plain', database="postgres")
    url = postgres.url(user="plain", password="plain", database="plain")
    refused = migrate(url, "up")
    assert refused.returncode != 0
    assert "CREATE EXTENSION vector" in refused.stderr
    assert tables(postgres, "plain") <= {"deja_migrations"}
    postgres.psql("CREATE EXTENSION vector", database="plain")
    assert migrate(url, "up").returncode == 0
    program(url, "what_is_put_is_got_and_removed")
    doctor = run_cli("doctor", "--offline", "--json", env={"DEJA_L3__POSTGRES__URL": url})
    checks = {check["name"]: check["status"] for check in json.loads(doctor.stdout)["checks"]}
    assert checks["postgres"] == checks["postgres schema"] == checks["pgvector"] == "ok"
    assert "postgres role" not in checks


def test_the_schema_is_that_of_the_requirements(postgres, database):
    indexes = dict(postgres.psql("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'deja'",
                                 database=database))
    assert "UNIQUE" in indexes["cache_metadata_tenant_key"]
    assert "WHERE active" in indexes["cache_metadata_active"]
    assert {"tenant_config", "tenant_keys", "tombstones", "answer_history"} <= tables(postgres, database)
    postgres.psql("INSERT INTO deja.cache_metadata (tenant, key, version, query_hash, scope, kind, record, octets,"
                  " last_access, created_at, updated_at) VALUES (gen_random_uuid(), gen_random_uuid(), 1, '',"
                  " gen_random_uuid(), 1, '', 0, now(), now(), '2001-01-01')", database=database)
    postgres.psql("UPDATE deja.cache_metadata SET hit_count = 7", database=database)
    assert postgres.psql("SELECT updated_at > '2020-01-01' FROM deja.cache_metadata", database=database) == [["t"]]


# ---- a server that is not as it should be ----

@pytest.mark.parametrize("what,url,code,said", [
    ("a wrong password", {"password": "wrong"}, 77, "l3.postgres.password"),
    ("no such database", {"database": "nosuch"}, 78, "create it"),
    ("TLS that is not there", {"sslmode": "require"}, 77, "sslmode"),
])
def test_what_is_wrong_is_said_with_what_to_do(postgres, what, url, code, said):
    refused = migrate(postgres.url(**url), "status")
    assert refused.returncode == code, what
    assert said in refused.stderr
    assert PASSWORD not in refused.stderr


def test_password_is_taken_from_its_own_setting_and_from_the_file(postgres, tmp_path):
    url = postgres.url(password=None, database="ready")
    assert migrate(url, "status").returncode == 77
    assert migrate(url, "status", DEJA_L3__POSTGRES__PASSWORD=PASSWORD).returncode == 0
    file = tmp_path / "pgpass"
    file.write_text(f"*:*:*:*:{PASSWORD}\n")
    file.chmod(0o600)
    assert migrate(url, "status", PGPASSFILE=str(file)).returncode == 0


def test_connection_is_encrypted_and_the_certificate_checked(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key),
                    "-out", str(certificate), "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    own = Postgres()
    own.init()
    try:
        for file in (certificate, key):  # the server wants its key to be its own
            copy = own.folder / file.name
            copy.write_bytes(file.read_bytes())
            copy.chmod(0o600)
            if os.geteuid() == 0:
                os.chown(copy, NOBODY, NOBODY)
        own.settings.update({"ssl": "on", "ssl_cert_file": str(own.folder / "cert.pem"),
                             "ssl_key_file": str(own.folder / "key.pem")})
        own.start()
        own.create_database("deja")
        trusting = own.url(sslmode="verify-full", sslrootcert=certificate)
        assert migrate(trusting, "up").returncode == 0
        program(trusting, "large_values_are_kept_up_to_the_bound")
        doctor = run_cli("doctor", "--offline", "--json", env={"DEJA_L3__POSTGRES__URL": trusting})
        told = {check["name"]: check["message"] for check in json.loads(doctor.stdout)["checks"]}
        assert told["postgres security"] == "encrypted with TLS"
        other = tmp_path / "other.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout",
                        str(tmp_path / "other.key"), "-out", str(other), "-subj", "/CN=other"], check=True,
                       capture_output=True)
        refused = migrate(own.url(sslmode="verify-full", sslrootcert=other), "status")
        assert refused.returncode == 77
        assert "sslrootcert" in refused.stderr
    finally:
        own.remove()


def test_server_that_dies_fails_what_is_under_way_and_is_found_again():
    own = Postgres().start()
    try:
        own.create_database("deja")
        assert migrate(own.url(), "up").returncode == 0
        run_with(own.url(), "server_dies_and_comes_back", {
            "kill": lambda: own.kill(), "start": lambda: own.start()})
        run_with(own.url(), "server_stands_still", {
            "pause": lambda: own.pause(), "resume": lambda: own.resume()})
    finally:
        own.remove()


def run_with(url, name, steps):
    """The C test writes a word when it wants something to happen, and reads a line when it has."""
    child = subprocess.Popen([str(TESTS[name]), name], env={**environment(), **sanitizers(), "DEJA_TEST_POSTGRES": url},
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seen = []
    for line in child.stdout:
        seen.append(line)
        word = line.strip().removeprefix("want: ") if line.startswith("want: ") else None
        if word:
            steps[word]()
            child.stdin.write("done\n")
            child.stdin.flush()
    assert child.wait(120) == 0, "".join(seen)
    assert any(f"OK ] {name}" in line for line in seen), "".join(seen)


class FakeServer:
    """Accepts, lets `talk(connection)` do what it likes, and closes."""

    def __init__(self, talk):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"postgresql://u:p@127.0.0.1:{self.socket.getsockname()[1]}/d?sslmode=disable"
        self.talk = talk
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        with connection:
            try:
                self.talk(connection)
            except OSError:
                pass

    def close(self):
        self.socket.close()


def message(kind, body):
    return kind + (len(body) + 4).to_bytes(4, "big") + body


READY = (message(b"R", (0).to_bytes(4, "big")) + message(b"K", bytes(8)) +
         message(b"S", b"server_version\x0017.0\x00") + message(b"Z", b"I"))


def garbage(connection):
    connection.recv(4096)
    connection.sendall(bytes(range(256)) * 64)


def hangs_up(connection):
    connection.recv(4096)


def flood(connection):
    """Agrees to everything, then a row that never ends."""
    connection.recv(4096)
    connection.sendall(READY)
    connection.recv(4096)
    connection.sendall(message(b"1", b"") + message(b"2", b"") + b"D" + (1 << 30).to_bytes(4, "big"))
    while True:
        connection.sendall(bytes(1 << 16))


def wrong_answers(connection):
    """Completes every statement at once, with nothing that was asked for."""
    connection.recv(4096)
    connection.sendall(READY)
    while connection.recv(65536):
        connection.sendall((message(b"1", b"") + message(b"2", b"") + message(b"C", b"SELECT 0\x00") +
                            message(b"Z", b"I")) * 64)


@pytest.mark.parametrize("talk", [garbage, hangs_up, flood, wrong_answers])
def test_hostile_server_is_an_error_and_no_more(talk):
    fake = FakeServer(talk)
    try:
        program(fake.url, "server_of_no_use_is_an_error_within_bounds", patience=60)
        assert migrate(fake.url, "status").returncode != 0
    finally:
        fake.close()


def test_server_that_says_nothing_is_given_up():
    fake = FakeServer(lambda connection: connection.recv(4096) and connection.recv(4096))
    try:
        program(fake.url, "server_of_no_use_is_an_error_within_bounds", patience=60)
    finally:
        fake.close()


def test_no_server_is_an_error_at_once():
    program("postgresql://u:p@127.0.0.1:1/d", "server_of_no_use_is_an_error_within_bounds", patience=60)


def test_what_somebody_else_wrote_is_a_miss_and_goes(postgres, database):
    program(postgres.url(database=database), "list_meets_each_entry_of_the_tenant_once")
    postgres.psql("UPDATE deja.cache_metadata SET record = decode('00ff00ff', 'hex')", database=database)
    program(postgres.url(database=database), "server_with_damaged_records_gives_misses")
    poll(lambda: postgres.psql("SELECT count(*) FROM deja.cache_metadata WHERE record = decode('00ff00ff', 'hex')",
                               database=database) == [["0"]], "damaged rows to go")
