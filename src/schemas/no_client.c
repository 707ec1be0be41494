/* SPDX-License-Identifier: Apache-2.0 */
/* In a build without Avro: no rule file needs a registry, so that none is ever opened. */
#include "schemas/client.h"

static enum kveil_status absent(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this build is without Avro, and so without schema registries");
}

void kveil_schemas_schema_ref(const struct kveil_schemas_schema *s)
{
	(void)s;
}

void kveil_schemas_schema_unref(const struct kveil_schemas_schema *s)
{
	(void)s;
}

enum kveil_status kveil_schemas_open(const struct kveil_schemas_config *c, struct kveil_schemas **ret,
				     struct kveil_error *err)
{
	(void)c;
	*ret = NULL;
	return absent(err);
}

void kveil_schemas_close(struct kveil_schemas *s)
{
	(void)s;
}

void kveil_schemas_interrupt(struct kveil_schemas *s)
{
	(void)s;
}

enum kveil_status kveil_schemas_by_id(struct kveil_schemas *s, const char *context, uint32_t id,
				      const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	(void)s, (void)context, (void)id;
	*ret = NULL;
	return absent(err);
}

enum kveil_status kveil_schemas_by_guid(struct kveil_schemas *s, const uint8_t guid[KVEIL_GUID_BYTES],
					const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	(void)s, (void)guid;
	*ret = NULL;
	return absent(err);
}

enum kveil_status kveil_schemas_register(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					 struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	(void)s, (void)at, (void)text, (void)ret;
	return absent(err);
}

enum kveil_status kveil_schemas_look_up(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	(void)s, (void)at, (void)text, (void)ret;
	return absent(err);
}

enum kveil_status kveil_schemas_find_version(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					     uint32_t number, struct kveil_schemas_version *ret,
					     struct kveil_error *err)
{
	(void)s, (void)at, (void)number, (void)ret;
	return absent(err);
}

enum kveil_status kveil_schemas_try(struct kveil_schemas *s, const struct kveil_schemas_place *at,
				    struct kveil_span text, struct kveil_error *err)
{
	(void)s, (void)at, (void)text;
	return absent(err);
}
