/* base/list.h - intrusive doubly linked list with a sentinel; a node is on one list or none. */
#ifndef DJ_BASE_LIST_H
#define DJ_BASE_LIST_H

#include <deja/base.h>

struct dj_list {
    struct dj_list *next;
    struct dj_list *prev;
};

/* The struct that holds `node` as its member. */
#define DJ_CONTAINER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void dj_list_init(struct dj_list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool dj_list_is_empty(const struct dj_list *list)
{
    return list->next == list;
}

static inline void dj_list_insert_before(struct dj_list *at, struct dj_list *node)
{
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void dj_list_push_back(struct dj_list *list, struct dj_list *node)
{
    dj_list_insert_before(list, node);
}

static inline void dj_list_push_front(struct dj_list *list, struct dj_list *node)
{
    dj_list_insert_before(list->next, node);
}

/* Leaves the node as an empty list of its own, so removing twice is harmless. */
static inline void dj_list_remove(struct dj_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    dj_list_init(node);
}

#endif
