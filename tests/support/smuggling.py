"""Requests that two readers could cut in different places, made from tables.

Every case is one byte string for one connection: the hostile request, whose body (or what some
reader takes for one) is a request of its own, then a plain last request. All targets begin with
/v1/NAME/, so that what a server forwards tells its case:

    POST /v1/NAME/first HTTP/1.1          the hostile one
    ...
    GET /v1/NAME/hidden HTTP/1.1          body, or a smuggled request
    GET /v1/NAME/last HTTP/1.1            seen by who agrees on where the above ended
"""
from dataclasses import dataclass

NAME = b"NAME"  # replaced by the case's own
HIDDEN = b"GET /v1/NAME/hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /v1/NAME/last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
FIRST = b"POST /v1/NAME/first HTTP/1.1"
HOST = b"Host: localhost"
NAME_BYTES = 12  # of every case's name: lengths in the tables hold after the replacement


def fit(data):
    """The length that data will have once NAME is replaced."""
    return len(data) + data.count(NAME) * (NAME_BYTES - len(NAME))


HIDDEN_BYTES = fit(HIDDEN)


@dataclass
class Case:
    name: str
    data: bytes


def request(lines, body=b"", line=FIRST, host=HOST):
    head = [line, *([host] if host else []), *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def chunked(size_line, data=HIDDEN, end=b"\r\n", last=b"0\r\n\r\n"):
    return size_line + b"\r\n" + data + end + last


def one_chunk(**kwargs):
    return chunked(b"%x" % HIDDEN_BYTES, **kwargs)


# ---- Content-Length ----

def length_values():
    n = HIDDEN_BYTES
    texts = [f"{n}", "0", f"+{n}", f"-{n}", "-0", "+0", "-1", f"{n} ", f" {n}", f"\t{n}", f"{n}\t", f"{n},{n}",
             f"{n}, {n}", f"{n},0", f"0,{n}", f"{n},", f",{n}", f"0{n}", "0" * 30 + f"{n}", f"0x{n:x}", f"0o{n:o}",
             f"{n:x}h", f"{n}.0", f"{n}e0", "1e1", f"{n};", f"{n};q=1", f"{n};{n}", f'"{n}"', f"'{n}'", f"{n} {n}",
             f"{n}_", "1_0", "", " ", ".", "abc", f"{n}abc", f"abc{n}", f"({n})", f"{n}\x00", f"\x00{n}", f"{n}\x0b",
             f"\x0b{n}", f"{n}\x0c", f"{n}\x80", f"\xa0{n}", f"{n}\x7f", f"{n - 1}", f"{n + 1}", f"{n}\r", f"\r{n}",
             f"{n}\n", f"{n}\n ", f"{n}\r\n ", f"\r\n {n}", f"{n}\r\n\t{n}", "2147483647", "2147483648", "4294967295",
             f"{2**32 + n}", f"{2**63 - 1}", f"{2**63}", f"{2**64 - 1}", f"{2**64}", f"{2**64 + n}", f"{2**128 + n}",
             "9" * 100, "0" * 5000, "\u0663".encode().decode("latin-1"), "\uff11\uff10".encode().decode("latin-1")]
    for text in texts:
        yield request([b"Content-Length: " + text.encode("latin-1")], HIDDEN)


def length_pairs():
    n = b"%d" % HIDDEN_BYTES
    for one, two in [(n, n), (n, b"0"), (b"0", n), (b"0", b"0"), (n, b""), (b"", n), (n, b"x"), (b"x", n),
                     (n, b" " + n), (n, b"0" + n), (n, b"+" + n), (b"1", n)]:
        yield request([b"Content-Length: " + one, b"Content-Length: " + two], HIDDEN)
        yield request([b"Content-Length: " + one, b"X-Between: 1", b"content-length: " + two], HIDDEN)


def odd_names(name):
    other = name[1:]
    yield from [name.lower(), name.upper(), name + b" ", name + b"\t", b" " + name, b"\t" + name, b"  " + name,
                name + b"\x00", b"\x00" + name, name + b"\x0b", name + b"\r", name + b"\n", name + b"\xa0",
                b"\xa0" + name, name + b":", b":" + name, b"(" + name, name.replace(b"-", b"_"),
                name.replace(b"-", b" "), name.replace(b"-", b"\x00-"), name.replace(b"-", b"--"), b"X\r" + name,
                b"X: a\r" + name, b"X: a\n" + name, b"X: a\r\n" + name, b"X: a\n\r\n" + name, b"X: a\n\n" + name,
                b"X: a\r\r\n" + name, b"X: a\x00" + name, b"X: a\x0b" + name, b"X: a\x85" + name,
                b"x" + name, name + b"x", b"\xef\xbb\xbf" + name, b"\x01" + other, name[:1] + b"\x7f" + other]


def framing_names():
    n = b"%d" % HIDDEN_BYTES
    for name in odd_names(b"Content-Length"):
        yield request([name + b": " + n], HIDDEN)
    for name in odd_names(b"Transfer-Encoding"):
        yield request([name + b": chunked"], one_chunk())
        body = b"0\r\n\r\n" + HIDDEN
        yield request([b"Content-Length: %d" % fit(body), name + b": chunked"], body)
    for colon in (b":", b" :", b"\t:", b": \t ", b"\r\n :", b"=", b"", b"::", b":\r\n "):
        yield request([b"Content-Length" + colon + n], HIDDEN)
        yield request([b"Transfer-Encoding" + colon + b"chunked"], one_chunk())


# ---- Transfer-Encoding ----

CODINGS = [b"chunked", b"Chunked", b"CHUNKED", b"chunKed", b" chunked", b"chunked ", b"\tchunked", b"chunked\t",
           b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"\x00chunked", b"chunked\x00", b"\x80chunked",
           b"chunked,chunked", b"chunked, chunked", b",chunked", b"chunked,", b", chunked", b"chunked, ,",
           b"identity", b"identity, chunked", b"chunked, identity", b"gzip, chunked", b"chunked, gzip", b"gzip",
           b"deflate, chunked", b"xchunked", b"chunkedx", b"x-chunked", b"chunked;q=1", b"chunked; a=b", b"chunked;",
           b'"chunked"', b"'chunked'", b"chunk", b"", b" ", b"cow", b"chunked cow", b"cow chunked", b"chunked\r\n ",
           b"\r\n chunked", b"identity\r\n , chunked", b"chunked\r", b"\nchunked", b"chunked\n", b"trailers, chunked",
           b"chu\x00nked", b"chun\r\n ked", b"\xef\xbd\x83hunked", b"[chunked]", b"chunked/1", b"null"]


def coding_values():
    for coding in CODINGS:
        line = b"Transfer-Encoding: " + coding
        zero = b"0\r\n\r\n" + HIDDEN
        yield request([line], one_chunk())
        yield request([b"Content-Length: %d" % fit(zero), line], zero)
        yield request([line, b"Content-Length: 5"], zero)


def coding_pairs():
    zero = b"0\r\n\r\n" + HIDDEN
    for one, two in [(b"chunked", b"chunked"), (b"chunked", b"identity"), (b"identity", b"chunked"),
                     (b"chunked", b"cow"), (b"cow", b"chunked"), (b"gzip", b"chunked"), (b"chunked", b""),
                     (b"", b"chunked"), (b"identity", b"identity")]:
        lines = [b"Transfer-Encoding: " + one, b"transfer-encoding: " + two]
        yield request(lines, one_chunk())
        yield request([b"Content-Length: %d" % fit(zero), *lines], zero)


# ---- chunks ----

def chunk_sizes():
    n = HIDDEN_BYTES
    x = b"%x" % n
    lines = [x, b"%X" % n, b"0" + x, b"0" * 15 + x, b"0" * 300 + x, b" " + x, x + b" ", b"\t" + x, x + b"\t",
             x + b"  ", x + b";", x + b";ext", x + b";ext=val", x + b" ;ext", x + b"; ext", x + b';ext="quoted"',
             x + b';ext="a;b"', x + b';ext="a\\"b"', x + b';ext="a\nb"', x + b';ext="a\r\nb"', x + b";a;b;c=d",
             x + b";" + b"a" * 5000, x + b";\x01", x + b";\x80", x + b";a\x00", x + b";a\rb", x + b";a\nb", x + b";\n",
             x + b"\n", x + b"\r", x + b"\r\r", x + b"\n\r", b"\n" + x, b"\r\n" + x, b"+" + x, b"-" + x, b"0x" + x,
             x + b"h", x + b".0", x + b"e", x + b"_", x + b",", x + b" " + x, x + b"\x00", b"\x00" + x, x + b"\x0b",
             x + b"\x0c", b"", b" ", b"g", b"x", b";", b"-1", b"-0", b"+0", b"0x0", b"ffffffff", b"100000000",
             b"7fffffffffffffff", b"8000000000000000", b"ffffffffffffffff", b"10000000000000000",
             b"1" + b"0" * (16 - len(x)) + x, b"f" * 32, b"1" + b"0" * 32, b"%x" % (n - 1), b"%x" % (n + 1),
             "\uff13".encode(), b'"' + x + b'"', x + b"\r\n"]
    for line in lines:
        yield request([b"Transfer-Encoding: chunked"], chunked(line))


def chunk_ends():
    for end in (b"\r\n", b"\n", b"\r", b"", b"X\r\n", b"\r\nX", b"\n\n", b"\r\r\n", b" \r\n", b"\r\n\r\n", b"\n\r"):
        for last in (b"0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\n\r\n", b"0\r\r\n\r\n", b"00\r\n\r\n", b"0;a=b\r\n\r\n"):
            yield request([b"Transfer-Encoding: chunked"], one_chunk(end=end, last=last))


def chunk_lasts():
    for last in (b"0\r\n", b"0", b"0 \r\n\r\n", b" 0\r\n\r\n", b"0\r\r\n", b"0\r\n\r", b"0\r\rX\r\n", b"0\r\nX\r\n\r\n",
                 b"0;\r\n\r\n", b"0;a\n\r\n", b"0\x00\r\n\r\n", b"-0\r\n\r\n", b"0x0\r\n\r\n", b"0000000000\r\n\r\n",
                 b"0" * 2000 + b"\r\n\r\n", b"\r\n0\r\n\r\n", b"0\r\n \r\n", b"0\r\n\t\r\n\r\n", b""):
        yield request([b"Transfer-Encoding: chunked"], one_chunk(last=last))
    for count in (2, 50, 2000):
        yield request([b"Transfer-Encoding: chunked"], b"1\r\na\r\n" * count + b"0\r\n\r\n")
    yield request([b"Transfer-Encoding: chunked"], b"1;" + b"e" * 100 + b"\r\na\r\n" + b"0\r\n\r\n")


def trailers():
    lines = [b"X: y", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: other", b"no colon", b"X : y",
             b" X: y", b"X\x00: y", b"X: y\x00", b"X: a\r\n b", b"X: a\rb", b"X: a\nY: b", b"X: a\n", b"X: a\r", b":",
             b": y", b"Connection: close", b"Trailer: X", b"X: " + b"y" * 20000, b"\xff: y", b"X: \xff", b"X\t: y",
             b"Expect: 100-continue", b"Upgrade: h2c"]
    for line in lines:
        yield request([b"Transfer-Encoding: chunked"], one_chunk(last=b"0\r\n" + line + b"\r\n\r\n"))
    yield request([b"Transfer-Encoding: chunked"], one_chunk(last=b"0\r\n" + b"X: y\r\n" * 500 + b"\r\n"))


# ---- lines ----

def line_ends():
    parts = [FIRST, HOST, b"X-One: 1", b"Content-Length: %d" % HIDDEN_BYTES, b""]
    for place in range(len(parts)):
        for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\r\n\n", b"\n\n", b"\r\n\r", b"\x0b", b"\x0c", b"\x00\r\n",
                    b"\x85", b" \r\n", b"\\r\\n"):
            ends = [b"\r\n"] * len(parts)
            ends[place] = end
            yield b"".join(part + mark for part, mark in zip(parts, ends, strict=True)) + HIDDEN


