"""Bodies made from a JSON schema: good ones at every bound, and ones that break one rule each.

What is made is only proposed here: whether a body is good is decided by a validator of the schema
itself, so a mistake of this generator cannot make a test pass.
"""
import copy
import random

from jsonschema import Draft202012Validator

HUGE_NUMBERS = [1e308, -1e308, 2**63, -(2**63) - 1, 10**400, 0.1 + 1e-17]
ODD_TEXTS = ["", " ", "\u0000", "\x07bell", "\x7f", "\u0085", "\u202e", "a" * 200_000, "\U0010ffff",
             "%s%n%x", "../../etc/passwd", "'; drop table entries; --", "{{7*7}}", "\r\nX-Injected: 1", "é" * 300]
OTHER_TYPES = [None, True, False, 0, -1, 1.5, "text", "", [], {}, [1], {"a": 1}]


class Schemas:
    """The schemas of one OpenAPI document."""

    def __init__(self, document, seed=1):
        self.document = document
        self.random = random.Random(seed)

    def resolve(self, schema):
        while "$ref" in schema:
            target = self.document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            schema = target
        return schema

    def validator(self, schema):
        # "#/components/…" of a reference is looked up in the schema itself.
        return Draft202012Validator({"components": self.document["components"], **schema})

    # -- good values --

    def alternatives(self, schema):
        """The schema, or each of its alternatives, resolved."""
        schema = self.resolve(schema)
        for word in ("oneOf", "anyOf"):
            if word in schema and "properties" not in schema:
                return [found for part in schema[word] for found in self.alternatives(part)]
        return [schema]

    def sample(self, schema, is_full, depth=0):
        """One good value: of objects the required members only, or all of them."""
        schema = self.alternatives(schema)[0]
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if schema.get("examples"):
            return copy.deepcopy(schema["examples"][0])
        kind = schema.get("type", "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "object":
            return self.sample_object(schema, is_full, depth)
        if kind == "array":
            return [self.sample(schema.get("items", {}), is_full, depth + 1)
                    for _ in range(max(1, schema.get("minItems", 1)))]
        if kind == "boolean":
            return True
        if kind in ("number", "integer"):
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
            return max(1, low) if schema.get("maximum", 1) >= 1 else low
        if kind == "null":
            return None
        return ("sample text " * 30)[:max(12, schema.get("minLength", 0))]

    def sample_object(self, schema, is_full, depth):
        properties = schema.get("properties", {})
        names = set(schema.get("required", []))
        choices = schema.get("anyOf") or schema.get("oneOf") or []
        if choices:
            names |= set(choices[0].get("required", []))
        if is_full:
            excluded = {name for choice in choices[1:] if "oneOf" in schema for name in choice.get("required", [])}
            names |= set(properties) - (excluded - names)
        return {name: self.sample(properties.get(name, {}), is_full, depth + 1) for name in properties if name in names}

    # -- values for one place --

    def edges(self, schema):
        """Values at, and just beyond, the bounds of one place."""
        for part in self.alternatives(schema):
            kinds = part.get("type", [])
            kinds = [kinds] if isinstance(kinds, str) else kinds
            yield from part.get("enum", [])
            yield from part.get("examples", [])
            if "const" in part:
                yield part["const"]
            if {"number", "integer"} & set(kinds):
                for word, step in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", -1)):
                    if word in part:
                        yield part[word]
                        yield part[word] + step
                        yield part[word] - step / 2
                yield from HUGE_NUMBERS
            if "string" in kinds:
                for word in ("minLength", "maxLength"):
                    if word in part:
                        yield "x" * part[word]
                        yield "x" * max(0, part[word] - 1)
                        yield "x" * (part[word] + 1)
            if "array" in kinds:
                item = self.sample(part.get("items", {}), False)
                for word in ("minItems", "maxItems"):
                    if word in part:
                        for count in (part[word] - 1, part[word], part[word] + 1):
                            yield [item] * max(0, count)

    def places(self, schema, value, path=()):
        """(path, schema) of every value in value, the root too."""
        for part in self.alternatives(schema):
            if not self.validator(part).is_valid(value):
                continue
            yield path, part
            if isinstance(value, dict):
                for name, member in value.items():
                    inner = part.get("properties", {}).get(name)
                    if inner is not None:
                        yield from self.places(inner, member, (*path, name))
            elif isinstance(value, list) and value and "items" in part:
                yield from self.places(part["items"], value[0], (*path, 0))
            return

    # -- bodies --

    def bodies(self, schema):
        """Good and bad bodies, each once: minimal, full, and the full one with one place changed."""
        for part in self.alternatives(schema):
            full = self.sample(part, True)
            yield self.sample(part, False)
            yield full
            for path, inner in self.places(part, full):
                for value in [*self.edges(inner), *OTHER_TYPES]:
                    yield replaced(full, path, value)
                if isinstance(value_at(full, path), str):
                    for value in ODD_TEXTS:
                        yield replaced(full, path, value)
                if isinstance(value_at(full, path), dict):
                    for name in value_at(full, path):
                        yield without(full, (*path, name))
                    yield replaced(full, path, {**value_at(full, path), "no such member": 1})
                    yield replaced(full, path, {**value_at(full, path), "\u0000": 1})
            for _ in range(20):
                yield self.scrambled(part, full)

    def scrambled(self, schema, full):
        """Three places changed at once."""
        value = full
        for _ in range(3):
            places = list(self.places(schema, value)) or [((), schema)]
            path, inner = self.random.choice(places)
            value = replaced(value, path, self.random.choice([*self.edges(inner), *OTHER_TYPES]))
        return value

    # -- what came back --

    def undescribed(self, schema, value, where="body"):
        """Places of members that the schema does not name."""
        found = []
        names = self.described(schema, value)
        if isinstance(value, dict):
            for name, member in value.items():
                if names is not None and name not in names:
                    found.append(f"{where}.{name}")
                elif names is not None:
                    found += self.undescribed(names[name], member, f"{where}.{name}")
        elif isinstance(value, list):
            for part in self.matching(schema, value):
                for index, item in enumerate(value):
                    found += self.undescribed(part.get("items", {}), item, f"{where}[{index}]")
        return found

    def matching(self, schema, value):
        schema = self.resolve(schema)
        parts = [schema]
        for part in schema.get("allOf", []):
            parts += self.matching(part, value)
        for word in ("oneOf", "anyOf"):
            for part in schema.get(word, []):
                if self.validator(part).is_valid(value):
                    parts += self.matching(part, value)
        return parts

    def described(self, schema, value):
        """Schemas of the members by name; None where any member may be."""
        names = {}
        parts = self.matching(schema, value)
        for part in parts:
            names.update(part.get("properties", {}))
        if any("additionalProperties" in part for part in parts) or not any("properties" in part for part in parts):
            return None
        return names


def value_at(value, path):
    for part in path:
        value = value[part]
    return value


def replaced(value, path, new):
    if not path:
        return new
    made = copy.copy(value)
    made[path[0]] = replaced(value[path[0]], path[1:], new)
    return made


def without(value, path):
    made = copy.copy(value)
    if len(path) == 1:
        del made[path[0]]
    else:
        made[path[0]] = without(value[path[0]], path[1:])
    return made
