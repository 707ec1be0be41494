/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/seen.h: what rules have met since they were taken, in pairs: a field and its tag, a type and the rule that
 * names something in it. So it is told when a later schema lacks one. Any thread.
 */
#ifndef KVEIL_RULES_SEEN_H
#define KVEIL_RULES_SEEN_H

#include "base/arena.h"
#include "kveil/base.h"

struct kveil_seen;
struct kveil_seen_pair {
	const char *name, *word;
};
enum { KVEIL_SEEN_MOST = 1 << 14 };

struct kveil_seen *kveil_seen_new(void); /* NULL: no memory */
void kveil_seen_free(struct kveil_seen *s);

enum kveil_seen_noted { KVEIL_SEEN_NEW, KVEIL_SEEN_KNOWN, KVEIL_SEEN_FULL };
enum kveil_seen_noted kveil_seen_note(struct kveil_seen *s, const char *name, const char *word);
bool kveil_seen_has(struct kveil_seen *s, const char *name, const char *word);
/* All of them so far, in the arena; the texts are borrowed. false: no memory. */
bool kveil_seen_copy(struct kveil_seen *s, struct kveil_arena *a, struct kveil_seen_pair **ret, size_t *ret_count);

#endif
