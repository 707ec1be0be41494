/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record: who asks for them, and how they are made, rotated and ended. */
#include "keys/named_keys.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* How many names of one pattern may wait: they leave room for another's. */
static size_t most_asked(const struct kveil_keystore *ks)
{
	size_t patterns = 0;

	for (size_t i = 0; i < ks->config->data_count; i++)
		patterns += kveil_is_pattern(&ks->config->data[i]);
	return patterns && patterns < KVEIL_ASKED_MAX ? KVEIL_ASKED_MAX / patterns : 1;
}

static bool is_source(const struct kveil_named_key_source *a, const struct kveil_named_key_source *b)
{
	return a->topic == b->topic && a->partition == b->partition;
}

/* What is asked for of one pattern. */
struct crowd {
	size_t count;
	struct kveil_named_key_ask *same, *last; /* for the same name; with the highest turn */
	uint64_t turn;                           /* for one more of this source's */
};

static struct crowd look_at(const struct kveil_named_keys *t, const struct kveil_named_key_ask *a, uint64_t served)
{
	struct crowd c = {.turn = served};

	for (size_t i = 0; i < t->asked_count; i++) {
		struct kveil_named_key_ask *other = &t->asked[i];
		if (memcmp(other->digest, a->digest, KVEIL_DIGEST_BYTES) == 0) /* public: the registry shows it */
			c.same = other;
		if (other->pattern != a->pattern)
			continue;
		c.count++;
		if (!c.last || other->turn > c.last->turn)
			c.last = other;
		if (is_source(&other->source, &a->source) && other->turn > c.turn)
			c.turn = other->turn;
	}
	c.turn++;
	return c;
}

/* A queue of its own for each source, served in turns (start-time fair queueing). Where there is no room, the longest
 * gives way; whoever still wants what is dropped asks again. */
void kveil_named_keys_ask(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
			  const uint8_t digest[KVEIL_DIGEST_BYTES], struct kveil_named_key_source source)
{
	struct kveil_named_keys *t = &ks->named_keys;
	const struct kveil_named_key_rate *rate = kveil_named_keys_rate(ks, pattern);
	struct kveil_named_key_ask a = {.pattern = pattern, .source = source};

	if (!t->asked)
		t->asked = calloc(KVEIL_ASKED_MAX, sizeof *t->asked);
	if (!t->asked || !rate)
		return;
	memcpy(a.digest, digest, KVEIL_DIGEST_BYTES);
	a.number = kveil_named_keys_next(kveil_named_keys_find(ks, digest));
	struct crowd c = look_at(t, &a, rate->turn);
	a.turn = c.turn;
	if (c.same) {
		c.same->number = a.number;
		if (a.turn < c.same->turn)
			*c.same = a;
	} else if (c.count < most_asked(ks) && t->asked_count < KVEIL_ASKED_MAX) {
		t->asked[t->asked_count++] = a;
	} else if (c.last && a.turn < c.last->turn) {
		*c.last = a;
	}
}

bool kveil_named_keys_are_full(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern)
{
	const struct kveil_named_key_rate *rate = kveil_named_keys_rate(ks, pattern);

	return rate && rate->count >= pattern->most_names;
}

static bool has_one(struct kveil_bucket *b, uint64_t per_second)
{
	int64_t now = kveil_clock_mono_ms();
	double most = (double)per_second * KVEIL_BURST_SECONDS;

	b->left = b->filled_ms ? b->left + (double)(now - b->filled_ms) * (double)per_second / 1000 : most;
	if (b->left > most)
		b->left = most;
	b->filled_ms = now;
	return b->left >= 1;
}