def folded_lines():
    n = b"%d" % HIDDEN_BYTES
    for blank in (b" ", b"\t", b"  ", b" \t"):
        yield request([b"X: a", blank + b"b", b"Content-Length: " + n], HIDDEN)
        yield request([b"X: a", blank, b"Content-Length: " + n], HIDDEN)
        yield request([b"X: a", blank + b"Content-Length: " + n], HIDDEN)
        yield request([b"X:", blank + b"Transfer-Encoding: chunked"], one_chunk())
        yield request([blank + b"X: a", b"Content-Length: " + n], HIDDEN, host=None)
        yield request([b"Content-Length:", blank + n], HIDDEN)
        yield request([b"Transfer-Encoding:", blank + b"chunked"], one_chunk())
        yield request([b"Transfer-Encoding: identity", blank + b"chunked"], one_chunk())
        yield request([b"Host:", blank + b"localhost", b"Content-Length: " + n], HIDDEN, host=None)


CONTROLS = [bytes([byte]) for byte in [*range(0x21), 0x7F, 0x80, 0x9F, 0xA0, 0xFF]]


def odd_bytes():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    for byte in [*CONTROLS, b'"', b"(", b")", b",", b"/", b";", b"<", b"=", b">", b"?", b"@", b"[", b"\\", b"]",
                 b"{", b"}"]:
        yield request([b"X" + byte + b"Y: 1", n], HIDDEN)
    for byte in CONTROLS:
        yield request([b"X: a" + byte + b"b", n], HIDDEN)
    for byte in [*CONTROLS, b'"', b"<", b">", b"\\", b"^", b"`", b"{", b"|", b"}", b"#", b"%"]:
        yield request([n], HIDDEN, line=b"POST /v1/NAME/first" + byte + b"x HTTP/1.1")
    for byte in (b"\x00", b"\t", b" ", b"\r", b"\n", b"\x7f", b"\x80", b":", b"/", b"("):
        yield request([n], HIDDEN, line=b"PO" + byte + b"ST /v1/NAME/first HTTP/1.1")
    yield request([b": nameless", n], HIDDEN)
    yield request([b"X", n], HIDDEN)
    yield request([b"", n], HIDDEN)


