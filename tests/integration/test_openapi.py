"""/openapi.json against the daemon that serves it: every operation with good, boundary and hostile
input; answers are what the document says, none is a 5xx, and the daemon lives on."""
import json
import re

import httpx
import pytest
from conftest import TIMEOUT_S, make_http
from daemon import Daemon, parse_response, raw_request
from schema_cases import Schemas

METHODS = ("get", "put", "post", "delete", "patch")
# What goes to the upstream is the upstream's business; the daemon must only stay sane.
OURS = re.compile(r"^(?!/v1/(?!caches/))")
# Rules that JSON Schema does not say here (bytes, not characters; control characters; all zero; a
# tenant that is there; the fields that a kind's pattern needs), so that a body which its schema likes may still be refused.
UNSPOKEN = {"characters", "length", "zero", "size", "exists", "key"}
UNSPOKEN_TYPES = {"query_empty", "query_too_long", "query_invalid_characters", "embedding_mismatch",
                  "optimise_in_progress", "tenant_exists", "tenant_inherited", "limit_reached", "too_many",
                  "certificate_taken", "too_many_schedules", "not_an_object", "rotation_in_progress", "transfer_in_progress",
                  "nothing_to_warm", "habits_unknown", "no_file", "no_upstream_credential", "warm_in_progress"}
# Of administration: whether what is named is there, and may be reached, is no matter of a schema.
UNSPOKEN_ADMIN = re.compile(r"^/api/v1/(tenants|keys|upstream-credentials)")
UNSPOKEN_ADMIN_RULES = {"format", "url", "value", "required"}
# When something runs, and what an event carries: only a reader of crontab lines and kinds can tell.
UNSPOKEN_LATER = re.compile(r"^/api/v1/invalidate$")
UNSPOKEN_LATER_RULES = {"format", "range", "type", "value", "exclusive"}
# Whether a line is a request only who knows the families can tell.
UNSPOKEN_WARM = re.compile(r"^/api/v1/warm$")
# Which tiers there are, and that two of them are not the same one.
UNSPOKEN_TRANSFER = re.compile(r"^/api/v1/migrate$")


# Any bytes are a value.
ANY_BYTES = {("PUT", "/api/v1/kv/{key}")}


def is_unspoken(answer):
    body = answer.json()
    rules = [field["rule"] for field in body.get("fields", [])]
    if isinstance(body.get("detail"), list):  # GPTCache's server
        rules = [item["type"] for item in body["detail"]]
    unspoken = UNSPOKEN | (UNSPOKEN_ADMIN_RULES if UNSPOKEN_ADMIN.match(answer.request.url.path) else set())
    unspoken |= UNSPOKEN_LATER_RULES if UNSPOKEN_LATER.match(answer.request.url.path) else set()
    unspoken |= {"format"} if UNSPOKEN_WARM.match(answer.request.url.path) else set()
    unspoken |= {"value"} if UNSPOKEN_TRANSFER.match(answer.request.url.path) else set()
    return body.get("type") in UNSPOKEN_TYPES or rules[:1] and rules[0] in unspoken


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, upstream, models):
    """Its own: good bodies make tenants and keys, which would part the other tests from theirs."""
    made = Daemon(tmp_path_factory.mktemp("openapi"), upstream.url, models=models,
                  env={"DEJA_TENANT__DERIVED": "true"}).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def document(daemon):
    answer = httpx.get(daemon.url + "/openapi.json", trust_env=False, timeout=TIMEOUT_S)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


@pytest.fixture(scope="module")
def schemas(document):
    return Schemas(document)


def operations(document):
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method], item.get("parameters", [])


def admin_headers(daemon):
    return {"X-Deja-Token": re.search(r"admin +token ([0-9a-f]+)", daemon.log_text()).group(1)}


def check_answer(schemas, method, path, operation, answer):
    """The status is a documented one and the body is what is said of it; never a 5xx."""
    told = f"{method} {path}: {answer.status_code} {answer.text[:400]}"
    assert answer.status_code < 500, told
    response = operation["responses"].get(str(answer.status_code), operation["responses"].get("default"))
    assert response is not None, f"undocumented status: {told}"
    response = schemas.resolve(response)
    media = answer.headers.get("content-type", "").partition(";")[0]
    content = response.get("content", {})
    if not content:
        return
    assert media in content or "*/*" in content, f"undocumented media type {media!r}: {told}"
    schema = content.get(media, content.get("*/*"))["schema"]
    if media.endswith("json") and media != "application/x-ndjson" and OURS.match(path):
        body = answer.json()
        errors = [error.message for error in schemas.validator(schema).iter_errors(body)]
        assert not errors, f"{errors[:3]}: {told}"
        assert not schemas.undescribed(schema, body), told
    elif media.startswith("text/"):
        assert schemas.validator(schema).is_valid(answer.text), told


