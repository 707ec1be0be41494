/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys rotate, retire: what seals, what opens, and what is asked before it changes. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "keyadmin/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROTATE_LEAD_MS = 60000 };

/* NAME or NAME@VERSION; false: neither. */
bool keys_split_version(char *operand, uint32_t *ret)
{
	char *at = strchr(operand, '@'), *end;

	*ret = 0;
	if (!at)
		return true;
	*at = 0;
	errno = 0;
	unsigned long n = strtoul(at + 1, &end, 10);
	*ret = (uint32_t)n;
	if (!errno && at[1] >= '0' && at[1] <= '9' && *end == 0 && n >= 1 && n <= UINT32_MAX)
		return true;
	*at = '@';
	return false;
}

bool keys_confirmed(const char *verb, const char *how, const char *name)
{
	char line[256];

	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "kveil keys: to %s '%s' asks first: run it in a terminal, or with --yes\n", verb, name);
		return false;
	}
	fprintf(stderr, "Type the name of the key (%s) to %s it%s: ", name, verb, how);
	if (fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\r\n")] = 0;
		if (strcmp(line, name) == 0)
			return true;
	}
	fprintf(stderr, "kveil keys: nothing was changed\n");
	return false;
}

/* KVEIL_EXIT_OK, or that of a usage error. */
static int rotation_time(const struct keys_options *o, const struct kveil_data_key_config *c, int64_t *ret_ms)
{
	static const int64_t year_ms = INT64_C(366) * 24 * 3600 * 1000;
	int64_t now = kveil_clock_wall_ms();

	if (o->now && o->at)
		return kveil_usage_error(&kveil_command_keys, "--now and --at exclude each other");
	*ret_ms = o->now ? now : now + ROTATE_LEAD_MS;
	if (o->at && !kveil_clock_parse(o->at, ret_ms))
		return kveil_usage_error(&kveil_command_keys, "'%s' is not a time such as 2026-01-31T06:00:00Z", o->at);
	if (*ret_ms < now)
		return kveil_usage_error(&kveil_command_keys, "%s has passed", o->at);
	if (c && c->rotate_every_ms && *ret_ms > now + c->rotate_every_ms)
		return kveil_usage_error(&kveil_command_keys,
					 "%s is more than rotate_every ahead: '%s' would not rotate until then%s",
					 o->at ? o->at : "a minute from now", c->name, o->at ? "" : "; use --now");
	if (*ret_ms > now + year_ms)
		return kveil_usage_error(&kveil_command_keys, "%s is more than a year ahead: nobody would expect it",
					 o->at);
	return KVEIL_EXIT_OK;
}

/* What a pattern's own key wraps stays as it is. */
static bool ends_equality(const struct kveil_data_key_config *c)
{
	return c && c->algorithm->kind != KVEIL_ALG_AEAD && !strchr(c->name, '{');
}

static void find_active(void *user, const struct kveil_key_info *v)
{
	uint32_t *active = user;

	if (strcmp(v->state, "active") == 0)
		*active = v->version;
}

/* 0: none. */
static uint32_t active_of(struct kveil_keystore *ks, const char *name)
{
	uint32_t active = 0;
	struct kveil_error none;

	(void)!kveil_keystore_each_of(ks, name, find_active, &active, &none);
	return active;
}

/* version: to be retired; 0 = all of them, or a rotation. KVEIL_EXIT_OK: go on. What is not there needs no question,
 * and no more does a version that seals nothing. */
static int ask_to_change(const char *verb, const struct keys_options *o, struct kveil_keystore *ks,
			 const struct kveil_data_key_config *c, uint32_t version)
{
	struct kveil_error err;

	if (!ends_equality(c))
		return KVEIL_EXIT_OK;
	if (kveil_keystore_each_of(ks, c->name, keys_pass_over, NULL, &err))
		return keys_failed(&err);
	uint32_t active = active_of(ks, c->name);
	if (version && version != active)
		return KVEIL_EXIT_OK;
	if (strcmp(verb, "retire") == 0)
		fprintf(stderr,
			"kveil keys: '%s' (%s) has no successor of itself: records that need it wait until `kveil keys "
			"rotate %s`\n",
			c->name, c->algorithm->name, c->name);
	keys_warn_unequal();
	if (c->algorithm->kind == KVEIL_ALG_FPE && active)
		fprintf(stderr,
			"kveil keys: tokens of now then need a rule that pins their version, '%s@%u': without it they "
			"come back as other values\n",
			c->name, active);
	return o->yes || keys_confirmed(verb, "", c->name) ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
}

