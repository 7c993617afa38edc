"""Many owners who ask the same, and how their answers are told apart.

Every answer that is ever stored has a mark of its own, and a mark has one owner: whoever put it, or
the one for whom the upstream made it. Whatever Deja answers, in head or body, is searched for marks,
and for ids of entries; one of somebody else is a leak.
"""
import asyncio
import hashlib
import itertools
import json
import re
import socket
import time
from dataclasses import dataclass, field

from fake_families import message, message_events, named, response, response_events, text_completion, text_events
from recorder import Recorder

MARK = re.compile(rb"zq([0-9a-f]{8})-(\d+)z")
ID = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


def credential_mark(value):
    """What of a mark tells the credential: the upstream sees nothing else of who asks."""
    return hashlib.sha256(value).hexdigest()[:8].encode()


@dataclass(eq=False)
class Owner:
    """A credential, a namespace and a user of it; who stores nothing is an outsider."""

    key: str
    name_space: str = ""
    user: str = ""
    is_outsider: bool = False
    marks: set = field(default_factory=set)

    @property
    def headers(self):
        made = [("Authorization", f"Bearer {self.key}")]
        made += [("X-Deja-Namespace", self.name_space)] if self.name_space else []
        return made + ([("X-Deja-User", self.user)] if self.user else [])

    def __repr__(self):
        return f"<{self.key} {self.name_space!r} {self.user!r}>"


class Crowd:
    def __init__(self, word, users=("",), credentials=4, name_spaces=("", "n1")):
        self.owners = [Owner(f"sk-{word}-{number}", name_space, user) for number in range(credentials)
                       for name_space in name_spaces for user in users]
        self.outsiders = [Owner(f"sk-{word}-out{number}", name_space, is_outsider=True) for number in range(2)
                          for name_space in name_spaces]
        self.everybody = self.owners + self.outsiders
        self.of_mark = {}
        self.of_id = {}  # of an entry: its owner
        self.numbers = itertools.count(1)
        self.leaks = []
        self.counts = {}

    def make_mark(self, owner):
        mark = b"zq%s-%dz" % (credential_mark(f"Bearer {owner.key}".encode()), next(self.numbers))
        self.of_mark[mark] = owner
        owner.marks.add(mark)
        return mark.decode()

    def judge(self, path, owner, raw, of_tenant=False):
        """raw: all bytes that owner was answered. True: there was something of his own, or, where it is
        the whole tenant's to be told, of his tenant's."""
        count = self.counts.setdefault(path, [0, 0])
        count[0] += 1
        has_own = False
        for found in MARK.finditer(raw):
            mark = found[0]
            if mark not in self.of_mark and found[1] == credential_mark(f"Bearer {owner.key}".encode()):
                self.of_mark[mark] = owner  # the upstream made it for him, just now
                owner.marks.add(mark)
            whose = self.of_mark.get(mark)
            if whose is not owner and not (of_tenant and whose and whose.key == owner.key):
                self.leaks.append((path, owner, self.of_mark.get(mark), raw[:600]))
            has_own = True
        for found in ID.finditer(raw):
            whose = self.of_id.get(found[0], owner)
            if whose.key != owner.key or owner.user not in ("", whose.user):
                self.leaks.append((path, owner, found[0], raw[:600]))
        count[1] += has_own
        return has_own

    def table(self):
        return [f"{path:<28} {checks:>8} checks  {own:>8} own  "
                f"{sum(leak[0] == path for leak in self.leaks)} leaks" for path, (checks, own) in self.counts.items()]


class MarkingUpstream(Recorder):
    """Each answer has a mark of the credential that it was asked with. delay_s: how long one takes."""

    def __init__(self, delay_s=0.0):
        super().__init__(self.make)
        self.delay_s = delay_s
        self.numbers = itertools.count(1_000_000_000)

    def make(self, seen):
        credential = (seen.values(b"authorization") or [b""])[0]
        mark = (b"zq%s-%dz" % (credential_mark(credential), next(self.numbers))).decode()
        if seen.target.endswith(b"/embeddings"):
            floats = [float(ord(letter)) for letter in mark]  # read back by mark_of_vector
            body = {"object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
                    "data": [{"object": "embedding", "index": 0, "embedding": floats}]}
            return answer_of(json.dumps(body).encode())
        head = {"id": f"chatcmpl-{mark}", "created": int(time.time()), "model": "m"}
        asked = json.loads(seen.body or b"{}")
        for target, make in FAMILIES.items():
            if seen.target.endswith(target):
                return make(asked, mark)
        if asked.get("stream"):
            return stream_of(head, mark)
        body = {**head, "object": "chat.completion", "usage": {"prompt_tokens": 1, "completion_tokens": 1,
                                                                "total_tokens": 2},
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": mark}}]}
        return answer_of(json.dumps(body).encode())

    async def _write(self, writer, answer):
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        return await super()._write(writer, answer)


def mark_of_vector(body):
    """The mark that an answer to /v1/embeddings has."""
    return "".join(chr(round(number)) for number in json.loads(body)["data"][0]["embedding"]).encode()


def answer_of(body, kind=b"application/json"):
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body)) + body


def stream_of(head, mark):
    def chunk(delta, finish=None):
        return b"data: " + json.dumps({**head, "object": "chat.completion.chunk", "choices": [
            {"index": 0, "delta": delta, "finish_reason": finish}]}).encode() + b"\n\n"
    usage = {**head, "object": "chat.completion.chunk", "choices": [],
             "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    return answer_of(chunk({"role": "assistant", "content": ""}) + chunk({"content": mark}) + chunk({}, "stop")
                     + b"data: " + json.dumps(usage).encode() + b"\n\ndata: [DONE]\n\n", b"text/event-stream")


def message_of(asked, mark):
    made = {**message(asked, "text", 0, mark), "id": f"msg_{mark}"}
    return told_of(made, b"".join(named(message_events(made, "text"))) if asked.get("stream") else None)


def response_of(asked, mark):
    made = {**response(asked, "text", 0, mark), "id": f"resp_{mark}"}
    return told_of(made, b"".join(named(response_events(made, "text"))) if asked.get("stream") else None)


def completion_of(asked, mark):
    made = {**text_completion(asked, "text", 0, mark), "id": f"cmpl-{mark}"}
    events = [b"data: %s\n\n" % json.dumps(event).encode() for event in text_events(made, True)]
    return told_of(made, b"".join([*events, b"data: [DONE]\n\n"]) if asked.get("stream") else None)


def told_of(whole, events):
    return answer_of(json.dumps(whole).encode()) if events is None else answer_of(events, b"text/event-stream")


FAMILIES = {b"/v1/messages": message_of, b"/v1/responses": response_of, b"/v1/completions": completion_of}


def request_of(method, target, owner, body=None, headers=()):
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in [*owner.headers, *headers]]
    data = b"" if body is None else json.dumps(body).encode()
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Line:
    """A connection that is kept: requests go out one behind the other, answers are read in order."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 120)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def read(self):
        """(status, all bytes of the answer, its body)."""
        head = b""
        while True:
            line = self.file.readline()
            assert line, f"the connection ended in a head: {head!r}"
            head += line
            if line == b"\r\n":
                break
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            return self.read()
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            body = b""
            while True:
                size = int(self.file.readline(), 16)
                body += self.file.read(size)
                self.file.readline()
                if size == 0:
                    break
        else:
            length = re.search(rb"\r\ncontent-length: (\d+)", lower)
            body = self.file.read(int(length[1])) if length and status != 204 else b""
        return status, head + body, body

    def close(self):
        self.file.close()
        self.socket.close()
