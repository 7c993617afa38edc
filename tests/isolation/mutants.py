#!/usr/bin/env python3
"""Takes one check of isolation out of a copy of the source and sees that tests/isolation notices.

    mutants.py BUILD [NAME...]      BUILD: a built folder, as build/release

A mutant is one or more edits. The edited files are compiled as BUILD compiles them and linked in front
of BUILD's libraries, so a mutant costs a second or two and the product's source knows nothing of it.
Prints a line for each; exit code 1 if one was not noticed, or does not fit the source any more.
"""
import json
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKS = "20000"
TENANT_OF_RECORD = "    if (memcmp(entry->tenant, tenant, DJ_ID_BYTES) != 0)\n"

# name: [(file, text that is there once, what stands there instead)]
MUTANTS = {
    "the fetched record's tenant is not compared": [
        ("src/cache/tiers.c", "memcmp(entry->tenant, walk->options.key.tenant, DJ_ID_BYTES) != 0 ||", ""),
        ("src/cache/engine.c", TENANT_OF_RECORD, "    if (!tenant)\n"),
        ("src/cache/stale.c", TENANT_OF_RECORD, "    if (!tenant)\n")],
    "the fetched record's id is not compared": [
        ("src/cache/tiers.c", "memcmp(entry->id, walk->options.key.id, DJ_ID_BYTES) != 0)", "false)")],
    "the fetched record's scope is not compared": [
        ("src/cache/lookup.c", "(lookup->options.is_all_scopes || is_in_scope(lookup, value)) &&", "")],
    "a search goes over all scopes": [
        ("src/vector/flat_search.c", "search_scope(index, record, best);", "search_slab(index, best);")],
    "neither the search nor the record's scope": [
        ("src/vector/flat_search.c", "search_scope(index, record, best);", "search_slab(index, best);"),
        ("src/cache/lookup.c", "(lookup->options.is_all_scopes || is_in_scope(lookup, value)) &&", "")],
    "the tenant is not in the fingerprints": [
        ("src/cache/key.c", "append_part(buf, deja_slice(prefix->tenant, sizeof prefix->tenant));", "")],
    "the namespace is not in the fingerprints": [
        ("src/cache/key.c", "append_part(buf, prefix->name_space);", "")],
    "the user is not in the fingerprints": [
        ("src/security/user.c", "memcpy(fingerprint_key, narrow.bytes, DJ_SHA256_BYTES);", "(void)fingerprint_key;")],
    "who counts as a user counts the tenant": [
        ("src/cache/selector.c", "!has_tag(entry, selector->user_tag) ||", "")],
    "all tenants share their vectors": [
        ("src/cache/indexes.c", "return dj_map_find(indexes->tenants, deja_slice(id, DJ_ID_BYTES));",
         "struct deja_slice key = {0};\n    size_t cursor = 0;\n    void *value = NULL;\n    (void)id;\n"
         "    return dj_map_next(indexes->tenants, &cursor, &key, &value) ? value : NULL;")],
    "the tenant is not in LMDB's keys": [
        ("src/store/lmdb.c", "struct dj_store_key key = dj_store_key_of(dj_value_entry(value));",
         "struct dj_store_key key = dj_store_key_of(dj_value_entry(value));\n    memset(key.tenant, 0, DJ_ID_BYTES);"),
        ("src/store/lmdb_read.c", "MDB_val key = dj_lmdb_val(&read->key, sizeof read->key);",
         "memset(read->key.tenant, 0, DJ_ID_BYTES);\n        MDB_val key = dj_lmdb_val(&read->key, sizeof read->key);"),
        ("src/store/lmdb_read.c", "!dj_store_key_is_equal(&named, key) || ", "")],
    "the tenant is not in the counters of generations": [
        ("src/cache/generations.c", "memcpy(bytes, tenant, DJ_ID_BYTES);",
         "(void)tenant;\n    memset(bytes, 0, DJ_ID_BYTES);")],
    "flights are told apart by one byte": [
        ("src/cache/flight.c", "dj_map_find(flights->map, deja_slice(key, DJ_SHA256_BYTES))",
         "dj_map_find(flights->map, deja_slice(key, 1))"),
        ("src/cache/flight.c", "dj_map_put(flights->map, deja_slice(key, DJ_SHA256_BYTES), flight, &old)",
         "dj_map_put(flights->map, deja_slice(key, 1), flight, &old)")],
    "top is that of all tenants": [
        ("src/cache/access_top.c", "if (memcmp(row->key.tenant, tenant, DJ_ID_BYTES) == 0)", "if (tenant)")],
    "statistics are those of all tenants": [
        ("src/cache/engine.c", "->stats(engine->options.memory, tenant, &out_stats->memory)",
         "->stats(engine->options.memory, NULL, &out_stats->memory)")],
}

