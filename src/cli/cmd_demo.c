/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil demo`. */
#include "base/clock.h"
#include "base/log.h"
#include "cli/command.h"
#include "cli/demo.h"
#include "cli/demo_cdc.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	ONCE_ORDERS = 10000,
	STALL_MS = 30000, /* --once gives up when nothing has arrived for so long */
	RATE = 1000,      /* orders a second on a screen: more than an eye can follow */
	FRAME_MS = 250,
	SETTLE_MS = 700, /* for what is under way at the end */
};

static int run_demo(int argc, char **argv);

static const struct kveil_flag flags[] = {
    {0, "once", NULL,
     "run 10,000 records, compare each with its original, and exit; 0 only if all are "
     "right"},
    {0, "cdc", NULL, "show Debezium's change events instead, each field before and after, and exit"},
    {'w', "workers", "N", "worker threads (default 1)"},
    {0, "rate", "N", "orders per second (default 1000; ignored with --once)"},
    {0},
};

const struct kveil_command kveil_command_demo = {
    .name = "demo",
    .usage = "[--cdc | --once] [--workers N]",
    .help = "show everything on an embedded broker; nothing is kept",
    .flags = flags,
    .run = run_demo,
};

static volatile sig_atomic_t leave_with;

/* What the loop waits for: SIGINT, SIGTERM, SIGHUP, keys, what would be written to stderr, time. */
struct session {
	struct kveil_demo *demo;
	struct kveil_demo_view view;
	uint64_t cursor;                     /* in the list of what has happened */
	char progress[KVEIL_DEMO_TEXT + 32]; /* the line of --once that was printed last */
	int signals, log;
	bool color, quit;
};

static int fail(const struct kveil_error *err)
{
	char text[1024];

	fprintf(stderr, "kveil demo: %s\n", kveil_error_format(err, NULL, text, sizeof text));
	return KVEIL_EXIT_RUNTIME;
}

/* All threads inherit the mask: signals come through a descriptor, to one place. */
static int take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Where stderr is the screen, the log goes into the list of what has happened instead. */
static int capture_stderr(int *ret_saved)
{
	int ends[2];

	*ret_saved = -1;
	if (!isatty(STDERR_FILENO) || pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	*ret_saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

static void release_stderr(int log, int saved)
{
	if (saved < 0)
		return;
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(log);
}

static void read_log(struct session *s)
{
	char text[4096];
	ssize_t n;

	while ((n = read(s->log, text, sizeof text - 1)) > 0) {
		text[n] = 0;
		for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
			/* Without its time: the list has its own. */
			const char *rest = strchr(line, ' ');
			kveil_demo_note(s->demo, "log: %s", rest ? rest + 1 : line);
		}
	}
}

static void take_events(struct session *s)
{
	char text[KVEIL_DEMO_TEXT];
	struct kveil_demo_view *v = &s->view;

	while (kveil_demo_next_event(s->demo, &s->cursor, text)) {
		memmove(v->events, v->events + 1, sizeof v->events - sizeof v->events[0]);
		memcpy(v->events[KVEIL_DEMO_EVENTS - 1], text, KVEIL_DEMO_TEXT);
	}
}

static void press(struct session *s, char key)
{
	switch (key) {
	case 'p':
		kveil_demo_send_poison(s->demo);
		break;
	case 'r':
		kveil_demo_rotate(s->demo);
		break;
	case 'k':
		kveil_demo_toggle_custodian(s->demo);
		break;
	case 'q':
	case 4: /* Ctrl-D */
		s->quit = true;
		break;
	default:
		break;
	}
}

/* Waits for something to do; false = time is up. */
static bool wait_for_input(struct session *s, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN},
			       {.fd = s->view.keyboard ? STDIN_FILENO : -1, .events = POLLIN},
			       {.fd = s->log, .events = POLLIN}};
	char key;

	if (poll(fds, 3, timeout_ms) <= 0)
		return false;
	if (fds[0].revents)
		s->quit = true;
	if (fds[1].revents) {
		if (read(STDIN_FILENO, &key, 1) == 1)
			press(s, key);
		else
			s->view.keyboard = false;
	}
	if (fds[2].revents)
		read_log(s);
	return true;
}

static void draw(struct session *s, struct kveil_buf *frame)
{
	unsigned rows, columns;
	size_t at = 0;

	kveil_demo_look(s->demo, &s->view);
	take_events(s);
	kveil_demo_terminal_size(&rows, &columns);
	kveil_buf_reset(frame);
	kveil_demo_render(&s->view, rows, columns, s->color, frame);
	while (at < frame->len) {
		ssize_t n = write(STDOUT_FILENO, frame->data + at, frame->len - at);
		if (n <= 0)
			return;
		at += (size_t)n;
	}
}

static void live_on_screen(struct session *s)
{
	KVEIL_CLEANUP_BUF struct kveil_buf frame = KVEIL_BUF_INIT;
	struct kveil_error err;
	int saved;

	s->view.keyboard = isatty(STDIN_FILENO);
	s->log = capture_stderr(&saved);
	kveil_demo_terminal_take();
	atexit(kveil_demo_terminal_give_back);
	while (!s->quit && !kveil_demo_failed(s->demo, &err)) {
		draw(s, &frame);
		int64_t next = kveil_clock_mono_ms() + FRAME_MS, left;
		while (!s->quit && (left = next - kveil_clock_mono_ms()) > 0)
			if (wait_for_input(s, (int)left) && s->log < 0)
				break;
	}
	kveil_demo_terminal_give_back();
	release_stderr(s->log, saved);
	s->log = -1;
}

static void print_events(struct session *s)
{
	char text[KVEIL_DEMO_TEXT];

	while (kveil_demo_next_event(s->demo, &s->cursor, text))
		puts(text);
}

static void print_line(struct session *s, int64_t second)
{
	const struct kveil_demo_view *v = &s->view;

	kveil_demo_look(s->demo, &s->view);
	print_events(s);
	printf("%llds sent=%llu protected=%llu rate=%.0f/s lag=%.0f dead_letters=%llu wrong=%llu key=%u %s\n",
	       (long long)second, (unsigned long long)v->sent, (unsigned long long)v->arrived, v->rate, v->lag,
	       (unsigned long long)v->dead_letters, (unsigned long long)v->problems, v->key_id,
	       v->ready ? "ready" : v->reasons);
	fflush(stdout);
}

static void live_in_lines(struct session *s)
{
	int64_t start = kveil_clock_mono_ms(), second = 1, left;
	struct kveil_error err;

	kveil_demo_look(s->demo, &s->view);
	printf("kveil demo: an embedded broker, keys in memory, invented people: nothing lasts\n"
	       "side port http://%s/ (livez, readyz, metrics); Ctrl-C ends it\n",
	       s->view.side_port);
	fflush(stdout);
	for (; !s->quit && !kveil_demo_failed(s->demo, &err); second++) {
		while (!s->quit && (left = start + second * 1000 - kveil_clock_mono_ms()) > 0)
			wait_for_input(s, (int)left);
		if (!s->quit)
			print_line(s, second);
	}
}

static void show_bar(const struct kveil_demo_tally *t)
{
	char a[32], b[32];
	int width = (int)(t->arrived * 40 / ONCE_ORDERS);

	printf("\r  [%-40.*s] %s of %s", width, "########################################",
	       kveil_demo_count(t->arrived, a), kveil_demo_count(ONCE_ORDERS, b));
	fflush(stdout);
}

/* A line, when it is another than the last. */
static void show_line(struct session *s, const struct kveil_demo_tally *t)
{
	char line[sizeof s->progress], a[32], b[32];

	kveil_demo_look(s->demo, &s->view);
	if (!s->view.ready)
		snprintf(line, sizeof line, "waiting: %s", s->view.reasons);
	else
		snprintf(line, sizeof line, "%s of %s", kveil_demo_count(t->arrived, a),
			 kveil_demo_count(ONCE_ORDERS, b));
	if (strcmp(line, s->progress) == 0)
		return;
	memcpy(s->progress, line, sizeof line);
	printf("  %s\n", line);
	fflush(stdout);
}

static bool all_is_well(const struct kveil_demo_tally *t)
{
	return t->arrived == ONCE_ORDERS && t->sent == ONCE_ORDERS && !t->duplicates && !t->problems &&
	       !t->dead_letters;
}

static void print_summary(const struct kveil_demo_tally *t, int64_t ms)
{
	char a[32], b[32];

	if (all_is_well(t)) {
		printf("%s of %s orders arrived protected in %lld.%lld s", kveil_demo_count(t->arrived, a),
		       kveil_demo_count(ONCE_ORDERS, b), (long long)(ms / 1000), (long long)(ms % 1000 / 100));
		/* A rebalance of several workers may bring some again: delivery is at least once. */
		if (t->duplicates)
			printf(", %s of them again\n", kveil_demo_count(t->duplicates, a));
		else
			printf(", each once\n");
		for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++)
			printf("  %-20s %-8s %s\n", kveil_demo_field_path(i), t->actions[i],
			       strcmp(t->actions[i], "encrypt") == 0 ? "each opened, and equal to the original"
			       : strcmp(t->actions[i], "hash") == 0  ? "each made again, and equal"
								     : "each as the rule says");
		printf("  everything else      the same bytes as before; no clear value in %s bytes\n",
		       kveil_demo_count(t->output_bytes, a));
		return;
	}
	printf("NOT well: sent %llu, arrived %llu, missing %llu, duplicates %llu, wrong %llu, dead letters %llu\n",
	       (unsigned long long)t->sent, (unsigned long long)t->arrived, (unsigned long long)t->missing,
	       (unsigned long long)t->duplicates, (unsigned long long)t->problems, (unsigned long long)t->dead_letters);
	if (t->first_problem[0])
		printf("  %s\n", t->first_problem);
}

/* Until all has arrived, or nothing has for long. */
static bool run_once(struct session *s)
{
	struct kveil_demo_tally t = {0};
	struct kveil_error err;
	bool bar = isatty(STDOUT_FILENO);
	char count[32];
	int64_t start = kveil_clock_mono_ms(), moved = start, shown = start;

	printf("kveil demo: %s invented orders, an embedded broker, keys in memory: nothing lasts\n",
	       kveil_demo_count(ONCE_ORDERS, count));
	fflush(stdout);
	while (!s->quit && t.arrived + t.dead_letters < ONCE_ORDERS && !kveil_demo_failed(s->demo, &err)) {
		uint64_t before = t.arrived;
		wait_for_input(s, 20);
		kveil_demo_tally(s->demo, &t);
		int64_t now = kveil_clock_mono_ms();
		if (t.arrived != before)
			moved = now;
		if (now - moved > STALL_MS)
			break;
		if (now - shown >= (bar ? 100 : 1000)) {
			if (bar)
				show_bar(&t);
			else
				show_line(s, &t);
			shown = now;
		}
	}
	int64_t end = kveil_clock_mono_ms();
	wait_for_input(s, 300); /* a record too many would come now */
	kveil_demo_tally(s->demo, &t);
	if (bar) {
		show_bar(&t);
		printf("\r\033[K");
	}
	print_summary(&t, end - start);
	if (t.arrived < ONCE_ORDERS) {
		kveil_demo_look(s->demo, &s->view);
		print_events(s);
		printf("  %s\n", s->view.ready ? "ready" : s->view.reasons);
	}
	return all_is_well(&t);
}

/* false: something came out that should not have. */
static bool say_goodbye(struct session *s)
{
	struct kveil_demo_tally t;
	char a[32], b[32], c[32];

	kveil_demo_tally(s->demo, &t);
	printf("%s orders sent, %s arrived protected and were checked, %s dead letter%s", kveil_demo_count(t.sent, a),
	       kveil_demo_count(t.arrived, b), kveil_demo_count(t.dead_letters, c), t.dead_letters == 1 ? "" : "s");
	if (t.missing)
		printf(", %s under way when it ended", kveil_demo_count(t.missing, a));
	if (t.problems || t.duplicates)
		printf(", %llu WRONG, %llu twice", (unsigned long long)t.problems, (unsigned long long)t.duplicates);
	printf("; nothing is kept\n");
	return t.problems == 0;
}

static void leave_now(int signal)
{
	(void)signal;
	_exit(leave_with);
}

/* Ctrl-C ends it in under 2 s, whatever a mock cluster makes of the last goodbyes: nothing here is worth waiting for.
 */
static void limit_goodbye(int exit_code)
{
	const struct itimerval limit = {.it_value = {.tv_sec = 1, .tv_usec = 700000}};

	leave_with = exit_code;
	signal(SIGALRM, leave_now);
	setitimer(ITIMER_REAL, &limit, NULL);
}

static int run_session(const struct kveil_demo_params *params, bool once)
{
	struct session s = {.log = -1, .signals = take_signals()};
	struct kveil_error err;
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	bool screen = !once && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0, well = true;

	s.color = !(no_color && *no_color);
	kveil_log_setup(screen ? KVEIL_LOG_ERROR : KVEIL_LOG_WARN, false); /* the screen says the rest itself */
	enum kveil_status status = kveil_demo_start(params, &s.demo, &err);
	if (status != KVEIL_OK)
		return fail(&err);
	if (once)
		well = run_once(&s);
	else if (screen)
		live_on_screen(&s);
	else
		live_in_lines(&s);
	bool failed = kveil_demo_failed(s.demo, &err);
	limit_goodbye(failed ? KVEIL_EXIT_RUNTIME : well ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED);
	if (!once) {
		kveil_demo_settle(s.demo, failed ? 0 : SETTLE_MS);
		if (!say_goodbye(&s))
			leave_with = KVEIL_EXIT_FAILED, well = false;
	}
	fflush(stdout);
	status = kveil_demo_stop(s.demo, &err);
	close(s.signals);
	if (status != KVEIL_OK)
		return fail(&err);
	return well ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

/* Ctrl-C ends it as it ends any command. */
static int run_cdc(void)
{
	const char *no_color = getenv("NO_COLOR");
	struct kveil_error err;
	bool well = false;

	kveil_log_setup(KVEIL_LOG_WARN, false);
	if (kveil_demo_cdc(isatty(STDOUT_FILENO) && !(no_color && *no_color), &well, &err) != KVEIL_OK)
		return fail(&err);
	return well ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int run_demo(int argc, char **argv)
{
	struct kveil_demo_params params = {.workers = 1, .rate = RATE};
	const char *value;
	bool once = false, cdc = false, given = false;
	int index = 1;

	for (const struct kveil_flag *f; (f = kveil_flag_next(&kveil_command_demo, argc, argv, &index, &value));) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		given |= f->argument != NULL;
		if (!f->argument)
			*(strcmp(f->long_name, "cdc") == 0 ? &cdc : &once) = true;
		else if (f->short_name == 'w' && !kveil_flag_count(value, 16, &params.workers))
			return kveil_usage_error(&kveil_command_demo, "--workers is 1 to 16, not '%s'", value);
		else if (!f->short_name && !kveil_flag_count(value, 1000000, &params.rate))
			return kveil_usage_error(&kveil_command_demo, "--rate is 1 to 1000000, not '%s'", value);
	}
	if (index < argc)
		return kveil_usage_error(&kveil_command_demo, "unexpected '%s'", argv[index]);
	if (cdc && given)
		return kveil_usage_error(&kveil_command_demo, "--cdc takes no --workers and no --rate");
	if (cdc)
		return run_cdc();
	if (once) {
		params.rate = 0;
		params.limit = ONCE_ORDERS;
	}
	return run_session(&params, once);
}
