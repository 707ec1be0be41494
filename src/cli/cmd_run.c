/* SPDX-License-Identifier: Apache-2.0 */
/* kveil run: the worker. This thread waits for signals and for rule files that were swapped; the service does the rest.
 */
#include "cli/command.h"

#include "base/back_off.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/announce.h"
#include "crypto/crypto.h"
#include "http/side_port.h"
#include "keys/keystore.h"
#include "worker/accepted.h"
#include "worker/notify.h"
#include "worker/reload.h"
#include "worker/setup.h"
#include "worker/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOOK_MS = 700, WATCHDOG_S = 15, LAST_LINES_MS = 1000, ACCEPTED_MS = 2000, ACCEPTED_AGAIN_MS = 30000 };

extern const struct kveil_command kveil_command_run;

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "the configuration (default kveil.yaml)"},
    {0},
};

/* Everything of a run; freed in one place. */
struct run {
	struct kveil_config *config;
	struct kveil_keystore *names; /* of what the configuration says of keys */
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans;
	struct kveil_metrics *metrics;
	struct kveil_health *health;
	struct kveil_side_port *port;
	struct kveil_watch *watch;
	struct kveil_cell *reload_ok, *reload_time, *losses, *log_dropped, *rules_info;
	const char *config_path;
	char config_digest[KVEIL_RULES_DIGEST_SIZE]; /* of its bytes */
	int64_t started_ms;
	bool said_ready;
	int64_t settle_due_ms;       /* monotonic: when to ask again what was accepted; 0 = that is settled */
	size_t shown;                /* losses that were logged */
	enum kveil_status unsettled; /* why, as it was logged */
	struct kveil_notify notify;
	sigset_t signals;
};

static void on_second_signal(int number)
{
	(void)number;
	_exit(KVEIL_EXIT_WATCHDOG);
}

