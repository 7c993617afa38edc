"""The @redis-ai/langcache package for Node, unchanged."""
import pytest
from conftest import ask, make_http
from langcache_kit import SMALL, crowded
from node_sdk import run_module

SCRIPT = r"""
import { LangCache } from "@redis-ai/langcache";
const { TEST_URL, TEST_WORD: word, TEST_KEY, TEST_SUSPENDED, TEST_SMALL_URL, TEST_FULL_URL,
        TEST_CROWDED_URL } = process.env;
const open = (apiKey, serverURL = TEST_URL) => new LangCache({ serverURL, cacheId: "node", apiKey });
const cache = open(TEST_KEY);
const result = { errors: {} };
const made = await cache.set({ prompt: word, response: "hello", attributes: { a: "b" }, ttlMillis: 60000 });
const found = await cache.search({ prompt: word, attributes: { a: "b" }, maxResults: 3,
                                   searchStrategies: ["exact", "semantic"], similarityThreshold: 0.9 });
result.found = found.data;
result.isSame = found.data[0].id === made.entryId;
result.missed = (await cache.search({ prompt: `${word} else`, similarityThreshold: 1 })).data;
result.others = (await open("sk-node-other").search({ prompt: word, similarityThreshold: 0 })).data;
result.removed = await cache.deleteQuery({ attributes: { a: "b" } });
const again = await cache.set({ prompt: word, response: "again" });
result.deleted = await cache.deleteById(again.entryId) ?? null;
await cache.set({ prompt: word, response: "third" });
result.flushed = await cache.flush() ?? null;
result.afterFlush = (await cache.search({ prompt: word })).data;
const attempt = async (status, work) => {
  try {
    await work();
    result.errors[status] = ["none"];
  } catch (error) {
    result.errors[status] = [error.constructor.name, error.statusCode, (error.fields ?? []).map((f) => f.field)];
  }
};
await attempt(400, () => cache.set({ prompt: "", response: "r" }));
await attempt(401, () => open("").search({ prompt: word }));
await attempt(403, () => open(TEST_SUSPENDED).search({ prompt: word }));
await attempt(404, () => cache.deleteById("0".repeat(32)));
await attempt(413, () => open(TEST_KEY, TEST_SMALL_URL).set({ prompt: word, response: "r".repeat(8000) }));
await attempt(424, () => open("sk-second", TEST_FULL_URL).search({ prompt: word }));
await attempt(429, () => open(TEST_KEY, TEST_CROWDED_URL).set({ prompt: word, response: "r".repeat(40000) }));
console.log(JSON.stringify(result));
"""


@pytest.fixture
def result(daemon, spawn, key, word):
    suspended = f"{key}-suspended"
    small, full, busy = (spawn(args=args) for args in (["--set", "server.max_body_bytes=4kb"],
                                                       ["--set", "tenant.max_derived=1"], SMALL))
    with make_http(daemon, suspended) as client:
        client.post("/v1/caches/node/entries", json={"prompt": word, "response": "r"})
        ask(client, word, "error-401")
    with make_http(full, "sk-first") as client:
        client.post("/v1/caches/node/entries", json={"prompt": word, "response": "r"})
    env = {"TEST_URL": daemon.url, "TEST_KEY": key, "TEST_WORD": word,
           "TEST_SUSPENDED": suspended, "TEST_SMALL_URL": small.url,
           "TEST_FULL_URL": full.url, "TEST_CROWDED_URL": busy.url}
    with crowded(busy):
        return run_module(SCRIPT, env)


def test_node_sets_searches_and_removes_and_raises_its_own_classes(result, word):
    assert result["isSame"]
    [found] = result["found"]
    assert (found["prompt"], found["response"], found["attributes"]) == (word, "hello", {"a": "b"})
    assert (found["similarity"], found["searchStrategy"]) == (1, "exact")
    assert result["missed"] == result["others"] == result["afterFlush"] == []
    assert result["removed"] == {"deletedEntriesCount": 1}
    assert result["deleted"] is None and result["flushed"] is None
    assert result["errors"] == {
        "400": ["BadRequestErrorResponseContent", 400, ["prompt"]],
        "401": ["AuthenticationErrorResponseContent", 401, []],
        "403": ["ForbiddenErrorResponseContent", 403, []],
        "404": ["NotFoundErrorResponseContent", 404, []],
        "413": ["PayloadTooLargeErrorResponseContent", 413, []],
        "429": ["TooManyRequestsErrorResponseContent", 429, []],
        "424": ["ResourceUnavailableErrorResponseContent", 424, []],
    }
