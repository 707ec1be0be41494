/* SPDX-License-Identifier: Apache-2.0 */
/* The record of one version: its text, its MAC, what is wrapped. */
#include "registry/key_record.h"

#include "registry/registry_text.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char payload_magic[4] = {'K', 'V', 'K', '1'};

static const char *const state_names[] = {
    [KVEIL_KEY_LIVE] = "live",
    [KVEIL_KEY_OPENS_ONLY] = "opens-only",
    [KVEIL_KEY_RETIRED] = "retired",
    [KVEIL_KEY_DESTROYED] = "destroyed",
};

const char *kveil_key_state_name(enum kveil_key_state state)
{
	return state_names[state];
}

void kveil_registry_secret_free(struct kveil_registry_secret *secret)
{
	while (secret) {
		struct kveil_registry_secret *before = secret->before;
		kveil_secret_free(secret);
		secret = before;
	}
}

enum kveil_status kveil_registry_secret_derive(struct kveil_registry_secret *s, struct kveil_error *err)
{
	const struct {
		const char *label;
		uint8_t *key;
	} subkeys[] = {
	    {"kveil registry record", s->record_key},     {"kveil registry document", s->document_key},
	    {"kveil registry mark", s->mark_key},         {"kveil registry name", s->name_key},
	    {"kveil registry log", s->log_key},           {"kveil registry event", s->event_key},
	    {"kveil registry commitment", s->commitment},
	};

	s->name_hash = s->hash;
	for (size_t i = 0; i < sizeof subkeys / sizeof *subkeys; i++) {
		enum kveil_status status = kveil_crypto_hkdf(s->hash, kveil_span_of(s->root, sizeof s->root),
							     subkeys[i].label, subkeys[i].key, 32, err);
		if (status)
			return status;
	}
	return KVEIL_OK;
}

void kveil_key_record_clear(struct kveil_key_record *r)
{
	free(r->wrapped);
	*r = (struct kveil_key_record){0};
}

/* --- one KEK or two --- */

size_t kveil_kek_names(const char *keks, struct kveil_key_wrapping ret[KVEIL_WRAPPINGS_MAX])
{
	size_t count = 0;

	for (const char *at = keks; at; count++) {
		const char *plus = strchr(at, '+');
		size_t n = plus ? (size_t)(plus - at) : strlen(at);
		if (count == KVEIL_WRAPPINGS_MAX || n == 0 || n > KVEIL_KEK_NAME_MAX)
			return 0;
		ret[count] = (struct kveil_key_wrapping){.bytes = KVEIL_SPAN_NULL};
		memcpy(ret[count].kek, at, n);
		at = plus ? plus + 1 : NULL;
	}
	return count;
}

bool kveil_kek_names_have(const char *keks, const char *kek)
{
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(keks, by);

	for (size_t i = 0; i < count; i++)
		if (strcmp(by[i].kek, kek) == 0)
			return true;
	return false;
}

enum { FIRST_LENGTH = 4 };

size_t kveil_key_record_wrappings(const struct kveil_key_record *r, struct kveil_key_wrapping ret[KVEIL_WRAPPINGS_MAX])
{
	size_t count = kveil_kek_names(r->kek, ret);

	if (count < 2) {
		ret[0].bytes = kveil_span_of(r->wrapped, r->wrapped_len);
		return count;
	}
	size_t first = r->wrapped_len > FIRST_LENGTH ? kveil_be32(r->wrapped) : 0;
	if (first == 0 || first >= r->wrapped_len - FIRST_LENGTH)
		return 0;
	ret[0].bytes = kveil_span_of(r->wrapped + FIRST_LENGTH, first);
	ret[1].bytes = kveil_span_of(r->wrapped + FIRST_LENGTH + first, r->wrapped_len - FIRST_LENGTH - first);
	return count;
}

bool kveil_key_record_copy(struct kveil_key_record *dst, const struct kveil_key_record *src)
{
	*dst = *src;
	dst->wrapped = NULL;
	if (src->wrapped) {
		dst->wrapped = malloc(src->wrapped_len ? src->wrapped_len : 1);
		if (!dst->wrapped)
			return false;
		memcpy(dst->wrapped, src->wrapped, src->wrapped_len);
	}
	return true;
}

static bool is_name_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
	       c == '-';
}

