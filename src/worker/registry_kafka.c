/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry `kafka:TOPIC`: one partition, compacted, shared by the whole group. A writer appends and reads back to
 * its own message; the order of the partition decides (keys/registry_log.h).
 */
#include "worker/registry_kafka.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "keys/registry_log.h"
#include "worker/registry_topic.h"

#include <stdlib.h>

struct kafka_registry {
	struct kveil_registry base;
	struct kveil_registry_topic *topic;
	struct kveil_registry_log log;
	int64_t proof_due_ms; /* monotonic: when to look next whether this is still the same log */
};

enum { PROOF_MS = 30000 };

static enum kveil_status no_memory(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for the key registry");
}

static void kafka_close(struct kveil_registry *base)
{
	struct kafka_registry *r = (struct kafka_registry *)base;

	if (!r)
		return;
	kveil_registry_topic_free(r->topic);
	kveil_registry_log_clear(&r->log);
	kveil_secret_free(r->base.secret);
	free(r);
}

static enum kveil_status connect_to(const struct kveil_registry_env *env, const char *where,
				    struct kafka_registry **ret, struct kveil_error *err)
{
	if (!env->options)
		return kveil_fail(err, KVEIL_E_CONFIG, "a key registry in Kafka needs `kafka:` in the configuration");
	struct kafka_registry *r = calloc(1, sizeof *r);
	if (!r)
		return no_memory(err);
	r->base.driver = &kveil_registry_kafka;
	kveil_registry_log_init(&r->log, &r->base);
	enum kveil_status status = kveil_registry_topic_new(env->options, where, &r->topic, err);
	if (status) {
		kafka_close(&r->base);
		return status;
	}
	*ret = r;
	return KVEIL_OK;
}

/* --- reading --- */

struct finding {
	struct kveil_registry_log *log;
	const struct kveil_registry_env *env;
	struct kveil_error refused;
	bool any; /* message at all */
};

static enum kveil_status offer(void *user, int64_t offset, struct kveil_span label, struct kveil_span value,
			       struct kveil_error *err)
{
	struct finding *f = user;

	(void)offset;
	f->any = true;
	return kveil_registry_log_offer(f->log, f->env, label, value, &f->refused, err);
}

/* Reads the whole log for its root; the next read begins with the first message again. *ret_any: there was something.
 * Fine without a root too: log.has_root tells. */
static enum kveil_status find_root(struct kafka_registry *r, const struct kveil_registry_env *env, struct finding *f,
				   struct kveil_error *err)
{
	*f = (struct finding){.log = &r->log, .env = env};
	enum kveil_status status = kveil_registry_topic_rewind(r->topic, err);

	if (!status)
		status = kveil_registry_topic_read(r->topic, offer, f, err);
	if (!status)
		status = kveil_registry_topic_rewind(r->topic, err);
	return status;
}

static enum kveil_status take(void *user, int64_t offset, struct kveil_span label, struct kveil_span value,
			      struct kveil_error *err)
{
	return kveil_registry_log_take(user, offset, label, value, err);
}

static enum kveil_status read_log(struct kafka_registry *r, struct kveil_error *err)
{
	return kveil_registry_topic_read(r->topic, take, &r->log, err);
}

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
	enum kveil_status status = connect_to(env, where, &r, err);

	if (status)
		return status;
	status = kveil_registry_topic_check(r->topic, err);
	if (!status)
		status = find_root(r, env, &f, err);
	if (!status && !r->log.has_root && f.refused.status) {
		status = f.refused.status;
		if (err)
			*err = f.refused;
	} else if (!status && !r->log.has_root) {
		status = kveil_fail(err, KVEIL_E_REGISTRY_MISSING, "the topic %s holds no key registry", where);
		kveil_error_hint(err, "`kveil keys init` makes one, `kveil keys restore BACKUP` brings one back");
	}
	if (status) {
		kafka_close(&r->base);
		return status;
	}
	*ret = &r->base;
	return KVEIL_OK;
}

/* --- writing --- */

