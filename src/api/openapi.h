/* api/openapi.h - the description of every route (OpenAPI 3.1), from openapi.json at build time.
 *
 * A unit test holds the document and the router's table together, an integration test the document
 * and what the daemon answers. Threads: any; constant.
 */
#ifndef DJ_API_OPENAPI_H
#define DJ_API_OPENAPI_H

#include <deja/base.h>

struct deja_slice dj_openapi_document(void); /* JSON, without white space */

#endif
