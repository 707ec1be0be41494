/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/provider_sm2.c: SM2 public-key encryption (GB/T 32918.4) with SM3; what is wrapped is the DER form of GM/T
 * 0009 (x, y, C3, C2). Without private_key this worker is an edge: it can lock and never unlock.
 */
#include "custody/pem.h"
#include "custody/provider.h"

#include "base/secret.h"

#include <openssl/err.h>
#include <stdlib.h>

struct sm2_params {
	char *public_key, *private_key, *passphrase;
};

extern const struct kveil_provider kveil_provider_sm2;

static const struct kveil_option sm2_options[] = {
    {"public_key", KVEIL_OPT_STRING, offsetof(struct sm2_params, public_key), .required = true,
     .help = "PEM file of the SM2 public key that wraps keys"},
    {"private_key", KVEIL_OPT_STRING, offsetof(struct sm2_params, private_key),
     .help = "PEM file of its private key; without it this worker wraps keys but cannot unwrap "
	     "them"},
    {"passphrase", KVEIL_OPT_STRING, offsetof(struct sm2_params, passphrase), .secret = true,
     .help = "of the private key"},
    {0},
};

struct sm2_kek {
	struct kveil_kek kek;
	EVP_PKEY *public_key, *private_key;
};

static void sm2_close(struct kveil_kek *kek)
{
	struct sm2_kek *k = (struct sm2_kek *)kek;

	if (!k)
		return;
	EVP_PKEY_free(k->public_key);
	EVP_PKEY_free(k->private_key);
	free(k);
}

static bool sm2_locks_only(const void *params)
{
	return !((const struct sm2_params *)params)->private_key;
}

static enum kveil_status sm2_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				  struct kveil_error *err)
{
	const struct sm2_params *p = params;
	struct sm2_kek *k = calloc(1, sizeof *k);

	if (!k)
		return kveil_no_memory(err, NULL);
	k->kek = (struct kveil_kek){&kveil_provider_sm2, name};
	enum kveil_status s = kveil_pem_public_key(name, base_dir, p->public_key, &k->public_key, err);
	if (s == KVEIL_OK && p->private_key)
		s = kveil_pem_private_key(name, base_dir, p->private_key, p->passphrase, &k->private_key, err);
	if (s == KVEIL_OK && !EVP_PKEY_is_a(k->public_key, "SM2"))
		s = kveil_fail(err, KVEIL_E_CONFIG, "kek %s: public_key is not an SM2 key", name);
	if (s == KVEIL_OK && k->private_key && EVP_PKEY_eq(k->public_key, k->private_key) != 1)
		s = kveil_fail(err, KVEIL_E_CONFIG, "kek %s: private_key does not belong to public_key", name);
	ERR_clear_error();
	if (s != KVEIL_OK) {
		sm2_close(&k->kek);
		return s;
	}
	*ret = &k->kek;
	return KVEIL_OK;
}

static bool sm2_can_unwrap(const struct kveil_kek *kek)
{
	return ((const struct sm2_kek *)kek)->private_key != NULL;
}

static enum kveil_status sm2_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				  struct kveil_error *err)
{
	struct sm2_kek *k = (struct sm2_kek *)kek;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->public_key, NULL);
	enum kveil_status s = KVEIL_OK;
	size_t n = 0;
	uint8_t *p = NULL;

	if (ctx && EVP_PKEY_encrypt_init(ctx) > 0 && EVP_PKEY_encrypt(ctx, NULL, &n, plain.data, plain.len) > 0)
		p = kveil_buf_reserve(wrapped, n);
	if (p && EVP_PKEY_encrypt(ctx, p, &n, plain.data, plain.len) > 0)
		wrapped->len += n;
	else
		s = kveil_fail(err, KVEIL_E_CRYPTO, "kek %s: SM2 encryption failed", kek->name);
	ERR_clear_error();
	EVP_PKEY_CTX_free(ctx);
	return s;
}

static enum kveil_status sm2_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				    size_t *ret_len, struct kveil_error *err)
{
	struct sm2_kek *k = (struct sm2_kek *)kek;
	enum kveil_status s = KVEIL_OK;
	size_t n = 0;

	if (!k->private_key)
		return kveil_fail(err, KVEIL_E_PERMISSIONS, "kek %s holds no private key: it can lock and never unlock",
				  kek->name);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->private_key, NULL);
	/* The first call gives a bound, which may be over the true length: the bytes go by way of our own memory. */
	uint8_t *opened = NULL;
	if (ctx && EVP_PKEY_decrypt_init(ctx) > 0 && EVP_PKEY_decrypt(ctx, NULL, &n, wrapped.data, wrapped.len) > 0 &&
	    n > 0)
		opened = kveil_secret_alloc(n);
	if (opened && EVP_PKEY_decrypt(ctx, opened, &n, wrapped.data, wrapped.len) > 0 && n <= room) {
		memcpy(plain, opened, n);
		*ret_len = n;
	} else {
		s = kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: its private key does not open this", kek->name);
	}
	kveil_secret_free(opened);
	ERR_clear_error();
	EVP_PKEY_CTX_free(ctx);
	return s;
}

const struct kveil_provider kveil_provider_sm2 = {
    .name = "sm2",
    .help = "an SM2 key pair (GB/T 32918.4); without the private key, an edge worker that only "
	    "seals",
    .options = sm2_options,
    .params_size = sizeof(struct sm2_params),
    .is_read_once = true,
    .open = sm2_open,
    .close = sm2_close,
    .locks_only = sm2_locks_only,
    .can_unwrap = sm2_can_unwrap,
    .wrap = sm2_wrap,
    .unwrap = sm2_unwrap,
};
