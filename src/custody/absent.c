/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK whose files are not here, or of no use: a custodian that is away, for whoever can do without it. */
#include "custody/provider.h"

#include <stdlib.h>

struct absent {
	struct kveil_kek kek;
	struct kveil_error why;
	bool is_missed;
};

static enum kveil_status absent_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				     struct kveil_error *err)
{
	struct absent *a = calloc(1, sizeof *a);

	(void)base_dir;
	if (!a)
		return kveil_no_memory(err, "a key-encryption key");
	a->kek.provider = &kveil_provider_absent;
	a->kek.name = name;
	a->why = *(const struct kveil_error *)params;
	*ret = &a->kek;
	return KVEIL_OK;
}

static void absent_close(struct kveil_kek *kek)
{
	struct absent *a = (struct absent *)kek;

	free(a);
}

/* As if it could: what needs it waits, rather than taking the key for one that only locks. */
static bool absent_can_unwrap(const struct kveil_kek *kek)
{
	(void)kek;
	return true;
}

static enum kveil_status fail(const struct kveil_kek *kek, struct kveil_error *err)
{
	const struct absent *a = (const struct absent *)kek;

	kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s", kek->name, a->why.message);
	kveil_error_hint(err, "%s", a->why.hint);
	return KVEIL_E_KEK_UNAVAILABLE;
}

static enum kveil_status absent_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				     struct kveil_error *err)
{
	(void)plain;
	(void)wrapped;
	return fail(kek, err);
}

static enum kveil_status absent_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				       size_t *ret_len, struct kveil_error *err)
{
	(void)wrapped;
	(void)plain;
	(void)room;
	(void)ret_len;
	((struct absent *)kek)->is_missed = true;
	return fail(kek, err);
}

const struct kveil_provider kveil_provider_absent = {
    .name = "absent",
    .open = absent_open,
    .close = absent_close,
    .can_unwrap = absent_can_unwrap,
    .wrap = absent_wrap,
    .unwrap = absent_unwrap,
};

enum kveil_status kveil_kek_missed(const struct kveil_kek *kek, struct kveil_error *err)
{
	const struct absent *a = (const struct absent *)kek;

	if (kek->provider != &kveil_provider_absent || !a->is_missed)
		return KVEIL_OK;
	if (err)
		*err = a->why;
	return a->why.status;
}
