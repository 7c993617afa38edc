"""Answers of Anthropic's messages, OpenAI's responses and legacy completions, whole and as streams.

Written after the public API references and what the SDKs accept. What an answer looks like is chosen
by the model name up to its first colon:

    text think tools cite server unknown refusal max pause filter custom
    cut@N      the connection breaks after N events      noend     the last event is missing
    error@N    an error event after N events             badjson   an event that is cut in half
    half       a JSON body that is cut, with the length of the whole

Each stream is a list of (event name, data) and each object is what the API answers without streaming.
"""
import json

SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/=="
ENCRYPTED = "gAAAAABo5+encrypted/content=="


def pieces(text, size=7):
    return [text[i : i + size] for i in range(0, len(text), size)] or [""]


# ---- Anthropic messages ----


def question_of(body):
    content = body["messages"][-1]["content"]
    if isinstance(content, list):
        return " ".join(part.get("text", part.get("type", "")) for part in content)
    return content


def message_blocks(kind, text):
    if kind == "think":
        return [{"type": "thinking", "thinking": "First 1 + 1 = 2 \u2014 then I answer.", "signature": SIGNATURE},
                {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4a"},
                {"type": "text", "text": text}]
    if kind == "tools":
        return [{"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "get_weather",
                 "input": {"city": "K\u00f6ln", "days": 3, "nested": {"list": [1, 2.50, None, True]}}},
                {"type": "tool_use", "id": "toolu_2", "name": "get_time", "input": {}}]
    if kind == "cite":
        return [{"type": "text", "text": text, "citations": [
                    {"type": "char_location", "cited_text": "The grass is green.", "document_index": 0,
                     "document_title": "Facts", "start_char_index": 0, "end_char_index": 20},
                    {"type": "char_location", "cited_text": "The sky is blue.", "document_index": 0,
                     "document_title": None, "start_char_index": 20, "end_char_index": 36}]},
                {"type": "text", "text": " That is all."}]
    if kind == "server":
        return [{"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather"}},
                {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [
                    {"type": "web_search_result", "title": "Weather", "url": "https://w.example/", "page_age": None,
                     "encrypted_content": ENCRYPTED}]},
                {"type": "text", "text": text}]
    if kind == "unknown":
        return [{"type": "hologram", "depth": 2.5e-3, "frames": ["a", "b"]}, {"type": "text", "text": text}]
    if kind == "refusal":
        return [{"type": "text", "text": "I can't help with that."}]
    return [{"type": "text", "text": text}]


def message(body, kind, number, text):
    reason = {"tools": "tool_use", "max": "max_tokens", "refusal": "refusal", "pause": "pause_turn"}.get(kind, "end_turn")
    return {
        "id": f"msg_{number:06d}", "type": "message", "role": "assistant", "model": body["model"],
        "content": message_blocks(kind, text), "stop_reason": reason, "stop_sequence": None,
        "usage": {"input_tokens": 25, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 4,
                  "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0},
                  "output_tokens": 42, "service_tier": "standard"},
    }


def block_events(index, block):
    def delta(**what):
        return {"type": "content_block_delta", "index": index, "delta": what}

    kind, start, deltas = block["type"], dict(block), []
    if kind == "text":
        start["text"] = ""
        if "citations" in start:
            start["citations"] = []
            deltas += [delta(type="citations_delta", citation=c) for c in block["citations"]]
        deltas += [delta(type="text_delta", text=p) for p in pieces(block["text"])]
    elif kind == "thinking":
        start.update(thinking="", signature="")
        deltas += [delta(type="thinking_delta", thinking=p) for p in pieces(block["thinking"])]
        deltas += [delta(type="signature_delta", signature=block["signature"])]
    elif kind in ("tool_use", "server_tool_use"):
        start["input"] = {}
        deltas += [delta(type="input_json_delta", partial_json="")]
        if block["input"]:
            deltas += [delta(type="input_json_delta", partial_json=p) for p in pieces(json.dumps(block["input"]), 5)]
    elif kind == "hologram":
        start["frames"] = []
        deltas += [delta(type="frames_delta", frames=block["frames"], hint="new")]
    yield {"type": "content_block_start", "index": index, "content_block": start}
    yield from deltas
    yield {"type": "content_block_stop", "index": index}


def message_events(answer, kind):
    start = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(answer["content"]):
        for number, event in enumerate(block_events(index, block)):
            yield event
            if index == 0 and number == 0:
                yield {"type": "ping"}
            if kind == "unknown" and number == 1:
                yield {"type": "weather_report", "sky": {"blue": 0.75}, "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": answer["stop_reason"], "stop_sequence": None},
           "usage": {"output_tokens": answer["usage"]["output_tokens"]}}
    yield {"type": "message_stop"}


def message_error(status, text):
    kinds = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
             404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error",
             529: "overloaded_error"}
    return {"type": "error", "error": {"type": kinds[status], "message": text}, "request_id": "req_upstream"}


# ---- OpenAI responses ----


