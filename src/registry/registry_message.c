/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a registry's topic. */
#include "registry/registry_message.h"

#include "registry/document.h"
#include "registry/registry_text.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic[] = "key registry", root_prefix[] = "!root/", end_prefix[] = "!destroyed/";

void kveil_registry_epoch_root_clear(struct kveil_registry_epoch_root *r)
{
	kveil_registry_root_clear(&r->keys);
	*r = (struct kveil_registry_epoch_root){0};
}

bool kveil_registry_epoch_root_copy(struct kveil_registry_epoch_root *dst, const struct kveil_registry_epoch_root *src)
{
	*dst = *src;
	dst->keys = (struct kveil_registry_root){0};
	if (kveil_registry_root_copy(&dst->keys, &src->keys))
		return true;
	kveil_registry_epoch_root_clear(dst);
	return false;
}

/* --- message keys --- */

void kveil_registry_root_label(const struct kveil_registry_root *root, char label[KVEIL_ROOT_LABEL_MAX])
{
	memcpy(label, root_prefix, sizeof root_prefix - 1);
	char *id = label + sizeof root_prefix - 1, *number = id + 2 * sizeof root->id;
	kveil_text_encode(KVEIL_HEX, root->id, sizeof root->id, (uint8_t *)id);
	*number = 0;
	if (root->number)
		snprintf(number, (size_t)(label + KVEIL_ROOT_LABEL_MAX - number), ".%" PRIu32, root->number);
}

void kveil_registry_record_label(const struct kveil_key_record *record, char label[KVEIL_RECORD_LABEL_MAX])
{
	snprintf(label, KVEIL_RECORD_LABEL_MAX, "%s/%08" PRIx32, record->name, record->id);
}

void kveil_registry_end_label(const struct kveil_key_record *record, char label[KVEIL_RECORD_LABEL_MAX])
{
	snprintf(label, KVEIL_RECORD_LABEL_MAX, "%s%08" PRIx32, end_prefix, record->id);
}

static bool begins(struct kveil_span label, const char *prefix)
{
	size_t n = strlen(prefix);
	return label.len >= n && memcmp(label.data, prefix, n) == 0; /* public */
}

bool kveil_registry_is_root_label(struct kveil_span label)
{
	return begins(label, root_prefix);
}

bool kveil_registry_is_end_label(struct kveil_span label)
{
	return begins(label, end_prefix);
}

uint32_t kveil_registry_label_id(struct kveil_span label)
{
	uint8_t id[4];

	if (label.len < 10 || label.data[label.len - 9] != '/' ||
	    !kveil_registry_text_read(KVEIL_HEX, (const char *)label.data + label.len - 8, 8, id, sizeof id))
		return 0;
	return kveil_be32(id);
}

/* --- MACs --- */

static void put(struct kveil_buf *b, uint64_t value, unsigned bytes)
{
	while (bytes--)
		kveil_buf_append_byte(b, (uint8_t)(value >> (8 * bytes)));
}

static enum kveil_status mac_of(struct kveil_buf *text, const struct kveil_registry_secret *secret,
				uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	if (!kveil_buf_ok(text))
		return kveil_no_memory(err, "the key registry");
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->log_key, sizeof secret->log_key),
				 kveil_buf_span(text), mac, err);
}

static enum kveil_status root_mac(const struct kveil_registry_epoch_root *r, const struct kveil_registry_secret *secret,
				  uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_registry_root_canonical(&r->keys, &text);
	kveil_buf_append_str(&text, "root");
	kveil_buf_append(&text, r->keys.id, sizeof r->keys.id);
	put(&text, r->sequence, 4);
	if (r->keys.number)
		put(&text, (uint64_t)r->from, 8);
	kveil_buf_append(&text, r->epoch, sizeof r->epoch);
	for (size_t i = 0; i < r->keys.count; i++) {
		const struct kveil_registry_root_key *k = &r->keys.keys[i];
		put(&text, strlen(k->kek), 4);
		kveil_buf_append_str(&text, k->kek);
		put(&text, k->wrapped_len, 4);
		kveil_buf_append(&text, k->wrapped, k->wrapped_len);
	}
	return mac_of(&text, secret, mac, err);
}

static enum kveil_status lease_mac(const struct kveil_registry_lease *l, const struct kveil_registry_secret *secret,
				   uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_append_str(&text, "lease");
	kveil_buf_append(&text, secret->id, sizeof secret->id);
	kveil_buf_append(&text, l->epoch, sizeof l->epoch);
	put(&text, (uint64_t)l->after, 8);
	return mac_of(&text, secret, mac, err);
}

bool kveil_registry_root_authentic(const struct kveil_registry_epoch_root *r,
				   const struct kveil_registry_secret *secret)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	return kveil_secret_eq(r->keys.id, secret->id, sizeof secret->id) && !root_mac(r, secret, mac, NULL) &&
	       kveil_secret_eq(mac, r->mac, sizeof mac);
}

bool kveil_registry_lease_authentic(const struct kveil_registry_lease *l, const struct kveil_registry_secret *secret)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	return !lease_mac(l, secret, mac, NULL) && kveil_secret_eq(mac, l->mac, sizeof mac);
}

/* --- writing --- */

static bool set_text(json_t *object, const char *name, enum kveil_encoding e, const uint8_t *data, size_t len)
{
	return json_object_set_new(object, name, kveil_registry_text_of(e, data, len)) == 0;
}

