/* SPDX-License-Identifier: Apache-2.0 */
/* kveil dead-letters: what waits to be replayed, and why. */
#include "cli/command.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/disguise.h"
#include "crypto/crypto.h"
#include "format/format.h"
#include "keys/keystore.h"
#include "worker/dead_letter.h"
#include "worker/letters.h"
#include "worker/setup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct kveil_command kveil_command_dead_letters, kveil_command_replay;

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE", "the configuration (default kveil.yaml)"},
    {'t', "topic", "TOPIC", "this dead-letter topic only (default: those of all input topics)"},
    {0, "max", "N", "show (default 10), replay: at most N letters"},
    {0, "json", NULL, "list, show: as JSON"},
    {0, "metrics", NULL, "list: as a Prometheus gauge, for a textfile collector"},
    {0, "clear", NULL, "show: with the values in clear (default: letters as x, digits as 0)"},
    {'y', "yes", NULL, "discard: do not ask"},
    {0, "dry-run", NULL, "replay: open the letters and apply the rules, but send and commit nothing"},
    {0},
};

struct options {
	const char *config, *topic, *of; /* of: "etl.orders[3]@42", an input record */
	uint64_t most;
	bool json, metrics, clear, yes;
	unsigned given; /* a bit for each row of flags */
};

static int failed(const struct kveil_error *err)
{
	return kveil_failed(&kveil_command_dead_letters, err, KVEIL_EXIT_FAILED);
}

/* A header's text is whatever its writer put there. */
static void copy_text(struct kveil_span s, char *dst, size_t size)
{
	size_t n = s.len < size - 1 ? s.len : size - 1;

	for (size_t i = 0; i < n; i++)
		dst[i] = s.data[i] > 0x20 && s.data[i] < 0x7f ? (char)s.data[i] : '?';
	dst[n] = 0;
}

static struct kveil_span header(const struct kveil_header *headers, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (kveil_span_eq(headers[i].name, kveil_span_str(name)))
			return headers[i].value;
	return KVEIL_SPAN("");
}

/* --- list --- */

struct group {
	char dead[256], topic[256], code[48], rule[96];
	uint64_t count;
	int64_t oldest_ms, newest_ms;
};

struct groups {
	struct group *rows;
	size_t count;
	uint64_t letters;
	bool of_any_topic; /* letters of one input topic are one group, in whichever topic they wait */
};

static int by_name(const void *a, const void *b)
{
	return memcmp(a, b, offsetof(struct group, count));
}

