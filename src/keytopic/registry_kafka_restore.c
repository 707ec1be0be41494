/* SPDX-License-Identifier: Apache-2.0 */
/* Backup and restore of a registry in a topic. */
#include "keytopic/registry_kafka_internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "registry/document.h"
#include "registry/registry_restore.h"

#include <stdlib.h>

static enum kveil_status add_to(void *document, const struct kveil_key_record *record, struct kveil_error *err)
{
	return kveil_document_add(document, record) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

/* Everything that the log holds, read from its beginning by somebody who knows nothing of it yet. */
static enum kveil_status kveil_registry_kafka_read_whole(struct kafka_registry *r, struct kveil_registry_log *log,
							 struct kveil_document *ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_topic_rewind(r->topic, err);

	if (!status)
		status = kveil_registry_topic_read(r->topic, kveil_registry_kafka_take, log, err);
	return status ? status : kveil_registry_log_hand_over(log, add_to, ret, err);
}

enum kveil_status kveil_registry_kafka_snapshot(struct kveil_registry *base, struct kveil_document *ret,
						struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	/* What is ignored was counted when it was read the first time. */
	struct kveil_registry silent = {.driver = base->driver, .secret = base->secret};
	struct kveil_document d = {0};
	struct kveil_registry_log log;

	/* Under the secret that is known now: one that comes meanwhile is for the next reading. */
	int64_t position = kveil_registry_topic_position(r->topic);
	kveil_registry_log_init(&log, &silent);
	enum kveil_status status = kveil_registry_epoch_root_copy(&log.root, &r->log.root)
				       ? KVEIL_OK
				       : kveil_no_memory(err, "the key registry");
	if (!status)
		status = kveil_registry_kafka_read_whole(r, &log, &d, err);
	/* What came meanwhile is new to the log that goes on. */
	kveil_registry_topic_seek(r->topic, position);
	if (!status && (!kveil_registry_root_copy(&d.root, &log.root.keys) ||
			!kveil_registry_events_add_all(&d.events, &log.events)))
		status = kveil_no_memory(err, "the key registry");
	if (!status)
		status = kveil_document_sign_anew(&d, base->secret, err);
	d.generation = (uint64_t)kveil_registry_topic_highest(r->topic) + 1;
	d.lease = log.lease > 0 && log.lease <= UINT32_MAX ? (uint32_t)log.lease : 0;
	kveil_registry_log_clear(&log);
	if (status) {
		kveil_document_clear(&d);
		return status;
	}
	*ret = d;
	return KVEIL_OK;
}

static enum kveil_status copy_records(const struct kveil_document *from, struct kveil_document *ret,
				      struct kveil_error *err)
{
	for (size_t i = 0; i < from->count; i++)
		if (!kveil_document_add(ret, &from->records[i]))
			return kveil_no_memory(err, "the key registry");
	return kveil_registry_events_add_all(&ret->events, &from->events) ? KVEIL_OK
									  : kveil_no_memory(err, "the key registry");
}

/* Appends those that the log does not have; all: the others too. */
static enum kveil_status put_records(struct kafka_registry *r, const struct kveil_document *d, bool all,
				     struct kveil_error *err)
{
	enum { AT_ONCE = 256 };
	enum kveil_status status = KVEIL_OK;
	size_t begin = 0;

