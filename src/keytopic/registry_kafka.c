/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry `kafka:TOPIC`: one partition, compacted, shared by the whole group. A writer appends and reads back to
 * its own message; the order of the partition decides (registry/registry_log.h).
 */
#include "keytopic/registry_kafka.h"

#include "base/clock.h"
#include "base/secret.h"
#include "keytopic/registry_kafka_internal.h"
#include "registry/registry_log.h"

enum { PROOF_MS = 30000, POLICY_MS = 15000 };

static enum kveil_status copied(struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
		   "the key registry's topic is a copy: its leases were given at higher offsets elsewhere");
	kveil_error_hint(err, "`kveil keys backup FILE` where it came from, and `kveil keys restore FILE` here");
	return KVEIL_E_REGISTRY_ROLLED_BACK;
}

static enum kveil_status kafka_open(const struct kveil_registry_env *env, const char *where,
				    struct kveil_registry **ret, struct kveil_error *err)
{
	struct kafka_registry *r;
	struct finding f = {0};
	enum kveil_status status = kveil_registry_kafka_connect(env, where, &r, err);

	if (status)
		return status;
	r->base.driver = &kveil_registry_kafka;
	status = kveil_registry_topic_check(r->topic, err);
	if (!status)
		status = kveil_registry_kafka_find_root(r, env, &f, err);
	if (!status && !r->log.has_root && f.refused.status) {
		status = f.refused.status;
		if (err)
			*err = f.refused;
	} else if (!status && !r->log.has_root) {
		status = kveil_fail(err, KVEIL_E_REGISTRY_MISSING, "the topic %s holds no key registry", where);
		kveil_error_hint(
		    err, "%s",
		    env->least_number
			? "keys.registry_id has a number: what is from before a KEK was evicted counts for nothing"
			: "`kveil keys init` creates one, `kveil keys restore BACKUP` restores one");
	}
	if (status) {
		kveil_registry_kafka_close(&r->base);
		return status;
	}
	kveil_registry_log_forget_candidates(&r->log);
	r->policy_due_ms = kveil_clock_mono_ms() + POLICY_MS;
	*ret = &r->base;
	return KVEIL_OK;
}

/* What somebody overwrote, for compaction keeps only what was written last. */
static enum kveil_status heal_events(struct kafka_registry *r, struct kveil_error *err)
{
	const struct kveil_registry_event *e;
	enum kveil_status status = KVEIL_OK;

	for (int i = 0; !status && i < 256 && (e = kveil_registry_log_damaged_event(&r->log)); i++) {
		status = kveil_registry_kafka_put_event(r, e, err);
		if (!status)
			status = kveil_registry_kafka_read_log(r, err);
	}
	return status;
}

struct looking {
	const struct kveil_registry_log *log;
	bool found;
};

static enum kveil_status look(void *user, int64_t offset, struct kveil_span label, struct kveil_span value,
			      struct kveil_error *err)
{
	struct looking *l = user;

	(void)err;
	l->found = offset == l->log->root_offset && kveil_registry_log_is_root(l->log, label, value);
	return KVEIL_OK;
}

/* A topic that was made anew and has grown past what was read from the old one looks like the old one, but for its
 * root. */
static enum kveil_status prove_same(struct kafka_registry *r, struct kveil_error *err)
{
	struct looking l = {&r->log, false};
	int64_t now = kveil_clock_mono_ms();
	enum kveil_status status = KVEIL_OK;

	if (kveil_registry_topic_was_away(r->topic))
		r->proof_due_ms = now;
	if (now < r->proof_due_ms)
		return KVEIL_OK;
	/* Between reading and looking somebody may have written it again, and compaction taken it away. */
	for (int i = 0; !status && !l.found && i < 3; i++) {
		status = kveil_registry_kafka_read_log(r, err);
		if (status || r->log.root_damaged)
			return status;
		status = kveil_registry_topic_peek(r->topic, r->log.root_offset, look, &l, err);
	}
	if (status)
		return status;
	if (!l.found) {
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
			   "the key registry's topic is not the one that was read before: it was deleted and "
			   "created again");
		kveil_error_hint(err, "`kveil keys restore BACKUP` restores the keys, for opening only; then restart");
		return KVEIL_E_REGISTRY_ROLLED_BACK;
	}
	r->proof_due_ms = now + PROOF_MS;
	return KVEIL_OK;
}