static struct group *group_for(struct groups *g, const struct group *like)
{
	for (size_t i = 0; i < g->count; i++)
		if (by_name(&g->rows[i], like) == 0)
			return &g->rows[i];
	struct group *grown = realloc(g->rows, (g->count + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	g->rows = grown;
	grown[g->count] = *like;
	return &grown[g->count++];
}

static enum kveil_status count_letter(struct groups *g, const rd_kafka_message_t *msg, struct kveil_header **headers,
				      size_t *cap, struct kveil_error *err)
{
	int64_t ms = rd_kafka_message_timestamp(msg, NULL);
	struct group like = {.oldest_ms = ms, .newest_ms = ms};
	size_t n;
	enum kveil_status status = kveil_kafka_headers(msg, headers, cap, &n, err);

	if (status && status != KVEIL_E_UNREADABLE_BATCH)
		return status;
	if (!g->of_any_topic)
		snprintf(like.dead, sizeof like.dead, "%s", rd_kafka_topic_name(msg->rkt));
	copy_text(header(*headers, n, "kveil.error.topic"), like.topic, sizeof like.topic);
	copy_text(status ? kveil_span_str(kveil_status_code(status)) : header(*headers, n, "kveil.error.code"),
		  like.code, sizeof like.code);
	copy_text(header(*headers, n, "kveil.error.rule"), like.rule, sizeof like.rule);
	struct group *row = group_for(g, &like);
	if (!row)
		return kveil_no_memory(err, "the list");
	row->count++;
	row->oldest_ms = ms < row->oldest_ms ? ms : row->oldest_ms;
	row->newest_ms = ms > row->newest_ms ? ms : row->newest_ms;
	g->letters++;
	return KVEIL_OK;
}

static enum kveil_status count_letters(struct kveil_letters *l, struct groups *g, struct kveil_error *err)
{
	struct kveil_header *headers = NULL;
	rd_kafka_message_t *msg;
	size_t cap = 0;
	enum kveil_status status;

	while (!(status = kveil_letters_next(l, &msg, err)) && msg) {
		status = count_letter(g, msg, &headers, &cap, err);
		kveil_kafka_message_free(msg);
		if (status)
			break;
	}
	free(headers);
	if (g->count)
		qsort(g->rows, g->count, sizeof *g->rows, by_name);
	return status;
}

static void print_groups(const struct groups *g)
{
	int topic = 5, code = 4, rule = 4;

	for (size_t i = 0; i < g->count; i++) {
		topic = (int)strlen(g->rows[i].topic) > topic ? (int)strlen(g->rows[i].topic) : topic;
		code = (int)strlen(g->rows[i].code) > code ? (int)strlen(g->rows[i].code) : code;
		rule = (int)strlen(g->rows[i].rule) > rule ? (int)strlen(g->rows[i].rule) : rule;
	}
	if (g->count)
		printf("%-*s  %-*s  %-*s  %8s  %-20s  %s\n", topic, "TOPIC", code, "CODE", rule, "RULE", "COUNT",
		       "OLDEST LETTER", "NEWEST LETTER");
	for (size_t i = 0; i < g->count; i++) {
		const struct group *r = &g->rows[i];
		char oldest[32], newest[32];
		kveil_clock_format(r->oldest_ms, oldest);
		kveil_clock_format(r->newest_ms, newest);
		printf("%-*s  %-*s  %-*s  %8" PRIu64 "  %-20s  %s\n", topic, r->topic, code, r->code, rule,
		       *r->rule ? r->rule : "-", r->count, oldest, newest);
	}
	printf("%" PRIu64 " dead letter%s\n", g->letters, g->letters == 1 ? " waits" : "s wait");
}

static void print_groups_json(const struct groups *g)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	kveil_buf_printf(&out, "{\"letters\":%" PRIu64 ",\"groups\":[", g->letters);
	for (size_t i = 0; i < g->count; i++) {
		const struct group *r = &g->rows[i];
		const char *const members[][2] = {
		    {"dead_letter_topic", r->dead}, {"topic", r->topic}, {"code", r->code}, {"rule", r->rule}};
		for (size_t m = 0; m < 4; m++) {
			kveil_buf_printf(&out, "%s\"%s\":", m ? "," : i ? ",{" : "{", members[m][0]);
			kveil_json_write_text(&out, kveil_span_str(members[m][1]));
		}
		kveil_buf_printf(&out, ",\"count\":%" PRIu64 ",\"oldest_ms\":%" PRId64 ",\"newest_ms\":%" PRId64 "}",
				 r->count, r->oldest_ms, r->newest_ms);
	}
	kveil_buf_append_str(&out, "]}\n");
	fwrite(out.data, 1, out.len, stdout);
}

/* The text format of Prometheus, 0.0.4. */
static void print_groups_metrics(const struct groups *g)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	kveil_buf_append_str(&out, "# HELP kveil_dead_letters_waiting Dead letters that wait for a replay.\n"
				   "# TYPE kveil_dead_letters_waiting gauge\n");
	for (size_t i = 0; i < g->count; i++) {
		const struct group *r = &g->rows[i];
		const char *const labels[][2] = {{"topic", r->topic}, {"code", r->code}, {"rule", r->rule}};
		for (size_t l = 0; l < 3; l++) {
			kveil_buf_printf(&out, "%s%s=", l ? "," : "kveil_dead_letters_waiting{", labels[l][0]);
			kveil_json_write_text(&out, kveil_span_str(labels[l][1])); /* printable ASCII: quoted alike */
		}
		kveil_buf_printf(&out, "} %" PRIu64 "\n", r->count);
	}
	fwrite(out.data, 1, out.len, stdout);
}

static int list(const struct options *o, const struct kveil_setup *s, struct kveil_letters *l)
{
	/* A page of metrics with one series twice is refused whole. */
	struct groups g = {.of_any_topic = o->metrics};
	struct kveil_error err;
	enum kveil_status status = count_letters(l, &g, &err);

	(void)s;
	if (!status)
		(o->metrics ? print_groups_metrics : o->json ? print_groups_json : print_groups)(&g);
	free(g.rows);
	return status ? failed(&err) : KVEIL_EXIT_OK;
}

/* --- show --- */

struct show {
	const struct options *o;
	struct kveil_key *key;
	struct kveil_header *headers;
	size_t cap;
	struct kveil_dead_letter letter;
	struct kveil_buf out; /* clear text with --clear */
};

