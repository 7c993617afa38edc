"""The S3 tier against a real S3 server, with botocore as a second reader of what it writes."""
import json
import os
import re
import subprocess
import uuid
from urllib.parse import parse_qsl

import boto3
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import pytest
from daemon import BINARY, clean_environment, poll
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Relay, S3Server

DRIVER = BINARY.parent / "tests" / "store_s3"
API = 3  # enum dj_entry_kind
MB = 1024 * 1024


class Store:
    """The tier in a process of its own (tests/support/store_s3.c)."""

    def __init__(self, url, env=None, **options):
        given = {"endpoint": url, "bucket": BUCKET, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY,
                 "prefix": f"t{uuid.uuid4().hex}/", **options}
        self.prefix = given["prefix"]
        self.process = subprocess.Popen(
            [str(DRIVER), *(f"{name}={value}" for name, value in given.items() if value is not None)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=clean_environment(env))

    def ask(self, *words):
        self.send(*words)
        return self.answer()

    def send(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self):
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return json.loads(line)

    def put(self, tenant, key, version, size=100, ttl_ms=0, kind=API):
        got = self.ask("put", tenant, key, version, kind, size, ttl_ms)
        assert got["status"] == "ok", got
        return got

    def version(self, tenant, key):
        got = self.ask("get", tenant, key)
        assert got["status"] == "ok", got
        assert not got["found"] or got["is_right"], got
        return got.get("version")

    def name(self, tenant, key):
        return f"{self.prefix}{tenant.to_bytes(16, 'little').hex()}/{key.to_bytes(16, 'big').hex()}"

    def peak_mb(self):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    def close(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(60)
        errors = self.process.stderr.read()
        assert self.process.returncode == 0 and not errors, errors


@pytest.fixture
def opened(s3):
    made = []

    def make(url=s3.url, **options):
        made.append(Store(url, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def relay(s3):
    made = Relay(s3.port)
    yield made
    made.close()


@pytest.fixture(scope="module")
def aws(s3):
    return boto3.client("s3", endpoint_url=s3.url, region_name=s3.region,
                        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                        config=botocore.config.Config(s3={"addressing_style": "path"}))


def test_entry_comes_back_as_it_went(opened):
    store = opened()
    assert store.ask("probe")["status"] == "ok"
    assert store.version(1, 1) is None
    for key, size in enumerate((0, 1, 100, 64 * 1024, 70000, MB), 1):
        store.put(1, key, 5, size)
        got = store.ask("get", 1, key)
        assert got["is_right"] and got["bytes"] == size and got["version"] == 5
    assert store.version(2, 1) is None, "a tenant never sees another tenant's answer"
    stats = store.ask("stats")
    assert stats["record_bytes"] > MB and stats["dropped"] == 0 and stats["queued"] == 0


def test_only_newer_versions_overwrite(opened):
    store = opened()
    store.put(1, 1, 5)
    store.put(1, 1, 4)
    assert store.version(1, 1) == 5
    store.put(1, 1, 6)
    assert store.version(1, 1) == 6
    for key in range(2, 12):
        assert store.ask("race", 1, key, 40)["status"] == "ok"
        assert store.version(1, key) == 40


def test_newest_of_many_writers_wins(opened):
    """Rounds of look and write are bounded, so late ones may be told busy; what is kept is newest."""
    stores = [opened(prefix="race/") for _ in range(3)]
    for store in stores:
        store.send("race", 3, 7, 20)
    answers = [store.answer() for store in stores]
    assert {answer["status"] for answer in answers} <= {"ok", "busy"}
    stores[0].put(3, 7, 21)
    assert stores[1].version(3, 7) == 21


def test_removal_wins_over_older_puts(opened, aws):
    store = opened(tombstone_ttl_ms=1500)
    store.put(1, 1, 5)
    assert store.ask("remove", 1, 1, 4)["removed"] == 0
    assert store.version(1, 1) == 5
    assert store.ask("remove", 1, 1, 7)["removed"] == 1
    assert store.version(1, 1) is None
    store.put(1, 1, 6)
    assert store.version(1, 1) is None, "the put was older than the removal"
    head = aws.head_object(Bucket=BUCKET, Key=store.name(1, 1))
    assert head["Metadata"]["deja-version"] == "7" and head["Metadata"]["deja-deleted"] == "1"
    assert head["ContentLength"] == 0
    store.put(1, 1, 8)
    assert store.version(1, 1) == 8
    assert store.ask("remove", 1, 1, "any")["removed"] == 1
    store.put(1, 1, 8)
    assert store.version(1, 1) is None, "any: what was found, and all that is as old"
    assert store.ask("remove", 1, 99, 3)["removed"] == 0
    store.put(1, 99, 2)
    assert store.version(1, 99) is None, "removed before it was first put"

    def is_forgotten():
        store.put(1, 99, 2)
        return store.version(1, 99) == 2

    poll(is_forgotten, "the tombstone to expire")


def test_expired_entries_are_misses_and_go(opened, aws):
    store = opened(ttl_ms=1200)
    store.put(1, 1, 1)
    store.put(1, 2, 1, ttl_ms=100)
    poll(lambda: store.version(1, 2) is None, "its own end")
    poll(lambda: store.version(1, 1) is None, "the tier's end")

    def names():
        return aws.list_objects_v2(Bucket=BUCKET, Prefix=store.prefix).get("Contents", [])

    poll(lambda: not names(), "the sweep of what was read and found expired")
    assert store.ask("stats")["expired"] >= 2


def test_another_client_reads_what_was_written(opened, aws):
    store = opened(tags=1)
    store.put(1, 1, 9, size=1000)
    store.put(1, 2, 9, size=9 * MB)
    for key, size in ((1, 1000), (2, 9 * MB)):
        found = aws.get_object(Bucket=BUCKET, Key=store.name(1, key))
        body = found["Body"].read()
        assert body[:4] == b"DJE1" and len(body) > size * 0.99
        assert found["Metadata"]["deja-version"] == "9" and found["Metadata"]["deja-kind"] == "api"
        assert found["ContentType"] == "application/octet-stream"
        tags = aws.get_object_tagging(Bucket=BUCKET, Key=store.name(1, key))["TagSet"]
        assert tags == [{"Key": "deja-kind", "Value": "api"}]
    # And the other way round: moved by another client, it is still an answer.
    body = aws.get_object(Bucket=BUCKET, Key=store.name(1, 1))["Body"].read()
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 1), Body=body, Metadata={"deja-version": "9"})
    assert store.version(1, 1) == 9


def test_foreign_and_damaged_objects_are_misses(opened, aws):
    store = opened()
    store.put(1, 1, 9, size=1000)
    body = aws.get_object(Bucket=BUCKET, Key=store.name(1, 1))["Body"].read()
    damaged = body[:200] + bytes([body[200] ^ 1]) + body[201:]
    meta = {"deja-version": "9"}
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 2), Body=body, Metadata=meta)
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 3), Body=damaged, Metadata=meta)
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 4), Body=b"hello", Metadata=meta)
    aws.put_object(Bucket=BUCKET, Key=store.name(2, 1), Body=body, Metadata=meta)
    for tenant, key in ((1, 2), (1, 3), (1, 4), (2, 1)):
        assert store.version(tenant, key) is None
    assert store.ask("stats")["corrupt"] == 4
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 5), Body=b"not ours at all")
    assert store.ask("get", 1, 5)["status"] == "corrupt"
    assert store.version(1, 1) == 9