/* A topic that was altered under a running process loses keys with time, and what was lost is in memory alone: nothing
 * more is sealed with it. */
static enum kveil_status check_kept(struct kafka_registry *r, struct kveil_error *err)
{
	int64_t now = kveil_clock_mono_ms(), start = kveil_registry_topic_start(r->topic);
	enum kveil_status status = KVEIL_OK;

	if (start != r->start && kveil_registry_log_is_cut(&r->log, start))
		return kveil_registry_topic_lost_beginning(err);
	r->start = start;
	if (now < r->policy_due_ms)
		return KVEIL_OK;
	status = kveil_registry_topic_check(r->topic, err);
	if (!status)
		r->policy_due_ms = now + POLICY_MS;
	return status;
}

static enum kveil_status kafka_read(struct kveil_registry *base, kveil_registry_read_fn *fn, void *user,
				    struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);

	if (!status)
		status = check_kept(r, err);
	if (!status)
		status = prove_same(r, err);
	if (!status && r->log.rolled_back)
		status = copied(err);
	if (!status && r->log.root_damaged && kveil_clock_mono_ms() >= r->log.root_due_ms)
		status = kveil_registry_kafka_heal_root(r, err);
	if (!status)
		status = heal_events(r, err);
	return status ? status : kveil_registry_log_hand_over(&r->log, fn, user, err);
}

static size_t kafka_damaged(struct kveil_registry *base, bool at_once, uint32_t *ids, size_t max)
{
	return kveil_registry_log_damaged(&((struct kafka_registry *)base)->log, at_once, ids, max);
}

static bool has_keys(const struct kveil_registry_root *root, const struct kveil_registry_root *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		const struct kveil_registry_root_key *should = &keys->keys[i];
		const struct kveil_registry_root_key *is = kveil_registry_root_find(root, should->kek);
		if (!is || !kveil_span_eq(kveil_span_of(is->wrapped, is->wrapped_len),
					  kveil_span_of(should->wrapped, should->wrapped_len)))
			return false;
	}
	return true;
}

/* Two that add keys at the same moment would each leave the other's out: whoever sees its own missing adds it again. */
static enum kveil_status kafka_add_root_keys(struct kveil_registry *base, const struct kveil_registry_root *keys,
					     struct kveil_error *err)
{
	enum { ATTEMPTS = 10 };
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);

	for (int i = 0; !status && i < ATTEMPTS && !has_keys(&r->log.root.keys, keys); i++) {
		struct kveil_registry_epoch_root root;
		if (keys->number != r->log.root.keys.number)
			return kveil_registry_overtaken(err);
		if (!kveil_registry_epoch_root_copy(&root, &r->log.root))
			return kveil_no_memory(err, "the key registry");
		root.sequence += root.sequence < UINT32_MAX;
		if (!kveil_registry_root_add_all(&root.keys, keys))
			status = kveil_no_memory(err, "the key registry");
		if (!status)
			status = kveil_registry_kafka_put_root(r, &root, r->base.secret, err);
		if (!status)
			status = kveil_registry_kafka_read_log(r, err);
		kveil_registry_epoch_root_clear(&root);
	}
	if (!status && !has_keys(&r->log.root.keys, keys))
		status = kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "others keep writing the key registry's root");
	return status;
}

static enum kveil_status kafka_lease(struct kveil_registry *base, uint32_t *ret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf value = KVEIL_BUF_INIT;
	struct kafka_registry *r = (struct kafka_registry *)base;
	int64_t after = kveil_registry_topic_highest(r->topic);
	struct kveil_registry_lease l = {.after = after};

	memcpy(l.epoch, r->log.root.epoch, sizeof l.epoch);
	enum kveil_status status = kveil_registry_lease_write(&l, r->base.secret, &value, err);
	struct kveil_registry_message m = {KVEIL_SPAN(KVEIL_LEASE_LABEL), kveil_buf_span(&value), -1};
	if (!status)
		status = kveil_registry_topic_append(r->topic, &m, 1, err);
	if (status)
		return status;
	if (m.offset <= after)
		return copied(err);
	/* The number counts for nothing in another log than the one whose keys are sealed with. */
	r->proof_due_ms = 0;
	status = prove_same(r, err);
	if (status)
		return status;
	if (m.offset > UINT32_MAX)
		return kveil_fail(err, KVEIL_E_NO_LEASE, "this registry has given all of its 4,294,967,295 leases");
	*ret = (uint32_t)m.offset;
	return KVEIL_OK;
}