/* NULL: no memory, or the topic has no limit of its own. */
static struct kveil_bucket *topic_bucket(struct kveil_named_keys *t, const struct kveil_named_key_ask *a)
{
	for (size_t i = 0; i < t->topic_count; i++)
		if (t->topics[i].topic == a->source.topic && t->topics[i].pattern == a->pattern)
			return &t->topics[i].bucket;
	if (t->topic_count == t->topic_cap) {
		size_t cap = t->topic_cap ? t->topic_cap * 2 : 16;
		struct kveil_topic_rate *more = realloc(t->topics, cap * sizeof *more);
		if (!more)
			return NULL;
		t->topics = more;
		t->topic_cap = cap;
	}
	struct kveil_topic_rate *r = &t->topics[t->topic_count++];
	*r = (struct kveil_topic_rate){.pattern = a->pattern, .topic = a->source.topic};
	return &r->bucket;
}

/* One more name of this pattern now? Names come from records, and records may be anybody's. */
static bool allow(struct kveil_keystore *ks, const struct kveil_named_key_ask *a)
{
	struct kveil_named_key_rate *r = kveil_named_keys_rate(ks, a->pattern);
	bool is_limited = a->pattern->new_per_topic && a->source.topic;
	struct kveil_bucket *topic = is_limited ? topic_bucket(&ks->named_keys, a) : NULL;

	if (!r || (is_limited && !topic) || (topic && !has_one(topic, a->pattern->new_per_topic)) ||
	    !has_one(&r->bucket, a->pattern->new_per_second))
		return false;
	r->bucket.left -= 1;
	if (topic)
		topic->left -= 1;
	return true;
}

static void give_back(struct kveil_keystore *ks, const struct kveil_named_key_ask *a)
{
	struct kveil_bucket *topic =
	    a->pattern->new_per_topic && a->source.topic ? topic_bucket(&ks->named_keys, a) : NULL;

	kveil_named_keys_rate(ks, a->pattern)->bucket.left += 1;
	if (topic)
		topic->left += 1;
}

uint32_t kveil_named_keys_next(const struct kveil_named_key *t)
{
	return t ? t->last + 1 : 1;
}

/* Nothing is made of this name any more. */
static bool is_settled(const struct kveil_named_key *t)
{
	return kveil_named_keys_is_destroyed(t) || kveil_named_keys_is_withheld(t) ||
	       kveil_named_keys_next(t) == KVEIL_NAMED_KEY_ENDED;
}

static void start(struct kveil_key_record *r, const struct kveil_named_key_ask *a, uint32_t version, int64_t now,
		  int64_t active_from)
{
	kveil_key_record_begin(r, a->pattern, version, now, active_from);
	r->algorithm = a->pattern->algorithm->wire_id;
	if (a->pattern->rotate_every_ms)
		r->expires_ms = active_from + 2 * a->pattern->rotate_every_ms;
	kveil_named_keys_write_name(a->pattern, a->digest, r->name);
	snprintf(r->kek, sizeof r->kek, "%s", a->pattern->name);
}

/* What to make for this asking: false if there is nothing to make, any more or yet. */
static bool begin(struct kveil_keystore *ks, const struct kveil_named_key_ask *a, int64_t now,
		  struct kveil_key_record *r)
{
	const struct kveil_named_key *t = kveil_named_keys_find(ks, a->digest);
	struct kveil_succession s;
	int64_t active_from = now;

	if (t) {
		kveil_named_keys_succession(t, now, &s);
		if (is_settled(t) || now < kveil_succession_due(&s, a->pattern, 0, &active_from))
			return false;
	}
	start(r, a, kveil_named_keys_next(t), now, active_from);
	return true;
}

/* Can whoever asked go on, with a new version or with the news that there will be none? */
static bool is_served(const struct kveil_keystore *ks, const struct kveil_named_key_ask *a, int64_t now)
{
	const struct kveil_named_key *t = kveil_named_keys_find(ks, a->digest);
	struct kveil_succession s;

	if (!t || kveil_named_keys_next(t) == a->number)
		return t && is_settled(t);
	kveil_named_keys_succession(t, now, &s);
	return s.active || is_settled(t);
}

static bool is_new(const struct kveil_keystore *ks, const struct kveil_named_key_ask *a)
{
	const struct kveil_named_key *t = kveil_named_keys_find(ks, a->digest);

	return !t || !t->versions;
}

