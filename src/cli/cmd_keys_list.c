/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys list: every version of every key, of one, or of those that records named. */
#include "cli/cmd_keys.h"

#include "base/clock.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { COLUMNS = 8, NAMES_MAX = 100000 };

struct row {
	char *cells[COLUMNS];
};

struct listing {
	const struct kveil_keys_config *config;
	struct row *rows;
	size_t count;
	json_t *json; /* NULL: as a table */
	bool failed;
};

static void add_row(struct listing *t, const char *const cells[COLUMNS])
{
	struct row *grown = realloc(t->rows, (t->count + 1) * sizeof *grown);

	t->failed |= !grown;
	if (!grown)
		return;
	t->rows = grown;
	for (int i = 0; i < COLUMNS; i++) {
		t->rows[t->count].cells[i] = strdup(cells[i]);
		t->failed |= !t->rows[t->count].cells[i];
	}
	t->count++;
}

/* What the configuration says of the key, or of the pattern that wraps it. */
static void add_words(json_t *row, const struct kveil_keys_config *config, const struct kveil_key_info *v)
{
	const struct kveil_data_key_config *c = kveil_keys_config_find(config, kveil_span_str(v->name));
	json_t *labels;

	c = c ? c : kveil_keys_config_find(config, kveil_span_str(v->kek));
	if (c && c->owner)
		json_object_set_new(row, "owner", json_string(c->owner));
	if (c && c->description)
		json_object_set_new(row, "description", json_string(c->description));
	if (!c || !c->labels.count)
		return;
	labels = json_object();
	for (size_t i = 0; i < c->labels.count; i++)
		json_object_set_new(labels, c->labels.names[i], json_string(c->labels.values[i]));
	json_object_set_new(row, "labels", labels);
}

static void add_json(struct listing *t, const struct kveil_key_info *v, const char *created, const char *active)
{
	char due[32];
	json_t *row = json_pack("{s:s, s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "name", v->name, "version",
				(json_int_t)v->version, "id", (json_int_t)v->id, "algorithm", v->algorithm, "kek",
				v->kek, "state", v->state, "created", created, "active_from", active);
	const char *second = strchr(v->kek, '+');

	if (second) {
		json_object_set_new(row, "kek", json_stringn(v->kek, (size_t)(second - v->kek)));
		json_object_set_new(row, "also", json_string(second + 1));
	}
	if (v->due_ms) {
		kveil_clock_format(v->due_ms, due);
		json_object_set_new(row, "destroyed_from", json_string(due));
		if (v->due_ms <= kveil_clock_wall_ms())
			json_object_set_new(row, "overdue", json_true());
	}
	add_words(row, t->config, v);
	t->failed |= json_array_append_new(t->json, row) != 0;
}

static void add_version(void *user, const struct kveil_key_info *v)
{
	char number[16], id[16], created[32], active[32], state[80], due[32];
	bool overdue = v->due_ms && v->due_ms <= kveil_clock_wall_ms();
	struct listing *t = user;

	snprintf(number, sizeof number, "%u", v->version);
	snprintf(id, sizeof id, "%u", v->id);
	kveil_clock_format(v->created_ms, created);
	kveil_clock_format(v->active_from_ms, active);
	if (t->json) {
		add_json(t, v, created, active);
		return;
	}
	kveil_clock_format(v->due_ms, due);
	snprintf(state, sizeof state, "%s%s%s%s", v->state, v->due_ms ? " for " : "", v->due_ms ? due : "",
		 overdue ? ", overdue" : "");
	add_row(t, (const char *[COLUMNS]){v->name, number, id, v->algorithm, v->kek, state, created, active});
}

static void print_json(const struct listing *t)
{
	size_t count = json_array_size(t->json);

	printf("[");
	for (size_t i = 0; i < count; i++) {
		printf("%s\n  ", i ? "," : "");
		(void)json_dumpf(json_array_get(t->json, i), stdout, JSON_PRESERVE_ORDER);
	}
	printf("%s]\n", count ? "\n" : "");
}

static void print_table(const struct listing *t)
{
	int width[COLUMNS] = {0};

	for (size_t i = 0; i < t->count; i++)
		for (int c = 0; c < COLUMNS; c++)
			if ((int)strlen(t->rows[i].cells[c]) > width[c])
				width[c] = (int)strlen(t->rows[i].cells[c]);
	for (size_t i = 0; i < t->count; i++) {
		for (int c = 0; c < COLUMNS - 1; c++)
			printf("%-*s  ", width[c], t->rows[i].cells[c]);
		printf("%s\n", t->rows[i].cells[COLUMNS - 1]);
	}
}

