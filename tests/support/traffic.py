"""Traffic as an AI application makes it, from a seed: what is asked, in which order, and what it would cost.

The assumptions, each a number below and none taken from a measurement of ours:

* Five kinds of request, by share (KINDS): questions that many users ask (support, FAQ: 45 %), questions nobody asks
  again (long conversations: 12 %), scores of templates (20 %), analyses of documents (13 %), sessions (10 %).
* Popularity is Zipf's: the k-th of POOL questions is asked in proportion to 1 / k**SKEW. A part of the repetitions
  (RESPACED) differs in white space only, a part (REWORDED, 0 unless asked for) in its words.
* A template is scored against few profiles, over and over; a document is opened OPENS times by its readers, near
  together; a session is looked up at each step of its user.
* A question has 40 to 120 words of prompt, a conversation 150 to 400; prices are those of MODEL in the price table.
  A template's score is an answer like a question's; a document's analysis costs DOCUMENT_USD; a session nothing.

Nothing here knows a cache: `expected()` says which requests a cache that keeps everything would have answered.
"""
import bisect
import itertools
import random
import time
from collections import Counter
from dataclasses import dataclass

MODEL = "gpt-4o-mini"
USD_IN, USD_OUT = 0.15e-6, 0.60e-6
DOCUMENT_USD = 0.05
SYSTEM = "You are the assistant of a product."
SKEW = 1.1
RESPACED = 0.1
OPENS = 12
STEPS = 10  # of a session
KINDS = {"repeated": 0.45, "unique": 0.12, "template": 0.20, "document": 0.13, "session": 0.10}

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
    kind: str
    key: str  # equal: the same thing is asked for
    text: str  # as it is sent
    prompt_words: int
    answer_words: int

    @property
    def is_ai(self):
        return self.kind in ("repeated", "unique")

    def cost_usd(self):
        if self.kind == "document":
            return DOCUMENT_USD
        if self.kind == "session":
            return 0.0
        return self.prompt_words * USD_IN + self.answer_words * USD_OUT


class Zipf:
    def __init__(self, count, skew, rng):
        self.sums = list(itertools.accumulate(1 / k**skew for k in range(1, count + 1)))
        self.rng = rng

    def draw(self):
        return bisect.bisect_left(self.sums, self.rng.random() * self.sums[-1])


def words(rng, least, most):
    return " ".join(FILLER[i % len(FILLER)] for i in range(rng.randint(least, most)))


def words_sent(text):
    return len(SYSTEM.split()) + len(text.split())


class Traffic:
    """count requests of a day, in order. pools grow with it, so that a short run repeats as much as a long one."""

    def __init__(self, count, seed=1, reworded=0.0):
        self.rng = random.Random(seed)
        self.reworded = reworded
        share = {kind: round(count * part) for kind, part in KINDS.items()}
        self.questions = Zipf(max(8, share["repeated"] // 12), SKEW, self.rng)
        self.prompts = {}
        self.templates = max(4, share["template"] // 25)
        self.serial = itertools.count()
        order = [kind for kind, amount in share.items() for _ in range(amount)]
        self.rng.shuffle(order)
        self.documents, self.sessions = [], []
        self.asked = [getattr(self, kind)() for kind in order]

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
        return Asked("repeated", f"q{number}", text, words_sent(text), answer_words)

    def unique(self):
        number = next(self.serial)
        text = f"Turn {number} of a conversation: {words(self.rng, 150, 400)}"
        return Asked("unique", f"u{number}", text, words_sent(text), self.rng.randint(80, 250))

    def template(self):
        number = self.rng.randrange(self.templates)
        profile = self.rng.randrange(2)
        return Asked("template", f"t{number}:{profile}", f"score of template {number} for profile {profile}",
                     60 + number % 40, 30)

    @staticmethod
    def next_of(running, rng, times, serial):
        """Some of a few running things, each used so often, near together."""
        while len(running) < 3:
            running.append([next(serial), times])
        chosen = rng.choice(running)
        chosen[1] -= 1
        if not chosen[1]:
            running.remove(chosen)
        return chosen[0]

    def document(self):
        number = self.next_of(self.documents, self.rng, OPENS, self.serial)
        return Asked("document", f"d{number}", f"analysis of document {number}", 0, 0)

    def session(self):
        number = self.next_of(self.sessions, self.rng, STEPS, self.serial)
        return Asked("session", f"s{number}", f"session of user {number}", 0, 0)

    def expected(self):
        """Which of the requests somebody has asked before: [bool]."""
        seen = set()
        return [asked.key in seen or seen.add(asked.key) is not None for asked in self.asked]


def rates(asked, is_hit):
    """{kind: hits / requests}, "overall" among them, and "repeated_ai": of what is not asked for the first time ever."""
    total, hits = Counter(), Counter()
    for one, hit in zip(asked, is_hit, strict=True):
        for name in (one.kind, "overall"):
            total[name] += 1
            hits[name] += hit
    return {name: hits[name] / total[name] for name in total}


def spent(asked, is_hit):
    """(dollars that were spent, dollars that would have been without a cache)."""
    return (sum(one.cost_usd() for one, hit in zip(asked, is_hit, strict=True) if not hit),
            sum(one.cost_usd() for one in asked))


def without_documents(asked, is_hit):
    """The same of what is paid by the token only: answers and scores."""
    pairs = [(one, hit) for one, hit in zip(asked, is_hit, strict=True) if one.kind != "document"]
    return spent([one for one, _ in pairs], [hit for _, hit in pairs])


# ---- against a running daemon ----


@dataclass(frozen=True)
class Played:
    is_hit: bool
    is_wrong: bool  # the answer of another question
    seconds: float


class Player:
    """Asks a daemon as an application would: answers through the proxy, the rest through the cache API, put there
    after a miss (cache-aside). client: of httpx, with a key."""

    def __init__(self, client, traffic, work_s=0.0):
        self.client = client
        self.work_s = work_s  # what making a score or an analysis takes
        self.keys = {" ".join(one.text.split()): one.key for one in traffic.asked if one.is_ai}

    def play(self, asked):
        begun = time.perf_counter()
        is_hit, is_wrong = self.ask_model(asked) if asked.is_ai else self.ask_cache(asked)
        return Played(is_hit, is_wrong, time.perf_counter() - begun)

    def ask_model(self, asked):
        # metadata is in no key: it tells the fake model how long its answer is taken to be
        answer = self.client.post("/v1/chat/completions", json={
            "model": MODEL, "metadata": {"answer_words": str(asked.answer_words)},
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": asked.text}]})
        answer.raise_for_status()
        # the fake model tells the question in its answer
        question = answer.json()["choices"][0]["message"]["content"].partition(" to: ")[2].rpartition(" \u2713")[0]
        key = self.keys.get(" ".join(question.split()))
        return answer.headers["x-cache-hit"] == "true", key != asked.key

    def ask_cache(self, asked):
        found = self.client.post("/api/v1/lookup", json={"query": asked.text, "threshold": 1}).json()
        if found["hit"]:
            return True, found["response"] != asked.key
        time.sleep(self.work_s)
        entry = {"query": asked.text, "response": asked.key, "kind": asked.kind}
        if asked.kind == "template":
            entry.update(model=MODEL, tokens={"input": asked.prompt_words, "output": asked.answer_words})
        self.client.put("/api/v1/entries", json=entry).raise_for_status()
        return False, False
