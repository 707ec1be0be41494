/* SPDX-License-Identifier: Apache-2.0 */
/* kveil apply: the engine on stdin or a file, a record a line, to stdout. No Kafka. */
#include "cli/applied.h"
#include "cli/avro_samples.h"
#include "cli/command.h"
#include "cli/json_record.h"
#include "cli/lines.h"

#include "base/secret.h"
#include "format/format.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct kveil_command kveil_command_apply;

static const struct kveil_flag flags[] = {
    {'r', "rules", "FILE", "the rule file"},
    {'c', "config", "FILE", "take the keys from this configuration; rules with keys need -c or --demo-keys"},
    {0, "demo-keys", NULL, "use keys in memory that exist only for this command"},
    {'o', "output", "NAME",
     "with several outputs: this one only (default: all, each line after its output's name and a tab)"},
    {'K', "key-separator", "TEXT", "each line is key, TEXT, value; \\t is a tab"},
    {'J', "json-records", NULL,
     "each line is a whole record, in and out, as `kcat -J` prints it; its topic becomes that of the output"},
    {'H', "header", "NAME=VALUE", "add this header to each record; may be repeated"},
    {0, "diff", NULL, "show each field before and after, with its rule"},
    {0, "explain", NULL,
     "show each field's path, rule, key, outcome and associated data, without values; use -c, because --demo-keys "
     "knows no `join`"},
#ifdef KVEIL_WITH_AVRO
    {0, "schema", "FILE", "for `format: avro`: the schema that the records were written with"},
    {0, "encoding", "NAME",
     "with --schema: json, one record per line (default); bare or framed: the bytes of "
     "one value"},
    {0, "original", "FILE",
     "with --schema: the schema from which that one was derived, so that `decrypt` restores types that it does "
     "not name"},
    {0, "key-schema", "FILE", "with --schema and -K: the schema of the keys, if the rules read them as Avro"},
#endif
    {0},
};

enum { MOST_HEADERS = 32 };

struct options {
	const char *rules, *config, *output, *separator, *file;
	const char *schema, *key_schema, *original, *encoding;
	char separator_text[16];
	struct kveil_header headers[MOST_HEADERS];
	size_t header_count;
	bool demo_keys, diff, explain, json;
};

struct apply {
	const struct options *o;
	struct kveil_apply_session session;
	struct kveil_lines lines;
	const char *name; /* of the input, for messages */
	size_t view;      /* the one chosen, or SIZE_MAX */
	struct kveil_story story;
	struct kveil_json_record json, ahead; /* -J: the line at hand, and those that look_ahead reads */
	struct kveil_buf line;
	struct kveil_avro_samples *avro; /* NULL = the format is not Avro */
	bool failed, stop;
	int write_error; /* errno of the first write that failed */
};

/* FILE:LINE: byte N: code: why */
static void report(struct apply *a, uint64_t line, struct kveil_span value, const struct kveil_error *err)
{
	fflush(stdout);
	for (size_t i = 0; err->byte != KVEIL_NO_BYTE && i < err->byte && i < value.len; i++)
		line += value.data[i] == '\n';
	fprintf(stderr, "%s:%llu: ", a->name, (unsigned long long)line);
	if (err->byte != KVEIL_NO_BYTE)
		fprintf(stderr, "byte %zu: ", err->byte);
	fprintf(stderr, "%s: %s", kveil_status_code(err->status), err->message);
	if (err->rule[0])
		fprintf(stderr, " (rule %s)", err->rule);
	if (err->hint[0])
		fprintf(stderr, " (%s)", err->hint);
	fputc('\n', stderr);
	a->failed = true;
}

static void print_span(struct kveil_span s)
{
	if (s.len)
		fwrite(s.data, 1, s.len, stdout);
}

/* spell: how Avro is printed. */
static void print_spelled(struct apply *a, struct kveil_span part,
			  enum kveil_status (*spell)(struct kveil_avro_samples *s, struct kveil_span *part,
						     struct kveil_error *err))
{
	struct kveil_error err;

