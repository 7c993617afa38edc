"""What comes in pieces: which request is next, and what an answer to it holds. Both clients walk these
objects, one of them awaiting."""
import json as json_of

from .message import Request


def duration(seconds):
    """As the server reads it."""
    return f"{round(seconds * 1000)}ms"


class Export:
    """Every entry of the tenant, a page at a time; the last page names no cursor."""

    def __init__(self, vectors, timeout):
        self._params = {"vectors": "true"} if vectors else {}
        self._timeout = timeout
        self._is_over = False

    def request(self):
        return None if self._is_over else Request("GET", "/api/v1/export", params=self._params, timeout=self._timeout)

    def read(self, response):
        cursor = response.headers.get("x-deja-cursor")
        self._params = {**self._params, "cursor": cursor}
        self._is_over = not cursor
        return [json_of.loads(line) for line in response.content.splitlines() if line]


class Tail:
    """Finished requests, asked for again and again; each question waits for something to tell."""

    def __init__(self, last, follow, wait, timeout):
        self._params = {"last": last}
        self._follow = follow
        self._wait = wait
        self._timeout = timeout
        self._is_over = False

    def request(self):
        if self._is_over:
            return None
        return Request("GET", "/api/v1/tail", params=self._params, timeout=self._timeout)

    def read(self, response):
        page = response.json
        self._params = {"after": page["next"], "wait": duration(self._wait)}
        self._timeout = self._wait + 10
        self._is_over = not self._follow
        return ([{"lost": page["lost"]}] if page["lost"] else []) + page["requests"]


class Events:
    """Server-sent events: lines go in, whole events come out."""

    def __init__(self):
        self._members = {}

    def feed(self, line):
        """An event that has ended with this line, or None."""
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "data" and "data" in self._members:
                value = self._members["data"] + "\n" + value
            self._members[name] = value
        if line or "data" not in self._members:
            return None
        members, self._members = self._members, {}
        return {"event": members.get("event", "message"), "id": members.get("id"),
                "data": json_of.loads(members["data"])}
