/* tools/doctor_local.c - what this machine can tell without asking anybody. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "config/diagnostics.h"
#include "simd/simd.h"
#include "tools/doctor_internal.h"
#include "tools/lock.h"
#include "tools/model_internal.h"

#define LINES_SHOWN 20u
#define DISK_LEAST (100ull << 20)
#define DISK_LITTLE (1ull << 30)
#define FILES_BESIDE 128u /* listeners, stores, upstream connections */
#define SECRET_BYTES 32

void dj_doctor_look_at_config(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    const struct dj_diagnostics *diagnostics = facts->diagnostics;
    struct deja_slice rest = dj_buf_slice(&diagnostics->text);
    dj_simd_init();
    dj_findings_add(findings, DJ_FINDING_OK, "program", "deja " DEJA_VERSION ", vectors with %s",
                    dj_simd()->name);
    for (size_t i = 0; rest.len && i < LINES_SHOWN; i++) {
        const char *end = memchr(rest.data, '\n', rest.len);
        struct deja_slice line = deja_slice(rest.data, end ? (size_t)(end - rest.data) : rest.len);
        size_t used = line.len + (end != NULL);
        dj_findings_add(findings, facts->is_config_valid ? DJ_FINDING_WARN : DJ_FINDING_FAIL,
                        "configuration", "%.*s", (int)line.len, line.data);
        rest = deja_slice(rest.data + used, rest.len - used);
    }
    if (rest.len)
        dj_findings_add(findings, DJ_FINDING_WARN, "configuration", "and more");
    if (!facts->is_config_valid && !diagnostics->text.len)
        dj_findings_add(findings, DJ_FINDING_FAIL, "configuration", "it could not be read");
    if (diagnostics->text.len || !facts->is_config_valid)
        dj_findings_advise(findings, "deja config check shows every line; deja config describe, "
                                     "every setting");
    else
        dj_findings_add(findings, DJ_FINDING_OK, "configuration", "no errors, no warnings");
    if (!facts->is_config_valid)
        dj_findings_add(findings, DJ_FINDING_SKIP, "data, model",
                        "the configuration says where they are");
}

/* ---- data ---- */

static void look_at_disk(const char *path, struct dj_findings *findings)
{
    static const struct {
        uint32_t magic;
        const char *name, *trouble;
    } kinds[] = {
        {0x6969, "NFS", "its locks and memory maps are not reliable enough for the embedded tier"},
        {0xff534d42, "CIFS", "its memory maps are not reliable enough for the embedded tier"},
        {0xfe534d42, "SMB", "its memory maps are not reliable enough for the embedded tier"},
        {0x01021994, "tmpfs", "it is gone after a restart of the machine, and takes its memory"},
    };
    struct statfs disk;
    if (statfs(path, &disk) != 0) {
        dj_findings_add(findings, DJ_FINDING_WARN, "disk", "%s: %s", path, strerror(errno));
        return;
    }
    uint64_t left = (uint64_t)disk.f_bavail * (uint64_t)disk.f_bsize;
    enum dj_finding_level level = left < DISK_LEAST    ? DJ_FINDING_FAIL
                                  : left < DISK_LITTLE ? DJ_FINDING_WARN
                                                       : DJ_FINDING_OK;
    dj_findings_add(findings, level, "disk", "%.1f GB free", (double)left / (double)(1 << 30));
    if (level != DJ_FINDING_OK)
        dj_findings_advise(findings, "make room, or set a smaller lmdb.max_bytes");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if ((uint32_t)disk.f_type != kinds[i].magic)
            continue;
        dj_findings_add(findings, DJ_FINDING_WARN, "disk", "%s is on %s: %s", path, kinds[i].name,
                        kinds[i].trouble);
        dj_findings_advise(findings, "--data DIR on a local disk");
    }
}

