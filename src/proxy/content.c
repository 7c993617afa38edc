/* proxy/content.c - see content.h. */
#include "proxy/content.h"

#include "base/num.h"

#define HASH_BYTES 4u

static void note(enum dj_content_log how, const uint8_t key[DJ_SHA256_BYTES],
                 struct deja_slice text, char hash[9], struct dj_buf *beginning)
{
    uint8_t digest[DJ_SHA256_BYTES];
    const struct deja_slice parts[] = {deja_slice_text("log\x1f"), text};
    dj_hmac(key, parts, 2, digest);
    dj_hex_encode(digest, HASH_BYTES, hash);
    if (how == DJ_CONTENT_FULL && !beginning->len)
        /* As much as the redactor is given: what is cut here is beyond what is shown. */
        dj_buf_append(beginning, text.data,
                      text.len <= DJ_LOG_REDACTED_BYTES_MAX ? text.len
                                                            : DJ_LOG_REDACTED_BYTES_MAX + 1);
}

void dj_content_fini(struct dj_content *content)
{
    dj_buf_fini(&content->prompt);
    dj_buf_fini(&content->answer);
    *content = (struct dj_content){.has_prompt = false};
}

void dj_content_note_prompt(struct dj_content *content, enum dj_content_log how,
                            const uint8_t key[DJ_SHA256_BYTES], struct deja_slice text)
{
    if (how == DJ_CONTENT_OFF || !text.len)
        return;
    content->has_prompt = true;
    content->prompt_bytes = text.len;
    note(how, key, text, content->prompt_hash, &content->prompt);
}

void dj_content_note_answer(struct dj_content *content, enum dj_content_log how,
                            const uint8_t key[DJ_SHA256_BYTES], struct deja_slice text)
{
    dj_content_note_answer_bytes(content, how, text.len);
    if (content->has_answer)
        note(how, key, text, content->answer_hash, &content->answer);
}

void dj_content_note_answer_bytes(struct dj_content *content, enum dj_content_log how, size_t bytes)
{
    if (how == DJ_CONTENT_OFF || !bytes)
        return;
    content->has_answer = true;
    content->answer_bytes = bytes;
}

void dj_content_fields(const struct dj_content *content, struct dj_log_field *out_fields)
{
    size_t count = 0;
    if (content->has_prompt) {
        out_fields[count++] = (struct dj_log_field)DJ_LOG_TEXT("prompt_hash", content->prompt_hash);
        out_fields[count++] =
            (struct dj_log_field)DJ_LOG_I64("prompt_bytes", (int64_t)content->prompt_bytes);
    }
    if (content->has_answer && content->answer_hash[0])
        out_fields[count++] = (struct dj_log_field)DJ_LOG_TEXT("answer_hash", content->answer_hash);
    if (content->has_answer)
        out_fields[count++] =
            (struct dj_log_field)DJ_LOG_I64("answer_bytes", (int64_t)content->answer_bytes);
    if (content->prompt.len)
        out_fields[count++] =
            (struct dj_log_field)DJ_LOG_SLICE("prompt", dj_buf_slice(&content->prompt));
    if (content->answer.len)
        out_fields[count++] =
            (struct dj_log_field)DJ_LOG_SLICE("answer", dj_buf_slice(&content->answer));
    out_fields[count] = (struct dj_log_field){.name = NULL};
}
