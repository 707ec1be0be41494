/* SPDX-License-Identifier: Apache-2.0 */
/* Tink's keysets, written and read. */
#include "keyadmin/tink.h"

#include "base/secret.h"
#include "base/text.h"
#include "registry/key_record.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { TINK = 1, RAW = 3, ENABLED = 1, SYMMETRIC = 1 };
enum { SHA256 = 3, SHA512 = 4 };
enum { VALUE_MAX = 4096 }; /* in base64; what kveil takes is below 200 */

/* How a key's value is laid out, for each row of algorithms[] that Tink knows. */
struct layout {
	const char *algorithm;
	unsigned key_field;
	unsigned hash; /* HmacPrfParams; 0 = no params */
	unsigned prefix;
};

static const struct layout layouts[] = {
    {"aes-128-gcm", 3, 0, TINK}, {"aes-256-gcm", 3, 0, TINK},      {"aes-256-gcm-siv", 3, 0, TINK},
    {"aes-256-siv", 2, 0, TINK}, {"hmac-sha-256", 3, SHA256, RAW}, {"hmac-sha-512", 3, SHA512, RAW},
};

/* What Tink does not have, as it would be laid out if it had. */
static const struct layout other_cipher = {NULL, 3, 0, TINK}, other_key = {NULL, 3, 0, RAW};
static const char other_type[] = "kveil/";

static const struct layout *layout_of(const struct kveil_algorithm *alg)
{
	for (size_t i = 0; alg->tink_type && i < sizeof layouts / sizeof *layouts; i++)
		if (strcmp(layouts[i].algorithm, alg->name) == 0)
			return &layouts[i];
	return alg->kind == KVEIL_ALG_AEAD || alg->kind == KVEIL_ALG_DAEAD ? &other_cipher : &other_key;
}

static const char *type_of(const struct kveil_tink_key *key, char room[64])
{
	if (key->alg->tink_type)
		return key->alg->tink_type;
	snprintf(room, 64, "%s%s", other_type, key->alg->name);
	return room;
}

/* --- protobuf, the little of it that is needed --- */

static void put_varint(struct kveil_buf *b, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		kveil_buf_append_byte(b, (uint8_t)(n | 0x80));
	kveil_buf_append_byte(b, (uint8_t)n);
}

static void put_number(struct kveil_buf *b, unsigned field, uint64_t n)
{
	put_varint(b, field << 3);
	put_varint(b, n);
}

static void put_bytes(struct kveil_buf *b, unsigned field, struct kveil_span s)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, s.len);
	kveil_buf_append_span(b, s);
}

static void put_value(struct kveil_buf *b, const struct kveil_tink_key *key)
{
	const struct layout *l = layout_of(key->alg);
	const uint8_t params[2] = {1 << 3, (uint8_t)l->hash};

	if (l->hash)
		put_bytes(b, 2, kveil_span_of(params, sizeof params));
	put_bytes(b, l->key_field, kveil_span_of(key->key, key->alg->key_bytes));
}

void kveil_tink_write_binary(const struct kveil_tink_keyset *ks, struct kveil_buf *out)
{
	struct kveil_buf value = KVEIL_BUF_INIT, data = KVEIL_BUF_INIT, key = KVEIL_BUF_INIT;

	put_number(out, 1, ks->primary);
	for (size_t i = 0; i < ks->count; i++) {
		char type[64];
		kveil_buf_reset(&value);
		kveil_buf_reset(&data);
		kveil_buf_reset(&key);
		put_value(&value, &ks->keys[i]);
		put_bytes(&data, 1, kveil_span_str(type_of(&ks->keys[i], type)));
		put_bytes(&data, 2, kveil_buf_span(&value));
		put_number(&data, 3, SYMMETRIC);
		put_bytes(&key, 1, kveil_buf_span(&data));
		put_number(&key, 2, ENABLED);
		put_number(&key, 3, ks->keys[i].id);
		put_number(&key, 4, layout_of(ks->keys[i].alg)->prefix);
		put_bytes(out, 2, kveil_buf_span(&key));
		out->failed |= value.failed || data.failed || key.failed;
	}
	kveil_buf_clear(&value);
	kveil_buf_clear(&data);
	kveil_buf_clear(&key);
}