def response_items(kind, number, text):
    made = {"type": "message", "id": f"msg_{number}", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "annotations": [], "logprobs": [], "text": text}]}
    if kind == "think":
        return [{"type": "reasoning", "id": f"rs_{number}", "encrypted_content": ENCRYPTED,
                 "summary": [{"type": "summary_text", "text": "**Adding** 1 and 1."},
                             {"type": "summary_text", "text": "It is 2."}]}, made]
    if kind == "tools":
        return [{"type": "function_call", "id": f"fc_{number}", "call_id": "call_1", "name": "get_weather",
                 "arguments": '{"city": "K\u00f6ln", "days": 3}', "status": "completed"},
                {"type": "custom_tool_call", "id": f"ctc_{number}", "call_id": "call_2", "name": "grep",
                 "input": "needle in haystack", "status": "completed"}]
    if kind == "refusal":
        made["content"] = [{"type": "refusal", "refusal": "I can't help with that."}]
    if kind == "cite":
        made["content"][0]["annotations"] = [{"type": "url_citation", "start_index": 0, "end_index": 6,
                                              "url": "https://x.example/", "title": "X"}]
    if kind == "json":
        made["content"][0]["text"] = '{"name": "fair", "places": ["K\u00f6ln", "Bonn"]}'
    if kind == "server":
        return [{"type": "web_search_call", "id": f"ws_{number}", "status": "completed",
                 "action": {"type": "search", "query": "weather"}}, made]
    return [made]


def response(body, kind, number, text):
    made = {
        "id": f"resp_{number:06d}", "object": "response", "created_at": 1700000000 + number, "status": "completed",
        "completed_at": 1700000001 + number, "background": False, "error": None, "incomplete_details": None,
        "instructions": body.get("instructions"), "max_output_tokens": None, "model": body["model"],
        "output": response_items(kind, number, text), "parallel_tool_calls": True, "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None}, "store": body.get("store", True), "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}}, "tool_choice": "auto", "tools": body.get("tools", []), "top_p": 1.0,
        "truncation": "disabled", "usage": {
            "input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 11,
            "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 20},
        "user": None, "metadata": {},
    }
    if kind in ("max", "filter"):
        made["status"] = "incomplete"
        made["incomplete_details"] = {"reason": {"max": "max_output_tokens", "filter": "content_filter"}[kind]}
    if kind == "failed":
        made.update(status="failed", error={"code": "server_error", "message": "broke"}, output=[])
    return made


def part_events(item, at, place, part):
    where = {"item_id": item["id"], "output_index": at, **place}
    names = {"output_text": ("response.content_part", "response.output_text", "text"),
             "refusal": ("response.content_part", "response.refusal", "refusal"),
             "summary_text": ("response.reasoning_summary_part", "response.reasoning_summary_text", "text")}
    part_name, text_name, member = names[part["type"]]
    empty = {**part, member: ""}
    if "annotations" in part:
        empty["annotations"] = []
    more = {"logprobs": []} if part["type"] == "output_text" else {}
    yield {"type": part_name + ".added", **where, "part": empty}
    for number, piece in enumerate(pieces(part[member])):
        yield {"type": text_name + ".delta", **where, "delta": piece, **more, "obfuscation": "x" * (1 + number % 5)}
    for number, annotation in enumerate(part.get("annotations", [])):
        yield {"type": "response.output_text.annotation.added", **where, "annotation_index": number, "annotation": annotation}
    yield {"type": text_name + ".done", **where, member: part[member], **more}
    yield {"type": part_name + ".done", **where, "part": part}


def item_events(at, item):
    start = {**item, **({"status": "in_progress"} if "status" in item else {})}
    for name in ("content", "summary"):
        if name in start:
            start[name] = []
    for name in ("arguments", "input"):
        if name in start:
            start[name] = ""
    yield {"type": "response.output_item.added", "output_index": at, "item": start}
    where = {"item_id": item["id"], "output_index": at}
    for number, part in enumerate(item.get("summary", [])):
        yield from part_events(item, at, {"summary_index": number}, part)
    for number, part in enumerate(item.get("content", [])):
        yield from part_events(item, at, {"content_index": number}, part)
    for name, kind in (("arguments", "response.function_call_arguments"), ("input", "response.custom_tool_call_input")):
        if name in item:
            for piece in pieces(item[name]):
                yield {"type": kind + ".delta", **where, "delta": piece}
            yield {"type": kind + ".done", **where, name: item[name]}
    if item["type"] == "web_search_call":
        for state in ("in_progress", "searching", "completed"):
            yield {"type": f"response.web_search_call.{state}", **where}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def response_events(answer, kind):
    def events():
        early = {**answer, "status": "in_progress", "output": [], "usage": None, "completed_at": None,
                 "incomplete_details": None, "error": None}
        yield {"type": "response.created", "response": early}
        yield {"type": "response.in_progress", "response": early}
        for at, item in enumerate(answer["output"]):
            yield from item_events(at, item)
            if kind == "unknown":
                yield {"type": "response.weather.report", "sky": {"blue": 0.75}}
        yield {"type": "response." + answer["status"], "response": answer}

    for number, event in enumerate(events()):
        yield {"type": event["type"], "sequence_number": number, **event}


