/* SPDX-License-Identifier: Apache-2.0 */
/* In a build without Avro: no format has schemas, so that none of this is ever asked. */
#include "engine/internal.h"
#include "kveil/schemas.h"

static enum kveil_status absent(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this build is without Avro");
}

enum kveil_status kveil_engine_check_typed(const struct kveil_engine *e, struct kveil_error *err)
{
	(void)e;
	return absent(err);
}

enum kveil_status kveil_engine_schema_new(struct kveil_engine *e, struct kveil_span text,
					  struct kveil_engine_schema **ret, struct kveil_error *err)
{
	(void)e, (void)text;
	*ret = NULL;
	return absent(err);
}

enum kveil_status kveil_engine_key_schema_new(struct kveil_engine *e, struct kveil_span text,
					      struct kveil_engine_schema **ret, struct kveil_error *err)
{
	return kveil_engine_schema_new(e, text, ret, err);
}

enum kveil_status kveil_engine_schema_of(struct kveil_engine *e, struct kveil_span text,
					 const struct kveil_schema_source *source, struct kveil_engine_schema **ret,
					 struct kveil_error *err)
{
	(void)source;
	return kveil_engine_schema_new(e, text, ret, err);
}

enum kveil_status kveil_engine_key_schema_of(struct kveil_engine *e, struct kveil_span text,
					     const struct kveil_schema_source *source, struct kveil_engine_schema **ret,
					     struct kveil_error *err)
{
	(void)source;
	return kveil_engine_schema_new(e, text, ret, err);
}

enum kveil_status kveil_engine_recall(struct kveil_engine *e, struct kveil_span text, struct kveil_span derived,
				      const char *topic, bool *ret_is_last, struct kveil_error *err)
{
	(void)e, (void)text, (void)derived, (void)topic, (void)err;
	*ret_is_last = false;
	return KVEIL_OK;
}

const char *kveil_engine_schema_lost(const struct kveil_engine_schema *s, size_t i)
{
	(void)s, (void)i;
	return NULL;
}

bool kveil_engine_schema_original(const struct kveil_engine *e, struct kveil_span text, struct kveil_schema_id *ret)
{
	(void)e, (void)text, (void)ret;
	return false;
}

bool kveil_engine_key_schema_original(const struct kveil_engine *e, struct kveil_span text, struct kveil_schema_id *ret)
{
	return kveil_engine_schema_original(e, text, ret);
}

struct kveil_span kveil_engine_schema_unreferred(const struct kveil_engine_schema *s)
{
	return kveil_engine_schema_derived(s);
}

bool kveil_engine_schema_is_untouched(const struct kveil_engine_schema *s)
{
	(void)s;
	return true;
}

void kveil_engine_schema_free(struct kveil_engine_schema *s)
{
	(void)s;
}

size_t kveil_engine_schema_memory(const struct kveil_engine_schema *s)
{
	(void)s;
	return 0;
}

struct kveil_span kveil_engine_schema_derived(const struct kveil_engine_schema *s)
{
	(void)s;
	return KVEIL_SPAN_NULL;
}

void kveil_engine_use_schema(struct kveil_engine *e, const struct kveil_engine_schema *s)
{
	(void)e, (void)s;
}

void kveil_engine_use_key_schema(struct kveil_engine *e, const struct kveil_engine_schema *s)
{
	(void)e, (void)s;
}

enum kveil_status kveil_engine_run_typed(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
					 struct kveil_buf *out, bool *ret_written, struct kveil_error *err)
{
	(void)e, (void)part, (void)text, (void)out;
	*ret_written = false;
	return absent(err);
}

enum kveil_status kveil_engine_typed_doc(struct kveil_engine *e, struct kveil_error *err)
{
	(void)e, (void)err;
	return KVEIL_OK;
}

void kveil_engine_wipe_typed(struct kveil_engine *e, size_t keep_bytes)
{
	(void)e, (void)keep_bytes;
}

void kveil_engine_clear_typed(struct kveil_engine *e)
{
	(void)e;
}
