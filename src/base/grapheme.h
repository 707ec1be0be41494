/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/grapheme.h: what a reader takes for one character: extended grapheme clusters (Unicode UAX #29). The one owner
 * of utf8proc. Texts are UTF-8; a byte that is not counts as a cluster of its own. Any thread.
 */
#ifndef KVEIL_BASE_GRAPHEME_H
#define KVEIL_BASE_GRAPHEME_H

#include "kveil/base.h"

/* Bytes of the first cluster; 0 only when len is 0. */
size_t kveil_grapheme_next(const uint8_t *s, size_t len);
size_t kveil_grapheme_count(const uint8_t *s, size_t len);
const char *kveil_grapheme_unicode_version(void); /* "14.0.0" */
const char *kveil_grapheme_library_version(void); /* utf8proc's */

#endif