bool kveil_key_name_valid(struct kveil_span name, bool pattern)
{
	unsigned braces = 0;

	if (name.len == 0 || name.len > KVEIL_KEY_NAME_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (pattern && name.data[i] == '{' && i + 1 < name.len && name.data[i + 1] == '}') {
			braces++;
			i++;
		} else if (!is_name_char(name.data[i]))
			return false;
	}
	return braces <= 1;
}

bool kveil_key_record_supersedes(const struct kveil_key_record *next, const struct kveil_key_record *old)
{
	return next->id == old->id && next->version == old->version && strcmp(next->name, old->name) == 0 &&
	       (next->state > old->state || (next->state == old->state && next->sequence > old->sequence));
}

bool kveil_key_record_renumbers(const struct kveil_key_record *next, const struct kveil_key_record *old)
{
	return next->id == old->id && next->version > old->version && strcmp(next->name, old->name) == 0 &&
	       next->state >= old->state;
}

void kveil_key_record_advance(struct kveil_key_record *r)
{
	r->sequence += r->sequence < UINT32_MAX;
}

static void put(struct kveil_buf *b, uint64_t value, unsigned bytes)
{
	while (bytes--)
		kveil_buf_append_byte(b, (uint8_t)(value >> (8 * bytes)));
}

static void put_bytes(struct kveil_buf *b, const void *data, size_t n)
{
	put(b, n, 4);
	kveil_buf_append(b, data, n);
}

void kveil_key_record_canonical(const struct kveil_key_record *r, struct kveil_buf *out)
{
	put_bytes(out, r->name, strlen(r->name));
	put_bytes(out, r->kek, strlen(r->kek));
	put(out, r->id, 4);
	put(out, r->version, 4);
	put(out, r->sequence, 4);
	put(out, r->algorithm, 2);
	put(out, (uint64_t)r->state, 1);
	put(out, (uint64_t)r->created_ms, 8);
	put(out, (uint64_t)r->active_from_ms, 8);
	put(out, (uint64_t)r->expires_ms, 8);
	put(out, (uint64_t)r->changed_ms, 8);
	put_bytes(out, r->wrapped, r->wrapped_len);
}

static enum kveil_status mac_of(const struct kveil_key_record *r, const struct kveil_registry_secret *secret,
				uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_append(&text, secret->id, sizeof secret->id);
	kveil_key_record_canonical(r, &text);
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "a key record");
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->record_key, sizeof secret->record_key),
				 kveil_buf_span(&text), mac, err);
}

enum kveil_status kveil_key_record_sign(struct kveil_key_record *r, const struct kveil_registry_secret *secret,
					struct kveil_error *err)
{
	return mac_of(r, secret, r->mac, err);
}

enum kveil_status kveil_key_record_verify(const struct kveil_key_record *r, const struct kveil_registry_secret *secret,
					  struct kveil_error *err)
{
	uint8_t mac[KVEIL_MAC_BYTES];
	enum kveil_status status = mac_of(r, secret, mac, err);

	if (status)
		return status;
	if (!kveil_secret_eq(mac, r->mac, sizeof mac))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "the record of key '%s' version %u was altered",
				  r->name, r->version);
	return KVEIL_OK;
}

static uint8_t *store(uint8_t *at, uint64_t value, unsigned bytes)
{
	while (bytes--)
		*at++ = (uint8_t)(value >> (8 * bytes));
	return at;
}

enum kveil_status kveil_key_record_wrap(struct kveil_key_record *r, const struct kveil_key_wrapping *by, size_t count,
					struct kveil_error *err)
{
	size_t second = count == 2 ? FIRST_LENGTH + by[1].bytes.len : 0, n = by[0].bytes.len + second;
	char keks[sizeof r->kek];
	int length = second ? snprintf(keks, sizeof keks, "%s+%s", by[0].kek, by[1].kek)
			    : snprintf(keks, sizeof keks, "%s", by[0].kek);

	if (n > KVEIL_WRAPPED_BYTES_MAX || length >= (int)sizeof keks)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED,
				  "key '%s': its KEKs make too much of it (%zu bytes), or their names are too long",
				  r->name, n);
	uint8_t *wrapped = malloc(n ? n : 1), *at = wrapped;
	if (!wrapped)
		return kveil_no_memory(err, "a key");
	if (second)
		at = store(at, by[0].bytes.len, FIRST_LENGTH);
	for (size_t i = 0; i < count; i++) {
		memcpy(at, by[i].bytes.data, by[i].bytes.len);
		at += by[i].bytes.len;
	}
	free(r->wrapped);
	r->wrapped = wrapped;
	r->wrapped_len = n;
	memcpy(r->kek, keks, (size_t)length + 1);
	return KVEIL_OK;
}

