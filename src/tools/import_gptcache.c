/* tools/import_gptcache.c - the SQLite file of a GPTCache: its questions and their first answers.
 *
 * Tables NAME_question (id, question, deleted) and NAME_answer (question_id, answer, answer_type);
 * NAME is "gptcache" unless it was configured. Its vectors (a FAISS file or the like beside it) are
 * of its embedder, and left: the texts are embedded anew. Answers that are not text (images as
 * paths) are told and left. Trust: somebody else's file: read only, without its own functions.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

#include "base/alloc.h"
#include "proto/json.h"
#include "tools/import_source.h"

#define NAME_BYTES 96u
#define ANSWER_IS_TEXT 0
#define VALUE_BYTES_MAX (32 << 20)

struct gptcache {
    sqlite3 *db;
    sqlite3_stmt *rows;
    char name[NAME_BYTES]; /* before _question */
    int64_t last;          /* question's id */
};

static void close_gptcache(void *ctx)
{
    struct gptcache *gptcache = ctx;
    sqlite3_finalize(gptcache->rows);
    sqlite3_close(gptcache->db);
    dj_free(gptcache);
}

static enum deja_status fail(const struct gptcache *gptcache, struct deja_error *error)
{
    return deja_error_set(error, DEJA_ERR_IO, "SQLite: %s", sqlite3_errmsg(gptcache->db));
}

/* Of plain characters, as it becomes part of a statement. */
static bool take_name(struct gptcache *gptcache, const char *table)
{
    static const char end[] = "_question";
    size_t len = table ? strlen(table) : 0;
    if (len <= sizeof end - 1 || len - (sizeof end - 1) >= NAME_BYTES ||
        strcmp(table + len - (sizeof end - 1), end) != 0)
        return false;
    len -= sizeof end - 1;
    for (size_t i = 0; i < len; i++)
        if (!((table[i] >= 'a' && table[i] <= 'z') || (table[i] >= 'A' && table[i] <= 'Z') ||
              (table[i] >= '0' && table[i] <= '9') || table[i] == '_'))
            return false;
    memcpy(gptcache->name, table, len);
    gptcache->name[len] = '\0';
    return true;
}