static enum kveil_status kafka_record(struct kveil_registry *base, const struct kveil_event *events, size_t count,
				      struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);

	for (size_t i = 0; !status && i < count; i++) {
		struct kveil_registry_event e = {0};
		status = kveil_registry_event_write(&r->log.events, &events[i], kveil_clock_wall_ms(), r->base.secret,
						    &e, err);
		if (!status)
			status = kveil_registry_kafka_put_event(r, &e, err);
		/* Known from now on, for the next one to name it. */
		if (!status && !kveil_registry_events_add(&r->log.events, &e))
			status = kveil_no_memory(err, "the key registry");
		kveil_registry_event_clear(&e);
	}
	return status;
}

static enum kveil_status kafka_noted(struct kveil_registry *base, struct kveil_buf *out, struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);

	if (!status && r->log.note.sequence)
		kveil_buf_append(out, r->log.note.text, r->log.note.len);
	return status ? status : kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

static enum kveil_status kafka_note(struct kveil_registry *base, struct kveil_span text, struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = kveil_registry_kafka_read_log(r, err);
	uint32_t known = r->log.note.sequence;

	return status ? status : kveil_registry_kafka_put_note(r, known + (known < UINT32_MAX), text, err);
}

static enum kveil_status kafka_create(const struct kveil_registry_env *env, const char *where,
				      const struct kveil_registry_root *root,
				      const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	struct kafka_registry *r;
	struct finding f = {0};
	enum kveil_status status = kveil_registry_kafka_connect(env, where, &r, err);

	if (status)
		return status;
	status = kveil_registry_topic_make(r->topic, err);
	if (!status)
		status = kveil_registry_kafka_find_root(r, env, &f, err);
	if (!status && f.any && !r->log.has_root) {
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS,
				    "the topic %s contains messages but no key registry that opens here", where);
		kveil_error_hint(err, "name another topic, or `kveil keys restore BACKUP` if this was one");
	}
	if (!status && !r->log.has_root) {
		status = kveil_registry_kafka_put_first_root(r, root, secret, err);
		/* Two that make a registry at the same moment: the first root counts, whoever wrote it. */
		if (!status)
			status = kveil_registry_kafka_find_root(r, env, &f, err);
	}
	if (!status && (!r->log.has_root || !kveil_secret_eq(r->log.root.keys.id, root->id, sizeof root->id)))
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS, "there is a key registry in the topic %s already", where);
	kveil_registry_kafka_close(&r->base);
	return status;
}

static enum kveil_status kafka_clock_ahead(struct kveil_registry *base, int64_t *ret_ms, struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = KVEIL_OK;
	uint32_t lease;
	int64_t now;

	*ret_ms = 0;
	/* A lease that nobody uses is the least that can be written. */
	if (!kveil_registry_topic_clock(r->topic, &now))
		status = kafka_lease(base, &lease, err);
	if (!status && kveil_registry_topic_clock(r->topic, &now))
		*ret_ms = kveil_clock_wall_ms() - now;
	return status;
}

static unsigned kafka_copies(const struct kveil_registry *base)
{
	return (unsigned)kveil_registry_topic_copies(((const struct kafka_registry *)base)->topic);
}

const struct kveil_registry_driver kveil_registry_kafka = {
    .scheme = "kafka",
    .help = "kafka:TOPIC, a compacted topic that the whole group shares",
    .forgiving = true,
    .create = kafka_create,
    .open = kafka_open,
    .close = kveil_registry_kafka_close,
    .read = kafka_read,
    .damaged = kafka_damaged,
    .append = kveil_registry_kafka_append,
    .add_root_keys = kafka_add_root_keys,
    .evict = kveil_registry_kafka_evict,
    .snapshot = kveil_registry_kafka_snapshot,
    .lease = kafka_lease,
    .record = kafka_record,
    .clock_ahead = kafka_clock_ahead,
    .copies = kafka_copies,
    .noted = kafka_noted,
    .note = kafka_note,
    .restore = kveil_registry_kafka_restore,
};