static void look_at_secret(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    char path[DJ_MODEL_PATH_MAX];
    struct stat info;
    if (facts->is_secret_configured) {
        dj_findings_add(findings, DJ_FINDING_OK, "secret", "from the configuration");
        return;
    }
    if (dj_model_path(path, facts->data_dir, "secret", "") != DEJA_OK)
        return;
    if (stat(path, &info) != 0) {
        dj_findings_add(
            findings, errno == ENOENT ? DJ_FINDING_OK : DJ_FINDING_FAIL, "secret",
            errno == ENOENT ? "none yet: made at the first start" : "%s: cannot be read", path);
        return;
    }
    if (info.st_mode & 077) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "secret", "others can read %s (mode %04o)", path,
                        (unsigned)info.st_mode & 07777);
        dj_findings_advise(findings, "chmod 600 %s", path);
    } else if (info.st_size != SECRET_BYTES) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "secret", "%s is damaged: %lld bytes, not %d",
                        path, (long long)info.st_size, SECRET_BYTES);
        dj_findings_advise(findings, "bring it back from a backup; a new one makes all stored "
                                     "entries unreachable");
    } else {
        dj_findings_add(findings, DJ_FINDING_OK, "secret", "%s, mode %04o", path,
                        (unsigned)info.st_mode & 07777);
    }
}

/* What wraps the keys that data at rest is sealed with. */
static void look_at_master_key(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    char path[DJ_MODEL_PATH_MAX];
    struct stat info;
    if (!facts->is_sealing) {
        dj_findings_add(findings, DJ_FINDING_WARN, "encryption",
                        "off: what is kept outside memory lies there as it is");
        dj_findings_advise(findings, "take encryption.enabled: false out");
        return;
    }
    if (facts->is_search_readable)
        dj_findings_add(findings, DJ_FINDING_WARN, "encryption",
                        "l3.postgres.search keeps vectors readable: whoever reads that database "
                        "can recover texts from them");
    if (facts->has_master_key) {
        dj_findings_add(findings, DJ_FINDING_OK, "master key", "from the configuration");
        return;
    }
    if (facts->has_remote_tiers) {
        dj_findings_add(findings, DJ_FINDING_WARN, "master key",
                        "derived from the deployment's secret: it protects only against who cannot "
                        "read that");
        dj_findings_advise(findings, "set encryption.master_key_file, the same for every program");
        return;
    }
    if (dj_model_path(path, facts->data_dir, "master.key", "") != DEJA_OK)
        return;
    if (stat(path, &info) != 0)
        dj_findings_add(
            findings, errno == ENOENT ? DJ_FINDING_OK : DJ_FINDING_FAIL, "master key",
            errno == ENOENT ? "none yet: made at the first start" : "%s: cannot be read", path);
    else if (info.st_mode & 077)
        dj_findings_add(findings, DJ_FINDING_FAIL, "master key", "others can read %s (mode %04o)",
                        path, (unsigned)info.st_mode & 07777);
    else if (info.st_size != SECRET_BYTES)
        dj_findings_add(findings, DJ_FINDING_FAIL, "master key",
                        "%s is damaged: %lld bytes, not %d", path, (long long)info.st_size,
                        SECRET_BYTES);
    else
        dj_findings_add(findings, DJ_FINDING_OK, "master key",
                        "%s, beside what it protects: whoever copies the directory has both", path);
}

static bool look_at_lock(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    uint64_t pid = 0;
    if (!dj_tool_lock_look(facts->data_dir, &pid))
        return false;
    if (pid)
        dj_findings_add(findings, DJ_FINDING_OK, "lock", "process %llu uses the data directory",
                        (unsigned long long)pid);
    else
        dj_findings_add(findings, DJ_FINDING_OK, "lock", "nobody uses the data directory");
    return pid != 0;
}

static bool look_at_data(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    struct stat info;
    const char *path = facts->data_dir;
    if (stat(path, &info) != 0 && errno == ENOENT) {
        dj_findings_add(findings, DJ_FINDING_WARN, "data", "%s is not there yet", path);
        dj_findings_advise(findings, "deja serve makes it; --data DIR names another");
        return false;
    }
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "data", "%s cannot be used: %s", path,
                        errno ? strerror(errno) : "not a folder");
        dj_findings_advise(findings, "--data DIR names another");
        return false;
    }
    if (access(path, R_OK | W_OK | X_OK) != 0) {
        dj_findings_add(findings, DJ_FINDING_FAIL, "data", "%s cannot be written by this user",
                        path);
        dj_findings_advise(findings, "run as its owner, or chown -R \"$USER\" %s", path);
        return false;
    }
    if (info.st_mode & 022) {
        dj_findings_add(findings, DJ_FINDING_WARN, "data", "others can write in %s (mode %04o)",
                        path, (unsigned)info.st_mode & 07777);
        dj_findings_advise(findings, "chmod 700 %s", path);
    } else {
        dj_findings_add(findings, DJ_FINDING_OK, "data", "%s", path);
    }
    look_at_disk(path, findings);
    look_at_secret(facts, findings);
    look_at_master_key(facts, findings);
    return look_at_lock(facts, findings);
}

