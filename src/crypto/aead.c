/* SPDX-License-Identifier: Apache-2.0 */
/* Authenticated ciphers by kveil, libgcrypt or OpenSSL, whichever is better for each. */
#include "crypto/aead.h"

#include "crypto/aes_gcm_x86.h"
#include "crypto/evp_aead.h"

#include <stdlib.h>

/* One of the three is there, or kveil's own and, from the first long value on, libgcrypt's. */
struct aead {
	struct kveil_cipher base;
	struct kveil_gcm_x86 *x86;
	struct kveil_gcrypt *gcrypt;
	bool is_used; /* libgcrypt's beside kveil's own: with this key */
	struct kveil_evp_aead *evp;
};

/* Asked for each key, and the same each time: OpenSSL takes longer to tell than libgcrypt to make a context. */
static bool openssl_wins(const struct kveil_aead_choice *choice)
{
	static _Atomic signed char known[KVEIL_GCRYPT_AEAD_COUNT]; /* 1 yes, -1 no */

	if (!choice->openssl_first)
		return false;
	if (!known[choice->gcrypt])
		known[choice->gcrypt] = kveil_evp_aead_has(choice->evp) ? 1 : -1;
	return known[choice->gcrypt] > 0;
}

static bool is_x86s(const struct kveil_aead_choice *choice)
{
	return choice->is_aes_gcm && kveil_gcm_x86_has();
}

static bool is_gcrypts(const struct kveil_aead_choice *choice)
{
	return kveil_gcrypt_has(choice->gcrypt) && !openssl_wins(choice);
}

const char *kveil_aead_library(const struct kveil_aead_choice *choice)
{
	if (is_x86s(choice))
		return kveil_gcrypt_has(KVEIL_GCRYPT_AES_GCM) ? "kveil (AES-NI), libgcrypt (over 512 bytes)"
							      : "kveil (AES-NI)";
	if (is_gcrypts(choice))
		return "libgcrypt";
	return choice->evp && kveil_evp_aead_has(choice->evp) ? "OpenSSL" : NULL;
}

static enum kveil_status context_new(struct aead *a, const struct kveil_aead_choice *choice, struct kveil_span key,
				     struct kveil_error *err)
{
	if (is_x86s(choice)) {
		a->x86 = kveil_gcm_x86_new(key);
		return a->x86 ? KVEIL_OK : kveil_no_memory(err, "a key's context");
	}
	if (is_gcrypts(choice))
		return kveil_gcrypt_new(choice->gcrypt, key, &a->gcrypt, err);
	if (choice->evp)
		return kveil_evp_aead_new(choice->evp, key, &a->evp, err);
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this machine's libgcrypt does not have %s", a->base.alg->name);
}

enum kveil_status kveil_aead_new(const struct kveil_algorithm *alg, const struct kveil_aead_choice *choice,
				 struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	if (key.len != alg->key_bytes)
		return kveil_fail(err, KVEIL_E_INTERNAL, "%s: a key of %zu bytes", alg->name, key.len);
	struct aead *a = calloc(1, sizeof *a);
	if (!a)
		return kveil_no_memory(err, "a key's context");
	a->base.alg = alg;
	enum kveil_status status = context_new(a, choice, key, err);
	if (status == KVEIL_OK)
		*ret = &a->base;
	else
		free(a);
	return status;
}

bool kveil_aead_rekey(struct kveil_cipher *c, struct kveil_span key)
{
	struct aead *a = (struct aead *)c;

	if (key.len != c->alg->key_bytes)
		return false;
	if (!a->x86)
		return a->gcrypt && kveil_gcrypt_rekey(a->gcrypt, key);
	kveil_gcm_x86_rekey(a->x86, key);
	/* The former key must not stay, and a new context takes longer than another key for this one. */
	if (a->gcrypt && !(a->is_used && kveil_gcrypt_rekey(a->gcrypt, key))) {
		kveil_gcrypt_free(a->gcrypt);
		a->gcrypt = NULL;
	}
	a->is_used = false;
	return true;
}

void kveil_aead_free(struct kveil_cipher *c)
{
	struct aead *a = (struct aead *)c;

	if (!a)
		return;
	kveil_gcm_x86_free(a->x86);
	kveil_gcrypt_free(a->gcrypt);
	kveil_evp_aead_free(a->evp);
	free(a);
}

/* Is a value kveil's own to seal or to open? */
static bool is_own(struct aead *a, size_t bytes)
{
	if (!a->x86 || bytes <= KVEIL_GCM_X86_SHORT)
		return a->x86;
	const struct kveil_span key = {kveil_gcm_x86_key(a->x86), a->base.alg->key_bytes};
	if (!key.data)
		return true; /* it refuses */
	if (!a->gcrypt && kveil_gcrypt_has(KVEIL_GCRYPT_AES_GCM) &&
	    kveil_gcrypt_new(KVEIL_GCRYPT_AES_GCM, key, &a->gcrypt, NULL) != KVEIL_OK)
		return true;
	a->is_used = true;
	return !a->gcrypt;
}

enum kveil_status kveil_aead_seal(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct aead *a = (struct aead *)c;

	*ret_len = in.len + KVEIL_GCRYPT_TAG;
	if (is_own(a, in.len))
		return kveil_gcm_x86_seal(a->x86, nonce, ad, in, out, err);
	return a->gcrypt ? kveil_gcrypt_seal(a->gcrypt, nonce, ad, in, out, err)
			 : kveil_evp_aead_seal(a->evp, nonce, ad, in, out, err);
}

enum kveil_status kveil_aead_open(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct aead *a = (struct aead *)c;

	*ret_len = in.len < KVEIL_GCRYPT_TAG ? 0 : in.len - KVEIL_GCRYPT_TAG;
	if (is_own(a, *ret_len))
		return kveil_gcm_x86_open(a->x86, nonce, ad, in, out, err);
	return a->gcrypt ? kveil_gcrypt_open(a->gcrypt, nonce, ad, in, out, err)
			 : kveil_evp_aead_open(a->evp, nonce, ad, in, out, err);
}
