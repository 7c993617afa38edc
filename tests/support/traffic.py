"""Traffic as an AI application makes it, from a seed: what is asked, in which order, what changes meanwhile, and what
it would cost.

The assumptions, each a number below and none taken from a measurement of ours:

* Seven kinds of request, by share (SHARES): questions that many users ask a model (support, FAQ: 42 %), questions nobody
  asks again (long conversations: 11 %), templates (20 %), documents (10 %), sessions (9 %), rows of a database (4 %),
  answers, analyses and vectors that a program keeps by itself (4 %).
* The first two go through the proxy. The others are the shipped kinds, each under keys of its own patterns with the life
  that it has by itself, put there after a miss. Connections, counters and vectors go over RESP with that life said.
* Popularity of questions, rows and texts is Zipf's: the k-th is asked in proportion to 1 / k**SKEW, and there is one for
  every ASKED_MEAN requests. A part of the repeated questions (RESPACED) differs in white space only, a part (REWORDED, 0
  unless asked for) in its words.
* Templates are few and used all the time: TEMPLATE_USES requests each, spread over what is kept of one (TEMPLATE_FORMS).
* A document is opened OPENS times by its readers, near together; what is asked of it are all of its parts at once, or
  its chunks, its analysis, its text or the reading of its pictures. A session has STEPS steps.
* Things change: a template once in TEMPLATE_USES / 0.8 requests, every other document and session halfway, a table and a
  model of the house once in CHANGE_USES requests. The program then sends the event of the kind, and what it makes
  anew is another value.
* All of it happens within the shortest life of a kind (15 min): nothing ends by its time here, and no session is idle
  for half an hour. Lives, slides and ends have tests of their own (test_kinds.py).
* A question has 40 to 120 words of prompt, a conversation 150 to 400; prices are those of MODEL in the price table. What
  else a model makes (scores, matches, renderings, analyses) is MADE_TOKENS tokens of its output; a part of a document
  costs DOCUMENT_USD; sessions, rows and vectors nothing. A daemon is told so by SETTINGS.

Nothing here knows a cache: `expected()` says which requests a cache that keeps everything until it changes would have
answered.
"""
import base64
import bisect
import hashlib
import itertools
import json
import random
import struct
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import quote

MODEL = "gpt-4o-mini"
USD_IN, USD_OUT = 0.15e-6, 0.60e-6
MADE_TOKENS = 100
DOCUMENT_USD = 0.05
SETTINGS = {"DEJA_PRICES__GUESS_TOKENS": str(MADE_TOKENS), "DEJA_PRICES__GUESS_TOKEN": f"{USD_OUT:.7f}",
            "DEJA_PRICES__GUESS_DOCUMENT": str(DOCUMENT_USD)}
SYSTEM = "You are the assistant of a product."
SKEW = 1.1
ASKED_MEAN = 12
RESPACED = 0.1
OPENS = 12
STEPS = 10  # of a session
TEMPLATE_USES = 100
TEMPLATE_FORMS = ("score", "match", "render", "embedding", "semantic")
CHANGE_USES = 20
SHARES = {"repeated": 0.42, "unique": 0.11, "template": 0.20, "document": 0.10, "session": 0.09, "row": 0.04,
          "made": 0.04}
FREE = ("session_user", "session_ws", "session_rate", "query_result", "embedding", "template_embedding")
OVER_RESP = {"session_ws": 1800, "session_rate": 1800, "embedding": 86400}  # their lives, in seconds

ACTIONS = ("reset my password", "export last month's invoices", "invite a colleague to the workspace",
           "change the billing address", "connect the calendar", "turn off e-mail notifications", "delete my account",
           "upload a logo", "share a dashboard with a client", "restore a deleted file", "set up two-factor sign-in",
           "switch to the yearly plan", "merge duplicate contacts", "print a shipping label", "schedule a weekly report",
           "translate the help page", "archive an old project", "add a second currency", "download the audit log",
           "move a subscription to another card")
WORDINGS = ("How do I {}?", "What is the way to {}?", "I would like to {}, how does that work?", "Please explain how to {}.")
PLACES = ("the web app", "the phone app", "the desktop program", "the admin console", "a shared workspace")
FILLER = ("the customer writes from a small company and has used the product for two years and wants a short answer with "
          "the exact steps and the names of the buttons and nothing that is not needed for this").split()


