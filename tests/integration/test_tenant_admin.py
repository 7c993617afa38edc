"""Tenants that an administrator makes: kept, seen on every node, configured, suspended, removed; over LMDB
alone and over PostgreSQL with two daemons."""
import json
import re
import uuid

import httpx
import pytest
from conftest import ask, chat_body
from daemon import poll
from postgres import Postgres

SECRET = "5e" * 32


def token_of(daemon):
    """The newest of its log: each start makes one."""
    return re.findall(r"admin\s+token ([0-9a-f]{64})", daemon.log_text())[-1]


class Admin:
    """The API of one daemon with its admin token, fresh at each call since a restart makes another."""

    def __init__(self, daemon):
        self.daemon = daemon

    def __call__(self, method, path="", body=None, status=200, **params):
        answer = httpx.request(method, f"{self.daemon.url}/api/v1/tenants{path}", json=body, params=params,
                               headers={"X-Deja-Token": token_of(self.daemon)}, timeout=60, trust_env=False)
        assert answer.status_code == status, answer.text
        return answer.json()

    def add(self, name, **more):
        return self("POST", body={"name": name, **more}, status=201)["id"]

    def names(self):
        return [tenant["name"] for tenant in self("GET")["tenants"]]

    def cli(self, *words, **more):
        return self.daemon.cli("tenant", *words, env={"DEJA_TOKEN": token_of(self.daemon)}, **more)


@pytest.fixture
def admin(spawn):
    return Admin(spawn())


@pytest.fixture
def pair(spawn, postgres):
    url = postgres.create_database(f"t{uuid.uuid4().hex[:12]}")
    env = {"DEJA_L3__POSTGRES__URL": url, "DEJA_SECURITY__SECRET": SECRET}
    return [Admin(spawn(env=env)) for _ in range(2)]


# ---- one machine ----

def test_a_tenant_is_made_shown_changed_and_removed(admin):
    config = {"limits": {"requests_per_s": 50}, "ttl": {"response": "1h"}, "models": ["gpt-4o*"]}
    tenant = admin.add("acme", config=config)
    uuid.UUID(tenant)
    shown = admin("GET", f"/{tenant}")
    assert (shown["name"], shown["state"], shown["config"]) == ("acme", "active", config)
    assert shown["effective"]["limits"]["requests_per_s"] == 50
    assert shown["effective"]["ttl"]["response"] == 3600
    assert shown["effective"]["features"] == {"proxy": True, "api": True, "semantic": True, "embeddings": True}
    changed = admin("PATCH", f"/{tenant}", {"config": {"ttl": {"response": None}, "audit": "all"}})
    assert changed["config"] == {"limits": {"requests_per_s": 50}, "ttl": {}, "models": ["gpt-4o*"], "audit": "all"}
    replaced = admin("PUT", f"/{tenant}", {"name": "acme 2", "config": {"audit": "off"}})
    assert (replaced["name"], replaced["config"]) == ("acme 2", {"audit": "off"})
    assert admin("POST", f"/{tenant}/suspend")["state"] == "suspended"
    assert admin("POST", f"/{tenant}/resume")["state"] == "active"
    assert admin("DELETE", f"/{tenant}") == {"removed": True}
    admin("GET", f"/{tenant}", status=404)
    admin("DELETE", f"/{tenant}", status=404)


def test_tenants_survive_a_restart_and_a_kill(admin):
    kept = admin.add("kept", config={"audit": "all"})
    gone = admin.add("gone")
    admin("POST", f"/{kept}/links", {"credential": "sk-kept", "name": "ci"}, status=201)
    admin("DELETE", f"/{gone}")
    admin.daemon.kill()
    admin.daemon.start()
    assert admin.names() == ["kept"]
    shown = admin("GET", f"/{kept}")
    assert shown["config"] == {"audit": "all"}
    assert [link["name"] for link in shown["links"]] == ["ci"]


def test_tenants_are_kept_without_an_embedded_tier_too(spawn):
    admin = Admin(spawn(env={"DEJA_LMDB__ENABLED": "false"}))
    admin.add("acme")
    admin.daemon.restart()
    assert admin.names() == ["acme"]


def test_a_credential_is_kept_as_a_digest_only(admin):
    tenant = admin.add("acme")
    secret = f"sk-{uuid.uuid4().hex}"
    admin("POST", f"/{tenant}/links", {"credential": secret}, status=201)
    admin.daemon.stop()
    for file in admin.daemon.data.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


