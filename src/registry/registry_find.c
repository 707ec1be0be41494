/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the root of a log that nobody knows yet: candidates are collected while it is read, and tried at its end. */
#include "registry/registry_log.h"

#include "base/secret.h"

#include <stdlib.h>

enum {
	TRIES_MAX = 64, /* a custodian is not asked about more false roots than this */
	ROOTS_MAX = 1024,
	ROOTS_BYTES_MAX = 8 << 20,
};

/* Does next stand in for what is there? A root that was written again counts more than one that was not, for the reason
 * that records do. */
static bool root_wins(const struct kveil_registry_epoch_root *next, const struct kveil_registry_epoch_root *now)
{
	if (kveil_secret_eq(next->keys.id, now->keys.id, sizeof now->keys.id))
		return next->keys.number == now->keys.number && next->sequence >= now->sequence;
	return next->sequence > 1 && now->sequence == 1;
}

void kveil_registry_log_set_root(struct kveil_registry_log *log, struct kveil_registry_epoch_root *root)
{
	if (log->has_root && !kveil_secret_eq(log->root.epoch, root->epoch, sizeof root->epoch))
		log->rolled_back = false;
	kveil_registry_epoch_root_clear(&log->root);
	log->root = *root;
	log->has_root = true;
	*root = (struct kveil_registry_epoch_root){0};
}

void kveil_registry_log_forget_candidates(struct kveil_registry_log *log)
{
	for (size_t i = 0; i < log->candidate_count; i++)
		kveil_registry_epoch_root_clear(&log->candidates[i].root);
	free(log->candidates);
	log->candidates = NULL;
	log->candidate_count = log->candidate_bytes = 0;
	log->crowded = false;
	log->tries = 0;
}

/* Whoever wrote null there may be the operator who mends the topic, or who attacks it: what it stood for comes last. */
static void withdraw(struct kveil_registry_log *log, struct kveil_span label)
{
	char theirs[KVEIL_ROOT_LABEL_MAX];

	for (size_t i = 0; i < log->candidate_count; i++) {
		kveil_registry_root_label(&log->candidates[i].root.keys, theirs);
		log->candidates[i].withdrawn |= kveil_span_eq(label, kveil_span_str(theirs));
	}
}

static bool add_candidate(struct kveil_registry_log *log, struct kveil_registry_epoch_root *root, size_t bytes)
{
	if (log->candidate_count >= ROOTS_MAX || log->candidate_bytes + bytes > ROOTS_BYTES_MAX) {
		log->crowded = true;
		return true;
	}
	if ((log->candidate_count & (log->candidate_count - 1)) == 0) {
		size_t cap = log->candidate_count ? log->candidate_count * 2 : 1;
		struct kveil_registry_candidate *grown = realloc(log->candidates, cap * sizeof *grown);
		if (!grown)
			return false;
		log->candidates = grown;
	}
	log->candidates[log->candidate_count++] = (struct kveil_registry_candidate){.root = *root};
	log->candidate_bytes += bytes;
	*root = (struct kveil_registry_epoch_root){0};
	return true;
}

static bool is_known(const struct kveil_registry_log *log, const struct kveil_registry_root *root)
{
	const struct kveil_registry_secret *secret = log->registry->secret;

	return secret && secret->number == root->number && kveil_secret_eq(root->id, secret->id, sizeof root->id);
}

/* A root of the registry whose secret is known; it moves in if it counts. */
static void take_known(struct kveil_registry_log *log, struct kveil_registry_epoch_root *root)
{
	if ((!log->has_root || root_wins(root, &log->root)) &&
	    kveil_registry_root_authentic(root, log->registry->secret))
		kveil_registry_log_set_root(log, root);
}

enum kveil_status kveil_registry_log_offer(struct kveil_registry_log *log, const struct kveil_registry_env *env,
					   struct kveil_span label, struct kveil_span value, struct kveil_error *err)
{
	struct kveil_registry_epoch_root root;
	char should[KVEIL_ROOT_LABEL_MAX];
	bool ok = true;

	if (!kveil_registry_is_root_label(label))
		return KVEIL_OK;
	if (!value.data)
		withdraw(log, label);
	if (!kveil_registry_root_parse(value, &root))
		return KVEIL_OK;
	kveil_registry_root_label(&root.keys, should);
	if (!kveil_span_eq(label, kveil_span_str(should)))
		; /* nobody's */
	else if (env && root.keys.number < env->least_number)
		; /* from before a KEK was evicted */
	else if (is_known(log, &root.keys))
		take_known(log, &root);
	else if (env && (!env->id || kveil_secret_eq(root.keys.id, env->id, sizeof root.keys.id)))
		ok = add_candidate(log, &root, value.len);
	kveil_registry_epoch_root_clear(&root);
	return ok ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

static enum kveil_status try_candidate(struct kveil_registry_log *log, const struct kveil_registry_env *env,
				       struct kveil_registry_candidate *c, struct kveil_error *refused)
{
	struct kveil_registry_secret *secret = NULL;
	enum kveil_status status = kveil_registry_root_open(&c->root.keys, env->keks, env->kek_count, &secret, refused);