static enum kveil_status put_root(struct kafka_registry *r, struct kveil_registry_epoch_root *root,
				  const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf value = KVEIL_BUF_INIT;
	char label[KVEIL_ROOT_LABEL_MAX];
	enum kveil_status status = kveil_registry_root_write(root, secret, &value, err);

	if (status)
		return status;
	kveil_registry_root_label(&root->keys, label);
	struct kveil_registry_message m = {kveil_span_str(label), kveil_buf_span(&value), 0};
	return kveil_registry_topic_append(r->topic, &m, 1, err);
}

/* Writes the root that is known again, so that it is the last one. */
static enum kveil_status heal_root(struct kafka_registry *r, struct kveil_error *err)
{
	struct kveil_registry_epoch_root again;

	if (!kveil_registry_epoch_root_copy(&again, &r->log.root))
		return no_memory(err);
	again.sequence += again.sequence < UINT32_MAX;
	enum kveil_status status = put_root(r, &again, r->base.secret, err);
	kveil_registry_epoch_root_clear(&again);
	return status ? status : read_log(r, err);
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
		status = read_log(r, err);
		if (status || r->log.root_damaged)
			return status;
		status = kveil_registry_topic_peek(r->topic, r->log.root_offset, look, &l, err);
	}
	if (status)
		return status;
	if (!l.found) {
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
			   "the key registry's topic is not the one that was read before: it was made anew");
		kveil_error_hint(err,
				 "`kveil keys restore BACKUP` brings the keys back, opening only; then start again");
		return KVEIL_E_REGISTRY_ROLLED_BACK;
	}
	r->proof_due_ms = now + PROOF_MS;
	return KVEIL_OK;
}

static enum kveil_status kafka_read(struct kveil_registry *base, kveil_registry_read_fn *fn, void *user,
				    struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	enum kveil_status status = read_log(r, err);

	if (!status)
		status = prove_same(r, err);
	if (!status && r->log.rolled_back)
		status = copied(err);
	if (!status && r->log.root_damaged && kveil_clock_mono_ms() >= r->log.root_due_ms)
		status = heal_root(r, err);
	return status ? status : kveil_registry_log_hand_over(&r->log, fn, user, err);
}

static size_t kafka_damaged(struct kveil_registry *base, bool at_once, uint32_t *ids, size_t max)
{
	return kveil_registry_log_damaged(&((struct kafka_registry *)base)->log, at_once, ids, max);
}

struct writing {
	struct kveil_registry_message *messages;
	struct kveil_buf *values;
	char (*labels)[KVEIL_RECORD_LABEL_MAX];
};

static void add_message(struct writing *w, size_t n, const struct kveil_buf *value)
{
	w->messages[n].label = kveil_span_str(w->labels[n]);
	w->messages[n].value = kveil_buf_span(value);
}

static enum kveil_status kafka_append(struct kveil_registry *base, const struct kveil_key_record *records, size_t count,
				      struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	struct writing w = {calloc(2 * count + 1, sizeof *w.messages), calloc(count + 1, sizeof *w.values),
			    calloc(2 * count + 1, sizeof *w.labels)};
	enum kveil_status status = w.messages && w.values && w.labels ? KVEIL_OK : no_memory(err);
	size_t n = 0;

	for (size_t i = 0; !status && i < count; i++) {
		status = kveil_key_record_to_json(&records[i], &w.values[i], err);
		/* The end first: from then on it counts, whatever becomes of the rest. */
		if (records[i].state == KVEIL_KEY_DESTROYED) {
			kveil_registry_end_label(&records[i], w.labels[n]);
			add_message(&w, n++, &w.values[i]);
		}
		kveil_registry_record_label(&records[i], w.labels[n]);
		add_message(&w, n++, &w.values[i]);
	}
	if (!status)
		status = kveil_registry_topic_append(r->topic, w.messages, n, err);
	for (size_t i = 0; w.values && i < count; i++)
		kveil_buf_clear(&w.values[i]);
	free(w.messages);
	free(w.values);
	free(w.labels);
	return status;
}

