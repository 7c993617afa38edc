"""The Node client of this repository: packed, installed and used as a program would."""
import json
import os
import re
import subprocess

import client_operations
import pytest
from daemon import ROOT, clean_environment, free_port
from node_sdk import FOLDER, NODE

NPM = FOLDER / "npm"
PACKAGE = ROOT / "clients" / "node"
PROGRAM = ROOT / "tests" / "integration" / "programs" / "client.mjs"

pytestmark = pytest.mark.skipif(not NODE.exists(), reason="Node is not here: ./dev test installs it")


def run(daemon, key, word, client):
    environment = clean_environment({"TEST_CLIENT": str(client), "TEST_URL": daemon.url, "TEST_KEY": key,
                                     "TEST_WORD": word, "TEST_LOST": f"http://127.0.0.1:{free_port()}"})
    done = subprocess.run([NODE, PROGRAM], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_calls_and_decorators(daemon, key, word):
    assert len(run(daemon, key, word, PACKAGE / "src" / "index.js")) == 15


def test_the_package_holds_what_it_needs(daemon, key, word, tmp_path):
    """As npm would install it: from the files that the package lists, in a folder of its own."""
    package = json.loads((PACKAGE / "package.json").read_text())
    place = tmp_path / "node_modules" / package["name"]
    place.mkdir(parents=True)
    (place / "package.json").write_text(json.dumps(package))
    for name in package["files"]:
        source = PACKAGE / name
        subprocess.run(["cp", "-r", source, place / name], check=True)
    program = tmp_path / "program.mjs"
    program.write_text('import { Deja } from "deja-client";\nconsole.log(await new Deja().ping());\n')
    done = subprocess.run([NODE, program], env=clean_environment({"DEJA_SERVER": daemon.url, "DEJA_KEY": key}),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "true", done.stderr


def test_every_declared_name_is_there(tmp_path):
    declared = (PACKAGE / "src" / "index.d.ts").read_text()
    program = tmp_path / "names.mjs"
    program.write_text(f'import * as all from "{PACKAGE}/src/index.js";\n'
                       "const cache = new all.Deja();\n"
                       "const of = (value) => Object.getOwnPropertyNames(Object.getPrototypeOf(value));\n"
                       "console.log(JSON.stringify([Object.keys(all), of(cache), of(Object.getPrototypeOf(cache)), of(cache.kv)]));\n")
    done = subprocess.run([NODE, program], capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    for names in json.loads(done.stdout):
        for name in names:
            if name != "constructor":
                assert f"{name}(" in declared or f"{name}<" in declared or f"class {name} " in declared, name


def camel(name):
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def test_every_operation_has_a_method_or_is_left_out(tmp_path):
    methods = {operation: [[camel(name), *arguments] for name, *arguments in calls]
               for operation, calls in client_operations.METHODS.items()}
    methods[client_operations.INVALIDATE] = [["invalidate", {"tag": "t"}]]
    program = tmp_path / "operations.mjs"
    program.write_text(f"""
import {{ Deja }} from "{PACKAGE}/src/index.js";
const seen = {{}};
let asked = [];
const fetch = async (url, {{ method }}) => {{
  asked.push([method, new URL(url).pathname]);
  return new Response(method === "HEAD" ? null : {json.dumps(json.dumps(client_operations.ANSWER))},
    {{ headers: {{ "content-type": "application/json" }} }});
}};
const cache = new Deja({{ server: "http://unreached", fetch }});
for (const [operation, calls] of Object.entries({json.dumps(methods)})) {{
  for (const [name, ...args] of calls) {{
    const owner = name.startsWith("kv.") ? cache.kv : cache;
    const made = owner[name.replace("kv.", "")](...args);
    await (Symbol.asyncIterator in made ? made.next() : made);
  }}
  seen[operation] = asked;
  asked = [];
}}
console.log(JSON.stringify(seen));
""")
    done = subprocess.run([NODE, program], capture_output=True, text=True, timeout=60, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    client_operations.check(json.loads(done.stdout))


README = (PACKAGE / "README.md").read_text()


@pytest.mark.parametrize("number", range(README.count("```js")))
def test_example_of_the_readme_runs(daemon, key, tmp_path, number):
    example = README.split("```js\n")[number + 1].split("```")[0]
    program = tmp_path / "example.mjs"
    program.write_text(example.replace('"deja-client"', f'"{PACKAGE}/src/index.js"'))
    done = subprocess.run([NODE, program], env=clean_environment({"DEJA_SERVER": daemon.url, "DEJA_KEY": key}),
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
