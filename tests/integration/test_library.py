"""The library as a stranger meets it: installed to a prefix, found by pkg-config, and nothing else."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from daemon import BINARY, MODEL

ROOT = Path(__file__).resolve().parents[2]
BUILD = BINARY.parent
EXAMPLES = ROOT / "examples"
TIMEOUT_S = 600.0  # of what compiles; a machine may have other things to do


def run(command, env=None, cwd=None):
    done = subprocess.run(command, shell=isinstance(command, str), capture_output=True, text=True,
                          env=env, cwd=cwd, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def sanitizer_flags():
    """A library that was built with a sanitizer needs programs built with it."""
    options = json.loads(run(["meson", "introspect", "--buildoptions", str(BUILD)]))
    kind = next(option["value"] for option in options if option["name"] == "b_sanitize")
    return "" if kind == "none" else f"-fsanitize={kind} "


class Prefix:
    """An installed library; is_static: only the archive is there, as in a static SDK."""

    def __init__(self, root, is_static):
        found = list(root.glob("**/deja.pc"))
        assert len(found) == 1
        self.libraries = found[0].parents[1]
        self.include = next(root.glob("**/include/deja")).parent
        self.is_static = is_static
        self.env = dict(os.environ, PKG_CONFIG_PATH=str(found[0].parent),
                        PKG_CONFIG_SYSROOT_DIR=str(root), LD_LIBRARY_PATH=str(self.libraries))
        self.flags = sanitizer_flags()

    def compile(self, source, program):
        static = "--static " if self.is_static else ""
        run(f"cc {self.flags}{source} -o {program} $(pkg-config {static}--cflags --libs deja)",
            env=self.env)
        return program


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    root = tmp_path_factory.mktemp("shared")
    run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--destdir", str(root)])
    return Prefix(root, False)


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    root = tmp_path_factory.mktemp("static")
    run(["meson", "install", "-C", str(BUILD), "--no-rebuild", "--tags", "devel", "--destdir",
         str(root)])
    for library in root.glob("**/libdeja.so*"):
        library.unlink()
    return Prefix(root, True)


@pytest.fixture(params=["shared", "static"])
def prefix(request):
    return request.getfixturevalue(request.param)


def header_functions():
    text = "".join(path.read_text() for path in (ROOT / "include/deja").glob("*.h"))
    return set(re.findall(r"DEJA_API[^;]*?\b(deja_\w+)\(", text))


# ---- the examples, with pkg-config and nothing else ----

def test_semantic_example_hits_in_its_own_process(prefix, tmp_path):
    out = run([str(prefix.compile(EXAMPLES / "semantic.c", tmp_path / "semantic"))], env=prefix.env)
    assert "answer:     Settings, then Security" in out and "lexical" in out


def test_semantic_example_hits_by_meaning_with_a_model(prefix, tmp_path, models):
    if models is None:
        pytest.skip("no model could be fetched")
    program = prefix.compile(EXAMPLES / "semantic.c", tmp_path / "semantic")
    out = run([str(program), str(models / MODEL)], env=prefix.env)
    assert "answer:     Settings, then Security" in out and "minilm" in out


def test_get_or_compute_example_computes_once(prefix, tmp_path):
    program = prefix.compile(EXAMPLES / "get_or_compute.c", tmp_path / "get_or_compute")
    assert "8 asked, 1 computed" in run([str(program)], env=prefix.env)


def test_async_example_is_called_back(prefix, tmp_path):
    program = prefix.compile(EXAMPLES / "async.c", tmp_path / "async")
    assert "100 asked, 100 hits, 0 failures" in run([str(program)], env=prefix.env)


def test_plugin_store_example_finds_what_its_first_run_stored(prefix, tmp_path):
    program = prefix.compile(EXAMPLES / "plugin_store.c", tmp_path / "plugin_store")
    assert "a miss" in run([str(program), str(tmp_path / "entries")], env=prefix.env)
    assert "a hit: Settings" in run([str(program), str(tmp_path / "entries")], env=prefix.env)


def test_keys_example_counts_and_merges(prefix, tmp_path):
    out = run([str(prefix.compile(EXAMPLES / "keys.c", tmp_path / "keys"))], env=prefix.env)
    assert 'session:7: {"user":7,"cart":["tea"]} (memory)' in out
    assert "visits: 3" in out and "the second was not set" in out and "1 removed, 1 missed" in out


def test_kinds_example_obeys_its_own_kind(prefix, tmp_path):
    out = run([str(prefix.compile(EXAMPLES / "kinds.c", tmp_path / "kinds"))], env=prefix.env)
    assert out.splitlines() == ["lives 48 hours", "draft: 100 EUR", "final: 120 EUR",
                                "2 would go", "final: not there"]


def test_every_example_is_run_here():
    text = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.c"):
        assert f'EXAMPLES / "{path.name}"' in text, path.name


# ---- what the library shows and what it stands on ----

def test_shared_library_exports_the_headers_functions_versioned(shared):
    out = run(["nm", "-D", "--defined-only", str(shared.libraries / "libdeja.so.0")])
    names = {line.split()[-1] for line in out.splitlines()}
    versions = {name for name in names if "@" not in name}
    functions = {name.split("@@")[0] for name in names - versions}
    assert versions == {"DEJA_0.1"}
    assert functions == header_functions()


def test_static_library_defines_no_other_global_name(static):
    out = run(["nm", "-g", "--defined-only", str(static.libraries / "libdeja.a")])
    names = {line.split()[-1] for line in out.splitlines() if len(line.split()) == 3}
    # A sanitizer adds marks of its own.
    assert {name for name in names if not name.startswith(("__", "_."))} == header_functions()


def test_library_needs_no_network_library(shared):
    out = run(["readelf", "-d", str(shared.libraries / "libdeja.so.0")])
    assert "libuv" in out and "SONAME" in out and "[libdeja.so.0]" in out
    for name in ("curl", "ssl.so", "fyaml"):
        assert name not in out


def test_static_link_needs_no_client_of_a_server(static):
    needed = {line.split()[-1] for line in run(["nm", "-u", str(static.libraries / "libdeja.a")]).splitlines()
              if " U " in line}
    for prefix in ("PQ", "redis", "curl_", "SSL_", "fy_"):
        assert not [name for name in needed if name.startswith(prefix)], prefix
    named = run("pkg-config --static --libs deja", env=static.env).split()
    assert not {"-lpq", "-lhiredis", "-lhiredis_ssl", "-lcurl", "-lssl", "-lfyaml"} & set(named), named


def test_library_has_nothing_of_the_daemons_rooms(shared, static):
    for library in (shared.libraries / "libdeja.so.0", static.libraries / "libdeja.a"):
        out = run(["nm", str(library)])
        assert "dj_engine_lookup" in out
        for name in ("dj_http_", "dj_outbound_", "dj_proxy_", "dj_api_", "dj_config_", "dj_cli_"):
            assert not re.search(rf" [tT] {name}(server|create|handle|open|load|run)", out), name


def test_program_is_bound_to_what_it_was_linked_with(shared, static, tmp_path):
    for prefix, is_needed in ((shared, True), (static, False)):
        program = prefix.compile(EXAMPLES / "async.c", tmp_path / f"program{is_needed}")
        needed = run(["readelf", "-d", str(program)])
        assert ("libdeja.so.0" in needed) == is_needed


@pytest.mark.parametrize("language", ["c -std=c99", "c -std=c11", "c -std=c17", "c++ -std=c++11",
                                      "c++ -std=c++20"])
def test_headers_compile_without_a_warning(shared, tmp_path, language):
    source = tmp_path / "user.c"
    source.write_text("""
