/* SPDX-License-Identifier: Apache-2.0 */
/* Whose rules a topic has. */
#include "rules/loader.h"

/* The output or dead-letter template that the topic fits; *ret_file: whose (NULL = the configuration's). */
const char *kveil_plan_set_template(const struct kveil_plan_set *s, const char *topic, const char **ret_file)
{
	for (size_t i = 0; i < s->count; i++)
		for (size_t v = 0; v < s->plans[i]->view_count; v++)
			if (kveil_plan_topic_fits(s->plans[i]->views[v].topic, topic)) {
				*ret_file = s->plans[i]->file;
				return s->plans[i]->views[v].topic;
			}
	*ret_file = NULL;
	return s->dead_letter_topic && kveil_plan_topic_fits(s->dead_letter_topic, topic) ? s->dead_letter_topic : NULL;
}

static struct kveil_plan *find(const struct kveil_plan_set *s, const char *topic, struct kveil_error *why)
{
	const char *owner, *tmpl = NULL;
	struct kveil_plan *found = NULL;

	for (size_t i = 0; i < s->count; i++) {
		if (!kveil_plan_takes_topic(s->plans[i], topic))
			continue;
		if (found) {
			kveil_fail(why, KVEIL_E_RULES, "topic %s has rules in %.80s and %.80s: not consumed", topic,
				   found->file, s->plans[i]->file);
			return NULL;
		}
		found = s->plans[i];
	}
	if (found && (tmpl = kveil_plan_set_template(s, topic, &owner))) {
		kveil_fail(why, KVEIL_E_RULES, "topic %s fits '%.80s', which is written to: not consumed", topic, tmpl);
		return NULL;
	}
	if (!found)
		kveil_fail(why, KVEIL_E_OK, "no rule file names it");
	return found;
}

struct kveil_plan *kveil_plan_set_for_topic(const struct kveil_plan_set *s, const char *topic)
{
	return find(s, topic, NULL);
}

bool kveil_plan_set_refuses(const struct kveil_plan_set *s, const char *topic, struct kveil_error *why)
{
	struct kveil_error err = {0};

	if (find(s, topic, &err) || err.status == KVEIL_OK)
		return false;
	if (why)
		*why = err;
	return true;
}
