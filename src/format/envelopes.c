/* SPDX-License-Identifier: Apache-2.0 */
/* The kinds of envelopes. */
#include "format/envelope.h"

extern const struct kveil_envelope kveil_envelope_canal, kveil_envelope_connect, kveil_envelope_debezium,
    kveil_envelope_maxwell, kveil_envelope_ogg;

/* A new kind is one file and one row here. */
const struct kveil_envelope *const kveil_envelopes[] = {
    &kveil_envelope_debezium, &kveil_envelope_connect, &kveil_envelope_canal,
    &kveil_envelope_maxwell,  &kveil_envelope_ogg,     NULL,
};

const struct kveil_envelope *kveil_envelope_by_name(struct kveil_span name)
{
	for (size_t i = 0; kveil_envelopes[i]; i++)
		if (kveil_span_eq(kveil_span_str(kveil_envelopes[i]->name), name))
			return kveil_envelopes[i];
	return NULL;
}

bool kveil_envelope_lists(const char *const *names, struct kveil_span name)
{
	for (; names && *names; names++)
		if (kveil_span_eq(kveil_span_str(*names), name))
			return true;
	return false;
}
