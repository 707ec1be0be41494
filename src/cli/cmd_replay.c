/* SPDX-License-Identifier: Apache-2.0 */
/* kveil replay: dead letters through the rules again. */
#include "cli/command.h"

#include "base/event.h"
#include "base/log.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "keys/keystore.h"
#include "worker/accepted.h"
#include "worker/replay.h"
#include "worker/setup.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct kveil_command kveil_command_replay;

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "the configuration (default kveil.yaml)"},
    {'t', "topic", "TOPIC", "this dead-letter topic only (default: those of all input topics)"},
    {0, "max", "N", "process at most N letters"},
    {0, "dry-run", NULL, "open the letters and apply the rules, but send and commit nothing"},
    {0},
};

enum { WATCHDOG_S = 15, MOST_TOLD = 10 };

static _Atomic bool stop;

static void on_watchdog(int number)
{
	(void)number;
	_exit(KVEIL_EXIT_RUNTIME);
}

/* From here on the process ends: after the letters under way, by the watchdog, or by a second signal. */
static void on_signal(int number)
{
	(void)number;
	if (atomic_exchange(&stop, true))
		_exit(KVEIL_EXIT_RUNTIME);
	alarm(WATCHDOG_S);
}

static int failed(const struct kveil_error *err)
{
	return kveil_failed(&kveil_command_replay, err, KVEIL_EXIT_RUNTIME);
}

/* What failed, by code. */
struct failures {
	uint64_t count[KVEIL_STATUS_COUNT];
};

/* What fails or is skipped is worth a line, a few for each code; none of it holds a value. */
static void on_letter(void *user, const struct kveil_replay_outcome *o)
{
	struct failures *f = user;
	char text[1024];

	if (o->error && ++f->count[o->error->status] > MOST_TOLD)
		return;
	if (o->error)
		printf("%s[%" PRId32 "]@%" PRId64 ": %s: %s\n", o->topic, o->partition, o->offset,
		       kveil_status_code(o->error->status), kveil_error_format(o->error, NULL, text, sizeof text));
	else if (o->skipped)
		printf("%s[%" PRId32 "]@%" PRId64 ": skipped: it was replayed before\n", o->topic, o->partition,
		       o->offset);
}

static void sum_up(const struct failures *f)
{
	for (size_t i = 0; i < KVEIL_STATUS_COUNT; i++)
		if (f->count[i])
			printf("%10" PRIu64 " %s%s\n", f->count[i], kveil_status_code((enum kveil_status)i),
			       f->count[i] > MOST_TOLD ? ", of which the first are above" : "");
}

static int replay(const struct kveil_replay_params *p)
{
	struct kveil_replay_counts counts;
	struct failures failures = {0};
	struct kveil_error err;

	enum kveil_status status = kveil_replay(p, on_letter, &failures, &counts, &err);
	printf("%" PRIu64 " %s, %" PRIu64 " failed%s\n", counts.replayed, p->dry_run ? "would go through" : "replayed",
	       counts.failed, counts.failed && !p->dry_run ? " and stay in their dead-letter topic" : "");
	if (counts.replayed && !p->dry_run)
		kveil_event(&(struct kveil_event){
		    .kind = KVEIL_EVENT_DEAD_LETTERS_REPLAYED, .topic = p->topic, .count = counts.replayed});
	sum_up(&failures);
	if (counts.skipped)
		printf("%" PRIu64 " skipped: replayed before\n", counts.skipped);
	if (status)
		return failed(&err);
	if (counts.stopped) {
		fprintf(stderr, "kveil replay: stopped by a signal; the next replay continues from here\n");
		return KVEIL_EXIT_RUNTIME;
	}
	return counts.failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

/* As `run` holds them against those accepted last: what it would not do with these rules, a replay does not either. */
static int replay_if_accepted(const struct kveil_replay_params *p)
{
	const bool strict = p->config->rules_guard == KVEIL_GUARD_STRICT;
	struct kveil_report losses = {0};
	enum kveil_accepted answer;
	struct kveil_error err;
	enum kveil_status status = kveil_accepted_compare(p->keys, p->plans, &answer, &losses, &err);

	kveil_report_print(&losses, stderr);
	kveil_report_clear(&losses);
	if (status)
		return failed(&err);
	if (!strict || p->dry_run || answer == KVEIL_ACCEPTED_SAME || answer == KVEIL_ACCEPTED_OTHER)
		return replay(p);
	kveil_fail(&err, KVEIL_E_CONFIG, "these rules were not accepted (rules_guard: strict): `kveil rules accept`");
	return failed(&err);
}

static int load_and_replay(const char *path, struct kveil_replay_params *p)
{
	struct kveil_report report = {0};
	struct kveil_setup s;
	struct kveil_error err;
	int code = KVEIL_EXIT_USAGE;

	kveil_setup_load(path, &s, &report);
	kveil_report_print(&report, stderr);
	if (!report.errors) {
		kveil_log_setup((enum kveil_log_level)s.config->log.level, s.config->log.format == 1);
		kveil_secret_log_unlocked();
		kveil_event_setup("replay");
		p->config = s.config;
		p->plans = s.plans;
		code = kveil_keystore_open(&s.config->keys, &p->keys, &err) ? failed(&err) : replay_if_accepted(p);
	}
	kveil_keystore_unref(p->keys);
	kveil_setup_clear(&s);
	kveil_report_clear(&report);
	return code;
}

static int run(int argc, char **argv)
{
	const char *value, *path = "kveil.yaml";
	struct kveil_replay_params params = {.stop = &stop};
	const struct sigaction action = {.sa_handler = on_signal}, watchdog = {.sa_handler = on_watchdog};
	const struct kveil_flag *f;
	struct kveil_error err;
	int index = 1;

	while ((f = kveil_flag_next(&kveil_command_replay, argc, argv, &index, &value))) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		if (f->short_name == 'c')
			path = value;
		else if (f->short_name == 't')
			params.topic = value;
		else if (!f->argument)
			params.dry_run = true;
		else if (!kveil_flag_count(value, UINT64_MAX, &params.most))
			return kveil_usage_error(&kveil_command_replay, "--max needs a number, not '%s'", value);
	}
	if (index < argc)
		return kveil_usage_error(&kveil_command_replay, "'%s' is too much", argv[index]);
	kveil_secret_harden_process();
	if (kveil_crypto_init(&err))
		return failed(&err);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &watchdog, NULL);
	return load_and_replay(path, &params);
}

const struct kveil_command kveil_command_replay = {
    .name = "replay",
    .usage = "-c FILE [--topic TOPIC] [--dry-run]",
    .help = "open dead letters and send them through the rules again",
    .flags = flags,
    .run = run,
};
