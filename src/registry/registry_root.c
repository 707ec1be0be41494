/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's own secret, as KEKs wrap it and as a registry keeps it. */
#include "registry/registry_root.h"

#include "custody/provider.h"
#include "registry/registry_text.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic_plain[4] = {'K', 'V', 'R', '1'}, magic_full[4] = {'K', 'V', 'R', '2'};
enum {
	PAYLOAD_PLAIN = 4 + KVEIL_REGISTRY_ID_BYTES + 32,
	PAYLOAD_FULL = 4 + KVEIL_REGISTRY_ID_BYTES + 4 + 1 + 1 + 32 + 32,
	ROOT_ROOM = 512,
};

/* As algorithms are called. */
static const char *const mac_names[] = {[KVEIL_SHA_256] = "hmac-sha-256", [KVEIL_SM3] = "hmac-sm3"};
enum { HASHES = sizeof mac_names / sizeof *mac_names };

void kveil_registry_root_clear(struct kveil_registry_root *root)
{
	for (size_t i = 0; i < root->count; i++)
		free(root->keys[i].wrapped);
	free(root->keys);
	*root = (struct kveil_registry_root){0};
}

const struct kveil_registry_root_key *kveil_registry_root_find(const struct kveil_registry_root *root, const char *kek)
{
	for (size_t i = 0; i < root->count; i++)
		if (strcmp(root->keys[i].kek, kek) == 0)
			return &root->keys[i];
	return NULL;
}

/* In place of the entry with this KEK's name, or at the end. */
bool kveil_registry_root_add(struct kveil_registry_root *root, const char *kek, struct kveil_span wrapped)
{
	uint8_t *copy = malloc(wrapped.len ? wrapped.len : 1);
	size_t i = 0;

	if (!copy)
		return false;
	memcpy(copy, wrapped.data, wrapped.len);
	while (i < root->count && strcmp(root->keys[i].kek, kek) != 0)
		i++;
	if (i == root->count) {
		struct kveil_registry_root_key *grown = realloc(root->keys, (i + 1) * sizeof *grown);
		if (!grown) {
			free(copy);
			return false;
		}
		root->keys = grown;
		root->keys[i] = (struct kveil_registry_root_key){0};
		snprintf(root->keys[i].kek, sizeof root->keys[i].kek, "%s", kek);
		root->count++;
	}
	free(root->keys[i].wrapped);
	root->keys[i].wrapped = copy;
	root->keys[i].wrapped_len = wrapped.len;
	return true;
}

bool kveil_registry_root_add_all(struct kveil_registry_root *to, const struct kveil_registry_root *from)
{
	for (size_t i = 0; i < from->count; i++) {
		const struct kveil_registry_root_key *k = &from->keys[i];
		if (!kveil_registry_root_add(to, k->kek, kveil_span_of(k->wrapped, k->wrapped_len)))
			return false;
	}
	return true;
}

struct kveil_registry_root kveil_registry_root_head(const struct kveil_registry_root *root)
{
	struct kveil_registry_root ret = *root;

	ret.keys = NULL;
	ret.count = 0;
	return ret;
}

bool kveil_registry_root_copy(struct kveil_registry_root *to, const struct kveil_registry_root *from)
{
	kveil_registry_root_clear(to);
	*to = kveil_registry_root_head(from);
	return kveil_registry_root_add_all(to, from);
}

/* --- the payload that each KEK wraps --- */

static bool is_plain(uint32_t number, enum kveil_hash hash)
{
	return number == 0 && hash == KVEIL_SHA_256;
}

static uint8_t *put_bytes(uint8_t *at, const void *data, size_t n)
{
	memcpy(at, data, n);
	return at + n;
}

static size_t write_payload(const struct kveil_registry_secret *secret, uint8_t *out)
{
	bool plain = is_plain(secret->number, secret->hash);
	uint8_t *at = put_bytes(out, plain ? magic_plain : magic_full, sizeof magic_full);

	at = put_bytes(at, secret->id, sizeof secret->id);
	if (!plain) {
		for (int shift = 24; shift >= 0; shift -= 8)
			*at++ = (uint8_t)(secret->number >> shift);
		*at++ = (uint8_t)secret->hash;
		*at++ = (uint8_t)secret->name_hash;
	}
	at = put_bytes(at, secret->root, sizeof secret->root);
	if (!plain)
		at = put_bytes(at, secret->name_key, sizeof secret->name_key);
	return (size_t)(at - out);
}