	if (a->avro && spell(a->avro, &part, &err) != KVEIL_OK)
		report(a, a->lines.number, KVEIL_SPAN_NULL, &err);
	else
		print_span(part);
}

static void print_whole(struct apply *a, const struct kveil_output *o)
{
	KVEIL_CLEANUP_BUF struct kveil_buf topic = KVEIL_BUF_INIT;
	const char *input = kveil_json_record_topic(&a->json);

	if (input)
		kveil_plan_expand_topic(a->session.plan->views[o->view].topic, input, &topic);
	kveil_buf_reset(&a->line);
	kveil_json_record_write(&a->json, &o->record, input ? kveil_buf_cstr(&topic) : NULL, &a->line);
	print_span(kveil_buf_span(&a->line));
	fputc('\n', stdout);
}

static void print_outputs(struct apply *a, const struct kveil_result *result)
{
	const struct kveil_plan *p = a->session.plan;

	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		if (a->view != SIZE_MAX && o->view != a->view)
			continue;
		if (a->view == SIZE_MAX && p->view_count > 1)
			printf("%s\t", p->views[o->view].name);
		if (a->o->json) {
			print_whole(a, o);
			continue;
		}
		if (a->o->separator) {
			print_spelled(a, o->record.key, kveil_avro_samples_spell_key);
			fputs(a->o->separator, stdout);
		}
		print_spelled(a, o->record.value, kveil_avro_samples_spell);
		fputc('\n', stdout);
	}
}

static enum kveil_status to_record(const struct apply *a, struct kveil_json_record *json, struct kveil_span text,
				   struct kveil_record *ret, struct kveil_error *err)
{
	if (a->o->json)
		return kveil_json_record_read(json, text, ret, err);
	*ret = (struct kveil_record){.value = text, .headers = a->o->headers, .header_count = a->o->header_count};
	/* An empty line is an empty value, not a tombstone. */
	if (!text.data)
		ret->value.data = (const uint8_t *)"";
	if (!a->o->separator)
		return KVEIL_OK;
	const size_t n = strlen(a->o->separator);
	const uint8_t *at = memmem(ret->value.data, ret->value.len, a->o->separator, n);
	if (!at)
		return kveil_fail(err, KVEIL_E_INVALID_JSON, "there is no key separator in this line");
	const size_t key = (size_t)(at - ret->value.data);
	ret->key = kveil_span_of(ret->value.data, key);
	ret->value = kveil_span_of(at + n, ret->value.len - key - n);
	return KVEIL_OK;
}

static void look_ahead(void *user)
{
	struct apply *a = user;
	struct kveil_record record;
	struct kveil_span line;
	struct kveil_error err;

	for (size_t at = 0; kveil_lines_peek(&a->lines, &at, &line);)
		if (to_record(a, &a->ahead, line, &record, &err) == KVEIL_OK)
			kveil_apply_ask(&a->session, &record);
}

/* The line as a record. One that is too long was cut by the reader, and is none, however much its key takes of it. */
static bool take_record(struct apply *a, struct kveil_span text, struct kveil_record *ret, struct kveil_error *err)
{
	bool ok = to_record(a, &a->json, text, ret, err) == KVEIL_OK;

	if (a->lines.cut) {
		kveil_fail_at(err, KVEIL_E_TOO_LARGE, a->lines.max_bytes, "%zu bytes; at most %zu are taken",
			      (ok ? ret->value.len : text.len) + a->lines.cut, a->lines.max_bytes);
		return false;
	}
	return ok && (!a->avro || kveil_avro_samples_read(a->avro, &ret->key, &ret->value, err) == KVEIL_OK);
}

static void apply_record(struct apply *a, uint64_t line, struct kveil_span text)
{
	struct kveil_record record;
	struct kveil_result result;
	struct kveil_error err;

	if (!take_record(a, text, &record, &err)) {
		report(a, line, text, &err);
		return;
	}
	kveil_apply_run(&a->session, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		/* The position is in bytes that nobody has seen. */
		if (a->avro)
			result.error.byte = KVEIL_NO_BYTE;
		report(a, line, a->o->json ? KVEIL_SPAN_NULL : record.value, &result.error);
		a->stop = result.verdict == KVEIL_STOP;
		return;
	}
	if (!a->session.story) {
		print_outputs(a, &result);
		return;
	}
	printf("%s:%llu\n", a->name, (unsigned long long)line);
	print_span(kveil_buf_span(&a->story.text));
}

