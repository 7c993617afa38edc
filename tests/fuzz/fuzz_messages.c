/* Whatever a stream of this family holds: see fuzz_family.h. */
#include "fuzz_family.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    return fuzz_family(&dj_family_messages, data, len);
}
