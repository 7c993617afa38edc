"""Pages of configured origins may call from a browser, pages of others may not."""
import pytest
from conftest import ask, make_http

PAGE = "https://app.example"


@pytest.fixture
def page(spawn, word):
    daemon = spawn(config=f"server:\n  allowed_origins: [\"{PAGE}\"]\n")
    with make_http(daemon, f"sk-{word}") as client:
        client.headers["Origin"] = PAGE
        yield client


def allowed(answer):
    return answer.headers.get_list("access-control-allow-origin")


def preflight(client, path, method="PUT", **headers):
    return client.options(path, headers={"Access-Control-Request-Method": method, **headers})


@pytest.mark.parametrize("path", ["/api/v1/entries", "/v1/chat/completions", "/v1/models", "/gptcache/put", "/nowhere"])
def test_preflight_of_a_configured_origin_is_answered(page, upstream, path):
    before = len(upstream.requests)
    answer = preflight(page, path, **{"Access-Control-Request-Headers": "authorization, content-type, x-stainless-os"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert allowed(answer) == [PAGE]
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "x-stainless-os" in answer.headers["access-control-allow-headers"]
    assert "Origin" in answer.headers["vary"]
    assert len(upstream.requests) == before


def test_every_kind_of_answer_names_the_origin(page, word):
    for answer in (page.get("/api/v1/stats"), page.get("/nowhere"), page.put("/api/v1/entries", json={}),
                   ask(page, word), ask(page, word), ask(page, word, "plain", stream=True), page.get("/v1/models")):
        assert allowed(answer) == [PAGE], answer.url
        assert "X-Cache-Id" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example.evil.example",
                                    "https://app.example:444", "null"])
def test_foreign_origin_gets_neither_an_answer_nor_a_permission(page, origin):
    for answer in (page.get("/api/v1/stats", headers={"Origin": origin}),
                   preflight(page, "/api/v1/entries", Origin=origin)):
        assert answer.status_code == 403
        assert not allowed(answer)


def test_request_without_an_origin_gets_no_permission(page):
    del page.headers["Origin"]
    answer = page.get("/api/v1/stats")
    assert answer.status_code == 200
    assert not allowed(answer)


def test_header_names_of_a_preflight_cannot_split_the_answer(page):
    answer = preflight(page, "/api/v1/entries", **{"Access-Control-Request-Headers": "a\tb"})
    assert answer.status_code in (204, 400)
    assert "x-injected" not in answer.headers
