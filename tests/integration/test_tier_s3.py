"""The cold tier inside the daemon: answers outlive it in a bucket, and what is wrong is said."""
import boto3
import botocore.config
import pytest
from conftest import ask, make_http, status_of
from daemon import poll, run_cli
from s3_server import ACCESS_KEY, BUCKET, SECRET_KEY, Relay

SECRET = "5a" * 32  # tenants and keys are the same in every daemon of a deployment


@pytest.fixture(scope="module")
def aws(s3):
    return boto3.client("s3", endpoint_url=s3.url, region_name=s3.region,
                        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                        config=botocore.config.Config(s3={"addressing_style": "path"}))


def config_of(s3, **more):
    lines = {"enabled": "true", "endpoint": s3.url, "bucket": BUCKET, **more}
    rows = "".join(f"    {name}: {value}\n" for name, value in lines.items())
    return f"security:\n  secret: {SECRET}\nl3:\n  s3:\n{rows}"


ENVIRONMENT = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def object_names(aws, prefix):
    return [item["Key"] for item in aws.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]


def test_another_daemon_finds_the_answer_in_the_bucket(spawn, s3, aws, key, word):
    first = spawn(config=config_of(s3, prefix="two/"), env=ENVIRONMENT)
    with make_http(first, key) as client:
        assert status_of(ask(client, word)).startswith("MISS")
    poll(lambda: object_names(aws, "two/"), "the answer to reach the bucket")
    first.stop()
    second = spawn(config=config_of(s3, prefix="two/"), env=ENVIRONMENT)
    with make_http(second, key) as client:
        answer = ask(client, word)
        assert status_of(answer).startswith("HIT"), answer.headers
        put = client.put("/api/v1/entries", json={"query": f"cold {word}", "response": "kept"}).json()
    poll(lambda: any(name.endswith(put["id"].replace("-", "")) for name in object_names(aws, "two/")),
         "the entry to reach the bucket")
    third = spawn(config=config_of(s3, prefix="two/"), env=ENVIRONMENT)
    with make_http(third, key) as client:
        found = client.post("/api/v1/lookup", json={"query": f"cold {word}"}).json()
        assert found["hit"] and found["tier"] == "s3" and found["response"] == "kept"
        again = client.post("/api/v1/lookup", json={"query": f"cold {word}"}).json()
        assert again["tier"] == "memory", "promoted by the hit"
        assert client.delete(f"/api/v1/entries/{put['id']}").status_code in (200, 204)
        poll(lambda: not client.post("/api/v1/lookup", json={"query": f"cold {word}"}).json()["hit"],
             "the removal")
    with make_http(second, "sk-somebody-else") as client:
        assert not client.post("/api/v1/lookup", json={"query": f"cold {word}"}).json()["hit"]


def s3_health(daemon):
    with make_http(daemon) as client:
        return client.get("/health/detailed").json()["components"]["s3"]


def test_health_says_where_the_bucket_is_and_what_is_wrong_with_it(spawn, s3, key, word):
    well = s3_health(spawn(config=config_of(s3), env=ENVIRONMENT))
    assert well["status"] == "healthy" and well["details"]["bucket"] == BUCKET, well
    assert well["details"]["endpoint"] == s3.url and "trouble" not in well["details"]
    ill = spawn(config=config_of(s3, bucket="no-such-bucket"), env=ENVIRONMENT)
    with make_http(ill, key) as client:
        assert status_of(ask(client, word)).startswith("MISS"), "a sick tier is a miss"
        assert status_of(ask(client, word)).startswith("HIT")
    told = poll(lambda: s3_health(ill)["details"].get("trouble"), "the trouble to be told")
    assert "create" in told and "correct l3.s3.bucket" in told
    assert s3_health(ill)["status"] != "healthy"


def test_bucket_that_hangs_holds_up_neither_answers_nor_the_end(spawn, s3, key, word):
    relay = Relay(s3.port)
    try:
        relay.hold()
        daemon = spawn(config=config_of(s3, endpoint=relay.url), env=ENVIRONMENT)
        with make_http(daemon, key) as client:
            for number in range(5):
                assert status_of(ask(client, f"{word} {number}")).startswith("MISS")
                assert status_of(ask(client, f"{word} {number}")).startswith("HIT")
            daemon.stop()  # what is under way is given up; the exit code is 0
    finally:
        relay.close()


def test_doctor_asks_for_the_bucket(tmp_path, s3):
    def doctor(**options):
        sets = [part for name, value in options.items() for part in ("--set", f"l3.s3.{name}={value}")]
        return run_cli("doctor", "--plain", "--data", tmp_path, "--upstream", s3.url, "--set",
                       "l3.s3.enabled=true", "--set", f"l3.s3.endpoint={s3.url}", *sets,
                       env=ENVIRONMENT).stdout

    assert f"bucket {BUCKET} answers at {s3.url}" in doctor(bucket=BUCKET)
    told = doctor(bucket="no-such-bucket")
    assert "create the bucket or correct l3.s3.bucket" in told and "fail  s3 bucket" in told


@pytest.mark.parametrize("options, words", [
    ({"bucket": '""'}, "l3.s3.bucket expects"), ({"bucket": "A"}, "l3.s3.bucket expects"),
    ({"prefix": '"a b"'}, "l3.s3.prefix expects"), ({"endpoint": "x"}, "l3.s3.endpoint expects"),
    ({"kms_key_id": "abc"}, "l3.s3.kms_key_id"), ({"encryption": "rot13"}, "l3.s3.encryption"),
])
def test_settings_that_cannot_be_used_are_refused_with_words(tmp_path, s3, options, words):
    path = tmp_path / "deja.yaml"
    path.write_text(config_of(s3, **options))
    ended = run_cli("config", "check", "--config", path)
    assert ended.returncode == 78 and words in ended.stdout + ended.stderr


def test_old_names_and_other_programs_names_are_understood(s3):
    shown = run_cli("config", "print", env={
        "CACHE_L3_ENABLED": "true", "CACHE_L3_BUCKET": "shelf", "CACHE_L3_PREFIX": "p/",
        "CACHE_L3_DEFAULT_TTL": "36h", "AWS_REGION": "eu-west-3", **ENVIRONMENT}).stdout
    for words in ("shelf", "p/", "36h", "eu-west-3", ACCESS_KEY):
        assert words in shown, shown
    assert SECRET_KEY not in shown
