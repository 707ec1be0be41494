/* SPDX-License-Identifier: Apache-2.0 */
/* How each topic's records end. */
#include "worker/tally.h"

#include "base/log.h"
#include "worker/loop.h"

#include <stdio.h>
#include <stdlib.h>

enum { FAILURES_TOLD = 10 /* in a row; a few bad records of a slow topic are none of it */ };

struct kveil_tally *kveil_tally_of(struct kveil_worker *w, const char *topic)
{
	struct kveil_tally **at, *t;

	for (at = &w->tallies.first; (t = *at); at = &t->next)
		if (strcmp(t->topic, topic) == 0)
			return t;
	t = calloc(1, sizeof *t);
	if (!t || !(t->topic = strdup(topic))) {
		free(t);
		return NULL;
	}
	t->protected = kveil_metrics_cell(w->params->metrics, KVEIL_M_TOPIC_RECORDS, topic, "protected");
	t->failed = kveil_metrics_cell(w->params->metrics, KVEIL_M_TOPIC_RECORDS, topic, "failed");
	*at = t;
	return t;
}

void kveil_tally_failed(struct kveil_tally *t, enum kveil_status why)
{
	if (why == KVEIL_E_CONTROL_RECORD)
		return; /* set aside because the rule file says so */
	kveil_cell_add(t->failed, 1);
	t->failures++;
	t->why = why;
}

void kveil_tallies_begin_again(struct kveil_worker *w)
{
	for (struct kveil_tally *t = w->tallies.first; t; t = t->next)
		t->failures = 0;
}

/* Of a topic that another worker has now, this one knows nothing. */
static void forget_lost(struct kveil_worker *w)
{
	for (struct kveil_tally *t = w->tallies.first; t; t = t->next)
		t->is_read = false;
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i] && w->slots.at[i]->route)
			w->slots.at[i]->route->tally->is_read = true;
	for (struct kveil_tally *t = w->tallies.first; t; t = t->next)
		if (!t->is_read)
			t->failures = 0;
}

static void tell(struct kveil_worker *w, const struct kveil_tally *t, size_t others)
{
	char text[384], more[64] = "";

	if (others)
		snprintf(more, sizeof more, " (and those of %zu more topic%s)", others, others == 1 ? "" : "s");
	snprintf(text, sizeof text, "the last %llu records of %s all failed: %s%s", (unsigned long long)t->failures,
		 t->topic, kveil_status_code(t->why), more);
	if (kveil_health_remark(w->params->health, w->tallies.remark, "%s", text))
		kveil_log(KVEIL_LOG_WARN, w->name, "%s", text);
}

void kveil_tallies_tell(struct kveil_worker *w)
{
	const struct kveil_tally *failing = NULL;
	size_t count = 0;

	forget_lost(w);
	for (const struct kveil_tally *t = w->tallies.first; t; t = t->next)
		if (t->failures >= FAILURES_TOLD) {
			failing = failing ? failing : t;
			count++;
		}
	if (failing)
		tell(w, failing, count - 1);
	else
		kveil_health_remark(w->params->health, w->tallies.remark, NULL);
}

void kveil_tallies_free(struct kveil_worker *w)
{
	for (struct kveil_tally *t = w->tallies.first, *next; t; t = next) {
		next = t->next;
		kveil_metrics_release(w->params->metrics, t->protected);
		kveil_metrics_release(w->params->metrics, t->failed);
		free(t->topic);
		free(t);
	}
	kveil_health_remark(w->params->health, w->tallies.remark, NULL);
}
