/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/registry.h"

#include "keys/internal.h"

#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

extern const struct kveil_registry_driver kveil_registry_file;

/* Filled once, before there are threads. */
enum { DRIVERS_MAX = 4 };
static const struct kveil_registry_driver *drivers[DRIVERS_MAX + 1] = {&kveil_registry_file};

const char *const kveil_registry_doubt_names[] = {
    [KVEIL_DOUBT_FORGED] = "forged",
    [KVEIL_DOUBT_RELABELLED] = "relabelled",
    [KVEIL_DOUBT_REPLAYED] = "replayed",
    [KVEIL_DOUBT_EMPTIED] = "emptied",
};

void kveil_registry_driver_add(const struct kveil_registry_driver *driver)
{
	for (size_t i = 0; i < DRIVERS_MAX; i++) {
		if (drivers[i] == driver)
			return;
		if (!drivers[i]) {
			drivers[i] = driver;
			return;
		}
	}
}

/* "KVR1" | registry id | secret: what each KEK wraps. */
static const char root_magic[4] = {'K', 'V', 'R', '1'};
enum { ROOT_PAYLOAD = 4 + KVEIL_REGISTRY_ID_BYTES + 32, ROOT_ROOM = 512 };

enum kveil_status kveil_registry_driver_of(const char *registry, const struct kveil_registry_driver **ret,
					   const char **ret_where, struct kveil_error *err)
{
	const char *colon = strchr(registry, ':');

	for (size_t i = 0; colon && colon[1] && drivers[i]; i++) {
		const struct kveil_registry_driver *d = drivers[i];
		if (strlen(d->scheme) == (size_t)(colon - registry) &&
		    strncmp(d->scheme, registry, strlen(d->scheme)) == 0) {
			*ret = d;
			*ret_where = colon + 1;
			return KVEIL_OK;
		}
	}
	kveil_fail(err, KVEIL_E_CONFIG, "'%s' is no key registry that this kveil knows", registry);
	char hint[160] = "";
	for (size_t i = 0; drivers[i]; i++)
		snprintf(hint + strlen(hint), sizeof hint - strlen(hint), "%s%s", i ? "; " : "", drivers[i]->help);
	kveil_error_hint(err, "%s", hint);
	return KVEIL_E_CONFIG;
}

bool kveil_registry_id_parse(const char *text, uint8_t id[KVEIL_REGISTRY_ID_BYTES])
{
	size_t n = strlen(text);

	return n == 2 * KVEIL_REGISTRY_ID_BYTES && kveil_text_decode(KVEIL_HEX, (const uint8_t *)text, n, id, &n);
}

void kveil_registry_id_write(const uint8_t id[KVEIL_REGISTRY_ID_BYTES], char text[KVEIL_REGISTRY_ID_TEXT])
{
	kveil_text_encode(KVEIL_HEX, id, KVEIL_REGISTRY_ID_BYTES, (uint8_t *)text);
	text[KVEIL_REGISTRY_ID_TEXT - 1] = 0;
}

void kveil_registry_root_clear(struct kveil_registry_root *root)
{
	for (size_t i = 0; i < root->count; i++)
		free(root->keys[i].wrapped);
	free(root->keys);
	*root = (struct kveil_registry_root){0};
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

bool kveil_registry_root_copy(struct kveil_registry_root *to, const struct kveil_registry_root *from)
{
	kveil_registry_root_clear(to);
	memcpy(to->id, from->id, sizeof to->id);
	return kveil_registry_root_add_all(to, from);
}

enum kveil_status kveil_registry_root_wrap(const struct kveil_registry_secret *secret, struct kveil_kek *kek,
					   struct kveil_registry_root *root, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
	uint8_t *payload = kveil_secret_alloc(ROOT_PAYLOAD);

	if (!payload)
		return kveil_secret_refused(err);
	memcpy(payload, root_magic, sizeof root_magic);
	memcpy(payload + sizeof root_magic, secret->id, sizeof secret->id);
	memcpy(payload + sizeof root_magic + sizeof secret->id, secret->root, sizeof secret->root);
	enum kveil_status status = kveil_kek_wrap(kek, kveil_span_of(payload, ROOT_PAYLOAD), &wrapped, err);
	if (!status)
		status = kveil_keystore_prove_wrapped(kek, kveil_buf_span(&wrapped),
						      kveil_span_of(payload, ROOT_PAYLOAD), err);
	kveil_secret_free(payload);
	if (!status && !kveil_registry_root_add(root, kek->name, kveil_buf_span(&wrapped)))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for the key registry");
	return status;
}

enum kveil_status kveil_registry_root_new(struct kveil_kek *const *keks, size_t count, struct kveil_registry_root *root,
					  struct kveil_registry_secret **ret, struct kveil_error *err)
{
	struct kveil_registry_secret *secret = kveil_secret_alloc(sizeof *secret);
	enum kveil_status status;

	*root = (struct kveil_registry_root){0};
	status = secret ? kveil_crypto_random(secret->id, sizeof secret->id, err) : kveil_secret_refused(err);
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
	if (n != ROOT_PAYLOAD || !kveil_secret_eq(payload, root_magic, sizeof root_magic) ||
	    !kveil_secret_eq(payload + sizeof root_magic, root->id, sizeof root->id))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "the registry key is another registry's");
	memcpy(secret->id, root->id, sizeof secret->id);
	memcpy(secret->root, payload + sizeof root_magic + sizeof root->id, sizeof secret->root);
	return kveil_registry_secret_derive(secret, err);
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
		    err, tried ? "bring back the key-encryption key that this registry was made with"
			       : "give this configuration one KEK that it can unlock with, such as `provider: file`: "
				 "it opens the registry, not the others' keys");
	}
	kveil_secret_free(payload);
	if (status) {
		kveil_secret_free(secret);
		return status;
	}
	*ret = secret;
	return KVEIL_OK;
}