# ---- legacy completions ----


def text_completion(body, kind, number, text):
    prompts = body["prompt"]
    if isinstance(prompts, str) or (prompts and isinstance(prompts[0], int)):
        prompts = [prompts]
    choices = []
    for prompt in prompts:
        for _ in range(body.get("n") or 1):
            index = len(choices)
            said = f"{text} #{index}"
            if body.get("echo"):
                said = f"{prompt}{said}"
            probs = None
            if body.get("logprobs"):
                words = said.split()[:3]
                probs = {"tokens": words, "token_logprobs": [-0.25] * len(words), "top_logprobs": None,
                         "text_offset": list(range(len(words)))}
            choices.append({"text": said, "index": index, "logprobs": probs,
                            "finish_reason": "length" if kind == "max" else "stop"})
    return {"id": f"cmpl-{number:06d}", "object": "text_completion", "created": 1700000000 + number,
            "model": body["model"], "choices": choices, "system_fingerprint": "fp_fake",
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}


def text_events(answer, has_usage):
    head = {k: v for k, v in answer.items() if k not in ("choices", "usage")}
    for choice in answer["choices"]:
        for piece in pieces(choice["text"]):
            yield {**head, "choices": [{"text": piece, "index": choice["index"], "logprobs": None, "finish_reason": None}]}
        yield {**head, "choices": [{"text": "", "index": choice["index"], "logprobs": choice["logprobs"],
                                    "finish_reason": choice["finish_reason"]}]}
    if has_usage:
        yield {**head, "choices": [], "usage": answer["usage"]}


# ---- serving ----


def named(events):
    return [b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e, ensure_ascii=False).encode()) for e in events]


def spoil(kind, parts, is_messages):
    """What goes out of a stream that breaks, and whether the connection breaks with it."""
    name, _, number = kind.partition("@")
    if name == "cut":
        return parts[: int(number)], True
    if name == "noend":
        return parts[:-1], False
    if name == "badjson":
        return [*parts[:3], parts[3][: len(parts[3]) // 2] + b"\n\n", *parts[4:]], False
    if name == "error":
        event = ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}} if is_messages
                 else {"type": "error", "sequence_number": int(number), "code": "server_error", "message": "broke", "param": None})
        return [*parts[: int(number)], *named([event])], False
    return parts, False


def is_sane(path, body):
    """Of the form that path takes: what is not gets a 400, as from a real upstream."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return False
    if path == "/v1/messages":
        turns = body.get("messages")
        return isinstance(turns, list) and bool(turns) and all(
            isinstance(turn, dict) and (isinstance(turn.get("content"), str) or (
                isinstance(turn.get("content"), list) and all(isinstance(part, dict) for part in turn["content"])))
            for turn in turns)
    if path == "/v1/responses":
        return isinstance(body.get("input", ""), (str, list))
    prompt = body.get("prompt")
    return isinstance(prompt, (str, list)) and bool(prompt) and isinstance(body.get("n") or 1, int)


async def answer(server, request, writer):
    """One of these paths. True: the connection is to be broken."""
    try:
        body = request.json()
    except (ValueError, RecursionError):
        body = None
    is_messages = request.path == "/v1/messages"
    model = str(body.get("model", "")) if isinstance(body, dict) else ""
    kind = model.partition(":")[0]
    if not is_sane(request.path, body) and not kind.startswith("error-"):
        kind, body = "error-400", {}
    ids = [("request-id", f"req_{request.number}")] if is_messages else [("x-request-id", f"req_{request.number}")]
    if kind.startswith("error-"):
        status = int(kind[6:])
        made = message_error(status, f"says {status}") if is_messages else {"error": {
            "message": f"says {status}", "type": "x", "param": None, "code": "x"}}
        await server._send_json(writer, status, made, ids)
        return False
    if is_messages:
        text = f"answer {request.number} to: {question_of(body)} \u2713"
        made = message(body, kind, request.number, text)
        parts = named(message_events(made, kind)) if body.get("stream") else None
    elif request.path == "/v1/responses":
        made = response(body, kind, request.number, f"answer {request.number} \u2713 to {json.dumps(body.get('input'))}")
        parts = named(response_events(made, kind)) if body.get("stream") else None
    else:
        made = text_completion(body, kind, request.number, f" answer {request.number} \u2713")
        has_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        parts = [b"data: %s\n\n" % json.dumps(e, ensure_ascii=False).encode() for e in text_events(made, has_usage)]
        parts = [*parts, b"data: [DONE]\n\n"] if body.get("stream") else None
    if parts is None:
        if kind == "half":
            raw = json.dumps(made).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(raw)
                         + raw[: len(raw) // 2])
            await writer.drain()
            return True
        await server._send_json(writer, 200, made, ids)
        return False
    sent, breaks = spoil(kind, parts, is_messages)
    head = "".join(f"{name}: {value}\r\n" for name, value in ids)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n" + head.encode()
                 + b"Transfer-Encoding: chunked\r\n\r\n")
    for part in sent:
        server._chunk(writer, part)
        await writer.drain()
    if not breaks:
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return breaks
