/* SPDX-License-Identifier: Apache-2.0 */
/* base/options_text.h: values as text, for the files of base/options.h alone. */
#ifndef KVEIL_BASE_OPTIONS_TEXT_H
#define KVEIL_BASE_OPTIONS_TEXT_H

#include "base/options.h"

enum {
	KVEIL_SUBSTITUTED = 1,        /* there was a ${…} */
	KVEIL_SUBSTITUTED_SHARED = 2, /* a file behind it can be read by every user of the host */
};
/* Copies text with every ${env:NAME} and ${file:PATH} replaced, and says how (a set of the above). Paths are relative
 * to the folder of `file`, if given. What they stand for is never in an error. A file that every user can write is one.
 * *ret is owned by the caller. */
enum kveil_status kveil_options_substitute(const char *text, const char *file, char **ret, unsigned *ret_how,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* n as a user would write it in an option of that type: "8MiB", "24h", "3". Returns dst. */
enum { KVEIL_OPTIONS_SPELLED = 32 };
const char *kveil_options_spell(enum kveil_option_type type, uint64_t n, char dst[KVEIL_OPTIONS_SPELLED]);

#endif
