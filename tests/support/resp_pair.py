"""Random commands, the same for two servers: what a client of Redis may say about plain keys.

Replies are compared as they come off the wire, types of RESP3 included. What Deja does otherwise is
not generated; the list is docs/resp.md ("Where it departs from Redis"), and each row of it has a
test of its own. No reply depends on when it was asked for: a life is long, and no two are near each
other; or its end is waited for at both servers before anybody asks what is there (mortal)."""
import random
import socket
import time

from daemon import poll

KEYS = [b"k%d" % i for i in range(24)] + [b"user:%d" % i for i in range(6)] + \
    ["schlüssel".encode(), b"a b", b"\x00\xff\r\n", b"*"]
VALUES = [b"", b"0", b"1", b"-7", b"42", b"9223372036854775807", b"-9223372036854775808", b"3.5", b"abc",
          b"0.1", b" 1", b"1 ", b"+1", b"01", b"-0", b"\x00\r\n\xff", b"x" * 45, b"y" * 1500]
OVER = [b"0", b"-1", b"-5000", b"9223372036854775807", b"-9223372036854775808", b"x", b"1.5", b""]
ABSOLUTE = [b"9999999999", b"9999999998", b"1", b"0", b"-1", b"9223372036854775807", b"x"]
LIFE_S = 1000  # between two lives; what the two servers may be apart is far less
MORTALS = [b"m%d" % i for i in range(12)]
WALKED = 9  # the database of walks
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
        return b"%d" % (LIFE_S * (1 + self.lives * 7919 % 100003) * unit)

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
            lambda: [b"GETEX", key(), *r.choice([
                [], [b"PERSIST"], [b"EX", self.life()], [b"BAD"], [b"PX", self.life(1000)], [b"EX"],
                [b"exat", r.choice(ABSOLUTE[:3])], [b"PXAT", b"9999999999999"], [b"PERSIST", b"EX", b"5"]])],
            lambda: [b"APPEND", key(), value()],
            lambda: [b"STRLEN", key()],
            lambda: [r.choice([b"GETRANGE", b"SUBSTR"]), key(), r.choice([b"%d" % r.randint(-5, 5), self.number()]),
                     b"%d" % r.randint(-2000, 2000)],
            lambda: [b"MGET", *self.several()],
            lambda: [b"MSET", *self.pairs()],
            lambda: [b"MSETNX", *self.pairs()],
            lambda: [b"MSET", key(), value(), key()],
            lambda: [b"DEL", *self.several()],
            lambda: [b"UNLINK", *self.several(2)],
            lambda: [b"EXISTS", *self.several()],
            lambda: [b"TOUCH", *self.several()],
            lambda: [b"TTL", key()],
            lambda: [b"PTTL", key()],
            lambda: [b"EXPIRETIME", key()],
            lambda: [b"PEXPIRETIME", key()],
            lambda: [b"TYPE", key()],
            lambda: [b"EXPIRE", key(), r.choice([self.life(), self.life(), *OVER]), *self.expire_options()],
            lambda: [b"PEXPIRE", key(), r.choice([self.life(1000), self.life(1000), *OVER]), *self.expire_options()],
            lambda: [b"EXPIREAT", key(), r.choice(ABSOLUTE), *self.expire_options()],
            lambda: [b"PEXPIREAT", key(), r.choice([b"9999999999999", *ABSOLUTE[2:]]), *self.expire_options()],
            lambda: [b"PERSIST", key()],
            lambda: [b"INCR", key()],
            lambda: [b"DECR", key()],
            lambda: [b"INCRBY", key(), self.number()],
            lambda: [b"DECRBY", key(), self.number()],
            lambda: [b"INCRBYFLOAT", key(), r.choice([b"0.1", b"-3", b"1e3", b"2.50", b"x"])],
            lambda: [b"OBJECT", b"ENCODING", key()],
            lambda: [b"KEYS", r.choice(PATTERNS)],
            lambda: [b"DBSIZE"],
            lambda: r.choice([[b"RANDOMKEY"], [b"MEMORY", b"USAGE", key()], [b"PING"]]),
            lambda: r.choice([[b"HELLO", b"2"], [b"HELLO", b"3"], [b"HELLO", b"3"], [b"HELLO", b"4"], [b"HELLO", b"x"],
                              [b"HELLO", b"3", b"SETNAME", b"me"], [b"HELLO"], [b"HELLO", b"3", b"BAD"]]),
            lambda: r.choice([[b"CLIENT", b"GETNAME"], [b"CLIENT", b"SETNAME", r.choice([b"one", b"a b", b""])],
                              [b"CONFIG", b"GET", r.choice([b"databases", b"no such"])], [b"RESET"], [b"TIME"],
                              [b"COMMAND", b"GETKEYS", b"MSET", key(), b"1", key(), b"2"], [b"WAIT", b"0", b"0"]]),
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
                made += [c for c in (self.command() for _ in range(self.random.randint(0, 6)))
                         if c[0] not in (b"HELLO", b"OBJECT")]
                made.append([self.random.choice([b"EXEC", b"EXEC", b"EXEC", b"DISCARD"])])
            else:
                words = self.command()
                if words[0] == b"OBJECT":
                    made.append([b"SET", words[2], self.value()])  # what it was made of counts, with Redis
                made.append(words)
                if words[0] == b"RANDOMKEY":
                    made.append([b"KEYS", b"*"])
        return made

    def dying(self, key):
        """Commands after which the key has a life of some milliseconds, and nothing else tells of that life."""
        r, ms = self.random, b"%d" % self.random.randint(1, 30)
        return r.choice([
            lambda: [[b"SET", key, self.value(), b"PX", ms]],
            lambda: [[b"PSETEX", key, ms, self.value()]],
            lambda: [[b"SET", key, self.value()], [b"PEXPIRE", key, ms]],
            lambda: [[b"SET", key, self.value(), b"EX", self.life()], [b"PEXPIRE", key, ms, b"LT"]],
            lambda: [[b"SET", key, self.value()], [b"GETEX", key, b"PX", ms]],
            lambda: [[b"SET", key, b"7", b"PX", ms, b"GET"]],
            lambda: [[b"DEL", key], [b"INCR", key], [b"PEXPIRE", key, ms, b"NX"]],
        ])()

    def dying_by_the_second(self, key):
        r, at = self.random, b"%d" % (time.time() + 1)  # which may be over at once: so it is for both
        return r.choice([
            lambda: [[b"SETEX", key, b"1", self.value()]],
            lambda: [[b"SET", key, self.value(), b"EX", b"1"]],
            lambda: [[b"SET", key, self.value(), b"EXAT", at]],
            lambda: [[b"SET", key, self.value()], [b"EXPIRE", key, b"1"]],
            lambda: [[b"SET", key, self.value()], [b"EXPIREAT", key, at]],
            lambda: [[b"SET", key, self.value()], [b"GETEX", key, b"EX", b"1"]],
        ])()


