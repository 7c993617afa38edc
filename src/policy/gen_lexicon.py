#!/usr/bin/env python3
"""Makes the C tables of lexicon.h out of lexicon.txt: gen_lexicon.py lexicon.txt out.c"""
import sys

WORD_BYTES = 26  # with the final NUL; keeps a row at 40 bytes
PLAIN = {"number", "scale", "ordinal", "month", "weekday"}
TONGUES = ["", "en", "es", "fr", "de", "it", "pt", "nl"]  # as enum dj_tongue
FLAGS = {"alone": "DJ_LEX_ALONE", "quantity": "DJ_LEX_QUANTITY", "proper": "DJ_LEX_PROPER",
         "currency": "DJ_LEX_CURRENCY"}


def plural(word):
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith("o") and word in ("potato", "tomato"):
        return word + "es"
    return word + "s"


def is_short_syllable(word):
    """stop, ban, shut: the last letter doubles before -ed and -ing."""
    vowels = [c in "aeiou" for c in word]
    return (len(word) >= 3 and vowels[-3:] == [False, True, False] and sum(vowels) == 1
            and word[-1] not in "wxy")


def verb_forms(word):
    forms = [plural(word)]
    if word.endswith("e"):
        forms += [word + "d", word[:-1] + "ing"]
    elif word.endswith("y") and word[-2] not in "aeiou":
        forms += [word[:-1] + "ied", word + "ing"]
    else:
        stem = word + word[-1] if is_short_syllable(word) else word
        forms += [stem + "ed", stem + "ing"]
    return forms


def read(path):
    rows, kind, flags, names, ids = [], None, [], [], 0

    def put(word, kind_name, number, value, row_flags):
        shown = word.replace("_", " ")
        name_flag = ["DJ_LEX_NAME"] if shown[0].isupper() else []
        shown = shown.lower()
        if len(shown.encode()) >= WORD_BYTES:
            sys.exit(f"{path}: too long: {shown}")
        rows.append((shown, kind_name, number, value,
                     " | ".join(sorted(row_flags + name_flag)) or "0"))
        # The first word of a phrase says that looking further is worth it.
        parts = shown.split(" ")
        for end in range(1, len(parts)):
            rows.append((" ".join(parts[:end]), "DJ_LEX_PHRASE", 0, 0, "0"))

    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.split("# ")[0].strip() if line.startswith("#") else line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            words = line.strip("[]").split()
            kind, flags = words[0], words[1:]
            if kind == "class":
                names.append(words[1])
            continue
        row_flags = [FLAGS[f] for f in flags if f in FLAGS]
        if kind == "axis":
            ids += 1
            sides = line.split("|")
            if len(sides) != 2:
                sys.exit(f"{path}:{number}: two sides wanted")
            for pole, side in zip((1, -1), sides):
                for word in side.split():
                    forms = [word] + (verb_forms(word) if "verbs" in flags and "_" not in word
                                      else [])
                    for form in forms:
                        put(form, "DJ_LEX_AXIS", ids, pole, row_flags)
            continue
        for entry in line.split():
            ids += 1
            if kind == "tongue":
                tongue, word = entry.split("=")
                put(word, "DJ_LEX_TONGUE", TONGUES.index(tongue), 0, row_flags)
            elif kind in PLAIN:
                word, value = entry.split("=")
                put(word, "DJ_LEX_" + kind.upper(), 0, value, row_flags)
            elif kind == "class":
                for word in entry.split("/"):
                    put(word, "DJ_LEX_CLASS", ids, len(names), row_flags)
                    if "nouns" in flags:
                        put(plural(word), "DJ_LEX_CLASS", ids, len(names), row_flags)
            else:
                for word in entry.split("/"):
                    put(word, "DJ_LEX_" + kind.upper(), ids, 0, row_flags)
    return sorted(set(rows)), names


def fnv(text):
    value = 0x811C9DC5
    for byte in text.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def main():
    rows, names = read(sys.argv[1])
    first = {}
    for index, row in enumerate(rows):
        first.setdefault(row[0], index)
    size = 1
    while size < 2 * len(first):
        size *= 2
    slots = [0xFFFF] * size
    for word, index in first.items():
        slot = fnv(word) % size
        while slots[slot] != 0xFFFF:
            slot = (slot + 1) % size
        slots[slot] = index
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write('/* Made by gen_lexicon.py from lexicon.txt. */\n#include "policy/lexicon.h"\n\n')
        out.write("const struct dj_lex_row dj_lex_rows[] = {\n")
        for word, kind, number, value, flags in rows:
            out.write(f'    {{"{word}", {kind}, {flags}, {number}, {value}}},\n')
        out.write(f"}};\nconst uint32_t dj_lex_row_count = {len(rows)};\n")
        out.write("const uint16_t dj_lex_slots[] = {\n")
        for start in range(0, size, 16):
            out.write("    " + ", ".join(map(str, slots[start:start + 16])) + ",\n")
        out.write(f"}};\nconst uint32_t dj_lex_slot_count = {size};\n")
        out.write("const char *const dj_lex_class_names[] = {\n    \"\",\n")
        for name in names:
            out.write(f'    "{name}",\n')
        out.write("};\n")


main()
