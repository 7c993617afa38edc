"""Where one request ends and the next begins: Deja beside nginx on the same bytes.

Both stand in front of a recorder of their own, which keeps what each forwards. The boundaries of a
connection are the list of (method, target, body) that arrived behind the server: who cuts the bytes
in another place forwards another list. Deja passes a case if

* its list is nginx's; or
* its list is the beginning of nginx's, and the connection then ended with a refusal (4xx or 5xx); or
* it answered a request itself and went on: its list is nginx's without that request, and the client
  got as many answers; or
* nginx refused what Deja took, and NGINX_IS_STRICTER says why that is right.

Both servers have short timeouts, so that each connection ends by itself and nobody waits for silence.
"""
import asyncio
import re
from dataclasses import dataclass

import pytest
import smuggling
from conftest import check_sanitizer
from daemon import Daemon
from nginx import Nginx, find_nginx
from recorder import Recorder
from smuggling import all_cases

TIMEOUT_S = 2  # of both servers, for a client that says no more
AT_ONCE = 200
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

NGINX = """
keepalive_timeout 2s; client_header_timeout 2s; client_body_timeout 2s; lingering_close off;
client_max_body_size 0; client_header_buffer_size 64k; large_client_header_buffers 4 256k;
server { listen 127.0.0.1:$PORT backlog=2048; merge_slashes off;
  location / { proxy_pass http://127.0.0.1:UPSTREAM; proxy_ignore_client_abort on; } }
"""

# What Deja takes and nginx does not. Each is cut where RFC 9112 cuts it.
NGINX_IS_STRICTER = [
    (rb"^(Content-Length|Transfer-Encoding):[ \t]*\t", "a tab may stand before a value (RFC 9110 5.5)"),
    (rb"^Connection: closed\r", "nginx looks for the letters of close anywhere in the value"),
    (rb"^POST /\S+%x HTTP", "what a percent sign means is the upstream's business"),
    (rb"^OPTIONS \* ", "asterisk form, answered 404 by Deja itself"),
]


@dataclass
class Result:
    requests: list  # what arrived behind the server: (method, target, body)
    statuses: list  # of the answers, in order, without 100
    seen: list  # the requests as they were recorded

    def was_refused(self):
        return bool(self.statuses) and self.statuses[-1] >= 400

    def __str__(self):
        requests = " ".join(f"{method.decode('latin-1')}:{target.rsplit(b'/', 1)[-1][:20].decode('latin-1')}"
                            f"+{len(body)}" for method, target, body in self.requests)
        return f"[{requests}] {','.join(map(str, self.statuses)) or 'closed'}"


async def converse(port, pieces, gate):
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        got = b""
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0.001)  # so that most pieces arrive alone
            while part := await asyncio.wait_for(reader.read(65536), 60):
                got += part
        except ConnectionError:
            pass  # refused before all was sent
        finally:
            writer.close()
        return [int(status) for status in STATUS.findall(got) if status != b"100"]


def run_all(port, recorder, sends):
    """sends: (case name, pieces). The results in their order; each is a connection of its own."""
    recorder.seen.clear()

    async def run():
        gate = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(converse(port, pieces, gate) for _, pieces in sends))

    statuses = asyncio.run(run())
    seen = {name: [] for name, _ in sends}
    for request in recorder.seen:
        name = request.target.split(b"/")[2].decode("latin-1") if request.target.count(b"/") > 2 else ""
        assert name in seen, f"a request out of nothing: {request.head!r}"
        seen[name].append(request)
    return [Result([boundary(request) for request in seen[name]], got, seen[name])
            for (name, _), got in zip(sends, statuses, strict=True)]


def boundary(request):
    """The content of HEAD means nothing (RFC 9110 9.3.2): Deja reads it and forwards none."""
    return request.method, request.target, b"" if request.method == b"HEAD" else request.body


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """Deja in front of a recorder: (daemon, recorder)."""
    recorder = Recorder().start()
    timeouts = {name: f"{TIMEOUT_S}s" for name in ("HEADER_TIMEOUT", "IDLE_TIMEOUT")}
    daemon = Daemon(tmp_path_factory.mktemp("deja"), recorder.url,
                    env={f"DEJA_SERVER__{name}": value for name, value in timeouts.items()}).start()
    yield daemon, recorder
    daemon.stop()
    recorder.stop()
    check_sanitizer(daemon)


@pytest.fixture(scope="module")
def ours(front):
    daemon, recorder = front
    return run_all(daemon.port, recorder, [(case.name, [case.data]) for case in all_cases()])


@pytest.fixture(scope="module")
def nginx_front(tmp_path_factory):
    """nginx in front of a recorder: (nginx, recorder)."""
    if find_nginx() is None:
        pytest.skip("no nginx: ./dev test fetches it into build/tools")
    recorder = Recorder().start()
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), NGINX.replace("UPSTREAM", str(recorder.port))).start()
    yield nginx, recorder
    nginx.stop()
    recorder.stop()


@pytest.fixture(scope="module")
def theirs(nginx_front):
    nginx, recorder = nginx_front
    return run_all(nginx.port, recorder, [(case.name, [case.data]) for case in all_cases()])


