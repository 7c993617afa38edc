/* config/config.c - see config.h.
 *
 * Reads libfyaml's events, not its documents: nothing is expanded, so there is no alias to bound
 * and no tree to walk twice. JSON is the same reader with libfyaml told to accept nothing else.
 *
 * (1) path holds the dotted key of the value that comes next; levels[i].path_len is its length
 *     without the last part.
 * (2) A fault of meaning (duplicate, odd key) is reported and its value skipped; a fault of form
 *     ends the reading, because what follows cannot be trusted to mean what it says.
 */
#include "config/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libfyaml.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/map.h"
#include "base/slice.h"

#define PATH_MAX_LEN 256u
#define NAME_MAX_LEN 1024u
#define ARENA_BYTES_MAX (16u << 20)

struct dj_config {
    char *name; /* owned */
    struct dj_arena arena;
    struct dj_config_item *items; /* owned */
    size_t count, cap;
};

struct level {
    bool is_list;
    bool has_key;
    bool is_used; /* a key was met */
    size_t path_len;
    uint32_t key_line, key_column;
};

struct reader {
    struct dj_config *config;
    struct dj_diagnostics *diagnostics;
    struct deja_slice text; /* borrowed: the whole file */
    struct dj_map *seen;    /* every key met, sections too */
    struct level levels[DJ_CONFIG_DEPTH_MAX + 1];
    unsigned depth; /* 0: outside the root mapping */
    unsigned skip_depth;
    bool is_value_skipped;
    bool has_document;
    enum deja_status status;
    struct dj_buf list;
    uint32_t list_line, list_column;
    size_t list_count;
    size_t path_len;
    char path[PATH_MAX_LEN + 1];
};

static uint64_t hash_key(void *ctx, struct deja_slice key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a: the operator's own file, no flooding */
    (void)ctx;
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 1099511628211u;
    return hash;
}

static void report(struct reader *reader, uint32_t line, uint32_t column, const char *message,
                   const char *detail)
{
    char where[NAME_MAX_LEN + 32];
    snprintf(where, sizeof where, "%s:%u:%u", reader->config->name, line, column);
    dj_diagnostics_error(reader->diagnostics, where, "%s%s", message, detail);
}

/* Marks of quoted text and aliases stand behind the quote or the star: people count from it. */
static void mark_of(const struct reader *reader, struct fy_event *event, uint32_t *out_line,
                    uint32_t *out_column)
{
    const struct fy_mark *mark = fy_event_start_mark(event);
    *out_line = mark && mark->line >= 0 ? (uint32_t)mark->line + 1 : 1;
    *out_column = mark && mark->column >= 0 ? (uint32_t)mark->column + 1 : 1;
    size_t at = mark ? mark->input_pos : 0;
    if (at && at <= reader->text.len && *out_column > 1 &&
        memchr("\"'*", reader->text.data[at - 1], 3))
        *out_column -= 1;
}

/* A fault of form: reported, and the reading ends. */
static void give_up(struct reader *reader, struct fy_event *event, const char *message)
{
    uint32_t line = 1, column = 1;
    mark_of(reader, event, &line, &column);
    report(reader, line, column, message, "");
    reader->status = DEJA_ERR_CONFIG;
}

static bool has_control(struct deja_slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return true;
    return false;
}

static bool is_key_name(struct deja_slice text)
{
    if (!text.len || text.len > 128)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_word && (c == '\0' || !strchr("_-.*/:@+", c)))
            return false; /* the latter are of models' names */
    }
    return true;
}

static void on_key(struct reader *reader, struct fy_event *event, struct deja_slice key)
{
    struct level *level = &reader->levels[reader->depth];
    mark_of(reader, event, &level->key_line, &level->key_column);
    level->has_key = true;
    level->is_used = true;
    if (!is_key_name(key)) {
        report(reader, level->key_line, level->key_column,
               "a key is made of letters, digits and _ - . * / : @ +", "");
        reader->is_value_skipped = true;
        return;
    }
    size_t dot = level->path_len ? 1 : 0;
    if (level->path_len + dot + key.len > PATH_MAX_LEN) {
        report(reader, level->key_line, level->key_column, "the key is too long", "");
        reader->is_value_skipped = true;
        return;
    }
    if (dot)
        reader->path[level->path_len] = '.';
    memcpy(reader->path + level->path_len + dot, key.data, key.len);
    reader->path_len = level->path_len + dot + key.len;
    reader->path[reader->path_len] = '\0';
    struct deja_slice path = deja_slice(reader->path, reader->path_len);
    if (dj_map_find(reader->seen, path)) {
        report(reader, level->key_line, level->key_column, "duplicate key ", reader->path);
        reader->is_value_skipped = true;
        return;
    }
    enum deja_status status = dj_map_put(reader->seen, path, reader, NULL);
    if (status == DEJA_ERR_LIMIT)
        give_up(reader, event, "too many keys");
    else
        reader->status = status;
}