/* The record that ends a name, whatever else is there or comes. */
enum kveil_status kveil_named_keys_end(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
				       struct kveil_key_record *r, struct kveil_error *err)
{
	int64_t now = kveil_clock_wall_ms();

	start(r, a, KVEIL_NAMED_KEY_ENDED, now, now);
	r->state = KVEIL_KEY_DESTROYED;
	enum kveil_status status = kveil_keystore_draw_id(ks, &r->id, err);
	return status ? status : kveil_key_record_sign(r, ks->registry->secret, err);
}

static enum kveil_status make_one(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
				  struct kveil_key_record *r, struct kveil_error *err)
{
	uint8_t key[KVEIL_KEY_BYTES_MAX];
	enum kveil_status status = kveil_keystore_draw_id(ks, &r->id, err);

	if (!status)
		status = kveil_crypto_random(key, a->pattern->algorithm->key_bytes, err);
	pthread_mutex_lock(&ks->lock);
	if (!status)
		status = kveil_named_keys_wrap(ks, a->pattern, r, key, err);
	pthread_mutex_unlock(&ks->lock);
	kveil_secret_wipe(key, sizeof key);
	return status;
}

enum kveil_status kveil_named_keys_rotate(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
					  int64_t active_from_ms, struct kveil_error *err)
{
	struct kveil_key_record r;
	int64_t now = kveil_clock_wall_ms();
	bool won = false;
	enum kveil_status status = KVEIL_OK;

	/* Another process may make the same version at the same moment: then ours is the one after it. */
	for (int i = 0; !status && !won && i < 10; i++) {
		pthread_mutex_lock(&ks->lock);
		const struct kveil_named_key *t = kveil_named_keys_find(ks, a->digest);
		if (t && kveil_named_keys_is_destroyed(t))
			status = kveil_fail(err, KVEIL_E_KEY_DESTROYED, "this key was destroyed");
		else if (is_new(ks, a))
			status = kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no such key in the registry");
		else
			start(&r, a, kveil_named_keys_next(t), now, active_from_ms ? active_from_ms : now);
		pthread_mutex_unlock(&ks->lock);
		if (status)
			return status;
		status = make_one(ks, a, &r, err);
		if (!status)
			status = kveil_keystore_append(ks, &r, 1, err);
		pthread_mutex_lock(&ks->lock);
		won = kveil_named_keys_by_id(ks, r.id) != NULL;
		pthread_mutex_unlock(&ks->lock);
		kveil_key_record_clear(&r);
	}
	if (!status && !won)
		status =
		    kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of this key");
	return status;
}

static int by_turn(const void *a, const void *b)
{
	const struct kveil_named_key_ask *x = a, *y = b;

	return x->turn < y->turn ? -1 : x->turn > y->turn;
}

/* One more of the pattern's names, beside those that are taken with it? */
static bool has_place(struct kveil_keystore *ks, const struct kveil_named_key_ask *a)
{
	struct kveil_named_key_rate *r = kveil_named_keys_rate(ks, a->pattern);

	return r && r->count + r->taking < a->pattern->most_names;
}

/* What its topic's limit held up while others were served stays behind them by as much as its source asks for: or it
 * would keep the room of all that comes. In the order of turns. */
static void move_up(struct kveil_keystore *ks)
{
	struct kveil_named_keys *t = &ks->named_keys;

	for (size_t i = 0; i < t->asked_count; i++) {
		struct kveil_named_key_ask *a = &t->asked[i];
		uint64_t least = kveil_named_keys_rate(ks, a->pattern)->turn;
		if (a->turn >= least + i)
			continue;
		for (size_t k = 0; k < i; k++)
			least += t->asked[k].pattern == a->pattern && is_source(&t->asked[k].source, &a->source);
		if (a->turn < least)
			a->turn = least;
	}
}

/* What was asked for and may be begun, to the end of what the two have room for; the rest waits. */
static size_t take_asked(struct kveil_keystore *ks, int64_t now, struct kveil_named_key_ask *asked,
			 struct kveil_key_record *made, size_t *ret_held_up, size_t *ret_unserved)
{
	struct kveil_named_keys *t = &ks->named_keys;
	size_t taken = 0, held_up = 0;