# Of plain keys, for tests/isolation/keys.
KEY_MUTANTS = {
    "the tenant is in no name of a plain key": [
        ("src/cache/plain.c", "        deja_slice(space->tenant, sizeof space->tenant),\n", ""),
        ("src/cache/plain.c", "memcpy(out_key->tenant, space->tenant, sizeof out_key->tenant);",
         "memset(out_key->tenant, 0, sizeof out_key->tenant);"),
        ("src/cache/plain.c", "memcpy(space->tenant, tenant, sizeof space->tenant);",
         "(void)tenant;\n    memset(space->tenant, 0, sizeof space->tenant);")],
    "the namespace is not in the names of plain keys": [
        ("src/cache/plain.c", "        space->name_space,\n        key,\n", "        key,\n")],
    "plain keys have no key of their tenant or user": [
        ("src/cache/plain.c", "dj_hmac_key_init(&space->names, fingerprint_key);",
         "(void)fingerprint_key;\n    dj_hmac_key_init(&space->names, (const uint8_t[DJ_SHA256_BYTES]){0});")],
    "a list of plain keys is of all namespaces": [
        ("src/cache/plain_scan.c", "deja_slice_is_equal(entry->name_space, wanted->name_space) &&", "")],
    "a list of plain keys is of all users": [
        ("src/cache/plain_scan.c", "is_of_user(wanted, entry) &&", "")],
    "figures of plain keys are those of all tenants": [
        ("src/cache/plain.c", "            add(counters, out_stats);", "            add(&here->all, out_stats);")],
}

# Of the tiers that are servers, for tests/conformance: (level, edits).
ZEROS = "(const uint8_t[DJ_ID_BYTES]){0}"
TIER_MUTANTS = {
    "PostgreSQL reads without the tenant": ("postgres", [
        ("src/store/postgres_sql.c", "SELECT record, version FROM cache_metadata WHERE tenant = $1::uuid AND key",
         "SELECT record, version FROM cache_metadata WHERE $1::uuid IS NOT NULL AND key")]),
    "PostgreSQL searches without the tenant": ("postgres", [
        ("src/store/postgres_sql.c", "\" AND tenant = $2::uuid AND embedder_id = $3::text AND dim = $4::int\"\n"
         "        \" AND embedding IS NOT NULL AND \" ALIVE(",
         "\" AND $2::uuid IS NOT NULL AND embedder_id = $3::text AND dim = $4::int\"\n"
         "        \" AND embedding IS NOT NULL AND \" ALIVE(")]),
    "PostgreSQL lists without the tenant": ("postgres", [
        ("src/store/postgres_sql.c", "\" WHERE tenant = $1::uuid AND ($2::uuid IS NULL OR key > $2::uuid)\"",
         "\" WHERE $1::uuid IS NOT NULL AND ($2::uuid IS NULL OR key > $2::uuid)\"")]),
    "Valkey's keys have no tenant": ("redis", [
        ("src/store/redis_command.c", "dj_tenant_text(key->tenant, tenant);", f"dj_tenant_text({ZEROS}, tenant);")]),
    "names of objects have no tenant": ("s3", [
        ("src/store/s3.c", "dj_s3_name_folder(s3, key->tenant, out_name);",
         f"dj_s3_name_folder(s3, {ZEROS}, out_name);")]),
}
# Of the daemon, for tests/integration/test_isolation.py.
DAEMON_MUTANTS = {
    "every credential is one tenant": [
        ("src/security/tenant.c", "{deja_slice(tenant_label, sizeof tenant_label), credential}",
         "{deja_slice(tenant_label, sizeof tenant_label), deja_slice(credential.data, 0)}")],
    "the namespace is not in the fingerprints": [
        ("src/cache/key.c", "append_part(buf, prefix->name_space);", "")],
    "every user owns every entry": [
        ("src/api/user.c", "    if (!request->who.has_user)\n        return true;\n    dj_user_tag",
         "    if (request)\n        return true;\n    dj_user_tag")],
}
# Likewise, for test_isolation_keys.py.
DAEMON_KEY_MUTANTS = {
    "plain keys over HTTP have no namespace": [
        ("src/api/kv_common.c", "        out_names->name_space = name_space;", "        (void)name_space;")],
    "clients of Redis list without their user": [
        ("src/api/resp_auth.c", "dj_user_tag(client->who.user, client->user_tag);", "(void)client;")],
    "what concerns all users is told to each": [
        ("src/api/user.c", "    if (!request->who.has_user)\n        return false;\n    dj_request_problem",
         "    if (request)\n        return false;\n    dj_request_problem")],
    "notices are those of all tenants": [
        ("src/cache/notices.c", "reader->is_of_all || memcmp(reader->tenant, notice->tenant, DJ_ID_BYTES) == 0",
         "reader && notice")],
    "schedules are those of all tenants": [
        ("src/daemon/schedules.c", "memcmp(schedule->tenant, tenant, DJ_TENANT_BYTES) != 0 ||", "!tenant ||")],
}


