/* SPDX-License-Identifier: Apache-2.0 */
/* The table of actions. */
#include "transform/action.h"

/* One row an action, in the order of the reference page. */
#define ACTIONS(X)                                                                                                     \
	X(encrypt)                                                                                                     \
	X(decrypt)                                                                                                     \
	X(reencrypt)                                                                                                   \
	X(tokenize)                                                                                                    \
	X(detokenize)                                                                                                  \
	X(mask)                                                                                                        \
	X(replace)                                                                                                     \
	X(hash)                                                                                                        \
	X(remove)                                                                                                      \
	X(nullify)

#define X(name) extern const struct kveil_action kveil_action_##name;
ACTIONS(X)
#undef X

const struct kveil_action *const kveil_actions[] = {
#define X(name) &kveil_action_##name,
    ACTIONS(X)
#undef X
	NULL,
};

const struct kveil_action *kveil_action_by_name(struct kveil_span name)
{
	for (size_t i = 0; kveil_actions[i]; i++)
		if (kveil_span_eq(name, kveil_span_str(kveil_actions[i]->name)))
			return kveil_actions[i];
	return NULL;
}