def settle(words, reply):
    """Replies whose parts have no order, in one; what is random, or each server's own, left out."""
    kind, value = reply
    name = words[0].upper()
    if kind in b"-_" or value is None:
        return reply
    if name == b"KEYS" and kind == b"*":
        return kind, sorted(value)
    if name == b"SCAN" and kind == b"*":
        return kind, value[0], sorted(set(value[1][1]))
    if name == b"HELLO" and kind in b"%*":
        told = {value[i]: value[i + 1] for i in range(0, len(value), 2)}
        own = [(b"$", word) for word in (b"server", b"version", b"id")]
        return kind, sorted((k, told[k][0] if k in own else told[k]) for k in told)
    if name == b"TIME" and kind == b"*":
        return kind, [part[0] for part in value]
    if name in (b"MEMORY", b"RANDOMKEY"):
        return kind
    return reply


LIVES = {b"TTL": 1, b"EXPIRETIME": 1, b"PTTL": 1000, b"PEXPIRETIME": 1000}


def is_same(words, ours, theirs):
    """One reply of each. Two lives are less than half of LIFE_S apart: they did not begin at once."""
    unit = LIVES.get(words[0].upper())
    if unit and ours[0] == theirs[0] == b":":
        a, b = int(ours[1]), int(theirs[1])
        return a == b or (a > 0 and b > 0 and abs(a - b) < LIFE_S * unit // 2)
    return settle(words, ours) == settle(words, theirs)


def is_there(words, reply, following, listed):
    """RANDOMKEY tells one of the keys, where they are asked for next."""
    if words[0].upper() != b"RANDOMKEY" or following != [b"KEYS", b"*"] or listed[0] != b"*":
        return True
    return reply in listed[1] if listed[1] else reply[1] in (None, b"")


def compare(batch, ours, theirs):
    """None, or what was asked and the two replies to it."""
    queued, is_queueing = [], False
    for i, (words, a, b) in enumerate(zip(batch, ours, theirs)):
        name = words[0].upper()
        if i + 1 < len(batch) and a != (b"+", b"QUEUED") and not is_there(words, a, batch[i + 1], ours[i + 1]):
            return words, a, ours[i + 1]
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


class Pair:
    """A connection to each of the two."""

    def __init__(self, port, other_port, protocol):
        self.wires = [Wire(port), Wire(other_port)]
        if protocol == 3:
            self.compare([[b"HELLO", b"3"]], "HELLO 3")

    def ask(self, batch):
        """The replies of each."""
        for wire in self.wires:
            wire.send(batch)
        return [[wire.read() for _ in batch] for wire in self.wires]

    def compare(self, batch, where):
        ours, theirs = self.ask(batch)
        wrong = compare(batch, ours, theirs)
        assert wrong is None, f"{where}: {wrong[0]}\n  ours  {wrong[1]}\n  theirs {wrong[2]}\n  batch {batch}"

    def close(self):
        for wire in self.wires:
            wire.close()


def is_over(wire, key):
    """For the loop that reads and the one that writes, whose clocks may be a turn apart."""
    return wire.ask(b"PTTL", key)[1] == b"-2" and wire.ask(b"PEXPIRE", key, b"1", b"XX")[1] == b"0"


def mortal(pair, generator, where, dying):
    """Keys that end at both, and then what there is where they were. Their lives are looked at by nobody else."""
    keys = generator.random.sample(MORTALS, 6)
    pair.compare([[b"DEL", *keys]], where)
    pair.compare([words for key in keys for words in dying(key)], where)
    for wire in pair.wires:
        poll(lambda wire=wire: all(is_over(wire, key) for key in keys), "lives to end")
    after = Generator(generator.random.random(), keys)
    after.lives = generator.lives + 50000
    pair.compare([[b"EXISTS", *keys], [b"MGET", *keys], [b"KEYS", b"m*"], [b"DBSIZE"]], where)
    pair.compare([words for words in after.batch(24) if words[0] not in (b"SELECT", b"RESET")], where)
    pair.compare([[b"DEL", *MORTALS], [b"DBSIZE"]], where)


def walk(wire, options, between):
    """All that a SCAN tells from its beginning to its end."""
    found, cursor = [], b"0"
    while True:
        kind, reply = wire.ask(b"SCAN", cursor, *options)
        assert kind == b"*", reply
        found += [name for _, name in reply[1][1]]
        cursor = reply[0][1]
        if cursor == b"0":
            return set(found)
        between(wire)


def walks(pair, chance, count, where):
    """Many keys, few of them told at a time, while others come and go: what stays is told by both, and nothing
    that was never there."""
    database = b"%d" % WALKED
    keys = [b"%s:%d" % (chance.choice([b"user", b"page", b"x"]), i) for i in range(count)]
    pair.compare([[b"SELECT", database], [b"FLUSHDB"], [b"MSET", *(word for key in keys for word in (key, b"v"))],
                  [b"DBSIZE"]], where)
    for options in ([], [b"MATCH", b"user:*"], [b"TYPE", b"string"], [b"MATCH", b"*9", b"TYPE", b"string"],
                    [b"TYPE", b"list"]):
        passing = set()

        def between(wire):
            name = b"user:passing%d" % chance.randrange(50)
            passing.add(name)
            wire.ask(*chance.choice([[b"SET", name, b"1"], [b"DEL", name]]))

        counts = [b"COUNT", b"%d" % chance.choice([1, 3, 10, 50])]
        ours, theirs = (walk(wire, [*options, *counts], between) for wire in pair.wires)
        assert ours - passing == theirs - passing, f"{where}: SCAN {options} {counts}: {ours ^ theirs}"
        assert not options or b"list" in options or len(ours - passing) < count or b"string" in options
        pair.ask([[b"DEL", *sorted(passing)]] if passing else [[b"PING"]])
    pair.compare([[b"DBSIZE"], [b"FLUSHDB"], [b"SELECT", b"0"]], where)


def run_pair(port, other_port, seed, count, connections=4):
    """count commands in random pipelines over some connections of each, half of them RESP3 at first; the number
    that ran."""
    chance = random.Random(seed)
    generator = Generator(seed)
    pairs = [Pair(port, other_port, 2 + i % 2) for i in range(connections)]
    done = 0
    for pair in pairs:
        pair.compare([[b"FLUSHALL"]], "at first")
    if seed % 4 == 0:
        walks(pairs[-1], chance, 400, f"seed {seed}")
    while done < count:
        batch = generator.batch()
        where = f"seed {seed}, after {done} commands"
        chance.choice(pairs).compare(batch, where)
        done += len(batch)
        if chance.random() < 0.005:
            mortal(chance.choice(pairs), generator, where, generator.dying)
    if seed % 4 == 0:
        mortal(chance.choice(pairs), generator, f"seed {seed}", generator.dying_by_the_second)
    for pair in pairs:
        pair.close()
    return done
