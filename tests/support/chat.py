"""Joins the chunks of a chat stream into the complete answer, as a careful client would.

Written apart from Deja's own assembler on purpose: the two are compared.
"""
import copy


def merge_tool_calls(into, calls):
    for call in calls:
        while len(into) <= call["index"]:
            into.append({})
        target = into[call["index"]]
        for key, value in call.items():
            if key == "function":
                function = target.setdefault("function", {})
                for name, text in value.items():
                    function[name] = function.get(name, "") + text if name == "arguments" else text
            elif key != "index":
                target[key] = value


def merge_delta(message, delta):
    for key, value in delta.items():
        if key == "tool_calls":
            merge_tool_calls(message.setdefault("tool_calls", []), value)
        elif key in ("content", "reasoning_content", "refusal") and isinstance(value, str):
            message[key] = (message.get(key) or "") + value
        elif value is not None or key not in message:
            message[key] = copy.deepcopy(value)


def merge_logprobs(choice, logprobs):
    if logprobs is None:
        return
    if choice.get("logprobs") is None:
        choice["logprobs"] = copy.deepcopy(logprobs)
        return
    for key, value in logprobs.items():
        if isinstance(value, list):
            choice["logprobs"][key] = (choice["logprobs"].get(key) or []) + value


def join(chunks):
    answer, choices = {}, {}
    for chunk in chunks:
        for key, value in chunk.items():
            if key in ("choices", "object") or (key == "usage" and value is None):
                continue
            answer[key] = value
        for part in chunk["choices"]:
            choice = choices.setdefault(part["index"], {"index": part["index"], "message": {},
                                                        "logprobs": None, "finish_reason": None})
            merge_delta(choice["message"], part["delta"])
            merge_logprobs(choice, part.get("logprobs"))
            if part.get("finish_reason"):
                choice["finish_reason"] = part["finish_reason"]
    answer["object"] = "chat.completion"
    answer["choices"] = [choices[index] for index in sorted(choices)]
    return answer


def without_empty(item):
    """The same value without null members: null and absent mean the same in an answer."""
    if isinstance(item, dict):
        return {k: without_empty(v) for k, v in item.items() if v is not None}
    if isinstance(item, list):
        return [without_empty(v) for v in item]
    return item
