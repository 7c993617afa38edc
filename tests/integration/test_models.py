"""GET /v1/models: the upstream's list with the daemon's own embedding model in it, through the SDK people use."""
import json
import time

import openai
import pytest
from conftest import make_http, make_sdk
from test_tenant_admin import Admin

OWN = "local/lexical"


@pytest.fixture(scope="module")
def small(tmp_path_factory, upstream):
    """Without a model: the lexical embedder."""
    from daemon import Daemon
    daemon = Daemon(tmp_path_factory.mktemp("models"), upstream.url, env={"DEJA_TENANT__DERIVED": "true"}).start()
    yield daemon
    daemon.stop()


@pytest.fixture
def client(small, key):
    with make_http(small, key) as made:
        yield made


def ids(answer):
    return [model["id"] for model in answer.json()["data"]]


def test_sdk_sees_the_upstreams_models_and_the_daemons_own(small, key):
    with make_sdk(small, key) as sdk:
        listed = list(sdk.models.list())
        assert [model.id for model in listed] == ["plain", OWN]
        assert (listed[0].created, listed[0].owned_by, listed[0].object) == (1, "fake", "model")
        own = listed[1]
        assert (own.object, own.owned_by) == ("model", "deja") and 0 < own.created <= time.time()
        assert sdk.embeddings.create(model=own.id, input="a").model == own.id
        assert list(sdk.models.list())[1] == own


def test_sdk_retrieves_the_own_model_and_no_other_here(small, upstream, key, word):
    before = len(upstream.requests)
    with make_sdk(small, key) as sdk:
        for name in (OWN, "local/default"):
            assert sdk.models.retrieve(name).id == OWN
    with make_http(small, key) as client:
        answer = client.get(f"/v1/models/{OWN}")
        assert answer.json()["id"] == OWN and "local-model" in answer.headers["cache-status"]
        assert len(upstream.requests) == before
        for path in (f"/v1/models/{word}", f"/v1/models/local/{word}", "/v1/models/local", "/v1/models/"):
            assert client.get(path).headers["x-echo-target"] == path


def test_own_model_is_told_where_the_upstream_is_away(spawn, key):
    daemon = spawn(upstream_url="http://127.0.0.1:1")
    with make_sdk(daemon, key) as sdk, make_http(daemon, key) as client:
        for _ in range(20):  # until the breaker opens, and after
            assert [model.id for model in sdk.models.list()] == [OWN]
        assert client.get("/v1/models/x").status_code in (502, 503)


def test_without_an_embedder_of_its_own_nothing_is_added(spawn, key):
    config = "semantic:\n  enabled: false\n"
    with make_sdk(spawn(config=config), key) as sdk:
        assert [model.id for model in sdk.models.list()] == ["plain"]
    with make_sdk(spawn(config=config, upstream_url="http://127.0.0.1:1"), key) as sdk:
        with pytest.raises(openai.InternalServerError):
            sdk.models.list()


@pytest.mark.parametrize("body", [
    "[]", '{"object": "error", "data": []}', '{"object":"list", "data":[ ], "has_more": true}', "<html>", '{"data": 7 }',
    json.dumps({"object": "list", "data": [{"id": OWN, "object": "model", "created": 9, "owned_by": "another"}]}),
], ids=["array", "error", "page", "html", "no list", "there already"])
def test_what_is_no_list_to_add_to_passes_byte_for_byte(client, body):
    assert client.get("/v1/models", headers={"x-models": body}).text == body


def test_lists_without_their_kind_and_with_more_in_them_are_lists(client):
    body = {"data": [{"id": "a", "price": 1.5}], "next": None}
    answer = client.get("/v1/models", headers={"x-models": json.dumps(body)}).json()
    assert (answer["data"][:1], answer["next"]) == (body["data"], None) and answer["data"][1]["id"] == OWN


@pytest.mark.parametrize("pad,count", [(2_000_000, 2), (2_200_000, 1), (20_000_000, 1)])
def test_longer_list_than_any_passes_as_it_is(client, pad, count):
    answer = client.get("/v1/models", headers={"x-models-pad": str(pad)})
    assert len(answer.json()["data"]) == count and len(answer.json()["data"][0]["owned_by"]) == pad + 4


def test_upstream_is_asked_for_no_coding_and_its_etag_is_of_its_own_list(client, upstream):
    answer = client.get("/v1/models", headers={"Accept-Encoding": "gzip"})
    assert ids(answer) == ["plain", OWN] and "etag" not in answer.headers
    assert not [r for r in upstream.requests if r.path == "/v1/models"][-1].header("accept-encoding")


def test_anthropics_list_is_another(client):
    assert ids(client.get("/v1/models", headers={"anthropic-version": "2023-06-01"})) == ["plain"]


def test_other_methods_and_refusals_pass(client):
    assert client.head("/v1/models").status_code == 200
    assert ids(client.post("/v1/models")) == ["plain"]


def test_tenant_that_may_not_use_the_model_is_not_told_of_it(small, word):
    place = Admin(small)
    made = place.add(word)
    place("POST", f"/{made}/links", {"credential": f"sk-{word}"}, status=201)
    with make_http(small, f"sk-{word}") as client:
        assert ids(client.get("/v1/models")) == ["plain", OWN]
        for config in ({"models": ["plain"]}, {"models": None, "features": {"embeddings": False}}):
            place("PATCH", f"/{made}", {"config": config})
            assert ids(client.get("/v1/models")) == ["plain"]
            path = f"/v1/models/{OWN}"
            assert client.get(path).headers["x-echo-target"] == path
