/* SPDX-License-Identifier: Apache-2.0 */
/* New rules from changed files, checked and taken. */
#include "worker/reload.h"
#include "worker/accepted.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "format/format.h"
#include "rules/tags.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct identity {
	char *path;
	uint64_t device, inode;
	int64_t born_ns, written_ns;
};

struct look {
	struct identity *files;
	size_t count;
	struct kveil_buf links; /* where each folder's ..data points */
	bool failed;
};

struct kveil_watch {
	const char *const *sources;
	struct look taken, last;
};

static void clear_look(struct look *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->files[i].path);
	free(l->files);
	kveil_buf_clear(&l->links);
	*l = (struct look){0};
}

static void look_at_file(struct look *l, const char *path)
{
	struct statx s;

	if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &s) != 0)
		return;
	struct identity *grown = realloc(l->files, (l->count + 1) * sizeof *grown);
	char *copy = strdup(path);
	if (grown)
		l->files = grown;
	if (!grown || !copy) {
		free(copy);
		l->failed = true;
		return;
	}
	l->files[l->count++] = (struct identity){
	    .path = copy,
	    .device = (uint64_t)s.stx_dev_major << 32 | s.stx_dev_minor,
	    .inode = s.stx_ino,
	    .born_ns = s.stx_mask & STATX_BTIME ? s.stx_btime.tv_sec * 1000000000 + s.stx_btime.tv_nsec : 0,
	    .written_ns = s.stx_mtime.tv_sec * 1000000000 + s.stx_mtime.tv_nsec,
	};
}

static bool is_rule_file(const char *name)
{
	size_t n = strlen(name);

	return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".yaml") == 0;
}

static void look_at_folder(struct look *l, const char *folder, DIR *dir)
{
	char path[PATH_MAX], target[PATH_MAX];
	int len = (int)strlen(folder);

	while (len > 1 && folder[len - 1] == '/')
		len--;
	snprintf(path, sizeof path, "%.*s/..data", len, folder);
	ssize_t n = readlink(path, target, sizeof target);
	if (n > 0) {
		kveil_buf_append(&l->links, target, (size_t)n);
		kveil_buf_append_byte(&l->links, 0);
	}
	for (struct dirent *e; (e = readdir(dir));)
		if (is_rule_file(e->d_name) &&
		    snprintf(path, sizeof path, "%.*s/%s", len, folder, e->d_name) < (int)sizeof path)
			look_at_file(l, path);
}

static struct look look(const char *const *sources)
{
	struct look l = {0};

	for (; *sources; sources++) {
		DIR *dir = opendir(*sources);
		if (dir) {
			look_at_folder(&l, *sources, dir);
			closedir(dir);
		} else
			look_at_file(&l, *sources);
	}
	return l;
}

static bool same_file(const struct identity *a, const struct identity *b)
{
	return strcmp(a->path, b->path) == 0 && a->device == b->device && a->inode == b->inode &&
	       a->born_ns == b->born_ns;
}

/* Files that somebody wrote into since `taken`, and no more since `last`. Each is said once: `taken` learns its time.
 */
static void say_written(struct look *taken, const struct look *last, const struct look *now)
{
	for (size_t i = 0; i < taken->count; i++)
		for (size_t k = 0; k < now->count && k < last->count; k++) {
			struct identity *a = &taken->files[i];
			const struct identity *b = &now->files[k];
			if (!same_file(a, b) || a->written_ns == b->written_ns || !same_file(&last->files[k], b) ||
			    last->files[k].written_ns != b->written_ns)
				continue;
			a->written_ns = b->written_ns;
			kveil_log(KVEIL_LOG_WARN, "reload",
				  "%s was edited in place and is not read again: replace it as a whole (mv), or send "
				  "SIGHUP",
				  b->path);
		}
}