static enum kveil_status read_plain(const uint8_t *at, struct kveil_registry_secret *secret, struct kveil_error *err)
{
	memcpy(secret->root, at, sizeof secret->root);
	return kveil_registry_secret_derive(secret, err);
}

static enum kveil_status read_full(const uint8_t *at, struct kveil_registry_secret *secret, struct kveil_error *err)
{
	secret->number = kveil_be32(at);
	if (at[4] >= HASHES || at[5] >= HASHES)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this kveil does not know the registry's MAC %u", at[4]);
	secret->hash = (enum kveil_hash)at[4];
	memcpy(secret->root, at + 6, sizeof secret->root);
	enum kveil_status status = kveil_registry_secret_derive(secret, err);
	/* Names out of records stay what they are, whatever the secret becomes. */
	secret->name_hash = (enum kveil_hash)at[5];
	memcpy(secret->name_key, at + 6 + sizeof secret->root, sizeof secret->name_key);
	return status;
}

/* What it says inside must be what the root says outside. */
static enum kveil_status read_payload(const struct kveil_registry_root *root, struct kveil_span payload,
				      struct kveil_registry_secret *secret, struct kveil_error *err)
{
	const uint8_t *body = payload.data + 4 + KVEIL_REGISTRY_ID_BYTES;
	bool plain = payload.len == PAYLOAD_PLAIN && kveil_secret_eq(payload.data, magic_plain, 4);
	bool full = payload.len == PAYLOAD_FULL && kveil_secret_eq(payload.data, magic_full, 4);
	enum kveil_status status = KVEIL_OK;

	*secret = (struct kveil_registry_secret){.from = INT64_MAX};
	memcpy(secret->id, root->id, sizeof secret->id);
	if (plain)
		status = read_plain(body, secret, err);
	else if (full)
		status = read_full(body, secret, err);
	if (status)
		return status;
	if ((!plain && !full) || !kveil_secret_eq(payload.data + 4, root->id, sizeof root->id) ||
	    secret->number != root->number || secret->hash != root->hash ||
	    (root->number && !kveil_secret_eq(secret->commitment, root->commitment, sizeof root->commitment)))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "the registry key is another registry's");
	return KVEIL_OK;
}

enum kveil_status kveil_registry_root_wrap(const struct kveil_registry_secret *secret, struct kveil_kek *kek,
					   struct kveil_registry_root *root, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
	uint8_t *room = kveil_secret_alloc(PAYLOAD_FULL);

	if (!room)
		return kveil_secret_refused(err);
	struct kveil_span payload = kveil_span_of(room, write_payload(secret, room));
	enum kveil_status status = kveil_kek_wrap(kek, payload, &wrapped, err);
	if (!status)
		status = kveil_kek_prove_wrapped(kek, kveil_buf_span(&wrapped), payload, err);
	kveil_secret_free(room);
	if (!status && !kveil_registry_root_add(root, kek->name, kveil_buf_span(&wrapped)))
		status = kveil_no_memory(err, "the key registry");
	return status;
}

/* --- making and opening --- */

enum kveil_status kveil_registry_root_new(struct kveil_kek *const *keks, size_t count, enum kveil_hash hash,
					  struct kveil_registry_root *root, struct kveil_registry_secret **ret,
					  struct kveil_error *err)
{
	struct kveil_registry_secret *secret = kveil_secret_alloc(sizeof *secret);
	enum kveil_status status = secret ? KVEIL_OK : kveil_secret_refused(err);

	*root = (struct kveil_registry_root){.hash = hash};
	if (!status) {
		*secret = (struct kveil_registry_secret){.hash = hash, .from = INT64_MAX};
		status = kveil_crypto_random(secret->id, sizeof secret->id, err);
	}
	if (!status)
		status = kveil_crypto_random(secret->root, sizeof secret->root, err);
	if (!status)
		status = kveil_registry_secret_derive(secret, err);
	if (!status)
		memcpy(root->id, secret->id, sizeof root->id);
	for (size_t i = 0; !status && i < count; i++)
		status = kveil_registry_root_wrap(secret, keks[i], root, err);
	if (status) {
		kveil_secret_free(secret);
		kveil_registry_root_clear(root);
		return status;
	}
	*ret = secret;
	return KVEIL_OK;
}

