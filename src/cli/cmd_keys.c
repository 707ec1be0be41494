/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil keys ACTION`: the key registry, for those who look after it. One row an action. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/secret.h"
#include "config/config.h"
#include "keyadmin/admin.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "configuration whose `keys:` to use (kveil.yaml)"},
    {0, "json", NULL, "as JSON, for scripts"},
    {0, "now", NULL,
     "rotate, destroy: at once (default: rotate in one minute, when every worker has the "
     "version; destroy in seven days)"},
    {0, "at", "TIME", "rotate: active at a time such as 2026-01-31T06:00:00Z"},
    {0, "after", "TIME", "destroy: after this time, such as 30d (default 7d); until then it can be cancelled"},
    {0, "certificate", "FILE",
     "destroy, history: write a certificate of what was destroyed, when and by whom, with "
     "the registry's MACs"},
    {0, "prefix", "TEXT", "list: keys named from records whose names in the registry begin with TEXT"},
    {0, "from", "NAME", "list: with --prefix, start after this name"},
    {0, "limit", "N", "list: with --prefix, at most N names (default 100)"},
    {0, "tink", NULL, "export: as a Google Tink keyset in JSON (the only format)"},
    {0, "clear", NULL, "export: with the keys in clear"},
    {'o', "output", "FILE", "export: to a file of mode 0600, replaced atomically (default: stdout)"},
    {0, "follow", "FILE",
     "export, backup: write to a file, again whenever keys are added or change, until "
     "SIGTERM"},
    {0, "once", NULL, "export: with --follow, write once and exit"},
    {0, "under", "KEK",
     "backup: wrapped by this KEK alone; its public half is enough (for a backup in a "
     "safe)"},
    {0, "dry-run", NULL, "restore: change nothing, print what would be added"},
    {0, "reason", "TEXT", "the reason, for the event in the log and in the registry"},
    {'y', "yes", NULL, "kek, destroy, retire, rotate, evict: do not ask"},
    {0},
};

enum { REASON_MAX = 1024 };

struct action {
	const char *name, *operands, *help;
	int least, most;
	int (*run)(const struct keys_options *o, const struct kveil_keys_config *cfg);
};

int keys_failed(const struct kveil_error *err)
{
	return kveil_failed(&kveil_command_keys, err, KVEIL_EXIT_FAILED);
}

void keys_warn_unequal(void)
{
	fprintf(stderr, "kveil keys: equal values then give other results than before, so joins with older "
			"data break\n");
}

void keys_print_json(json_t *object)
{
	if (object)
		(void)json_dumpf(object, stdout, JSON_PRESERVE_ORDER);
	printf("\n");
	fflush(stdout);
	json_decref(object);
}

/* --- init, backup, restore --- */

/* Both where there are: what is away is not a mistake of the configuration. */
static int end_init(const struct kveil_keys_init_result *r)
{
	int code = r->evicted.status ? keys_failed(&r->evicted) : KVEIL_EXIT_OK;

	return kveil_status_class(r->unlike.status) == KVEIL_CLASS_CONFIG ? keys_failed(&r->unlike) : code;
}

static int run_init(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keys_init_result r;
	struct kveil_error err;

	if (kveil_keys_init(cfg, &r, &err))
		return keys_failed(&err);
	if (o->json) {
		keys_print_json(json_pack("{s:s, s:s, s:b, s:I, s:I}", "registry", cfg->registry, "registry_id", r.id,
					  "created", (int)r.created, "keys_added", (json_int_t)r.names_added,
					  "keks_added", (json_int_t)r.keks_added));
		return end_init(&r);
	}
	printf("%s: %s, %zu key%s added", cfg->registry, r.created ? "made" : "was there", r.names_added,
	       r.names_added == 1 ? "" : "s");
	if (r.keks_added)
		printf(", %zu KEK%s added", r.keks_added, r.keks_added == 1 ? "" : "s");
	printf("\n");
	if (!cfg->registry_id)
		printf("registry_id: %s\n", r.id);
	return end_init(&r);
}

static int run_kek(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_error err;

	if (!o->yes && kveil_keys_kek_is_missed(cfg, o->operands[0])) {
		fprintf(stderr,
			"kveil keys: the registry %s was made with a KEK '%s' that is missing here, and a "
			"new one opens nothing in it: restore the old one, or give the new one another name "
			"(--yes makes it anyway)\n",
			cfg->registry, o->operands[0]);
		return KVEIL_EXIT_USAGE;
	}
	if (kveil_keys_make_kek(cfg, o->operands[0], &err))
		return keys_failed(&err);
	if (o->json)
		keys_print_json(json_pack("{s:s, s:b}", "kek", o->operands[0], "made", 1));
	else
		printf("%s: created; keep a copy of it elsewhere: nothing else opens what it wraps\n", o->operands[0]);
	return KVEIL_EXIT_OK;
}

static void say_backup(const struct keys_options *o, const char *path, size_t versions)
{
	if (o->json) {
		keys_print_json(json_pack("{s:s, s:I}", "file", path, "versions", (json_int_t)versions));
		return;
	}
	printf("%s: %zu version%s, wrapped; it opens with ", path, versions, versions == 1 ? "" : "s");
	if (o->under)
		printf("KEK '%s' only\n", o->under);
	else
		printf("the same key-encryption keys only\n");
	fflush(stdout);
}

struct backing_up {
	const struct keys_options *options;
	const char *path;
	struct kveil_backup_seen seen;
};

static enum kveil_status back_up_again(void *user, struct kveil_keystore *ks, struct kveil_error *err)
{
	struct backing_up *b = user;
	bool written;
	enum kveil_status status = kveil_keys_backup_changed(ks, b->path, b->options->under, &b->seen, &written, err);

	if (written)
		say_backup(b->options, b->path, b->seen.living);
	return status;
}

static int follow_backup(const struct keys_options *o, const char *path, const struct kveil_keys_config *cfg)
{
	struct backing_up b = {.options = o, .path = path};
	struct kveil_keystore *ks;
	struct kveil_error err = {0};

	if (kveil_keys_backup_check(path, &err) || kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	keys_follow_begin();
	int code = back_up_again(&b, ks, &err) ? keys_failed(&err) : keys_follow(ks, back_up_again, &b);
	kveil_keystore_unref(ks);
	return code;
}

static int run_backup(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const char *path = o->follow ? o->follow : o->operands[0];
	struct kveil_error err;
	size_t versions;

	if (!path || (o->follow && o->operands[0]))
		return kveil_usage_error(&kveil_command_keys, "`keys backup` takes FILE, or --follow FILE");
	if (o->follow)
		return follow_backup(o, path, cfg);
	if (kveil_keys_backup(cfg, path, o->under, &versions, &err))
		return keys_failed(&err);
	say_backup(o, path, versions);
	return KVEIL_EXIT_OK;
}

/* --- rewrap --- */

struct progress {
	bool terminal;
	int64_t said_ms; /* monotonic */
};

/* A bar on a terminal; elsewhere a line every few seconds, for whoever reads the log of a long move. */
static void show_progress(void *user, size_t done, size_t total)
{
	enum { WIDTH = 40, BAR_MS = 50, LINE_MS = 5000 };
	static const char full[] = "########################################";
	struct progress *p = user;
	int64_t now = kveil_clock_mono_ms();

	if (now - p->said_ms < (p->terminal ? BAR_MS : LINE_MS) && !(p->terminal && done == total))
		return;
	p->said_ms = now;
	if (p->terminal)
		fprintf(stderr, "\r[%-*.*s] %zu of %zu%s", WIDTH, (int)(done * WIDTH / total), full, done, total,
			done == total ? "\n" : "");
	else
		fprintf(stderr, "kveil keys: %zu of %zu versions checked\n", done, total);
}

static int run_rewrap(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct progress p = {.terminal = isatty(STDERR_FILENO), .said_ms = kveil_clock_mono_ms()};
	struct kveil_keys_rewrap_result moved;
	struct kveil_keys_init_result added;
	struct kveil_keystore *ks;
	struct kveil_error err;

	/* The new KEK must open the registry itself as well. */
	if (kveil_keys_init(cfg, &added, &err) || kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	/* It is in nobody's way here: keys move to others. */
	if (added.evicted.status)
		keys_failed(&added.evicted);
	enum kveil_status status = kveil_keys_rewrap(ks, show_progress, &p, &moved, &err);
	kveil_keystore_unref(ks);
	if (status) {
		if (moved.moved)
			fprintf(stderr, "kveil keys: %zu moved before this; run it again to continue\n", moved.moved);
		return keys_failed(&err);
	}
	if (o->json)
		printf("{\"wrapped_anew\": %zu, \"unnamed\": %zu, \"unreachable\": %zu}\n", moved.moved, moved.unnamed,
		       moved.unreachable);
	else
		printf("%zu version%s wrapped anew\n", moved.moved, moved.moved == 1 ? "" : "s");
	if (moved.unnamed)
		fprintf(
		    stderr,
		    "kveil keys: %zu version%s of keys that keys.data does not name stay%s as wrapped: name the keys "
		    "there and run it again, or keep their KEK\n",
		    moved.unnamed, moved.unnamed == 1 ? "" : "s", moved.unnamed == 1 ? "s" : "");
	if (!moved.unreachable)
		return KVEIL_EXIT_OK;
	fprintf(stderr,
		"kveil keys: %zu could not be reached and stay as wrapped: run it again when their KEK is back\n",
		moved.unreachable);
	return keys_failed(&moved.away);
}

/* --- evict --- */

static void say_evicted(const struct keys_options *o, const struct kveil_keys_evicted *r)
{
	if (o->json) {
		json_t *names = json_array();
		for (int i = 0; i < 2 && o->operands[i]; i++)
			json_array_append_new(names, json_string(o->operands[i]));
		keys_print_json(json_pack("{s:o, s:I, s:s, s:I}", "evicted", names, "secret", (json_int_t)r->number,
					  "registry_id", r->id, "rotated", (json_int_t)r->rotated));
		return;
	}
	printf("%s%s%s: evicted; the registry has a new secret, and %zu key%s a new version, active in a minute\n",
	       o->operands[0], o->operands[1] ? ", " : "", o->operands[1] ? o->operands[1] : "", r->rotated,
	       r->rotated == 1 ? " has" : "s have");
	printf("registry_id: %s\n", r->id);
	fprintf(stderr, "kveil keys: deterministic keys, hashes and keys named from records are unchanged: "
			"whoever has the KEK and an older copy of the registry has them. Make a backup now "
			"and delete the older ones: they contain the old secret\n");
}

static int run_evict(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	const char *names[] = {o->operands[0], o->operands[1]};
	struct kveil_keys_init_result added;
	struct kveil_keys_evicted r;
	struct kveil_keystore *ks;
	struct kveil_error err;

	if (!o->yes && !keys_confirmed("evict", "", names[0]))
		return KVEIL_EXIT_USAGE;
	/* Whoever opens the new secret must open the old one too, should this be killed half way. */
	if (kveil_keys_init(cfg, &added, &err) || kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	enum kveil_status status = kveil_keys_evict(ks, names, names[1] ? 2 : 1, &r, &err);
	kveil_keystore_unref(ks);
	if (r.number)
		say_evicted(o, &r);
	if (status)
		return keys_failed(&err);
	return r.behind.status ? keys_failed(&r.behind) : KVEIL_EXIT_OK;
}

/* --- the command --- */

static const struct action actions[] = {
    {"kek", "NAME", "creates the file of a key-encryption key in keys.keks", 1, 1, run_kek},
    {"init", "",
     "creates the registry and the first version of every configured key; adds missing "
     "ones",
     0, 0, run_init},
    {"list", "[NAME]", "every version of every key, or of one", 0, 1, keys_run_list},
    {"history", "[NAME]", "what was done to keys, or to one: when, by whom, why", 0, 1, keys_run_history},
    {"rotate", "NAME", "publishes a new version; asks first if equal values would stop being equal", 1, 1,
     keys_run_rotate},
    {"export", "NAME", "writes a keyset, for opening values without kveil", 1, 1, keys_run_export},
    {"import", "FILE NAME", "imports a Tink keyset, which opens and never seals", 2, 2, keys_run_import},
    {"backup", "[FILE]", "copies the registry, wrapped as it is", 0, 1, run_backup},
    {"restore", "FILE", "restores a backup; existing versions keep their state", 1, 1, keys_run_restore},
    {"retire", "NAME[@VERSION]", "stops a key from sealing; what it sealed still opens; asks first as rotate does", 1,
     1, keys_run_retire},
    {"disable", "NAME[@VERSION]", "stops a key from sealing and opening until it is enabled; what needs it waits", 1, 1,
     keys_run_disable},
    {"enable", "NAME[@VERSION]", "takes that back", 1, 1, keys_run_enable},
    {"destroy", "NAME[@VERSION]", "destroys a key, and so all that it sealed, in seven days; asks first", 1, 1,
     keys_run_destroy},
    {"cancel", "NAME[@VERSION]", "cancels that, until then", 1, 1, keys_run_cancel},
    {"verify", "FILE", "checks a backup or certificate, and which keys of it open here", 1, 1, keys_run_verify},
    {"rewrap", "", "moves every version under the KEK that the configuration names now", 0, 0, run_rewrap},
    {"evict", "KEK [KEK]", "gives the registry a new secret that the KEK does not open; asks first", 1, 2, run_evict},
};

static void print_actions(void)
{
	printf("\nactions:\n");
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		char left[48];
		snprintf(left, sizeof left, "%s %s", actions[i].name, actions[i].operands);
		printf("  %-26s %s\n", left, actions[i].help);
	}
}

/* -1: go on. Options may stand anywhere. */
static int parse(int argc, char **argv, struct keys_options *o)
{
	int index = 1;

	while (index < argc) {
		const char *value;
		const struct kveil_flag *f = kveil_flag_next(&kveil_command_keys, argc, argv, &index, &value);
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		if (f == &kveil_flag_help) {
			print_actions();
			return KVEIL_EXIT_OK;
		}
		if (!f) {
			if (index >= argc)
				break;
			if (o->count == 3)
				return kveil_usage_error(&kveil_command_keys, "too many arguments: '%s'", argv[index]);
			o->operands[o->count++] = argv[index++];
			continue;
		}
		const char **text = strcmp(f->long_name, "config") == 0        ? &o->config
				    : strcmp(f->long_name, "at") == 0          ? &o->at
				    : strcmp(f->long_name, "output") == 0      ? &o->output
				    : strcmp(f->long_name, "follow") == 0      ? &o->follow
				    : strcmp(f->long_name, "reason") == 0      ? &o->reason
				    : strcmp(f->long_name, "after") == 0       ? &o->after
				    : strcmp(f->long_name, "under") == 0       ? &o->under
				    : strcmp(f->long_name, "prefix") == 0      ? &o->prefix
				    : strcmp(f->long_name, "from") == 0        ? &o->from
				    : strcmp(f->long_name, "limit") == 0       ? &o->limit
				    : strcmp(f->long_name, "certificate") == 0 ? &o->certificate
									       : NULL;
		bool *flag = strcmp(f->long_name, "json") == 0      ? &o->json
			     : strcmp(f->long_name, "now") == 0     ? &o->now
			     : strcmp(f->long_name, "tink") == 0    ? &o->tink
			     : strcmp(f->long_name, "clear") == 0   ? &o->clear
			     : strcmp(f->long_name, "once") == 0    ? &o->once
			     : strcmp(f->long_name, "dry-run") == 0 ? &o->dry_run
								    : &o->yes;
		if (text)
			*text = value;
		else
			*flag = true;
		o->given |= 1u << (f - flags);
	}
	return -1;
}

static int with_config(const struct action *a, const struct keys_options *o)
{
	struct kveil_report report = {0};
	struct kveil_config *config = kveil_config_load_keys(o->config, &report);
	int code = config ? a->run(o, &config->keys) : KVEIL_EXIT_USAGE;

	/* Warnings are for `check` and `run`. */
	if (!config)
		kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	kveil_config_free(config);
	return code;
}

static int run(int argc, char **argv)
{
	struct keys_options o = {.config = "kveil.yaml"};
	int code = parse(argc, argv, &o);

	if (code >= 0)
		return code;
	if (o.count == 0)
		return kveil_usage_error(&kveil_command_keys, "say what to do: init, list, rotate, export, …");
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		const struct action *a = &actions[i];
		if (strcmp(a->name, o.operands[0]) != 0)
			continue;
		if (o.count - 1 < a->least || o.count - 1 > a->most)
			return kveil_usage_error(&kveil_command_keys, "usage: kveil keys %s%s%s", a->name,
						 *a->operands ? " " : "", a->operands);
		if (o.reason && strlen(o.reason) > REASON_MAX)
			return kveil_usage_error(&kveil_command_keys, "--reason takes %d bytes at most", REASON_MAX);
		if (kveil_flag_foreign(&kveil_command_keys, a->name, o.given))
			return KVEIL_EXIT_USAGE;
		o.operands[0] = o.operands[1];
		o.operands[1] = o.operands[2];
		char command[32];
		snprintf(command, sizeof command, "keys %s", a->name);
		kveil_event_setup(command);
		kveil_event_set_reason(o.reason);
		umask(077);
		kveil_secret_harden_process();
		return with_config(a, &o);
	}
	return kveil_usage_error(&kveil_command_keys, "no action '%s'", o.operands[0]);
}

static const char *const words[] = {"kek",     "init",   "list",    "history", "rotate",  "export",
				    "import",  "backup", "restore", "retire",  "disable", "enable",
				    "destroy", "cancel", "verify",  "rewrap",  "evict",   NULL};

const struct kveil_command kveil_command_keys = {
    .name = "keys",
    .usage = "ACTION -c kveil.yaml [OPTIONS]",
    .help =
	"the key registry: kek, init, list, history, rotate, export, import, backup, restore, retire, disable, enable, "
	"destroy, cancel, verify, rewrap, evict",
    .words = words,
    .flags = flags,
    .run = run,
};