static void append_value(struct show *s, struct kveil_span value)
{
	if (!value.data)
		kveil_buf_append_str(&s->out, s->o->json ? "null" : "(null)");
	else if (!s->o->clear && s->o->json) {
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		kveil_disguise(value, &text);
		kveil_json_write_text(&s->out, kveil_buf_span(&text));
	} else if (!s->o->clear)
		kveil_disguise(value, &s->out);
	else if (kveil_utf8_valid_prefix(value.data, value.len) == value.len)
		kveil_json_write_text(&s->out, value);
	else {
		/* What is not text has no spelling in JSON. */
		kveil_buf_append_str(&s->out, "\"base64:");
		uint8_t *to = kveil_buf_reserve(&s->out, kveil_text_encoded_len(KVEIL_BASE64, value.len));
		if (to) {
			kveil_text_encode(KVEIL_BASE64, value.data, value.len, to);
			s->out.len += kveil_text_encoded_len(KVEIL_BASE64, value.len);
		}
		kveil_buf_append_byte(&s->out, '"');
	}
}

/* Of a header: as it is where it looks like a name. */
static void append_name(struct show *s, struct kveil_span name)
{
	static const char in_names[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.";
	bool plain = name.len > 0 && name.len <= 60;

	for (size_t i = 0; i < name.len; i++)
		plain &= memchr(in_names, name.data[i], sizeof in_names - 1) != NULL;
	if (!plain)
		append_value(s, name);
	else if (s->o->json)
		kveil_json_write_text(&s->out, name);
	else
		kveil_buf_append_span(&s->out, name);
}

static void append_record_json(struct show *s, const char *where, const char *code, const char *rule, const char *byte)
{
	const struct kveil_record *r = &s->letter.record;

	kveil_buf_printf(&s->out, "{\"topic\":\"%s\",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"ts\":%" PRId64,
			 s->letter.topic, s->letter.partition, s->letter.offset, s->letter.timestamp_ms);
	kveil_buf_printf(&s->out, ",\"code\":\"%s\",\"rule\":", code);
	kveil_json_write_text(&s->out, kveil_span_str(rule));
	kveil_buf_printf(&s->out, ",\"byte\":%s,\"letter\":\"%s\",\"headers\":[", *byte ? byte : "null", where);
	for (size_t i = 0; i < r->header_count; i++) {
		kveil_buf_append_str(&s->out, i ? "," : "");
		append_name(s, r->headers[i].name);
		kveil_buf_append_byte(&s->out, ',');
		append_value(s, r->headers[i].value);
	}
	kveil_buf_append_str(&s->out, "],\"key\":");
	append_value(s, r->key);
	kveil_buf_append_str(&s->out, ",\"payload\":");
	append_value(s, r->value);
	kveil_buf_append_str(&s->out, "}\n");
}

static void append_record(struct show *s, const char *where, const char *code, const char *rule, const char *byte)
{
	static const char *const parts[] = {"", "; its value did not fit into the letter",
					    "; nothing of it is in the letter"};
	const struct kveil_record *r = &s->letter.record;
	char time[32];

	kveil_clock_format(s->letter.timestamp_ms, time);
	kveil_buf_printf(&s->out, "%s[%" PRId32 "]@%" PRId64 "  %s%s%s%s%s  %s  (%s%s)\n", s->letter.topic,
			 s->letter.partition, s->letter.offset, code, *byte ? " at byte " : "", byte,
			 *rule ? " by " : "", rule, time, where, parts[s->letter.part]);
	kveil_buf_append_str(&s->out, "  key    ");
	append_value(s, r->key);
	for (size_t i = 0; i < r->header_count; i++) {
		kveil_buf_append_str(&s->out, "\n  header ");
		append_name(s, r->headers[i].name);
		kveil_buf_append_str(&s->out, ": ");
		append_value(s, r->headers[i].value);
	}
	kveil_buf_append_str(&s->out, "\n  value  ");
	append_value(s, r->value);
	kveil_buf_append_str(&s->out, "\n");
}

static bool is_asked_for(const struct show *s)
{
	char name[320];

	snprintf(name, sizeof name, "%s[%" PRId32 "]@%" PRId64, s->letter.topic, s->letter.partition, s->letter.offset);
	return !s->o->of || strcmp(s->o->of, name) == 0;
}

/* false: it is not the one that is looked for. */
static bool show_letter(struct show *s, const rd_kafka_message_t *msg, struct kveil_error *err)
{
	char code[48], rule[96], byte[24], where[320];
	size_t n;

	err->status = kveil_kafka_headers(msg, &s->headers, &s->cap, &n, err);
	if (!err->status)
		err->status = kveil_dead_letter_open(s->key, s->headers, n, kveil_span_of(msg->payload, msg->len),
						     &s->letter, err);
	snprintf(where, sizeof where, "%s[%" PRId32 "]@%" PRId64, rd_kafka_topic_name(msg->rkt), msg->partition,
		 msg->offset);
	if (err->status) {
		if (kveil_status_class(err->status) == KVEIL_CLASS_RECORD && !s->o->of)
			fprintf(stderr, "kveil dead-letters: %s: %s\n", where, err->message);
		return false;
	}
	if (!is_asked_for(s))
		return false;
	/* The seal vouches for these. */
	copy_text(header(s->headers, n, "kveil.error.code"), code, sizeof code);
	copy_text(header(s->headers, n, "kveil.error.rule"), rule, sizeof rule);
	copy_text(header(s->headers, n, "kveil.error.byte"), byte, sizeof byte);
	kveil_buf_reset(&s->out);
	(s->o->json ? append_record_json : append_record)(s, where, code, rule, byte);
	if (kveil_buf_ok(&s->out))
		fwrite(s->out.data, 1, s->out.len, stdout);
	return true;
}

static enum kveil_status show_letters(struct show *s, struct kveil_letters *l, uint64_t *ret, struct kveil_error *err)
{
	uint64_t most = s->o->most ? s->o->most : 10;
	rd_kafka_message_t *msg;
	enum kveil_status status = KVEIL_OK;

	while (*ret < most && !(status = kveil_letters_next(l, &msg, err)) && msg) {
		*ret += show_letter(s, msg, err);
		status = err->status;
		kveil_kafka_message_free(msg);
		if (status && kveil_status_class(status) != KVEIL_CLASS_RECORD)
			return status;
	}
	return kveil_status_class(status) == KVEIL_CLASS_RECORD ? KVEIL_OK : status;
}

static int show(const struct options *o, const struct kveil_setup *setup, struct kveil_letters *l)
{
	struct show s = {.o = o};
	struct kveil_keystore *keys = NULL;
	struct kveil_keyring *ring = NULL;
	struct kveil_error err = {0};
	uint64_t shown = 0;

	enum kveil_status status = kveil_keystore_open(&setup->config->keys, &keys, &err);
	if (!status)
		status = kveil_keyring_new(keys, &ring, &err);
	if (!status)
		status = kveil_keyring_key(ring, kveil_span_str(setup->config->dead_letter.key), KVEIL_USE_OPEN, &s.key,
					   &err);
	if (!status)
		status = show_letters(&s, l, &shown, &err);
	kveil_keyring_free(ring);
	kveil_keystore_unref(keys);
	kveil_dead_letter_clear(&s.letter);
	kveil_secret_wipe(s.out.data, s.out.len);
	kveil_buf_clear(&s.out);
	free(s.headers);
	if (status)
		return failed(&err);
	if (shown && o->clear)
		kveil_event(&(struct kveil_event){
		    .kind = KVEIL_EVENT_DEAD_LETTERS_SHOWN, .topic = o->topic, .count = shown, .detail = o->of});
	if (!shown)
		fprintf(stderr, "kveil dead-letters: %s\n", o->of ? "no such letter waits" : "none waits");
	return shown || !o->of ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

/* --- discard --- */

static bool confirmed(uint64_t letters)
{
	char line[64];
	char *end;

	if (!isatty(STDIN_FILENO)) {
		fprintf(stderr, "kveil dead-letters: discard asks first: run it in a terminal, or with --yes\n");
		return false;
	}
	fprintf(stderr, "They will not be replayed. Type their number (%" PRIu64 ") to discard them: ", letters);
	if (fgets(line, sizeof line, stdin) && strtoull(line, &end, 10) == letters && end > line)
		return true;
	fprintf(stderr, "kveil dead-letters: nothing was discarded\n");
	return false;
}

static int discard(const struct options *o, const struct kveil_setup *setup, struct kveil_letters *l)
{
	struct groups g = {0};
	struct kveil_error err;
	enum kveil_status status = count_letters(l, &g, &err);
	uint64_t letters = g.letters;

	(void)setup;
	if (!status)
		print_groups(&g);
	free(g.rows);
	if (status)
		return failed(&err);
	if (!letters)
		return KVEIL_EXIT_OK;
	if (!o->yes && !confirmed(letters))
		return KVEIL_EXIT_USAGE;
	bool any = false;
	for (size_t i = 0; !status && i < kveil_letters_partitions(l); i++) {
		struct kveil_letters_partition p = kveil_letters_partition(l, i);
		if (p.next < p.end)
			status = kveil_letters_commit(l, i, p.end, p.note, &err);
		any |= p.next < p.end && !status;
	}
	if (any)
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_DEAD_LETTERS_DISCARDED,
						  .topic = o->topic,
						  .count = letters,
						  .detail = status ? "not all of them" : NULL});
	if (status)
		return failed(&err);
	printf("discarded: replay begins after them; they stay in their topic until its retention "
	       "deletes them\n");
	return KVEIL_EXIT_OK;
}

