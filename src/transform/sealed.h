/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transform/sealed.h: ciphertext as text, for the actions that write or read it.
 *
 *   value ─ seal ─► 0x01 | key id | nonce | ciphertext | tag ─ base64, base64url or hex ─► the field's text
 */
#ifndef KVEIL_TRANSFORM_SEALED_H
#define KVEIL_TRANSFORM_SEALED_H

#include "base/text.h"
#include "transform/action.h"

extern const char *const kveil_sealed_encodings[]; /* as enum kveil_encoding */
extern const char *const kveil_sealed_types[];     /* as enum kveil_sealed_type */
enum kveil_sealed_type { KVEIL_SEALED_STRING, KVEIL_SEALED_JSON };

#define KVEIL_SEALED_AD_HELP "associated data instead of `NAME:PATH`; may contain `{$.path}`"

/* Seals plain and appends the text. */
enum kveil_status kveil_sealed_write(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain,
				     enum kveil_encoding encoding, struct kveil_arena *arena, struct kveil_buf *out,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same without an encoding, for values that are bytes. */
enum kveil_status kveil_sealed_write_bytes(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain,
					   struct kveil_buf *out, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Opens text into the arena. */
enum kveil_status kveil_sealed_read(const struct kveil_action_call *call, struct kveil_span text,
				    enum kveil_encoding encoding, struct kveil_span *ret_plain,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_sealed_read_bytes(const struct kveil_action_call *call, struct kveil_span bytes,
					  struct kveil_span *ret_plain, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Appends bytes as text. */
enum kveil_status kveil_sealed_encode(struct kveil_span bytes, enum kveil_encoding encoding, struct kveil_buf *out,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* kveil_action.keeps_apart of what works by keys alone: none of them draws or counts nonces. */
bool kveil_sealed_keeps_apart(const struct kveil_action_call *call);

#endif