size_t kveil_key_payload_head(const struct kveil_key_record *r, const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES],
			      uint8_t *out)
{
	size_t name_len = strlen(r->name);
	uint8_t *at = out;

	memcpy(at, payload_magic, sizeof payload_magic);
	at += sizeof payload_magic;
	memcpy(at, registry_id, KVEIL_REGISTRY_ID_BYTES);
	at = store(at + KVEIL_REGISTRY_ID_BYTES, r->algorithm, 2);
	at = store(at, r->id, 4);
	at = store(at, r->version, 4);
	at = store(at, (uint64_t)r->created_ms, 8);
	at = store(at, (uint64_t)r->active_from_ms, 8);
	at = store(at, (uint64_t)r->expires_ms, 8);
	at = store(at, name_len, 1);
	memcpy(at, r->name, name_len);
	return (size_t)(at + name_len - out);
}

size_t kveil_key_payload_write(const struct kveil_key_record *r, const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES],
			       struct kveil_span key, uint8_t *out)
{
	size_t n = kveil_key_payload_head(r, registry_id, out);

	store(out + n, key.len, 2);
	memcpy(out + n + 2, key.data, key.len);
	return n + 2 + key.len;
}

enum kveil_status kveil_key_payload_read(const struct kveil_key_record *r,
					 const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES], struct kveil_span payload,
					 struct kveil_span *ret_key, struct kveil_error *err)
{
	uint8_t head[KVEIL_PAYLOAD_MAX];
	size_t n = kveil_key_payload_head(r, registry_id, head);
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);

	if (!alg)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED,
				  "key '%s' version %u: this kveil does not know algorithm %u", r->name, r->version,
				  r->algorithm);
	if (payload.len != n + 2 + alg->key_bytes || !kveil_secret_eq(payload.data, head, n) ||
	    kveil_be16(payload.data + n) != alg->key_bytes) {
		kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "the wrapped key beside '%s' version %u is another one's",
			   r->name, r->version);
		kveil_error_hint(
		    err, "somebody with the registry's secret wrote it: move the registry away and bring back a "
			 "backup (`kveil keys restore`)");
		return KVEIL_E_REGISTRY_CORRUPT;
	}
	*ret_key = kveil_span_of(payload.data + n + 2, alg->key_bytes);
	return KVEIL_OK;
}

json_t *kveil_key_record_to_tree(const struct kveil_key_record *r)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	char id[9];

	if (!alg)
		return NULL;
	snprintf(id, sizeof id, "%08x", r->id);
	return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:o, s:o}", "name", r->name,
			 "version", (json_int_t)r->version, "id", id, "algorithm", alg->name, "kek", r->kek, "created",
			 (json_int_t)r->created_ms, "active", (json_int_t)r->active_from_ms, "expires",
			 (json_int_t)r->expires_ms, "state", state_names[r->state], "sequence", (json_int_t)r->sequence,
			 "changed", (json_int_t)r->changed_ms, "wrapped",
			 kveil_registry_text_of(KVEIL_BASE64, r->wrapped, r->wrapped_len), "mac",
			 kveil_registry_text_of(KVEIL_BASE64, r->mac, sizeof r->mac));
}

/* What a reader collects before it judges. */
struct raw {
	const char *name, *id, *algorithm, *kek, *state, *wrapped, *mac;
	size_t name_len, kek_len, wrapped_len, mac_len;
	json_int_t version, sequence, created, active, expires, changed;
};

/* Far enough for any key, and near enough to reckon with. */
static const json_int_t TIME_MAX_MS = INT64_C(1) << 53;

static bool number(json_int_t in, json_int_t min, json_int_t max)
{
	return in >= min && in <= max;
}

static bool parse_id(const char *text, uint32_t *ret)
{
	uint8_t bytes[4];

	if (!kveil_registry_text_read(KVEIL_HEX, text, strlen(text), bytes, sizeof bytes))
		return false;
	*ret = kveil_be32(bytes);
	return *ret != 0;
}

static bool parse_state(const char *text, enum kveil_key_state *ret)
{
	for (int s = KVEIL_KEY_LIVE; s <= KVEIL_KEY_DESTROYED; s++)
		if (strcmp(state_names[s], text) == 0) {
			*ret = (enum kveil_key_state)s;
			return true;
		}
	return false;
}