def is_without_own_answers(deja, nginx):
    """Deja's list is nginx's with some requests left out, and those were answered all the same."""
    left = iter(nginx.requests)
    return len(deja.statuses) == len(nginx.statuses) and all(request in left for request in deja.requests)


def is_beginning(part, whole):
    return part == whole[: len(part)]


def fault_of(case, deja, nginx):
    """What is wrong with how Deja took a case, or None."""
    if deja.requests == nginx.requests or is_without_own_answers(deja, nginx):
        return None
    if is_beginning(deja.requests, nginx.requests):
        return None if deja.was_refused() else "stopped without a refusal"
    if nginx.was_refused() or is_beginning(nginx.requests, deja.requests):
        is_known = any(re.search(pattern, case.data, re.MULTILINE) for pattern, _ in NGINX_IS_STRICTER)
        return None if is_known else "took what nginx refused"
    return "cut elsewhere"


def faults_of(cases, ours, theirs):
    found = []
    for case, deja, nginx in zip(cases, ours, theirs, strict=True):
        fault = fault_of(case, deja, nginx)
        if fault:
            found.append((case, f"{case.name}: {fault}\n  sent  {case.data[:300]!r}\n  deja  {deja}\n  nginx {nginx}"))
    return found


def test_boundaries_are_nginxs_or_the_request_is_refused(front, nginx_front, ours, theirs):
    cases = all_cases()
    assert len(cases) >= 500
    found = faults_of(cases, ours, theirs)
    if found:
        # Once more: on a machine that stood still, a server's timeout may have ended a good client.
        again = [case for case, _ in found]
        sends = [(case.name, [case.data]) for case in again]
        found = faults_of(again, *(run_all(server.port, recorder, sends) for server, recorder in (front, nginx_front)))
    rows = [row for _, row in found]
    assert not rows, f"{len(rows)} of {len(cases)} cases:\n" + "\n".join(rows[:60])


def test_nginx_takes_enough_of_the_cases_to_compare_with(theirs):
    """If nginx refused all, any server would pass."""
    taken = sum(len(result.requests) > 1 for result in theirs)
    assert taken >= 200, taken


def test_nothing_is_forwarded_after_a_refusal(ours):
    for case, deja in zip(all_cases(), ours, strict=True):
        final = [status for status in deja.statuses if status in (400, 408, 413, 414, 417, 431, 501, 505)]
        assert len(final) <= 1 and final == deja.statuses[-1:][: len(final)], (case.name, str(deja))


def test_recorder_read_every_forwarded_byte(front, ours):
    """Framing is made anew: one length or one coding, no folded line, no control character."""
    assert ours
    assert front[1].faults == []


HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade", b"http2-settings",
              b"expect", b"proxy-authorization"}


def test_hop_by_hop_fields_are_never_forwarded(ours):
    for request in [request for result in ours for request in result.seen]:
        names = {name for name, _ in request.headers}
        assert not names & HOP_BY_HOP, request.head
        assert len(request.values(b"host")) == 1
        assert request.values(b"transfer-encoding") == []


def test_field_named_by_connection_is_never_forwarded(front):
    daemon, recorder = front
    data = smuggling.request([b"Connection: X-Secret, close", b"X-Secret: 1", b"TE: trailers", b"X-Kept: 2",
                              b"Proxy-Authorization: Basic eA==", b"Keep-Alive: timeout=5"],
                             line=b"GET /v1/NAME/first HTTP/1.1")
    run_all(daemon.port, recorder, [("NAME", [data])])
    names = [name for name, _ in recorder.seen[0].headers]
    assert b"x-kept" in names
    assert not {b"x-secret", *HOP_BY_HOP} & set(names)


SAMPLES = {"lengthv00000", "codingv03000", "codingv03001", "chunksi05000", "chunksi05011", "chunken06000", "chunken06007",
           "trailer08000", "lineend09001", "foldedl10000", "oldvers13001", "connect14000"}


def test_pieces_at_every_byte_boundary_change_nothing(front):
    daemon, recorder = front
    cases = [case for case in all_cases() if case.name in SAMPLES]
    whole = run_all(daemon.port, recorder, [(case.name, [case.data]) for case in cases])
    sends, wanted = [], []
    for number, (case, result) in enumerate(zip(cases, whole, strict=True)):
        for at in range(1, len(case.data)):
            name = f"part{number:03d}{at:05d}"
            data = case.data.replace(case.name.encode(), name.encode())
            sends.append((name, [data[:at], data[at:]]))
            wanted.append((name, case.name, result))
    assert len(sends) > 1000

    def is_same(want, got):
        name, of, result = want
        requests = [(method, target.replace(of.encode(), name.encode()), body.replace(of.encode(), name.encode()))
                    for method, target, body in result.requests]
        return (got.requests, got.statuses) == (requests, result.statuses)

    def others(pairs):
        gots = run_all(daemon.port, recorder, [send for send, _ in pairs])
        return [pair for pair, got in zip(pairs, gots, strict=True) if not is_same(pair[1], got)]

    # Once more, as above.
    left = others(others(list(zip(sends, wanted, strict=True))))
    assert not left, [f"{of} cut at byte {int(name[7:])}" for _, (name, of, _) in left]