def test_large_values_go_in_parts_and_come_back(opened, aws):
    store = opened()
    store.put(1, 1, 1, size=20 * MB)
    assert store.ask("get", 1, 1)["bytes"] == 20 * MB
    assert aws.head_object(Bucket=BUCKET, Key=store.name(1, 1))["ETag"].strip('"').endswith("-3")
    store.put(1, 1, 2, size=9 * MB)
    assert store.version(1, 1) == 2
    store.put(1, 1, 1, size=9 * MB)
    assert store.version(1, 1) == 2
    store.put(1, 2, 1, size=63 * MB)
    got = store.ask("get", 1, 2)
    assert got["bytes"] == 63 * MB and got["is_right"]
    assert not aws.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_too_large_values_are_refused_in_bounded_memory(opened, aws):
    store = opened()
    assert store.ask("put", 1, 1, 1, API, 64 * MB, 0)["status"] in ("limit_reached", "busy")
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 2), Body=bytes(300 * MB),
                   Metadata={"deja-version": "1"})
    before = store.peak_mb()
    assert store.version(1, 2) is None
    assert store.peak_mb() < before + 80
    assert store.ask("stats")["corrupt"] == 1
    tight = opened(bytes_max=MB, prefix=store.prefix)
    assert tight.ask("put", 1, 3, 1, API, 2 * MB, 0)["status"] == "busy"
    store.put(1, 4, 1, size=3 * MB)
    assert tight.ask("get", 1, 4)["status"] == "busy"
    tight.put(1, 5, 1)
    assert tight.version(1, 5) == 1, "nothing stays reserved"