class Misfit(Exception):
    pass


def compile_edited(build, folder, name, edits):
    """Objects of the edited files."""
    commands = {Path(build, one["file"]).resolve(): shlex.split(one["command"])
                for one in json.loads((build / "compile_commands.json").read_text())}
    texts = {}
    for file, old, new in edits:
        text = texts.setdefault(file, (ROOT / file).read_text())
        if text.count(old) != 1:
            raise Misfit(f"{name}: {file} has {text.count(old)} times: {old.strip()}")
        texts[file] = text.replace(old, new)
    objects = []
    for file, text in texts.items():
        source = folder / file.replace("/", "_")
        source.write_text(text)
        command = commands[(ROOT / file).resolve()]
        made = source.with_suffix(".o")
        command[command.index("-o") + 1] = str(made)
        command[command.index("-c") + 1] = str(source)
        for option in ("-MF", "-MQ"):
            command[command.index(option) + 1] = str(made) + ".d"
        subprocess.run([*command, "-Wno-error", "-w"], cwd=build, check=True)
        objects.append(str(made))
    return objects


def link(build, target, objects, made):
    """As BUILD links target, but with the objects in front."""
    listed = subprocess.run(["ninja", "-C", str(build), "-t", "commands", target], check=True, capture_output=True,
                            text=True).stdout.strip().split("\n")
    command = shlex.split(listed[-1])
    at = command.index("-o") + 1
    command[at] = str(made)
    subprocess.run([*command[: at + 1], *objects, *command[at + 1 :]], cwd=build, check=True)


def make(build, target, name, edits):
    """The mutant of that target as a program."""
    folder = build / "mutants" / "".join(c if c.isalnum() else "_" for c in name)
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / Path(target).name
    link(build, target, compile_edited(build, folder, name, edits), made)
    return made


def is_noticed(build, name):
    target = "isolation" if name in MUTANTS else "keys"
    program = make(build, f"tests/isolation/{target}", name, {**MUTANTS, **KEY_MUTANTS}[name])
    done = subprocess.run([str(program), "1", CHECKS], capture_output=True, text=True, timeout=300)
    told = done.stdout.strip().split("\n")[-1]
    print(f"{'noticed' if done.returncode else 'MISSED':8} {name}: {told or done.stderr.strip()[-200:]}", flush=True)
    return done.returncode != 0


def main(build, *names):
    build = Path(build).resolve()
    try:
        noticed = [is_noticed(build, name) for name in names or [*MUTANTS, *KEY_MUTANTS]]
    except Misfit as misfit:
        print(f"mutants.py does not fit the source any more: {misfit}")
        return 1
    print(f"{sum(noticed)} of {len(noticed)} mutants noticed")
    return 0 if all(noticed) else 1


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
