"""The legacy /v1/completions: cached by the rules of chat."""
import pytest
from conftest import make_http, status_of, wait_for_semantic_of
from daemon import chunks_of_stream

PATH = "/v1/completions"


def body_of(prompt, model="text", **more):
    return {"model": model, "prompt": prompt, **more}


def ask(client, prompt, model="text", headers=None, **more):
    return client.post(PATH, json=body_of(prompt, model, **more), headers=headers)


def text_of(stream):
    return "".join(choice["text"] for chunk in chunks_of_stream(stream.text) for choice in chunk["choices"])


def test_sdk_creates_and_streams_from_one_call(sdk, upstream, word):
    model = f"text:{word}"
    first, second = (sdk.completions.create(model=model, prompt=word) for _ in range(2))
    assert second == first
    parts = list(sdk.completions.create(model=model, prompt=word, stream=True))
    assert "".join(choice.text for part in parts for choice in part.choices) == first.choices[0].text
    assert parts[-1].choices[0].finish_reason == "stop" and not [p for p in parts if p.usage]
    parts = list(sdk.completions.create(model=model, prompt=word, stream=True, stream_options={"include_usage": True}))
    assert parts[-1].usage == first.usage
    assert len(upstream.calls(model, PATH)) == 1


def test_stream_fills_the_entry_of_a_whole_answer(http, upstream, word):
    model = f"text:{word}"
    first = ask(http, word, model, stream=True, logprobs=2)
    assert not [c for c in chunks_of_stream(first.text) if c.get("usage")]  # asked for, but not by the client
    whole = ask(http, word, model, logprobs=2)
    assert status_of(whole) == "HIT"
    body = whole.json()
    assert body["object"] == "text_completion" and body["usage"]["total_tokens"] == 12
    assert body["choices"][0]["text"] == text_of(first) and body["choices"][0]["logprobs"]["token_logprobs"]
    assert text_of(ask(http, word, model, stream=True, logprobs=2)) == text_of(first)
    assert len(upstream.calls(model, PATH)) == 1


@pytest.mark.parametrize("prompt", [["a", "b"], [[1, 2], [3]], [1, 2, 3]], ids=str)
def test_lists_of_prompts_are_kept_as_a_whole(http, word, prompt):
    first, second = (ask(http, prompt, f"text:{word}") for _ in range(2))
    assert [status_of(first), status_of(second)] == ["MISS", "HIT"] and second.json() == first.json()
    assert status_of(ask(http, prompt + prompt[:1], f"text:{word}")) == "MISS"


def test_several_answers_are_not_kept(http, word):
    assert [status_of(ask(http, word, n=2)) for _ in range(2)] == ["MISS", "MISS"]
    assert "several-choices" in ask(http, ["a", "b"], f"text:{word}", n=2).headers["cache-status"]


@pytest.mark.parametrize("extra", [{"echo": True}, {"best_of": 2}, {"logprobs": 1}, {"suffix": "."}, {"max_tokens": 5}], ids=str)
def test_parameters_are_in_the_key(http, word, extra):
    ask(http, word)
    assert [status_of(ask(http, word, **extra)) for _ in range(2)] == ["MISS", "HIT"]


def test_one_prompt_may_be_reworded_and_a_list_may_not(spawn, key, models):
    if models is None:
        pytest.skip("the model could not be pulled")
    own = spawn(with_model=True)
    with make_http(own, key) as client:
        ask(client, "What is the capital of France?")
        wait_for_semantic_of(client, PATH, body_of("What's the capital city of France?"))
        ask(client, ["What is the capital of Spain?"])
        assert status_of(ask(client, ["What's the capital city of Spain?"])) == "MISS"
        ask(client, "What is the capital of Italy?", echo=True)
        assert status_of(ask(client, "What's the capital city of Italy?", echo=True)) == "MISS"


@pytest.mark.parametrize("kind", ["cut@0", "cut@2", "noend", "badjson", "max"])
def test_half_a_stream_keeps_nothing(http, word, kind):
    try:
        ask(http, word, f"{kind}:{word}", stream=True)
    except Exception:  # the connection breaks
        pass
    assert ask(http, word, f"{kind}:{word}", headers={"Cache-Control": "only-if-cached"}).status_code == 504


def test_without_a_prompt_nothing_is_cached(http, word):
    answer = http.post(PATH, json={"model": f"error-400:{word}"})
    assert answer.status_code == 400 and status_of(answer) == "BYPASS" and "no-prompt" in answer.headers["cache-status"]