static const char *copy_text(struct dj_config *config, struct deja_slice text)
{
    char *copy = dj_arena_alloc(&config->arena, text.len + 1);
    if (!copy)
        return NULL;
    if (text.len)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

static enum deja_status add_item(struct reader *reader, enum dj_config_kind kind,
                                 struct deja_slice value, uint32_t line, uint32_t column)
{
    struct dj_config *config = reader->config;
    const struct level *level = &reader->levels[reader->depth];
    if (config->count == config->cap) {
        size_t cap = config->cap ? config->cap * 2 : 32;
        struct dj_config_item *items = dj_realloc(config->items, cap * sizeof *items);
        if (!items)
            return DEJA_ERR_NOMEM;
        config->items = items;
        config->cap = cap;
    }
    struct dj_config_item item = {
        .key = copy_text(config, deja_slice(reader->path, reader->path_len)),
        .value = copy_text(config, value),
        .kind = kind,
        .line = line,
        .column = column,
        .key_line = level->key_line,
        .key_column = level->key_column,
        .section_line = reader->levels[1].key_line,
        .section_column = reader->levels[1].key_column,
    };
    if (!item.key || !item.value)
        return DEJA_ERR_NOMEM;
    config->items[config->count++] = item;
    return DEJA_OK;
}

static enum dj_config_kind scalar_kind(struct fy_token *token, struct deja_slice text)
{
    if (fy_token_scalar_style(token) != FYSS_PLAIN)
        return DJ_CONFIG_TEXT;
    bool is_null = !text.len || dj_slice_is(text, "~") || dj_slice_is(text, "null");
    return is_null ? DJ_CONFIG_NULL : DJ_CONFIG_SCALAR;
}

static void on_list_scalar(struct reader *reader, struct fy_event *event, struct deja_slice text)
{
    if (!text.len) {
        give_up(reader, event, "an empty item in a list");
        return;
    }
    if (reader->list_count++)
        dj_buf_append_byte(&reader->list, '\n');
    dj_buf_append_slice(&reader->list, text);
}

static void on_scalar(struct reader *reader, struct fy_event *event)
{
    struct level *level = &reader->levels[reader->depth];
    struct fy_token *token = event->scalar.value;
    size_t len = 0;
    const char *data = token ? fy_token_get_text(token, &len) : "";
    struct deja_slice text = deja_slice(data, data ? len : 0);
    enum dj_config_kind kind = token ? scalar_kind(token, text) : DJ_CONFIG_NULL;
    uint32_t line = 1, column = 1;
    mark_of(reader, event, &line, &column);
    if (event->scalar.tag) {
        give_up(reader, event, "tags are not accepted");
    } else if (has_control(text)) {
        give_up(reader, event, "a value of one line without control characters is expected");
    } else if (!reader->depth) {
        if (kind != DJ_CONFIG_NULL)
            give_up(reader, event, "expected \"key: value\" lines");
    } else if (level->is_list) {
        on_list_scalar(reader, event, text);
    } else if (!level->has_key) {
        on_key(reader, event, text);
    } else {
        level->has_key = false;
        if (!reader->is_value_skipped)
            reader->status = add_item(reader, kind, text, line, column);
        reader->is_value_skipped = false;
    }
}

static void on_start(struct reader *reader, struct fy_event *event, bool is_list)
{
    struct level *level = &reader->levels[reader->depth];
    if (!reader->depth && is_list) {
        give_up(reader, event, "expected \"key: value\" lines, not a list");
        return;
    }
    if (reader->depth && level->is_list) {
        give_up(reader, event, "a list holds plain values only");
        return;
    }
    if (reader->depth && !level->has_key) {
        give_up(reader, event, "a key must be plain text");
        return;
    }
    if (reader->depth == DJ_CONFIG_DEPTH_MAX) {
        give_up(reader, event, "nested too deep");
        return;
    }
    if (is_list ? event->sequence_start.tag != NULL : event->mapping_start.tag != NULL) {
        give_up(reader, event, "tags are not accepted");
        return;
    }
    reader->depth++;
    reader->levels[reader->depth] = (struct level){.is_list = is_list,
                                                   .path_len = reader->path_len,
                                                   .key_line = level->key_line,
                                                   .key_column = level->key_column};
    if (is_list) {
        dj_buf_clear(&reader->list);
        reader->list_count = 0;
        mark_of(reader, event, &reader->list_line, &reader->list_column);
    }
}

static void on_end(struct reader *reader)
{
    struct level ended = reader->levels[reader->depth];
    reader->depth--;
    if (!reader->depth)
        return;
    reader->levels[reader->depth].has_key = false;
    reader->path_len = ended.path_len;
    reader->path[reader->path_len] = '\0';
    if (!ended.is_list) {
        if (!ended.is_used)
            reader->status = add_item(reader, DJ_CONFIG_EMPTY, deja_slice_text(""), ended.key_line,
                                      ended.key_column);
        return;
    }
    reader->status = reader->list.status;
    if (reader->status == DEJA_OK)
        reader->status = add_item(reader, DJ_CONFIG_LIST, dj_buf_slice(&reader->list),
                                  reader->list_line, reader->list_column);
}

/* Inside a value that was refused: count brackets until it is over. */
static bool skip_event(struct reader *reader, enum fy_event_type type)
{
    bool is_start = type == FYET_MAPPING_START || type == FYET_SEQUENCE_START;
    bool is_end = type == FYET_MAPPING_END || type == FYET_SEQUENCE_END;
    bool is_value_next = reader->depth && reader->levels[reader->depth].has_key;
    if (!reader->skip_depth && !(reader->is_value_skipped && is_value_next && is_start))
        return false;
    if (is_start)
        reader->skip_depth++;
    if (is_end && --reader->skip_depth == 0) {
        reader->is_value_skipped = false;
        reader->levels[reader->depth].has_key = false;
    }
    return true;
}

static void on_event(struct reader *reader, struct fy_event *event)
{
    if (event->type != FYET_ALIAS && skip_event(reader, event->type))
        return;
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (reader->has_document)
            give_up(reader, event, "a second document; one file is one document");
        reader->has_document = true;
        break;
    case FYET_MAPPING_START:
        on_start(reader, event, false);
        break;
    case FYET_SEQUENCE_START:
        on_start(reader, event, true);
        break;
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        on_end(reader);
        break;
    case FYET_SCALAR:
        on_scalar(reader, event);
        break;
    case FYET_ALIAS:
        give_up(reader, event, "aliases are not accepted");
        break;
    default:
        break;
    }
}

