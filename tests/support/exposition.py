"""A strict reader of the two text formats of /metrics: it refuses what a scraper may only tolerate.

read(text, is_openmetrics) gives {sample name: {frozenset of labels: value}} and raises Malformed.
"""
import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*?)\}})? (\S+)")
EXEMPLAR = re.compile(r' # \{trace_id="([0-9a-f]{32})"\} (\S+)$')
NUMBER = re.compile(r"[+-]?(?:Inf|\d+(?:\.\d+)?(?:e[+-]?\d+)?)|NaN")
SUFFIXES = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}


class Malformed(Exception):
    pass


def check(condition, why, line):
    if not condition:
        raise Malformed(f"{why}: {line}")


def labels_of(text, line):
    """The labels as a dict; the text must be nothing but labels and single commas."""
    found = {}
    at = 0
    while text and at < len(text):
        match = LABEL.match(text, at)
        check(match, "not a label", line)
        check(match[1] not in found, "a label twice", line)
        found[match[1]] = match[2]
        at = match.end()
        if at < len(text):
            check(text[at] == "," and at + 1 < len(text), "not a comma between labels", line)
            at += 1
    return found


class Family:
    def __init__(self, name, kind, is_openmetrics):
        self.name = name
        self.kind = kind
        self.base = name.removesuffix("_total") if not is_openmetrics else name
        self.samples = {}

    def takes(self, name):
        stem = self.base if self.kind == "counter" else self.name
        return any(name == stem + suffix for suffix in SUFFIXES[self.kind])

    def check(self):
        check(self.samples, "a family without samples", self.name)
        if self.kind == "counter":
            check(all(value >= 0 for of in self.samples.values() for value in of.values()), "a negative counter",
                  self.name)
        if self.kind == "histogram":
            self.check_histogram()

    def check_histogram(self):
        series = {}
        for labels, value in self.samples.get(self.name + "_bucket", {}).items():
            bound = dict(labels).get("le")
            check(bound is not None, "a bucket without le", self.name)
            rest = frozenset(label for label in labels if label[0] != "le")
            series.setdefault(rest, []).append((float(bound), value))
        counts = self.samples.get(self.name + "_count", {})
        sums = self.samples.get(self.name + "_sum", {})
        check(set(series) == set(counts) == set(sums), "buckets, sum and count of different series", self.name)
        for rest, buckets in series.items():
            bounds = [bound for bound, _ in buckets]
            values = [value for _, value in buckets]
            check(bounds == sorted(set(bounds)) and bounds[-1] == math.inf, "bounds do not rise to +Inf", self.name)
            check(values == sorted(values), "buckets are not cumulative", self.name)
            check(values[-1] == counts[rest], "the last bucket is not the count", self.name)
            check(sums[rest] >= 0 and (counts[rest] or sums[rest] == 0), "a sum of nothing", self.name)


def read(text, is_openmetrics=False):
    check(text.endswith("# EOF\n" if is_openmetrics else "\n"), "the end is missing", text[-40:])
    check("\r" not in text and "\n\n" not in text, "a blank line or carriage return", "")
    families = {}
    family = None
    helped = None
    lines = text[:-1].split("\n")
    if is_openmetrics:
        check(lines.pop() == "# EOF" and "# EOF" not in lines, "EOF not once at the end", "")
    for line in lines:
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
            check(len(line.split(" ", 3)) == 4 and helped not in families, "HELP twice or empty", line)
            continue
        if line.startswith("# TYPE "):
            name, kind = line.split(" ")[2:]
            check(name == helped and kind in SUFFIXES and re.fullmatch(NAME, name), "TYPE without its HELP", line)
            check((kind == "counter") == name.endswith("_total") or is_openmetrics, "suffix of a counter", line)
            check(not is_openmetrics or not name.endswith("_total"), "OpenMetrics' counters lose _total", line)
            family = families[name] = Family(name, kind, is_openmetrics)
            continue
        check(not line.startswith("#"), "a comment", line)
        exemplar = EXEMPLAR.search(line)
        if exemplar:
            check(is_openmetrics and family.kind == "histogram", "an exemplar in the wrong place", line)
            line = line[: exemplar.start()]
        match = SAMPLE.fullmatch(line)
        check(match and NUMBER.fullmatch(match[3]), "not a sample", line)
        check(family and family.takes(match[1]), "a sample outside its family", line)
        labels = labels_of(match[2] or "", line)
        if exemplar:
            check(float(exemplar[2]) <= float(labels["le"]), "an exemplar above its bucket", line)
        of_name = family.samples.setdefault(match[1], {})
        key = frozenset(labels.items())
        check(key not in of_name, "a series twice", line)
        of_name[key] = float(match[3])
    found = {}
    for family in families.values():
        family.check()
        found.update(family.samples)
    return found


def total(found, name, **labels):
    """The sum of the samples of that name that carry these labels."""
    wanted = set(labels.items())
    return sum(value for key, value in found.get(name, {}).items() if wanted <= key)