/* --- the command --- */

typedef int action_fn(const struct options *o, const struct kveil_setup *setup, struct kveil_letters *l);

static int act(action_fn *action, const struct options *o)
{
	struct kveil_report report = {0};
	struct kveil_letters *l = NULL;
	struct kveil_setup s;
	struct kveil_error err;
	int code = KVEIL_EXIT_USAGE;

	kveil_setup_load(o->config, &s, &report);
	kveil_report_print(&report, stderr);
	if (!report.errors) {
		const struct kveil_letters_params p = {.config = s.config, .plans = s.plans, .topic = o->topic};
		code = kveil_letters_open(&p, &l, &err) ? failed(&err) : action(o, &s, l);
	}
	kveil_letters_close(l);
	kveil_setup_clear(&s);
	kveil_report_clear(&report);
	return code;
}

static int parse(int argc, char **argv, struct options *o, const char **ret_action)
{
	const struct kveil_command *cmd = &kveil_command_dead_letters;
	const char *value;

	for (int index = 1; index < argc;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? -1 : KVEIL_EXIT_USAGE;
		if (!f && index >= argc)
			break;
		if (!f && *ret_action && o->of)
			return kveil_usage_error(cmd, "'%s' is too much", argv[index]);
		if (!f)
			*(*ret_action ? &o->of : ret_action) = argv[index++];
		else if (f->short_name == 'c')
			o->config = value;
		else if (f->short_name == 't')
			o->topic = value;
		else if (f->argument && !kveil_flag_count(value, UINT64_MAX, &o->most))
			return kveil_usage_error(cmd, "--max needs a number, not '%s'", value);
		if (f)
			o->given |= 1u << (f - flags);
		o->json |= f && strcmp(f->long_name, "json") == 0;
		o->metrics |= f && strcmp(f->long_name, "metrics") == 0;
		o->clear |= f && strcmp(f->long_name, "clear") == 0;
		o->yes |= f && strcmp(f->long_name, "yes") == 0;
	}
	return KVEIL_EXIT_OK;
}