	log->tries++;
	if (!status && !kveil_registry_root_authentic(&c->root, secret))
		status = kveil_fail(refused, KVEIL_E_REGISTRY_CORRUPT, "the root of the key registry was altered");
	if (status) {
		kveil_secret_free(secret);
		return status;
	}
	kveil_registry_secret_free(log->registry->secret);
	log->registry->secret = secret;
	kveil_registry_log_set_root(log, &c->root);
	return KVEIL_OK;
}

struct choice {
	struct kveil_error *refused, away;
	bool flooded;
};

/* Only class STOP errors are returned. */
static enum kveil_status choose_among(struct kveil_registry_log *log, const struct kveil_registry_env *env,
				      bool withdrawn, struct choice *choice, struct kveil_error *err)
{
	struct kveil_error why;

	for (size_t i = 0; i < log->candidate_count; i++) {
		struct kveil_registry_candidate *c = &log->candidates[i];
		if (c->withdrawn != withdrawn || (log->has_root && !root_wins(&c->root, &log->root)))
			continue;
		if (is_known(log, &c->root.keys)) {
			take_known(log, &c->root);
			continue;
		}
		if (log->tries >= TRIES_MAX) {
			choice->flooded = true;
			continue;
		}
		enum kveil_status status = try_candidate(log, env, c, &why);
		enum kveil_class class = kveil_status_class(status);
		if (!status)
			continue;
		*(class == KVEIL_CLASS_RETRY ? &choice->away : choice->refused) = why;
		if (class == KVEIL_CLASS_STOP) {
			if (err)
				*err = why;
			return status;
		}
	}
	return KVEIL_OK;
}

static void say_flooded(struct kveil_error *refused)
{
	kveil_fail(refused, KVEIL_E_REGISTRY_CORRUPT,
		   "the key registry is flooded: of the roots of registries in it, the first %d do not open",
		   TRIES_MAX);
	kveil_error_hint(refused, "name yours in keys.registry_id (`kveil keys init` printed it, a backup has it as "
				  "\"id\"), and see who may write to the topic");
}

/* --- the secrets before and after --- */

static bool is_of(const struct kveil_registry_log *log, const struct kveil_registry_candidate *c, uint32_t number)
{
	return c->root.keys.number == number &&
	       kveil_secret_eq(c->root.keys.id, log->root.keys.id, sizeof log->root.keys.id);
}

/* *ret stays NULL where it does not open, or is not authentic. Only class RETRY and STOP errors are returned. */
static enum kveil_status open_candidate(struct kveil_registry_log *log, const struct kveil_registry_env *env,
					const struct kveil_registry_candidate *c, struct kveil_registry_secret **ret,
					struct kveil_error *err)
{
	struct kveil_error why;

	if (log->tries >= TRIES_MAX)
		return KVEIL_OK;
	log->tries++;
	enum kveil_status status = kveil_registry_root_open(&c->root.keys, env->keks, env->kek_count, ret, &why);
	enum kveil_class class = kveil_status_class(status);
	if (!status && !kveil_registry_root_authentic(&c->root, *ret)) {
		kveil_registry_secret_free(*ret);
		*ret = NULL;
	}
	if (!status || (class != KVEIL_CLASS_RETRY && class != KVEIL_CLASS_STOP))
		return KVEIL_OK;
	if (err)
		*err = why;
	return status;
}

/* A KEK was evicted since the root that was found: the one that it authorised, written first, is the next. */
static enum kveil_status climb(struct kveil_registry_log *log, const struct kveil_registry_env *env, bool *ret_more,
			       struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	*ret_more = false;
	for (size_t i = 0; !status && !*ret_more && i < log->candidate_count; i++) {
		struct kveil_registry_candidate *c = &log->candidates[i];
		struct kveil_registry_secret *next = NULL;
		if (!is_of(log, c, log->root.keys.number + 1) ||
		    !kveil_registry_root_follows(&c->root.keys, log->registry->secret))
			continue;
		status = open_candidate(log, env, c, &next, err);
		if (!next)
			continue;
		kveil_registry_adopt(log->registry, next);
		kveil_registry_log_set_root(log, &c->root);
		*ret_more = true;
	}
	return status;
}

/* The same root, where it was written again. */
static void take_newest(struct kveil_registry_log *log)
{
	for (size_t i = 0; i < log->candidate_count; i++)
		if (is_known(log, &log->candidates[i].root.keys))
			take_known(log, &log->candidates[i].root);
	if (log->root.keys.number && log->root.from >= 0)
		log->registry->secret->from = log->root.from;
}

/* What was signed before an eviction that was not finished counts, under the secret before. */
static enum kveil_status descend(struct kveil_registry_log *log, const struct kveil_registry_env *env,
				 struct kveil_error *err)
{
	struct kveil_registry_secret *secret = log->registry->secret, *before = NULL;
	enum kveil_status status = KVEIL_OK;

	if (!secret->number || secret->before)
		return KVEIL_OK;
	for (size_t i = 0; !status && !before && i < log->candidate_count; i++)
		if (is_of(log, &log->candidates[i], secret->number - 1))
			status = open_candidate(log, env, &log->candidates[i], &before, err);
	if (before && kveil_registry_root_follows(&log->root.keys, before))
		secret->before = before;
	else
		kveil_registry_secret_free(before);
	return status;
}

static enum kveil_status find_others(struct kveil_registry_log *log, const struct kveil_registry_env *env,
				     struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool more = true;

	while (!status && more) {
		take_newest(log);
		status = climb(log, env, &more, err);
	}
	return status ? status : descend(log, env, err);
}

enum kveil_status kveil_registry_log_choose(struct kveil_registry_log *log, const struct kveil_registry_env *env,
					    struct kveil_error *refused, struct kveil_error *err)
{
	struct choice choice = {.refused = refused, .flooded = log->crowded};
	enum kveil_status status = choose_among(log, env, false, &choice, err);

	if (!status && !log->has_root)
		status = choose_among(log, env, true, &choice, err);
	if (!status && log->has_root)
		status = find_others(log, env, err);
	if (status || log->has_root)
		return status;
	/* A custodian that is away may be the one that would open it. */
	if (choice.away.status) {
		if (err)
			*err = choice.away;
		return choice.away.status;
	}
	if (choice.flooded)
		say_flooded(refused);
	return KVEIL_OK;
}