/* Is a file of `before` another one now, or a link elsewhere? */
static bool swapped(const struct look *before, const struct look *now)
{
	if (!kveil_span_eq(kveil_buf_span(&before->links), kveil_buf_span(&now->links)))
		return true;
	for (size_t i = 0; i < before->count; i++)
		for (size_t k = 0; k < now->count; k++) {
			const struct identity *a = &before->files[i], *b = &now->files[k];
			if (strcmp(a->path, b->path) == 0 && !same_file(a, b))
				return true;
		}
	return false;
}

struct kveil_watch *kveil_watch_new(const char *const *sources)
{
	struct kveil_watch *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	w->sources = sources;
	w->taken = look(sources);
	w->last = look(sources);
	return w;
}

void kveil_watch_free(struct kveil_watch *w)
{
	if (!w)
		return;
	clear_look(&w->taken);
	clear_look(&w->last);
	free(w);
}

bool kveil_watch_look(struct kveil_watch *w)
{
	struct look now = look(w->sources);

	if (now.failed) {
		clear_look(&now);
		return false;
	}
	bool still = !swapped(&w->last, &now);
	bool news = still && swapped(&w->taken, &now);
	if (still && !news)
		say_written(&w->taken, &w->last, &now);
	clear_look(&w->last);
	w->last = now;
	if (news)
		kveil_watch_taken(w);
	return news;
}

void kveil_watch_taken(struct kveil_watch *w)
{
	clear_look(&w->taken);
	w->taken = look(w->sources);
}

static void check_dead_letter_key(const struct kveil_config *config, const struct kveil_plan_set *plans,
				  struct kveil_report *report)
{
	struct kveil_span name = kveil_span_str(config->dead_letter.key);

	for (size_t i = 0; i < plans->count; i++)
		for (size_t k = 0; k < plans->plans[i]->rule_count; k++) {
			const struct kveil_rule *r = &plans->plans[i]->rules[k];
			const struct kveil_template *keys[] = {r->key, r->key2};
			for (size_t n = 0; n < 2; n++) {
				if (!keys[n] || !keys[n]->is_constant)
					continue;
				/* name@version is the same key */
				struct kveil_span used = keys[n]->pieces[0].text;
				const uint8_t *at = used.len ? memchr(used.data, '@', used.len) : NULL;
				used.len = at ? (size_t)(at - used.data) : used.len;
				if (!kveil_span_eq(used, name))
					continue;
				kveil_report_at(report, plans->plans[i]->file, r->line, r->column,
						"the key %s seals dead letters and may protect no field",
						config->dead_letter.key);
			}
		}
}

/* Does this rule file read or write that topic? */
static bool uses_topic(const struct kveil_plan_set *plans, const struct kveil_plan *p, const char *topic)
{
	bool uses = kveil_plan_set_for_topic(plans, topic) == p;

	for (size_t v = 0; v < p->view_count && !uses; v++)
		uses = strcmp(p->views[v].topic, topic) == 0;
	return uses;
}

static void check_registry_topic(const struct kveil_config *config, const struct kveil_plan_set *plans,
				 struct kveil_report *report)
{
	static const char prefix[] = "kafka:";
	const char *topic = config->keys.registry + sizeof prefix - 1;

	if (strncmp(config->keys.registry, prefix, sizeof prefix - 1) != 0)
		return;
	for (size_t i = 0; i < plans->count; i++)
		if (uses_topic(plans, plans->plans[i], topic))
			kveil_report_at(report, plans->plans[i]->file, 0, 0,
					"the topic %s is the key registry's: no rule file reads or writes it", topic);
}

/* Values name their schemas, and somebody must know them. */
static void check_formats(const struct kveil_config *config, const struct kveil_plan_set *plans,
			  struct kveil_report *report)
{
	for (size_t i = 0; i < plans->count && !config->schema_registry.urls; i++) {
		const struct kveil_format *f = plans->plans[i]->formats[KVEIL_PART_VALUE];
		if (f && f->is_typed)
			kveil_error_hint(kveil_report_at(report, plans->plans[i]->file, 0, 0,
							 "format %s takes a schema registry, and none is configured",
							 f->name),
					 "schema_registry: {url: https://registry:8081} in kveil.yaml");
	}
}