static enum kveil_status previous_mac(const struct kveil_registry_root *root,
				      const struct kveil_registry_secret *before, uint8_t mac[KVEIL_MAC_BYTES],
				      struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_append_str(&text, "follows");
	kveil_buf_append(&text, root->id, sizeof root->id);
	for (int shift = 24; shift >= 0; shift -= 8)
		kveil_buf_append_byte(&text, (uint8_t)(root->number >> shift));
	kveil_buf_append_byte(&text, (uint8_t)root->hash);
	kveil_buf_append(&text, root->commitment, sizeof root->commitment);
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "the key registry");
	return kveil_crypto_hmac(before->hash, kveil_span_of(before->log_key, sizeof before->log_key),
				 kveil_buf_span(&text), mac, err);
}

bool kveil_registry_root_follows(const struct kveil_registry_root *root, const struct kveil_registry_secret *secret)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	return root->number == secret->number + 1 && kveil_secret_eq(root->id, secret->id, sizeof root->id) &&
	       !previous_mac(root, secret, mac, NULL) && kveil_secret_eq(mac, root->previous, sizeof mac);
}

static enum kveil_status make_next(const struct kveil_registry_secret *before, enum kveil_hash hash,
				   struct kveil_registry_secret *next, struct kveil_error *err)
{
	*next = (struct kveil_registry_secret){.hash = hash, .number = before->number + 1, .from = INT64_MAX};
	memcpy(next->id, before->id, sizeof next->id);
	enum kveil_status status = kveil_crypto_random(next->root, sizeof next->root, err);
	if (!status)
		status = kveil_registry_secret_derive(next, err);
	next->name_hash = before->name_hash;
	memcpy(next->name_key, before->name_key, sizeof next->name_key);
	return status;
}

enum kveil_status kveil_registry_root_succeed(const struct kveil_registry_secret *before, struct kveil_kek *const *keks,
					      size_t count, enum kveil_hash hash, struct kveil_registry_root *root,
					      struct kveil_registry_secret **ret, struct kveil_error *err)
{
	struct kveil_registry_secret *next = kveil_secret_alloc(sizeof *next);
	enum kveil_status status = next ? make_next(before, hash, next, err) : kveil_secret_refused(err);

	*root = (struct kveil_registry_root){.number = before->number + 1, .hash = hash};
	memcpy(root->id, before->id, sizeof root->id);
	if (!status) {
		memcpy(root->commitment, next->commitment, sizeof root->commitment);
		status = previous_mac(root, before, root->previous, err);
	}
	for (size_t i = 0; !status && i < count; i++)
		status = kveil_registry_root_wrap(next, keks[i], root, err);
	if (status) {
		kveil_secret_free(next);
		kveil_registry_root_clear(root);
		return status;
	}
	*ret = next;
	return KVEIL_OK;
}

static struct kveil_kek *kek_named(struct kveil_kek *const *keks, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (keks[i] && strcmp(keks[i]->name, name) == 0)
			return keks[i];
	return NULL;
}

static enum kveil_status open_one(const struct kveil_registry_root *root, const struct kveil_registry_root_key *key,
				  struct kveil_kek *kek, uint8_t *payload, struct kveil_registry_secret *secret,
				  struct kveil_error *err)
{
	size_t n = 0;
	enum kveil_status status =
	    kveil_kek_unwrap(kek, kveil_span_of(key->wrapped, key->wrapped_len), payload, ROOT_ROOM, &n, err);

	if (status)
		return status;
	return read_payload(root, kveil_span_of(payload, n), secret, err);
}