static int finish(struct listing *t, int code)
{
	if (t->failed)
		fprintf(stderr, "kveil keys: out of memory\n");
	else if (!code && t->json)
		print_json(t);
	else if (!code)
		print_table(t);
	for (size_t i = 0; i < t->count; i++)
		for (int c = 0; c < COLUMNS; c++)
			free(t->rows[i].cells[c]);
	free(t->rows);
	json_decref(t->json);
	return t->failed ? KVEIL_EXIT_FAILED : code;
}

static struct listing begin(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct listing t = {.config = cfg, .json = o->json ? json_array() : NULL};

	if (!o->json)
		add_row(&t, (const char *[COLUMNS]){"NAME", "VERSION", "ID", "ALGORITHM", "KEK", "STATE", "CREATED",
						    "ACTIVE FROM"});
	return t;
}

void keys_pass_over(void *user, const struct kveil_key_info *v)
{
	(void)user;
	(void)v;
}

static void print_pattern(void *user, const struct kveil_pattern_info *p)
{
	size_t names = kveil_keystore_count_names(user, p->pattern);

	printf("%s wraps the keys of %zu name%s", p->pattern, names, names == 1 ? "" : "s");
	if (p->names > names)
		printf(", and %zu more were destroyed", (size_t)p->names - names);
	printf("\n");
}

static void say_ignored(struct kveil_keystore *ks)
{
	char text[160] = "";

	for (unsigned i = 0; i < KVEIL_REGISTRY_REASONS; i++) {
		uint64_t n = kveil_keystore_ignored(ks, i);
		size_t at = strlen(text);
		if (n)
			snprintf(text + at, sizeof text - at, "%s%llu %s", at ? ", " : "", (unsigned long long)n,
				 kveil_keystore_reason(i));
	}
	if (*text)
		fprintf(stderr,
			"kveil keys: ignored records that kveil did not write into the registry: %s; check "
			"who may write to it\n",
			text);
}

void keys_say_outside(void *user, const struct kveil_key_info *v)
{
	++*(size_t *)user;
	fprintf(stderr, "kveil keys: version %u of '%s' cannot be reached: KEK '%s' does not open it here\n",
		v->version, v->name, v->kek);
}

static int list_named(const struct keys_options *o, struct kveil_keystore *ks, struct listing *t)
{
	struct kveil_error err;
	uint64_t most = 100;
	bool more;

	if (o->limit && !kveil_flag_count(o->limit, NAMES_MAX, &most))
		return kveil_usage_error(&kveil_command_keys, "--limit takes a number from 1 to %d", NAMES_MAX);
	if (kveil_keystore_each_named(ks, o->prefix, o->from, most, add_version, t, &more, &err))
		return keys_failed(&err);
	if (more)
		fprintf(stderr, "kveil keys: there are more: --from the last of these\n");
	return KVEIL_EXIT_OK;
}

static int list(const struct keys_options *o, struct kveil_keystore *ks, struct listing *t, struct kveil_error *err)
{
	size_t outside = 0;

	if (err->status)
		(void)keys_failed(err);
	kveil_keystore_each_outside(ks, o->operands[0], keys_say_outside, &outside);
	if (o->operands[0] && kveil_keystore_each_of(ks, o->operands[0], add_version, t, err) && !outside)
		return keys_failed(err);
	if (!o->operands[0])
		kveil_keystore_each(ks, add_version, t);
	kveil_keystore_each_outside(ks, o->operands[0], add_version, t);
	return KVEIL_EXIT_OK;
}

int keys_run_list(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keystore *ks;
	struct kveil_error err = {0};

	if ((o->from || o->limit) && !o->prefix)
		return kveil_usage_error(&kveil_command_keys, "--from and --limit go with --prefix");
	if (o->prefix && o->operands[0])
		return kveil_usage_error(&kveil_command_keys, "NAME and --prefix exclude each other");
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	struct listing t = begin(o, cfg);
	int code = o->prefix ? list_named(o, ks, &t) : list(o, ks, &t, &err);
	code = finish(&t, code);
	if (!code && !o->json && !o->operands[0] && !o->prefix)
		kveil_keystore_patterns(ks, print_pattern, ks);
	say_ignored(ks);
	kveil_keystore_unref(ks);
	return code;
}