#include <deja/deja.h>
int main(void)
{
    struct deja_options options;
    struct deja_query query;
    struct deja_entry entry;
    struct deja_stats stats;
    deja_options_init(&options);
    deja_query_init(&query);
    deja_entry_init(&entry);
    deja_stats_init(&stats);
    query.text = deja_slice_text("text");
    return deja_slice_is_equal(query.text, entry.text) || deja_version() == 0;
}
""")
    if language.startswith("c++") and shutil.which("g++") is None:
        pytest.fail("g++ is missing: see PACKAGES_TEST in tools/dev/packages.sh")
    run(f"cc -Wall -Wextra -Wpedantic -Wconversion -Werror -x {language} {source} -x none "
        f"{shared.flags}-o {tmp_path}/user $(pkg-config --cflags --libs deja)", env=shared.env)
    run([str(tmp_path / "user")], env=shared.env)


def test_each_header_stands_alone(shared, tmp_path):
    for header in ("base", "plugin", "deja"):
        source = tmp_path / f"{header}.c"
        source.write_text(f"#include <deja/{header}.h>\n")
        run(f"cc -Wall -Wextra -Wpedantic -Werror -c {source} -o /dev/null "
            "$(pkg-config --cflags deja)", env=shared.env)


# ---- docs/library.md to the letter ----

def blocks(language):
    text = (ROOT / "docs/library.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.M | re.S)


def test_commands_of_the_page_work(tmp_path):
    if sanitizer_flags():
        pytest.skip("the page speaks of the release build")
    script = "set -eu\n" + "".join(blocks("sh")).replace("build/release", str(BUILD))
    out = run(["bash", "-c", script], env=dict(os.environ, HOME=str(tmp_path)), cwd=ROOT)
    assert out.count("answer:     Settings") == 2


def test_program_of_the_page_works(shared, tmp_path):
    source = tmp_path / "first.c"
    source.write_text("".join(blocks("c")))
    program = shared.compile(source, tmp_path / "first")
    assert run([str(program)], env=shared.env) == "42\n"


def test_two_versions_agree(shared):
    assert run("pkg-config --modversion deja", env=shared.env).strip() == re.search(
        r'DEJA_VERSION "([^"]+)"', (ROOT / "include/deja/base.h").read_text()).group(1)