enum kveil_status kveil_registry_root_open(const struct kveil_registry_root *root, struct kveil_kek *const *keks,
					   size_t count, struct kveil_registry_secret **ret, struct kveil_error *err)
{
	struct kveil_registry_secret *secret = kveil_secret_alloc(sizeof *secret);
	uint8_t *payload = kveil_secret_alloc(ROOT_ROOM);
	enum kveil_status status = KVEIL_E_WRONG_KEK;
	bool tried = false;

	if (!secret || !payload)
		status = kveil_secret_refused(err);
	/* A custodian that is away outweighs one that refuses: it may well be the right one. */
	for (size_t i = 0; secret && payload && i < root->count; i++) {
		struct kveil_kek *kek = kek_named(keks, count, root->keys[i].kek);
		struct kveil_error why;
		if (!kek || !kek->provider->can_unwrap(kek))
			continue;
		enum kveil_status one = open_one(root, &root->keys[i], kek, payload, secret, &why);
		if (!one) {
			status = KVEIL_OK;
			break;
		}
		if (!tried || kveil_status_class(one) == KVEIL_CLASS_RETRY) {
			status = one;
			if (err)
				*err = why;
		}
		tried = true;
	}
	if (status == KVEIL_E_WRONG_KEK) {
		if (tried)
			kveil_fail(err, status, "the key registry was made under another key-encryption key");
		else
			kveil_fail(err, status,
				   "no KEK of the configuration can open the key registry, which was made under '%s'",
				   root->count ? root->keys[0].kek : "none");
		kveil_error_hint(
		    err,
		    tried
			? "restore the key-encryption key that this registry was made with"
			: "every KEK here only locks: add one that can unlock, such as `provider: file`; it opens the "
			  "registry's own secret, and no key that the others wrapped");
	}
	kveil_secret_free(payload);
	if (status) {
		kveil_secret_free(secret);
		return status;
	}
	*ret = secret;
	return KVEIL_OK;
}

/* --- in JSON and in MACs --- */

bool kveil_registry_root_is_plain(const struct kveil_registry_root *root)
{
	return is_plain(root->number, root->hash);
}

void kveil_registry_root_canonical(const struct kveil_registry_root *root, struct kveil_buf *out)
{
	if (kveil_registry_root_is_plain(root))
		return;
	kveil_buf_append_str(out, "secret");
	for (int shift = 24; shift >= 0; shift -= 8)
		kveil_buf_append_byte(out, (uint8_t)(root->number >> shift));
	kveil_buf_append_byte(out, (uint8_t)root->hash);
	kveil_buf_append(out, root->commitment, sizeof root->commitment);
	kveil_buf_append(out, root->previous, sizeof root->previous);
}

json_t *kveil_registry_root_to_tree(const struct kveil_registry_root *root)
{
	json_t *ret = json_pack("{s:I, s:s}", "number", (json_int_t)root->number, "mac", mac_names[root->hash]);

	if (!ret || !root->number)
		return ret;
	if (json_object_set_new(ret, "commitment",
				kveil_registry_text_of(KVEIL_BASE64, root->commitment, sizeof root->commitment)) == 0 &&
	    json_object_set_new(ret, "previous",
				kveil_registry_text_of(KVEIL_BASE64, root->previous, sizeof root->previous)) == 0)
		return ret;
	json_decref(ret);
	return NULL;
}

bool kveil_registry_root_from_tree(const json_t *tree, struct kveil_registry_root *root)
{
	const char *mac, *commitment = NULL, *previous = NULL;
	size_t commitment_len = 0, previous_len = 0;
	unsigned hash = 0;
	json_int_t number;

	if (json_unpack_ex((json_t *)(uintptr_t)tree, NULL, JSON_STRICT, "{s:I, s:s, s?s%, s?s%}", "number", &number,
			   "mac", &mac, "commitment", &commitment, &commitment_len, "previous", &previous,
			   &previous_len))
		return false;
	while (hash < HASHES && strcmp(mac_names[hash], mac) != 0)
		hash++;
	if (number < 0 || number > UINT32_MAX || hash == HASHES)
		return false;
	root->number = (uint32_t)number;
	root->hash = (enum kveil_hash)hash;
	if (!number)
		return !commitment && !previous && hash != KVEIL_SHA_256;
	return commitment && previous &&
	       kveil_registry_text_read(KVEIL_BASE64, commitment, commitment_len, root->commitment,
					sizeof root->commitment) &&
	       kveil_registry_text_read(KVEIL_BASE64, previous, previous_len, root->previous, sizeof root->previous);
}
