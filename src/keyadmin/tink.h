/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keyadmin/tink.h: Google Tink's keysets, as bytes. No library of Tink's is needed: a keyset is four small protobuf
 * messages.
 *
 *   Keyset   1 primary_key_id   2 key…
 *   Key      1 key_data   2 status (ENABLED 1)   3 key_id   4 output_prefix_type (TINK 1, RAW 3)
 *   KeyData  1 type_url   2 value   3 key_material_type (SYMMETRIC 1)
 *   value    AesGcmKey, AesGcmSivKey {3 key_value}   AesSivKey {2 key_value}
 *            HmacPrfKey {2 params {1 hash}, 3 key_value}
 *
 * What Tink does not have (sm4-gcm, aes-256-ff1, …) is written in the same form with the type "kveil/ALGORITHM" and the
 * key in field 3: Tink's libraries refuse it, docs/opening.md has programs that take it, and kveil reads it back.
 *
 * Ciphers have Tink's prefix (0x01 | key id), which is what kveil seals. kveil's hash is the plain HMAC: a PRF in
 * Tink's words, whose prefix is always RAW; prf_set.primary().compute(data, 32) gives kveil's bytes.
 */
#ifndef KVEIL_KEYADMIN_TINK_H
#define KVEIL_KEYADMIN_TINK_H

#include "base/buf.h"
#include "crypto/algorithm.h"
#include "kveil/base.h"

struct kveil_tink_key {
	const struct kveil_algorithm *alg;
	uint32_t id;
	const uint8_t *key; /* alg->key_bytes; borrowed */
};

struct kveil_tink_keyset {
	uint32_t primary;
	struct kveil_tink_key *keys;
	size_t count;
};

/* The binary Keyset message; the JSON form with the keys in clear; the JSON EncryptedKeyset around sealed bytes. All
 * append to out, which grows no copy that is not wiped. */
void kveil_tink_write_binary(const struct kveil_tink_keyset *ks, struct kveil_buf *out);
void kveil_tink_write_json(const struct kveil_tink_keyset *ks, struct kveil_buf *out);
void kveil_tink_write_encrypted_json(const struct kveil_tink_keyset *ks, struct kveil_span sealed,
				     struct kveil_buf *out);

/* One key of a JSON keyset: bytes is secret memory that the receiver copies from. */
typedef enum kveil_status kveil_tink_read_fn(void *user, const struct kveil_tink_key *key, bool is_primary,
					     struct kveil_error *err);
/* Reads a clear JSON keyset. Keys that are DISABLED or DESTROYED are passed over. Another type, size, prefix or status
 * than above is KVEIL_E_UNSUPPORTED and names the key id; what is not a keyset at all, has an id twice or a primary
 * that is not enabled is KVEIL_E_CONFIG, before fn is called. Errors repeat nothing of the file but ids and Tink's own
 * words. */
enum kveil_status kveil_tink_read_json(struct kveil_span json, kveil_tink_read_fn *fn, void *user,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
