"""The openai package for Node, unchanged, against Deja."""
import json

import pytest
from node_sdk import run_module

SCRIPT = r"""
import OpenAI from "openai";
const client = new OpenAI({ maxRetries: 0 });
const model = process.env.TEST_MODEL;
const messages = [{ role: "user", content: process.env.TEST_WORD }];
const result = {};
const first = await client.chat.completions.create({ model, messages }).withResponse();
const second = await client.chat.completions.create({ model, messages }).withResponse();
result.statuses = [first, second].map((r) => r.response.headers.get("x-cache-status"));
result.same = JSON.stringify(first.data) === JSON.stringify(second.data);
result.content = second.data.choices[0].message.content;
let streamed = "", finish = null;
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  finish = chunk.choices[0]?.finish_reason ?? finish;
}
result.streamed = streamed;
result.finish = finish;
const tools = [{ type: "function", function: { name: "get_weather", parameters: {} } }];
const called = await client.chat.completions.create({ model: "tools", messages, tools });
result.tool = called.choices[0].message.tool_calls[0].function.name;
const runner = client.chat.completions.stream({ model: "tools", messages, tools });
const final = await runner.finalChatCompletion();
result.streamedTool = final.choices[0].message.tool_calls[0].function.arguments;
const vectors = await client.embeddings.create({ model: "emb", input: ["alpha", "beta"] });
result.vectors = vectors.data.map((item) => Array.from(item.embedding));
result.errors = {};
for (const status of [400, 401, 403, 404, 409, 422, 429, 500]) {
  try {
    await client.chat.completions.create({ model: `error-${status}`, messages });
  } catch (error) {
    result.errors[status] = [error.constructor.name, error.status, !!error.requestID];
  }
}
console.log(JSON.stringify(result));
"""


@pytest.fixture(scope="module")
def result(daemon):
    return run_module(SCRIPT, {"OPENAI_BASE_URL": daemon.v1, "OPENAI_API_KEY": "sk-node-test",
                               "TEST_MODEL": "plain:node", "TEST_WORD": "hello from node"})


def test_node_asks_twice_and_the_second_is_a_hit(result):
    assert result["statuses"] == ["MISS", "HIT"]
    assert result["same"]


def test_node_streams_the_same_answer(result):
    assert result["streamed"] == result["content"]
    assert result["finish"] == "stop"


def test_node_gets_tool_calls_streamed_and_not(result):
    assert result["tool"] == "get_weather"
    assert json.loads(result["streamedTool"]) == {"city": "Köln", "days": 3}


def test_node_gets_embeddings_through_its_base64_default(result):
    from fake_upstream import embedding_of

    assert result["vectors"][0] == pytest.approx(embedding_of("alpha", "emb"), rel=1e-6)
    assert result["vectors"][1] == pytest.approx(embedding_of("beta", "emb"), rel=1e-6)


def test_node_raises_its_own_error_classes(result):
    names = {status: found[0] for status, found in result["errors"].items()}
    assert names == {"400": "BadRequestError", "401": "AuthenticationError", "403": "PermissionDeniedError",
                     "404": "NotFoundError", "409": "ConflictError", "422": "UnprocessableEntityError",
                     "429": "RateLimitError", "500": "InternalServerError"}
    assert all(found[1] == int(status) and found[2] for status, found in result["errors"].items())
