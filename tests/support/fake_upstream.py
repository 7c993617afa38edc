"""An OpenAI-compatible upstream whose faults and pace a test controls.

One asyncio server on a loopback port, in a thread of its own; raw HTTP/1.1, so that a test sees the
bytes that arrived and decides the bytes that leave. What an answer looks like is chosen by the model
name (see MODELS), so tests that share the server never meet: the model is part of every cache key.
"""
import asyncio
import base64
import copy
import hashlib
import json
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field

import fake_families

DIM = 8  # of the embeddings served here
ERRORS = {
    400: ("invalid_request_error", "bad_thing"),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", "forbidden"),
    404: ("invalid_request_error", "model_not_found"),
    409: ("conflict_error", "conflict"),
    422: ("invalid_request_error", "unprocessable"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal"),
    503: ("server_error", "overloaded"),
}


@dataclass
class Request:
    method: str
    target: str
    headers: list  # (name, value) as sent, in order
    body: bytes
    number: int = 0

    @property
    def path(self):
        return self.target.partition("?")[0]

    def header(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None

    def json(self):
        return json.loads(self.body)

    def model(self):
        """None where the body is not of a form that has one: some tests send anything."""
        try:
            body = self.json()
        except (ValueError, RecursionError):
            return None
        return body.get("model") if isinstance(body, dict) else None


@dataclass
class Flow:
    """One held answer: the model "step:NAME" streams what the test sends, when it sends it."""

    name: str
    loop: asyncio.AbstractEventLoop
    started: threading.Event = field(default_factory=threading.Event)
    closed: threading.Event = field(default_factory=threading.Event)  # the peer hung up
    queue: asyncio.Queue = None
    calls: int = 0

    def _put(self, item):
        self.loop.call_soon_threadsafe(self.queue.put_nowait, item)

    def send(self, text):
        self._put(("text", text))

    def finish(self):
        self._put(("finish", None))

    def cut(self):
        self._put(("cut", None))

    def fail(self, status):
        self._put(("fail", status))


def last_user_text(body):
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                return " ".join(part.get("text", "") for part in content)
            return content or ""
    return ""


def is_sane(path, body):
    """Of the form that path takes: what is not gets a 400, as from a real upstream."""
    if not isinstance(body, dict) or not isinstance(body.get("model", ""), str):
        return False
    if path == "/v1/embeddings":
        return "model" in body and isinstance(body.get("input"), (str, list)) and bool(body["input"])
    messages = body.get("messages", [])
    return isinstance(messages, list) and all(
        isinstance(message, dict) and isinstance(message.get("content"), (str, list, type(None))) and
        all(isinstance(part, dict) for part in message.get("content") or [] if not isinstance(part, str))
        for message in messages)


def embedding_of(item, model="m"):
    seed = hashlib.sha256(json.dumps([model, item]).encode()).digest()
    return [struct.unpack("<I", seed[4 * i : 4 * i + 4])[0] / 2**32 - 0.5 for i in range(DIM)]


def float32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def usage_of(body, text):
    prompt = sum(len(str(m.get("content", "")).split()) for m in body.get("messages", []))
    said = body.get("metadata")
    completion = int(said["answer_words"]) if isinstance(said, dict) and "answer_words" in said else \
        max(1, len(text.split()))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    }


def message_for(kind, text, index):
    message = {"role": "assistant", "content": text, "refusal": None}
    if index:
        message["content"] = f"{text} (variant {index})"
    if kind == "tools":
        message["content"] = None
        message["tool_calls"] = [
            {"id": f"call_{index}_a", "type": "function",
             "function": {"name": "get_weather", "arguments": '{"city":"Köln","days":3}'}},
            {"id": f"call_{index}_b", "type": "function",
             "function": {"name": "get_time", "arguments": '{"zone":"Europe/Berlin"}'}},
        ]
    if kind == "refusal":
        message["content"] = None
        message["refusal"] = "I can't help with that."
    if kind == "reasoning":
        message["reasoning_content"] = "First I think; 1 + 1 = 2 — then I answer."
        message["reasoning_details"] = [{"type": "summary", "text": "thought", "index": 0}]
    if kind == "vendor":
        message["x_annotations"] = {"depth": {"list": [1, 2.5, "drei", None, True]}}
    return message


def finish_for(kind):
    return {"tools": "tool_calls", "length": "length", "filter": "content_filter"}.get(kind, "stop")


def logprobs_for(text):
    return {
        "content": [
            {"token": word, "logprob": -0.25, "bytes": list(word.encode()),
             "top_logprobs": [{"token": word, "logprob": -0.25, "bytes": list(word.encode())}]}
            for word in text.split()[:3]
        ],
        "refusal": None,
    }


def completion(body, kind, number, text):
    choices = []
    for index in range(body.get("n") or 1):
        choice = {"index": index, "message": message_for(kind, text, index), "logprobs": None,
                  "finish_reason": finish_for(kind)}
        if body.get("logprobs"):
            choice["logprobs"] = logprobs_for(text)
        choices.append(choice)
    answer = {
        "id": f"chatcmpl-{number:06d}",
        "object": "chat.completion",
        "created": 1700000000 + number,
        "model": body.get("model"),
        "choices": choices,
        "usage": usage_of(body, text),
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }
    if kind == "vendor":
        answer["x_vendor"] = {"region": "eu", "scores": [0.5, 1e-07, 12345678901234567890]}
        answer["provider"] = "somebody"
    return answer


def pieces(text):
    """Small deltas that also split inside words; joined they give the text."""
    return [text[i : i + 5] for i in range(0, len(text), 5)]


def deltas(message):
    """The message as the deltas a real upstream would send."""
    yield {"role": "assistant", "content": "" if message["content"] is not None else None, "refusal": None}
    for name in ("reasoning_content", "content", "refusal"):
        for piece in pieces(message.get(name) or ""):
            yield {name: piece}
    for name in ("reasoning_details", "x_annotations"):
        if name in message:
            yield {name: message[name]}
    for index, call in enumerate(message.get("tool_calls", [])):
        yield {"tool_calls": [{"index": index, "id": call["id"], "type": "function",
                               "function": {"name": call["function"]["name"], "arguments": ""}}]}
        for piece in pieces(call["function"]["arguments"]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def chunks_of(answer, has_usage):
    """The completion as chunk objects, in the order of a real stream."""
    head = {k: v for k, v in answer.items() if k not in ("object", "choices", "usage")}
    extra = {k: head.pop(k) for k in ("x_vendor", "provider") if k in head}

    def chunk(choices, **more):
        made = {**head, "object": "chat.completion.chunk", "choices": choices, **more}
        if has_usage and "usage" not in made:
            made["usage"] = None
        return made

    for choice in answer["choices"]:
        first = True
        for delta in deltas(choice["message"]):
            probs = choice["logprobs"] if "content" in delta and delta["content"] and first else None
            first = first and probs is None
            yield chunk([{"index": choice["index"], "delta": delta, "logprobs": probs, "finish_reason": None}])
    for choice in answer["choices"]:
        yield chunk([{"index": choice["index"], "delta": {}, "logprobs": None,
                      "finish_reason": choice["finish_reason"]}], **extra)
    if has_usage:
        yield chunk([], usage=answer["usage"])


def sse(item):
    return b"data: " + json.dumps(item, ensure_ascii=False).encode() + b"\n\n"


class FakeUpstream:
    """Start with .start(), end with .stop(). All public members may be used from any thread."""

    def __init__(self):
        self.requests = []
        self.counts = Counter()  # per path
        self.lock = threading.Lock()
        self.flows = {}
        self.failing = {}  # model -> the status it answers with, or "cut"
        self.delay_s = 0.0
        self.extra_headers = []
        self.keep_alive = True
        self.refuse_stream_options = False
        self.connections = 0
        self.writers = set()

    def start(self):
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)
        return self

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 26, backlog=2048)
        )
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    def stop(self):
        def end():
            self.server.close()
            for writer in list(self.writers):
                writer.transport.abort()  # a client must see it gone, not silent
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.call_soon(self.loop.stop)

        self.loop.call_soon_threadsafe(end)
        self.thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # -- what a test asks --

    def flow(self, name):
        """The held answer of the model "step:NAME"; make it before the request."""
        flow = Flow(name, self.loop)
        made = threading.Event()

        def make():
            flow.queue = asyncio.Queue()
            made.set()

        self.loop.call_soon_threadsafe(make)
        made.wait(10)
        self.flows[name] = flow
        return flow

    def calls(self, model=None, path="/v1/chat/completions"):
        """Requests to path, of one model if named, in the order they came."""
        with self.lock:
            found = [r for r in self.requests if r.path == path]
        return [r for r in found if model is None or r.model() == model]

    # -- serving --

    async def _read_request(self, reader):
        line = await reader.readline()
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers = []
        while True:
            line = await reader.readline()
            if line in (b"\r\n", b"\n", b""):
                break
            name, _, value = line.decode("latin-1").partition(":")
            headers.append((name, value.strip()))
        lower = {name.lower(): value for name, value in headers}
        body = b""
        if "chunked" in lower.get("transfer-encoding", ""):
            while True:
                size = int((await reader.readline()).split(b";")[0], 16)
                body += await reader.readexactly(size)
                await reader.readline()
                if size == 0:
                    break
        elif "content-length" in lower:
            if lower.get("expect", "").lower() == "100-continue":
                self._writer_for_continue.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.readexactly(int(lower["content-length"]))
        return Request(method, target, headers, body)

    async def _connection(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                self._writer_for_continue = writer
                request = await self._read_request(reader)
                if request is None:
                    break
                with self.lock:
                    self.counts[request.path] += 1
                    request.number = len(self.requests) + 1
                    self.requests.append(request)
                await self._answer(request, reader, writer)
                if not self.keep_alive:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _send(self, writer, status, headers, body):
        head = [f"HTTP/1.1 {status} X"] + [f"{k}: {v}" for k, v in headers + self.extra_headers]
        if status in (204, 304):
            body = b""
        else:
            head.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
        await writer.drain()

    async def _send_json(self, writer, status, item, headers=()):
        body = json.dumps(item, ensure_ascii=False).encode()
        await self._send(writer, status, [("Content-Type", "application/json"), *headers], body)

    async def _answer(self, request, reader, writer):
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if request.path in ("/v1/chat/completions", "/v1/embeddings"):
            try:
                is_good = is_sane(request.path, request.json())
            except (ValueError, RecursionError):
                is_good = False
            if not is_good:
                return await self._error(writer, 400)
        if request.path == "/v1/chat/completions":
            await self._chat(request, reader, writer)
        elif request.path in ("/v1/messages", "/v1/responses", "/v1/completions") and request.method == "POST":
            if await fake_families.answer(self, request, writer):
                raise ConnectionError
        elif request.path == "/v1/messages/count_tokens":
            await self._send_json(writer, 200, {"input_tokens": 14}, [("request-id", f"req_{request.number}")])
        elif request.path == "/v1/embeddings":
            await self._embeddings(request, writer)
        elif request.path == "/v1/models":
            pad = "x" * int(request.header("x-models-pad") or 0)
            body = request.header("x-models") or json.dumps({"object": "list", "data": [
                {"id": "plain", "object": "model", "created": 1, "owned_by": "fake" + pad}]})
            await self._send(writer, 200, [("Content-Type", "application/json"), ("ETag", '"1"')], body.encode())
        elif request.path.startswith("/v1/status/"):
            status = int(request.path.rsplit("/", 1)[1])
            note = request.header("x-canary")
            body = request.body.decode(errors="replace")
            await self._send_json(writer, status, {"status": status, **({"note": f"{note}: {body}"} if note else {})})
        elif request.path.startswith("/v1/large/"):
            size = int(request.path.rsplit("/", 1)[1])
            await self._send(writer, 200, [("Content-Type", "application/octet-stream")], b"x" * size)
        elif request.path == "/v1/raw-stream":
            await self._raw_stream(writer)
        elif request.method == "HEAD":
            writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 1234\r\nX-From: upstream\r\n\r\n")
            await writer.drain()
        else:
            await self._echo(request, writer)

    async def _echo(self, request, writer):
        """The body as it came, byte for byte, and the request's form in headers."""
        headers = [("Content-Type", request.header("content-type") or "application/octet-stream"),
                   ("X-Echo-Method", request.method), ("X-Echo-Target", request.target),
                   ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Odd", "caf\u00e9; q=\"x\""),
                   ("Cache-Control", "no-cache")]
        await self._send(writer, 200, headers, request.body)

    async def _raw_stream(self, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        for part in (b"event: odd\n", b"data: {\"a\": 1}\n\n", b": comment\n\n", b"data: [END]\n\n"):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _embeddings(self, request, writer):
        body = request.json()
        model = body["model"]
        if model.startswith("error-"):
            return await self._error(writer, int(model[6:]))
        inputs = body["input"]
        if isinstance(inputs, str) or (inputs and isinstance(inputs[0], int)):
            inputs = [inputs]
        data = []
        for index, item in enumerate(inputs):
            values = embedding_of(item, model)
            if body.get("encoding_format") == "base64":
                values = base64.b64encode(struct.pack(f"<{DIM}f", *values)).decode()
            data.append({"object": "embedding", "index": index, "embedding": values})
        tokens = sum(len(str(item).split()) for item in inputs)
        await self._send_json(writer, 200, {
            "object": "list", "data": data, "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    async def _error(self, writer, status, note=None):
        kind, code = ERRORS[status]
        headers = [("X-Upstream-Note", "seen")]
        if status in (429, 503):
            headers += [("Retry-After", "7"), ("x-should-retry", "false")]
        await self._send_json(writer, status, {"error": {
            "message": f"the upstream says {status}" + (f" to {note}" if note else ""), "type": kind, "param": None, "code": code}}, headers)

    async def _chat(self, request, reader, writer):
        try:
            body = request.json()
        except ValueError:
            return await self._error(writer, 400)
        model = str(body.get("model", ""))
        kind = model.partition(":")[0]
        if kind.startswith("error-"):
            return await self._error(writer, int(kind[6:]), request.header("x-canary"))
        if self.failing.get(model) == "cut":
            raise ConnectionError
        if model in self.failing:
            return await self._error(writer, self.failing[model])
        if self.refuse_stream_options and "stream_options" in body:
            return await self._send_json(writer, 400, {"error": {
                "message": "Unrecognized request argument supplied: stream_options",
                "type": "invalid_request_error", "param": None, "code": None}})
        if kind == "step":
            return await self._step(model.partition(":")[2], request, reader, writer)
        if kind == "notjson":
            return await self._send(writer, 200, [("Content-Type", "application/json")], b"{oops")
        text = f"answer {request.number} to: {last_user_text(body)} \u2713"
        if kind == "long":
            text += " lorem" * int(model.partition(":")[2] or 1000)
        answer = completion(body, kind, request.number, text)
        if not body.get("stream"):
            if kind == "cut":
                raw = json.dumps(answer).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                             b"Content-Length: %d\r\n\r\n" % len(raw) + raw[: len(raw) // 2])
                await writer.drain()
                raise ConnectionError
            return await self._send_json(writer, 200, answer, [("openai-processing-ms", "12")])
        has_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        self._stream_head(writer)
        made = list(chunks_of(answer, has_usage))
        if kind == "midfail":
            made = made[:3] + [{"error": {"message": "broke", "type": "server_error", "code": None}}]
        for number, chunk in enumerate(made):
            if kind == "cut" and number == 3:
                await writer.drain()
                raise ConnectionError
            self._chunk(writer, sse(chunk))
            await writer.drain()
        if kind not in ("midfail", "nodone"):
            self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    @staticmethod
    def _stream_head(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                     b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n")

    @staticmethod
    def _chunk(writer, part):
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))

    async def _step(self, name, request, reader, writer):
        flow = self.flows[name]
        flow.calls += 1
        body = request.json()
        is_stream = bool(body.get("stream"))
        base = completion(body, "plain", request.number, "")
        head = {k: v for k, v in base.items() if k not in ("object", "choices", "usage")}
        head["object"] = "chat.completion.chunk"
        text, started = "", False
        watch = asyncio.ensure_future(reader.read(1))
        flow.started.set()
        while True:
            take = asyncio.ensure_future(flow.queue.get())
            done, _ = await asyncio.wait({take, watch}, return_when=asyncio.FIRST_COMPLETED)
            if take not in done:
                take.cancel()
                flow.closed.set()
                raise ConnectionError
            what, value = take.result()
            if what == "fail":
                watch.cancel()
                return await self._error(writer, value)
            if what == "cut":
                raise ConnectionError
            if is_stream and not started:
                self._stream_head(writer)
                started = True
                self._chunk(writer, sse({**head, "choices": [
                    {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}))
            if what == "finish":
                break
            text += value
            if is_stream:
                self._chunk(writer, sse({**head, "choices": [
                    {"index": 0, "delta": {"content": value}, "finish_reason": None}]}))
                await writer.drain()
        watch.cancel()
        try:
            await watch
        except asyncio.CancelledError:
            pass
        if not is_stream:
            answer = copy.deepcopy(base)
            answer["choices"][0]["message"]["content"] = text
            return await self._send_json(writer, 200, answer)
        self._chunk(writer, sse({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        if (body.get("stream_options") or {}).get("include_usage"):
            self._chunk(writer, sse({**head, "choices": [], "usage": usage_of(body, text)}))
        self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return None