static enum deja_status find_tables(struct gptcache *gptcache, struct deja_error *error)
{
    static const char question[] =
        "SELECT q.name FROM sqlite_master q JOIN sqlite_master a ON a.type='table' AND "
        "a.name=substr(q.name,1,length(q.name)-9)||'_answer' WHERE q.type='table' AND q.name LIKE "
        "'%\\_question' ESCAPE '\\' ORDER BY q.name='gptcache_question' DESC LIMIT 1";
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(gptcache->db, question, -1, &statement, NULL) != SQLITE_OK)
        return fail(gptcache, error);
    bool is_found = sqlite3_step(statement) == SQLITE_ROW &&
                    take_name(gptcache, (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    return is_found ? DEJA_OK
                    : deja_error_set(error, DEJA_ERR_INVALID,
                                     "it is a SQLite database, but not of GPTCache: it has no "
                                     "tables gptcache_question and gptcache_answer");
}

static enum deja_status prepare(struct gptcache *gptcache, struct deja_error *error)
{
    char text[512];
    snprintf(text, sizeof text,
             "SELECT q.id, q.question, a.answer, a.answer_type FROM %s_question q JOIN %s_answer a "
             "ON a.id=(SELECT min(id) FROM %s_answer WHERE question_id=q.id) WHERE q.id>? AND "
             "coalesce(q.deleted,0)=0 ORDER BY q.id",
             gptcache->name, gptcache->name, gptcache->name);
    return sqlite3_prepare_v2(gptcache->db, text, -1, &gptcache->rows, NULL) == SQLITE_OK
               ? DEJA_OK
               : fail(gptcache, error);
}

static void put_row(struct gptcache *gptcache, struct dj_buf *out)
{
    struct dj_json_writer w = dj_json_writer(out);
    const char *question = (const char *)sqlite3_column_text(gptcache->rows, 1);
    const char *answer = (const char *)sqlite3_column_text(gptcache->rows, 2);
    dj_json_begin_object(&w);
    dj_json_member_text(&w, "query", question);
    dj_json_member_text(&w, "response", answer);
    dj_json_member_text(&w, "provider", "gptcache");
    dj_json_end_object(&w);
}

static enum deja_status next_question(void *ctx, struct dj_buf *out_json, uint64_t *out_number,
                                      struct deja_error *error)
{
    struct gptcache *gptcache = ctx;
    int code = sqlite3_step(gptcache->rows);
    if (code == SQLITE_DONE)
        return DEJA_ERR_NOT_FOUND;
    if (code != SQLITE_ROW)
        return fail(gptcache, error);
    gptcache->last = sqlite3_column_int64(gptcache->rows, 0);
    *out_number = (uint64_t)gptcache->last;
    if (sqlite3_column_int(gptcache->rows, 3) != ANSWER_IS_TEXT)
        return deja_error_set(error, DEJA_ERR_INVALID, "its answer is no text");
    if (sqlite3_column_type(gptcache->rows, 1) != SQLITE_TEXT ||
        sqlite3_column_type(gptcache->rows, 2) != SQLITE_TEXT)
        return deja_error_set(error, DEJA_ERR_INVALID, "question or answer is missing");
    put_row(gptcache, out_json);
    /* What is not UTF-8 there is none here either. */
    struct dj_json_doc *doc = NULL;
    enum deja_status status =
        out_json->status == DEJA_OK ? dj_json_parse(dj_buf_slice(out_json), &doc, NULL) : DEJA_OK;
    dj_json_doc_destroy(doc);
    return status == DEJA_OK ? out_json->status
                             : deja_error_set(error, DEJA_ERR_INVALID, "it is not UTF-8");
}

static uint64_t position_of(void *ctx)
{
    return (uint64_t)((const struct gptcache *)ctx)->last;
}

static enum deja_status seek(void *ctx, uint64_t position, struct deja_error *error)
{
    struct gptcache *gptcache = ctx;
    gptcache->last = (int64_t)position;
    sqlite3_reset(gptcache->rows);
    return sqlite3_bind_int64(gptcache->rows, 1, gptcache->last) == SQLITE_OK
               ? DEJA_OK
               : fail(gptcache, error);
}

enum deja_status dj_import_gptcache_open(const char *path, struct dj_import_source *out_source,
                                         struct deja_error *error)
{
    struct gptcache *gptcache = dj_alloc_zeroed(1, sizeof *gptcache);
    if (!gptcache)
        return deja_error_set(error, DEJA_ERR_NOMEM, "out of memory");
    enum deja_status status = DEJA_OK;
    if (sqlite3_open_v2(path, &gptcache->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK)
        status = gptcache->db ? fail(gptcache, error) : DEJA_ERR_NOMEM;
    if (status == DEJA_OK) {
        sqlite3_db_config(gptcache->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(gptcache->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_limit(gptcache->db, SQLITE_LIMIT_LENGTH, VALUE_BYTES_MAX);
        sqlite3_busy_timeout(gptcache->db, 2000);
        status = find_tables(gptcache, error);
    }
    if (status == DEJA_OK)
        status = prepare(gptcache, error);
    if (status == DEJA_OK)
        status = seek(gptcache, 0, error);
    if (status != DEJA_OK) {
        close_gptcache(gptcache);
        return status;
    }
    *out_source = (struct dj_import_source){.ctx = gptcache,
                                            .form = "gptcache",
                                            .unit = "question",
                                            .method = "PUT",
                                            .path = "/api/v1/entries",
                                            .member = "entries",
                                            .next = next_question,
                                            .position = position_of,
                                            .seek = seek,
                                            .close = close_gptcache};
    return DEJA_OK;
}