static bool parse_wrapped(const struct raw *raw, struct kveil_key_record *r)
{
	size_t room = kveil_text_decoded_max(KVEIL_BASE64, raw->wrapped_len);
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];

	if (r->state == KVEIL_KEY_DESTROYED)
		return raw->wrapped_len == 0;
	if (raw->wrapped_len == 0 || raw->wrapped_len > 2 * KVEIL_WRAPPED_BYTES_MAX)
		return false;
	r->wrapped = malloc(room ? room : 1);
	return r->wrapped &&
	       kveil_text_decode(KVEIL_BASE64, (const uint8_t *)raw->wrapped, raw->wrapped_len, r->wrapped,
				 &r->wrapped_len) &&
	       r->wrapped_len <= KVEIL_WRAPPED_BYTES_MAX && kveil_key_record_wrappings(r, by) > 0;
}

static bool parse(const struct raw *raw, struct kveil_key_record *r)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_name(kveil_span_str(raw->algorithm));

	if (!kveil_key_name_valid(kveil_span_of(raw->name, raw->name_len), true) || raw->kek_len == 0 ||
	    raw->kek_len > KVEIL_KEK_NAME_MAX || strlen(raw->kek) != raw->kek_len || !alg)
		return false;
	if (!number(raw->version, 1, UINT32_MAX) || !number(raw->sequence, 1, UINT32_MAX) ||
	    !number(raw->created, 0, TIME_MAX_MS) || !number(raw->active, 0, TIME_MAX_MS) ||
	    !number(raw->expires, 0, TIME_MAX_MS) || !number(raw->changed, 0, TIME_MAX_MS))
		return false;
	memcpy(r->name, raw->name, raw->name_len + 1);
	memcpy(r->kek, raw->kek, raw->kek_len + 1);
	r->version = (uint32_t)raw->version;
	r->sequence = (uint32_t)raw->sequence;
	r->algorithm = alg->wire_id;
	r->created_ms = raw->created;
	r->active_from_ms = raw->active;
	r->expires_ms = raw->expires;
	r->changed_ms = raw->changed;
	return kveil_registry_text_read(KVEIL_BASE64, raw->mac, raw->mac_len, r->mac, sizeof r->mac) &&
	       parse_id(raw->id, &r->id) && parse_state(raw->state, &r->state) && parse_wrapped(raw, r);
}

enum kveil_status kveil_key_record_from_tree(json_t *object, struct kveil_key_record *ret, struct kveil_error *err)
{
	struct kveil_key_record r = {0};
	struct raw raw;

	if (json_unpack_ex(object, NULL, JSON_STRICT,
			   "{s:s%, s:I, s:s, s:s, s:s%, s:I, s:I, s:I, s:s, s:I, s:I, s:s%, s:s%}", "name", &raw.name,
			   &raw.name_len, "version", &raw.version, "id", &raw.id, "algorithm", &raw.algorithm, "kek",
			   &raw.kek, &raw.kek_len, "created", &raw.created, "active", &raw.active, "expires",
			   &raw.expires, "state", &raw.state, "sequence", &raw.sequence, "changed", &raw.changed,
			   "wrapped", &raw.wrapped, &raw.wrapped_len, "mac", &raw.mac, &raw.mac_len))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "this is not a key record");
	if (!parse(&raw, &r)) {
		kveil_key_record_clear(&r);
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT,
				  "a key record contains something that kveil does not write");
	}
	*ret = r;
	return KVEIL_OK;
}

enum kveil_status kveil_key_record_to_json(const struct kveil_key_record *r, struct kveil_buf *out,
					   struct kveil_error *err)
{
	json_t *tree = kveil_key_record_to_tree(r);
	char *text = tree ? json_dumps(tree, JSON_COMPACT) : NULL;

	if (text)
		kveil_buf_append_str(out, text);
	free(text);
	json_decref(tree);
	return text && kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a key record");
}

enum kveil_status kveil_key_record_from_json(struct kveil_span json, struct kveil_key_record *ret,
					     struct kveil_error *err)
{
	json_t *tree = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, NULL);

	if (!tree)
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "this is not a key record");
	enum kveil_status status = kveil_key_record_from_tree(tree, ret, err);
	json_decref(tree);
	return status;
}
