"""A raw upstream that keeps every byte it is sent, cut into requests by a reader of its own.

It speaks only what a careful proxy may send: CRLF, one framing header, no folded lines. What it
cannot read that way is kept in `faults`, and the connection is closed. `answer` may be replaced to
decide the bytes that go back.
"""
import asyncio
import re
import threading
from dataclasses import dataclass

FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\t\x20-\x7e\x80-\xff]*")
REQUEST_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.[01]")


@dataclass
class Seen:
    method: bytes
    target: bytes
    headers: list  # (lower-case name, value)
    body: bytes
    head: bytes  # as it came

    def values(self, name):
        return [value for key, value in self.headers if key == name]


class Fault(Exception):
    pass


def parse_head(head):
    lines = head.split(b"\r\n")
    if not REQUEST_LINE.fullmatch(lines[0]):
        raise Fault(f"request line {lines[0]!r}")
    headers = []
    for line in lines[1:]:
        if not FIELD.fullmatch(line):
            raise Fault(f"header line {line!r}")
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    method, target, _ = lines[0].split(b" ")
    return Seen(method, target, headers, b"", head)


async def read_body(reader, seen):
    lengths, codings = seen.values(b"content-length"), seen.values(b"transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Fault(f"framed twice: {seen.head!r}")
    if lengths:
        if not lengths[0].isdigit():
            raise Fault(f"length {lengths[0]!r}")
        return await reader.readexactly(int(lengths[0]))
    if not codings:
        return b""
    body = b""
    while True:
        line = (await reader.readuntil(b"\r\n"))[:-2]
        if codings != [b"chunked"] or not re.fullmatch(rb"[0-9a-f]+", line, re.IGNORECASE):
            raise Fault(f"chunk {line!r} of {codings}")
        size = int(line, 16)
        body += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise Fault("a chunk without its end")
        if size == 0:
            return body


def plain_answer(seen):
    """The bytes that answer one request; None closes the connection."""
    body = b"" if seen.method == b"HEAD" else b"seen\n"
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n" + body


class Recorder:
    """Start with .start(), end with .stop(); seen and faults may be read from any thread."""

    def __init__(self, answer=plain_answer):
        self.answer = answer
        self.seen = []
        self.faults = []

    def start(self):
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)
        return self

    def _run(self, ready):
        asyncio.set_event_loop(self.loop)
        server = asyncio.start_server(self._connection, "127.0.0.1", 0, limit=1 << 22, backlog=2048)
        self.server = self.loop.run_until_complete(server)
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.server.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def _write(self, writer, answer):
        """False: the connection ends with this answer."""
        writer.write(answer)
        await writer.drain()
        return True

    async def _connection(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen = parse_head(head[:-4])
                seen.body = await read_body(reader, seen)
                self.seen.append(seen)
                answer = self.answer(seen)
                if answer is None:
                    return
                if not await self._write(writer, answer) or b"HTTP/1.0" in head.partition(b"\r\n")[0]:
                    return
        except asyncio.IncompleteReadError as end:
            if end.partial:
                self.faults.append(f"half a request: {end.partial[:200]!r}")
        except (Fault, asyncio.LimitOverrunError) as fault:
            self.faults.append(str(fault))
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