def encode(body):
    """JSON text that keeps what Python's json would not: lone surrogates never occur, NaN does."""
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")


def target_of(schemas, path, parameters, values=None):
    for parameter in map(schemas.resolve, parameters):
        name = parameter["name"]
        value = (values or {}).get(name, schemas.sample(parameter["schema"], True))
        if parameter["in"] == "path":
            path = path.replace("{" + name + "}", httpx.QueryParams({"x": value}).__str__()[2:].replace("+", "%20"))
    return path


def test_document_is_openapi_3_1(document, schemas):
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] and document["info"]["version"]
    ids = [operation["operationId"] for _, _, operation, _ in operations(document)]
    assert len(ids) == len(set(ids))
    for schema in document["components"]["schemas"].values():
        schemas.validator(schema).check_schema(schema)
    for _, path, operation, shared in operations(document):
        named = {schemas.resolve(p)["name"] for p in [*shared, *operation.get("parameters", [])]
                 if schemas.resolve(p)["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}


def references(value):
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for member in value:
            yield from references(member)


def test_every_reference_leads_somewhere_and_every_schema_is_used(document, schemas):
    used = set(references(document))
    for reference in used:
        assert schemas.resolve({"$ref": reference}) is not None
    for kind in ("schemas", "parameters", "responses"):
        for name in document["components"].get(kind, {}):
            assert f"#/components/{kind}/{name}" in used, f"{kind}/{name} is used nowhere"


def test_every_operation_takes_every_body_its_schema_describes(daemon, document, schemas, key):
    """Good bodies succeed, bad ones are refused with 4xx; whichever, the answer is as documented."""
    tried = {"good": 0, "bad": 0}
    with make_http(daemon, key) as client:
        client.headers.update(admin_headers(daemon))
        for method, path, operation, shared in operations(document):
            if "requestBody" not in operation:
                continue
            schema = schemas.resolve(operation["requestBody"])["content"]["application/json"]["schema"]
            validator = schemas.validator(schema)
            target = target_of(schemas, path, shared)
            for body in schemas.bodies(schema):
                answer = client.request(method, target, content=encode(body),
                                        headers={"Content-Type": "application/json"})
                check_answer(schemas, method, path, operation, answer)
                if not OURS.match(path) or not schemas.resolve(schema):
                    continue
                is_good = validator.is_valid(body)
                tried["good" if is_good else "bad"] += 1
                told = f"{method} {path} {encode(body)[:500]!r}: {answer.status_code} {answer.text[:600]}"
                if is_good and answer.status_code >= 400:
                    assert is_unspoken(answer) or answer.status_code == 404, f"a good body is refused: {told}"
                elif not is_good:
                    assert answer.status_code == 207 or 400 <= answer.status_code < 500, f"a bad body is taken: {told}"
    print(tried)
    assert tried["good"] > 100 and tried["bad"] > 500
    assert daemon.is_alive()


HOSTILE = [
    b"", b"{", b"[", b"null", b"0", b'""', b"NaN", b"{\"a\":NaN}", b"-", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"query":"\xff\xfe","response":1}', b'{"query":"\xc0\xaf"}', b'{"query":"\\ud800"}', b'{"query":"\xed\xa0\x80"}',
    b'{"query":"a","query":"b","response":1}', b'{"query":Infinity}', b'{"query":"a","threshold":1e999}',
    b"[" * 10_000, b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b'{"query":"a","response":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"' + b"k" * 100_000 + b'":1}', b'{"query":"' + b"q" * 1_000_000 + b'"}',
    b"{" + b",".join(b'"m%d":1' % n for n in range(20_000)) + b"}",
    b'{"query":' + b"9" * 100_000 + b"}", b"{}" * 1000, b"<xml/>", b"a=1&b=2",
]


def test_every_operation_survives_hostile_bytes(daemon, document, schemas, key):
    with make_http(daemon, key) as client:
        client.headers.update(admin_headers(daemon))
        for method, path, operation, shared in operations(document):
            if "text/event-stream" in schemas.resolve(operation["responses"].get("200", {})).get("content", {}) \
                    and method == "GET":
                continue  # goes on for ever
            target = target_of(schemas, path, shared)
            for body in HOSTILE:
                answer = client.request(method, target, content=body, headers={"Content-Type": "application/json"})
                check_answer(schemas, method, path, operation, answer)
                if "requestBody" in operation and OURS.match(path) and path != "/admin/reload" \
                        and (method, path) not in ANY_BYTES:
                    assert 400 <= answer.status_code < 500, (method, path, body[:80], answer.text[:300])
    assert daemon.is_alive()


ODD_SEGMENTS = ["0", "a" * 3000, "%00", "%ff", "%zz", "%2e%2e", "..%2f..", "*", "%2A", "0123456789ABCDEF0123456789ABCDEF",
                "0123456789abcdef0123456789abcdeg", "%F0%9F%98%80", "%7b%7d", "a%0d%0aX-Injected:%201"]


def test_every_path_parameter_takes_odd_segments(daemon, document, schemas, key):
    headers = [("Authorization", f"Bearer {key}"), *admin_headers(daemon).items()]
    for method, path, operation, shared in operations(document):
        if "{" not in path:
            continue
        for segment in ODD_SEGMENTS:
            raw = daemon.raw(raw_request(method, re.sub(r"{\w+}", lambda _, s=segment: s, path), headers))
            status, got, _ = parse_response(raw)
            assert 200 <= status < 500, (method, path, segment, raw[:300])
            assert "x-injected" not in {name.lower() for name, _ in got}
    assert daemon.is_alive()


ODD_QUERIES = ["", "query", "query=", "query=%", "query=%zz", "query=%ff", "query=%00", "query=a&query=b", "=", "&&&",
               "query=" + "q" * 60_000, "query=a&threshold=NaN", "query=a&threshold=1e999", "query=a&threshold=-1",
               "query=a&namespace=" + "n" * 200, "k=-1", "k=0", "k=1", "k=100", "k=101", "k=99999999999999999999", "k=x",
               "query=a%0d%0aX-Injected:%201"]


def test_every_operation_takes_odd_query_strings(daemon, document, schemas, key):
    headers = [("Authorization", f"Bearer {key}"), *admin_headers(daemon).items()]
    for method, path, operation, shared in operations(document):
        target = target_of(schemas, path, shared)
        is_endless = "text/event-stream" in operation["responses"].get("200", {}).get("content", {})
        for query in ODD_QUERIES:
            if is_endless:
                query += "&wait=1ms"
            raw = daemon.raw(raw_request(method, f"{target}?{query}", headers))
            status, got, _ = parse_response(raw)
            assert 200 <= status < 500, (method, path, query, raw[:300])
            assert "x-injected" not in {name.lower() for name, _ in got}
    assert daemon.is_alive()


def test_every_query_parameter_obeys_its_schema(daemon, document, schemas, key):
    with make_http(daemon, key) as client:
        for method, path, operation, shared in operations(document):
            parameters = [schemas.resolve(p) for p in operation.get("parameters", [])]
            parameters = [p for p in parameters if p["in"] == "query"]
            samples = {p["name"]: schemas.sample(p["schema"], True) for p in parameters}
            for parameter in parameters:
                for value in [*schemas.edges(parameter["schema"]), "\u0007", ""]:
                    if value is None or isinstance(value, (dict, list)):
                        continue
                    answer = client.request(method, target_of(schemas, path, shared),
                                            params={**samples, parameter["name"]: value})
                    check_answer(schemas, method, path, operation, answer)
                    if not schemas.validator(parameter["schema"]).is_valid(value):
                        assert 400 <= answer.status_code, (path, parameter["name"], value, answer.text[:200])


def test_undocumented_methods_are_405_with_allow(daemon, document, schemas, key):
    with make_http(daemon, key) as client:
        for path, item in document["paths"].items():
            if not OURS.match(path):
                continue
            for method in {"get", "put", "post", "delete", "patch"} - set(item):
                answer = client.request(method.upper(), target_of(schemas, path, item.get("parameters", [])))
                if path.endswith("/entries/search"):
                    continue  # "search" may be an entry's id: that path has a method more
                assert answer.status_code == 405, (method, path, answer.text)
                assert {name.lower() for name in answer.headers["allow"].split(", ")} == \
                    {name for name in METHODS if name in item}
