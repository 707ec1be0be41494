/* SPDX-License-Identifier: Apache-2.0 */
/* The topic of a registry as a log: what is read from it and written to it, for the driver and its commands. */
#include "keytopic/registry_kafka_internal.h"

#include "base/failpoint.h"
#include "crypto/crypto.h"

#include <signal.h>
#include <stdlib.h>

void kveil_registry_kafka_close(struct kveil_registry *base)
{
	struct kafka_registry *r = (struct kafka_registry *)base;

	if (!r)
		return;
	kveil_registry_topic_free(r->topic);
	kveil_registry_log_clear(&r->log);
	kveil_document_clear(&r->sent);
	kveil_registry_secret_free(r->base.secret);
	free(r);
}

enum kveil_status kveil_registry_kafka_connect(const struct kveil_registry_env *env, const char *where,
					       struct kafka_registry **ret, struct kveil_error *err)
{
	if (!env->options)
		return kveil_fail(err, KVEIL_E_CONFIG, "a key registry in Kafka needs `kafka:` in the configuration");
	struct kafka_registry *r = calloc(1, sizeof *r);
	if (!r)
		return kveil_no_memory(err, "the key registry");
	r->base.root = &r->log.root.keys;
	r->base.events = &r->log.events;
	r->base.keks = env->keks;
	r->base.kek_count = env->kek_count;
	kveil_registry_log_init(&r->log, &r->base);
	enum kveil_status status = kveil_registry_topic_new(env->options, where, &r->topic, err);
	if (status) {
		kveil_registry_kafka_close(&r->base);
		return status;
	}
	*ret = r;
	return KVEIL_OK;
}

/* --- reading --- */

static enum kveil_status offer(void *user, int64_t offset, struct kveil_span label, struct kveil_span value,
			       struct kveil_error *err)
{
	struct finding *f = user;

	(void)offset;
	f->any = true;
	return kveil_registry_log_offer(f->log, f->env, label, value, err);
}

enum kveil_status kveil_registry_kafka_find_root(struct kafka_registry *r, const struct kveil_registry_env *env,
						 struct finding *f, struct kveil_error *err)
{
	kveil_registry_log_forget_candidates(&r->log);
	*f = (struct finding){.log = &r->log, .env = env};
	enum kveil_status status = kveil_registry_topic_rewind(r->topic, err);

	if (!status)
		status = kveil_registry_topic_read(r->topic, offer, f, err);
	if (!status && env)
		status = kveil_registry_log_choose(&r->log, env, &f->refused, err);
	if (!status)
		status = kveil_registry_topic_rewind(r->topic, err);
	return status;
}

enum kveil_status kveil_registry_kafka_take(void *user, int64_t offset, struct kveil_span label,
					    struct kveil_span value, struct kveil_error *err)
{
	return kveil_registry_log_take(user, offset, label, value, err);
}

/* Somebody evicted a KEK just before something was appended here, which then counts for nothing: it is written again.
 * On failure the next reading does so. */
static enum kveil_status send_again(struct kafka_registry *r, struct kveil_error *err)
{
	struct kveil_document again = r->sent;

	r->sent = (struct kveil_document){0};
	enum kveil_status status = kveil_registry_kafka_append(&r->base, again.records, again.count, err);
	if (!status) {
		kveil_document_clear(&again);
		return KVEIL_OK;
	}
	kveil_document_clear(&r->sent);
	r->sent = again;
	return status;
}

enum kveil_status kveil_registry_kafka_read_log(struct kafka_registry *r, struct kveil_error *err)
{
	enum kveil_status status;
	bool again;

	do {
		const struct kveil_registry_secret *known = r->base.secret;
		status = kveil_registry_topic_read(r->topic, kveil_registry_kafka_take, &r->log, err);
		r->is_overtaken |= known != r->base.secret;
		again = !status && r->is_overtaken;
		if (again && r->sent.count)
			status = send_again(r, err);
		if (!status)
			r->is_overtaken = false;
	} while (!status && again);
	if (!status)
		kveil_document_clear(&r->sent);
	return status;
}

/* --- writing --- */