@pytest.mark.parametrize("mark", ["partNumber=2", "POST /answers/", "content-type: application/xml"])
def test_failed_upload_leaves_nothing(opened, relay, aws, mark):
    """A part, the beginning, the end."""
    store = opened(url=relay.url)
    relay.refuse(mark, 500, "InternalError")
    assert store.ask("put", 1, 1, 1, API, 20 * MB, 0)["status"] == "io_failed"
    assert "by the relay" in store.ask("stats")["fault"] or mark != "POST /answers/"
    assert not aws.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
    assert store.version(1, 1) is None
    store.put(1, 1, 1, size=20 * MB)
    assert store.version(1, 1) == 1


def test_overtaken_write_looks_again(opened, relay):
    store = opened(url=relay.url)
    relay.refuse("if-none-match: *", 412, "PreconditionFailed")
    store.put(1, 1, 5)
    relay.refuse("if-match:", 409, "ConditionalRequestConflict", 3)
    store.put(1, 1, 6)
    assert store.version(1, 1) == 6
    relay.refuse("if-match:", 412, "PreconditionFailed", 1000)
    assert store.ask("put", 1, 1, 7, API, 10, 0)["status"] == "busy", "rounds are bounded"
    assert store.version(1, 1) == 6


def test_service_without_conditions_is_written_all_the_same(opened, relay):
    store = opened(url=relay.url)
    relay.refuse("if-none-match", 501, "NotImplemented", 1000)
    relay.refuse("if-match", 501, "NotImplemented", 1000)
    store.put(1, 1, 5)
    store.put(1, 1, 4)
    assert store.version(1, 1) == 5
    store.put(1, 1, 6)
    store.put(1, 2, 6, size=9 * MB)
    assert store.version(1, 1) == 6 and store.version(1, 2) == 6
    assert store.ask("remove", 1, 1, 7)["removed"] == 1
    assert store.version(1, 1) is None


