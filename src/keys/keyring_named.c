/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring's keys that records name: a cache of fixed size, by what the record filled in. What is not in it costs a keyed
 * hash, a look into the keystore and a key schedule, which together take about as long as sealing a field; so a few
 * hundred entries serve as well as many thousand, whose schedules would not stay in the processor's cache either.
 */
#include "keys/keyring.h"

#include "base/clock.h"
#include "base/secret.h"

#include <stdlib.h>

enum {
	WAYS = 4,
	SETS = 128,
	FEW = 2,              /* versions that a slot has room for */
	FEW_KEYS = 4,         /* and the keys of so many */
	KEY_ROOM = 64,        /* bytes */
	LOOK_AGAIN_MS = 1000, /* for a named key that was not there */
	ASK_AGAIN_MS = 5000,  /* for a version that is due */
};

struct kveil_keyring_named_slot {
	uint64_t hash;
	struct kveil_key key;
	struct kveil_named_key *named; /* NULL: not there */
	const struct kveil_data_key_config *pattern;
	int64_t check_ms; /* wall time: to be bound anew from then on */
	uint64_t used;    /* when, in calls */
	uint32_t changes; /* the named key's, when it was bound */
	bool taken;
	struct kveil_cipher *spare; /* to make the next one of; NULL = none */
	uint8_t name_len;
	uint8_t digest[KVEIL_DIGEST_BYTES];
	struct kveil_bound few[FEW];
	uint8_t (*keys)[KEY_ROOM]; /* one a version of key; NULL: nothing is opened with it */
	uint8_t few_keys[FEW_KEYS][KEY_ROOM];
	char label[KVEIL_KEY_NAME_MAX + 1];
	uint8_t name[KVEIL_KEY_NAME_MAX]; /* as the record has it */
};

/* Names may be somebody's: they lie with the key schedules, out of core dumps. */
struct kveil_keyring_named {
	struct kveil_cipher *namer; /* HMAC under the registry's "name" subkey */
	uint64_t calls;
	struct kveil_keyring_named_slot *last[2];
	struct kveil_buf text;
	struct kveil_keyring_named_slot slots[SETS * WAYS];
};