@dataclass(frozen=True)
class Asked:
    family: str  # of SHARES
    keys: tuple  # equal: the same is asked for; plain keys, else how it is told apart
    text: str = ""  # of a question, as it is sent
    prompt_words: int = 0
    answer_words: int = 0
    kinds: tuple = ("response",)  # of each key, as the daemon counts it
    owner: str = ""  # what it was made from
    tags: str = ""  # what its key does not say

    @property
    def is_ai(self):
        return self.family in ("repeated", "unique")

    def cost_usd(self):
        if self.is_ai:
            return self.prompt_words * USD_IN + self.answer_words * USD_OUT
        return sum(0 if kind in FREE else DOCUMENT_USD if kind.startswith(("doc_", "ocr_")) else MADE_TOKENS * USD_OUT
                   for kind in self.kinds)


@dataclass(frozen=True)
class Changed:
    """What was made from owner is no longer true."""
    owner: str
    event: tuple  # (("name", …), (field, value) …)


class Zipf:
    def __init__(self, count, skew, rng):
        self.sums = list(itertools.accumulate(1 / k**skew for k in range(1, count + 1)))
        self.rng = rng

    def draw(self):
        return bisect.bisect_left(self.sums, self.rng.random() * self.sums[-1])


class Running:
    """Three things in use at a time, each so often; every other of them changes halfway."""

    def __init__(self, rng, uses):
        self.rng, self.uses = rng, uses
        self.serial = itertools.count()
        self.running = []

    def draw(self):
        """(its number, does it change before)"""
        while len(self.running) < 3:
            self.running.append([next(self.serial), self.uses])
        chosen = self.rng.choice(self.running)
        number, left = chosen
        chosen[1] -= 1
        if not chosen[1]:
            self.running.remove(chosen)
        return number, number % 2 == 0 and left == self.uses // 2


def words(rng, least, most):
    return " ".join(FILLER[i % len(FILLER)] for i in range(rng.randint(least, most)))