	while (!status && begin < d->count) {
		if (!all && kveil_registry_log_knows(&r->log, d->records[begin].id)) {
			begin++;
			continue;
		}
		size_t end = begin + 1;
		while (end < d->count && end - begin < AT_ONCE &&
		       (all || !kveil_registry_log_knows(&r->log, d->records[end].id)))
			end++;
		status = kveil_registry_kafka_append(&r->base, d->records + begin, end - begin, err);
		begin = end;
	}
	return status;
}

/* The log is a copy: what it holds opens on, and leases begin a new life. The root comes last, for until then the log
 * says that it was rolled back. */
static enum kveil_status begin_anew(struct kafka_registry *r, struct kveil_document *there,
				    const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	struct kveil_registry_epoch_root root = {0};
	enum kveil_status status = kveil_document_demote(there, secret, kveil_clock_wall_ms(), err);

	if (!status)
		status = put_records(r, there, true, err);
	if (!status)
		status = kveil_registry_epoch_root_copy(&root, &r->log.root)
			     ? kveil_registry_kafka_draw_epoch(&root, err)
			     : kveil_no_memory(err, "the key registry");
	root.sequence += root.sequence < UINT32_MAX;
	if (!status)
		status = kveil_registry_kafka_put_root(r, &root, secret, err);
	kveil_registry_epoch_root_clear(&root);
	return status;
}

/* Roots that no KEK here opens keep those who start from the true one: null in their place says that they are nobody's.
 */
static enum kveil_status disown_false_roots(struct kafka_registry *r, const struct kveil_registry_env *env,
					    struct kveil_error *err)
{
	char label[KVEIL_ROOT_LABEL_MAX];
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < r->log.candidate_count; i++) {
		const struct kveil_registry_candidate *c = &r->log.candidates[i];
		struct kveil_registry_secret *secret = NULL;
		struct kveil_error why;
		/* One of this registry that does not open is under KEKs which this configuration does not have. */
		bool is_false = !c->withdrawn &&
				!kveil_secret_eq(c->root.keys.id, r->base.secret->id, sizeof c->root.keys.id) &&
				kveil_status_class(kveil_registry_root_open(&c->root.keys, env->keks, env->kek_count,
									    &secret, &why)) == KVEIL_CLASS_CONFIG;
		kveil_secret_free(secret);
		if (!is_false)
			continue;
		kveil_registry_root_label(&c->root.keys, label);
		struct kveil_registry_message m = {kveil_span_str(label), KVEIL_SPAN_NULL, 0};
		status = kveil_registry_topic_append(r->topic, &m, 1, err);
	}
	return status;
}

/* A KEK was evicted since the backup was made, and no KEK of this configuration opens the secret that came after. */
static bool is_beyond(const struct kafka_registry *r, const struct kveil_registry_secret *secret)
{
	bool ret = false;

	for (size_t i = 0; !r->log.has_root && i < r->log.candidate_count; i++) {
		const struct kveil_registry_root *root = &r->log.candidates[i].root.keys;
		ret |= root->number > secret->number && kveil_secret_eq(root->id, secret->id, sizeof root->id);
	}
	return ret;
}

static enum kveil_status check_same(const struct kafka_registry *r, const struct kveil_registry_secret *secret,
				    const char *where, struct kveil_error *err)
{
	if (is_beyond(r, secret)) {
		kveil_fail(err, KVEIL_E_WRONG_KEK,
			   "the key registry in the topic %s has a later secret than the backup, and no KEK of this "
			   "configuration opens it",
			   where);
		kveil_error_hint(err, "give this configuration a KEK under which the registry's secret is now");
		return KVEIL_E_WRONG_KEK;
	}
	if (!r->log.has_root || kveil_secret_eq(r->log.root.keys.id, secret->id, sizeof secret->id))
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_KEY_EXISTS, "the backup is of another registry than the one in the topic %s", where);
	kveil_error_hint(err, "restore it elsewhere; `kveil keys export` and `import` carry single keys across");
	return KVEIL_E_KEY_EXISTS;
}

/* A first writing, which takes nobody's number. */
static enum kveil_status begin_again(struct kveil_document *d, const struct kveil_registry_secret *secret,
				     struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < d->count; i++) {
		d->records[i].sequence = 1;
		status = kveil_key_record_sign(&d->records[i], secret, err);
	}
	return status;
}

static enum kveil_status settle(struct kafka_registry *r, struct kveil_document *from, const struct kveil_document *at,
				const struct kveil_registry_secret *secret, struct kveil_restoring *how,
				struct kveil_error *err)
{
	const struct kveil_restore_there there = {.records = at,
						  .events = &r->log.events,
						  .is_whole = at && at->count && !r->log.rolled_back,
						  .keeps_records = !r->log.rolled_back};

	return kveil_restore_settle(from, &from->events, &there, secret, how, err);
}

