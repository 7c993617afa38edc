/* proto/bert_config.h - the config.json of a BERT-family encoder.
 *
 * Trust: untrusted; every size is bounded, so that weights of these sizes can be counted in 64
 * bits.
 */
#ifndef DJ_PROTO_BERT_CONFIG_H
#define DJ_PROTO_BERT_CONFIG_H

#include <deja/base.h>

struct dj_bert_config {
    uint32_t layers;       /* 1 … 48 */
    uint32_t heads;        /* divides hidden */
    uint32_t hidden;       /* 1 … 4,096 */
    uint32_t intermediate; /* 1 … 16,384 */
    uint32_t positions;    /* 3 … 8,192 */
    uint32_t vocabulary;   /* 1 … 1,000,000 */
    uint32_t token_types;  /* 1 … 16 */
    float layer_norm_epsilon;
};

/* DEJA_ERR_UNSUPPORTED: not BERT, or an activation or position kind that is not computed here. */
enum deja_status dj_bert_config_parse(struct deja_slice text, struct dj_bert_config *out_config,
                                      struct deja_error *error) DEJA_NODISCARD;

#endif