static bool can_write(struct apply *a)
{
	if (!a->write_error && ferror(stdout))
		a->write_error = errno;
	return !a->write_error;
}

static bool is_document(struct apply *a, struct kveil_span text, struct kveil_error *err)
{
	struct kveil_scan scan = {.arena = &a->session.scratch,
				  .max_bytes = a->session.limits.record_bytes,
				  .max_depth = a->session.limits.depth};
	bool yes = a->session.plan->formats[KVEIL_PART_VALUE]->scan(&scan, text, err) == KVEIL_OK;

	kveil_scan_clear(&scan);
	return yes;
}

/* Is the line behind the first one a record of its own? */
static bool has_second_record(struct apply *a, struct kveil_span whole, size_t first)
{
	struct kveil_error err;

	if (first + 1 >= whole.len || whole.data[first + 1] != '{')
		return false;
	const uint8_t *start = whole.data + first + 1;
	size_t rest = whole.len - first - 1;
	const uint8_t *end = memchr(start, '\n', rest);
	return is_document(a, kveil_span_of(start, end ? (size_t)(end - start) : rest), &err);
}

/* A file that holds one document over several lines is one record, also where the document is broken: its lines are
 * not records. */
static void take_whole(struct apply *a, struct kveil_span *line)
{
	struct kveil_span whole;
	struct kveil_error err;
	size_t first = line->len;

	if (a->o->separator || a->o->json || !first || is_document(a, *line, &err) ||
	    err.status != KVEIL_E_INVALID_JSON || err.byte < first)
		return;
	if (kveil_lines_whole(&a->lines, &whole, &err) == KVEIL_OK && whole.data &&
	    !has_second_record(a, whole, first)) {
		*line = whole;
		kveil_lines_skip_rest(&a->lines);
	} else {
		/* The reader's memory may have moved. */
		*line = kveil_span_of(a->lines.buf.data, first);
	}
}

/* Whoever closed the other end, such as `head`, knows that. */
static bool output_ended(struct apply *a)
{
	fflush(stdout);
	if (can_write(a))
		return true;
	if (a->write_error != EPIPE)
		fprintf(stderr, "kveil apply: writing the output failed: %s\n", strerror(a->write_error));
	return false;
}

/* In files of JSON lines; in other formats it is a record. */
static bool is_blank(const struct apply *a, struct kveil_span line)
{
	if (!a->session.plan->formats[KVEIL_PART_VALUE]->has_paths && !a->o->json)
		return false;
	for (size_t i = 0; i < line.len; i++)
		if (!memchr(" \t\r", line.data[i], 3))
			return false;
	return true;
}

