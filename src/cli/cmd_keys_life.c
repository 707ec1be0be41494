/* SPDX-License-Identifier: Apache-2.0 */
/* kveil keys disable, enable, destroy, cancel: what can be taken back, and what cannot. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "base/options.h"
#include "keyadmin/admin.h"

#include <stdio.h>

static const int64_t DAY_MS = INT64_C(24) * 3600 * 1000;

/* NAME or NAME@VERSION, and the registry; the exit code, or -1: go on. */
static int begin(const struct keys_options *o, const struct kveil_keys_config *cfg, uint32_t *ret_version,
		 struct kveil_keystore **ret)
{
	struct kveil_error err;

	if (!keys_split_version(o->operands[0], ret_version))
		return kveil_usage_error(&kveil_command_keys, "'%s' is neither NAME nor NAME@VERSION", o->operands[0]);
	return kveil_keystore_open_reachable(cfg, ret, &err) ? keys_failed(&err) : -1;
}

static int withhold(const struct keys_options *o, const struct kveil_keys_config *cfg, enum kveil_event_kind kind,
		    const char *done, const char *undo)
{
	struct kveil_keystore *ks;
	struct kveil_error err;
	uint32_t version;
	size_t changed;
	int code = begin(o, cfg, &version, &ks);

	if (code >= 0)
		return code;
	code = kveil_keys_withhold(ks, o->operands[0], version, kind, 0, &changed, &err)
		   ? keys_failed(&err)
		   : keys_say_changed(o, cfg, ks, changed, done, undo);
	kveil_keystore_unref(ks);
	return code;
}

int keys_run_disable(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	return withhold(o, cfg, KVEIL_EVENT_KEY_DISABLED,
			"disabled: nothing is sealed or opened with it, and what needs it waits", "enable");
}

int keys_run_enable(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	return withhold(o, cfg, KVEIL_EVENT_KEY_ENABLED, "enabled", NULL);
}

int keys_run_cancel(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	return withhold(o, cfg, KVEIL_EVENT_KEY_DESTROY_CANCELLED, "no longer scheduled to be destroyed", NULL);
}

/* --- destroy --- */

static void print_ending(void *user, const struct kveil_key_info *v)
{
	const uint32_t *version = user; /* 0 = all */

	if ((!*version || *version == v->version) && strcmp(v->state, "destroyed") != 0)
		fprintf(stderr, "  %s@%u, %s, under KEK %s\n", v->name, v->version, v->state, v->kek);
}

static void say_what_ends(const struct kveil_keys_config *cfg, struct kveil_keystore *ks, const char *name,
			  uint32_t version)
{
	struct kveil_error none;

	fprintf(stderr,
		"What was sealed with %s%s%s will never open again, except where the key survives:\n"
		"  exported keysets, backups of the registry and of its disk%s, and running workers for some "
		"seconds. Clear values may still stand in input topics.\n",
		strchr(name, '{') ? "every key that is wrapped by " : "", version ? "this version of " : "", name,
		strncmp(cfg->registry, "kafka:", 6) == 0 ? ", its topic until Kafka compacts it" : "");
	(void)!kveil_keystore_each_of(ks, name, print_ending, &version, &none);
	kveil_keystore_each_outside(ks, name, print_ending, &version);
	size_t wrapped = kveil_keys_count_wrapped(ks, name, version);
	if (wrapped)
		fprintf(stderr, "  It wraps %zu key%s now%s.\n", wrapped, wrapped == 1 ? "" : "s",
			version ? ": `kveil keys rewrap` moves them to the newest version" : "");
}

static int schedule(const struct keys_options *o, const struct kveil_keys_config *cfg, struct kveil_keystore *ks,
		    uint32_t version, int64_t due_ms)
{
	char when[32], done[128];
	struct kveil_error err;
	size_t changed;

	if (kveil_keys_withhold(ks, o->operands[0], version, KVEIL_EVENT_KEY_DESTROY_SCHEDULED, due_ms, &changed, &err))
		return keys_failed(&err);
	kveil_clock_format(due_ms, when);
	snprintf(done, sizeof done, "disabled, and destroyed by a running worker from %s on", when);
	int code = keys_say_changed(o, cfg, ks, changed, done, "cancel");
	if (changed && version)
		fprintf(stderr, "kveil keys: `kveil keys cancel %s@%u` undoes this until then\n", o->operands[0],
			version);
	else if (changed)
		fprintf(stderr, "kveil keys: `kveil keys cancel %s` undoes this until then\n", o->operands[0]);
	return code;
}

static int destroy_now(const struct keys_options *o, const struct kveil_keys_config *cfg, struct kveil_keystore *ks,
		       uint32_t version)
{
	struct kveil_error err;
	size_t changed;

	if (!o->yes && !keys_confirmed("destroy", " at once", o->operands[0]))
		return KVEIL_EXIT_USAGE;
	if (!o->yes) {
		fprintf(stderr, "This cannot be undone; without --now it can, for seven days.\n");
		if (!keys_confirmed("destroy", " at once, once more", o->operands[0]))
			return KVEIL_EXIT_USAGE;
	}
	if (kveil_keys_set_state(ks, o->operands[0], version, KVEIL_KEY_DESTROYED, &changed, &err))
		return keys_failed(&err);
	int code = keys_say_changed(o, cfg, ks, changed, "destroyed", NULL);
	return code || !o->certificate ? code : keys_write_certificate(ks, o->operands[0], version, o->certificate);
}

/* KVEIL_EXIT_OK, or that of a usage error. */
static int when_due(const struct keys_options *o, int64_t *ret_ms)
{
	struct kveil_error err;
	int64_t after = 7 * DAY_MS;

	if (o->now && o->after)
		return kveil_usage_error(&kveil_command_keys, "--now and --after exclude each other");
	if (o->certificate && !o->now)
		return kveil_usage_error(&kveil_command_keys,
					 "--certificate goes with --now: of what a worker destroyed as "
					 "scheduled, `kveil keys history NAME --certificate FILE` writes it");
	if (o->after && kveil_options_duration(o->after, &after, &err))
		return kveil_usage_error(&kveil_command_keys, "'%s' is not a time such as 30d or 12h", o->after);
	if (after < 1000 || after > 3660 * DAY_MS)
		return kveil_usage_error(&kveil_command_keys, "--after takes a time from a second to ten years");
	*ret_ms = kveil_clock_wall_ms() + after;
	return KVEIL_EXIT_OK;
}

static bool confirmed_from(int64_t due_ms, const char *name)
{
	char when[32], how[48];

	kveil_clock_format(due_ms, when);
	snprintf(how, sizeof how, " from %s on", when);
	return keys_confirmed("destroy", how, name);
}

int keys_run_destroy(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keystore *ks;
	struct kveil_error err;
	uint32_t version;
	int64_t due = 0;
	size_t count;
	int code = when_due(o, &due);

	if (code)
		return code;
	if (o->certificate && keys_check_certificate(o->certificate, &err))
		return keys_failed(&err);
	code = begin(o, cfg, &version, &ks);
	if (code >= 0)
		return code;
	/* What is not there needs no question. */
	if (kveil_keys_count(ks, o->operands[0], version, &count, &err)) {
		kveil_keystore_unref(ks);
		return keys_failed(&err);
	}
	say_what_ends(cfg, ks, o->operands[0], version);
	if (o->now)
		code = destroy_now(o, cfg, ks, version);
	else if (o->yes || confirmed_from(due, o->operands[0]))
		code = schedule(o, cfg, ks, version, due);
	else
		code = KVEIL_EXIT_USAGE;
	kveil_keystore_unref(ks);
	return code;
}
