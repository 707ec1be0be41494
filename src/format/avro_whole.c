/* SPDX-License-Identifier: Apache-2.0 */
/* Values that are sealed whole: what stands in front of their bytes. */
#include "format/avro_whole.h"

enum { MOST_BYTES = 4 * KVEIL_AVRO_SCHEMA_BYTES, TYPE_BYTES = 1024 /* that one takes at least */ };

enum kveil_status kveil_avro_whole_fingerprint(const struct kveil_avro_schema *s, uint32_t type,
					       struct kveil_avro_whole_budget *budget, uint64_t *ret,
					       struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	bool too_deep;

	if (!kveil_avro_write_canonical(s, type, &text, &too_deep))
		return too_deep ? kveil_fail(err, KVEIL_E_AVRO_SCHEMA,
					     "a value whose type is nested too deep to be sealed whole")
				: kveil_no_memory(err, "a schema");
	if (s->types[type].kind >= KVEIL_AVRO_FIXED)
		budget->bytes += text.len + TYPE_BYTES;
	if (budget->bytes > MOST_BYTES)
		return kveil_fail(err, KVEIL_E_AVRO_SCHEMA,
				  "values of too many types, or too large ones, are sealed whole");
	*ret = kveil_avro_fingerprint(kveil_buf_span(&text));
	return KVEIL_OK;
}

void kveil_avro_whole_write_head(uint64_t fingerprint, uint8_t head[KVEIL_AVRO_WHOLE_HEAD])
{
	head[0] = 0xc3;
	head[1] = 1;
	for (int i = 0; i < 8; i++)
		head[2 + i] = (uint8_t)(fingerprint >> 8 * i);
}

bool kveil_avro_whole_is(struct kveil_span text)
{
	return text.len >= KVEIL_AVRO_WHOLE_HEAD && text.data[0] == 0xc3 && text.data[1] == 1;
}
