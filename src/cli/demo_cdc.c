/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil demo --cdc`: change events before and after. */
#include "cli/demo_cdc.h"

#include "base/clock.h"
#include "cli/demo_events.h"
#include "cli/demo_screen.h"
#include "cli/demo_stage.h"
#include "demo_cdc_rules.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	PEOPLE = 2,
	RECORDS = PEOPLE * KVEIL_DEMO_LIFE,
	STALL_MS = 30000,   /* nothing has come for so long */
	SURPLUS_MS = 300,   /* a record too many would come in this time */
	FIELD_COLUMNS = 33, /* of 80, as what follows: of a field's name, */
	BEFORE_COLUMNS = 20,
	AFTER_COLUMNS = 22,
};

struct session {
	struct kveil_demo_stage stage;
	uint64_t seed;
	bool color;
	uint64_t problems, bytes;
	/* What stands for each identity card: the same everywhere, or a key identifies nothing. */
	struct {
		char clear[32], token[128];
	} tokens[2 * PEOPLE];
	size_t token_count;
	char last_key[256]; /* of the record before, as it came out */
	/* the record at hand */
	bool earns_in_cn;
	struct kveil_buf unchanged; /* names of fields */
};

static void complain(struct session *s, const char *what, const char *field)
{
	s->problems++;
	printf("   WRONG: %s %s\n", what, field);
}

/* --- a line of the picture --- */

/* At most so many columns of a UTF-8 text, and blanks up to there. */
static void put_cell(const char *text, unsigned columns, bool pad)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t len = strlen(text), n;
	unsigned used = 0, width;

	for (; len; at += n, len -= n, used += width) {
		n = kveil_demo_character(at, len, &width);
		if (used + width >= columns)
			break;
		printf("%.*s", (int)n, (const char *)at);
	}
	if (len)
		used++, fputs("…", stdout);
	printf("%*s", pad && used < columns ? (int)(columns - used) : 0, "");
}

static void put_change(const struct session *s, const char *field, const char *before, const char *after)
{
	fputs("   ", stdout);
	put_cell(field, FIELD_COLUMNS, true);
	fputs(s->color ? "\033[31m" : "", stdout);
	put_cell(before, BEFORE_COLUMNS, true);
	fputs(s->color ? "\033[32m" : "", stdout);
	fputs("  ", stdout);
	put_cell(after, AFTER_COLUMNS, false);
	puts(s->color ? "\033[0m" : "");
}

/* --- a record against its original --- */

/* A column that rules/cdc/debezium.yaml names. */
static bool is_named(const struct session *s, const char *column)
{
	static const char *const always[] = {"id_card", "phone", "email", "street"};

	for (size_t i = 0; i < sizeof always / sizeof *always; i++)
		if (strcmp(column, always[i]) == 0)
			return true;
	return s->earns_in_cn && strcmp(column, "salary") == 0;
}

static void check_token(struct session *s, const char *field, const char *clear, const char *token)
{
	size_t i = 0;

	while (i < s->token_count && strcmp(s->tokens[i].clear, clear) != 0)
		i++;
	for (size_t k = 0; k < s->token_count; k++)
		if ((strcmp(s->tokens[k].token, token) == 0) != (k == i))
			complain(s, "not the token of this identity card alone:", field);
	if (i < s->token_count || i == sizeof s->tokens / sizeof *s->tokens)
		return;
	snprintf(s->tokens[i].clear, sizeof s->tokens[i].clear, "%s", clear);
	snprintf(s->tokens[i].token, sizeof s->tokens[i].token, "%s", token);
	s->token_count++;
}

static char *text_of(const json_t *value)
{
	return json_is_string(value) ? strdup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
}

static void compare_leaf(struct session *s, const char *path, const char *column, const json_t *in, const json_t *out)
{
	char *before = text_of(in), *after = text_of(out);

	if (json_equal(in, out)) {
		kveil_buf_printf(&s->unchanged, "%s%s", s->unchanged.len ? ", " : "", path);
		if (is_named(s, column))
			complain(s, "in clear:", path);
	} else if (!before || !after || !is_named(s, column)) {
		complain(s, "another value than before:", path);
	} else {
		put_change(s, path, before, after);
		if (strcmp(column, "id_card") == 0)
			check_token(s, path, before, after);
	}
	free(before);
	free(after);
}

static void compare(struct session *s, const char *path, const char *column, const json_t *in, const json_t *out);

static void compare_object(struct session *s, const char *path, json_t *in, const json_t *out)
{
	const char *name;
	const json_t *value;
	char inner[256];

	if (!json_is_object(out) || json_object_size(in) != json_object_size(out))
		complain(s, "other members than before:", path);
	json_object_foreach(in, name, value)
	{
		snprintf(inner, sizeof inner, "%s%s%s", path, *path ? "." : "", name);
		compare(s, inner, name, value, json_object_get(out, name));
	}
}

static void compare(struct session *s, const char *path, const char *column, const json_t *in, const json_t *out)
{
	char inner[256];

	if (!out) {
		complain(s, "gone:", path);
	} else if (strcmp(path, "source") == 0 && json_equal(in, out)) {
		kveil_buf_append_str(&s->unchanged, ", source"); /* no column is in there */
	} else if (json_is_object(in)) {
		compare_object(s, path, (json_t *)(uintptr_t)in, out);
	} else if (json_is_array(in)) {
		if (json_array_size(in) != json_array_size(out))
			complain(s, "more or fewer elements than before:", path);
		for (size_t i = 0; i < json_array_size(in); i++) {
			snprintf(inner, sizeof inner, "%s[%zu]", path, i);
			compare(s, inner, column, json_array_get(in, i), json_array_get(out, i));
		}
	} else
		compare_leaf(s, path, column, in, out);
}

static void compare_json(struct session *s, const char *path, struct kveil_span in, struct kveil_span out)
{
	json_t *before = json_loadb((const char *)in.data, in.len, 0, NULL);
	json_t *after = out.data ? json_loadb((const char *)out.data, out.len, 0, NULL) : NULL;

	if (!in.data != !out.data)
		complain(s, "there and not there:", *path ? path : "value");
	else if (in.data && (!before || !after))
		complain(s, "no JSON:", *path ? path : "value");
	else if (in.data)
		compare(s, path, "", before, after);
	json_decref(before);
	json_decref(after);
}

static bool holds(struct kveil_span bytes, const char *clear)
{
	return bytes.data && memmem(bytes.data, bytes.len, clear, strlen(clear));
}

static void check_leaks(struct session *s, const struct kveil_demo_change *c, const struct kveil_record *out)
{
	for (size_t i = 0; i < sizeof c->clear / sizeof *c->clear; i++) {
		bool leaks = holds(out->key, c->clear[i]) || holds(out->value, c->clear[i]);
		for (size_t h = 0; h < out->header_count; h++)
			leaks |= holds(out->headers[h].value, c->clear[i]);
		if (leaks)
			complain(s, "a clear value stands in", "the record");
	}
}

/* What a compacted topic lives on: a tombstone ends the row whose key it has. */
static void check_key(struct session *s, const struct kveil_record *out)
{
	if (!out->value.data && !kveil_span_eq(out->key, kveil_span_str(s->last_key)))
		complain(s, "a tombstone with another key than its row:", "key");
	snprintf(s->last_key, sizeof s->last_key, "%.*s", (int)out->key.len, (const char *)out->key.data);
}

static void check_headers(struct session *s, const struct kveil_record *in, const struct kveil_record *out)
{
	char path[128];

	if (in->header_count != out->header_count)
		complain(s, "more or fewer than before:", "headers");
	for (size_t i = 0; i < in->header_count && i < out->header_count; i++) {
		struct kveil_span name = in->headers[i].name;
		snprintf(path, sizeof path, "header %.*s", (int)name.len, (const char *)name.data);
		if (!kveil_span_eq(name, out->headers[i].name))
			complain(s, "another name than before:", path);
		compare_json(s, path, in->headers[i].value, out->headers[i].value);
	}
}

static void tell(struct session *s, uint64_t number, const struct kveil_record *out)
{
	struct kveil_demo_change c;

	kveil_demo_change_make(s->seed, number, &c);
	s->earns_in_cn = c.earns_in_cn;
	kveil_buf_reset(&s->unchanged);
	printf("\n%s%llu  %s%s\n", s->color ? "\033[1m" : "", (unsigned long long)number + 1, c.what,
	       s->color ? "\033[0m" : "");
	compare_json(s, "key", c.record.key, out->key);
	check_headers(s, &c.record, out);
	compare_json(s, "", c.record.value, out->value);
	if (s->unchanged.len)
		printf("   as before: %s\n", kveil_buf_cstr(&s->unchanged));
	check_leaks(s, &c, out);
	check_key(s, out);
	s->bytes += out->key.len + out->value.len;
	kveil_demo_change_clear(&c);
}

/* --- the run --- */

static enum kveil_status send_all(struct session *s, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (uint64_t i = 0; i < RECORDS && status == KVEIL_OK; i++) {
		struct kveil_demo_change c;
		kveil_demo_change_make(s->seed, i, &c);
		status = kveil_mock_write(s->stage.writer, s->stage.input, 0, &c.record, err);
		kveil_demo_change_clear(&c);
	}
	return status;
}

static enum kveil_status read_all(struct session *s, uint64_t *ret_told, struct kveil_error *err)
{
	int64_t moved = kveil_clock_mono_ms();
	struct kveil_mock_message m;

	for (*ret_told = 0; kveil_clock_mono_ms() - moved < (*ret_told < RECORDS ? STALL_MS : SURPLUS_MS);) {
		if (kveil_service_failed(s->stage.service, err))
			return err->status;
		kveil_mock_writer_poll(s->stage.writer, 0, false);
		if (!kveil_mock_read(s->stage.reader, 50, &m))
			continue;
		moved = kveil_clock_mono_ms();
		if (strcmp(m.topic, s->stage.dead) == 0)
			complain(s, "a dead letter in", m.topic);
		else if (*ret_told == RECORDS)
			complain(s, "a record too many in", m.topic);
		else
			tell(s, (*ret_told)++, &m.record);
	}
	return KVEIL_OK;
}

static void print_end(const struct session *s, uint64_t told)
{
	char bytes[32];

	if (told == RECORDS && !s->problems)
		printf("\n%d change events arrived protected: a rule on a column holds in before, after, keys and "
		       "headers;\n"
		       "a tombstone has its row's key; no clear value in %s bytes\n",
		       RECORDS, kveil_demo_count(s->bytes, bytes));
	else
		printf("\nNOT well: sent %d, arrived %llu, wrong %llu\n", RECORDS, (unsigned long long)told,
		       (unsigned long long)s->problems);
	fflush(stdout);
}

static enum kveil_status run(struct session *s, bool *ret_well, struct kveil_error *err)
{
	const struct kveil_demo_stage_params params = {.rules = kveil_span_of(demo_cdc_rules, sizeof demo_cdc_rules),
						       .file = "debezium.yaml",
						       .topic = "shop.public.customers",
						       .partitions = 1,
						       .workers = 1};
	uint64_t told = 0;
	enum kveil_status status = kveil_demo_stage_set(&s->stage, &params, err);

	printf(
	    "kveil demo: rows of %d invented people in Debezium's change events, an embedded broker, keys in memory:\n"
	    "nothing lasts. The rules are rules/cdc/debezium.yaml; `kveil demo` without --cdc runs until it is ended.\n"
	    "%s, and behind each value what stands in %s:\n",
	    PEOPLE, s->stage.input, s->stage.output);
	fflush(stdout);
	if (status == KVEIL_OK)
		status = send_all(s, err);
	if (status == KVEIL_OK)
		status = kveil_demo_stage_run(&s->stage, err);
	if (status == KVEIL_OK)
		status = read_all(s, &told, err);
	if (status == KVEIL_OK)
		print_end(s, told);
	*ret_well = told == RECORDS && !s->problems;
	return status;
}

enum kveil_status kveil_demo_cdc(bool color, bool *ret_well, struct kveil_error *err)
{
	struct session s = {.color = color, .seed = (uint64_t)kveil_clock_wall_ms()};
	struct kveil_error stopped;
	enum kveil_status status = run(&s, ret_well, err);
	enum kveil_status stop = kveil_demo_stage_stop(&s.stage, &stopped);

	if (status == KVEIL_OK && stop != KVEIL_OK) {
		*err = stopped;
		status = stop;
	}
	kveil_demo_stage_clear(&s.stage);
	kveil_buf_clear(&s.unchanged);
	return status;
}