def request_lines():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    target = b"/v1/NAME/first"
    for line in [b"POST  %s HTTP/1.1", b"POST\t%s HTTP/1.1", b"POST %s  HTTP/1.1", b"POST %s\tHTTP/1.1",
                 b"POST %s HTTP/1.1 ", b"POST %s HTTP/1.1\t", b" POST %s HTTP/1.1", b"\tPOST %s HTTP/1.1", b"POST %s",
                 b"POST %s ", b"%s HTTP/1.1", b"POST %s HTTP/1.1 HTTP/1.1", b"POST %s HTTP/1.1 x",
                 b"POST %s x HTTP/1.1", b"post %s HTTP/1.1", b"Post %s HTTP/1.1", b"POSTX %s HTTP/1.1",
                 b"P %s HTTP/1.1", b"POST%s HTTP/1.1", b"POST %s HTTP/1.1;", b"POST %s?a=b HTTP/1.1",
                 b"POST http://localhost%s HTTP/1.1", b"POST HTTP://LOCALHOST%s HTTP/1.1",
                 b"POST http://other%s HTTP/1.1", b"POST http://u:p@localhost%s HTTP/1.1",
                 b"POST https://localhost%s HTTP/1.1", b"POST ftp://localhost%s HTTP/1.1",
                 b"POST http:%s HTTP/1.1", b"POST http://%s HTTP/1.1", b"POST localhost:80 HTTP/1.1",
                 b"POST * HTTP/1.1", b"POST ? HTTP/1.1", b"POST v1/NAME/first HTTP/1.1"]:
        yield request([n], HIDDEN, line=line.replace(b"%s", target))
    for version in (b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/1.10", b"HTTP/1.11", b"HTTP/2.0",
                    b"HTTP/3", b"HTTP/1", b"HTTP/1.", b"HTTP/.1", b"HTTP/01.1", b"HTTP/1.01", b"http/1.1",
                    b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1. 1", b"HTTP/1.1\x00", b"HTTP/-1.1", b"HTTP/1,1", b"HTTPS/1.1",
                    b"HTTP/999999999999.1", b"HTTP/1.999999999999", b"HTP/1.1", b"RTSP/1.0", b"ICE/1.0"):
        yield request([n], HIDDEN, line=b"POST " + target + b" " + version)
    for before in (b"\r\n", b"\r\n\r\n", b"\n", b"\n\n", b"\r", b"\r\r\n", b" \r\n", b"\x00", b"\r\n" * 50, b"\n" * 500,
                   b"\x00\r\n", b"x\r\n", b"\xef\xbb\xbf"):
        yield before + request([n], HIDDEN)
    yield request([n], HIDDEN, line=b"POST " + target + b"/" + b"a" * 70000 + b" HTTP/1.1")