void kveil_check_together(const struct kveil_config *config, const struct kveil_plan_set *plans,
			  struct kveil_report *report)
{
	check_formats(config, plans, report);
	if (config->dead_letter.key)
		check_dead_letter_key(config, plans, report);
	if (config->keys.registry)
		check_registry_topic(config, plans, report);
}

static void log_report(const struct kveil_report *report)
{
	size_t all = report->errors + report->warnings;

	for (size_t i = 0; i < report->count; i++)
		kveil_log_error(report->problems[i].warning ? KVEIL_LOG_WARN : KVEIL_LOG_ERROR, "reload",
				&report->problems[i].error);
	if (all > report->count)
		kveil_log(KVEIL_LOG_WARN, "reload", "and %zu more", all - report->count);
}

/* No plan came of them: which files they were, their bytes tell. */
static void digest_refused(const char *const *sources, char ret[KVEIL_RULES_DIGEST_SIZE])
{
	struct kveil_report told_already = {0};
	char **files = kveil_rule_files_list(sources, &told_already);

	if (files)
		kveil_files_digest((const char *const *)files, ret);
	kveil_rule_files_free(files);
	kveil_report_clear(&told_already);
}

struct kveil_plan_set *kveil_reload(const struct kveil_config *config, struct kveil_keystore *names,
				    const struct kveil_plan_set *in_use, bool asked, struct kveil_cell *successful,
				    struct kveil_cell *timestamp)
{
	char digest[KVEIL_RULES_DIGEST_SIZE] = "";
	struct kveil_report report = {0};

	struct kveil_plan_set *set =
	    kveil_plan_set_read((const char *const *)config->rules, config->dead_letter.topic, names, &report);
	if (set)
		kveil_check_together(config, set, &report);
	if (report.errors) {
		kveil_plan_set_unref(set);
		set = NULL;
	}
	log_report(&report);
	kveil_report_clear(&report);
	if (set)
		(void)!kveil_rules_digest(set, digest, NULL);
	else
		digest_refused((const char *const *)config->rules, digest);
	if (!set)
		kveil_log(KVEIL_LOG_ERROR, "reload",
			  "the new rules are refused; the current ones stay (configuration and keys.data are "
			  "those of the start)");
	else if (kveil_plan_set_protects_less(in_use, set, &report)) {
		log_report(&report);
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_RULES_WEAKER,
						  .digest = digest,
						  .count = report.errors + report.warnings,
						  .detail = asked ? "taken: SIGHUP asked for it" : "not taken"});
		if (asked)
			kveil_log(KVEIL_LOG_WARN, "reload",
				  "the new rules protect less and are accepted: SIGHUP asked for it");
		else {
			kveil_log(KVEIL_LOG_ERROR, "reload",
				  "the new rules protect less and are not accepted; the current ones stay (SIGHUP "
				  "accepts them)");
			kveil_plan_set_unref(set);
			set = NULL;
		}
	}
	kveil_report_clear(&report);
	kveil_cell_set(successful, set ? 1 : 0);
	for (size_t i = 0; set && asked && i < set->count; i++)
		kveil_plan_forget_tags(set->plans[i]);
	if (set) {
		kveil_cell_set(timestamp, (double)kveil_clock_wall_ms() / 1000);
		kveil_log(KVEIL_LOG_INFO, "reload", "new rules taken");
	}
	kveil_event(&(struct kveil_event){.kind = set ? KVEIL_EVENT_RULES_LOADED : KVEIL_EVENT_RULES_REFUSED,
					  .count = set ? set->count : 0,
					  .digest = digest,
					  .detail = asked ? "SIGHUP" : "files changed"});
	return set;
}