/* From here on the process ends, whatever hangs: by itself, by the watchdog, or by a second signal. */
static void arm_watchdog(const struct run *r)
{
	struct sigaction action = {.sa_handler = on_second_signal};

	sigaction(SIGALRM, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	alarm(WATCHDOG_S);
	pthread_sigmask(SIG_UNBLOCK, &r->signals, NULL);
}

/* The next signal, or 0 after ms. */
static int wait_signal(struct run *r, int ms)
{
	kveil_notify_turn(&r->notify, r->health, kveil_clock_mono_ms());
	struct timespec t = kveil_clock_timespec(ms);
	int number = sigtimedwait(&r->signals, NULL, &t);

	return number > 0 ? number : 0;
}

static bool is_stop(int number)
{
	return number == SIGTERM || number == SIGINT;
}

/* Whoever collects a JSON log reads nothing else. */
static bool logs_json(const struct kveil_config *config)
{
	return config && config->log.format == 1;
}

/* Why it ends. */
static int told(const struct run *r, const struct kveil_error *err)
{
	char text[1024];

	if (logs_json(r->config)) {
		kveil_log_error(KVEIL_LOG_ERROR, "run", err);
		return KVEIL_EXIT_USAGE;
	}
	fprintf(stderr, "kveil run: %s\n", kveil_error_format(err, kveil_status_code(err->status), text, sizeof text));
	return KVEIL_EXIT_USAGE;
}

static void tell(const struct kveil_report *report, const struct kveil_config *config)
{
	if (!logs_json(config)) {
		kveil_report_print(report, stderr);
		return;
	}
	for (size_t i = 0; i < report->count; i++)
		kveil_log_error(report->problems[i].warning ? KVEIL_LOG_WARN : KVEIL_LOG_ERROR, "config",
				&report->problems[i].error);
}

/* Configuration and rules, with every problem of both told at once. */
static int load(struct run *r, const char *path)
{
	struct kveil_report report = {0};
	struct kveil_setup s;

	kveil_setup_load(path, &s, &report);
	kveil_setup_warn(&s, &report);
	if (s.config)
		kveil_log_setup((enum kveil_log_level)s.config->log.level, s.config->log.format == 1);
	tell(&report, s.config);
	int code = report.errors ? KVEIL_EXIT_USAGE : KVEIL_EXIT_OK;
	kveil_report_clear(&report);
	r->config = s.config;
	r->names = s.names;
	r->plans = s.plans;
	return code;
}

static int pause_ms(unsigned attempt)
{
	uint32_t draw = 0;

	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	return (int)kveil_back_off_ms(100, 10000, attempt, draw);
}

/* Opens the keys, waiting for a custodian or a registry that does not answer. -1: go on; otherwise the exit code. */
static int open_keys(struct run *r)
{
	struct kveil_error err;
	int64_t said_ms = 0;

	for (unsigned attempt = 0;; attempt++) {
		enum kveil_status status =
		    r->keys ? KVEIL_OK : kveil_keystore_prepare(&r->config->keys, &r->keys, &err);
		if (!status)
			status = kveil_keystore_enter(r->keys, &err);
		if (!status) {
			if (said_ms)
				kveil_log(KVEIL_LOG_INFO, "keys", "open, going on");
			kveil_health_condition(r->health, "keys", NULL);
			return -1;
		}
		if (kveil_status_class(status) != KVEIL_CLASS_RETRY)
			return told(r, &err);
		kveil_health_condition(r->health, "keys", "%s: %s", kveil_status_code(status), err.message);
		if (kveil_clock_once_a_minute(&said_ms, kveil_clock_mono_ms()))
			kveil_log_error(KVEIL_LOG_WARN, "keys", &err);
		if (is_stop(wait_signal(r, pause_ms(attempt))))
			return KVEIL_EXIT_OK;
	}
}

/* Tells what the rules in use lose against those that were accepted, once for each change. */
static void show_losses(struct run *r, const struct kveil_report *losses)
{
	size_t all = losses->errors + losses->warnings;
	char digest[KVEIL_RULES_DIGEST_SIZE] = "";

	kveil_cell_set(r->losses, (double)all);
	if (!all) {
		kveil_health_remark(r->health, "rules", NULL);
		r->shown = 0;
		return;
	}
	kveil_health_remark(r->health, "rules", "%zu %s against the rules accepted last, such as: %s", all,
			    all == 1 ? "loss" : "losses", losses->problems[0].error.message);
	if (all == r->shown)
		return;
	for (size_t i = 0; i < losses->count; i++)
		kveil_log_error(KVEIL_LOG_WARN, "rules", &losses->problems[i].error);
	kveil_log(KVEIL_LOG_WARN, "rules", "%zu %s against the rules accepted last (`kveil rules accept`, SIGHUP)", all,
		  all == 1 ? "loss" : "losses");
	(void)!kveil_rules_digest(r->plans, digest, NULL);
	kveil_event(&(struct kveil_event){
	    .kind = KVEIL_EVENT_RULES_WEAKER,
	    .digest = digest,
	    .count = all,
	    .detail = r->config->rules_guard == KVEIL_GUARD_STRICT ? "not accepted" : "not accepted, but in use"});
	r->shown = all;
}

/* Holds the rules in use against those accepted last, and has them accepted if they lose nothing, or asked. May they
 * run? Under rules_guard: warn always. */
static bool settle_rules(struct run *r, bool asked)
{
	const bool strict = r->config->rules_guard == KVEIL_GUARD_STRICT;
	struct kveil_report losses = {0};
	enum kveil_accepted answer = KVEIL_ACCEPTED_SAME;
	struct kveil_error err;
	enum kveil_status status = kveil_accepted_compare(r->keys, r->plans, &answer, &losses, &err);

	bool accepts = asked || answer == KVEIL_ACCEPTED_OTHER || (answer == KVEIL_ACCEPTED_NOTHING && !strict);
	if (!status && accepts && answer != KVEIL_ACCEPTED_SAME) {
		status = kveil_accepted_keep(r->keys, r->plans, &err);
		if (!status) {
			kveil_log(KVEIL_LOG_INFO, "rules", "accepted%s", asked ? ": SIGHUP asked for it" : "");
			kveil_report_clear(&losses);
		}
	}
	r->settle_due_ms = status ? kveil_clock_mono_ms() + ACCEPTED_AGAIN_MS : 0;
	if (status && status != r->unsettled)
		kveil_log_error(KVEIL_LOG_WARN, "rules", &err);
	if (status)
		kveil_health_remark(r->health, "rules", "whether they were accepted is not known: %s", err.message);
	else
		show_losses(r, &losses);
	r->unsettled = status;
	kveil_report_clear(&losses);
	return !strict || (!status && (accepts || answer == KVEIL_ACCEPTED_SAME));
}

/* Under rules_guard: strict until somebody accepts the rules. -1: go on; otherwise the exit code. */
static int wait_accepted(struct run *r)
{
	bool asked = false, said = false;

	while (!settle_rules(r, asked)) {
		kveil_health_condition(r->health, "rules",
				       "not accepted: `kveil rules accept` or SIGHUP (rules_guard: strict)");
		if (!said)
			kveil_log(KVEIL_LOG_ERROR, "rules",
				  "waiting: these rules were not accepted (rules_guard: strict)");
		said = true;
		int number = wait_signal(r, ACCEPTED_MS);
		if (is_stop(number))
			return KVEIL_EXIT_OK;
		if (number != SIGHUP)
			continue;
		struct kveil_plan_set *set =
		    kveil_reload(r->config, r->names, r->plans, true, r->reload_ok, r->reload_time);
		if (!set)
			continue;
		kveil_plan_set_unref(r->plans);
		r->plans = set;
		asked = true;
	}
	return -1;
}

/* In the log and in metrics: which rules these are. */
static void show_rules(struct run *r)
{
	char digest[KVEIL_RULES_DIGEST_SIZE];
	struct kveil_error err;

	if (kveil_rules_digest(r->plans, digest, &err)) {
		kveil_log_error(KVEIL_LOG_WARN, "rules", &err);
		return;
	}
	kveil_metrics_release(r->metrics, r->rules_info);
	r->rules_info = kveil_metrics_cell(r->metrics, KVEIL_M_RULES_INFO, digest, NULL);
	kveil_cell_set(r->rules_info, 1);
	kveil_announce_rules(r->plans, digest);
}

static void say_ready(struct run *r)
{
	if (r->said_ready || !kveil_health_ready(r->health, NULL))
		return;
	r->said_ready = true;
	kveil_log(KVEIL_LOG_INFO, "run", "ready after %.1f s", (double)(kveil_clock_mono_ms() - r->started_ms) / 1000);
}

static void reload(struct run *r, struct kveil_service *service, bool asked)
{
	struct kveil_plan_set *set = kveil_reload(r->config, r->names, r->plans, asked, r->reload_ok, r->reload_time);

	kveil_health_remark(
	    r->health, "new rules",
	    set ? NULL : "refused; the earlier ones still run (the log says why; SIGHUP accepts what protects less)");
	if (!set)
		return;
	kveil_service_set_plans(service, set);
	kveil_plan_set_unref(r->plans);
	r->plans = set;
	show_rules(r);
	(void)settle_rules(r, asked);
}

static void tend_log(struct run *r)
{
	kveil_log_drain(0);
	kveil_cell_add(r->log_dropped, kveil_log_dropped() - kveil_cell_count(r->log_dropped));
}

/* Until a signal or a failure ends it. */
static int serve(struct run *r)
{
	const struct kveil_service_params params = {r->config, r->keys, r->plans, r->metrics, r->health};
	struct kveil_service *service;
	struct kveil_error err;

	if (kveil_service_start(&params, &service, &err))
		return told(r, &err);
	kveil_health_condition(r->health, "rules", NULL);
	show_rules(r);
	for (;;) {
		int number = wait_signal(r, LOOK_MS);
		tend_log(r);
		say_ready(r);
		if (is_stop(number) || kveil_service_failed(service, &err))
			break;
		bool swapped = kveil_watch_look(r->watch);
		if (number == SIGHUP)
			kveil_watch_taken(r->watch);
		if (number == SIGHUP || swapped)
			reload(r, service, number == SIGHUP);
		if (r->settle_due_ms && kveil_clock_mono_ms() >= r->settle_due_ms)
			(void)settle_rules(r, false);
	}
	arm_watchdog(r);
	kveil_log(KVEIL_LOG_INFO, "run", "stopping");
	kveil_notify_stopping(&r->notify);
	bool failed = kveil_service_failed(service, &err);
	if (kveil_service_stop(service, &err) && !failed) {
		/* A thread hangs and still uses what would be freed. */
		kveil_log_error(KVEIL_LOG_ERROR, "run", &err);
		kveil_log_drain(LAST_LINES_MS);
		_exit(KVEIL_EXIT_WATCHDOG);
	}
	kveil_log(KVEIL_LOG_INFO, "run", "stopped");
	return failed ? KVEIL_EXIT_RUNTIME : KVEIL_EXIT_OK;
}

static bool open_side_port(struct run *r, struct kveil_error *err)
{
	const struct kveil_config *c = r->config;
	const struct kveil_http_places places = {
	    .listen = c->http.listen && *c->http.listen ? c->http.listen : NULL,
	    .socket = c->http.socket && *c->http.socket ? c->http.socket : NULL,
	    .socket_mode = c->http.socket_access ? 0660 : 0600,
	};

	if (!places.listen && !places.socket)
		return true;
	if (kveil_side_port_start(&places, r->health, r->metrics, &r->port, err))
		return false;
	if (places.listen)
		kveil_log(KVEIL_LOG_INFO, "run", "side port http://%s", kveil_side_port_address(r->port));
	if (places.socket)
		kveil_log(KVEIL_LOG_INFO, "run", "side port unix:%s", places.socket);
	return true;
}

static void tell_loaded(const struct run *r)
{
	char digest[KVEIL_RULES_DIGEST_SIZE] = "";

	(void)!kveil_rules_digest(r->plans, digest, NULL);
	kveil_event(&(struct kveil_event){
	    .kind = KVEIL_EVENT_CONFIG_LOADED, .digest = r->config_digest, .detail = r->config_path});
	kveil_event(
	    &(struct kveil_event){.kind = KVEIL_EVENT_RULES_LOADED, .count = r->plans->count, .digest = digest});
}

static int start(struct run *r)
{
	struct kveil_error err;

	r->started_ms = kveil_clock_mono_ms();
	kveil_secret_log_unlocked();
	kveil_announce(r->config);
	r->metrics = kveil_metrics_new();
	r->health = kveil_health_new();
	r->watch = kveil_watch_new((const char *const *)r->config->rules);
	if (!r->metrics || !r->health || !r->watch) {
		kveil_no_memory(&err, NULL);
		told(r, &err);
		return KVEIL_EXIT_RUNTIME;
	}
	kveil_event_add_sink(kveil_metrics_take_event, r->metrics);
	r->reload_ok = kveil_metrics_cell(r->metrics, KVEIL_M_RELOAD_SUCCESSFUL, NULL, NULL);
	r->log_dropped = kveil_metrics_cell(r->metrics, KVEIL_M_LOG_DROPPED, NULL, NULL);
	r->reload_time = kveil_metrics_cell(r->metrics, KVEIL_M_RELOAD_TIMESTAMP, NULL, NULL);
	r->losses = kveil_metrics_cell(r->metrics, KVEIL_M_RULES_LOSSES, NULL, NULL);
	kveil_cell_set(r->reload_ok, 1);
	kveil_cell_set(r->reload_time, (double)kveil_clock_wall_ms() / 1000);
	kveil_health_condition(r->health, "keys", "not open yet");
	kveil_health_condition(r->health, "rules", "not held against those accepted last yet");
	if (!open_side_port(r, &err))
		return told(r, &err);
	kveil_notify_ready(&r->notify);
	tell_loaded(r);
	int code = open_keys(r);
	if (code < 0)
		code = wait_accepted(r);
	return code < 0 ? serve(r) : code;
}

static int run_config(const char *path)
{
	struct run r = {0};
	struct kveil_error err;

	kveil_notify_init(&r.notify);
	kveil_secret_harden_process();
	if (kveil_crypto_init(&err)) {
		told(&r, &err);
		return KVEIL_EXIT_RUNTIME;
	}
	kveil_event_setup("run");
	r.config_path = path;
	kveil_files_digest((const char *const[]){path, NULL}, r.config_digest);
	int code = load(&r, path);
	if (code != KVEIL_EXIT_OK)
		kveil_event(&(struct kveil_event){
		    .kind = KVEIL_EVENT_CONFIG_REFUSED, .digest = r.config_digest, .detail = path});
	sigemptyset(&r.signals);
	sigaddset(&r.signals, SIGTERM);
	sigaddset(&r.signals, SIGINT);
	sigaddset(&r.signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &r.signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (code == KVEIL_EXIT_OK)
		code = start(&r);
	kveil_notify_clear(&r.notify);
	kveil_side_port_stop(r.port);
	kveil_watch_free(r.watch);
	kveil_plan_set_unref(r.plans);
	kveil_keystore_unref(r.keys);
	kveil_keystore_unref(r.names);
	kveil_health_free(r.health);
	kveil_metrics_free(r.metrics);
	kveil_config_free(r.config);
	return code;
}

static int run(int argc, char **argv)
{
	const char *value, *config = "kveil.yaml";
	const struct kveil_flag *f;
	int index = 1;

	while ((f = kveil_flag_next(&kveil_command_run, argc, argv, &index, &value))) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		config = value;
	}
	if (index < argc)
		return kveil_usage_error(&kveil_command_run, "'%s' is too much", argv[index]);
	return run_config(config);
}

const struct kveil_command kveil_command_run = {
    .name = "run",
    .usage = "-c FILE",
    .help = "the worker: consume, protect, produce",
    .flags = flags,
    .run = run,
};
