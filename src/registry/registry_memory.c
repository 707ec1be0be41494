/* SPDX-License-Identifier: Apache-2.0 */
/* A registry in memory: it gives out leases, and has nothing to read. */
#include "registry/registry_memory.h"

#include <stdlib.h>

struct memory {
	struct kveil_registry base;
	uint32_t lease;
};

static void memory_close(struct kveil_registry *r)
{
	free(r);
}

static enum kveil_status memory_read(struct kveil_registry *r, kveil_registry_read_fn *fn, void *user,
				     struct kveil_error *err)
{
	(void)r, (void)fn, (void)user, (void)err;
	return KVEIL_OK;
}

static enum kveil_status memory_lease(struct kveil_registry *r, uint32_t *ret, struct kveil_error *err)
{
	(void)err;
	*ret = ++((struct memory *)r)->lease;
	return KVEIL_OK;
}

/* Events and notes are for whoever comes after this process, and nobody does. */
static enum kveil_status memory_record(struct kveil_registry *r, const struct kveil_event *events, size_t count,
				       struct kveil_error *err)
{
	(void)r, (void)events, (void)count, (void)err;
	return KVEIL_OK;
}

static enum kveil_status memory_noted(struct kveil_registry *r, struct kveil_buf *out, struct kveil_error *err)
{
	(void)r, (void)out, (void)err;
	return KVEIL_OK;
}

static enum kveil_status memory_note(struct kveil_registry *r, struct kveil_span text, struct kveil_error *err)
{
	(void)r, (void)text, (void)err;
	return KVEIL_OK;
}

/* What is wrapped, signed or handed on belongs to operators, whose commands need a configuration. */
static enum kveil_status refuse(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_INTERNAL, "a registry in memory keeps no versions");
}

static enum kveil_status memory_append(struct kveil_registry *r, const struct kveil_key_record *records, size_t count,
				       struct kveil_error *err)
{
	(void)r, (void)records, (void)count;
	return refuse(err);
}

static enum kveil_status memory_snapshot(struct kveil_registry *r, struct kveil_document *ret, struct kveil_error *err)
{
	(void)r, (void)ret;
	return refuse(err);
}

static const struct kveil_registry_driver driver = {
    .scheme = "memory",
    .alone = true,
    .close = memory_close,
    .read = memory_read,
    .append = memory_append,
    .snapshot = memory_snapshot,
    .lease = memory_lease,
    .record = memory_record,
    .noted = memory_noted,
    .note = memory_note,
};

enum kveil_status kveil_registry_memory_new(struct kveil_registry **ret, struct kveil_error *err)
{
	struct memory *m = calloc(1, sizeof *m);

	if (!m)
		return kveil_no_memory(err, "keys");
	m->base.driver = &driver;
	*ret = &m->base;
	return KVEIL_OK;
}
