/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/disguise.h: a record's bytes without its values, for people who look for what is wrong with it. Any thread.
 *
 *   {"id": 42, "seat": "B-7", n: 1.5e9}   →   {"id": 00, "seat": "X-0", x: 0.0x0}
 *
 * Letters become x or X, digits 0, and what is not ASCII x; punctuation and spaces stay, and so do null and the names
 * of members (in quotes, before a colon, at most 40 characters, of letters, digits, `_`, `-`, `.`, `$`, and no digit
 * first). Any bytes; broken JSON is the usual case.
 */
#ifndef KVEIL_CLI_DISGUISE_H
#define KVEIL_CLI_DISGUISE_H

#include "base/buf.h"

void kveil_disguise(struct kveil_span text, struct kveil_buf *out);

#endif