def signature_of(head, secret, region):
    """The same request signed by botocore: (ours, its)."""
    lines = head.split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    signed = re.search("SignedHeaders=([^,]*),", headers["authorization"]).group(1).split(";")
    request = botocore.awsrequest.AWSRequest(method, f"http://{headers['host']}{target}",
                                             headers={name: headers[name] for name in signed})
    request.context["timestamp"] = headers["x-amz-date"]
    url = request.url.split("?")
    request.url, request.params = url[0], dict(parse_qsl(url[1], keep_blank_values=True)) if url[1:] else {}
    keys = botocore.credentials.Credentials(ACCESS_KEY, secret, headers.get("x-amz-security-token"))
    auth = botocore.auth.S3SigV4Auth(keys, "s3", region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return headers["authorization"].rpartition("Signature=")[2], auth.signature(text, request)


def test_botocore_signs_every_request_as_we_do(opened, relay):
    relay.is_recording = True
    plain = opened(url=relay.url, encryption="AES256", storage_class="STANDARD", tags=1)
    plain.put(1, 1, 1)
    plain.put(1, 1, 2)
    plain.put(1, 2, 1, size=9 * MB)
    plain.version(1, 1)
    plain.ask("list", 1)
    plain.ask("probe")
    plain.ask("remove", 1, 1, 9)
    plain.ask("clear", 1)
    token = opened(url=relay.url, token="a/long+token==")
    token.ask("get", 1, 1)
    relay.is_recording = False
    seen = {(head.split(" ")[0], "?" in head.split(" ")[1]) for head in relay.heads}
    assert seen >= {("PUT", False), ("PUT", True), ("POST", True), ("GET", False), ("GET", True),
                    ("HEAD", False), ("DELETE", False)}
    for head in relay.heads:
        ours, theirs = signature_of(head, SECRET_KEY, "us-east-1")
        assert ours == theirs, head
    whole = "\n".join(relay.heads).lower()
    for words in ("x-amz-server-side-encryption: aes256", "x-amz-storage-class: standard",
                  "x-amz-tagging: deja-kind=api", "x-amz-security-token: a/long+token=="):
        assert words in whole
    assert len([head for head in relay.heads if "if-match" in head.lower()]) >= 2


def test_bucket_may_stand_before_the_host(tmp_path):
    server = S3Server(tmp_path, domain="localhost").start()
    store = Store(f"http://localhost:{server.port}", style=2)
    try:
        store.put(1, 1, 1)
        assert store.version(1, 1) == 1
        assert store.ask("probe")["status"] == "ok"
        assert store.ask("list", 1)["count"] == 1
        assert (server.data / BUCKET / store.name(1, 1)).exists()
    finally:
        store.close()
        server.stop()


def test_tenants_are_listed_in_pieces_and_cleared_alone(opened, aws):
    store = opened()
    assert store.ask("fill", 1, 1200)["status"] == "ok"
    assert store.ask("fill", 2, 3)["status"] == "ok"
    aws.put_object(Bucket=BUCKET, Key=store.name(1, 1)[:-32] + "notes.txt", Body=b"somebody else's")
    assert store.ask("remove", 1, 5, 9)["removed"] == 1
    listed = store.ask("list", 1)
    assert listed["count"] == 1199 and listed["pieces"] >= 19
    assert listed["id_sum"] == sum(range(1, 1201)) - 5
    cleared = store.ask("clear", 1)
    assert cleared["status"] == "ok" and cleared["removed"] == 1200
    assert store.ask("list", 1)["count"] == 0
    assert store.ask("list", 2)["count"] == 3
    left = aws.list_objects_v2(Bucket=BUCKET, Prefix=store.prefix)["Contents"]
    assert len(left) == 4, "the others' and the note"


def test_only_kinds_that_were_asked_for_go_there(opened):
    store = opened(kinds=1 << 1)
    store.put(1, 1, 1, kind=1)
    store.put(1, 2, 1, kind=API)
    assert store.version(1, 1) == 1 and store.version(1, 2) is None


@pytest.mark.parametrize("options, status, words", [
    ({"access_key": "nobody"}, "denied", "does not know the access key"),
    ({"secret_key": "wrong"}, "denied", "refuses the signature"),
    ({"bucket": "no-such-bucket"}, "cache_unavailable", "does not exist: create it or correct l3.s3.bucket"),
    ({"region": "eu-north-1"}, None, "l3.s3.region"),
    ({"clock_offset_s": 4000}, "denied", "set this machine's clock"),
])
def test_what_is_wrong_is_said_with_what_to_do(opened, options, status, words):
    store = opened(**options)
    got = store.ask("get", 1, 1)
    assert words in got["fault"], got
    assert got["status"] == status or status is None
    got = store.ask("put", 1, 1, 1, API, 100, 0)
    assert got["status"] != "ok" and got["fault"], got
    assert store.ask("probe")["status"] != "ok"
    assert store.ask("stats")["dropped"] == 1


def test_hung_server_is_a_timeout_and_recovers(opened, relay):
    store = opened(url=relay.url, timeout_ms=300)
    opened(prefix=store.prefix).put(1, 1, 1)  # within no such hurry
    relay.hold()
    got = store.ask("get", 1, 1)
    assert got["status"] == "timeout", got
    assert store.ask("put", 1, 1, 2, API, 100, 0)["status"] == "timeout"
    relay.release()
    assert store.version(1, 1) == 1
    assert store.ask("stats")["queued"] == 0


def test_answer_cut_in_the_middle_is_an_error_and_recovers(opened, relay):
    store = opened(url=relay.url)
    store.put(1, 1, 1, size=2 * MB)
    relay.cut_after = 700000
    assert store.ask("get", 1, 1)["status"] == "io_failed"
    relay.cut_after = 40
    assert store.ask("get", 1, 1)["status"] == "io_failed"
    relay.cut_after = None
    assert store.version(1, 1) == 1


@pytest.mark.parametrize("garbage, status", [
    (b"+OK\r\n", "io_failed"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "corrupt"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 900000000000\r\n\r\nhello", None),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nhello", "cache_unavailable"),
    (b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\n<a><b></a", "io_failed"),
    (b"HTTP/1.1 503 Slow\r\nContent-Length: 60\r\n\r\n<Error><Code>SlowDown</Code><Message>m</Message></Error>    ",
     "busy"),
    (b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: eu-west-3\r\nContent-Length: 0\r\n\r\n", "cache_unavailable"),
])
def test_garbage_is_no_answer(opened, relay, garbage, status):
    store = opened(url=relay.url, timeout_ms=2000)
    relay.garbage = garbage
    for words in (("get", 1, 1), ("list", 1), ("clear", 1)):
        got = store.ask(*words)
        assert got["status"] == status or (status is None and got["status"] != "ok"), (words, got)
        assert got["fault"], got
    assert store.ask("put", 1, 1, 1, API, 10, 0)["status"] != "ok"
    relay.garbage = None
    assert store.version(1, 1) in (None, 1), "the server itself has heard the put"


def test_server_that_was_killed_is_an_error_until_it_is_back(tmp_path):
    server = S3Server(tmp_path).start()
    store = Store(server.url)
    try:
        store.put(1, 1, 1)
        server.kill()
        assert store.ask("get", 1, 1)["status"] == "io_failed"
        assert "127.0.0.1" in store.ask("put", 1, 1, 2, API, 10, 0)["fault"]
        server.start()
        assert store.version(1, 1) == 1
        assert store.ask("probe")["fault"] == ""
    finally:
        server.stop()
        store.close()


def test_tls_is_verified(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key,
                    "-out", certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    server = S3Server(tmp_path, certificate=(str(certificate), str(key))).start()
    known, unknown = Store(server.url, ca_file=certificate), Store(server.url)
    try:
        known.put(1, 1, 1, size=9 * MB)
        assert known.version(1, 1) == 1
        got = unknown.ask("get", 1, 1)
        assert got["status"] == "denied" and "certificate" in got["fault"].lower()
    finally:
        known.close()
        unknown.close()
        server.stop()


def test_calls_end_when_the_client_of_their_loop_does(opened):
    store = opened()
    store.put(1, 1, 1)
    assert store.ask("leave")["status"] == "ok"
    assert store.ask("get", 1, 1)["status"] == "cancelled"
    assert store.ask("put", 1, 1, 2, API, 100, 0)["status"] == "cancelled"
    assert store.ask("list", 1)["status"] == "cancelled"


def test_credentials_file_is_read_again_when_it_changes(opened, tmp_path):
    path = tmp_path / "credentials"

    def write(secret):
        other = path.with_suffix(".new")
        other.write_text("[default]\naws_access_key_id = other\naws_secret_access_key = other\n\n"
                         f"[cold]\n# ours\naws_access_key_id = {ACCESS_KEY}\n"
                         f"aws_secret_access_key = {secret}\n")
        os.replace(other, path)

    write("of yesterday")
    store = opened(access_key=None, secret_key=None, credentials_file=path, profile="cold")
    assert store.ask("get", 1, 1)["status"] == "denied"
    write(SECRET_KEY)
    poll(lambda: store.ask("get", 1, 1)["status"] == "ok", "the file to be read again")


def test_without_credentials_nothing_opens_and_it_is_said_why(opened, tmp_path):
    for text, words in ((None, "it is not there"), ("[x]\n", "no profile [default]"),
                        ("[default]\naws_access_key_id = a\n", "lacks aws_secret_access_key")):
        path = tmp_path / "credentials"
        if text is not None:
            path.write_text(text)
        store = opened(access_key=None, secret_key=None, credentials_file=path)
        got = store.answer()
        assert got["status"] == "configuration" and words in got["fault"] and str(path) in got["fault"]


@pytest.mark.parametrize("option, value, words", [
    ("bucket", "A_B", "3 to 63 of a-z"), ("prefix", "a b/", "l3.s3.prefix expects"),
    ("endpoint", "ftp://x", "l3.s3.endpoint expects"), ("endpoint", "http://x/b", "l3.s3.bucket"),
    ("encryption", "rot13", "AES256 or aws:kms"), ("region", "a/b", "us-east-1"),
])
def test_options_that_cannot_be_used_are_refused_with_words(opened, option, value, words):
    got = opened(**{option: value}).answer()
    assert got["status"] == "configuration" and words in got["fault"], got
