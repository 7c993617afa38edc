"""One request and its answer, whoever sends it."""
import json as json_of
from dataclasses import dataclass, field
from typing import Any, Optional

MISSING = object()


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    params: dict = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    json: Any = MISSING
    content: Optional[bytes] = None
    may_miss: bool = False  # 404 (and 304, 412) is an answer, not an error
    timeout: Optional[float] = None  # seconds; None: the client's


@dataclass(frozen=True)
class Response:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self):
        return json_of.loads(self.content) if self.content else None