static void report_syntax(struct reader *reader, struct fy_diag *diag)
{
    void *cursor = NULL;
    const struct fy_diag_error *fault = fy_diag_errors_iterate(diag, &cursor);
    reader->status = DEJA_ERR_CONFIG;
    if (!fault) {
        report(reader, 1, 1, "not a valid file", "");
        return;
    }
    report(reader, fault->line > 0 ? (uint32_t)fault->line : 1,
           fault->column > 0 ? (uint32_t)fault->column : 1, "",
           fault->msg ? fault->msg : "invalid");
}

static void read_events(struct reader *reader, struct deja_slice text, bool is_json)
{
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&diag_cfg);
    struct fy_parse_cfg cfg = {
        .flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG | FYPCF_DISABLE_MMAP_OPT |
                 (is_json ? FYPCF_JSON_FORCE : FYPCF_JSON_NONE),
        .diag = diag,
    };
    struct fy_parser *parser = NULL;
    reader->status = DEJA_ERR_NOMEM;
    if (!diag)
        return;
    fy_diag_set_collect_errors(diag, true);
    parser = fy_parser_create(&cfg);
    if (!parser || fy_parser_set_string(parser, text.data, text.len))
        goto done;
    reader->status = DEJA_OK;
    while (reader->status == DEJA_OK) {
        struct fy_event *event = fy_parser_parse(parser);
        if (!event)
            break;
        on_event(reader, event);
        fy_parser_event_free(parser, event);
    }
    if (reader->status == DEJA_OK && fy_parser_get_stream_error(parser))
        report_syntax(reader, diag);
done:
    fy_parser_destroy(parser);
    fy_diag_destroy(diag);
}

/* Bytes of the UTF-8 sequence at the start of text, 0 if there is none: no surrogates, no overlong
 * forms. (The text room, which knows UTF-8 too, is no room below this one.) */
static size_t sequence_len(struct deja_slice text)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)text.data[0];
    size_t len = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (len < 2)
        return len;
    uint32_t code_point = first & (0x7fU >> len);
    if (first > 0xf4 || len > text.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if ((byte & 0xc0) != 0x80)
            return 0;
        code_point = code_point << 6 | (byte & 0x3f);
    }
    bool is_surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
    return code_point < least[len] || code_point > 0x10ffff || is_surrogate ? 0 : len;
}

/* A file that is not text at all is not an empty configuration; and libfyaml 0.7 never returns from
 * a directive ("%") with a byte that is not UTF-8. */
