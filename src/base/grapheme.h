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

/* UTF-8 text composed (NFC), with fold_case its case folded too; free() it. NULL: memory is out, or it is not UTF-8. */
uint8_t *kveil_grapheme_compose(struct kveil_span text, bool fold_case, size_t *ret_len);

/* The first code point in lower case, to compare names by; the bytes that it has in *ret_len. A byte that is not UTF-8
 * is itself. len is at least 1. */
uint32_t kveil_grapheme_lower(const uint8_t *s, size_t len, size_t *ret_len);

/* General categories (Unicode section 4.5), in the library's order. */
/* clang-format off */
#define KVEIL_CATEGORY_TABLE(X)                                                                                        \
	X(CN) X(LU) X(LL) X(LT) X(LM) X(LO) X(MN) X(MC) X(ME) X(ND) X(NL) X(NO) X(PC) X(PD) X(PS) X(PE) X(PI) X(PF) X(PO)  \
	X(SM) X(SC) X(SK) X(SO) X(ZS) X(ZL) X(ZP) X(CC) X(CF) X(CS) X(CO)
/* clang-format on */
enum kveil_category {
#define X(name) KVEIL_CATEGORY_##name,
	KVEIL_CATEGORY_TABLE(X)
#undef X
};
enum kveil_category kveil_grapheme_category(uint32_t code_point);

const char *kveil_grapheme_unicode_version(void); /* "14.0.0" */
const char *kveil_grapheme_library_version(void); /* utf8proc's */

#endif