static bool has_keys(const struct kveil_registry_root *root, const struct kveil_registry_root *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		bool found = false;
		for (size_t k = 0; k < root->count; k++)
			found |= strcmp(root->keys[k].kek, keys->keys[i].kek) == 0 &&
				 kveil_span_eq(kveil_span_of(root->keys[k].wrapped, root->keys[k].wrapped_len),
					       kveil_span_of(keys->keys[i].wrapped, keys->keys[i].wrapped_len));
		if (!found)
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
	enum kveil_status status = read_log(r, err);

	for (int i = 0; !status && i < ATTEMPTS && !has_keys(&r->log.root.keys, keys); i++) {
		struct kveil_registry_epoch_root root;
		if (!kveil_registry_epoch_root_copy(&root, &r->log.root))
			return no_memory(err);
		root.sequence += root.sequence < UINT32_MAX;
		for (size_t k = 0; !status && k < keys->count; k++) {
			struct kveil_span wrapped = kveil_span_of(keys->keys[k].wrapped, keys->keys[k].wrapped_len);
			if (!kveil_registry_root_add(&root.keys, keys->keys[k].kek, wrapped))
				status = no_memory(err);
		}
		if (!status)
			status = put_root(r, &root, r->base.secret, err);
		if (!status)
			status = read_log(r, err);
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

static enum kveil_status draw_epoch(struct kveil_registry_epoch_root *root, struct kveil_error *err)
{
	return kveil_crypto_random(root->epoch, sizeof root->epoch, err);
}

static bool take_keys(struct kveil_registry_root *to, const struct kveil_registry_root *from)
{
	memcpy(to->id, from->id, sizeof to->id);
	for (size_t i = 0; i < from->count; i++)
		if (!kveil_registry_root_add(to, from->keys[i].kek,
					     kveil_span_of(from->keys[i].wrapped, from->keys[i].wrapped_len)))
			return false;
	return true;
}

/* The first root of a registry. */
static enum kveil_status put_first_root(struct kafka_registry *r, const struct kveil_registry_root *keys,
					const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	struct kveil_registry_epoch_root root = {.sequence = 1};
	enum kveil_status status = take_keys(&root.keys, keys) ? draw_epoch(&root, err) : no_memory(err);

	if (!status)
		status = put_root(r, &root, secret, err);
	kveil_registry_epoch_root_clear(&root);
	return status;
}

static enum kveil_status check_or_make(struct kafka_registry *r, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_topic_check(r->topic, err);
	return status == KVEIL_E_REGISTRY_MISSING ? kveil_registry_topic_make(r->topic, err) : status;
}

static enum kveil_status kafka_create(const struct kveil_registry_env *env, const char *where,
				      const struct kveil_registry_root *root,
				      const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	struct kafka_registry *r;
	struct finding f = {0};
	enum kveil_status status = connect_to(env, where, &r, err);

	if (status)
		return status;
	status = check_or_make(r, err);
	if (!status)
		status = find_root(r, env, &f, err);
	if (!status && f.any && !r->log.has_root) {
		status =
		    kveil_fail(err, KVEIL_E_KEY_EXISTS,
			       "the topic %s holds messages and no key registry that opens: it is somebody's", where);
		kveil_error_hint(err, "name another topic, or `kveil keys restore BACKUP` if this was one");
	}
	if (!status && !r->log.has_root) {
		status = put_first_root(r, root, secret, err);
		/* Two that make a registry at the same moment: the first root counts, whoever wrote it. */
		if (!status)
			status = find_root(r, env, &f, err);
	}
	if (!status && (!r->log.has_root || !kveil_secret_eq(r->log.root.keys.id, root->id, sizeof root->id)))
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS, "there is a key registry in the topic %s already", where);
	kafka_close(&r->base);
	return status;
}

/* --- backup and restore --- */

static enum kveil_status add_to(void *document, const struct kveil_key_record *record, struct kveil_error *err)
{
	return kveil_document_add(document, record) ? KVEIL_OK : no_memory(err);
}

/* Everything that the log holds, read from its beginning by somebody who knows nothing of it yet. */
static enum kveil_status read_whole(struct kafka_registry *r, struct kveil_registry_log *log,
				    struct kveil_document *ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_topic_rewind(r->topic, err);

	if (!status)
		status = kveil_registry_topic_read(r->topic, take, log, err);
	return status ? status : kveil_registry_log_hand_over(log, add_to, ret, err);
}

static enum kveil_status kafka_snapshot(struct kveil_registry *base, struct kveil_document *ret,
					struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	/* What is ignored was counted when it was read the first time. */
	struct kveil_registry silent = {.driver = base->driver, .secret = base->secret};
	struct kveil_document d = {0};
	struct kveil_registry_log log;

	int64_t position = kveil_registry_topic_position(r->topic);
	kveil_registry_log_init(&log, &silent);
	enum kveil_status status = kveil_registry_epoch_root_copy(&log.root, &r->log.root) ? KVEIL_OK : no_memory(err);
	if (!status)
		status = read_whole(r, &log, &d, err);
	/* What came meanwhile is new to the log that goes on. */
	kveil_registry_topic_seek(r->topic, position);
	if (!status && !take_keys(&d.root, &log.root.keys))
		status = no_memory(err);
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
			return no_memory(err);
	return KVEIL_OK;
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
		status = kafka_append(&r->base, d->records + begin, end - begin, err);
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
		status = kveil_registry_epoch_root_copy(&root, &r->log.root) ? draw_epoch(&root, err) : no_memory(err);
	root.sequence += root.sequence < UINT32_MAX;
	if (!status)
		status = put_root(r, &root, secret, err);
	kveil_registry_epoch_root_clear(&root);
	return status;
}

static enum kveil_status restore(struct kafka_registry *r, const struct kveil_registry_env *env, const char *where,
				 const struct kveil_document *backup, const struct kveil_registry_secret *secret,
				 struct kveil_error *err)
{
	struct kveil_document from = {0}, there = {0};
	struct finding f;

	enum kveil_status status = find_root(r, env, &f, err);
	if (!status && r->log.has_root && !kveil_secret_eq(r->log.root.keys.id, secret->id, sizeof secret->id)) {
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS,
				    "the backup is of another registry than the one in the topic %s", where);
		kveil_error_hint(err,
				 "restore it elsewhere; `kveil keys export` and `import` carry single keys across");
	}
	if (!status)
		status = copy_records(backup, &from, err);
	if (!status)
		status = kveil_document_demote(&from, secret, kveil_clock_wall_ms(), err);
	if (!status && !r->log.has_root) {
		status = put_first_root(r, &backup->root, secret, err);
		if (!status)
			status = find_root(r, NULL, &f, err);
	}
	/* What is there goes on, what the backup has more comes in. */
	if (!status)
		status = read_whole(r, &r->log, &there, err);
	if (!status && r->log.rolled_back)
		status = begin_anew(r, &there, secret, err);
	if (!status)
		status = put_records(r, &from, false, err);
	kveil_document_clear(&from);
	kveil_document_clear(&there);
	return status;
}

static enum kveil_status kafka_restore(const struct kveil_registry_env *env, const char *where,
				       const struct kveil_document *backup, const struct kveil_registry_secret *secret,
				       struct kveil_error *err)
{
	struct kafka_registry *r;
	enum kveil_status status = connect_to(env, where, &r, err);

	if (status)
		return status;
	r->base.secret = kveil_secret_alloc(sizeof *secret);
	if (r->base.secret)
		memcpy(r->base.secret, secret, sizeof *secret);
	else
		status = no_memory(err);
	if (!status)
		status = check_or_make(r, err);
	if (!status)
		status = restore(r, env, where, backup, secret, err);
	kafka_close(&r->base);
	return status;
}

const struct kveil_registry_driver kveil_registry_kafka = {
    .scheme = "kafka",
    .help = "kafka:TOPIC, a compacted topic that the whole group shares",
    .forgiving = true,
    .create = kafka_create,
    .open = kafka_open,
    .close = kafka_close,
    .read = kafka_read,
    .damaged = kafka_damaged,
    .append = kafka_append,
    .add_root_keys = kafka_add_root_keys,
    .snapshot = kafka_snapshot,
    .lease = kafka_lease,
    .restore = kafka_restore,
};
