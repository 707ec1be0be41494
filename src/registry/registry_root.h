/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_root.h: the root of a registry: its id, and its own secret as each KEK wrapped it.
 *
 *   wrapped = KEK( payload )   payload = "KVR1" | registry id (16) | secret (32)
 *                                     or "KVR2" | registry id (16) | number (4) | hash (1) | hash of names (1) |
 *                                        secret (32) | key of names (32)
 *
 * KVR1 is number 0 and SHA-256, which is what a registry begins with unless all its keys are of SM algorithms: then its
 * MACs and subkeys are of SM3. The number says how many secrets there were before; names out of records are hashed with
 * the same key under all of them. What is not KVR1 says so outside as well, for those who cannot unwrap:
 *
 *   "secret": {"number": N, "mac": "hmac-sm3", "commitment": BASE64, "previous": BASE64}
 *
 * and MACs over the root begin with it. From number 1 on, commitment is a subkey that is not a secret, and previous a
 * MAC over it under the secret before.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_ROOT_H
#define KVEIL_REGISTRY_REGISTRY_ROOT_H

#include "custody/provider.h"
#include "registry/key_record.h"

/* The registry's secret as one KEK wrapped it. */
struct kveil_registry_root_key {
	char kek[KVEIL_KEK_NAME_MAX + 1];
	uint8_t *wrapped; /* owned */
	size_t wrapped_len;
};

struct kveil_registry_root {
	uint8_t id[KVEIL_REGISTRY_ID_BYTES];
	uint32_t number; /* of secrets before this one */
	enum kveil_hash hash;
	uint8_t commitment[32], previous[KVEIL_MAC_BYTES]; /* zero under the first secret */
	struct kveil_registry_root_key *keys;
	size_t count;
};

void kveil_registry_root_clear(struct kveil_registry_root *root);
bool kveil_registry_root_add(struct kveil_registry_root *root, const char *kek,
			     struct kveil_span wrapped) KVEIL_MUST_CHECK;
/* As this KEK wrapped the secret; NULL: it did not. */
const struct kveil_registry_root_key *kveil_registry_root_find(const struct kveil_registry_root *root, const char *kek);
/* Copies: all keys of from, and those and its id in the place of what `to` has. false: out of memory, and `to` is to be
 * cleared. */
bool kveil_registry_root_add_all(struct kveil_registry_root *to,
				 const struct kveil_registry_root *from) KVEIL_MUST_CHECK;
bool kveil_registry_root_copy(struct kveil_registry_root *to, const struct kveil_registry_root *from) KVEIL_MUST_CHECK;
/* The first secret of a new registry, and root with it wrapped by each of the KEKs. *ret is secret memory. */
enum kveil_status kveil_registry_root_new(struct kveil_kek *const *keks, size_t count, enum kveil_hash hash,
					  struct kveil_registry_root *root, struct kveil_registry_secret **ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Wraps secret by one more KEK. */
enum kveil_status kveil_registry_root_wrap(const struct kveil_registry_secret *secret, struct kveil_kek *kek,
					   struct kveil_registry_root *root, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Unwraps the root's secret with the first KEK that can. WRONG_KEK if all that are here refuse. */
enum kveil_status kveil_registry_root_open(const struct kveil_registry_root *root, struct kveil_kek *const *keks,
					   size_t count, struct kveil_registry_secret **ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* The secret after this one, with the same id and the same names, wrapped by each of the KEKs and authorised by it. */
enum kveil_status kveil_registry_root_succeed(const struct kveil_registry_secret *secret, struct kveil_kek *const *keks,
					      size_t count, enum kveil_hash hash, struct kveil_registry_root *root,
					      struct kveil_registry_secret **ret,
					      struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is this the root of the secret after this one, and did this one authorise it? */
bool kveil_registry_root_follows(const struct kveil_registry_root *root, const struct kveil_registry_secret *secret);

/* All but the keys. */
struct kveil_registry_root kveil_registry_root_head(const struct kveil_registry_root *root);
/* Number 0 and SHA-256: nothing of it is outside the wrapping. */
bool kveil_registry_root_is_plain(const struct kveil_registry_root *root);
/* What MACs over the root begin with; nothing where it is plain. */
void kveil_registry_root_canonical(const struct kveil_registry_root *root, struct kveil_buf *out);
/* "secret", of a root that is not plain. A new reference; NULL: out of memory. */
json_t *kveil_registry_root_to_tree(const struct kveil_registry_root *root);
/* Strict; false: it is not so. */
bool kveil_registry_root_from_tree(const json_t *tree, struct kveil_registry_root *root) KVEIL_MUST_CHECK;

#endif
