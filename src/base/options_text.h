/* SPDX-License-Identifier: Apache-2.0 */
/* base/options_text.h: ${env:NAME} and ${file:PATH}, for options.c alone. */
#ifndef KVEIL_BASE_OPTIONS_TEXT_H
#define KVEIL_BASE_OPTIONS_TEXT_H

#include "kveil/base.h"

/* Copies text with every ${env:NAME} and ${file:PATH} replaced (and says whether there was one). Paths are relative to
 * the folder of `file`, if given. What they stand for is never in an error. *ret is owned by the caller. */
enum kveil_status kveil_options_substitute(const char *text, const char *file, char **ret, bool *ret_replaced,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
