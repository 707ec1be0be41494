/* SPDX-License-Identifier: Apache-2.0 */
/* What falls due: new versions, ahead of their time; names that records asked for; what is to be destroyed. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"

#include <stdlib.h>

enum { NEW_AT_ONCE = 256, LATE_MS = 30000, RACES = 16 };

/* Where many processes share a registry, they do not all make the same version at the same moment. */
static int64_t late_by(const struct kveil_keystore *ks, int64_t period_ms)
{
	int64_t most = period_ms / 16 < LATE_MS ? period_ms / 16 : LATE_MS;
	return ks->registry->driver->forgiving ? (int64_t)(((uint64_t)most * ks->tending.lateness) >> 32) : 0;
}

/* Is a new version due, from when will it be active, and of which algorithm? A worker goes on with that of the newest
 * version: only `keys rotate` changes over, or those with the old configuration and those with the new one would take
 * turns. Under lock. */
static bool is_due(const struct kveil_keystore *ks, const struct kveil_data_key_config *c,
		   const struct kveil_key_name *n, int64_t now, int64_t *ret_active_from, uint16_t *ret_algorithm)
{
	struct kveil_succession s;

	/* Only keys that any version can open are made on a worker's own account. */
	if (c->algorithm->kind != KVEIL_ALG_AEAD || strchr(c->name, '{') || !n || n->count == 0)
		return false;
	/* Whoever took it away says what comes in its place. */
	if (kveil_key_name_is_withheld(n))
		return false;
	kveil_key_name_succession(n, now, &s);
	*ret_algorithm = s.has_newest ? s.newest.algorithm : c->algorithm->wire_id;
	return now >= kveil_succession_due(&s, c, late_by(ks, c->rotate_every_ms), ret_active_from);
}

/* Did somebody else's record come first? Then what was kept of ours is of no use. */
static bool has_lost(struct kveil_keystore *ks, const struct kveil_key_record *made, size_t count)
{
	bool lost = false;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < count; i++) {
		if (kveil_keystore_by_id(ks, made[i].id))
			continue;
		kveil_secret_free(kveil_keystore_made_here(ks, made[i].id));
		lost = true;
	}
	pthread_mutex_unlock(&ks->lock);
	return lost;
}

static enum kveil_status make_due_once(struct kveil_keystore *ks, int64_t now, bool *ret_lost, struct kveil_error *err)
{
	struct kveil_key_record *made = calloc(NEW_AT_ONCE, sizeof *made);
	enum kveil_status status = KVEIL_OK, first = KVEIL_OK;
	struct kveil_error why;
	size_t count = 0;

	if (!made)
		return kveil_no_memory(err, "keys");
	for (size_t i = 0; i < ks->config->data_count && count < NEW_AT_ONCE; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		int64_t active_from;
		uint16_t algorithm;
		/* What waits for its custodian may be the very version that is due. */
		if (kveil_keystore_is_held_up(ks, c->name))
			continue;
		pthread_mutex_lock(&ks->lock);
		const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(c->name));
		bool due = is_due(ks, c, n, now, &active_from, &algorithm);
		pthread_mutex_unlock(&ks->lock);
		if (!due)
			continue;
		uint32_t number = kveil_keystore_next_number(ks, c->name);
		kveil_key_record_begin(&made[count], c, number, now, active_from);
		made[count].algorithm = algorithm;
		status = kveil_keystore_check_clock(ks, c, &why);
		if (!status)
			status =
			    kveil_keystore_make(ks, c->keks, ks->registry->secret, &made[count], KVEIL_SPAN_NULL, &why);
		/* One custodian away does not hold up the keys of another. */
		if (!status)
			count++;
		else if (!first) {
			first = status;
			if (err)
				*err = why;
		}
	}
	status = count ? kveil_keystore_publish(ks, made, count, &why) : KVEIL_OK;
	*ret_lost = count && !status && has_lost(ks, made, count);
	for (size_t i = 0; i < count; i++)
		kveil_key_record_clear(&made[i]);
	free(made);
	if (first)
		return first;
	if (status && err)
		*err = why;
	return status;
}

/* Whoever can read the winner's key has what was due; an edge cannot, and takes the number after it. */
static enum kveil_status make_due(struct kveil_keystore *ks, int64_t now, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool lost = true;

	for (int i = 0; !status && lost && i < RACES; i++)
		status = make_due_once(ks, now, &lost, err);
	return status;
}

enum kveil_status kveil_keystore_stay_welcome(struct kveil_keystore *ks, struct kveil_error *err)
{
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;

	for (size_t i = 0; i < ks->custodian_count; i++) {
		enum kveil_status status = kveil_kek_tend(ks->custodians[i], &why);
		if (!status || first)
			continue;
		first = status;
		if (err)
			*err = why;
	}
	return first;
}

static enum kveil_status tend(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_error why = {0};
	size_t healed;
	bool read;
	/* One custodian away does not hold up the keys of another. */
	enum kveil_status held_up = kveil_keystore_refresh_read(ks, &read, err);
	if (!read)
		return held_up;
	/* How custodians do is told by kveil_keystore_keks; what needs one that is away says so itself. */
	(void)!kveil_keystore_stay_welcome(ks, NULL);
	kveil_keystore_probe(ks);
	enum kveil_status status = kveil_keystore_stock_leases(ks, &why);
	if (!status)
		status = kveil_keystore_heal(ks, false, &healed, &why);
	if (!status) {
		pthread_mutex_lock(&ks->tend_lock);
		if (kveil_clock_mono_ms() < ks->tending.retry_at_ms) {
			why = ks->tending.last_failure;
			status = why.status;
		} else {
			status = make_due(ks, now_wall_ms, &why);
			if (!status)
				status = kveil_named_keys_make(ks, now_wall_ms, &why);
			if (status == KVEIL_E_KEY_PENDING) /* whoever waits for them knows */
				status = KVEIL_OK;
		}
		pthread_mutex_unlock(&ks->tend_lock);
	}
	/* Not by the command that schedules it, nor by any other that comes along: history would name the wrong one. */
	if (!status && atomic_load(&ks->kept))
		status = kveil_keystore_end_due(ks, now_wall_ms, &why);
	if (held_up)
		return held_up;
	if (status)
		*err = why;
	return status;
}

enum kveil_status kveil_keystore_tend(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = tend(ks, now_wall_ms, &why);

	if (!status)
		why = (struct kveil_error){0};
	pthread_mutex_lock(&ks->lock);
	ks->tending.result = why;
	pthread_mutex_unlock(&ks->lock);
	if (atomic_load(&ks->kept))
		kveil_keystore_tell_active(ks, now_wall_ms);
	if (status && err)
		*err = why;
	return status;
}

enum kveil_status kveil_keystore_make_asked(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool read = false;

	pthread_mutex_lock(&ks->tend_lock);
	/* Somebody else may have made them by now. */
	status = kveil_keystore_refresh_read(ks, &read, err);
	if (read)
		status = KVEIL_OK;
	if (!status && kveil_clock_mono_ms() < ks->tending.retry_at_ms && kveil_named_keys_are_asked(ks)) {
		status = ks->tending.last_failure.status;
		if (err)
			*err = ks->tending.last_failure;
	}
	if (!status)
		status = kveil_named_keys_make(ks, now_wall_ms, err);
	pthread_mutex_unlock(&ks->tend_lock);
	return status;
}
