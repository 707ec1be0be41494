/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil keys ACTION`: the key registry, for those who look after it. One row an action. */
#include "cli/cmd_keys.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/secret.h"
#include "keys/admin.h"
#include "worker/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "configuration whose `keys:` to use (kveil.yaml)"},
    {0, "json", NULL, "list, history, rewrap: as JSON, for scripts"},
    {0, "now", NULL, "rotate: active at once (default: in one minute, so that everybody has it by then)"},
    {0, "at", "TIME", "rotate: active at a time such as 2026-01-31T06:00:00Z"},
    {0, "tink", NULL, "export: as a Google Tink keyset in JSON (the only format)"},
    {0, "clear", NULL, "export: with the keys in clear"},
    {'o', "output", "FILE", "export: into a file of mode 0600, replaced whole (default: to stdout)"},
    {0, "follow", "FILE", "export, backup: into a file, and again whenever keys come or change, until SIGTERM"},
    {0, "once", NULL, "export: with --follow, write once and end"},
    {0, "dry-run", NULL, "restore: change nothing, say what would come in"},
    {0, "reason", "TEXT", "why, for the event in the log and in the registry"},
    {'y', "yes", NULL, "destroy, retire, rotate: do not ask"},
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
	fprintf(stderr, "kveil keys: from then on equal values give other results than before: joins with older data "
			"end there\n");
}

/* --- init, backup, restore --- */

static int run_init(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keys_init_result r;
	struct kveil_error err;

	(void)o;
	if (kveil_keys_init(cfg, &r, &err))
		return keys_failed(&err);
	printf("%s: %s, %zu key%s added", cfg->registry, r.created ? "made" : "was there", r.names_added,
	       r.names_added == 1 ? "" : "s");
	if (r.keks_added)
		printf(", %zu KEK%s added", r.keks_added, r.keks_added == 1 ? "" : "s");
	printf("\n");
	if (!cfg->registry_id)
		printf("registry_id: %s\n", r.id);
	/* What is away is no mistake of the configuration. */
	return kveil_status_class(r.unlike.status) == KVEIL_CLASS_CONFIG ? keys_failed(&r.unlike) : KVEIL_EXIT_OK;
}

static int run_kek(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_error err;

	if (kveil_keys_make_kek(cfg, o->operands[0], &err))
		return keys_failed(&err);
	printf("%s: made; keep a copy of it elsewhere: what it wraps opens with nothing else\n", o->operands[0]);
	return KVEIL_EXIT_OK;
}

static void say_backup(const char *path, size_t versions)
{
	printf("%s: %zu version%s, wrapped; it opens with the same key-encryption keys only\n", path, versions,
	       versions == 1 ? "" : "s");
	fflush(stdout);
}

struct backing_up {
	const char *path;
	struct kveil_backup_seen seen;
};

static enum kveil_status back_up_again(void *user, struct kveil_keystore *ks, struct kveil_error *err)
{
	struct backing_up *b = user;
	bool written;
	enum kveil_status status = kveil_keys_backup_changed(ks, b->path, &b->seen, &written, err);

	if (written)
		say_backup(b->path, b->seen.versions);
	return status;
}

static int follow_backup(const char *path, const struct kveil_keys_config *cfg)
{
	struct backing_up b = {.path = path};
	struct kveil_keystore *ks;
	struct kveil_error err = {0};

	if (kveil_keys_backup_check(path, &err) || kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
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
		return follow_backup(path, cfg);
	if (kveil_keys_backup(cfg, path, &versions, &err))
		return keys_failed(&err);
	say_backup(path, versions);
	return KVEIL_EXIT_OK;
}

static int run_restore(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keys_restored r;
	struct kveil_error err;
	enum kveil_status status = kveil_keys_restore(cfg, o->operands[0], o->dry_run, &r, &err);

	if (!status || r.left_out)
		printf("%s: %s%zu added, %zu there already, %zu under another number, %zu left out\n", cfg->registry,
		       o->dry_run ? "would be: " : "", r.added, r.skipped, r.renumbered, r.left_out);
	if (status)
		return keys_failed(&err);
	if (!o->dry_run)
		printf("what was in the backup opens, and ciphers that came out of it never seal again\n");
	return KVEIL_EXIT_OK;
}

/* --- list --- */

struct row {
	char *cells[8];
};

enum { COLUMNS = 8 };

struct table {
	struct row *rows;
	size_t count;
	bool failed;
};

static void add_row(struct table *t, const char *const cells[COLUMNS])
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

static void add_version(void *user, const struct kveil_key_info *v)
{
	char number[16], id[16], created[32], active[32];

	snprintf(number, sizeof number, "%u", v->version);
	snprintf(id, sizeof id, "%u", v->id);
	kveil_clock_format(v->created_ms, created);
	kveil_clock_format(v->active_from_ms, active);
	add_row(user, (const char *[COLUMNS]){v->name, number, id, v->algorithm, v->kek, v->state, created, active});
}

/* Names are letters, digits, '.', '_', '-', '{' and '}': nothing that JSON would have to escape. */
static void print_json(const struct table *t)
{
	static const char *const names[COLUMNS] = {"name", "version", "id",      "algorithm",
						   "kek",  "state",   "created", "active_from"};

	printf("[");
	for (size_t i = 0; i < t->count; i++) {
		printf("%s\n  {", i ? "," : "");
		for (int c = 0; c < COLUMNS; c++) {
			const char *quote = c == 1 || c == 2 ? "" : "\"";
			printf("%s\"%s\": %s%s%s", c ? ", " : "", names[c], quote, t->rows[i].cells[c], quote);
		}
		printf("}");
	}
	printf("%s]\n", t->count ? "\n" : "");
}

static void print_table(const struct table *t)
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

void keys_pass_over(void *user, const struct kveil_key_info *v)
{
	(void)user;
	(void)v;
}

static void print_pattern(void *user, const struct kveil_pattern_info *p)
{
	(void)user;
	printf("%s wraps the keys of %llu name%s\n", p->pattern, (unsigned long long)p->names,
	       p->names == 1 ? "" : "s");
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
			"kveil keys: passed over what no kveil wrote into the registry: %s; see who may write to it\n",
			text);
}

void keys_say_outside(void *user, const struct kveil_key_info *v)
{
	++*(size_t *)user;
	fprintf(stderr,
		"kveil keys: version %u of '%s' cannot be reached: KEK '%s' is away, refuses it, or is not in "
		"keys.keks (if it "
		"is lost for good: `kveil keys destroy %s@%u`)\n",
		v->version, v->name, v->kek, v->name, v->version);
}

static int run_list(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_keystore *ks;
	struct table t = {0};
	struct kveil_error err = {0};

	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	size_t outside = 0;
	kveil_keystore_each_outside(ks, o->operands[0], keys_say_outside, &outside);
	if (outside && err.status)
		(void)keys_failed(&err);
	if (o->operands[0] && !outside && kveil_keystore_each_of(ks, o->operands[0], keys_pass_over, NULL, &err)) {
		kveil_keystore_unref(ks);
		return keys_failed(&err);
	}
	if (!o->json)
		add_row(&t, (const char *[COLUMNS]){"NAME", "VERSION", "ID", "ALGORITHM", "KEK", "STATE", "CREATED",
						    "ACTIVE FROM"});
	if (o->operands[0])
		(void)!kveil_keystore_each_of(ks, o->operands[0], add_version, &t, &err);
	else
		kveil_keystore_each(ks, add_version, &t);
	kveil_keystore_each_outside(ks, o->operands[0], add_version, &t);
	if (t.failed)
		fprintf(stderr, "kveil keys: out of memory\n");
	else if (o->json)
		print_json(&t);
	else
		print_table(&t);
	if (!o->json && !o->operands[0])
		kveil_keystore_patterns(ks, print_pattern, NULL);
	say_ignored(ks);
	kveil_keystore_unref(ks);
	for (size_t i = 0; i < t.count; i++)
		for (int c = 0; c < COLUMNS; c++)
			free(t.rows[i].cells[c]);
	free(t.rows);
	return t.failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
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
		fprintf(stderr, "kveil keys: %zu of %zu versions looked at\n", done, total);
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
	enum kveil_status status = kveil_keys_rewrap(ks, show_progress, &p, &moved, &err);
	kveil_keystore_unref(ks);
	if (status) {
		if (moved.moved)
			fprintf(stderr, "kveil keys: %zu moved before this; run it again to go on\n", moved.moved);
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

/* --- the command --- */

static const struct action actions[] = {
    {"kek", "NAME", "makes the key-encryption key that keys.keks names, in its file", 1, 1, run_kek},
    {"init", "", "makes the registry and the first version of every configured key; adds what is missing", 0, 0,
     run_init},
    {"list", "[NAME]", "every version of every key, or of one", 0, 1, run_list},
    {"history", "[NAME]", "what was done to keys, or to one: when, by whom, why", 0, 1, keys_run_history},
    {"rotate", "NAME", "publishes a new version; asks first where equal values would stop being equal", 1, 1,
     keys_run_rotate},
    {"export", "NAME", "writes a keyset for those who open without kveil", 1, 1, keys_run_export},
    {"import", "FILE NAME", "takes a Tink keyset in: it opens and never seals", 2, 2, keys_run_import},
    {"backup", "[FILE]", "copies the registry, wrapped as it is", 0, 1, run_backup},
    {"restore", "FILE", "brings a backup back", 1, 1, run_restore},
    {"retire", "NAME[@VERSION]", "takes a key out of use; what it sealed opens; asks as rotate does", 1, 1,
     keys_run_retire},
    {"destroy", "NAME[@VERSION]", "ends a key and all that it sealed; asks first", 1, 1, keys_run_destroy},
    {"rewrap", "", "moves every version under the KEK that the configuration names now", 0, 0, run_rewrap},
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
		const char **text = strcmp(f->long_name, "config") == 0   ? &o->config
				    : strcmp(f->long_name, "at") == 0     ? &o->at
				    : strcmp(f->long_name, "output") == 0 ? &o->output
				    : strcmp(f->long_name, "follow") == 0 ? &o->follow
				    : strcmp(f->long_name, "reason") == 0 ? &o->reason
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

static const char *const words[] = {"kek",    "init",    "list",   "history", "rotate", "export", "import",
				    "backup", "restore", "retire", "destroy", "rewrap", NULL};

const struct kveil_command kveil_command_keys = {
    .name = "keys",
    .usage = "ACTION -c kveil.yaml [OPTIONS]",
    .help =
	"the key registry: kek, init, list, history, rotate, export, import, backup, restore, retire, destroy, rewrap",
    .words = words,
    .flags = flags,
    .run = run,
};
