/* support/check.h - cmocka with the headers it wants in front of it. */
#ifndef DJ_SUPPORT_CHECK_H
#define DJ_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_malloc.h"

#define RUN_TESTS(tests) cmocka_run_group_tests(tests, NULL, NULL)

#endif
