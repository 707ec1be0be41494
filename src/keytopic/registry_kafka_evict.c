/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new secret for a registry in a topic. One message does it:
 *
 *   1. !root/ID.N, authorised by the secret before     from its offset on nothing counts that an older secret signed
 *   2. every record, event and the note, signed anew   so that whoever opens the new secret alone has all of it
 *   3. !root/ID.N again, with the offset of the first   it cannot be moved behind what somebody writes later
 *   4. null in the place of the older roots
 *
 * Killed after 1, the registry is whole: what stands before that offset counts under the secret before, whose root is
 * still there. The next eviction does the rest.
 */
#include "keytopic/registry_kafka_internal.h"

#include "base/failpoint.h"
#include "base/secret.h"

#include <signal.h>
#include <stdlib.h>

enum { AT_ONCE = 256 };

/* For tests: the power goes. */
static void die_at(const char *step)
{
	if (kveil_failpoint(step))
		raise(SIGKILL);
}

static enum kveil_status put_first(struct kafka_registry *r, const struct kveil_registry_root *keys,
				   const struct kveil_registry_secret *next, struct kveil_error *err)
{
	struct kveil_registry_epoch_root root = {.sequence = 1, .from = -1};
	enum kveil_status status =
	    kveil_registry_root_copy(&root.keys, keys) ? KVEIL_OK : kveil_no_memory(err, "the key registry");

	memcpy(root.epoch, r->log.root.epoch, sizeof root.epoch);
	if (!status)
		status = kveil_registry_kafka_put_root(r, &root, next, err);
	kveil_registry_epoch_root_clear(&root);
	return status;
}

/* With a higher sequence: the record that is there wins over those that lost to it, wherever they stand in the log. */
static enum kveil_status put_records(struct kafka_registry *r, struct kveil_document *d, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].state != KVEIL_KEY_DESTROYED)
			kveil_key_record_advance(&d->records[i]);
	for (size_t i = 0; !status && i < d->count; i += AT_ONCE) {
		size_t n = d->count - i < AT_ONCE ? d->count - i : AT_ONCE;
		status = kveil_registry_kafka_append(&r->base, d->records + i, n, err);
	}
	return status;
}

static enum kveil_status put_all(struct kafka_registry *r, struct kveil_document *d, struct kveil_error *err)
{
	const struct kveil_registry_note *n = &r->log.note;
	enum kveil_status status = put_records(r, d, err);

	die_at("evict-records");
	for (size_t i = 0; !status && i < d->events.count; i++)
		status = kveil_registry_kafka_put_event(r, &d->events.items[i], err);
	if (!status && n->sequence)
		status = kveil_registry_kafka_put_note(r, n->sequence, kveil_span_of(n->text, n->len), err);
	return status;
}

static enum kveil_status withdraw_older(struct kafka_registry *r, struct kveil_error *err)
{
	struct kveil_registry_root older = kveil_registry_root_head(&r->log.root.keys);
	enum kveil_status status = KVEIL_OK;
	char label[KVEIL_ROOT_LABEL_MAX];

	while (!status && older.number) {
		older.number--;
		kveil_registry_root_label(&older, label);
		struct kveil_registry_message m = {kveil_span_str(label), KVEIL_SPAN_NULL, 0};
		status = kveil_registry_topic_append(r->topic, &m, 1, err);
	}
	return status;
}

static enum kveil_status sign_anew(struct kafka_registry *r, struct kveil_error *err)
{
	struct kveil_document d = {0};
	enum kveil_status status = kveil_registry_kafka_snapshot(&r->base, &d, err);

	if (!status)
		status = put_all(r, &d, err);
	kveil_document_clear(&d);
	die_at("evict-signed");
	if (!status)
		status = kveil_registry_kafka_read_log(r, err);
	if (!status)
		status = kveil_registry_kafka_heal_root(r, err);
	die_at("evict-root-again");
	return status ? status : withdraw_older(r, err);
}

enum kveil_status kveil_registry_kafka_evict(struct kveil_registry *base, const struct kveil_registry_root *root,
					     struct kveil_registry_secret *next, struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);
	bool ours = !status && kveil_registry_root_follows(root, base->secret);

	if (ours)
		status = put_first(r, root, next, err);
	die_at("evict-root");
	/* Two that do so at one moment: the first counts. */
	if (!status)
		status = kveil_registry_kafka_read_log(r, err);
	if (!status && (!ours || !kveil_secret_eq(base->secret->commitment, next->commitment, sizeof next->commitment)))
		status = kveil_registry_overtaken(err);
	if (!status)
		status = sign_anew(r, err);
	/* It was read back, and is known as the driver's own. */
	if (!status)
		kveil_registry_secret_free(next);
	return status;
}
