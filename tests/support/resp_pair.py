"""Random commands, the same for two servers: what a client of Redis may say about plain keys.

Replies are compared as they come off the wire. What Deja does otherwise is not generated; the list
is docs/resp.md ("Where it departs from Redis"), and each row of it has a test of its own."""
import random
import socket

KEYS = [b"k%d" % i for i in range(24)] + [b"user:%d" % i for i in range(6)] + \
    ["schlüssel".encode(), b"a b", b"\x00\xff\r\n", b"*"]
VALUES = [b"", b"0", b"1", b"-7", b"42", b"9223372036854775807", b"-9223372036854775808", b"3.5", b"abc",
          b"0.1", b" 1", b"1 ", b"+1", b"01", b"-0", b"\x00\r\n\xff", b"x" * 45, b"y" * 1500]
OVER = [b"0", b"-1", b"-5000"]
PATTERNS = [b"*", b"k*", b"k?", b"user:[0-3]", b"[^k]*", b"nothing", b"k1", b"\\*", b"*1*"]


def encode(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Wire:
    """One connection; replies as plain values, errors as Error."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 1 << 20)

    def send(self, commands):
        self.socket.sendall(b"".join(map(encode, commands)))

    def read(self):
        line = self.file.readline()
        assert line.endswith(b"\r\n"), line
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:,#(":
            return kind, rest
        if kind == b"_":
            return kind, b""
        size = int(rest)
        if kind in b"$=":
            return kind, None if size < 0 else self.file.read(size + 2)[:-2]
        assert kind in b"*~>%", line
        if size < 0:
            return kind, None
        return kind, [self.read() for _ in range(size * (2 if kind == b"%" else 1))]

    def ask(self, *words):
        self.send([list(words)])
        return self.read()

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Generator:
    def __init__(self, seed, keys=KEYS):
        self.random = random.Random(seed)
        self.keys = keys
        self.lives = 0

    def key(self):
        return self.random.choice(self.keys)

    def value(self):
        return self.random.choice(VALUES)

    def number(self):
        return self.random.choice([b"1", b"-1", b"5", b"100000", b"9223372036854775807", b"x", b"1.5", b""])

    def life(self, unit=1):
        """Seconds, long enough that no key ends meanwhile, and no two alike: with GT and LT the
        same life a moment later is a longer one, or not, as the moment is."""
        self.lives += 1
        return b"%d" % ((1000 + 10 * (self.lives * 7919 % 100003)) * unit)

    def set_options(self):
        r, made = self.random, []
        for option in r.sample([[b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], [b"EX", self.life()],
                                [b"px", self.life(1000)], [b"EX", b"0"], [b"EX"], [b"BOGUS"],
                                [b"EXAT", b"9999999999"], [b"PXAT", b"9999999999999"], [b"EXAT", b"1"]],
                               r.choice([0, 0, 1, 1, 2, 3])):
            made += option
        return made

    def expire_options(self):
        r = self.random
        made = []
        for option in r.sample([b"NX", b"XX", b"GT", b"LT", b"gt", b"BAD"], r.choice([0, 0, 0, 1, 1, 2])):
            made.append(option)
        return made

    def several(self, most=4):
        return [self.key() for _ in range(self.random.randint(1, most))]

    def pairs(self, most=4):
        made = []
        for _ in range(self.random.randint(1, most)):
            made += [self.key(), self.value()]
        return made

    def command(self):
        r = self.random
        key, value = self.key, self.value
        return r.choice([
            lambda: [b"GET", key()],
            lambda: [b"GET", key()],
            lambda: [b"SET", key(), value()],
            lambda: [b"SET", key(), value(), *self.set_options()],
            lambda: [b"SETEX", key(), r.choice([self.life(), self.life(), *OVER]), value()],
            lambda: [b"PSETEX", key(), self.life(1000), value()],
            lambda: [b"SETNX", key(), value()],
            lambda: [b"GETSET", key(), value()],
            lambda: [b"GETDEL", key()],
            lambda: [b"GETEX", key(), *r.choice([[], [b"PERSIST"], [b"EX", self.life()],
                                                 [b"BAD"], [b"PX", self.life(1000)]])],
            lambda: [b"APPEND", key(), value()],
            lambda: [b"STRLEN", key()],
            lambda: [b"GETRANGE", key(), b"%d" % r.randint(-5, 5), b"%d" % r.randint(-5, 5)],
            lambda: [b"MGET", *self.several()],
            lambda: [b"MSET", *self.pairs()],
            lambda: [b"MSETNX", *self.pairs()],
            lambda: [b"MSET", key(), value(), key()],
            lambda: [b"DEL", *self.several()],
            lambda: [b"UNLINK", *self.several(2)],
            lambda: [b"EXISTS", *self.several()],
            lambda: [b"TOUCH", *self.several()],
            lambda: [b"TTL", key()],
            lambda: [b"EXPIRETIME", key()] if r.random() < 0 else [b"TYPE", key()],
            lambda: [b"EXPIRE", key(), r.choice([self.life(), self.life(), *OVER]), *self.expire_options()],
            lambda: [b"PEXPIRE", key(), r.choice([self.life(1000), self.life(1000), b"-1"]), *self.expire_options()],
            lambda: [b"EXPIREAT", key(), r.choice([b"9999999999", b"9999999998", b"1", b"0"]),
                     *self.expire_options()],
            lambda: [b"PEXPIREAT", key(), r.choice([b"9999999999999", b"1"]), *self.expire_options()],
            lambda: [b"PERSIST", key()],
            lambda: [b"INCR", key()],
            lambda: [b"DECR", key()],
            lambda: [b"INCRBY", key(), self.number()],
            lambda: [b"DECRBY", key(), self.number()],
            lambda: [b"INCRBYFLOAT", key(), r.choice([b"0.1", b"-3", b"1e3", b"2.50", b"x"])],
            lambda: [b"OBJECT", b"ENCODING", key()] if r.random() < 0 else [b"STRLEN", key()],
            lambda: [b"KEYS", r.choice(PATTERNS)],
            lambda: [b"DBSIZE"],
            lambda: [b"PING"],
            lambda: [b"PING", value()],
            lambda: [b"ECHO", value()],
            lambda: [b"SELECT", r.choice([b"0", b"1", b"15", b"16", b"-1", b"x"])],
            lambda: [b"get", key(), b"too", b"many"],
            lambda: [b"NOSUCHCOMMAND", key()],
            lambda: [b"SCAN", b"0", b"COUNT", b"1000", *r.choice([[], [b"MATCH", r.choice(PATTERNS)],
                                                                 [b"TYPE", b"string"], [b"TYPE", b"list"]])],
            lambda: [b"FLUSHDB"] if r.random() < 0.05 else [b"DBSIZE"],
        ])()

    def batch(self, most=32):
        """A pipeline; now and then with a transaction in it."""
        made = []
        for _ in range(self.random.randint(1, most)):
            if self.random.random() < 0.03:
                made.append([b"MULTI"])
                made += [c for c in (self.command() for _ in range(self.random.randint(0, 6)))]
                made.append([self.random.choice([b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])])
            else:
                made.append(self.command())
        return made


def is_unordered(words):
    return words[0].upper() in (b"KEYS", b"SCAN")


def settle(words, reply):
    """Replies whose parts have no order, in one; what is random, left out."""
    kind, value = reply
    name = words[0].upper()
    if name == b"KEYS" and kind == b"*":
        return kind, sorted(value)
    if name == b"SCAN" and kind == b"*":
        return kind, value[0], sorted(set(value[1][1]))
    return reply


def is_same(words, ours, theirs):
    """One reply of each. A life may be a second apart, as the two were not set in the same one."""
    if words[0].upper() in (b"TTL",) and ours[0] == theirs[0] == b":":
        a, b = int(ours[1]), int(theirs[1])
        return a == b or (a > 0 and b > 0 and abs(a - b) <= 2)
    return settle(words, ours) == settle(words, theirs)


def compare(batch, ours, theirs):
    """None, or what was asked and the two replies to it."""
    queued, is_queueing = [], False
    for words, a, b in zip(batch, ours, theirs):
        name = words[0].upper()
        if name == b"EXEC" and a[0] == b[0] == b"*" and len(a[1] or ()) == len(b[1] or ()):
            for inner, x, y in zip(queued, a[1], b[1]):
                if not is_same(inner, x, y):
                    return [b"EXEC", *inner], x, y
        elif not is_same(words, a, b):
            return words, a, b
        if name == b"MULTI" and a[0] == b"+":
            queued, is_queueing = [], True
        elif name in (b"EXEC", b"DISCARD"):
            is_queueing = False
        elif is_queueing and a == (b"+", b"QUEUED"):
            queued.append(words)
    return None


def run_pair(port, other_port, seed, count, connections=4):
    """count commands in random pipelines over some connections of each; the number that ran."""
    chance = random.Random(seed)
    generator = Generator(seed)
    pairs = [(Wire(port), Wire(other_port)) for _ in range(connections)]
    done = 0
    for pair in pairs:
        for wire in pair:
            assert wire.ask(b"FLUSHALL") == (b"+", b"OK")
    while done < count:
        batch = generator.batch()
        ours, theirs = chance.choice(pairs)
        ours.send(batch)
        theirs.send(batch)
        got = [ours.read() for _ in batch]
        wanted = [theirs.read() for _ in batch]
        wrong = compare(batch, got, wanted)
        assert wrong is None, f"seed {seed}, after {done} commands: {wrong[0]}\n  ours  {wrong[1]}\n  theirs {wrong[2]}\n  batch {batch}"
        done += len(batch)
    for pair in pairs:
        for wire in pair:
            wire.close()
    return done
