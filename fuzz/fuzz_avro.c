/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schema, a zero byte and a value of it; behind a byte 1 in the schema the one that it was derived from, or that came
 * before it, under fixed rules; the first byte chooses which. What comes out is a value of the derived schema, or the
 * record is an error; nothing takes long or much memory. What was sealed whole is opened again: each byte is back.
 */
#include "format/avro_json.h"
#include "kveil/schemas.h"
#include "rules/plan.h"

#include <stdlib.h>

#define HEAD "name: f\ntopics: [in]\nformat: avro\nfields:\n"

static const char *const files[] = {
    HEAD "  - {path: $..a, encrypt: {key: k}}\n  - {path: $..b, nullify: true}\n  - {path: $..c, mask: {}}\n",
    HEAD "  - {path: $.a, remove: true}\n  - {path: \"$..b[*]\", hash: {key: p}}\n"
	 "  - {path: $.c, when: \"$.d > 1\", replace: {with: 7}}\n",
    HEAD "  - {path: \"$..*\", mask: {}}\n",
    HEAD "  - {path: \"$.a[0]\", replace: {with: x}}\n  - {path: $.b.c, on_null: transform, replace: {with: 1}}\n"
	 "  - {path: $.e, when: \"@ == 1\", nullify: true}\n",
    HEAD "  - {path: $..a, decrypt: {key: k}}\n  - {path: $..b, when: \"$.c == 1\", decrypt: {key: k, type: json}}\n",
    HEAD "  - {tags: [PII], encrypt: {key: k}}\n  - {path: $.b, mask: {}}\n  - {tags: [b, \"1\"], nullify: true}\n",
};
enum { FILES = sizeof files / sizeof *files, TAGGED = FILES - 1, WHOLE = 0x80 /* in the first byte */ };
static const char *const whole_files[] = {HEAD "  - {path: $..a, encrypt: {key: k, type: json}}\n",
					  HEAD "  - {path: $..a, decrypt: {key: k, type: json}}\n"};
static const struct kveil_schema_tag tags[] = {{"a.b", "PII"}, {"**.a", "PII"}, {"*.c", "1"}, {"a.?", "b"}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fact)
{
	if (!fact)
		abort();
}

static struct kveil_engine *make_engine(const char *file)
{
	static struct kveil_keystore *ks;
	static struct kveil_keyring *ring;
	struct kveil_report report = {0};
	struct kveil_engine *engine = NULL;
	struct kveil_error err;

	if (!ring) {
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, &err) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, &err) == KVEIL_OK);
	}
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(file), "f", NULL, &report);
	if (!plan)
		kveil_report_print(&report, stderr);
	check(plan && kveil_engine_new(plan, ring, NULL, &engine, &err) == KVEIL_OK);
	kveil_plan_unref(plan);
	kveil_report_clear(&report);
	return engine;
}

/* Rules by tags remember what they met: theirs is a new one each time, and has met what came before the schema. */
static struct kveil_engine *make_tagged(struct kveil_span text, struct kveil_span before,
					struct kveil_schema_source *source)
{
	struct kveil_engine *e = make_engine(files[TAGGED]);
	struct kveil_engine_schema *schema;
	struct kveil_error err;
	bool is_theirs;

	*source = (struct kveil_schema_source){
	    .id = source->id, .tags = tags, .tag_count = sizeof tags / sizeof *tags, .topic = "in"};
	if (before.len % 3 == 0 && before.data)
		check(kveil_engine_recall(e, text, before, "in", &is_theirs, &err) != KVEIL_E_INTERNAL);
	else if (before.data && kveil_engine_schema_of(e, before, source, &schema, &err) == KVEIL_OK)
		kveil_engine_schema_free(schema);
	if (before.len % 2)
		source->tag_count = 0;
	return e;
}

/* The value under the schema. NULL: that is refused. */
static struct kveil_engine_schema *run(struct kveil_engine *e, struct kveil_span text,
				       const struct kveil_schema_source *source, struct kveil_span value,
				       struct kveil_result *ret)
{
	const struct kveil_record record = {.value = value};
	struct kveil_engine_schema *schema;
	struct kveil_error err;

	enum kveil_status status = kveil_engine_schema_of(e, text, source, &schema, &err);
	check(status == KVEIL_OK || status == KVEIL_E_AVRO_SCHEMA);
	if (status)
		return NULL;
	kveil_engine_use_schema(e, schema);
	kveil_engine_run(e, &record, ret);
	kveil_engine_use_schema(e, NULL);
	return schema;
}

/* Not each byte: what was written longer than it had to be, as 81 00 for the number -1, comes back short; and of NaN
 * there is one. */