def test_what_is_wrong_is_said_by_name(admin):
    tenant = admin.add("acme")
    for body, field, part in [
            ({"nam": "x"}, "nam", "did you mean name?"),
            ({"config": {"limits": {"burts": 1}}}, "config.limits.burts", "did you mean burst?"),
            ({"config": {"semantic": {"threshold": 2}}}, "config.semantic.threshold", "from 0.01 to 1"),
            ({"config": {"upstream": {"url": "http://127.0.0.1/"}}}, "config.upstream.url", ""),
            ({"inherits": tenant}, "inherits", "circle"),
            ({"inherits": str(uuid.uuid4())}, "inherits", "no such tenant"),
            ({"state": "paused"}, "state", "active or suspended")]:
        problem = admin("PATCH", f"/{tenant}", body, status=400)
        assert problem["type"] == "invalid_request"
        assert problem["fields"][0]["field"] == field, problem
        assert part in problem["fields"][0]["message"]
    admin("GET", "/not-an-id", status=404)
    admin("GET", f"/{uuid.uuid4()}", status=404)
    admin("POST", body={"name": "acme"}, status=409)
    admin("POST", f"/{tenant}/links", {}, status=400)
    admin("POST", f"/{tenant}/links", {"credential": "a", "id": tenant}, status=400)
    assert admin("GET", f"/{tenant}")["config"] == {}


def test_who_is_not_an_administrator_is_refused(admin):
    for method, path in [("GET", ""), ("POST", ""), ("GET", f"/{uuid.uuid4()}"), ("POST", "/reload")]:
        answer = httpx.request(method, f"{admin.daemon.url}/api/v1/tenants{path}", json={} if method == "POST" else None,
                               headers={"Authorization": "Bearer sk-x"}, trust_env=False)
        assert answer.status_code in (401, 403)


def test_a_tenant_inherits_what_it_does_not_say(admin):
    top = admin.add("top", config={"limits": {"burst": 9}, "features": {"proxy": False}})
    below = admin.add("below", inherits=top, config={"features": {"api": False}})
    effective = admin("GET", f"/{below}")["effective"]
    assert effective["limits"]["burst"] == 9
    assert (effective["features"]["proxy"], effective["features"]["api"]) == (False, False)
    admin("PATCH", f"/{top}", {"config": {"limits": {"burst": 3}}})
    assert admin("GET", f"/{below}")["effective"]["limits"]["burst"] == 3
    assert admin("DELETE", f"/{top}", status=409)["type"] == "tenant_inherited"


def test_pages_name_every_tenant_once(admin):
    made = sorted(admin.add(f"t{i}") for i in range(7))
    seen, after = [], None
    while True:
        page = admin("GET", limit=3, **({"after": after} if after else {}))
        assert page["count"] == 7
        seen += [tenant["id"] for tenant in page["tenants"]]
        after = page["next"]
        if not after:
            break
    assert seen == made
    assert [t["name"] for t in admin("GET", name="t4")["tenants"]] == ["t4"]


def test_the_command_does_what_the_api_does(admin, tmp_path):
    added = admin.cli("add", "acme", "limits.burst=5", "audit=writes", 'models=["m"]')
    tenant = added.stdout.strip()
    assert admin("GET", f"/{tenant}")["config"] == {"limits": {"burst": 5}, "audit": "writes", "models": ["m"]}
    assert admin.cli("set", "acme", "limits.burst=null", "ttl.response=5m").returncode == 0
    assert admin("GET", f"/{tenant}")["config"] == {
        "limits": {}, "audit": "writes", "models": ["m"], "ttl": {"response": "5m"}}
    file = tmp_path / "config.json"
    file.write_text('{"features": {"semantic": false}}')
    assert admin.cli("set", tenant, "--replace", "--file", file).returncode == 0
    assert admin("GET", f"/{tenant}")["config"] == {"features": {"semantic": False}}
    assert admin.cli("add", "below", "--inherits", "acme").returncode == 0
    assert [line.split()[1:] for line in admin.cli("list").stdout.splitlines()].count(["active", "acme"]) == 1
    link = admin.cli("link", "acme", "--name", "ci", stdin="sk-secret\n").stdout.strip()
    assert json.loads(admin.cli("show", "acme", "--json").stdout)["links"][0]["id"] == link
    assert admin.cli("unlink", "acme", link).returncode == 0
    assert admin.cli("suspend", "acme").returncode == 0
    assert "suspended" in admin.cli("list").stdout
    assert admin.cli("resume", "acme").returncode == 0
    assert admin.cli("delete", "below", stdin="").returncode == 2
    assert admin.cli("delete", "below", "--yes").returncode == 0
    assert admin.names() == ["acme"]
    refused = admin.daemon.cli("tenant", "list", env={"DEJA_TOKEN": "00"})
    assert refused.returncode == 77
    missing = admin.cli("show", "nobody")
    assert missing.returncode == 1
    assert "there is no tenant" in missing.stderr
    typo = admin.cli("set", "acme", "limits.burts=1")
    assert "did you mean burst?" in typo.stderr


# ---- PostgreSQL, two nodes ----

