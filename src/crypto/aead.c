/* SPDX-License-Identifier: Apache-2.0 */
/* Authenticated ciphers by libgcrypt or OpenSSL, whichever is better for each. */
#include "crypto/aead.h"

#include "crypto/evp_aead.h"

#include <stdlib.h>

/* One of the two is there. */
struct aead {
	struct kveil_cipher base;
	struct kveil_gcrypt *gcrypt;
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

static bool is_gcrypts(const struct kveil_aead_choice *choice)
{
	return kveil_gcrypt_has(choice->gcrypt) && !openssl_wins(choice);
}

const char *kveil_aead_library(const struct kveil_aead_choice *choice)
{
	if (is_gcrypts(choice))
		return "libgcrypt";
	return choice->evp && kveil_evp_aead_has(choice->evp) ? "OpenSSL" : NULL;
}

enum kveil_status kveil_aead_new(const struct kveil_algorithm *alg, const struct kveil_aead_choice *choice,
				 struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	if (key.len != alg->key_bytes)
		return kveil_fail(err, KVEIL_E_INTERNAL, "%s: a key of %zu bytes", alg->name, key.len);
	const bool gcrypt = is_gcrypts(choice);

	if (!gcrypt && !choice->evp)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this machine's libgcrypt does not have %s", alg->name);

	struct aead *a = calloc(1, sizeof *a);
	if (!a)
		return kveil_no_memory(err, "a key's context");
	a->base.alg = alg;
	enum kveil_status status = gcrypt ? kveil_gcrypt_new(choice->gcrypt, key, &a->gcrypt, err)
					  : kveil_evp_aead_new(choice->evp, key, &a->evp, err);
	if (status == KVEIL_OK)
		*ret = &a->base;
	else
		free(a);
	return status;
}

bool kveil_aead_rekey(struct kveil_cipher *c, struct kveil_span key)
{
	struct aead *a = (struct aead *)c;

	return a->gcrypt && key.len == c->alg->key_bytes && kveil_gcrypt_rekey(a->gcrypt, key);
}

void kveil_aead_free(struct kveil_cipher *c)
{
	struct aead *a = (struct aead *)c;

	if (!a)
		return;
	kveil_gcrypt_free(a->gcrypt);
	kveil_evp_aead_free(a->evp);
	free(a);
}

enum kveil_status kveil_aead_seal(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct aead *a = (struct aead *)c;

	*ret_len = in.len + KVEIL_GCRYPT_TAG;
	return a->gcrypt ? kveil_gcrypt_seal(a->gcrypt, nonce, ad, in, out, err)
			 : kveil_evp_aead_seal(a->evp, nonce, ad, in, out, err);
}

enum kveil_status kveil_aead_open(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct aead *a = (struct aead *)c;

	*ret_len = in.len < KVEIL_GCRYPT_TAG ? 0 : in.len - KVEIL_GCRYPT_TAG;
	return a->gcrypt ? kveil_gcrypt_open(a->gcrypt, nonce, ad, in, out, err)
			 : kveil_evp_aead_open(a->evp, nonce, ad, in, out, err);
}
