"""API keys of Deja's own: who has which is which tenant with which roles, and nothing of them goes upstream."""
import json
import threading
import uuid

import openai
import pytest
from conftest import ask, content_of, make_http, status_of
from fake_upstream import FakeUpstream

TOKEN = "0123456789abcdef0123456789abcdef"
UPSTREAM = "/api/v1/upstream-credentials/"


class Deployment:
    """A daemon whose admin token is known, and what an administrator does there."""

    def __init__(self, spawn, **kwargs):
        env = {"DEJA_SECURITY__ADMIN_TOKEN": TOKEN, **kwargs.pop("env", {})}
        self.daemon = spawn(env=env, **kwargs)
        self.admin = make_http(self.daemon, headers={"X-Deja-Token": TOKEN})

    def tenant(self, name=None):
        unlimited = {"limits": {"requests_per_s": 0}}
        answer = self.admin.post("/api/v1/tenants", json={"name": name or f"t-{uuid.uuid4().hex[:8]}",
                                                          "config": unlimited})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def make(self, tenant=None, **more):
        answer = self.admin.post("/api/v1/keys", json={**({"tenant": tenant} if tenant else {}), **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def key(self, tenant=None, **more):
        return self.make(tenant, **more)["secret"]

    def client(self, key=None, **kwargs):
        return make_http(self.daemon, key, **kwargs)

    def hold(self, tenant, value, **more):
        answer = self.admin.put(UPSTREAM + tenant, json={"value": value, **more})
        assert answer.status_code == 204, answer.text


@pytest.fixture
def deployment(spawn):
    return Deployment(spawn)


def put(client, query, response, headers=None, **more):
    answer = client.put("/api/v1/entries", json={"query": query, "response": response, **more}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def lookup(client, query, headers=None):
    answer = client.post("/api/v1/lookup", json={"query": query}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ---- a key is a tenant ----


def test_sdk_needs_only_a_key_of_dejas(deployment, upstream, word):
    tenant = deployment.tenant()
    deployment.hold(tenant, f"sk-held-{word}")
    key = deployment.key(tenant)
    sdk = openai.OpenAI(base_url=deployment.daemon.v1, api_key=key, max_retries=0)
    model = f"plain:{word}"
    for _ in range(3):
        answer = sdk.chat.completions.create(model=model, messages=[{"role": "user", "content": word}])
        assert answer.choices[0].message.content
    calls = upstream.calls(model)
    assert len(calls) == 1
    assert calls[0].header("authorization") == f"Bearer sk-held-{word}"
    assert "deja_" not in json.dumps(calls[0].headers)


@pytest.mark.parametrize("name, form", [("Authorization", "Bearer {}"), ("authorization", "bearer {}"),
                                        ("x-api-key", "{}"), ("api-key", "{}"), ("X-Deja-Key", "{}")])
def test_key_is_taken_from_each_of_its_headers(deployment, upstream, word, name, form):
    tenant = deployment.tenant()
    key = deployment.key(tenant)
    with deployment.client(headers={name: form.format(key)}) as client:
        put(client, word, "kept")
        assert lookup(client, word)["hit"]
        assert ask(client, word, f"plain:{word}").status_code == 200
    with deployment.client(key) as client:
        assert lookup(client, word)["hit"]
    call = upstream.calls(f"plain:{word}")[0]
    assert key not in json.dumps(call.headers)


def test_client_may_bring_its_own_upstream_credential(deployment, upstream, word):
    tenant = deployment.tenant()
    deployment.hold(tenant, f"sk-held-{word}")
    key = deployment.key(tenant)
    with deployment.client(f"sk-own-{word}", headers={"X-Deja-Key": key}) as client:
        assert ask(client, word, f"plain:{word}").status_code == 200
    call = upstream.calls(f"plain:{word}")[0]
    assert call.header("authorization") == f"Bearer sk-own-{word}"
    assert call.header("x-deja-key") is None


def test_held_credential_goes_in_the_header_of_its_scheme(deployment, upstream, word):
    tenant = deployment.tenant()
    deployment.hold(tenant, f"sk-ant-{word}", scheme="x-api-key")
    with deployment.client(deployment.key(tenant)) as client:
        ask(client, word, f"plain:{word}")
        shown = deployment.admin.get(UPSTREAM + tenant)
        assert shown.json()["scheme"] == "x-api-key" and f"sk-ant-{word}" not in shown.text
        call = upstream.calls(f"plain:{word}")[0]
        assert call.header("x-api-key") == f"sk-ant-{word}"
        assert call.header("authorization") is None
        assert deployment.admin.delete(UPSTREAM + tenant).status_code == 204
        assert deployment.admin.get(UPSTREAM + tenant).status_code == 404
        ask(client, word + " again", f"plain:{word}")
        assert upstream.calls(f"plain:{word}")[1].header("x-api-key") is None


def test_held_credential_goes_to_its_own_upstream_only(spawn, upstream, word):
    other = FakeUpstream().start()
    try:
        deployment = Deployment(spawn, config=f"upstream: {{anthropic: {{url: {other.url}}}}}\n")
        for scheme, is_anthropic in (("bearer", False), ("x-api-key", True)):
            tenant, model = deployment.tenant(), f"plain:{word}-{scheme}"
            deployment.hold(tenant, f"sk-{scheme}", scheme=scheme)
            with deployment.client(deployment.key(tenant)) as client:
                ask(client, word, model)
                body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": word}]}
                assert client.post("/v1/messages", json=body).status_code == 200
            assert (f"sk-{scheme}" in str(upstream.calls(model)[0].headers)) is not is_anthropic
            assert (f"sk-{scheme}" in str(other.calls(model, "/v1/messages")[0].headers)) is is_anthropic
    finally:
        other.stop()


def test_two_keys_of_one_tenant_share_and_two_tenants_do_not(deployment, word):
    one, other = deployment.tenant(), deployment.tenant()
    a, b, c = (deployment.client(deployment.key(t)) for t in (one, one, other))
    put(a, word, "kept")
    assert lookup(b, word)["hit"] is True
    assert lookup(c, word)["hit"] is False


def test_right_upstream_credential_each_time(deployment, upstream, word):
    """TRUST S20: one upstream host, pooled connections, two tenants that take turns."""
    tenants = [deployment.tenant() for _ in range(2)]
    keys = [deployment.key(t) for t in tenants]
    for i, tenant in enumerate(tenants):
        deployment.hold(tenant, f"sk-{i}-{word}")
    rounds = 150

    def work(i, lane):
        with deployment.client(keys[i], headers={"X-Deja-Cache": "bypass"}) as client:
            for n in range(rounds):
                answer = ask(client, f"{word} {i} {lane} {n}", f"plain:{word}-{i}")
                assert answer.status_code == 200, answer.text

    threads = [threading.Thread(target=work, args=(i, lane)) for i in range(2) for lane in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(2):
        calls = upstream.calls(f"plain:{word}-{i}")
        assert len(calls) == 3 * rounds
        assert {call.header("authorization") for call in calls} == {f"Bearer sk-{i}-{word}"}


def test_refusal_of_the_upstream_does_not_suspend_a_keys_tenant(deployment, word):
    tenant = deployment.tenant()
    with deployment.client(deployment.key(tenant)) as client:
        model = f"plain:{word}"
        assert ask(client, word, model).status_code == 200
        assert ask(client, word, "error-401").status_code == 401
        assert status_of(ask(client, word, model)) == "HIT"


# ---- who is let in ----


def test_strangers_are_refused_once_there_is_a_tenant(deployment, word):
    with deployment.client(f"sk-{word}") as stranger, deployment.client() as nobody:
        put(stranger, word, "kept")
        tenant = deployment.tenant()
        for client in (stranger, nobody):
            answer = client.post("/api/v1/lookup", json={"query": word})
            assert answer.status_code == 401
            assert answer.json()["type"] == "tenant_missing"
            assert answer.headers["www-authenticate"] == "Bearer"
            proxied = ask(client, word)
            assert proxied.status_code == 401
            assert proxied.json()["error"]["code"] == "tenant_missing"
        with deployment.client(deployment.key(tenant)) as client:
            assert lookup(client, word)["hit"] is False


def test_strangers_stay_tenants_where_that_was_said(spawn, word):
    deployment = Deployment(spawn, env={"DEJA_TENANT__DERIVED": "true"})
    deployment.tenant()
    with deployment.client(f"sk-{word}") as stranger:
        put(stranger, word, "kept")
        assert lookup(stranger, word)["hit"]


def test_linked_credential_is_its_tenant(deployment, word):
    tenant = deployment.tenant()
    answer = deployment.admin.post(f"/api/v1/tenants/{tenant}/links", json={"credential": f"sk-{word}"})
    assert answer.status_code == 201, answer.text
    with deployment.client(deployment.key(tenant)) as a, deployment.client(f"sk-{word}") as b:
        put(a, word, "kept")
        assert lookup(b, word)["hit"]
        assert ask(b, word, "error-401").status_code == 401  # the upstream has revoked it
        assert b.post("/api/v1/lookup", json={"query": word}).status_code == 403
        assert lookup(a, word)["hit"]


@pytest.mark.parametrize("bad", ["deja_", "deja_0123456789abcdef_" + "0" * 64, "deja_x'; DROP TABLE api_keys;--",
                                 "deja_0123456789abcdef_" + "0" * 63, "deja_%27%20OR%201=1"])
def test_wrong_keys_are_refused_and_never_forwarded(deployment, upstream, word, bad):
    deployment.tenant()
    with deployment.client(bad) as client:
        answer = ask(client, word, f"plain:{word}")
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"
        assert client.get("/api/v1/stats").status_code == 401
    assert not upstream.calls(f"plain:{word}")


def test_wrong_keys_are_refused_where_no_tenant_is_configured_too(http, word):
    answer = http.get("/api/v1/stats", headers={"Authorization": f"Bearer deja_{word}"})
    assert answer.status_code == 401


def test_suspended_tenant_is_refused_until_resumed(deployment, word):
    tenant = deployment.tenant()
    with deployment.client(deployment.key(tenant)) as client:
        put(client, word, "kept")
        assert deployment.admin.post(f"/api/v1/tenants/{tenant}/suspend").status_code == 200
        answer = client.post("/api/v1/lookup", json={"query": word})
        assert (answer.status_code, answer.json()["type"]) == (403, "tenant_suspended")
        assert ask(client, word).status_code == 403
        assert deployment.admin.post(f"/api/v1/tenants/{tenant}/resume").status_code == 200
        assert lookup(client, word)["hit"]


def test_keys_go_with_their_tenant(deployment):
    tenant = deployment.tenant()
    deployment.hold(tenant, "sk-gone")
    with deployment.client(deployment.key(tenant)) as client:
        assert client.get("/api/v1/stats").status_code == 200
        assert deployment.admin.delete(f"/api/v1/tenants/{tenant}").status_code == 200
        assert client.get("/api/v1/stats").status_code == 401
    assert deployment.admin.get("/api/v1/keys").json()["keys"] == []
    assert deployment.admin.get(UPSTREAM + tenant).status_code == 404


def test_guessing_ends_in_429(deployment):
    tenant = deployment.tenant()
    key = deployment.key(tenant)
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    with deployment.client(wrong) as client:
        answers = [client.get("/api/v1/stats") for _ in range(30)]
    assert {a.status_code for a in answers[:10]} == {401}
    assert answers[-1].status_code == 429
    assert answers[-1].json()["type"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    with deployment.client(wrong) as client:
        proxied = ask(client, "x")
        assert proxied.status_code == 429 and int(proxied.headers["retry-after"]) >= 1


def test_credential_that_is_sent_twice_is_refused(deployment, word):
    answer = deployment.daemon.raw(
        b"GET /api/v1/stats HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-a\r\n"
        b"Authorization: Bearer sk-b\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


# ---- a key's life ----


def test_secret_is_shown_once_and_stored_nowhere(deployment):
    made = deployment.make(deployment.tenant(), name="ci")
    secret = made["secret"].rsplit("_", 1)[1]
    assert secret not in deployment.admin.get("/api/v1/keys").text
    assert secret not in deployment.admin.get(f"/api/v1/keys/{made['key']['id']}").text
    deployment.daemon.stop()
    for path in deployment.daemon.data.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
            assert bytes.fromhex(secret) not in path.read_bytes(), path


def test_keys_and_held_credentials_are_there_after_a_restart(deployment, upstream, word):
    tenant = deployment.tenant()
    deployment.hold(tenant, f"sk-held-{word}")
    key = deployment.key(tenant)
    deployment.daemon.restart()
    with deployment.client(key) as client:
        assert ask(client, word, f"plain:{word}").status_code == 200
    assert upstream.calls(f"plain:{word}")[0].header("authorization") == f"Bearer sk-held-{word}"
    deployment.daemon.stop()
    for path in deployment.daemon.data.rglob("*"):
        if path.is_file():
            assert f"sk-held-{word}".encode() not in path.read_bytes(), path


def test_rotation_overlaps_and_revocation_does_not(deployment):
    made = deployment.make(deployment.tenant())
    path = f"/api/v1/keys/{made['key']['id']}"
    with deployment.client(made["secret"]) as old:
        turned = deployment.admin.post(path + "/rotate", json={"overlap": "1h"}).json()
        assert turned["key"]["overlap_until"] and turned["key"]["id"] == made["key"]["id"]
        with deployment.client(turned["secret"]) as new:
            assert old.get("/api/v1/stats").status_code == 200
            assert new.get("/api/v1/stats").status_code == 200
            third = deployment.admin.post(path + "/rotate", json={"overlap": 0}).json()["secret"]
            assert new.get("/api/v1/stats").status_code == 401
            assert "rotated" in new.get("/api/v1/stats").json()["detail"]
            with deployment.client(third) as last:
                assert last.get("/api/v1/stats").status_code == 200
                assert deployment.admin.delete(path).json()["key"]["state"] == "revoked"
                assert last.get("/api/v1/stats").status_code == 401
    assert deployment.admin.post(path + "/rotate", json={}).status_code == 409
    assert deployment.admin.get(path).json()["key"]["revoked"]


@pytest.mark.parametrize("body, field", [
    ({"roles": ["root"]}, "roles"), ({"roles": []}, "roles"), ({"roles": "read"}, "roles"),
    ({"tenant": "x"}, "tenant"), ({"tenant": str(uuid.uuid4())}, "tenant"), ({}, "tenant"),
    ({"name": "n" * 129}, "name"), ({"certificate": "zz"}, "certificate"), ({"expires_in": -1}, "expires_in"),
    ({"requests_per_s": -1}, "requests_per_s"), ({"secret": "mine"}, "secret"),
])
def test_bad_wishes_are_refused_with_their_field(deployment, body, field):
    answer = deployment.admin.post("/api/v1/keys", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["fields"][0]["field"] == field


def test_lists_are_paged_and_of_one_tenant(deployment):
    one, other = deployment.tenant(), deployment.tenant()
    ids = {deployment.make(one)["key"]["id"] for _ in range(5)}
    deployment.make(other)
    seen, after = [], None
    while True:
        page = deployment.admin.get("/api/v1/keys", params={"tenant": one, "limit": 2,
                                                            **({"after": after} if after else {})}).json()
        seen += [key["id"] for key in page["keys"]]
        after = page["next"]
        if not after:
            break
    assert seen == sorted(ids)


# ---- roles ----


def test_roles_are_what_they_say(deployment, word):
    tenant = deployment.tenant()
    reader, writer = (deployment.client(deployment.key(tenant, roles=[role])) for role in ("read", "write"))
    admin = deployment.client(deployment.key(roles=["admin"]))
    auditor = deployment.client(deployment.key(tenant, roles=["audit"]))
    put(writer, word, "kept")
    assert lookup(reader, word)["hit"]
    for client, method, path in ((reader, "DELETE", "/api/v1/entries?query=x"), (writer, "GET", "/api/v1/stats"),
                                 (auditor, "GET", "/api/v1/stats"), (reader, "GET", "/api/v1/keys"),
                                 (auditor, "GET", "/api/v1/tenants")):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["type"]) == (403, "forbidden"), (method, path)
    assert ask(reader, word).status_code == 403
    assert ask(writer, word, f"plain:{word}").status_code == 200
    assert admin.get("/api/v1/keys").status_code == 200
    assert admin.get("/api/v1/stats").status_code == 401  # of which tenant?
    assert admin.post("/admin/reload", json={}).status_code == 202


def test_administrator_acts_for_a_tenant(deployment, word):
    tenant = deployment.tenant()
    named = {"X-Deja-Tenant": tenant}
    with deployment.client(deployment.key(tenant)) as client:
        entry = put(client, word, "kept")
        for admin in (deployment.admin, deployment.client(deployment.key(roles=["admin"]))):
            assert lookup(admin, word, headers=named)["hit"]
            assert admin.get(f"/api/v1/entries/{entry}", headers=named).status_code == 200
            assert admin.get("/api/v1/stats", headers=named).status_code == 200
            assert admin.get("/api/v1/explain", params={"query": word}, headers=named).status_code == 200
            put(admin, word + " too", "by an administrator", headers=named)
        assert lookup(client, word + " too")["hit"]
        assert deployment.admin.post("/api/v1/invalidate", json={"all": True}, headers=named).status_code == 200
        assert lookup(client, word)["hit"] is False
        other = deployment.tenant()
        answer = client.get("/api/v1/stats", headers={"X-Deja-Tenant": other})
        assert (answer.status_code, answer.json()["type"]) == (403, "forbidden")
        assert client.get("/api/v1/stats", headers=named).status_code == 200
    assert deployment.admin.get("/api/v1/stats", headers={"X-Deja-Tenant": "acme"}).status_code == 400


def test_cookies_are_no_credentials(deployment):
    for cookie in (f"token={TOKEN}", f"X-Deja-Token={TOKEN}", f"Authorization=Bearer {TOKEN}"):
        with deployment.client() as client:
            answer = client.get("/api/v1/keys", headers={"Cookie": cookie})
            assert answer.status_code == 401
            assert client.post("/admin/reload", json={}, headers={"Cookie": cookie}).status_code == 401


def test_admin_token_never_goes_upstream(deployment, upstream, word):
    tenant = deployment.tenant()
    for headers in ({"Authorization": f"Bearer {TOKEN}"}, {"x-api-key": TOKEN}, {"X-Deja-Token": TOKEN}):
        with deployment.client(headers={**headers, "X-Deja-Tenant": tenant}) as client:
            ask(client, f"{word} {headers}", f"plain:{word}")
    assert len(upstream.calls(f"plain:{word}")) == 3
    for call in upstream.calls(f"plain:{word}"):
        assert TOKEN not in json.dumps(call.headers)


def test_chosen_admin_token_is_not_printed(deployment):
    assert TOKEN not in deployment.daemon.log_text()


# ---- users inside a tenant ----


def user(name):
    return {"X-Deja-User": name}


def test_users_of_a_tenant_do_not_meet(deployment, upstream, word):
    tenant = deployment.tenant()
    with deployment.client(deployment.key(tenant)) as client:
        model = f"plain:{word}"
        answers = {name: content_of(ask(client, word, model, headers=user(name))) for name in ("ann", "bob")}
        answers[""] = content_of(ask(client, word, model))
        assert len(set(answers.values())) == 3 and len(upstream.calls(model)) == 3
        assert content_of(ask(client, word, model, headers=user("ann"))) == answers["ann"]
        assert all("x-deja-user" not in {name.lower() for name, _ in call.headers} for call in upstream.calls(model))
        entry = put(client, f"where is {word}", "in ann's drawer", headers=user("ann"), tags=["t"])
        assert lookup(client, f"where is {word}", headers=user("ann"))["hit"]
        assert lookup(client, f"where is {word}", headers=user("bob"))["hit"] is False
        assert lookup(client, f"where is {word}")["hit"] is False
        assert client.get(f"/api/v1/entries/{entry}", headers=user("bob")).status_code == 404
        assert client.delete(f"/api/v1/entries/{entry}", headers=user("bob")).status_code == 404
        shown = client.get(f"/api/v1/entries/{entry}", headers=user("ann")).json()
        assert shown["tags"] == ["t"]
        assert b"user:" not in client.get("/api/v1/top", headers=user("ann")).content


def test_a_user_clears_only_its_own(deployment, word):
    tenant = deployment.tenant()
    with deployment.client(deployment.key(tenant)) as client:
        for name in ("ann", "bob"):
            put(client, word, f"of {name}", headers=user(name), tags=["t"])
        put(client, word, "of all", tags=["t"])
        answer = client.post("/api/v1/invalidate", json={"tag": "t"}, headers=user("ann"))
        assert answer.json()["removed"] == 1
        answer = client.post("/api/v1/invalidate", json={"all": True}, headers=user("bob"))
        assert answer.json()["removed"] == 1
        assert lookup(client, word, headers=user("bob"))["hit"] is False
        assert lookup(client, word)["hit"]


@pytest.mark.parametrize("name", ["", "x" * 257])
def test_a_user_has_a_name(http, name):
    assert http.get("/api/v1/stats", headers=user(name)).status_code == 400


# ---- the command ----


def test_command_makes_lists_rotates_and_revokes(deployment, word):
    cli = deployment.daemon.cli
    env = {"DEJA_TOKEN": TOKEN}
    assert cli("tenant", "add", f"acme-{word}", env=env).returncode == 0
    made = cli("key", "create", "ci", "--tenant", f"acme-{word}", "--role", "read", "--expires", "90d", env=env)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key.startswith("deja_") and key not in made.stderr
    listed = cli("key", "list", "--tenant", f"acme-{word}", env=env).stdout
    assert f"  acme-{word} " in listed and "  until 20" in listed and "  not used here " in listed
    ident = key.split("_")[1]
    assert ident in listed and "active" in listed and "read" in listed and key not in listed
    assert cli("stats", env={"DEJA_KEY": key}).returncode == 0
    assert cli("put", "a", "b", env={"DEJA_KEY": key}).returncode == 77
    turned = cli("key", "rotate", ident, "--overlap", "0", "--json", env=env)
    assert json.loads(turned.stdout)["secret"] != key
    assert cli("stats", env={"DEJA_KEY": key}).returncode == 77
    assert cli("key", "revoke", ident, env=env).returncode == 0
    assert "revoked" in cli("key", "show", ident, env=env).stdout
    assert cli("key", "list", env={}).returncode == 77


def test_command_holds_a_credential_from_stdin(deployment, upstream, word, tmp_path):
    cli = deployment.daemon.cli
    env = {"DEJA_TOKEN": TOKEN}
    tenant = deployment.tenant(f"acme-{word}")
    assert cli("key", "upstream", "set", f"acme-{word}", env=env, stdin=f"sk-{word}\n").returncode == 0
    with deployment.client(deployment.key(tenant)) as client:
        ask(client, word, f"plain:{word}")
    assert upstream.calls(f"plain:{word}")[0].header("authorization") == f"Bearer sk-{word}"
    shown = cli("key", "upstream", "show", tenant, env=env)
    assert "bearer" in shown.stdout and f"sk-{word}" not in shown.stdout
    assert cli("key", "upstream", "remove", tenant, env=env).returncode == 0
    assert cli("key", "upstream", "show", tenant, env=env).returncode == 1


def test_command_acts_for_a_tenant(deployment, word):
    cli = deployment.daemon.cli
    env = {"DEJA_TOKEN": TOKEN}
    tenant = deployment.tenant(f"acme-{word}")
    assert cli("put", word, "kept", "--tenant", f"acme-{word}", env=env).returncode == 0
    assert cli("get", word, "--tenant", tenant, env=env).stdout.strip() == "kept"
    with deployment.client(deployment.key(tenant)) as client:
        assert lookup(client, word)["hit"]
    assert cli("flush", "--yes", "--tenant", tenant, env=env).returncode == 0
    assert cli("get", word, "--tenant", tenant, env=env).returncode == 3
    assert cli("get", word, "--tenant", tenant).returncode == 77


def test_command_line_tells_every_refusal_alike(deployment, word):
    def cli(*words, key=None, token=None):
        env = {**({"DEJA_KEY": key} if key else {}), **({"DEJA_TOKEN": token} if token else {})}
        return deployment.daemon.cli(*words, env=env)

    tenant = deployment.tenant(word)
    reader = deployment.key(tenant, roles=["read"])
    for words in (("kv", "set", "n", "1"), ("kv", "incr", "n"), ("kv", "del", "n", "m"), ("put", "q", "a")):
        done = cli(*words, key=reader)
        assert done.returncode == 77 and "the role write" in done.stderr and "operations" not in done.stderr, words
    slow = deployment.key(tenant, requests_per_s=0.001, burst=1)
    assert cli("kv", "get", "n", key=slow).returncode == 3
    for words in (("kv", "get", "n"), ("kv", "ttl", "n"), ("stats",)):
        assert cli(*words, key=slow).returncode == 75, words
    unknown = cli("kv", "get", "n", key=reader[:-1] + ("0" if reader[-1] != "0" else "1"))
    assert unknown.returncode == 77 and "API key" in unknown.stderr
    for words in (("kv", "get", "n"), ("kv", "ttl", "n"), ("stats",), ("tail", "--invalidations", "--once")):
        for token in (None, TOKEN):
            done = cli(*words, token=token)
            assert done.returncode == 77 and "--key or DEJA_KEY" in done.stderr, words
            assert ("--tenant NAME" in done.stderr) is (token is not None)
    assert cli("kv", "get", "n", "--tenant", word, token=TOKEN).returncode == 3
    deployment.admin.post(f"/api/v1/tenants/{tenant}/suspend")
    suspended = cli("kv", "get", "n", key=reader)
    assert suspended.returncode == 77 and "suspended" in suspended.stderr


@pytest.mark.parametrize("words, flag", [
    (("kv", "set", "k", "1", "--ttl", "bogus"), "--ttl"), (("kv", "set", "k", "1", "--ttl", "-5"), "--ttl"),
    (("kv", "incr", "n", "--ttl", "bogus"), "--ttl"), (("kv", "set", "k", "1", "--kind", "none"), "--kind"),
    (("invalidate", "--tag", "t", "--at", "soon"), "--at"), (("invalidate", "--tag", "t", "--cron", "bogus"), "--cron"),
    (("invalidate", "--event", "none"), "--event"), (("key", "create", "k", "--expires", "soon"), "--expires"),
    (("key", "create", "k", "--role", "king"), "--role"), (("key", "create", "k"), "--tenant")])
def test_command_line_names_the_flag_that_the_server_refuses(deployment, words, flag):
    env = {"DEJA_TOKEN": TOKEN} if words[0] == "key" else {"DEJA_KEY": deployment.key(deployment.tenant())}
    done = deployment.daemon.cli(*words, env=env)
    assert done.returncode == 2 and f"{flag}: " in done.stderr, done.stderr
    assert f"see deja {words[0]} --help" in done.stderr