static enum kveil_status dump(json_t *object, bool ok, struct kveil_buf *out, struct kveil_error *err)
{
	char *text = ok ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	if (text)
		kveil_buf_append_str(out, text);
	free(text);
	return text && kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

enum kveil_status kveil_registry_root_write(struct kveil_registry_epoch_root *r,
					    const struct kveil_registry_secret *secret, struct kveil_buf *out,
					    struct kveil_error *err)
{
	enum kveil_status status = root_mac(r, secret, r->mac, err);

	if (status)
		return status;
	bool plain = kveil_registry_root_is_plain(&r->keys);
	json_t *object = json_pack("{s:s, s:i}", "kveil", magic, "format", plain ? 1 : 2), *keys = json_array();
	bool ok = object && keys &&
		  (plain || json_object_set_new(object, "secret", kveil_registry_root_to_tree(&r->keys)) == 0) &&
		  set_text(object, "id", KVEIL_HEX, r->keys.id, sizeof r->keys.id) &&
		  json_object_set_new(object, "sequence", json_integer(r->sequence)) == 0 &&
		  set_text(object, "epoch", KVEIL_HEX, r->epoch, sizeof r->epoch);
	for (size_t i = 0; ok && i < r->keys.count; i++) {
		const struct kveil_registry_root_key *k = &r->keys.keys[i];
		json_t *one = json_pack("{s:s}", "kek", k->kek);
		ok = one && set_text(one, "wrapped", KVEIL_BASE64, k->wrapped, k->wrapped_len) &&
		     json_array_append(keys, one) == 0;
		json_decref(one);
	}
	if (ok && r->keys.number && r->from >= 0)
		ok = json_object_set_new(object, "from", json_integer(r->from)) == 0;
	ok = ok && json_object_set(object, "registry_keys", keys) == 0 &&
	     set_text(object, "mac", KVEIL_BASE64, r->mac, sizeof r->mac);
	json_decref(keys);
	return dump(object, ok, out, err);
}

enum kveil_status kveil_registry_lease_write(struct kveil_registry_lease *l, const struct kveil_registry_secret *secret,
					     struct kveil_buf *out, struct kveil_error *err)
{
	enum kveil_status status = lease_mac(l, secret, l->mac, err);

	if (status)
		return status;
	json_t *object = json_object();
	bool ok = object && set_text(object, "epoch", KVEIL_HEX, l->epoch, sizeof l->epoch) &&
		  json_object_set_new(object, "after", json_integer(l->after)) == 0 &&
		  set_text(object, "mac", KVEIL_BASE64, l->mac, sizeof l->mac);
	return dump(object, ok, out, err);
}

/* --- reading --- */

static json_t *load(struct kveil_span value)
{
	json_error_t why;
	if (!value.data || value.len > KVEIL_REGISTRY_MESSAGE_MAX)
		return NULL;
	return json_loadb((const char *)value.data, value.len, JSON_REJECT_DUPLICATES, &why);
}

bool kveil_registry_root_parse(struct kveil_span value, struct kveil_registry_epoch_root *ret)
{
	struct kveil_registry_epoch_root r = {0};
	const char *kind, *id, *epoch, *mac;
	size_t id_len, epoch_len, mac_len;
	json_int_t format, sequence, from = -1;
	json_t *keys, *secret = NULL, *tree = load(value);

	bool ok = tree && json_unpack_ex(tree, NULL, JSON_STRICT, "{s:s, s:I, s?o, s:s%, s:I, s?I, s:s%, s:o, s:s%}",
					 "kveil", &kind, "format", &format, "secret", &secret, "id", &id, &id_len,
					 "sequence", &sequence, "from", &from, "epoch", &epoch, &epoch_len,
					 "registry_keys", &keys, "mac", &mac, &mac_len) == 0;
	ok = ok && strcmp(kind, magic) == 0 && format == (secret ? 2 : 1) &&
	     (!secret || kveil_registry_root_from_tree(secret, &r.keys)) && sequence >= 1 && sequence <= UINT32_MAX &&
	     kveil_registry_text_read(KVEIL_HEX, id, id_len, r.keys.id, sizeof r.keys.id) &&
	     kveil_registry_text_read(KVEIL_HEX, epoch, epoch_len, r.epoch, sizeof r.epoch) && json_is_array(keys) &&
	     kveil_registry_text_read(KVEIL_BASE64, mac, mac_len, r.mac, sizeof r.mac);
	for (size_t i = 0; ok && i < json_array_size(keys); i++)
		ok = kveil_registry_root_key_parse(json_array_get(keys, i), &r.keys);
	ok = ok && from >= -1 && (from == -1 || r.keys.number);
	if (ok) {
		r.sequence = (uint32_t)sequence;
		r.from = from;
	}
	json_decref(tree);
	if (!ok) {
		kveil_registry_epoch_root_clear(&r);
		return false;
	}
	*ret = r;
	return true;
}

bool kveil_registry_lease_parse(struct kveil_span value, struct kveil_registry_lease *ret)
{
	const char *epoch, *mac;
	size_t epoch_len, mac_len;
	json_int_t after;
	json_t *tree = load(value);

	bool ok = tree &&
		  json_unpack_ex(tree, NULL, JSON_STRICT, "{s:s%, s:I, s:s%}", "epoch", &epoch, &epoch_len, "after",
				 &after, "mac", &mac, &mac_len) == 0 &&
		  after >= -1 && kveil_registry_text_read(KVEIL_HEX, epoch, epoch_len, ret->epoch, sizeof ret->epoch) &&
		  kveil_registry_text_read(KVEIL_BASE64, mac, mac_len, ret->mac, sizeof ret->mac);
	if (ok)
		ret->after = after;
	json_decref(tree);
	return ok;
}
