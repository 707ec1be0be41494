/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value that names its schema, and a header that may do so: the first byte is the header's length, 255 for null, 254
 * for none; without it the key is the value again. What comes out names the derived schema and no other; nothing that
 * is not a frame comes out.
 */
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdlib.h>

#define RULES                                                                                                          \
	"name: f\ntopics: [in]\nformat: {value: avro, key: avro}\nfields:\n"                                           \
	"  - {path: $.a, mask: {}}\n  - {path: \"key:$.a\", mask: {}}\n"

enum { WRITER = 7, DERIVED = 0x107, NO_HEADER = 254, NULL_HEADER = 255 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fact)
{
	if (!fact)
		abort();
}

static struct kveil_engine *make_engine(void)
{
	static const char text[] =
	    "{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":[\"null\",\"string\"]}]}";
	struct kveil_schema_id guid = {.is_guid = true}, writer = {.id = WRITER}, derived = {.id = DERIVED};
	struct kveil_report report = {0};
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_engine *e;
	struct kveil_engine_schema *s;
	struct kveil_error err;

	check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, &err) == KVEIL_OK);
	check(kveil_keyring_new(ks, &ring, &err) == KVEIL_OK);
	struct kveil_plan *plan = kveil_plan_parse(KVEIL_SPAN(RULES), "f", NULL, &report);
	check(plan && kveil_engine_new(plan, ring, NULL, &e, &err) == KVEIL_OK);
	kveil_plan_unref(plan);
	kveil_report_clear(&report);
	struct kveil_engine_schemas *t = kveil_engine_schemas_new(), *keys = kveil_engine_schemas_new();
	for (int i = 0; t && keys && i < 2; i++) {
		check(kveil_engine_schema_new(e, kveil_span_str(text), &s, &err) == KVEIL_OK);
		check(kveil_engine_schemas_add(t, i ? &guid : &writer, s, &derived, &err) == KVEIL_OK);
		check(kveil_engine_key_schema_new(e, kveil_span_str(text), &s, &err) == KVEIL_OK);
		check(kveil_engine_schemas_add(keys, i ? &guid : &writer, s, &derived, &err) == KVEIL_OK);
	}
	kveil_engine_use_schemas(e, t);
	kveil_engine_use_key_schemas(e, keys);
	return e;
}

static bool names_derived(struct kveil_span s)
{
	static const uint8_t id[] = {0, 0, 0, DERIVED >> 8, DERIVED & 255};

	return s.len >= sizeof id && memcmp(s.data, id, sizeof id) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *e;
	struct kveil_header header = {.name = KVEIL_SPAN("__value_schema_id")};
	struct kveil_result result;
	struct kveil_schema_id wanted;

	e = e ? e : make_engine();
	if (size < 1)
		return 0;
	size_t n = data[0] >= NO_HEADER ? 0 : data[0];
	if (1 + n > size)
		return 0;
	if (data[0] != NULL_HEADER)
		header.value = kveil_span_of(data + 1, n);
	struct kveil_record record = {.value = kveil_span_of(data + 1 + n, size - 1 - n),
				      .headers = &header,
				      .header_count = data[0] != NO_HEADER};
	if (data[0] >= NO_HEADER)
		record.key = record.value;
	kveil_engine_run(e, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(result.error.status != KVEIL_E_INTERNAL);
		check(result.error.status != KVEIL_E_SCHEMA_PENDING || kveil_engine_wanted_schema(e, &wanted));
		return 0;
	}
	const struct kveil_record *out = &result.outputs[0].record;
	bool in_header = data[0] < NO_HEADER;
	check(names_derived(in_header ? out->headers[0].value : out->value));
	check(in_header || (kveil_span_eq(out->key, out->value) && names_derived(out->key)));
	return 0;
}
