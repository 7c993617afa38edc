"""A real S3 server (versitygw, compiled by ./dev into build/tools), and the way to break its answers."""
import os
import socket
import subprocess
import threading
from pathlib import Path

from daemon import TOOLS, clean_environment, free_port, poll

VERSITYGW = TOOLS / "versitygw" / "versitygw"
ACCESS_KEY = "deja-test"
SECRET_KEY = "a secret of its own"
BUCKET = "answers"


def has_attributes(folder):
    """Does the file system keep what the server wants to write beside each object?"""
    try:
        os.setxattr(folder, "user.deja", b"1")
    except OSError:
        return False
    return True


class S3Server:
    """Objects are files under folder/data/<bucket>; one bucket is made, BUCKET."""

    def __init__(self, folder, region="us-east-1", domain=None, certificate=None):
        assert VERSITYGW.exists(), f"no S3 server at {VERSITYGW}: ./dev test makes it"
        self.folder = Path(folder)
        self.region = region
        self.data = self.folder / "data"
        self.log = self.folder / "server.log"
        self.port = free_port()
        self.domain = f"{domain}:{self.port}" if domain else None  # of bucket.domain
        self.certificate = certificate  # (certificate, key): then it speaks TLS
        self.process = None
        (self.data / BUCKET).mkdir(parents=True, exist_ok=True)
        self.where = [str(self.data)]
        if not has_attributes(self.data):  # then in files beside the data, which is not atomic
            (self.folder / "sidecar").mkdir(exist_ok=True)
            self.where = ["--sidecar", str(self.folder / "sidecar"), *self.where]

    @property
    def url(self):
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    def start(self):
        environment = clean_environment({"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY})
        self.process = subprocess.Popen(
            [str(VERSITYGW), "--port", f"127.0.0.1:{self.port}", "--region", self.region, "--quiet",
             *(["--virtual-domain", self.domain] if self.domain else []),
             *(["--cert", self.certificate[0], "--key", self.certificate[1]] if self.certificate else []),
             "posix", *self.where],
            env=environment, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=self.log.open("ab"),
            stderr=subprocess.STDOUT)
        poll(self._listens, "the S3 server to listen")
        return self

    def _listens(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 5).close()
        except OSError:
            return False
        return True

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    stop = kill


class Relay:
    """A TCP relay in front of a server: what comes back is passed on, cut, kept back or replaced.

    cut_after: that many bytes of answers are passed on a connection, then it is reset.
    hold(): nothing is passed back until release(). garbage: sent in place of any answer. refuse(mark,
    answer, times): so often a request that has mark in its head gets that answer, and the server never
    hears of it. heads: of all requests, when is_recording.
    """

    def __init__(self, port):
        self.target = port
        self.cut_after = None
        self.released = threading.Event()
        self.released.set()
        self.garbage = None
        self.refusals = []  # [mark, answer, times left]
        self.lock = threading.Lock()
        self.is_recording = False
        self.heads = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
        passed = 0
        while True:
            try:
                data = server.recv(65536)
            except OSError:
                break
            if not data:
                break
            try:
                if not self.released.is_set():
                    continue
                if self.garbage is not None:
                    client.sendall(self.garbage)
                    break
                if self.cut_after is not None and passed + len(data) > self.cut_after:
                    client.sendall(data[: self.cut_after - passed])
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    break
                passed += len(data)
                client.sendall(data)
            except OSError:
                break
        self.released.wait()  # a held connection stays open, even if the server ends its side
        for end in (client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread: close alone would wait for it
            except OSError:
                pass
            end.close()

    def _forward(self, client, server):
        while True:
            try:
                data = client.recv(65536)
                if not data:
                    server.shutdown(socket.SHUT_WR)
                    return
                if self.is_recording and b" HTTP/1.1\r\n" in data:
                    self.heads.append(data.partition(b"\r\n\r\n")[0].decode())
                answer = self._refusal(data)
                if answer is not None:
                    client.sendall(answer)
                    server.shutdown(socket.SHUT_RDWR)
                    return
                server.sendall(data)
            except OSError:
                return

    def refuse(self, mark, status, code, times=1):
        body = f"<Error><Code>{code}</Code><Message>by the relay</Message></Error>".encode()
        answer = f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.refusals.append([mark.encode().lower(), answer.encode() + body, times])

    def _refusal(self, data):
        head = data.partition(b"\r\n\r\n")[0].lower()
        with self.lock:
            for refusal in self.refusals:
                if refusal[0] in head and refusal[2]:
                    refusal[2] -= 1
                    return refusal[1]
        return None

    def hold(self):
        self.released.clear()

    def release(self):
        self.released.set()

    def close(self):
        self.release()
        self.listener.close()