/* --- JSON --- */

static void put_base64(struct kveil_buf *b, struct kveil_span s)
{
	size_t n = kveil_text_encoded_len(KVEIL_BASE64, s.len);
	uint8_t *room = kveil_buf_reserve(b, n);

	if (room) {
		kveil_text_encode(KVEIL_BASE64, s.data, s.len, room);
		b->len += n;
	}
}

static const char *prefix_name(const struct kveil_tink_key *key)
{
	return layout_of(key->alg)->prefix == TINK ? "TINK" : "RAW";
}

void kveil_tink_write_json(const struct kveil_tink_keyset *ks, struct kveil_buf *out)
{
	struct kveil_buf value = KVEIL_BUF_INIT;

	kveil_buf_printf(out, "{\"primaryKeyId\":%u,\"key\":[", ks->primary);
	for (size_t i = 0; i < ks->count; i++) {
		const struct kveil_tink_key *k = &ks->keys[i];
		char type[64];
		kveil_buf_reset(&value);
		put_value(&value, k);
		kveil_buf_printf(out, "%s\n{\"keyData\":{\"typeUrl\":\"%s\",\"value\":\"", i ? "," : "",
				 type_of(k, type));
		put_base64(out, kveil_buf_span(&value));
		kveil_buf_printf(out,
				 "\",\"keyMaterialType\":\"SYMMETRIC\"},\"status\":\"ENABLED\",\"keyId\":%u,"
				 "\"outputPrefixType\":\"%s\"}",
				 k->id, prefix_name(k));
		out->failed |= value.failed;
	}
	kveil_buf_append_str(out, "]}\n");
	kveil_buf_clear(&value);
}

void kveil_tink_write_encrypted_json(const struct kveil_tink_keyset *ks, struct kveil_span sealed,
				     struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"encryptedKeyset\":\"");
	put_base64(out, sealed);
	kveil_buf_printf(out, "\",\n\"keysetInfo\":{\"primaryKeyId\":%u,\"keyInfo\":[", ks->primary);
	for (size_t i = 0; i < ks->count; i++) {
		char type[64];
		kveil_buf_printf(
		    out, "%s\n{\"typeUrl\":\"%s\",\"status\":\"ENABLED\",\"keyId\":%u,\"outputPrefixType\":\"%s\"}",
		    i ? "," : "", type_of(&ks->keys[i], type), ks->keys[i].id, prefix_name(&ks->keys[i]));
	}
	kveil_buf_append_str(out, "]}}\n");
}

/* --- reading --- */

struct cursor {
	const uint8_t *at, *end;
};