def test_a_change_on_one_node_is_seen_on_the_other(pair):
    one, two = pair
    tenant = one.add("acme", config={"limits": {"burst": 5}})
    poll(lambda: two.names() == ["acme"], "the other node to see the tenant")
    two("PATCH", f"/{tenant}", {"config": {"limits": {"burst": 7}}})
    poll(lambda: one("GET", f"/{tenant}")["effective"]["limits"]["burst"] == 7, "the change to come back")
    one("POST", f"/{tenant}/links", {"credential": "sk-1"}, status=201)
    poll(lambda: two("GET", f"/{tenant}")["links"], "the link")
    one("POST", f"/{tenant}/suspend")
    poll(lambda: two("GET", f"/{tenant}")["state"] == "suspended", "the suspension")
    two("DELETE", f"/{tenant}")
    poll(lambda: one.names() == [], "the removal")


def test_both_nodes_know_everything_after_a_restart(pair):
    one, two = pair
    for i in range(5):
        (one if i % 2 else two).add(f"t{i}")
    for admin in pair:
        admin.daemon.restart()
        assert sorted(admin.names()) == [f"t{i}" for i in range(5)]


def test_what_was_changed_behind_its_back_is_seen_on_demand(pair, postgres):
    one, _ = pair
    tenant = one.add("acme")
    database = one.daemon.env["DEJA_L3__POSTGRES__URL"].rsplit("/", 1)[1]
    postgres.psql("UPDATE deja.documents SET value = convert_to(replace(convert_from(value, 'UTF8'), 'acme', 'emca'),"
                  " 'UTF8') WHERE name = 'tenants_configured'", database=database)
    assert one.names() == ["acme"]
    one("POST", "/reload", {"tenant": tenant})
    assert one.names() == ["emca"]
    postgres.psql("UPDATE deja.documents SET value = convert_to(replace(convert_from(value, 'UTF8'), 'emca', 'x'),"
                  " 'UTF8') WHERE name = 'tenants_configured'", database=database)
    assert one("POST", "/reload", {})["count"] == 1
    assert one.names() == ["x"]
    # People with SQL see what the documents say.
    rows = postgres.psql("SELECT tenant, config->>'name' FROM deja.tenant_config", database=database)
    assert rows == [[tenant, "x"]]


def test_a_database_that_was_replaced_is_believed(pair, postgres):
    one, two = pair
    one.add("acme")
    poll(lambda: two.names() == ["acme"], "the other node to see the tenant")
    database = one.daemon.env["DEJA_L3__POSTGRES__URL"].rsplit("/", 1)[1]
    postgres.psql("DELETE FROM deja.documents; UPDATE deja.documents_sequence SET value = 0,"
                  " origin = gen_random_uuid()", database=database)
    for admin in pair:
        poll(lambda: admin.names() == [], "the node to begin anew")
    two.add("other")
    poll(lambda: one.names() == ["other"], "the nodes to agree again")


def test_without_its_database_a_node_starts_with_what_it_knew_and_writes_nothing(spawn):
    server = Postgres().start()
    try:
        env = {"DEJA_L3__POSTGRES__URL": server.create_database("down"), "DEJA_SECURITY__SECRET": SECRET}
        admin = Admin(spawn(env=env))
        tenant = admin.add("acme", config={"audit": "all"})
        gone = admin.add("gone")
        admin("DELETE", f"/{gone}")
        server.stop()
        assert admin("PATCH", f"/{tenant}", {"name": "x"}, status=503)["type"] == "authority_unavailable"
        admin.daemon.restart()
        assert admin.names() == ["acme"]
        assert "tenants and keys cannot be read anew" in admin.daemon.log_text()
        assert admin("GET", f"/{tenant}")["effective"]["audit"] == "all"
        admin("POST", body={"name": "new"}, status=503)
        admin("DELETE", f"/{tenant}", status=503)
        assert admin.names() == ["acme"]
        server.start()

        def is_back():
            answer = httpx.patch(f"{admin.daemon.url}/api/v1/tenants/{tenant}", json={"name": "back"},
                                 headers={"X-Deja-Token": token_of(admin.daemon)}, timeout=60, trust_env=False)
            return answer.status_code == 200

        poll(is_back, "writes to work again")
        assert admin.names() == ["back"]
        poll(lambda: "tenants and keys are read again" in admin.daemon.log_text(), "the log to say so")
    finally:
        server.remove()


def test_who_moves_to_postgres_keeps_tenants(spawn, postgres, tmp_path):
    first = Admin(spawn(data=tmp_path / "moves"))
    tenant = first.add("acme", config={"audit": "all"})
    first.daemon.stop()
    env = {"DEJA_L3__POSTGRES__URL": postgres.create_database(f"t{uuid.uuid4().hex[:12]}")}
    moved = Admin(spawn(data=tmp_path / "moves", env=env))
    poll(lambda: moved.names() == ["acme"], "the tenant to move in")
    other = Admin(spawn(env=env))
    assert other("GET", f"/{tenant}")["config"] == {"audit": "all"}
