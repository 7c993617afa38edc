"""Names of cached calls: readable where they can be, a digest where they would be long."""
import hashlib
import inspect
import json
import string

READABLE_MAX = 120


def _plain(value):
    """A value as JSON would have it; what JSON has no form for is refused, not guessed."""
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"{type(value).__name__} has no stable form: give the decorator a key")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def escape(text):
    """So that no argument can reach the syntax of keys, patterns and lists of tags."""
    return "".join(f"%{ord(c):02X}" if c in "%*?[]\\:{}," or ord(c) < 0x20 else c for c in text)


class Namer:
    """Makes a text for a call of `function`: of a template ("user:{user_id}"), a callable, or the
    function's name and its arguments."""

    def __init__(self, function, rule=None, is_question=False):
        self.formatter = string.Formatter() if is_question else _Escaping()  # a question stays as it is
        self.signature = inspect.signature(function)
        self.rule = rule
        self.prefix = f"{function.__module__}.{function.__qualname__}"
        self.fields = []
        if isinstance(rule, str):
            self.fields = [name for _, name, _, _ in string.Formatter().parse(rule) if name is not None]
            roots = {name.split(".")[0].split("[")[0] for name in self.fields}
            unknown = roots - set(self.signature.parameters)
            if unknown:
                raise ValueError(f"{rule!r} names {', '.join(sorted(unknown))}, which {self.prefix} does not take")

    def arguments(self, args, kwargs):
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        found = dict(bound.arguments)
        found.pop("self", None)
        found.pop("cls", None)
        return found

    def __call__(self, args, kwargs):
        if callable(self.rule):
            return str(self.rule(*args, **kwargs))
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        if self.rule is not None:
            return self.formatter.vformat(self.rule, (), bound.arguments)
        text = canonical(self.arguments(args, kwargs))
        readable = f"{self.prefix}:{text}"
        return readable if len(readable) <= READABLE_MAX and text.isascii() else f"{self.prefix}:{digest(text)}"


class _Escaping(string.Formatter):
    def format_field(self, value, spec):
        return escape(super().format_field(value, spec))
