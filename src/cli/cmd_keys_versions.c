/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys rotate, retire, destroy: what seals, what opens, and what is asked before it changes. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "keys/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROTATE_LEAD_MS = 60000 };

/* NAME or NAME@VERSION; false: neither. */
static bool split_version(char *operand, uint32_t *ret)
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

/* verb: "destroy". true: the name was typed. */
static bool confirmed(const char *verb, const char *name)
{
	char line[256];

	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "kveil keys: to %s '%s' asks first: run it in a terminal, or with --yes\n", verb, name);
		return false;
	}
	fprintf(stderr, "Type the name of the key to %s it: ", verb);
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
		return kveil_usage_error(&kveil_command_keys, "'%s' is no time such as 2026-01-31T06:00:00Z", o->at);
	if (*ret_ms < now)
		return kveil_usage_error(&kveil_command_keys, "%s has passed", o->at);
	if (c && c->rotate_every_ms && *ret_ms > now + c->rotate_every_ms)
		return kveil_usage_error(&kveil_command_keys,
					 "%s is more than rotate_every ahead: '%s' would not rotate until then", o->at,
					 c->name);
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

/* verb: "rotate", "retire". KVEIL_EXIT_OK: go on. What is not there needs no question. */
static int ask_to_change(const char *verb, const struct keys_options *o, struct kveil_keystore *ks,
			 const struct kveil_data_key_config *c)
{
	struct kveil_error err;

	if (!ends_equality(c))
		return KVEIL_EXIT_OK;
	if (kveil_keystore_each_of(ks, c->name, keys_pass_over, NULL, &err))
		return keys_failed(&err);
	if (strcmp(verb, "retire") == 0)
		fprintf(stderr,
			"kveil keys: '%s' (%s) has no successor of itself: records that need it wait until `kveil keys "
			"rotate %s`\n",
			c->name, c->algorithm->name, c->name);
	keys_warn_unequal();
	if (c->algorithm->kind == KVEIL_ALG_FPE)
		fprintf(stderr,
			"kveil keys: older tokens then need a rule that pins their version, such as '%s@1': without "
			"it they come back as other values\n",
			c->name);
	return o->yes || confirmed(verb, c->name) ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
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
	code = ask_to_change("rotate", o, ks, c);
	/* The answer took its time. */
	if (!code)
		code = rotation_time(o, c, &from);
	if (!code && kveil_keystore_rotate(ks, kveil_span_str(name), from, &err))
		code = keys_failed(&err);
	kveil_keystore_unref(ks);
	if (code)
		return code;
	kveil_clock_format(from, time);
	printf("%s: a new version is active from %s\n", name, time);
	return KVEIL_EXIT_OK;
}

static void find_active(void *user, const struct kveil_key_info *v)
{
	uint32_t *active = user;

	if (strcmp(v->state, "active") == 0)
		*active = v->version;
}

/* Ciphers have had their next version made by now; equal values of the others would stop being equal. */
static void say_what_follows(struct kveil_keystore *ks, const char *name)
{
	uint32_t active = 0;

	(void)!kveil_keystore_each_of(ks, name, find_active, &active, NULL);
	if (active)
		fprintf(stderr, "kveil keys: version %u of '%s' is active\n", active, name);
	else
		fprintf(stderr, "kveil keys: no version of '%s' is active: records wait until `kveil keys rotate %s`\n",
			name, name);
}

static int change_state(const struct kveil_keys_config *cfg, struct kveil_keystore *ks, const char *name,
			uint32_t version, enum kveil_key_state state, const char *done)
{
	struct kveil_error err;
	size_t changed;

	if (kveil_keys_set_state(ks, name, version, state, &changed, &err))
		return keys_failed(&err);
	if (changed)
		printf("%s: %zu version%s %s\n", name, changed, changed == 1 ? "" : "s", done);
	else
		printf("%s: nothing to do\n", name);
	if (changed && kveil_keys_config_find(cfg, kveil_span_str(name)))
		say_what_follows(ks, name);
	return KVEIL_EXIT_OK;
}

int keys_run_retire(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keystore *ks;
	struct kveil_error err;
	uint32_t version;

	if (!split_version(o->operands[0], &version))
		return kveil_usage_error(&kveil_command_keys, "'%s' is neither NAME nor NAME@VERSION", o->operands[0]);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	size_t count;
	int code = kveil_keys_count(ks, o->operands[0], version, &count, &err) ? keys_failed(&err) : KVEIL_EXIT_OK;
	if (!code)
		code = ask_to_change("retire", o, ks, kveil_keys_config_find(cfg, kveil_span_str(o->operands[0])));
	if (!code)
		code = change_state(cfg, ks, o->operands[0], version, KVEIL_KEY_RETIRED,
				    "retired: nothing is sealed with it, what was opens");
	kveil_keystore_unref(ks);
	return code;
}

struct ending {
	uint32_t version; /* 0 = all */
};

static void print_ending(void *user, const struct kveil_key_info *v)
{
	const struct ending *e = user;

	if ((!e->version || e->version == v->version) && strcmp(v->state, "destroyed") != 0)
		fprintf(stderr, "  %s@%u, %s, under KEK %s\n", v->name, v->version, v->state, v->kek);
}

int keys_run_destroy(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const char *name = o->operands[0];
	struct kveil_keystore *ks;
	struct kveil_error err;
	int code = KVEIL_EXIT_USAGE;
	uint32_t version;
	size_t count;

	if (!split_version(o->operands[0], &version))
		return kveil_usage_error(&kveil_command_keys, "'%s' is neither NAME nor NAME@VERSION", o->operands[0]);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	/* What is not there needs no question. */
	if (kveil_keys_count(ks, name, version, &count, &err)) {
		kveil_keystore_unref(ks);
		return keys_failed(&err);
	}
	fprintf(stderr,
		"What was sealed with %s%s%s will never open again, except where the key survives:\n"
		"  exported keysets, backups of the registry and of its disk%s, and running workers for up to a "
		"minute. Clear values may still stand in input topics.\n",
		strchr(name, '{') ? "every key that is wrapped by " : "", version ? "this version of " : "", name,
		strncmp(cfg->registry, "kafka:", 6) == 0 ? ", its topic until Kafka compacts it" : "");
	struct ending e = {.version = version};
	struct kveil_error none;
	(void)!kveil_keystore_each_of(ks, name, print_ending, &e, &none);
	kveil_keystore_each_outside(ks, name, print_ending, &e);
	size_t wrapped = kveil_keys_count_wrapped(ks, name, version);
	if (wrapped)
		fprintf(stderr, "  It wraps %zu key%s now%s.\n", wrapped, wrapped == 1 ? "" : "s",
			version ? ": `kveil keys rewrap` moves them to the newest version" : "");
	if (o->yes || confirmed("destroy", name))
		code = change_state(cfg, ks, name, version, KVEIL_KEY_DESTROYED, "destroyed");
	kveil_keystore_unref(ks);
	return code;
}
