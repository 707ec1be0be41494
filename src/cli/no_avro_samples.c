/* SPDX-License-Identifier: Apache-2.0 */
/* In a build without Avro no rule file asks for it, and no flag leads here. */
#include "cli/avro_samples.h"

static enum kveil_status absent(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this build is without Avro");
}

enum kveil_status kveil_avro_samples_open(const struct kveil_avro_source *from, struct kveil_engine *e,
					  struct kveil_avro_samples **ret, struct kveil_error *err)
{
	(void)from, (void)e, (void)ret;
	return absent(err);
}

void kveil_avro_samples_free(struct kveil_avro_samples *s)
{
	(void)s;
}

bool kveil_avro_samples_is_binary(const struct kveil_avro_samples *s)
{
	(void)s;
	return false;
}

enum kveil_status kveil_avro_samples_read(struct kveil_avro_samples *s, struct kveil_span *key,
					  struct kveil_span *value, struct kveil_error *err)
{
	(void)s, (void)key, (void)value;
	return absent(err);
}

enum kveil_status kveil_avro_samples_spell_key(struct kveil_avro_samples *s, struct kveil_span *key,
					       struct kveil_error *err)
{
	(void)s, (void)key;
	return absent(err);
}

enum kveil_status kveil_avro_samples_spell(struct kveil_avro_samples *s, struct kveil_span *value,
					   struct kveil_error *err)
{
	(void)s, (void)value;
	return absent(err);
}

enum kveil_status kveil_avro_samples_read_all(struct kveil_avro_samples *s, int fd, size_t max_bytes,
					      struct kveil_span *ret, struct kveil_error *err)
{
	(void)s, (void)fd, (void)max_bytes, (void)ret;
	return absent(err);
}
