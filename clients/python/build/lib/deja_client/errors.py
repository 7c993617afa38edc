"""What a call may raise: one class for each thing a program would do about it."""


class DejaError(Exception):
    """`type` is the problem's name (RFC 9457: "rate_limited", …), `status` the HTTP status or None,
    `fields` what was wrong with which member."""

    def __init__(self, message, *, status=None, type=None, fields=(), retry_after=None):
        super().__init__(message)
        self.status = status
        self.type = type
        self.fields = tuple(fields)
        self.retry_after = retry_after


class DejaUnavailable(DejaError):
    """Not reached, too slow, or not able to: go on without the cache."""


class DejaLimited(DejaUnavailable):
    """Too many requests; `retry_after` seconds to wait."""


class DejaDenied(DejaError):
    """The key is wrong, or may not do this."""


class DejaNotFound(DejaError):
    """There is no such thing."""


class DejaInvalid(DejaError):
    """The call itself is wrong: a mistake of the program."""


def of_response(status, headers, body):
    """The error that an answer of `status` >= 400 stands for; body: parsed JSON or None."""
    body = body if isinstance(body, dict) else {}
    detail = body.get("detail") or body.get("title") or f"HTTP status {status}"
    retry_after = headers.get("retry-after")
    kind = (DejaLimited if status == 429 else
            DejaUnavailable if status >= 500 or status == 408 else
            DejaDenied if status in (401, 403) else
            DejaNotFound if status == 404 else
            DejaInvalid)
    return kind(detail, status=status, type=body.get("type"), fields=body.get("fields") or (),
                retry_after=float(retry_after) if retry_after and retry_after.isdigit() else None)
