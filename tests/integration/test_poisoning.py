"""What an upstream was made to say once is not said again: answers that call tools, were cut or
filtered, failed, or are no answers at all, are passed on to who asked and not kept (S4); what one user
stored is not another's (S3)."""
import json

import pytest
from conftest import ask, check_sanitizer, make_http
from crowd import answer_of
from daemon import Daemon
from recorder import Recorder

MARK = "INJECTED-send-the-secrets-to-evil.example"


def completion(message=None, finish="stop", **more):
    message = message or {"role": "assistant", "content": MARK}
    return answer_of(json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", **more,
                                 "choices": [{"index": 0, "finish_reason": finish, "message": message}],
                                 "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode())


def stream(*deltas, finish="stop", is_done=True):
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    parts = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    parts += [{**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}] if finish else []
    body = b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts)
    return answer_of(body + (b"data: [DONE]\n\n" if is_done else b""), b"text/event-stream")


def status(code, body):
    made = answer_of(json.dumps(body).encode())
    return made.replace(b"200 OK", b"%d Odd" % code, 1)


TOOLS = [{"id": "call_1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"to": MARK})}}]
TEXT = {"role": "assistant", "content": MARK}
KEPT_BY_NOBODY = {
    "tool-calls": completion({"role": "assistant", "content": None, "tool_calls": TOOLS}, "tool_calls"),
    "tool-calls-that-say-stop": completion({**TEXT, "tool_calls": TOOLS}, "stop"),
    "function-call": completion({"role": "assistant", "content": None,
                                 "function_call": {"name": "send", "arguments": MARK}}, "function_call"),
    "cut-by-length": completion(TEXT, "length"),
    "filtered": completion(TEXT, "content_filter"),
    "no-finish-reason": completion(TEXT, None),
    "unknown-finish-reason": completion(TEXT, "because"),
    "error-in-a-200": answer_of(json.dumps({"error": {"message": MARK, "type": "server_error"}}).encode()),
    "no-choices": answer_of(json.dumps({"id": "x", "object": "chat.completion", "text": MARK}).encode()),
    "empty-choices": answer_of(json.dumps({"id": "x", "object": "chat.completion", "choices": [],
                                           "note": MARK}).encode()),
    "html": answer_of(b"<html>" + MARK.encode() + b"</html>", b"text/html"),
    "html-that-says-it-is-json": answer_of(b"<html>" + MARK.encode() + b"</html>"),
    "json-that-says-it-is-html": completion().replace(b"application/json", b"text/html", 1),
    "text": answer_of(MARK.encode(), b"text/plain"),
    "status-400": status(400, {"error": {"message": MARK}}),
    "status-403": status(403, {"error": {"message": MARK}}),
    "status-429": status(429, {"error": {"message": MARK}}),
    "status-500": status(500, {"error": {"message": MARK}}),
    "status-206": completion().replace(b"200 OK", b"206 Partial Content", 1),
    "status-203": completion().replace(b"200 OK", b"203 Non-Authoritative Information", 1),
    "two-answers-in-one-json": answer_of(completion().partition(b"\r\n\r\n")[2] * 2),
    "double-members": answer_of(completion().partition(b"\r\n\r\n")[2].replace(
        b'"object"', b'"choices": [], "object"', 1)),
}
STREAMED = {
    "tool-calls-streamed": stream({"role": "assistant", "tool_calls": [{"index": 0, **TOOLS[0]}]}, finish="tool_calls"),
    "tool-calls-streamed-that-say-stop": stream(TEXT, {"tool_calls": [{"index": 0, **TOOLS[0]}]}),
    "cut-stream": stream(TEXT, finish="length"),
    "filtered-stream": stream(TEXT, finish="content_filter"),
    "stream-without-an-end": stream(TEXT, finish=None, is_done=False),
    "stream-without-a-finish": stream(TEXT, finish=None),
    "stream-with-an-error": answer_of(b'data: {"error":{"message":"' + MARK.encode() + b'"}}\n\ndata: [DONE]\n\n',
                                      b"text/event-stream"),
    "stream-for-who-wanted-none": completion(),
}


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """A daemon whose upstream says what the model is called, once; then it is clean again."""
    told = set()

    def answer(seen):
        model = json.loads(seen.body)["model"]
        if model in told:
            return completion({"role": "assistant", "content": "clean"})
        told.add(model)
        return {**KEPT_BY_NOBODY, **STREAMED}[model]

    recorder = Recorder(answer).start()
    daemon = Daemon(tmp_path_factory.mktemp("deja"), recorder.url,
                    config="circuit_breaker:\n  enabled: false\n").start()
    yield daemon
    daemon.stop()
    recorder.stop()
    check_sanitizer(daemon)


@pytest.mark.parametrize("name", [*KEPT_BY_NOBODY, *(name for name in STREAMED if "wanted-none" not in name)])
def test_odd_answer_is_given_once_and_not_kept(poisoned, key, name):
    is_stream = name in STREAMED
    with make_http(poisoned, key) as client:
        first = ask(client, "What is the weather?", name, stream=is_stream)
        assert first.headers.get("x-cache-hit") != "true"
        for _ in range(2):
            again = ask(client, "What is the weather?", name)
            assert MARK not in again.text, again.headers
        assert "clean" in again.text


def test_one_user_does_not_change_what_another_is_answered(daemon, key, word):
    with make_http(daemon, key) as client:
        def put(user, response):
            made = client.put("/api/v1/entries", json={"query": word, "response": response},
                              headers={"X-Deja-User": user})
            assert made.status_code == 201

        def get(user):
            return client.post("/api/v1/lookup", json={"query": word}, headers={"X-Deja-User": user}).json()

        put("alice", "true")
        put("mallory", MARK)
        assert (get("alice")["response"], get("mallory")["response"]) == ("true", MARK)
        assert get("bob")["hit"] is False
        found = get("alice")["id"]
        refused = client.post("/api/v1/feedback", json={"entry": found, "verdict": "wrong"},
                              headers={"X-Deja-User": "mallory"})
        assert refused.status_code == 404
        assert get("alice")["hit"] is True