	qsort(t->asked, t->asked_count, sizeof *t->asked, by_turn);
	for (size_t i = 0; i < ks->config->data_count; i++)
		kveil_named_keys_rate(ks, &ks->config->data[i])->taking = 0;
	for (size_t i = 0; i < t->asked_count; i++) {
		const struct kveil_named_key_ask a = t->asked[i];
		struct kveil_named_key_rate *rate = kveil_named_keys_rate(ks, a.pattern);
		bool adds = is_new(ks, &a);
		if (!begin(ks, &a, now, &made[taken])) {
			*ret_unserved += !is_served(ks, &a, now);
			continue;
		}
		if (adds && !has_place(ks, &a))
			continue; /* whoever asked is told when the others are there */
		if (adds && !allow(ks, &a)) {
			t->asked[held_up++] = a; /* behind i, or i itself */
			continue;
		}
		rate->taking += adds;
		rate->turn = a.turn > rate->turn ? a.turn : rate->turn;
		asked[taken++] = a;
	}
	t->asked_count = held_up;
	move_up(ks);
	*ret_held_up = held_up;
	return taken;
}

/* Whose names are not there after all: what they were allowed is for others. */
static size_t count_unserved(struct kveil_keystore *ks, int64_t now, const struct kveil_named_key_ask *asked,
			     size_t count)
{
	size_t ret = 0;

	for (size_t i = 0; i < count; i++) {
		if (is_new(ks, &asked[i]))
			give_back(ks, &asked[i]);
		ret += !is_served(ks, &asked[i], now);
	}
	return ret;
}

bool kveil_named_keys_are_asked(struct kveil_keystore *ks)
{
	pthread_mutex_lock(&ks->lock);
	bool ret = ks->named_keys.asked_count > 0;
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

enum kveil_status kveil_named_keys_make(struct kveil_keystore *ks, int64_t now, struct kveil_error *err)
{
	struct kveil_named_keys *t = &ks->named_keys;
	struct kveil_key_record *made = NULL;
	struct kveil_named_key_ask *asked = NULL;
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;
	size_t taken = 0, count = 0, held_up = 0, unserved = 0;

	pthread_mutex_lock(&ks->lock);
	if (t->asked_count) {
		made = calloc(t->asked_count, sizeof *made);
		asked = calloc(t->asked_count, sizeof *asked);
		if (!made || !asked)
			first = kveil_no_memory(err, "keys named from records");
		else
			taken = take_asked(ks, now, asked, made, &held_up, &unserved);
	}
	pthread_mutex_unlock(&ks->lock);
	/* A pattern whose own key is not at hand holds up no other's names. */
	for (size_t i = 0; i < taken; i++) {
		struct kveil_key_record r = made[i];
		enum kveil_status status = make_one(ks, &asked[i], &r, &why);
		if (!status)
			made[count++] = r;
		else if (!first) {
			first = status;
			if (err)
				*err = why;
		}
	}
	if (count) {
		enum kveil_status status = kveil_keystore_publish(ks, made, count, &why);
		if (!status)
			atomic_fetch_add_explicit(&t->made, count, memory_order_relaxed);
		if (status && !first && err)
			*err = why;
		first = first ? first : status;
	}
	pthread_mutex_lock(&ks->lock);
	unserved += count_unserved(ks, now, asked, taken);
	pthread_mutex_unlock(&ks->lock);
	for (size_t i = 0; i < count; i++)
		kveil_key_record_clear(&made[i]);
	free(made);
	free(asked);
	if (!first && held_up)
		return kveil_fail(err, KVEIL_E_KEY_PENDING,
				  "%zu keys named from records wait: `new_per_second` and `new_per_topic` limit them",
				  held_up);
	if (!first && unserved)
		return kveil_fail(err, KVEIL_E_KEY_PENDING,
				  "%zu keys named from records are not due by this clock, or others took their numbers",
				  unserved);
	return first;
}