/* What there is of one that is a copy, and what the backup knows better or has more. */
static enum kveil_status merge(struct kveil_document *there, const struct kveil_document *from,
			       struct kveil_restoring *how, struct kveil_error *err)
{
	size_t before = kveil_document_versions(there);
	bool changed;
	enum kveil_status status = kveil_document_merge(there, from->records, from->count, &changed, err);

	how->added += kveil_document_versions(there) - before;
	return status;
}

/* What is there goes on, what the backup has more comes in. */
static enum kveil_status add(struct kafka_registry *r, struct kveil_document *from,
			     const struct kveil_registry_secret *secret, struct kveil_restoring *how,
			     struct kveil_error *err)
{
	struct kveil_document there = {0};
	enum kveil_status status = kveil_registry_kafka_read_whole(r, &r->log, &there, err);

	if (!status)
		status = settle(r, from, &there, secret, how, err);
	if (!status && r->log.rolled_back)
		status = merge(&there, from, how, err);
	size_t merged = how->added;
	if (!status)
		status = kveil_document_sort_out(from, &there, how, err);
	how->skipped -= merged;
	/* First what withholds versions: those who run read them one after the other. */
	if (!status && !how->dry_run)
		status = kveil_registry_kafka_put_events(r, &from->events, err);
	if (!status && !how->dry_run && r->log.rolled_back)
		status = begin_anew(r, &there, secret, err);
	else if (!status && there.count)
		status = begin_again(from, secret, err);
	if (!status && !how->dry_run)
		status = put_records(r, from, false, err);
	kveil_document_clear(&there);
	return status;
}

/* Into nothing, to see what would come in. */
static enum kveil_status look(struct kafka_registry *r, struct kveil_document *from,
			      const struct kveil_registry_secret *secret, struct kveil_restoring *how,
			      struct kveil_error *err)
{
	const struct kveil_document nothing = {0};
	enum kveil_status status = settle(r, from, NULL, secret, how, err);

	return status ? status : kveil_document_sort_out(from, &nothing, how, err);
}

static enum kveil_status restore(struct kafka_registry *r, const struct kveil_registry_env *env, const char *where,
				 const struct kveil_document *backup, const struct kveil_registry_secret *secret,
				 struct kveil_restoring *how, struct kveil_error *err)
{
	struct kveil_document from = {0};
	struct finding f;

	enum kveil_status status = kveil_registry_kafka_find_root(r, env, &f, err);
	if (!status)
		status = check_same(r, secret, where, err);
	if (!status && !how->dry_run)
		status = disown_false_roots(r, env, err);
	if (!status)
		status = copy_records(backup, &from, err);
	if (!status)
		status = kveil_document_demote(&from, r->base.secret, kveil_clock_wall_ms(), err);
	if (!status && !how->dry_run && !r->log.has_root) {
		status = kveil_registry_kafka_put_first_root(r, &backup->root, secret, err);
		if (!status)
			status = kveil_registry_kafka_find_root(r, NULL, &f, err);
	}
	if (!status && r->log.has_root)
		status = add(r, &from, r->base.secret, how, err);
	else if (!status)
		status = look(r, &from, secret, how, err);
	kveil_document_clear(&from);
	return status;
}

enum kveil_status kveil_registry_kafka_restore(const struct kveil_registry_env *env, const char *where,
					       const struct kveil_document *backup,
					       const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					       struct kveil_error *err)
{
	struct kafka_registry *r;
	enum kveil_status status = kveil_registry_kafka_connect(env, where, &r, err);

	if (status)
		return status;
	r->base.secret = kveil_secret_alloc(sizeof *secret);
	if (r->base.secret)
		*r->base.secret = *secret;
	else
		status = kveil_no_memory(err, "the key registry");
	if (!status)
		status =
		    how->dry_run ? kveil_registry_topic_check(r->topic, err) : kveil_registry_topic_make(r->topic, err);
	if (status == KVEIL_E_REGISTRY_MISSING && how->dry_run) {
		struct kveil_document from = {0};
		status = copy_records(backup, &from, err);
		if (!status)
			status = look(r, &from, secret, how, err);
		kveil_document_clear(&from);
	} else if (!status) {
		status = restore(r, env, where, backup, secret, how, err);
	}
	kveil_registry_kafka_close(&r->base);
	return status;
}
