/* SPDX-License-Identifier: Apache-2.0 */
/* The table of formats. */
#include "format/format.h"

#include "base/secret.h"

#include <stdlib.h>

extern const struct kveil_format kveil_format_json, kveil_format_jsonl, kveil_format_text, kveil_format_bytes;
#ifdef KVEIL_WITH_AVRO
extern const struct kveil_format kveil_format_avro;
#endif

/* A new format is one file and one row here. */
const struct kveil_format *const kveil_formats[] = {
    &kveil_format_json,
    &kveil_format_jsonl,
    &kveil_format_text,
    &kveil_format_bytes,
#ifdef KVEIL_WITH_AVRO
    &kveil_format_avro,
#endif
    NULL,
};

const struct kveil_format *kveil_format_by_name(struct kveil_span name)
{
	for (size_t i = 0; kveil_formats[i]; i++)
		if (kveil_span_eq(kveil_span_str(kveil_formats[i]->name), name))
			return kveil_formats[i];
	return NULL;
}

void kveil_scan_clear(struct kveil_scan *s)
{
	free(s->matches);
	free(s->trail);
	free(s->doc.nodes);
	free(s->frames);
	/* The others are offsets; a name may be data, as in a map of people. */
	if (s->guesses)
		kveil_secret_wipe(s->guesses, KVEIL_SCAN_GUESSES * sizeof *s->guesses);
	free(s->guesses);
	kveil_allowance_give(s->allowance, s->match_cap * sizeof *s->matches + s->trail_cap * sizeof *s->trail +
					       s->doc_cap * sizeof *s->doc.nodes);
	*s = (struct kveil_scan){.automaton = s->automaton,
				 .arena = s->arena,
				 .max_bytes = s->max_bytes,
				 .max_depth = s->max_depth,
				 .want_doc = s->want_doc,
				 .allowance = s->allowance};
}