static int run(int argc, char **argv)
{
	static const struct {
		const char *name;
		action_fn *run;
	} actions[] = {{"list", list}, {"show", show}, {"discard", discard}};
	struct options o = {.config = "kveil.yaml"};
	const char *action = NULL;
	struct kveil_error err;

	if (argc > 1 && strcmp(argv[1], "replay") == 0)
		return kveil_command_replay.run(argc - 1, argv + 1);
	int code = parse(argc, argv, &o, &action);
	if (code)
		return code < 0 ? KVEIL_EXIT_OK : code;
	for (size_t i = 0; action && i < sizeof actions / sizeof *actions; i++) {
		if (strcmp(action, actions[i].name) != 0)
			continue;
		if (o.of && actions[i].run != show)
			return kveil_usage_error(&kveil_command_dead_letters, "'%s' is too much", o.of);
		if (kveil_flag_foreign(&kveil_command_dead_letters, action, o.given))
			return KVEIL_EXIT_USAGE;
		char command[32];
		snprintf(command, sizeof command, "dead-letters %s", action);
		kveil_event_setup(command);
		kveil_secret_harden_process();
		return kveil_crypto_init(&err) ? failed(&err) : act(actions[i].run, &o);
	}
	return kveil_usage_error(&kveil_command_dead_letters, "say what to do: list, show, discard or replay");
}

static const char *const words[] = {"list", "show", "discard", "replay", NULL};

const struct kveil_command kveil_command_dead_letters = {
    .name = "dead-letters",
    .usage = "list | show [TOPIC[PARTITION]@OFFSET] | discard | replay -c kveil.yaml",
    .help = "count, show, replay or discard dead letters",
    .words = words,
    .flags = flags,
    .run = run,
};