static bool report_no_text(struct reader *reader, struct deja_slice text)
{
    uint32_t line = 1;
    uint32_t column = 1;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i += len, column++) {
        unsigned char byte = (unsigned char)text.data[i];
        const char *fault = NULL;
        len = sequence_len(deja_slice(text.data + i, text.len - i));
        if (!len)
            fault = "a byte that is not UTF-8: save the file as UTF-8";
        else if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f)
            fault = "a control character: this is not a text file";
        if (fault) {
            report(reader, line, column, fault, "");
            return true;
        }
        if (byte == '\n') {
            line++;
            column = 0;
        }
    }
    return false;
}

enum deja_status dj_config_parse(struct deja_slice text, const char *name, bool is_json,
                                 struct dj_diagnostics *diagnostics, struct dj_config **out_config)
{
    size_t faults = diagnostics->error_count;
    struct reader reader = {.diagnostics = diagnostics, .text = text};
    struct dj_config *config = dj_alloc_zeroed(1, sizeof *config);
    if (!config)
        return DEJA_ERR_NOMEM;
    reader.config = config;
    reader.status = DEJA_ERR_NOMEM;
    dj_arena_init(&config->arena, ARENA_BYTES_MAX);
    dj_buf_init(&reader.list, DJ_CONFIG_BYTES_MAX);
    size_t name_len = strlen(name);
    config->name =
        dj_strdup(deja_slice(name, name_len < NAME_MAX_LEN ? name_len : (size_t)NAME_MAX_LEN));
    if (!config->name)
        goto done;
    reader.status = dj_map_create(DJ_CONFIG_KEYS_MAX, hash_key, NULL, &reader.seen);
    if (reader.status != DEJA_OK)
        goto done;
    if (text.len > DJ_CONFIG_BYTES_MAX) {
        report(&reader, 1, 1, "the file is larger than 1 MB", "");
        reader.status = DEJA_ERR_CONFIG;
    } else if (report_no_text(&reader, text)) {
        reader.status = DEJA_ERR_CONFIG;
    } else if (text.len) {
        read_events(&reader, text, is_json);
    }
    if (reader.status == DEJA_OK && diagnostics->error_count > faults)
        reader.status = DEJA_ERR_CONFIG;
done:
    dj_map_destroy(reader.seen);
    dj_buf_fini(&reader.list);
    if (reader.status == DEJA_OK)
        *out_config = config;
    else
        dj_config_destroy(config);
    return reader.status;
}

static enum deja_status read_file(const char *path, struct dj_buf *out, const char **out_reason)
{
    struct stat info;
    enum deja_status status = DEJA_ERR_CONFIG;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *out_reason = "cannot be read";
    if (fd < 0)
        return status;
    if (fstat(fd, &info) || S_ISDIR(info.st_mode)) {
        *out_reason = "is a directory";
        goto done;
    }
    for (;;) {
        char *room = dj_buf_reserve(out, 16384);
        if (!room) {
            status = out->status == DEJA_ERR_LIMIT ? DEJA_OK : out->status;
            break; /* too large: dj_config_parse says so */
        }
        ssize_t got = read(fd, room, 16384);
        if (got < 0)
            goto done;
        if (got == 0) {
            status = DEJA_OK;
            break;
        }
        out->len += (size_t)got;
    }
done:
    close(fd);
    return status;
}

enum deja_status dj_config_read(const char *path, struct dj_diagnostics *diagnostics,
                                struct dj_config **out_config)
{
    struct dj_buf text;
    const char *reason = NULL;
    size_t len = strlen(path);
    bool is_json = len > 5 && memcmp(path + len - 5, ".json", 5) == 0;
    dj_buf_init(&text, DJ_CONFIG_BYTES_MAX + 32768);
    enum deja_status status = read_file(path, &text, &reason);
    if (status == DEJA_OK)
        status = dj_config_parse(dj_buf_slice(&text), path, is_json, diagnostics, out_config);
    else if (status == DEJA_ERR_CONFIG)
        dj_diagnostics_error(diagnostics, path, "the file %s", reason);
    if (text.data)
        explicit_bzero(text.data, text.len); /* it may hold a secret */
    dj_buf_fini(&text);
    return status;
}

void dj_config_destroy(struct dj_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->count; i++) { /* a value may be a secret */
        const char *value = config->items[i].value;
        explicit_bzero((void *)(uintptr_t)value, strlen(value));
    }
    dj_arena_fini(&config->arena);
    dj_free(config->items);
    dj_free(config->name);
    dj_free(config);
}

const char *dj_config_name(const struct dj_config *config)
{
    return config->name;
}

size_t dj_config_count(const struct dj_config *config)
{
    return config->count;
}

const struct dj_config_item *dj_config_at(const struct dj_config *config, size_t index)
{
    return &config->items[index];
}
