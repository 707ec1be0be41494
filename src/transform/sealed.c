/* SPDX-License-Identifier: Apache-2.0 */
/* What encrypt, decrypt and reencrypt share: values as bytes and back. */
#include "transform/sealed.h"

#include "crypto/algorithm.h"

const char *const kveil_sealed_encodings[] = {
    [KVEIL_BASE64] = "base64", [KVEIL_BASE64URL] = "base64url", [KVEIL_HEX] = "hex", NULL};
const char *const kveil_sealed_types[] = {[KVEIL_SEALED_STRING] = "string", [KVEIL_SEALED_JSON] = "json", NULL};

static inline enum kveil_status encode(struct kveil_span bytes, enum kveil_encoding encoding, struct kveil_buf *out,
				       struct kveil_error *err)
{
	size_t n = kveil_text_encoded_len(encoding, bytes.len);
	uint8_t *room = kveil_buf_reserve(out, n);

	if (!room)
		return kveil_no_memory(err, NULL);
	kveil_text_encode(encoding, bytes.data, bytes.len, room);
	out->len += n;
	return KVEIL_OK;
}

enum kveil_status kveil_sealed_encode(struct kveil_span bytes, enum kveil_encoding encoding, struct kveil_buf *out,
				      struct kveil_error *err)
{
	return encode(bytes, encoding, out, err);
}

enum kveil_status kveil_sealed_write_bytes(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain,
					   struct kveil_buf *out, struct kveil_error *err)
{
	uint8_t *room = kveil_buf_reserve(out, kveil_key_sealed_max(key, plain.len));
	size_t n;

	if (!room)
		return kveil_no_memory(err, NULL);
	enum kveil_status s = kveil_key_seal(key, ad, plain, room, &n, err);
	if (!s)
		out->len += n;
	return s;
}

enum kveil_status kveil_sealed_write(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain,
				     enum kveil_encoding encoding, struct kveil_arena *arena, struct kveil_buf *out,
				     struct kveil_error *err)
{
	uint8_t small[512]; /* most fields; holds nothing clear */
	size_t most = kveil_key_sealed_max(key, plain.len), n;
	uint8_t *sealed = most <= sizeof small ? small : kveil_arena_alloc(arena, most);

	if (!sealed)
		return kveil_no_memory(err, NULL);
	enum kveil_status s = kveil_key_seal(key, ad, plain, sealed, &n, err);
	return s ? s : encode(kveil_span_of(sealed, n), encoding, out, err);
}

enum kveil_status kveil_sealed_read_bytes(const struct kveil_action_call *call, struct kveil_span bytes,
					  struct kveil_span *ret_plain, struct kveil_error *err)
{
	struct kveil_span ad = call->ad_read.len ? call->ad_read : call->ad;
	uint8_t *plain = kveil_arena_alloc(call->arena, bytes.len);
	size_t n = bytes.len;

	if (!plain)
		return kveil_no_memory(err, NULL);
	enum kveil_status s = kveil_key_open(call->key, ad, bytes, plain, &n, err);
	*ret_plain = kveil_span_of(plain, n);
	return s;
}

enum kveil_status kveil_sealed_read(const struct kveil_action_call *call, struct kveil_span text,
				    enum kveil_encoding encoding, struct kveil_span *ret_plain, struct kveil_error *err)
{
	size_t most = kveil_text_decoded_max(encoding, text.len), n;
	uint8_t *sealed = kveil_arena_alloc(call->arena, most);

	if (!sealed)
		return kveil_no_memory(err, NULL);
	if (!kveil_text_decode(encoding, text.data, text.len, sealed, &n))
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "not %s", kveil_sealed_encodings[encoding]);
	return kveil_sealed_read_bytes(call, kveil_span_of(sealed, n), ret_plain, err);
}

static bool is_random(const struct kveil_key *key)
{
	const struct kveil_algorithm *a = key ? kveil_key_algorithm(key) : NULL;

	return !a || a->kind == KVEIL_ALG_AEAD;
}

bool kveil_sealed_keeps_apart(const struct kveil_action_call *call)
{
	return !is_random(call->key) && (!call->key2 || !is_random(call->key2));
}
