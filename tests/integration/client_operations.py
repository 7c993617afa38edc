"""Which method of the clients of this repository stands for which operation of /openapi.json.

Arguments are positional, so that both clients are asked alike; names are Python's, Node has them in camelCase."""
import json
import re

from daemon import ROOT

METHODS = {
    "putEntries": [("put", "q", "r"), ("put_many", [{"query": "q", "response": 1}])],
    "deleteQuery": [("delete", "q")], "getEntry": [("get_entry", "id")], "deleteEntry": [("delete_entry", "id")],
    "lookup": [("lookup", "q"), ("lookup_many", ["q"])],
    "listSchedules": [("schedules",)], "getSchedule": [("schedule", "id")],
    "deleteSchedule": [("cancel_schedule", "id")], "followInvalidations": [("follow_invalidations",)],
    "explainQuery": [("explain", "q")], "explain": [("explain_request", {"messages": []})],
    "getStats": [("stats",)], "getKinds": [("kinds",)], "makeKey": [("kv.name", "kind")], "getPatterns": [("patterns",)],
    "getLimits": [("limits",)], "getTop": [("top", 3)],
    "kvList": [("kv.keys",)], "kvClear": [("kv.clear",), ("kv.delete_matching", "a*")],
    "kvGet": [("kv.get", "k"), ("kv.fetch", "k")], "kvHead": [("kv.exists", "k")],
    "kvPut": [("kv.set", "k", {"a": 1})], "kvPatch": [("kv.merge", "k", {"a": 2}), ("kv.expire", "k", 60)],
    "kvDelete": [("kv.delete", "k")], "kvBatch": [("kv.batch", [])], "kvStats": [("kv.stats",)],
    "kvLock": [("kv.lock", "k")], "kvUnlock": [("kv.unlock", "k", "token")],
    "getWarm": [("warm_status",)], "warm": [("warm",)], "cancelWarm": [("cancel_warm",)],
    "learnHistory": [("learn_history", [])], "evict": [("evict", 1000)],
    "exportEntries": [("export",)], "getIndex": [("index_stats",)], "optimiseIndex": [("index_optimise",)],
    "tailRequests": [("tail",)], "giveFeedback": [("feedback", "id", "right"), ("report_false_hit", "id")],
    "getLivez": [("ping",)],
}

# Python says what to invalidate by name, Node in an object.
INVALIDATE = "invalidate"

LEFT_OUT_TAGS = {
    "proxy": "the upstream's own SDKs call it", "langcache": "LangCache's own SDKs", "gptcache": "GPTCache's own client",
    "bifrost": "Bifrost's own calls", "litellm": "LiteLLM's own calls"}
LEFT_OUT = {
    "getHealthz": "for probes", "getReadyz": "for probes", "getStartupz": "for probes", "getHealth": "for operators",
    "getHealthDetailed": "for operators", "getMetrics": "for Prometheus", "getOpenapi": "for generators of clients"}

# What every reader of an answer can read.
ANSWER = {"results": [], "schedules": [], "kinds": [], "requests": [{"api": "chat"}], "next": 1, "lost": 0, "removed": 1,
          "unlocked": True, "hit": False, "keys": []}


def operations():
    """operationId: (METHOD, pattern of the path), of those that need no admin token."""
    spec = json.loads((ROOT / "src" / "api" / "openapi.json").read_text())
    found = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            if not isinstance(operation, dict) or "operationId" not in operation:
                continue
            if operation.get("security") == [{"adminToken": []}]:
                continue
            if LEFT_OUT_TAGS.keys() & set(operation["tags"]):
                continue
            found[operation["operationId"]] = (method.upper(), re.sub(r"\{[^}]*\}", "[^/]+", re.escape(path).replace(
                r"\{", "{").replace(r"\}", "}")) + "$")
    return found


def check(asked):
    """asked: operationId: [(METHOD, path)] that its methods asked for."""
    known = operations()
    missing = known.keys() - asked.keys() - LEFT_OUT.keys()
    assert not missing, f"neither a method nor left out: {sorted(missing)}"
    assert not asked.keys() & LEFT_OUT.keys() and not LEFT_OUT.keys() - known.keys()
    for name, requests in asked.items():
        method, pattern = known.get(name) or ("HEAD", r"/api/v1/kv/k$")  # HEAD is GET's
        assert requests, name
        for request in requests:
            assert request[0] == method and re.match(pattern, request[1]), f"{name}: {request}"
