/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/key_record.h: one version of one key as a registry holds it, whatever the registry is stored in.
 *
 *   message key   NAME/ID                                     (ID: 8 hex digits)
 *   value         {"name", "version", "id", "algorithm", "kek", "created", "active", "expires",
 *                  "state", "sequence", "changed", "wrapped", "mac"}
 *
 * The whole record is the value, so that compaction keeps exactly what is needed: a change of state is the same record
 * with a higher sequence, and a destroyed version is a record without wrapped bytes.
 *
 *   wrapped = KEK( payload )
 *   payload = "KVK1" | registry id (16) | algorithm (2) | id (4) | version (4) | created (8) | active (8) |
 *             expires (8) | name length (1) | name | key length (2) | key
 *   mac     = HMAC (registry_root.h says of which hash) under the registry key's "record" subkey, over every field in a
 *             fixed binary order
 *
 * A second KEK may wrap the same payload, for the day when the first is lost. Then kek is "FIRST+SECOND", and
 *
 *   wrapped = length of the first's (4) | FIRST( payload ) | SECOND( payload )
 *
 * To a kveil that does not know of this it is one KEK that no configuration has, so it leaves the version alone.
 *
 * The payload makes a wrapped key say what it is, so it cannot be moved to another name or registry; the MAC guards
 * what is outside the wrapping (state, sequence), and stands against those who can wrap but not unwrap. Numbers are
 * big-endian. States only go up (LIVE < OPENS_ONLY < RETIRED < DESTROYED); within a state a higher sequence supersedes:
 * so a version that was destroyed stays so, whoever wrote at the same moment and whatever is replayed.
 */
#ifndef KVEIL_REGISTRY_KEY_RECORD_H
#define KVEIL_REGISTRY_KEY_RECORD_H

#include "base/buf.h"
#include "crypto/algorithm.h"
#include "crypto/crypto.h"
#include "kveil/keys.h"

enum {
	KVEIL_KEK_NAME_MAX = 64, /* of both with the plus, where there are two */
	KVEIL_WRAPPINGS_MAX = 2,
	KVEIL_KEY_BYTES_MAX = 128,       /* of key material */
	KVEIL_WRAPPED_BYTES_MAX = 16384, /* CMS and a KMS's envelope are larger than KWP */
	KVEIL_MAC_BYTES = 32,
	KVEIL_REGISTRY_ID_BYTES = 16,
	KVEIL_REGISTRY_ID_TEXT = 2 * KVEIL_REGISTRY_ID_BYTES + 11 + 1, /* in hex, with .N and a NUL */
};

enum kveil_key_state {
	KVEIL_KEY_LIVE = 1,   /* seals when it is its time, and opens */
	KVEIL_KEY_OPENS_ONLY, /* restored or imported: its nonces may have been used elsewhere */
	KVEIL_KEY_RETIRED,    /* taken out of use; opens what it sealed */
	KVEIL_KEY_DESTROYED,  /* its bytes are gone */
};

struct kveil_key_record {
	char name[KVEIL_KEY_NAME_MAX + 1];
	char kek[KVEIL_KEK_NAME_MAX + 1]; /* which of keys.keks wrapped it: "A", or "A+B" */
	uint32_t id;                      /* Tink's key id: random, unique in the registry, never 0 */
	uint32_t version;                 /* 1, 2, … within the name; the first record for a version wins */
	uint32_t sequence;                /* of changes to this record, from 1 */
	uint16_t algorithm;               /* wire id */
	enum kveil_key_state state;
	int64_t created_ms, active_from_ms;
	int64_t expires_ms; /* seals no more from then on; 0 = no end */
	int64_t changed_ms; /* when the state was last changed */
	uint8_t *wrapped;   /* owned; NULL once destroyed */
	size_t wrapped_len;
	uint8_t mac[KVEIL_MAC_BYTES];
};

/* The registry's own secret and what comes out of it (HKDF labels in key_record.c). Secret memory. */
struct kveil_registry_secret {
	uint8_t id[KVEIL_REGISTRY_ID_BYTES]; /* public, kept here because every MAC and payload binds it */
	enum kveil_hash hash, name_hash; /* of its MACs and subkeys; of the names that stand for names out of records */
	uint32_t number;                 /* how many there were before it */
	uint8_t root[32];
	uint8_t record_key[32], document_key[32], mark_key[32], name_key[32], log_key[32], event_key[32];
	uint8_t commitment[32]; /* public: names the secret */
	int64_t from;           /* in a log: from this offset on it alone counts; INT64_MAX = not known yet */
	struct kveil_registry_secret *before; /* the one that it took the place of, where that is known; owned */
};