/* Collisions push each other out of the cache, as many names do: nothing is gained by choosing them. */
static uint64_t hash_of(struct kveil_span s)
{
	uint64_t h = s.len * UINT64_C(0x9e3779b97f4a7c15), word;
	size_t i = 0;

	for (; i + 8 <= s.len; i += 8) {
		memcpy(&word, s.data + i, 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, s.data + i, s.len - i);
	h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
	return h ^ h >> 29;
}

static bool is_called(const struct kveil_keyring_named_slot *s, uint64_t hash, struct kveil_span name)
{
	return s->hash == hash && kveil_span_eq(kveil_span_of(s->name, s->name_len), name);
}

static void drop_spare(struct kveil_keyring_named_slot *s)
{
	if (s->spare)
		s->spare->alg->cipher_free(s->spare);
	s->spare = NULL;
}

static void drop_keys(struct kveil_keyring_named_slot *s)
{
	for (size_t i = 0; s->keys && i < s->key.count; i++)
		if (s->key.versions[i].key)
			kveil_secret_wipe(s->keys[i], sizeof s->keys[i]);
	if (s->keys != s->few_keys)
		kveil_secret_free(s->keys);
	s->keys = NULL;
}

/* keep: another key takes this one's place at once. */
static void release(struct kveil_keyring_named_slot *s, bool keep)
{
	struct kveil_key *key = &s->key;

	drop_keys(s);
	for (size_t i = 0; i < key->count; i++) {
		struct kveil_bound *v = &key->versions[i];
		if (keep && v->cipher && !s->spare && v->alg->cipher_rekey)
			s->spare = v->cipher;
		else if (v->cipher)
			v->alg->cipher_free(v->cipher);
	}
	if (!keep)
		drop_spare(s);
	if (key->versions != s->few)
		free(key->versions);
	key->versions = NULL;
	key->count = 0;
	key->active = key->last_opened = NULL;
	s->taken = false;
}

void kveil_keyring_named_free(struct kveil_keyring *ring)
{
	struct kveil_keyring_named *n = ring->named;

	if (!n)
		return;
	for (size_t i = 0; i < SETS * WAYS; i++)
		release(&n->slots[i], false);
	if (n->namer)
		n->namer->alg->cipher_free(n->namer);
	kveil_buf_clear(&n->text);
	kveil_secret_free(n);
	ring->named = NULL;
}

static enum kveil_status need_named(struct kveil_keyring *ring, struct kveil_error *err)
{
	const struct kveil_registry_secret *secret = ring->ks->registry->secret;
	const struct kveil_algorithm *hmac =
	    kveil_algorithm_by_name(kveil_span_str(secret->name_hash == KVEIL_SM3 ? "hmac-sm3" : "hmac-sha-256"));
	struct kveil_keyring_named *n = kveil_secret_alloc_schedule(sizeof *n);

	if (!n)
		return kveil_no_memory(err, "keys named from records");
	n->text = (struct kveil_buf)KVEIL_BUF_INIT;
	enum kveil_status status =
	    hmac->cipher_new(kveil_span_of(secret->name_key, sizeof secret->name_key), &n->namer, err);
	if (status) {
		kveil_secret_free(n);
		return status;
	}
	ring->named = n;
	ring->named_changes = atomic_load_explicit(&ring->ks->named_keys.changes, memory_order_acquire);
	return KVEIL_OK;
}

void kveil_keyring_named_tick(struct kveil_keyring *ring)
{
	struct kveil_keyring_named *n = ring->named;
	uint64_t changes = atomic_load_explicit(&ring->ks->named_keys.changes, memory_order_acquire);

	if (changes == ring->named_changes)
		return;
	ring->named_changes = changes;
	pthread_mutex_lock(&ring->ks->lock);
	for (size_t i = 0; i < SETS * WAYS; i++) {
		struct kveil_keyring_named_slot *s = &n->slots[i];
		if (s->taken && (!s->named || s->named->changes != s->changes))
			release(s, false);
	}
	pthread_mutex_unlock(&ring->ks->lock);
}

/* The least lately used of the set, but for what was given out last. */
static struct kveil_keyring_named_slot *victim(struct kveil_keyring_named *n, struct kveil_keyring_named_slot *set)
{
	struct kveil_keyring_named_slot *ret = NULL;

	for (int i = 0; i < WAYS; i++) {
		struct kveil_keyring_named_slot *s = &set[i];
		if (s == n->last[0] || s == n->last[1])
			continue;
		if (!s->taken)
			return s;
		if (!ret || s->used < ret->used)
			ret = s;
	}
	return ret;
}

static enum kveil_status digest_of(struct kveil_keyring_named *n, const struct kveil_data_key_config *pattern,
				   struct kveil_span filling, uint8_t digest[KVEIL_DIGEST_BYTES],
				   struct kveil_error *err)
{
	uint8_t mac[32];

	kveil_buf_reset(&n->text);
	kveil_named_keys_digest_text(pattern, filling, &n->text);
	if (!kveil_buf_ok(&n->text))
		return kveil_no_memory(err, "a key's name");
	enum kveil_status status = n->namer->alg->mac(n->namer, kveil_buf_span(&n->text), mac, err);
	kveil_secret_wipe(n->text.data, n->text.len);
	if (!status)
		memcpy(digest, mac, KVEIL_DIGEST_BYTES);
	return status;
}

/* Room for the named key's versions. */
static enum kveil_status make_versions(struct kveil_keyring_named_slot *s, size_t count, struct kveil_error *err)
{
	s->key.versions = count <= FEW ? s->few : calloc(count, sizeof *s->key.versions);
	return s->key.versions ? KVEIL_OK : kveil_no_memory(err, "a key");
}

static int by_id(const void *a, const void *b)
{
	const struct kveil_bound *x = a, *y = b;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Everything but the ciphers. Under the keystore's lock. */
static enum kveil_status take_versions(struct kveil_keyring_named_slot *s, struct kveil_error *err)
{
	struct kveil_key *key = &s->key;
	size_t count = 0;

	for (const struct kveil_named_key_version *v = s->named->versions; v; v = v->next)
		count++;
	enum kveil_status status = make_versions(s, count, err);
	if (status)
		return status;
	for (const struct kveil_named_key_version *v = s->named->versions; v; v = v->next) {
		const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(v->algorithm);
		if (!alg)
			continue;
		bool destroyed = v->state == KVEIL_KEY_DESTROYED || s->named->ended;
		kveil_bound_init(&key->versions[key->count++], v->id, alg, destroyed);
		if (kveil_bound_overhead(alg) > key->overhead)
			key->overhead = kveil_bound_overhead(alg);
	}
	if (key->count > 1)
		qsort(key->versions, key->count, sizeof *key->versions, by_id);
	return KVEIL_OK;
}

/* FNV-1a. Topics with one hash share a turn, and nothing else. */
static struct kveil_named_key_source source_of(const struct kveil_keyring *ring)
{
	struct kveil_named_key_source s = {.partition = ring->partition};

	for (const char *c = ring->topic; c && *c; c++)
		s.topic = (s.topic ^ (uint8_t)*c) * UINT64_C(1099511628211) + 1;
	return s;
}

void kveil_keyring_serve(struct kveil_keyring *ring, const char *topic, int32_t partition)
{
	ring->topic = topic;
	ring->partition = partition;
}

/* A name that is not there. Under the keystore's lock. */
static enum kveil_status ask_for_new(struct kveil_keyring *ring, const struct kveil_keyring_named_slot *s,
				     struct kveil_error *err)
{
	if (!kveil_named_keys_are_full(ring->ks, s->pattern)) {
		kveil_named_keys_ask(ring->ks, s->pattern, s->digest, source_of(ring));
		return kveil_fail(err, KVEIL_E_KEY_PENDING, "key '%s' is not there yet", s->label);
	}
	kveil_fail(err, KVEIL_E_KEY_LIMIT, "'%s' has the %llu names that it may, and this would be another",
		   s->pattern->name, (unsigned long long)s->pattern->most_names);
	kveil_error_hint(err, "keys.data: most_names gives more; then `kveil replay` takes the record");
	return KVEIL_E_KEY_LIMIT;
}

/* The version that seals, with its cipher; asks for another where one is due. Under the keystore's lock. */
static enum kveil_status take_active(struct kveil_keyring *ring, struct kveil_keyring_named_slot *s, int64_t now_ms,
				     struct kveil_error *err)
{
	struct kveil_keystore *ks = ring->ks;
	struct kveil_key *key = &s->key;
	struct kveil_succession turn;
	int64_t active_from;

	if (kveil_named_keys_is_destroyed(s->named))
		return kveil_fail(err, KVEIL_E_KEY_DESTROYED, "key '%s' was destroyed", s->label);
	/* One that cannot be unwrapped is passed over from then on. */
	for (;;) {
		kveil_named_keys_succession(s->named, now_ms, &turn);
		if (kveil_named_keys_is_withheld(s->named))
			return kveil_fail(err, KVEIL_E_KEY_DISABLED, "key '%s' is disabled, or due to be destroyed",
					  s->label);
		int64_t due = kveil_succession_due(&turn, s->pattern, 0, &active_from);
		if (now_ms >= due)
			kveil_named_keys_ask(ks, s->pattern, s->digest, source_of(ring));
		if (!turn.active && kveil_named_keys_next(s->named) == KVEIL_NAMED_KEY_ENDED)
			return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key '%s' has used its last version number",
					  s->label);
		if (!turn.active)
			return kveil_fail(err, KVEIL_E_KEY_PENDING, "the next version of key '%s' is not there yet",
					  s->label);
		struct kveil_named_key_version *v = (struct kveil_named_key_version *)(uintptr_t)turn.active;
		key->active = kveil_bound_find(key, v->id);
		if (!key->active)
			return kveil_fail(err, KVEIL_E_INTERNAL, "key '%s' lost a version", s->label);
		s->check_ms = turn.until_ms;
		if (now_ms >= due)
			due = now_ms + ASK_AGAIN_MS;
		if (due < s->check_ms)
			s->check_ms = due;
		key->active->cipher = s->spare;
		s->spare = NULL;
		enum kveil_status status = kveil_named_keys_cipher(ks, v, &key->active->cipher, err);
		if (status != KVEIL_E_UNKNOWN_KEY)
			return status;
	}
}

/* Under the keystore's lock. */
static enum kveil_status take_key(struct kveil_keyring *ring, struct kveil_named_key_version *v, struct kveil_bound *b,
				  uint8_t room[KEY_ROOM])
{
	const uint8_t *key;

	if (b->alg->key_bytes > KEY_ROOM)
		return KVEIL_E_INTERNAL;
	enum kveil_status status = kveil_named_keys_key(ring->ks, v, &key, NULL);
	if (!status)
		b->key = memcpy(room, key, b->alg->key_bytes);
	return status;
}

/* What any of its versions opens with, so that opening takes no lock. One that a custodian holds up is looked at again
 * each time; what disables a version ends the slot itself. Under the keystore's lock. */
static enum kveil_status take_keys(struct kveil_keyring *ring, struct kveil_keyring_named_slot *s, int64_t now_ms,
				   struct kveil_error *err)
{
	s->keys = s->key.count <= FEW_KEYS ? s->few_keys : kveil_secret_alloc_schedule(s->key.count * sizeof *s->keys);
	if (!s->keys)
		return kveil_no_memory(err, "a key");
	for (struct kveil_named_key_version *v = s->named->versions; v; v = v->next) {
		struct kveil_bound *b = kveil_bound_find(&s->key, v->id);
		if (!b || b->cipher || b->destroyed)
			continue;
		b->why = take_key(ring, v, b, s->keys[b - s->key.versions]);
		b->destroyed = b->why == KVEIL_E_KEY_DESTROYED;
		b->withheld = b->why == KVEIL_E_KEY_DISABLED;
		if (b->why && !b->withheld && kveil_status_class(b->why) != KVEIL_CLASS_RECORD)
			s->check_ms = now_ms;
	}
	return KVEIL_OK;
}

/* Fills a slot whose name, pattern, digest and label are set. */
static enum kveil_status fill(struct kveil_keyring *ring, struct kveil_keyring_named_slot *s, unsigned use,
			      struct kveil_error *err)
{
	struct kveil_keystore *ks = ring->ks;
	int64_t now = ring->now_ms ? ring->now_ms : kveil_clock_wall_ms();
	enum kveil_status status = KVEIL_OK;

	release(s, true);
	s->key = (struct kveil_key){.ring = ring, .slot = s, .label = s->label, .use = use, .until_ms = INT64_MAX};
	s->check_ms = INT64_MAX;
	pthread_mutex_lock(&ks->lock);
	s->named = kveil_named_keys_find(ks, s->digest);
	if (s->named) {
		s->changes = s->named->changes;
		status = take_versions(s, err);
		if (!status && use & KVEIL_USE_SEAL)
			status = take_active(ring, s, now, err);
		if (!status && use & KVEIL_USE_OPEN)
			status = take_keys(ring, s, now, err);
	} else if (use & KVEIL_USE_SEAL) {
		status = ask_for_new(ring, s, err);
	} else {
		s->check_ms = now + LOOK_AGAIN_MS;
	}
	pthread_mutex_unlock(&ks->lock);
	drop_spare(s);
	if (status)
		release(s, false);
	else
		s->taken = true;
	return status;
}

static enum kveil_status bind_slot(struct kveil_keyring *ring, struct kveil_keyring_named_slot *s,
				   struct kveil_span name, unsigned use, uint64_t hash, struct kveil_error *err)
{
	struct kveil_span filling;
	const struct kveil_data_key_config *pattern = kveil_keys_config_pattern(ring->ks->config, name, &filling);

	if (!pattern)
		return kveil_fail(err, KVEIL_E_CONFIG,
				  "a record names a key, and no pattern of keys.data fits its name");
	enum kveil_status status = kveil_key_use_check(pattern->algorithm, kveil_span_str(pattern->name), use, err);
	if (status)
		return status;
	if (ring->missing.key == &s->key)
		ring->missing.key = NULL;
	s->hash = hash;
	s->name_len = (uint8_t)name.len;
	memcpy(s->name, name.data, name.len);
	s->pattern = pattern;
	status = digest_of(ring->named, pattern, filling, s->digest, err);
	if (status) {
		release(s, false);
		return status;
	}
	kveil_named_keys_write_name(pattern, s->digest, s->label);
	return fill(ring, s, use, err);
}

static enum kveil_status check_lease(struct kveil_keyring *ring, const struct kveil_key *key, struct kveil_error *err)
{
	if (!key->active->alg->nonce_bytes || key->active->alg->nonce_is_random)
		return KVEIL_OK;
	ring->needs_lease = true;
	return kveil_keyring_tend_lease(ring, kveil_clock_wall_ms(), err);
}

enum kveil_status kveil_keyring_named_key(struct kveil_keyring *ring, struct kveil_span name, unsigned use,
					  struct kveil_key **ret, struct kveil_error *err)
{
	struct kveil_keyring_named *n = ring->named;
	enum kveil_status status = KVEIL_OK;

	if (!ring->ks->registry)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a keystore of names has no keys");
	if (name.len == 0 || name.len > KVEIL_KEY_NAME_MAX)
		return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE, "a key's name is empty or too long");
	if (!n && (status = need_named(ring, err)))
		return status;
	n = ring->named;
	uint64_t hash = hash_of(name);
	struct kveil_keyring_named_slot *set = &n->slots[hash % SETS * WAYS], *s = NULL;
	for (int i = 0; i < WAYS && !s; i++)
		if (set[i].taken && is_called(&set[i], hash, name))
			s = &set[i];
	bool fresh = !s;
	if (fresh)
		s = victim(n, set);
	if (fresh || (s->key.use & use) != use || ring->now_ms >= s->check_ms) {
		/* Whoever only opens waits for no version that seals. */
		unsigned more = !fresh && use & KVEIL_USE_SEAL ? s->key.use : 0;
		status = bind_slot(ring, s, name, use | more, hash, err);
		if (!status && use & KVEIL_USE_SEAL)
			status = check_lease(ring, &s->key, err);
	}
	if (status)
		return status;
	s->used = ++n->calls;
	if (n->last[0] != s) {
		n->last[1] = n->last[0];
		n->last[0] = s;
	}
	*ret = &s->key;
	return KVEIL_OK;
}

enum kveil_status kveil_keyring_named_sync(struct kveil_key *key, struct kveil_error *err)
{
	return fill(key->ring, key->slot, key->use, err);
}