def words_sent(text):
    return len(SYSTEM.split()) + len(text.split())


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Traffic:
    """count requests of a day, in order. pools grow with it, so that a short run repeats as much as a long one."""

    def __init__(self, count, seed=1, reworded=0.0):
        self.rng = random.Random(seed)
        self.reworded = reworded
        share = {family: round(count * part) for family, part in SHARES.items()}
        self.questions, self.rows, self.texts = (Zipf(max(least, share[family] // ASKED_MEAN), SKEW, self.rng) for
                                                 family, least in (("repeated", 8), ("row", 3), ("made", 2)))
        self.prompts = {}
        self.templates = max(1, share["template"] // TEMPLATE_USES)
        self.documents, self.sessions = Running(self.rng, OPENS), Running(self.rng, STEPS)
        self.serial = itertools.count()
        self.uses = Counter()
        order = [family for family, amount in share.items() for _ in range(amount)]
        self.rng.shuffle(order)
        self.steps = []  # Asked and Changed
        for family in order:
            self.uses[family] += 1
            self.steps.append(getattr(self, family)())
        self.asked = [step for step in self.steps if isinstance(step, Asked)]

    def changes(self, owner, name, **fields):
        self.steps.append(Changed(owner, (("name", name), *fields.items())))

    def repeated(self):
        number = self.questions.draw()
        if number not in self.prompts:
            self.prompts[number] = (words(self.rng, 40, 120), self.rng.randint(40, 160))
        background, answer_words = self.prompts[number]
        action = ACTIONS[number % len(ACTIONS)]
        place = PLACES[number // len(ACTIONS) % len(PLACES)]
        edition = number // (len(ACTIONS) * len(PLACES))
        wording = WORDINGS[0] if self.rng.random() >= self.reworded else self.rng.choice(WORDINGS[1:])
        text = wording.format(f"{action} in {place}" + (f" of edition {edition}" if edition else ""))
        text = text if self.reworded else f"{text} Background: {background}."
        if self.rng.random() < RESPACED:
            text = text.replace(" ", "  ", 3)
        return Asked("repeated", (f"q{number}",), text, words_sent(text), answer_words)

    def unique(self):
        number = next(self.serial)
        text = f"Turn {number} of a conversation: {words(self.rng, 150, 400)}"
        return Asked("unique", (f"u{number}",), text, words_sent(text), self.rng.randint(80, 250))

    def template(self):
        if self.uses["template"] % round(TEMPLATE_USES / 0.8) == 0:
            number = self.rng.randrange(self.templates)
            self.changes(f"template:{number}", "template:updated", template_id=str(number))
        number, form = self.rng.randrange(self.templates), self.rng.choice(TEMPLATE_FORMS)
        key = f"template:{form}:{number}" + (f":{sha('Ann')}" if form == "render" else "")
        return Asked("template", (key,), kinds=(f"template_{form}",), owner=f"template:{number}")

    def document(self):
        number, is_changed = self.documents.draw()
        name = f"d{number}"
        form = ("extraction", "chunks", "analysis", "parse", "ocr")[number % 5]
        owner, event = f"document:{name}", ("document:processed", {"document_id": name})
        if form == "ocr":
            owner, event = f"image:{sha(name)}", ("image:processed", {"hash": sha(name)})
        if is_changed:
            self.changes(owner, event[0], **event[1])
        keys, kinds = {
            "extraction": ([f"doc:extract:{name}:{part}" for part in ("features", "requirements", "metadata")],
                           ["doc_extraction"] * 3),
            "chunks": ([f"doc:chunks:{name}:meta", f"doc:chunk:{name}:0", f"doc:chunk:{name}:1"],
                       ["doc_chunks", "doc_chunk", "doc_chunk"]),
            "analysis": ([f"doc:analysis:{name}:summary"], ["doc_analysis"]),
            "parse": ([f"doc:parse:pdf:{sha(name)}"], ["doc_parse"]),
            "ocr": ([f"ocr:result:{sha(name)}"], ["ocr_result"]),
        }[form]
        return Asked("document", tuple(keys), kinds=tuple(kinds), owner=owner, tags=owner if form == "parse" else "")

    def session(self):
        number, is_changed = self.sessions.draw()
        form = ("user", "ws", "rate")[number % 3]
        owner, field = (f"connection:c{number}", "connection_id") if form == "ws" else (f"user:u{number}", "user_id")
        name = owner.partition(":")[2]
        if is_changed:
            self.changes(owner, "session:ended", **{field: name})
        return Asked("session", (f"session:{form}:{name}",), kinds=(f"session_{form}",), owner=owner)

    def row(self):
        if self.uses["row"] % CHANGE_USES == 0:
            self.changes("table:orders", "table:updated", table="orders")
        number = self.rows.draw()
        table = ("orders", "users")[number % 2]
        key = f"query:select:{table}:{sha(f'SELECT * FROM {table} WHERE id = {number}')}"
        return Asked("row", (key,), kinds=("query_result",), owner=f"table:{table}")

    def made(self):
        """By a model of the house, whose name the key of an analysis does not say."""
        if self.uses["made"] % CHANGE_USES == 0:
            self.changes("model:acme:house-1", "model:updated", provider="acme", model="house-1")
        form = self.rng.choice(("embedding:acme:house-1", "response:acme:house-1", "analysis:sentiment"))
        kind = {"embedding": "embedding", "response": "ai_response"}.get(form.partition(":")[0], "analysis")
        return Asked("made", (f"ai:{form}:{sha(f'text {self.texts.draw()}')}",), kinds=(kind,), owner="model:acme:house-1",
                     tags="model:acme:house-1" if kind == "analysis" else "")

    def expected(self):
        """Which of the requests somebody has asked before, and it has not changed since: [bool]."""
        kept, found = {}, []
        for step in self.steps:
            if isinstance(step, Changed):
                kept = {keys: owner for keys, owner in kept.items() if owner != step.owner}
            else:
                found.append(step.keys in kept)
                kept[step.keys] = step.owner
        return found


def rates(asked, is_hit):
    """{family: hits / requests}, "overall" among them."""
    total, hits = Counter(), Counter()
    for one, hit in zip(asked, is_hit, strict=True):
        for name in (one.family, "overall"):
            total[name] += 1
            hits[name] += hit
    return {name: hits[name] / total[name] for name in total}


def spent(asked, is_hit):
    """(dollars that were spent, dollars that would have been without a cache)."""
    return (sum(one.cost_usd() for one, hit in zip(asked, is_hit, strict=True) if not hit),
            sum(one.cost_usd() for one in asked))


def without_documents(asked, is_hit):
    """The same of what is paid by the token only."""
    pairs = [(one, hit) for one, hit in zip(asked, is_hit, strict=True) if one.family != "document"]
    return spent([one for one, _ in pairs], [hit for _, hit in pairs])


# ---- against a running daemon ----


@dataclass(frozen=True)
class Played:
    is_hit: bool
    is_wrong: bool  # the answer of another question, or of before a change
    seconds: float


def path_of(key):
    return "/api/v1/kv/" + quote(key, safe="")


class Player:
    """Asks a daemon as an application would: answers through the proxy, the rest under keys of its kinds, put there
    after a miss (cache-aside). client: of httpx, with a key; resp: of redis, with the same as its password."""

    def __init__(self, client, resp, traffic, work_s=0.0):
        self.client, self.resp = client, resp
        self.work_s = work_s  # what making a value takes
        self.keys = {" ".join(one.text.split()): one.keys for one in traffic.asked if one.is_ai}
        self.editions = Counter()  # of what things are made from
        self.lives = {}  # kind: what the daemon said to its puts, in seconds

    def play(self, step):
        """Played; None: something changed."""
        if isinstance(step, Changed):
            self.editions[step.owner] += 1
            self.client.post("/api/v1/invalidate", json={"event": dict(step.event)}).raise_for_status()
            return None
        begun = time.perf_counter()
        way = (self.ask_model if step.is_ai else self.ask_counter if step.kinds == ("session_rate",) else
               self.ask_resp if step.kinds[0] in OVER_RESP else self.ask_meaning if step.kinds == ("template_semantic",)
               else self.ask_parts if len(step.keys) > 1 else self.ask_key)
        is_hit, is_wrong = way(step)
        return Played(is_hit, is_wrong, time.perf_counter() - begun)

    def make(self, asked, key):
        """The value of now, as bytes."""
        made = f"{key}, edition {self.editions[asked.owner]}"
        if asked.kinds[0].endswith("embedding"):
            return struct.pack("<384f", *(byte / 255 for byte in hashlib.shake_128(made.encode()).digest(384)))
        return json.dumps({"is": made}).encode()

    def work(self):
        time.sleep(self.work_s)

    def ask_model(self, asked):
        # metadata is in no key: it tells the fake model how long its answer is taken to be
        answer = self.client.post("/v1/chat/completions", json={
            "model": MODEL, "metadata": {"answer_words": str(asked.answer_words)},
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked.text}]})
        answer.raise_for_status()
        # the fake model tells the question in its answer
        question = answer.json()["choices"][0]["message"]["content"].partition(" to: ")[2].rpartition(" \u2713")[0]
        return answer.headers["x-cache-hit"] == "true", self.keys.get(" ".join(question.split())) != asked.keys

    def ask_key(self, asked):
        (key,), value = asked.keys, self.make(asked, asked.keys[0])
        found = self.client.get(path_of(key))
        if found.status_code == 200:
            return True, found.content != value
        self.work()
        headers = {"X-Deja-As-Of": found.headers["x-deja-as-of"], **({"X-Deja-Tags": asked.tags} if asked.tags else {})}
        kept = self.client.put(path_of(key), content=value, headers=headers).raise_for_status()
        self.lives[asked.kinds[0]] = int(kept.headers["x-deja-ttl"])
        return False, False

    def ask_parts(self, asked):
        """Written together, read together."""
        values = [self.make(asked, key).decode() for key in asked.keys]
        found = self.batch([{"op": "get", "key": key} for key in asked.keys])
        if all(one["found"] for one in found):
            return True, [one["value"] for one in found] != values
        self.work()
        kept = self.batch([{"op": "set", "key": key, "value": value, "as_of": one["as_of"]}
                           for key, value, one in zip(asked.keys, values, found, strict=True)])
        self.lives.update((kind, one["ttl"]) for kind, one in zip(asked.kinds, kept, strict=True))
        return False, any(one["found"] for one in found)  # parts change together, too

    def batch(self, operations):
        return self.client.post("/api/v1/kv:batch", json={"operations": operations}).raise_for_status().json()["results"]

    def ask_meaning(self, asked):
        """What a template is for, as an entry of its kind; another wording of it is no matter here."""
        number = asked.owner.partition(":")[2]
        query, value = f"the purpose of template {number}", base64.b64encode(self.make(asked, asked.keys[0])).decode()
        found = self.client.post("/api/v1/lookup", json={"query": query, "kind": "template_semantic"}).json()
        if found["hit"]:
            return True, found["response"] != value
        self.work()
        kept = self.client.put("/api/v1/entries", json={
            "query": query, "response": value, "kind": "template_semantic", "metadata": {"template_id": number},
            "as_of": found["as_of"]})
        kept.raise_for_status()
        return False, False

    def ask_resp(self, asked):
        (key,), value = asked.keys, self.make(asked, asked.keys[0])
        found = self.resp.get(key)
        if found is not None:
            return True, found != value
        self.work()
        self.resp.set(key, value, ex=OVER_RESP[asked.kinds[0]])
        return False, False

    def ask_counter(self, asked):
        """So many requests of somebody in their session."""
        (key,) = asked.keys
        found = self.resp.get(key)
        if found is not None:
            return True, self.resp.incr(key) != int(found) + 1
        self.resp.set(key, 1, ex=OVER_RESP["session_rate"])
        return False, False
