/* SPDX-License-Identifier: Apache-2.0 */
/* rules/set.c: all rule files of a run, and what they must not do to each other. */
#include "rules/loader.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

/* --- which files --- */

struct file_list {
	char **names;
	size_t count, cap;
	bool no_memory;
};

static void push(struct file_list *l, char *name)
{
	if (l->count + 1 >= l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 8;
		char **grown = realloc(l->names, cap * sizeof *grown);
		if (!grown) {
			l->no_memory = true;
			free(name);
			return;
		}
		l->names = grown;
		l->cap = cap;
	}
	l->no_memory |= !name;
	l->names[l->count] = name;
	l->names[l->count + (name != NULL)] = NULL;
	l->count += name != NULL;
}

void kveil_rule_files_free(char **files)
{
	for (size_t i = 0; files && files[i]; i++)
		free(files[i]);
	free(files);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n > m && strcmp(s + n - m, end) == 0;
}

static int is_rule_file(const struct dirent *e)
{
	return e->d_name[0] != '.' && ends_with(e->d_name, ".yaml") && !ends_with(e->d_name, ".examples.yaml");
}

static void list_folder(struct file_list *l, const char *folder, struct kveil_report *report)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_rule_file, alphasort);
	size_t len = strlen(folder);

	while (len > 1 && folder[len - 1] == '/')
		len--;
	if (n < 0)
		kveil_report_at(report, folder, 0, 0, "cannot be read: %s", strerror(errno));
	else if (n == 0)
		kveil_error_hint(kveil_report_at(report, folder, 0, 0, "there is no rule file in this folder"),
				 "rule files are *.yaml; *.examples.yaml are their examples");
	for (int i = 0; i < n; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
		kveil_buf_append(&path, folder, len);
		kveil_buf_printf(&path, "%s%s", len == 1 && folder[0] == '/' ? "" : "/", entries[i]->d_name);
		const char *name = kveil_buf_cstr(&path);
		push(l, name ? strdup(name) : NULL);
		free(entries[i]);
	}
	free(entries);
}

char **kveil_rule_files_list(const char *const *sources, struct kveil_report *report)
{
	struct file_list l = {0};
	size_t before = report->errors;

	for (size_t i = 0; sources && sources[i]; i++) {
		struct stat st;
		if (stat(sources[i], &st) != 0)
			kveil_report_at(report, sources[i], 0, 0, "cannot be read: %s", strerror(errno));
		else if (S_ISDIR(st.st_mode))
			list_folder(&l, sources[i], report);
		else
			push(&l, strdup(sources[i]));
	}
	if (l.no_memory)
		kveil_report_no_memory(report, NULL);
	else if (l.count == 0 && report->errors == before)
		kveil_report_at(report, NULL, 0, 0, "there is no rule file");
	return l.names;
}

/* --- files against each other --- */

static bool is_regex(const char *topic)
{
	return topic[0] == '^';
}

static void check_input(const struct kveil_plan_set *s, size_t index, const char *topic, struct kveil_report *report)
{
	const struct kveil_plan *p = s->plans[index];
	const char *owner, *tmpl = is_regex(topic) ? NULL : kveil_plan_set_template(s, topic, &owner);

	if (tmpl && owner)
		kveil_error_hint(kveil_report_at(report, p->file, 0, 0, "the input %s is an output: it fits '%s' of %s",
						 topic, tmpl, owner),
				 "protected records would be read again");
	else if (tmpl)
		kveil_error_hint(kveil_report_at(report, p->file, 0, 0,
						 "the input %s is a dead-letter topic: it fits '%s'", topic, tmpl),
				 "kveil replay opens dead letters");
	for (size_t i = 0; i < index; i++) {
		const struct kveil_plan *other = s->plans[i];
		bool both = false;
		for (size_t k = 0; other->topics[k]; k++)
			both |=
			    strcmp(other->topics[k], topic) == 0 || (is_regex(topic) && !is_regex(other->topics[k]) &&
								     kveil_plan_takes_topic(p, other->topics[k]));
		both |= !is_regex(topic) && kveil_plan_takes_topic(other, topic);
		if (both)
			kveil_error_hint(kveil_report_at(report, p->file, 0, 0, "the topic %s has rules in %s already",
							 topic, other->file),
					 "one topic, one rule file");
	}
}