def old_versions():
    line = b"POST /v1/NAME/first HTTP/1.0"
    n = b"Content-Length: %d" % HIDDEN_BYTES
    zero = b"0\r\n\r\n" + HIDDEN
    for host in (HOST, None):
        yield request([n], HIDDEN, line=line, host=host)
        yield request([n, b"Connection: keep-alive"], HIDDEN, line=line, host=host)
        yield request([b"Transfer-Encoding: chunked"], one_chunk(), line=line, host=host)
        yield request([b"Transfer-Encoding: chunked", b"Connection: keep-alive"], one_chunk(), line=line, host=host)
        yield request([b"Content-Length: %d" % fit(zero), b"Transfer-Encoding: chunked", b"Connection: keep-alive"],
                      zero, line=line, host=host)
        yield request([b"Connection: keep-alive"], HIDDEN, line=line, host=host)
        yield request([], HIDDEN, line=line, host=host)
        yield request([b"Expect: 100-continue", n, b"Connection: keep-alive"], HIDDEN, line=line, host=host)
    yield b"GET /v1/NAME/first\r\n"
    yield b"GET /v1/NAME/first\r\n\r\n"
    yield b"POST /v1/NAME/first\r\n" + HIDDEN


# ---- meaning ----

def connection_words():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    chunks = b"Transfer-Encoding: chunked"
    for value in (b"close", b"Close", b"keep-alive", b"keep-alive, close", b"close, keep-alive", b"content-length",
                  b"transfer-encoding", b"host", b"x", b"", b",", b"close\x00", b"closed", b"upgrade"):
        yield request([b"Connection: " + value, n], HIDDEN)
        yield request([b"Connection: " + value, chunks], one_chunk())
    for value in (b"100-continue", b"100-Continue", b"200-ok", b"", b"100-continue, x", b"100-continue\x00"):
        yield request([b"Expect: " + value, n], HIDDEN)
        yield request([b"Expect: " + value, chunks], one_chunk())
        yield request([b"Expect: " + value], HIDDEN)
    for value in (b"h2c", b"websocket", b"HTTP/2.0", b"x", b""):
        upgrade = [b"Connection: Upgrade", b"Upgrade: " + value]
        yield request([*upgrade, n], HIDDEN)
        yield request([*upgrade, chunks], one_chunk())
        yield request(upgrade, HIDDEN, line=b"GET /v1/NAME/first HTTP/1.1")
        yield request([*upgrade, b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"], HIDDEN)
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN


def methods():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"PUT", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND", b"LOCK",
                   b"PURGE", b"SOURCE", b"M-SEARCH", b"QUERY", b"FOO", b"_", b"G.T"):
        line = method + b" /v1/NAME/first HTTP/1.1"
        yield request([n], HIDDEN, line=line)
        yield request([b"Transfer-Encoding: chunked"], one_chunk(), line=line)
        yield request([], HIDDEN, line=line)
    yield request([n], HIDDEN, line=b"CONNECT localhost:80 HTTP/1.1")
    yield request([n], HIDDEN, line=b"OPTIONS * HTTP/1.1")


def hosts():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    for lines in ([], [b"Host:"], [b"Host: "], [HOST, HOST], [HOST, b"Host: other"], [b"Host: other", HOST],
                  [b"Host: localhost, other"], [b"Host: local host"], [b"Host: localhost/x"], [b"Host: u@localhost"],
                  [b"Host: localhost:80:80"], [b"Host: localhost:x"], [b"Host: localhost\x00"], [b"Host: [::1"],
                  [b"Host : localhost"], [b"Host: localhost:99999999"], [b"Host: \x80"], [b"host: localhost"]):
        yield request([*lines, n], HIDDEN, host=None)


def sizes():
    n = b"Content-Length: %d" % HIDDEN_BYTES
    for count in (50, 97, 98, 99, 101, 1000):
        yield request([b"X-%d: y" % number for number in range(count)] + [n], HIDDEN)
    for size in (1000, 8000, 30000, 70000, 200000):
        yield request([b"X: " + b"y" * size, n], HIDDEN)
        yield request([b"X" * size + b": y", n], HIDDEN)
    for count in (1, 20):
        yield request([n], HIDDEN) * count


FAMILIES = [length_values, length_pairs, framing_names, coding_values, coding_pairs, chunk_sizes, chunk_ends, chunk_lasts,
            trailers, line_ends, folded_lines, odd_bytes, request_lines, old_versions, connection_words, methods, hosts,
            sizes]


def all_cases():
    made = []
    for number, family in enumerate(FAMILIES):
        short = family.__name__.replace("_", "")[:7].ljust(7, "x")
        for index, data in enumerate(family()):
            name = f"{short}{number:02d}{index:03d}"
            assert len(name) == NAME_BYTES
            made.append(Case(name, (data + LAST).replace(NAME, name.encode())))
    return made