enum kveil_status kveil_registry_kafka_put_root(struct kafka_registry *r, struct kveil_registry_epoch_root *root,
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

enum kveil_status kveil_registry_kafka_heal_root(struct kafka_registry *r, struct kveil_error *err)
{
	struct kveil_registry_epoch_root again;

	if (!kveil_registry_epoch_root_copy(&again, &r->log.root))
		return kveil_no_memory(err, "the key registry");
	again.sequence += again.sequence < UINT32_MAX;
	enum kveil_status status = kveil_registry_kafka_put_root(r, &again, r->base.secret, err);
	kveil_registry_epoch_root_clear(&again);
	return status ? status : kveil_registry_kafka_read_log(r, err);
}

enum kveil_status kveil_registry_kafka_put_event(struct kafka_registry *r, const struct kveil_registry_event *e,
						 struct kveil_error *err)
{
	char label[KVEIL_EVENT_LABEL_MAX];
	struct kveil_registry_event again = {0};
	enum kveil_status status = KVEIL_OK;

	if (!kveil_registry_event_authentic(e, r->base.secret)) {
		status = kveil_registry_event_sign_anew(e, r->base.secret, &again, err);
		e = &again;
	}
	if (!status) {
		kveil_registry_event_label(e, label);
		struct kveil_registry_message m = {kveil_span_str(label), kveil_span_of(e->line, e->len), 0};
		status = kveil_registry_topic_append(r->topic, &m, 1, err);
	}
	kveil_registry_event_clear(&again);
	return status;
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

enum kveil_status kveil_registry_kafka_append(struct kveil_registry *base, const struct kveil_key_record *records,
					      size_t count, struct kveil_error *err)
{
	struct kafka_registry *r = (struct kafka_registry *)base;
	struct writing w = {calloc(2 * count + 1, sizeof *w.messages), calloc(count + 1, sizeof *w.values),
			    calloc(2 * count + 1, sizeof *w.labels)};
	enum kveil_status status =
	    w.messages && w.values && w.labels ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	size_t n = 0;

	for (size_t i = 0; !status && i < count; i++) {
		/* Signed here: since it was made, the registry may have another secret. What it points to is the
		 * caller's. */
		struct kveil_key_record again = records[i];
		status = kveil_key_record_sign(&again, r->base.secret, err);
		if (!status)
			status = kveil_key_record_to_json(&again, &w.values[i], err);
		/* The end first: from then on it counts, whatever becomes of the rest. */
		if (records[i].state == KVEIL_KEY_DESTROYED) {
			kveil_registry_end_label(&records[i], w.labels[n]);
			add_message(&w, n++, &w.values[i]);
			/* The end of a name is a record that never was anything else. */
			if (records[i].sequence == 1)
				continue;
		}
		kveil_registry_record_label(&records[i], w.labels[n]);
		add_message(&w, n++, &w.values[i]);
	}
	/* For tests: much happens between signing and writing. */
	if (kveil_failpoint("stop-signed"))
		raise(SIGSTOP);
	if (!status)
		status = kveil_registry_topic_append(r->topic, w.messages, n, err);
	for (size_t i = 0; !status && i < count; i++)
		if (!kveil_document_add(&r->sent, &records[i]))
			status = kveil_no_memory(err, "the key registry");
	for (size_t i = 0; w.values && i < count; i++)
		kveil_buf_clear(&w.values[i]);
	free(w.messages);
	free(w.values);
	free(w.labels);
	return status;
}

enum kveil_status kveil_registry_kafka_put_events(struct kafka_registry *r, const struct kveil_registry_events *events,
						  struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	/* The newest first: nobody reads what it takes the place of alone. */
	for (size_t i = events->count; !status && i-- > 0;)
		if (!kveil_registry_events_has(&r->log.events, &events->items[i]))
			status = kveil_registry_kafka_put_event(r, &events->items[i], err);
	return status;
}

enum kveil_status kveil_registry_kafka_put_note(struct kafka_registry *r, uint32_t sequence, struct kveil_span text,
						struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf value = KVEIL_BUF_INIT;
	enum kveil_status status = kveil_registry_note_write(sequence, text, r->base.secret, &value, err);
	struct kveil_registry_message m = {KVEIL_SPAN(KVEIL_NOTE_LABEL), kveil_buf_span(&value), 0};

	return status ? status : kveil_registry_topic_append(r->topic, &m, 1, err);
}

enum kveil_status kveil_registry_kafka_draw_epoch(struct kveil_registry_epoch_root *root, struct kveil_error *err)
{
	return kveil_crypto_random(root->epoch, sizeof root->epoch, err);
}

/* The first root of a registry. */
enum kveil_status kveil_registry_kafka_put_first_root(struct kafka_registry *r, const struct kveil_registry_root *keys,
						      const struct kveil_registry_secret *secret,
						      struct kveil_error *err)
{
	struct kveil_registry_epoch_root root = {.sequence = 1};
	enum kveil_status status = kveil_registry_root_copy(&root.keys, keys)
				       ? kveil_registry_kafka_draw_epoch(&root, err)
				       : kveil_no_memory(err, "the key registry");

	if (!status)
		status = kveil_registry_kafka_put_root(r, &root, secret, err);
	kveil_registry_epoch_root_clear(&root);
	return status;
}