/* And those before it; NULL is fine. */
void kveil_registry_secret_free(struct kveil_registry_secret *secret);
/* Derives the subkeys of secret->root. */
enum kveil_status kveil_registry_secret_derive(struct kveil_registry_secret *secret,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

void kveil_key_record_clear(struct kveil_key_record *r);

/* What one KEK made of a payload. */
struct kveil_key_wrapping {
	char kek[KVEIL_KEK_NAME_MAX + 1];
	struct kveil_span bytes; /* borrowed */
};
/* The names in "A" or "A+B", without bytes; how many. 0: it is neither. */
size_t kveil_kek_names(const char *keks, struct kveil_key_wrapping ret[KVEIL_WRAPPINGS_MAX]);
bool kveil_kek_names_have(const char *keks, const char *kek);
/* The same with their bytes, of a record that is not destroyed. */
size_t kveil_key_record_wrappings(const struct kveil_key_record *r, struct kveil_key_wrapping ret[KVEIL_WRAPPINGS_MAX]);
/* Copies them into the place of what r has; they may be r's own. */
enum kveil_status kveil_key_record_wrap(struct kveil_key_record *r, const struct kveil_key_wrapping *by, size_t count,
					struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is it no version, but says that its name was destroyed as a whole? */
static inline bool kveil_key_record_ends_name(const struct kveil_key_record *r)
{
	return r->version == UINT32_MAX && r->state == KVEIL_KEY_DESTROYED;
}

bool kveil_key_record_copy(struct kveil_key_record *dst, const struct kveil_key_record *src) KVEIL_MUST_CHECK;
/* 1 to KVEIL_KEY_NAME_MAX of [A-Za-z0-9._-], or a pattern with one {}. */
bool kveil_key_name_valid(struct kveil_span name, bool pattern);

/* Does next, about the same version of the same name, stand in place of old? */
bool kveil_key_record_supersedes(const struct kveil_key_record *next, const struct kveil_key_record *old);

/* Is next the same key under a later number of the same name? An import that lost its number goes on so. */
bool kveil_key_record_renumbers(const struct kveil_key_record *next, const struct kveil_key_record *old);

/* One more change of the record. The last number of all is not left again: then only a higher state supersedes. */
void kveil_key_record_advance(struct kveil_key_record *r);

/* Every field but the MAC, in a fixed binary order. */
void kveil_key_record_canonical(const struct kveil_key_record *r, struct kveil_buf *out);
/* Sets r->mac. */
enum kveil_status kveil_key_record_sign(struct kveil_key_record *r, const struct kveil_registry_secret *secret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is r->mac right? KVEIL_E_REGISTRY_CORRUPT if not. */
enum kveil_status kveil_key_record_verify(const struct kveil_key_record *r, const struct kveil_registry_secret *secret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;

/* The bytes to wrap for r and key; out (secret memory) has room for KVEIL_PAYLOAD_MAX. */
enum { KVEIL_PAYLOAD_MAX = 4 + 16 + 2 + 4 + 4 + 8 + 8 + 8 + 1 + KVEIL_KEY_NAME_MAX + 2 + KVEIL_KEY_BYTES_MAX };
/* All of it that stands before the length of the key; out has room for KVEIL_PAYLOAD_MAX. */
size_t kveil_key_payload_head(const struct kveil_key_record *r, const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES],
			      uint8_t *out);
size_t kveil_key_payload_write(const struct kveil_key_record *r, const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES],
			       struct kveil_span key, uint8_t *out);
/* The key inside an unwrapped payload, if the payload is r's own: else KVEIL_E_REGISTRY_CORRUPT. Borrowed. */
enum kveil_status kveil_key_payload_read(const struct kveil_key_record *r,
					 const uint8_t registry_id[KVEIL_REGISTRY_ID_BYTES], struct kveil_span payload,
					 struct kveil_span *ret_key, struct kveil_error *err) KVEIL_MUST_CHECK;

/* As a JSON object (compact, one line), and back. Strict: unknown members, wrong types and bad names are
 * KVEIL_E_REGISTRY_CORRUPT. ret is owned by the caller on success only. */
enum kveil_status kveil_key_record_to_json(const struct kveil_key_record *r, struct kveil_buf *out,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_key_record_from_json(struct kveil_span json, struct kveil_key_record *ret,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same from jansson's tree, for documents that hold many. */
typedef struct json_t json_t;
enum kveil_status kveil_key_record_from_tree(json_t *object, struct kveil_key_record *ret,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
json_t *kveil_key_record_to_tree(const struct kveil_key_record *r); /* a new reference, or NULL */

const char *kveil_key_state_name(enum kveil_key_state state); /* "live", as records spell it */

#endif
