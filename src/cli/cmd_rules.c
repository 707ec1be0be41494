/* SPDX-License-Identifier: Apache-2.0 */
/* kveil rules: which rules may run, as the key registry remembers. */
#include "cli/command.h"

#include "base/event.h"
#include "base/secret.h"
#include "keys/keystore.h"
#include "worker/accepted.h"
#include "worker/setup.h"

#include <stdio.h>
#include <string.h>

extern const struct kveil_command kveil_command_rules;

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "the configuration (default kveil.yaml)"},
    {0, "dry-run", NULL, "print what would be lost and accept nothing (exit code 1 if anything is)"},
    {0, "reason", "TEXT", "the reason, for the event in the log"},
    {0},
};

static int failed(const struct kveil_error *err)
{
	return kveil_failed(&kveil_command_rules, err, KVEIL_EXIT_FAILED);
}

static void tell_weaker(const struct kveil_plan_set *rules, size_t losses)
{
	char digest[KVEIL_RULES_DIGEST_SIZE] = "";

	(void)!kveil_rules_digest(rules, digest, NULL);
	kveil_event(&(struct kveil_event){
	    .kind = KVEIL_EVENT_RULES_WEAKER, .digest = digest, .count = losses, .detail = "accepted"});
}

static int accept_rules(struct kveil_keystore *keys, const struct kveil_plan_set *rules, bool dry_run)
{
	static const char *const answers[] = {
	    [KVEIL_ACCEPTED_NOTHING] = "the first rules of this key registry",
	    [KVEIL_ACCEPTED_SAME] = "these rules are the accepted ones already",
	    [KVEIL_ACCEPTED_OTHER] = "they protect no less than those before",
	    [KVEIL_ACCEPTED_MORE] = "they protect less than those before, as listed above",
	};
	struct kveil_report losses = {0};
	enum kveil_accepted answer;
	struct kveil_error err;
	enum kveil_status status = kveil_accepted_compare(keys, rules, &answer, &losses, &err);

	if (!status) {
		kveil_report_print(&losses, stdout);
		if (!dry_run && answer != KVEIL_ACCEPTED_SAME)
			status = kveil_accepted_keep(keys, rules, &err);
	}
	if (!status && !dry_run && answer == KVEIL_ACCEPTED_MORE)
		tell_weaker(rules, losses.errors + losses.warnings);
	kveil_report_clear(&losses);
	if (status)
		return failed(&err);
	bool news = !dry_run && answer != KVEIL_ACCEPTED_SAME;
	printf("%s%s\n", news ? "accepted: " : "", answers[answer]);
	if (news)
		printf("a worker that runs other rules loads these on SIGHUP, or at its next start\n");
	return dry_run && answer == KVEIL_ACCEPTED_MORE ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

static int accept_config(const char *path, bool dry_run)
{
	struct kveil_report report = {0};
	struct kveil_keystore *keys = NULL;
	struct kveil_setup s;
	struct kveil_error err;
	int code = KVEIL_EXIT_USAGE;

	kveil_setup_load(path, &s, &report);
	kveil_report_print(&report, stderr);
	if (!report.errors)
		code = kveil_keystore_open(&s.config->keys, &keys, &err) ? failed(&err)
									 : accept_rules(keys, s.plans, dry_run);
	kveil_report_clear(&report);
	kveil_keystore_unref(keys);
	kveil_setup_clear(&s);
	return code;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_rules;
	const char *value, *config = "kveil.yaml", *action = NULL;
	bool dry_run = false;
	int index = 1;

	for (;;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		if (!f && action)
			return kveil_usage_error(cmd, "'%s' is too much", argv[index]);
		if (!f)
			action = argv[index++];
		else if (f->short_name == 'c')
			config = value;
		else if (strcmp(f->long_name, "reason") == 0)
			kveil_event_set_reason(value);
		else
			dry_run = true;
	}
	if (!action || strcmp(action, "accept") != 0)
		return kveil_usage_error(cmd, "say what to do: accept");
	kveil_event_setup("rules accept");
	kveil_secret_harden_process();
	return accept_config(config, dry_run);
}

static const char *const words[] = {"accept", NULL};

const struct kveil_command kveil_command_rules = {
    .name = "rules",
    .usage = "accept -c kveil.yaml",
    .help = "accept rules that protect less than before; the key registry remembers them",
    .words = words,
    .flags = flags,
    .run = run,
};
