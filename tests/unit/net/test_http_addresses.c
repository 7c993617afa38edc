#include "net/http_addresses.h"

#include "check.h"

static const uint8_t v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1};
static const uint8_t other_v4[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [15] = 2};
static const uint8_t v6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, [15] = 1};
static const uint8_t v6_same_net[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 9, 9};
static const uint8_t v6_other_net[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 2, [15] = 1};
static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
static const uint8_t loopback_v6[16] = {[15] = 1};

static struct dj_http_addresses *create(uint32_t each_max, uint32_t local_max, size_t addresses_max)
{
    struct dj_http_addresses *addresses = NULL;
    assert_int_equal(dj_http_addresses_create(each_max, local_max, addresses_max, &addresses),
                     DEJA_OK);
    return addresses;
}

static void address_has_no_more_than_its_share(void **state)
{
    (void)state;
    struct dj_http_addresses *addresses = create(2, 0, 100);
    assert_true(dj_http_addresses_enter(addresses, v4));
    assert_true(dj_http_addresses_enter(addresses, v4));
    assert_false(dj_http_addresses_enter(addresses, v4));
    assert_true(dj_http_addresses_enter(addresses, other_v4));
    assert_int_equal(dj_http_addresses_count(addresses, v4), 2);
    dj_http_addresses_leave(addresses, v4);
    assert_true(dj_http_addresses_enter(addresses, v4));
    dj_http_addresses_leave(addresses, v4);
    dj_http_addresses_leave(addresses, v4);
    dj_http_addresses_leave(addresses, other_v4);
    assert_int_equal(dj_http_addresses_count(addresses, v4), 0);
    dj_http_addresses_destroy(addresses);
}

static void v6_clients_count_with_their_network(void **state)
{
    (void)state;
    struct dj_http_addresses *addresses = create(1, 1, 100);
    assert_true(dj_http_addresses_enter(addresses, v6));
    assert_false(dj_http_addresses_enter(addresses, v6_same_net));
    assert_true(dj_http_addresses_enter(addresses, v6_other_net));
    dj_http_addresses_leave(addresses, v6);
    dj_http_addresses_leave(addresses, v6_other_net);
    dj_http_addresses_destroy(addresses);
}

static void own_machine_has_a_cap_of_its_own(void **state)
{
    (void)state;
    struct dj_http_addresses *addresses = create(1, 0, 100);
    for (int i = 0; i < 50; i++)
        assert_true(dj_http_addresses_enter(addresses, i % 2 ? loopback : loopback_v6));
    for (int i = 0; i < 50; i++)
        dj_http_addresses_leave(addresses, i % 2 ? loopback : loopback_v6);
    dj_http_addresses_destroy(addresses);
}

static void full_table_takes_no_new_address(void **state)
{
    (void)state;
    struct dj_http_addresses *addresses = create(5, 5, 1);
    assert_true(dj_http_addresses_enter(addresses, v4));
    assert_false(dj_http_addresses_enter(addresses, other_v4));
    assert_true(dj_http_addresses_enter(addresses, v4));
    dj_http_addresses_leave(addresses, v4);
    dj_http_addresses_leave(addresses, v4);
    dj_http_addresses_destroy(addresses);
}

static void addresses_survive_each_failed_allocation(void **state)
{
    (void)state;
    for (size_t n = 1;; n++) {
        struct dj_http_addresses *addresses = NULL;
        failing_malloc_arm(n);
        enum deja_status status = dj_http_addresses_create(1, 1, 10, &addresses);
        bool is_in = status == DEJA_OK && dj_http_addresses_enter(addresses, v4);
        bool has_failed = failing_malloc_disarm();
        assert_int_equal(is_in, !has_failed);
        if (is_in)
            dj_http_addresses_leave(addresses, v4);
        dj_http_addresses_destroy(addresses);
        if (!has_failed)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_has_no_more_than_its_share),
        cmocka_unit_test(v6_clients_count_with_their_network),
        cmocka_unit_test(own_machine_has_a_cap_of_its_own),
        cmocka_unit_test(full_table_takes_no_new_address),
        cmocka_unit_test(addresses_survive_each_failed_allocation),
    };
    return RUN_TESTS(tests);
}
