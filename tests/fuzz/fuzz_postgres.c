/* No bytes break the readers of PostgreSQL's binary values; what a reader takes is written again as
 * the same bytes. The first byte chooses the reader. */
#include "fuzz.h"

#include "base/buf.h"
#include "store/postgres_row.h"

#define DIM_MAX 64u

static void check_vector(struct dj_pg_field field)
{
    float vector[DIM_MAX];
    uint32_t dim = 0;
    struct dj_buf again = {0};
    if (!dj_pg_read_vector(field, DIM_MAX, vector, &dim))
        return;
    FUZZ_CHECK(dim > 0 && dim <= DIM_MAX);
    dj_pg_put_vector(&again, vector, dim);
    FUZZ_CHECK(again.len == field.bytes.len);
    /* The two bytes behind the dimension are nobody's. */
    FUZZ_CHECK(memcmp(again.data, field.bytes.data, 2) == 0);
    FUZZ_CHECK(memcmp(again.data + 4, field.bytes.data + 4, again.len - 4) == 0);
    dj_buf_fini(&again);
}

static void check_numbers(struct dj_pg_field field)
{
    uint8_t id[DJ_ID_BYTES];
    uint32_t narrow = 0;
    uint64_t wide = 0;
    int64_t ms = 0;
    double real = 0;
    if (dj_pg_read_u32(field, &narrow))
        FUZZ_CHECK(field.bytes.len == 4);
    if (dj_pg_read_u64(field, &wide))
        FUZZ_CHECK(field.bytes.len == 8);
    if (dj_pg_read_double(field, &real))
        FUZZ_CHECK(real >= 0 || real <= 0);
    if (dj_pg_read_time(field, &ms))
        FUZZ_CHECK(field.bytes.len == 8);
    if (dj_pg_read_id(field, id))
        FUZZ_CHECK(memcmp(id, field.bytes.data, sizeof id) == 0);
}

static void check_value(struct dj_pg_field field)
{
    struct dj_store_key key = {{0}, {0}};
    struct dj_value *value = NULL;
    if (dj_pg_read_value(field, &key, &value) == DEJA_OK)
        FUZZ_CHECK(memcmp(dj_value_entry(value)->tenant, key.tenant, sizeof key.tenant) == 0);
    dj_value_unref(value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0)
        return 0;
    struct dj_pg_field field = {deja_slice(data + 1, len - 1), false};
    if (data[0] % 3 == 0)
        check_vector(field);
    else if (data[0] % 3 == 1)
        check_numbers(field);
    else
        check_value(field);
    return 0;
}