static bool get_varint(struct cursor *c, uint64_t *ret)
{
	*ret = 0;
	for (unsigned shift = 0; shift < 64 && c->at < c->end; shift += 7) {
		uint8_t byte = *c->at++;
		*ret |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

struct value {
	uint64_t version, hash;
	struct kveil_span key;
};

/* Fields by number: `key_field` is the key, 2 the params where there are any, 1 the version; nothing else is known. */
static bool get_value(struct kveil_span bytes, unsigned key_field, struct value *ret)
{
	struct cursor c = {bytes.data, bytes.data + bytes.len};
	uint64_t tag, n;

	while (c.at < c.end) {
		if (!get_varint(&c, &tag) || !get_varint(&c, &n))
			return false;
		if (tag == (1 << 3)) {
			ret->version = n;
			continue;
		}
		if ((tag & 7) != 2 || n > (uint64_t)(c.end - c.at))
			return false;
		struct kveil_span s = {c.at, (size_t)n};
		c.at += n;
		if (tag >> 3 == key_field)
			ret->key = s;
		else if (tag >> 3 == 2 && key_field == 3 && s.len >= 2 && s.data[0] == 1 << 3)
			ret->hash = s.data[1];
	}
	return true;
}

/* The algorithm whose type, size and hash these are. */
static const struct kveil_algorithm *recognise(const char *type_url, struct kveil_span bytes, struct value *v)
{
	for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
		const struct kveil_algorithm *alg = kveil_algorithm_by_name(kveil_span_str(layouts[i].algorithm));
		*v = (struct value){0};
		if (alg && alg->tink_type && strcmp(alg->tink_type, type_url) == 0 &&
		    get_value(bytes, layouts[i].key_field, v) && v->key.len == alg->key_bytes &&
		    v->hash == layouts[i].hash && v->version == 0)
			return alg;
	}
	*v = (struct value){0};
	if (strncmp(type_url, other_type, sizeof other_type - 1) != 0)
		return NULL;
	const struct kveil_algorithm *alg = kveil_algorithm_by_name(kveil_span_str(type_url + sizeof other_type - 1));
	return alg && !alg->tink_type && get_value(bytes, 3, v) && v->key.len == alg->key_bytes && v->hash == 0 &&
		       v->version == 0
		   ? alg
		   : NULL;
}

/* A keyset whose members were mixed up may hold key bytes anywhere: only words that Tink has are said again. */
static const char *known_word(const char *word, const char *const *known)
{
	for (; *known; known++)
		if (strcmp(*known, word) == 0)
			return *known;
	return NULL;
}

static const char *const statuses[] = {"ENABLED", "DISABLED", "DESTROYED", NULL};
static const char *const prefixes[] = {"TINK", "RAW", "LEGACY", "CRUNCHY", "WITH_ID_REQUIREMENT", NULL};

static bool is_type(const char *text)
{
	static const char google[] = "type.googleapis.com/google.crypto.tink.";
	bool ok =
	    strncmp(text, google, sizeof google - 1) == 0 || strncmp(text, other_type, sizeof other_type - 1) == 0;

	for (; ok && *text; text++)
		ok = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
		     (*text >= '0' && *text <= '9') || *text == '.' || *text == '/' || *text == '-' || *text == '_';
	return ok;
}

/* One member of "key", by form. */
struct item {
	const char *type, *value, *material, *status, *prefix;
	size_t value_len;
	json_int_t id;
};

static enum kveil_status no_keyset(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_CONFIG, "this is not a Tink keyset in JSON");
}

static enum kveil_status get_item(const json_t *json, struct item *ret, struct kveil_error *err)
{
	if (json_unpack((json_t *)json, "{s:{s:s, s:s%, s:s}, s:s, s:I, s:s}", "keyData", "typeUrl", &ret->type,
			"value", &ret->value, &ret->value_len, "keyMaterialType", &ret->material, "status",
			&ret->status, "keyId", &ret->id, "outputPrefixType", &ret->prefix) ||
	    ret->id < 1 || ret->id > UINT32_MAX)
		return no_keyset(err);
	if (!known_word(ret->status, statuses))
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u has a status that is none of Tink's",
				  (uint32_t)ret->id);
	return KVEIL_OK;
}

static bool is_enabled(const struct item *item)
{
	return strcmp(item->status, "ENABLED") == 0;
}

static enum kveil_status check_prefix(const struct item *item, const struct kveil_tink_key *key,
				      struct kveil_error *err)
{
	const char *prefix = known_word(item->prefix, prefixes);

	if (strcmp(item->prefix, prefix_name(key)) == 0)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u has output prefix %s, kveil's %s has %s", key->id,
			  prefix ? prefix : "unknown to Tink", key->alg->name, prefix_name(key));
}

static enum kveil_status check_type(const struct item *item, struct kveil_error *err)
{
	const uint32_t id = (uint32_t)item->id;

	if (strcmp(item->material, "SYMMETRIC") != 0)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u is not a symmetric key", id);
	if (!is_type(item->type))
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u is of no type that Tink or kveil writes", id);
	return KVEIL_OK;
}

static enum kveil_status read_key(const struct item *item, bool is_primary, kveil_tink_read_fn *fn, void *user,
				  struct kveil_error *err)
{
	size_t room = kveil_text_decoded_max(KVEIL_BASE64, item->value_len), n = 0;
	const struct kveil_algorithm *alg = NULL;
	enum kveil_status status = check_type(item, err);
	struct value v;

