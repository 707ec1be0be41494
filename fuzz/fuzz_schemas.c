/* SPDX-License-Identifier: Apache-2.0 */
/* What a schema registry answers: all that is read of it, and its references inlined. A line an answer; the first
 * refers to the others. What comes of it and is a schema stays the same when nothing is left to inline. */
#include "format/avro_schema.h"
#include "schemas/answer.h"
#include "schemas/inline.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_LINES = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "schemas: %s\n", what);
		abort();
	}
}

static void read_all(const json_t *answer)
{
	struct kveil_buf reasons = KVEIL_BUF_INIT;
	struct kveil_schemas_id id;
	char says[40];
	bool is;

	kveil_schemas_says(answer, says, sizeof says);
	check(strlen(says) < sizeof says && !strpbrk(says, "\n\r\t\x1b"), "words of more than one line");
	if (kveil_schemas_read_id(answer, &id))
		check(id.id <= INT32_MAX && strlen(id.guid) < sizeof id.guid, "an id that is none");
	(void)kveil_schemas_is_not_found(answer);
	(void)kveil_schemas_read_compatible(answer, &is, &reasons);
	check(reasons.len < 32 * 1024, "endless reasons");
	kveil_buf_clear(&reasons);
}

static void read_references(const struct kveil_schemas_answer *a)
{
	struct kveil_schemas_reference r;
	const json_t *reference;
	size_t i;

	json_array_foreach(a->references, i, reference) if (kveil_schemas_read_reference(reference, &r))
	    check(r.version > 0 && r.name && *r.subject, "a reference that is none");
}

static void inline_all(const struct kveil_schemas_answer *answers, size_t count)
{
	struct kveil_buf whole = KVEIL_BUF_INIT, again = KVEIL_BUF_INIT;
	struct kveil_avro_schema *one, *other;
	struct kveil_span parts[MOST_LINES];
	struct kveil_error err;

	for (size_t i = 1; i < count; i++)
		parts[i - 1] = answers[i].text;
	enum kveil_status s = kveil_schemas_inline(answers[0].text, parts, count - 1, &whole, &err);
	check(s == KVEIL_OK || s == KVEIL_E_AVRO_SCHEMA, "another error");
	if (s == KVEIL_OK && kveil_avro_schema_parse(kveil_buf_span(&whole), &one, &err) == KVEIL_OK) {
		check(kveil_schemas_inline(kveil_buf_span(&whole), NULL, 0, &again, &err) == KVEIL_OK, "not again");
		check(kveil_avro_schema_parse(kveil_buf_span(&again), &other, &err) == KVEIL_OK, "no schema any more");
		check(kveil_span_eq(one->canonical, other->canonical), "another schema");
		kveil_avro_schema_free(one);
		kveil_avro_schema_free(other);
	}
	kveil_buf_clear(&whole);
	kveil_buf_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_schemas_answer answers[MOST_LINES];
	json_t *lines[MOST_LINES];
	size_t count = 0;

	while (size && count < MOST_LINES) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;
		json_t *j = kveil_schemas_parse_answer(kveil_span_of(data, n));
		data += end ? n + 1 : n;
		size -= end ? n + 1 : n;
		if (!j)
			continue;
		read_all(j);
		lines[count] = j;
		if (kveil_schemas_read_schema(j, &answers[count])) {
			read_references(&answers[count]);
			count++;
		} else {
			json_decref(j);
		}
	}
	if (count)
		inline_all(answers, count);
	while (count)
		json_decref(lines[--count]);
	return 0;
}
