"""Named server-sent events, as a careful client reads them."""
import json


def events_of(text):
    """(name, data) of each event of a stream that is whole."""
    assert text.endswith("\n\n"), text[-80:]
    found = []
    for part in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in part.split("\n"))
        data = fields["data"]
        found.append((fields.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


def without(item, names):
    """The same value without members of these names."""
    if isinstance(item, dict):
        return {k: without(v, names) for k, v in item.items() if k not in names}
    if isinstance(item, list):
        return [without(v, names) for v in item]
    return item
