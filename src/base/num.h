/* base/num.h - numbers, durations and sizes out of text, whole text or nothing.
 *
 * Trust: untrusted. Outputs are untouched on failure. Errors: DEJA_ERR_INVALID (not of the form),
 * DEJA_ERR_LIMIT (does not fit the type).
 */
#ifndef DJ_BASE_NUM_H
#define DJ_BASE_NUM_H

#include <deja/base.h>

enum deja_status dj_num_parse_u64(struct deja_slice text, uint64_t *out_value) DEJA_NODISCARD;
enum deja_status dj_num_parse_i64(struct deja_slice text, int64_t *out_value) DEJA_NODISCARD;
/* Finite decimal number, "." as the point whatever the locale; at most 63 characters. */
enum deja_status dj_num_parse_double(struct deja_slice text, double *out_value) DEJA_NODISCARD;
/* "250ms", "30s", "5m", "1h", "2d" or plain seconds; to milliseconds. */
enum deja_status dj_num_parse_duration(struct deja_slice text, uint64_t *out_ms) DEJA_NODISCARD;
/* "512", "64kb", "100mb", "2gb" (powers of 1024, any case, the b may be left out); to bytes. */
enum deja_status dj_num_parse_size(struct deja_slice text, uint64_t *out_bytes) DEJA_NODISCARD;

/* Decimal digits of value into out_text, not terminated; how many. */
#define DJ_NUM_U64_DIGITS_MAX 20u
size_t dj_num_write_u64(uint64_t value, char out_text[DJ_NUM_U64_DIGITS_MAX]);

/* Lower-case hex of bytes into out_text (2 * len + 1 bytes, terminated). */
void dj_hex_encode(const uint8_t *bytes, size_t len, char *out_text);
/* Exactly 2 * len hex digits of either case. */
enum deja_status dj_hex_decode(struct deja_slice text, uint8_t *out_bytes,
                               size_t len) DEJA_NODISCARD;

#endif