int keys_run_rotate(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const char *name = o->operands[0];
	struct kveil_keystore *ks;
	struct kveil_error err;
	int64_t from;
	char time[32];

	if (strchr(name, '@'))
		return kveil_usage_error(&kveil_command_keys,
					 "'%s' is a version: `kveil keys rotate %.*s` makes the next one", name,
					 (int)strcspn(name, "@"), name);
	const struct kveil_data_key_config *c = kveil_keys_config_find(cfg, kveil_span_str(name));
	int code = rotation_time(o, c, &from);
	if (code)
		return code;
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	code = ask_to_change("rotate", o, ks, c, 0);
	/* The answer took its time. */
	if (!code)
		code = rotation_time(o, c, &from);
	if (!code && kveil_keystore_rotate(ks, kveil_span_str(name), from, &err))
		code = keys_failed(&err);
	kveil_keystore_unref(ks);
	if (code)
		return code;
	kveil_clock_format(from, time);
	if (o->json)
		printf("{\"name\": \"%s\", \"active_from\": \"%s\"}\n", name, time);
	else
		printf("%s: a new version is active from %s\n", name, time);
	return KVEIL_EXIT_OK;
}

/* Ciphers have had their next version made by now; equal values of the others would stop being equal. */
static void say_what_follows(const char *name, uint32_t active, const char *undo)
{
	if (active)
		fprintf(stderr, "kveil keys: version %u of '%s' is active\n", active, name);
	else if (undo)
		fprintf(
		    stderr,
		    "kveil keys: no version of '%s' is active: records wait until `kveil keys %s %s`, or `kveil keys "
		    "rotate %s`, which makes another key\n",
		    name, undo, name, name);
	else
		fprintf(stderr, "kveil keys: no version of '%s' is active: records wait until `kveil keys rotate %s`\n",
			name, name);
}

int keys_say_changed(const struct keys_options *o, const struct kveil_keys_config *cfg, struct kveil_keystore *ks,
		     size_t changed, const char *done, const char *undo)
{
	const char *name = o->operands[0];
	bool is_configured = kveil_keys_config_find(cfg, kveil_span_str(name)) != NULL;
	uint32_t active = active_of(ks, name);

	if (o->json)
		printf("{\"name\": \"%s\", \"versions\": %zu, \"active\": %u}\n", name, changed, active);
	else if (changed)
		printf("%s: %zu version%s %s\n", name, changed, changed == 1 ? "" : "s", done);
	else
		printf("%s: nothing to do\n", name);
	if (changed && is_configured)
		say_what_follows(name, active, undo);
	return KVEIL_EXIT_OK;
}

int keys_run_retire(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const struct kveil_data_key_config *c;
	struct kveil_keystore *ks;
	struct kveil_error err;
	uint32_t version;
	size_t count;

	if (!keys_split_version(o->operands[0], &version))
		return kveil_usage_error(&kveil_command_keys, "'%s' is neither NAME nor NAME@VERSION", o->operands[0]);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	c = kveil_keys_config_find(cfg, kveil_span_str(o->operands[0]));
	int code = kveil_keys_count(ks, o->operands[0], version, &count, &err) ? keys_failed(&err) : KVEIL_EXIT_OK;
	if (!code)
		code = ask_to_change("retire", o, ks, c, version);
	if (!code)
		code = kveil_keys_set_state(ks, o->operands[0], version, KVEIL_KEY_RETIRED, &count, &err)
			   ? keys_failed(&err)
			   : keys_say_changed(o, cfg, ks, count, "retired: nothing is sealed with it, what was opens",
					      NULL);
	kveil_keystore_unref(ks);
	return code;
}