static bool is_same_value(struct kveil_span schema, struct kveil_span a, struct kveil_span b)
{
	KVEIL_CLEANUP_BUF struct kveil_buf one = KVEIL_BUF_INIT, other = KVEIL_BUF_INIT;
	struct kveil_avro_text *reader;
	struct kveil_error err;

	check(kveil_avro_text_new(schema, &reader, &err) == KVEIL_OK);
	enum kveil_status status = kveil_avro_to_json(reader, a, &one, &err);
	bool same = kveil_avro_to_json(reader, b, &other, &err) == status &&
		    kveil_span_eq(kveil_buf_span(&one), kveil_buf_span(&other));
	kveil_avro_text_free(reader);
	return same;
}

/* The value under a schema that was derived from `original`, opened. */
static void open_whole(struct kveil_span derived, struct kveil_span original, struct kveil_span value,
		       struct kveil_span want)
{
	static struct kveil_engine *e;
	const struct kveil_schema_source source = {.original = original};
	struct kveil_result result;

	e = e ? e : make_engine(whole_files[1]);
	struct kveil_engine_schema *schema = run(e, derived, &source, value, &result);
	if (!schema)
		return;
	bool opened = result.verdict == KVEIL_PRODUCE;
	check(opened || result.error.status == KVEIL_E_UNSUPPORTED_KIND);
	/* In the writer's own schema it is the writer's own value. */
	check(!opened || !kveil_span_eq(kveil_engine_schema_derived(schema), original) ||
	      kveil_span_eq(result.outputs[0].record.value, want) ||
	      is_same_value(original, result.outputs[0].record.value, want));
	kveil_engine_schema_free(schema);
}

static void seal_whole(struct kveil_span writer, struct kveil_span value)
{
	static struct kveil_engine *e;
	const struct kveil_schema_id id = {.id = 7};
	const struct kveil_schema_source source = {.id = &id};
	struct kveil_result result;

	e = e ? e : make_engine(whole_files[0]);
	struct kveil_engine_schema *schema = run(e, writer, &source, value, &result);
	if (!schema)
		return;
	if (result.verdict == KVEIL_PRODUCE)
		open_whole(kveil_engine_schema_derived(schema), writer, result.outputs[0].record.value, value);
	else
		check(result.error.status != KVEIL_E_INTERNAL && result.error.status != KVEIL_OK);
	kveil_engine_schema_free(schema);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *engines[FILES];
	struct kveil_engine_schema *schema;
	struct kveil_avro_text *reader;
	struct kveil_result result;
	struct kveil_error err;

	const uint8_t *zero = size ? memchr(data + 1, 0, size - 1) : NULL;
	if (!zero)
		return 0;
	size_t file = data[0] % WHOLE % FILES;
	size_t text = (size_t)(zero - data) - 1;
	struct kveil_record record = {.value = {zero + 1, size - text - 2}};
	const struct kveil_schema_id id = {.id = 7};
	struct kveil_schema_source source = {.id = &id};
	/* Behind a 1 stands what the schema was derived from. */
	const uint8_t *one = memchr(data + 1, 1, text);
	if (one) {
		source.original = kveil_span_of(one + 1, (size_t)(zero - one) - 1);
		text = (size_t)(one - data) - 1;
	}
	if (file != TAGGED && !engines[file])
		engines[file] = make_engine(files[file]);
	const struct kveil_span writer = kveil_span_of(data + 1, text);
	if (data[0] & WHOLE) {
		seal_whole(writer, record.value);
		return 0;
	}
	struct kveil_engine *e = file == TAGGED ? make_tagged(writer, source.original, &source) : engines[file];
	enum kveil_status status = kveil_engine_schema_of(e, writer, &source, &schema, &err);
	check(status == KVEIL_OK || status == KVEIL_E_AVRO_SCHEMA);
	if (status) {
		if (file == TAGGED)
			kveil_engine_free(e);
		return 0;
	}
	check(kveil_avro_text_new(kveil_engine_schema_derived(schema), &reader, &err) == KVEIL_OK);
	kveil_engine_use_schema(e, schema);
	kveil_engine_run(e, &record, &result);
	if (result.verdict == KVEIL_PRODUCE) {
		struct kveil_buf out = KVEIL_BUF_INIT;
		check(kveil_avro_to_json(reader, result.outputs[0].record.value, &out, &err) == KVEIL_OK ||
		      err.status == KVEIL_E_INVALID_UTF8);
		kveil_buf_clear(&out);
	} else {
		check(result.error.status != KVEIL_E_INTERNAL && result.error.status != KVEIL_OK);
		check(result.error.byte == KVEIL_NO_BYTE || result.error.byte <= record.value.len);
	}
	kveil_engine_use_schema(e, NULL);
	kveil_avro_text_free(reader);
	kveil_engine_schema_free(schema);
	if (file == TAGGED)
		kveil_engine_free(e);
	return 0;
}
