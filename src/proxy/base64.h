/* proxy/base64.h - now base/base64.h; this name stays for who includes it. */
#ifndef DJ_PROXY_BASE64_H
#define DJ_PROXY_BASE64_H

#include "base/base64.h"

#endif