/* A regex of one file against the constant outputs of all, and outputs against the dead letters. */
static void check_outputs(const struct kveil_plan_set *s, size_t index, struct kveil_report *report)
{
	const struct kveil_plan *p = s->plans[index];

	for (size_t v = 0; v < p->view_count; v++) {
		const char *tmpl = p->views[v].topic;
		bool is_constant = !strstr(tmpl, "{topic}");
		for (size_t i = 0; i < s->count && is_constant; i++)
			for (size_t k = 0; i != index && s->plans[i]->topics[k]; k++)
				if (is_regex(s->plans[i]->topics[k]) &&
				    kveil_topic_regex_matches(s->plans[i]->topic_regexes[k], tmpl))
					kveil_report_at(report, p->file, 0, 0, "the output %s is an input: %s takes it",
							tmpl, s->plans[i]->file);
		if (!s->dead_letter_topic)
			continue;
		bool same = strcmp(tmpl, s->dead_letter_topic) == 0;
		for (size_t k = 0; p->topics[k] && !same; k++) {
			KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
			if (is_regex(p->topics[k]) && !is_constant)
				continue;
			kveil_plan_expand_topic(tmpl, p->topics[k], &name);
			const char *output = kveil_buf_cstr(&name);
			same = output && kveil_plan_topic_fits(s->dead_letter_topic, output);
		}
		if (same)
			kveil_error_hint(
			    kveil_report_at(report, p->file, 0, 0, "the output %s is a dead-letter topic", tmpl),
			    "dead letters go to '%s'", s->dead_letter_topic);
	}
}

/* --- the set --- */

struct kveil_plan_set *kveil_plan_set_read(const char *const *sources, const char *dead_letter_topic,
					   struct kveil_keystore *keys, struct kveil_report *report)
{
	size_t n = 0;
	char **files = kveil_rule_files_list(sources, report);
	struct kveil_plan_set *s = files ? calloc(1, sizeof *s) : NULL;

	while (files && files[n])
		n++;
	if (s) {
		atomic_init(&s->refs, 1);
		s->plans = calloc(n + 1, sizeof(struct kveil_plan *));
		s->dead_letter_topic = dead_letter_topic ? strdup(dead_letter_topic) : NULL;
	}
	if (files && (!s || !s->plans || (dead_letter_topic && !s->dead_letter_topic))) {
		kveil_report_no_memory(report, NULL);
		kveil_plan_set_unref(s);
		s = NULL;
	}
	for (size_t i = 0; s && i < n; i++) {
		struct kveil_plan *p = kveil_plan_read(files[i], keys, report);
		if (p)
			s->plans[s->count++] = p;
	}
	kveil_rule_files_free(files);
	for (size_t i = 0; s && i < s->count; i++) {
		for (size_t k = 0; s->plans[i]->topics[k]; k++)
			check_input(s, i, s->plans[i]->topics[k], report);
		check_outputs(s, i, report);
	}
	return s;
}

struct kveil_plan_set *kveil_plan_set_load(const char *const *sources, const char *dead_letter_topic,
					   struct kveil_keystore *keys, struct kveil_report *report)
{
	size_t before = report->errors;
	struct kveil_plan_set *s = kveil_plan_set_read(sources, dead_letter_topic, keys, report);

	if (report->errors == before)
		return s;
	kveil_plan_set_unref(s);
	return NULL;
}

struct kveil_plan_set *kveil_plan_set_of(struct kveil_plan *plan, const char *dead_letter_topic)
{
	struct kveil_plan_set *s = calloc(1, sizeof *s);

	if (!s) {
		kveil_plan_unref(plan);
		return NULL;
	}
	atomic_init(&s->refs, 1);
	s->plans = calloc(1, sizeof(struct kveil_plan *));
	s->dead_letter_topic = strdup(dead_letter_topic);
	if (s->plans)
		s->plans[s->count++] = plan;
	else
		kveil_plan_unref(plan);
	if (s->plans && s->dead_letter_topic)
		return s;
	kveil_plan_set_unref(s);
	return NULL;
}

struct kveil_plan_set *kveil_plan_set_ref(struct kveil_plan_set *s)
{
	atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
	return s;
}

void kveil_plan_set_unref(struct kveil_plan_set *s)
{
	if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < s->count; i++)
		kveil_plan_unref(s->plans[i]);
	free(s->plans);
	free(s->dead_letter_topic);
	free(s);
}