	if (status)
		return status;
	if (item->value_len > VALUE_MAX)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u is larger than any of kveil's keys",
				  (uint32_t)item->id);
	uint8_t *bytes = kveil_secret_alloc(room ? room : 1);
	if (!bytes)
		return kveil_secret_refused(err);
	if (kveil_text_decode(KVEIL_BASE64, (const uint8_t *)item->value, item->value_len, bytes, &n))
		alg = recognise(item->type, kveil_span_of(bytes, n), &v);
	else
		status = kveil_fail(err, KVEIL_E_CONFIG, "the value of key id %u is not base64", (uint32_t)item->id);
	if (!status && !alg)
		status = kveil_fail(err, KVEIL_E_UNSUPPORTED,
				    "key id %u is of a type, size or hash that kveil has no algorithm for: %.120s",
				    (uint32_t)item->id, item->type);
	if (!status) {
		struct kveil_tink_key key = {.alg = alg, .id = (uint32_t)item->id, .key = v.key.data};
		status = check_prefix(item, &key, err);
		if (!status)
			status = fn(user, &key, is_primary, err);
	}
	kveil_secret_free(bytes);
	return status;
}

static int by_id(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Each id once, and the primary one of the enabled keys: before any key is handed over. */
static enum kveil_status check_ids(const json_t *keys, json_int_t primary, struct kveil_error *err)
{
	size_t count = json_array_size(keys);
	uint32_t *ids = calloc(count + 1, sizeof *ids);
	enum kveil_status status = KVEIL_OK;
	bool found = false;
	struct item item;

	if (!ids)
		return kveil_no_memory(err, "a keyset");
	for (size_t i = 0; !status && i < count; i++) {
		status = get_item(json_array_get(keys, i), &item, err);
		ids[i] = status ? 0 : (uint32_t)item.id;
		found |= !status && item.id == primary && is_enabled(&item);
	}
	if (!status)
		qsort(ids, count, sizeof *ids, by_id);
	for (size_t i = 1; !status && i < count; i++)
		if (ids[i] == ids[i - 1])
			status = kveil_fail(err, KVEIL_E_CONFIG, "key id %u stands twice in the keyset", ids[i]);
	if (!status && !found)
		status = kveil_fail(err, KVEIL_E_CONFIG, "the keyset's primary key is not among its enabled keys");
	free(ids);
	return status;
}

/* jansson frees its strings unwiped. */
static void wipe_values(json_t *keys)
{
	for (size_t i = 0; i < json_array_size(keys); i++) {
		json_t *value = json_object_get(json_object_get(json_array_get(keys, i), "keyData"), "value");
		if (json_is_string(value))
			kveil_secret_wipe((char *)(uintptr_t)json_string_value(value), json_string_length(value));
	}
}

enum kveil_status kveil_tink_read_json(struct kveil_span json, kveil_tink_read_fn *fn, void *user,
				       struct kveil_error *err)
{
	json_t *tree = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);
	json_t *keys = json_object_get(tree, "key");
	json_int_t primary = 0;
	enum kveil_status status = KVEIL_OK;

	if (json_object_get(tree, "encryptedKeyset")) {
		status = kveil_fail(err, KVEIL_E_UNSUPPORTED, "this keyset is encrypted");
		kveil_error_hint(err, "decrypt it with Tinkey first, and remove the clear file when it is taken in");
	} else if (!json_is_array(keys) || json_array_size(keys) == 0 ||
		   json_unpack(tree, "{s:I}", "primaryKeyId", &primary))
		status = no_keyset(err);
	else
		status = check_ids(keys, primary, err);
	for (size_t i = 0; !status && i < json_array_size(keys); i++) {
		struct item item;
		status = get_item(json_array_get(keys, i), &item, err);
		if (!status && is_enabled(&item))
			status = read_key(&item, item.id == primary, fn, user, err);
	}
	wipe_values(keys);
	json_decref(tree);
	return status;
}
