"""Certificates for tests, made by the openssl program: an authority, and what it signs."""
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path


def run(*args):
    subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)


def life(days):
    """Options of `openssl x509` for a life of so many days, negative: that ended so many ago. For that
    OpenSSL 3.4 and later want a date, and those before know none."""
    if days >= 0:
        return ["-days", days]
    version = subprocess.run(["openssl", "version"], check=True, capture_output=True, text=True).stdout.split()[1]
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 4):
        return ["-days", days]
    end = datetime.now(timezone.utc) + timedelta(days=days)
    begin = end - timedelta(days=1)
    return ["-not_before", begin.strftime("%Y%m%d%H%M%SZ"), "-not_after", end.strftime("%Y%m%d%H%M%SZ")]


class Authority:
    """A certificate authority in a folder of its own; each pair it makes is (certificate, key)."""

    def __init__(self, folder, name="authority"):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.count = 0
        self.certificate, self.key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "3", "-keyout", self.key, "-out", self.certificate, "-subj", f"/CN={name}",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def make(self, name, alt="DNS:localhost,IP:127.0.0.1", usage="serverAuth", days=2):
        self.count += 1
        stem = self.folder / f"{name.replace('*', 'any')}-{self.count}"
        key, request, pem = (stem.with_suffix(s) for s in (".key", ".csr", ".pem"))
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"extendedKeyUsage={usage}\nsubjectKeyIdentifier=hash\n"
                              "authorityKeyIdentifier=keyid\n" +
                              (f"subjectAltName={alt}\n" if alt else ""))
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", request, "-subj", f"/O=tests/CN={name}")
        run("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, *life(days),
            "-set_serial", str(1000 + self.count), "-extfile", extensions, "-out", pem)
        return pem, key

    def make_client(self, name, days=2):
        return self.make(name, alt=None, usage="clientAuth", days=days)
