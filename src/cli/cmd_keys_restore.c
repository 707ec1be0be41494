/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys restore: what came in, and what the backup says otherwise. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "keyadmin/admin.h"

#include <jansson.h>
#include <stdio.h>

enum { SHOWN_MAX = 50 };

/* "to be destroyed from 2026-01-31T06:00:00Z on" */
static void describe(const struct kveil_restored_version *v, char *out, size_t room)
{
	char when[32];

	if (v->due_ms && strcmp(v->backup, "scheduled") == 0) {
		kveil_clock_format(v->due_ms, when);
		snprintf(out, room, "to be destroyed from %s on", when);
	} else {
		snprintf(out, room, "%s", v->backup);
	}
}

static void print_version(const struct kveil_restored_version *v)
{
	char said[80], version[16] = "";

	describe(v, said, sizeof said);
	if (v->version)
		snprintf(version, sizeof version, "@%u", v->version);
	if (strcmp(v->here, "missing") == 0) {
		printf("  %s%s (id %u): made once, and neither in the backup nor here: what it sealed does not open; "
		       "look for a "
		       "later backup\n",
		       v->name, version, v->id);
		return;
	}
	printf("  %s%s (id %u): %s in the backup, ", v->name, version, v->id, said);
	if (v->stays)
		printf("%s here, and stays so\n", strcmp(v->here, "scheduled") == 0 ? "to be destroyed" : v->here);
	else if (strcmp(v->backup, v->here) == 0)
		printf("and here\n");
	else if (strcmp(v->here, "opens only") == 0)
		printf("opens only here, for another version seals\n");
	else
		printf("%s here: `kveil keys %s` or `kveil keys destroy --now` says what becomes of it\n", v->here,
		       strcmp(v->here, "scheduled") == 0 ? "cancel" : "enable");
}

static void print_numbers(const struct kveil_keys_restored *r)
{
	for (size_t i = 0; i < r->number_count && i < SHOWN_MAX; i++)
		printf("  %s@%u of the backup (id %u) is %s@%u here\n", r->numbers[i].name, r->numbers[i].backup,
		       r->numbers[i].id, r->numbers[i].name, r->numbers[i].here);
	if (r->number_count > SHOWN_MAX)
		printf("  and %zu more under another number: --json has all of them\n", r->number_count - SHOWN_MAX);
	if (r->number_count)
		printf(
		    "  Rules that pin a version (NAME@VERSION) mean the number here: check those that come from where "
		    "the backup was made\n");
}

static void print_text(const struct keys_options *o, const struct kveil_keys_config *cfg,
		       const struct kveil_keys_restored *r)
{
	printf("%s: %s%zu added, %zu there already, %zu under another number, %zu left out\n", cfg->registry,
	       o->dry_run ? "would be: " : "", r->added, r->skipped, r->renumbered, r->left_out);
	if (r->unreachable)
		printf("  %zu of them came in or %s here, and cannot be opened with the KEKs of this configuration: "
		       "`kveil keys list` shows which\n",
		       r->unreachable, r->unreachable == 1 ? "is" : "are");
	for (size_t i = 0; i < r->told_count && i < SHOWN_MAX; i++)
		print_version(&r->told[i]);
	if (r->told_count > SHOWN_MAX)
		printf("  and %zu more: --json has all of them\n", r->told_count - SHOWN_MAX);
	print_numbers(r);
}

static json_t *version_json(const struct kveil_restored_version *v)
{
	char when[32];
	json_t *ret = json_pack("{s:s, s:I, s:I, s:s, s:s, s:b}", "name", v->name, "version", (json_int_t)v->version,
				"id", (json_int_t)v->id, "backup", v->backup, "here", v->here, "stays", (int)v->stays);

	if (ret && v->due_ms) {
		kveil_clock_format(v->due_ms, when);
		json_object_set_new(ret, "due", json_string(when));
	}
	return ret;
}

static json_t *numbers_json(const struct kveil_keys_restored *r)
{
	json_t *ret = json_array();

	for (size_t i = 0; i < r->number_count; i++) {
		const struct kveil_keys_renumbered *n = &r->numbers[i];
		json_array_append_new(ret, json_pack("{s:s, s:I, s:I, s:I}", "name", n->name, "id", (json_int_t)n->id,
						     "version_in_backup", (json_int_t)n->backup, "version_here",
						     (json_int_t)n->here));
	}
	return ret;
}

static void print_json(const struct keys_options *o, const struct kveil_keys_restored *r)
{
	json_t *versions = json_array();

	for (size_t i = 0; i < r->told_count; i++)
		json_array_append_new(versions, version_json(&r->told[i]));
	keys_print_json(json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "dry_run", (int)o->dry_run, "added",
				  (json_int_t)r->added, "skipped", (json_int_t)r->skipped, "renumbered",
				  (json_int_t)r->renumbered, "left_out", (json_int_t)r->left_out, "unreachable",
				  (json_int_t)r->unreachable, "versions", versions, "numbers", numbers_json(r)));
}

int keys_run_restore(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keys_restored r;
	struct kveil_error err;
	enum kveil_status status = kveil_keys_restore(cfg, o->operands[0], o->dry_run, &r, &err);

	if (!status || r.left_out || r.unreachable) {
		if (o->json)
			print_json(o, &r);
		else
			print_text(o, cfg, &r);
	}
	if (!status && !o->dry_run && !o->json)
		printf("%s in the backup opens, and ciphers that came out of it never seal again\n",
		       r.told_count || r.unreachable ? "what else was" : "what was");
	kveil_keys_restored_clear(&r);
	return status ? keys_failed(&err) : KVEIL_EXIT_OK;
}