static int apply_lines(struct apply *a)
{
	struct kveil_span line;
	struct kveil_error err;
	enum kveil_status status;

	while (!a->stop && (status = kveil_lines_next(&a->lines, &line, &err)) == KVEIL_OK && line.data) {
		if (a->lines.number == 1 && !a->avro)
			take_whole(a, &line);
		if (!is_blank(a, line))
			apply_record(a, a->lines.number, line);
		if (!can_write(a))
			break;
	}
	if (!a->stop && can_write(a) && status != KVEIL_OK)
		report(a, a->lines.number + 1, KVEIL_SPAN_NULL, &err);
	return output_ended(a) && !a->failed ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static bool choose_view(struct apply *a)
{
	const struct kveil_plan *p = a->session.plan;

	a->view = SIZE_MAX;
	if (!a->o->output)
		return true;
	for (size_t i = 0; i < p->view_count; i++)
		if (strcmp(p->views[i].name, a->o->output) == 0)
			a->view = i;
	if (a->view != SIZE_MAX)
		return true;
	fprintf(stderr, "kveil apply: %s has no output named '%s'", p->file, a->o->output);
	for (size_t i = 0; i < p->view_count && p->views[i].name[0]; i++)
		fprintf(stderr, "%s%s", i ? ", " : "; it has ", p->views[i].name);
	fputc('\n', stderr);
	return false;
}

/* A line of JSON spells a record's bytes with escapes, and has a key and headers beside the value. */
static size_t line_bytes(const struct apply *a)
{
	return a->session.limits.record_bytes * (a->o->json ? 4 : 1);
}

static bool is_avro(const struct kveil_plan *p)
{
	return p->formats[KVEIL_PART_VALUE]->is_typed;
}

/* Of a rule file for Avro: its schema, and how the samples are written. */
static bool open_samples(struct apply *a)
{
	const struct options *o = a->o;
	struct kveil_error err = {0};
	char text[1024];
	const struct kveil_avro_source from = {o->schema, o->key_schema, o->original, o->encoding};

	if (!o->schema && !is_avro(a->session.plan))
		return true;
	if (!o->schema)
		kveil_fail(&err, KVEIL_E_USAGE, "`format: avro` needs the schema of the records: --schema FILE");
	else if (!is_avro(a->session.plan))
		kveil_fail(&err, KVEIL_E_USAGE, "--schema is for `format: avro`");
	else if (o->separator && !o->key_schema && a->session.plan->formats[KVEIL_PART_KEY]->is_typed)
		kveil_fail(&err, KVEIL_E_USAGE,
			   "the rules take keys in avro, which needs their schema: --key-schema FILE");
	else if (kveil_avro_samples_open(&from, a->session.engine, &a->avro, &err) == KVEIL_OK)
		return true;
	fprintf(stderr, "kveil apply: %s\n", kveil_error_format(&err, "error", text, sizeof text));
	return false;
}

/* The whole input is one value. */
static int apply_binary(struct apply *a)
{
	struct kveil_record record = {.headers = a->o->headers, .header_count = a->o->header_count};
	struct kveil_result result;
	struct kveil_error err;

	if (kveil_avro_samples_read_all(a->avro, a->lines.fd, a->session.limits.record_bytes, &record.value, &err) !=
	    KVEIL_OK) {
		report(a, 1, KVEIL_SPAN_NULL, &err);
		return KVEIL_EXIT_FAILED;
	}
	kveil_apply_run(&a->session, &record, &result);
	if (result.verdict != KVEIL_PRODUCE)
		report(a, 1, KVEIL_SPAN_NULL, &result.error);
	else if (a->session.story)
		print_span(kveil_buf_span(&a->story.text));
	else
		print_spelled(a, result.outputs[0].record.value, kveil_avro_samples_spell);
	return output_ended(a) && !a->failed ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int apply(const struct options *o)
{
	struct apply a = {.o = o, .name = o->file ? o->file : "-", .lines = {.fd = -1}};
	const struct kveil_apply_source source = {.rules = o->rules, .config = o->config, .demo_keys = o->demo_keys};
	struct kveil_error err;
	int code = kveil_apply_open(&source, &kveil_command_apply, &a.session);

	if (code != KVEIL_EXIT_OK)
		return code;
	/* A reader that went away is a write error, not a silent death. */
	signal(SIGPIPE, SIG_IGN);
	code = KVEIL_EXIT_USAGE;
	if (choose_view(&a) && open_samples(&a)) {
		const char *no_color = getenv("NO_COLOR");
		kveil_arena_init(&a.session.scratch, 0);
		kveil_json_record_init(&a.json, line_bytes(&a));
		kveil_json_record_init(&a.ahead, line_bytes(&a));
		a.story.plan = a.session.plan;
		a.story.view = a.view;
		a.story.with_values = o->diff;
		a.story.color = isatty(STDOUT_FILENO) && (!no_color || !*no_color);
		if (o->diff || o->explain)
			a.session.story = &a.story;
		a.session.look_ahead = a.avro ? NULL : look_ahead;
		a.session.user = &a;
		if (kveil_lines_open(&a.lines, o->file, line_bytes(&a), &err) == KVEIL_OK)
			code = a.avro && kveil_avro_samples_is_binary(a.avro) ? apply_binary(&a) : apply_lines(&a);
		else
			fprintf(stderr, "kveil apply: %s\n", err.message);
	}
	kveil_lines_close(&a.lines);
	kveil_arena_clear(&a.session.scratch);
	kveil_json_record_clear(&a.json);
	kveil_json_record_clear(&a.ahead);
	kveil_buf_clear(&a.line);
	kveil_buf_clear(&a.story.text);
	kveil_avro_samples_free(a.avro);
	kveil_apply_close(&a.session);
	return code;
}

static bool set_header(struct options *o, const char *text)
{
	const char *eq = strchr(text, '=');

	if (!eq || eq == text || o->header_count == MOST_HEADERS)
		return false;
	o->headers[o->header_count++] =
	    (struct kveil_header){kveil_span_of(text, (size_t)(eq - text)), kveil_span_str(eq + 1)};
	return true;
}

static bool set_separator(struct options *o, const char *text)
{
	size_t n = 0;

	for (; *text && n < sizeof o->separator_text - 1; text++) {
		bool tab = text[0] == '\\' && text[1] == 't';
		o->separator_text[n++] = tab ? '\t' : *text;
		text += tab;
	}
	o->separator = o->separator_text;
	return n > 0 && *text == 0;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_apply;
	struct options o = {0};
	const char *value;
	int index = 1;

	for (;;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (!f) {
			if (o.file)
				return kveil_usage_error(cmd, "one file at a time");
			o.file = argv[index++];
			continue;
		}
		if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		if (f->short_name == 'r' && o.rules)
			return kveil_usage_error(cmd, "one rule file at a time");
		else if (f->short_name == 'r')
			o.rules = value;
		else if (f->short_name == 'c')
			o.config = value;
		else if (f->short_name == 'o')
			o.output = value;
		else if (f->short_name == 'K' && !set_separator(&o, value))
			return kveil_usage_error(cmd, "a key separator has 1 to 15 bytes");
		else if (f->short_name == 'J')
			o.json = true;
		else if (f->short_name == 'H' && !set_header(&o, value))
			return kveil_usage_error(cmd, "a header is NAME=VALUE, and there are at most %d", MOST_HEADERS);
		else if (strcmp(f->long_name, "demo-keys") == 0)
			o.demo_keys = true;
		else if (strcmp(f->long_name, "schema") == 0)
			o.schema = value;
		else if (strcmp(f->long_name, "original") == 0)
			o.original = value;
		else if (strcmp(f->long_name, "key-schema") == 0)
			o.key_schema = value;
		else if (strcmp(f->long_name, "encoding") == 0)
			o.encoding = value;
		else if (strcmp(f->long_name, "diff") == 0)
			o.diff = true;
		else if (strcmp(f->long_name, "explain") == 0)
			o.explain = true;
	}
	if (!o.rules)
		return kveil_usage_error(cmd, "-r names the rule file");
	if (o.json && (o.separator || o.header_count))
		return kveil_usage_error(cmd, "-J has the key and the headers in the line: no -K, no -H");
	if ((o.encoding || o.original) && !o.schema)
		return kveil_usage_error(cmd, "--%s goes with --schema", o.encoding ? "encoding" : "original");
	if (o.key_schema && !(o.schema && o.separator))
		return kveil_usage_error(cmd, "--key-schema goes with --schema and -K");
	if (o.schema && (o.json || (o.encoding && o.separator)))
		return kveil_usage_error(cmd, "--schema goes without -J, and --encoding without -K");
	if (o.diff && o.explain)
		return kveil_usage_error(cmd, "--diff or --explain");
	if (o.config && o.demo_keys)
		return kveil_usage_error(cmd, "-c brings its own keys: leave --demo-keys out");
	kveil_secret_harden_process();
	return apply(&o);
}

const struct kveil_command kveil_command_apply = {
    .name = "apply",
    .usage = "-r FILE [FILE]",
    .help = "protect records from a file or stdin, one per line, without Kafka",
    .flags = flags,
    .run = run,
};
