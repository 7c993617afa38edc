"""The anthropic and openai packages for Node, unchanged: messages and responses, in both modes."""
import pytest
from fake_families import ENCRYPTED, SIGNATURE
from node_sdk import run_module

SCRIPT = r"""
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
const anthropic = new Anthropic({ maxRetries: 0 });
const openai = new OpenAI({ maxRetries: 0 });
const word = process.env.TEST_WORD;
const model = `think:${word}`;
const result = { messages: {}, responses: {} };

const asked = { model, max_tokens: 2000, messages: [{ role: "user", content: word }] };
const collect = async () => {
  const events = [], stream = anthropic.messages.stream(asked);
  for await (const event of stream) events.push(event);
  return { events, final: await stream.finalMessage() };
};
const first = await collect(), second = await collect();
const whole = await anthropic.messages.create(asked).withResponse();
result.messages = {
  same: JSON.stringify(first.events) === JSON.stringify(second.events),
  types: [...new Set(second.events.map((event) => event.type))],
  signature: second.final.content[0].signature,
  text: second.final.content.at(-1).text,
  whole: whole.data.content.at(-1).text,
  status: whole.response.headers.get("x-cache-status"),
  requestId: whole.request_id,
};
const tools = [{ name: "get_weather", input_schema: { type: "object" } }];
const called = await anthropic.messages
  .stream({ ...asked, model: `tools:${word}`, tools }).finalMessage();
result.messages.input = called.content[1].input;
result.messages.errors = {};
for (const status of [400, 401, 403, 404, 429, 500, 529]) {
  try {
    await anthropic.messages.create({ ...asked, model: `error-${status}:${word}` });
  } catch (error) {
    result.messages.errors[status] = [error.constructor.name, error.status, error.requestID?.startsWith("req_")];
  }
}

const question = { model, input: word, store: false };
const told = async () => {
  const events = [], stream = openai.responses.stream(question);
  for await (const event of stream) events.push(event.type);
  return { events, final: await stream.finalResponse() };
};
const one = await told(), two = await told();
const made = await openai.responses.create(question).withResponse();
result.responses = {
  same: JSON.stringify(one.events) === JSON.stringify(two.events),
  last: two.events.at(-1),
  text: two.final.output_text,
  whole: made.data.output_text,
  encrypted: made.data.output[0].encrypted_content,
  status: made.response.headers.get("x-cache-status"),
};
const parsed = await openai.responses.parse({ ...question, model: `json:${word}`, text: { format: {
  type: "json_schema", name: "event", strict: true, schema: { type: "object" } } } });
result.responses.parsed = JSON.parse(parsed.output_text).name;
console.log(JSON.stringify(result));
"""


@pytest.fixture(scope="module")
def result(daemon):
    return run_module(SCRIPT, {
        "OPENAI_BASE_URL": daemon.v1, "OPENAI_API_KEY": "sk-node-families", "ANTHROPIC_BASE_URL": daemon.url,
        "ANTHROPIC_API_KEY": "sk-ant-node", "TEST_WORD": "families-from-node"})


def test_node_streams_a_message_twice_and_creates_it_from_one_call(result, upstream):
    messages = result["messages"]
    assert messages["same"] and messages["signature"] == SIGNATURE
    assert messages["types"] == ["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                                 "message_delta", "message_stop"]
    assert (messages["status"], messages["whole"]) == ("HIT", messages["text"]) and messages["requestId"]
    assert len(upstream.calls("think:families-from-node", "/v1/messages")) == 1


def test_node_reads_the_input_of_a_tool(result):
    assert result["messages"]["input"]["city"] == "Köln"


def test_node_raises_its_own_error_classes(result):
    assert result["messages"]["errors"] == {
        "400": ["BadRequestError", 400, True], "401": ["AuthenticationError", 401, True],
        "403": ["PermissionDeniedError", 403, True], "404": ["NotFoundError", 404, True],
        "429": ["RateLimitError", 429, True], "500": ["InternalServerError", 500, True],
        "529": ["OverloadedError", 529, True]}


def test_node_streams_a_response_twice_and_creates_it_from_one_call(result, upstream):
    responses = result["responses"]
    assert responses["same"] and responses["last"] == "response.completed"
    assert (responses["status"], responses["whole"]) == ("HIT", responses["text"])
    assert responses["encrypted"] == ENCRYPTED and responses["parsed"] == "fair"
    assert len(upstream.calls("think:families-from-node", "/v1/responses")) == 1
