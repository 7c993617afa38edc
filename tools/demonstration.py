#!/usr/bin/env python3
"""Shows on a running Deja what it does: an exact hit and a hit by meaning, with their times.

Needs no API key: it writes one answer through the cache API, under a namespace of its own that
lasts ten minutes, and asks for it again in the same and in other words. Exits 1 when the reworded
question was not found.
"""
import json
import sys
import time
import urllib.request

QUESTION = "How do I reset my password?"
ANSWER = "Open Settings, choose Security, then Reset password."
REWORDED = "How can I reset my password?"
UNRELATED = "How do I bake sourdough bread?"
NAMESPACE = "demonstration"

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, method, path, body):
    request = urllib.request.Request(
        url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
    )
    began = time.perf_counter()
    with OPENER.open(request, timeout=30) as answer:
        text = answer.read()
        timing = answer.headers.get("Server-Timing", "")
    return json.loads(text), (time.perf_counter() - began) * 1000, timing


def lookup(url, question):
    return call(url, "POST", "/api/v1/lookup", {"query": question, "namespace": NAMESPACE})


def show(label, question, result):
    answer, took, timing = result
    if answer["hit"]:
        similarity = answer.get("similarity")
        detail = f"{answer['kind']} hit"
        if answer["kind"] == "semantic" and similarity is not None:
            detail += f", similarity {similarity:.3f}"
    else:
        detail = "miss"
    print(f"  {label:<10} {question!r}")
    print(f"  {'':<10} -> {detail}, {took:.2f} ms seen from here" + (f" ({timing})" if timing else ""))


def main():
    url = sys.argv[1].rstrip("/")
    print("\nWhat Deja does, with one answer stored through its cache API:\n")
    call(url, "PUT", "/api/v1/entries",
         {"query": QUESTION, "response": ANSWER, "ttl": 600, "namespace": NAMESPACE})
    print(f"  stored     {QUESTION!r}")
    lookup(url, "Something else, so that code and memory are warm.")
    show("same", QUESTION, lookup(url, QUESTION))
    reworded = lookup(url, REWORDED)
    show("reworded", REWORDED, reworded)
    show("unrelated", UNRELATED, lookup(url, UNRELATED))
    print(f"""
Use it: point any OpenAI client here, with your own API key as before.

  export OPENAI_BASE_URL={url}/v1

Ask something twice, in different words; the second answer comes from Deja. Each answer says so in
its headers (X-Cache-Hit, X-Cache-Status, Cache-Status, Server-Timing). Or without any model:

  build/release/deja put "What is Deja?" "A semantic cache."
  build/release/deja get "What is Deja?"
  build/release/deja explain "What exactly is Deja?"
""", flush=True)
    return 0 if reworded[0]["hit"] else 1


if __name__ == "__main__":
    sys.exit(main())
