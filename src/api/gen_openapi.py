"""openapi.json -> openapi_data.c: the document without white space, as bytes in the program."""
import json
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        document = json.load(source)
    data = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write('/* Made by gen_openapi.py from openapi.json. */\n#include "api/openapi.h"\n\n')
        out.write("static const uint8_t bytes[] = {\n")
        for start in range(0, len(data), 24):
            out.write("    " + ",".join(map(str, data[start:start + 24])) + ",\n")
        out.write("};\n\nstruct deja_slice dj_openapi_document(void)\n{\n")
        out.write("    return deja_slice((const char *)bytes, sizeof bytes);\n}\n")


main()
