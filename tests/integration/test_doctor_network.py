"""`deja doctor` about certificates, their keys, and addresses that others reach."""
import json

import pytest
from certificates import Authority
from daemon import run_cli


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def findings_of(tmp_path, **env):
    done = run_cli("doctor", "--offline", "--json", "--data", tmp_path / "data",
                   env={f"DEJA_{name}": str(value) for name, value in env.items()})
    return done.returncode, json.loads(done.stdout)["checks"]


def about(findings, name):
    return [(f["status"], f["message"], f["advice"] or "") for f in findings if f["name"] == name]


@pytest.mark.parametrize("days,level,text", [(400, "ok", "valid for"), (5, "warn", "expires in"), (-1, "fail", "has expired")])
def test_the_end_of_a_certificate_is_told(tmp_path, authority, days, level, text):
    certificate, key = authority.make("localhost", days=days)
    key.chmod(0o600)
    code, findings = findings_of(tmp_path, TLS__CERT_FILE=certificate, TLS__KEY_FILE=key)
    assert [f for f in about(findings, "tls") if f[0] == level and text in f[1]], findings
    assert level != "fail" or code == 1


def test_a_key_that_others_read_is_told(tmp_path, authority):
    certificate, key = authority.make("localhost", days=400)
    key.chmod(0o644)
    _, findings = findings_of(tmp_path, TLS__CERT_FILE=certificate, TLS__KEY_FILE=key)
    assert any(level == "warn" and "mode 644" in text and "chmod 600" in advice
               for level, text, advice in about(findings, "tls")), findings


def test_a_key_of_another_certificate_is_told(tmp_path, authority):
    certificate, _ = authority.make("localhost", days=400)
    _, key = authority.make("localhost", days=400)
    code, findings = findings_of(tmp_path, TLS__CERT_FILE=certificate, TLS__KEY_FILE=key)
    assert code == 1 and any(level == "fail" and str(key) in text for level, text, _ in about(findings, "tls"))


def test_a_public_address_in_clear_text_is_told(tmp_path):
    _, findings = findings_of(tmp_path, SERVER__LISTEN="0.0.0.0:7070,127.0.0.1:7071", SERVER__INSECURE="true")
    told = about(findings, "listener")
    assert len(told) == 1 and told[0][0] == "warn" and "0.0.0.0:7070" in told[0][1]


def test_nothing_is_said_of_the_usual_set_up(tmp_path):
    _, findings = findings_of(tmp_path)
    assert not about(findings, "tls") and not about(findings, "listener") and not about(findings, "admin.tls")


def test_the_other_upstream_is_looked_at_and_none_twice(tmp_path, upstream):
    def told(**env):
        done = run_cli("doctor", "--json", "--data", tmp_path / "data", "--upstream", upstream.url,
                       env={f"DEJA_{name}": value for name, value in env.items()})
        findings = json.loads(done.stdout)["checks"]
        return [(f["name"], f["status"]) for f in findings if f["name"] in ("upstream", "anthropic", "clock")]

    assert [name for name, _ in told()] == ["upstream", "clock"]
    assert ("anthropic", "ok") in told(UPSTREAM__ANTHROPIC__URL=upstream.url.replace("127.0.0.1", "localhost"))
    assert ("anthropic", "warn") in told(UPSTREAM__ANTHROPIC__URL="http://127.0.0.1:9")