/* ---- model ---- */

/* NULL, or the first file that is not what was verified. */
static const char *damaged_file(const char *directory, const struct dj_model_file *files)
{
    for (size_t i = 0; i < DJ_MODEL_FILES; i++)
        if (!dj_model_has_file(directory, &files[i]))
            return files[i].name;
    return NULL;
}

static void look_at_model(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    struct dj_model_file files[DJ_MODEL_FILES];
    char weights[DJ_MODEL_PATH_MAX];
    bool is_needed = facts->embedder && strcmp(facts->embedder, "transformer") == 0;
    enum dj_finding_level missing = is_needed ? DJ_FINDING_FAIL : DJ_FINDING_WARN;
    if (facts->embedder && strcmp(facts->embedder, "http") == 0) {
        dj_findings_add(findings, DJ_FINDING_OK, "embedder",
                        "http, as configured; /health/detailed of the daemon asks it");
        return;
    }
    if (!facts->embedder || strcmp(facts->embedder, "lexical") == 0) {
        dj_findings_add(findings, DJ_FINDING_OK, "embedder",
                        facts->embedder ? "lexical, as configured: words only"
                                        : "none, as configured: exact hits only");
        return;
    }
    if (dj_model_path(weights, facts->model_dir, "model.safetensors", "") != DEJA_OK ||
        access(weights, R_OK) != 0) {
        dj_findings_add(findings, missing, "model", "%s is not in %s%s", facts->model,
                        facts->model_dir,
                        is_needed ? "" : ": rewordings are found by their words only");
        dj_findings_advise(findings, "deja model pull all-minilm-l6-v2, then start again");
        if (!is_needed)
            dj_findings_add(findings, DJ_FINDING_OK, "embedder", "lexical, for want of a model");
    } else if (dj_model_read_marker(facts->model_dir, files) != DEJA_OK) {
        dj_findings_add(findings, DJ_FINDING_WARN, "model", "%s was never verified",
                        facts->model_dir);
        dj_findings_advise(findings, "deja model pull or deja model add bring one that is");
    } else {
        const char *damaged = damaged_file(facts->model_dir, files);
        dj_findings_add(findings, damaged ? DJ_FINDING_FAIL : DJ_FINDING_OK, "model",
                        damaged ? "%s: %s has not the digest it had"
                                : "%s: %s and what it needs, "
                                  "verified",
                        facts->model_dir, damaged ? damaged : "weights");
        if (damaged)
            dj_findings_advise(findings, "remove the folder, then deja model pull %s",
                               facts->model);
        else
            dj_findings_add(findings, DJ_FINDING_OK, "embedder", "transformer, %s", facts->model);
    }
}

static void look_at_files(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    struct rlimit files;
    rlim_t wanted = (rlim_t)facts->connections_max + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    bool is_enough = files.rlim_max == RLIM_INFINITY || files.rlim_max >= wanted;
    dj_findings_add(findings, is_enough ? DJ_FINDING_OK : DJ_FINDING_WARN, "open files",
                    "%llu may be open, %llu are wanted for %u connections",
                    (unsigned long long)files.rlim_max, (unsigned long long)wanted,
                    facts->connections_max);
    if (!is_enough)
        dj_findings_advise(findings,
                           "ulimit -Hn %llu (systemd: LimitNOFILE=), or a smaller "
                           "server.max_connections",
                           (unsigned long long)wanted);
}

bool dj_doctor_look_at_machine(const struct dj_doctor_facts *facts, struct dj_findings *findings)
{
    bool is_held = look_at_data(facts, findings);
    look_at_model(facts, findings);
    look_at_files(facts, findings);
    return is_held;
}
