/* SPDX-License-Identifier: Apache-2.0 */
/* The one user of libgcrypt. */
#include "crypto/gcrypt.h"

#include "base/clock.h"
#include "base/secret.h"

#include <gcrypt.h>
#include <pthread.h>
#include <stdlib.h>

struct kveil_gcrypt {
	gcry_cipher_hd_t h;
	bool tag_first;    /* opening needs the tag before the ciphertext, and each message a reset */
	bool tag_in_front; /* and there it stands; no nonce */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool usable[KVEIL_GCRYPT_AEAD_COUNT];

static int every_pointer_is_secure(const void *p)
{
	(void)p;
	return 1;
}

static void *secret_realloc(void *p, size_t n)
{
	if (p && n <= kveil_secret_size(p))
		return p;
	void *bigger = kveil_secret_alloc_schedule(n);
	if (bigger && p) {
		memcpy(bigger, p, kveil_secret_size(p));
		kveil_secret_free(p);
	}
	return bigger;
}

static enum kveil_status fail(struct kveil_error *err, const char *what, gcry_error_t e)
{
	if (gcry_err_code(e) == GPG_ERR_ENOMEM)
		return kveil_no_memory(err, "a key's context");
	return kveil_fail(err, KVEIL_E_CRYPTO, "libgcrypt: %s: %s", what, gcry_strerror(e));
}

static enum kveil_status context_init(struct kveil_gcrypt *g, enum kveil_gcrypt_aead aead, struct kveil_span key,
				      struct kveil_error *err)
{
	int cipher = GCRY_CIPHER_AES256, mode = GCRY_CIPHER_MODE_GCM;

	if (aead == KVEIL_GCRYPT_SM4_GCM)
		cipher = GCRY_CIPHER_SM4;
	else if (key.len == 16)
		cipher = GCRY_CIPHER_AES128;
	if (aead == KVEIL_GCRYPT_AES_GCM_SIV)
		mode = GCRY_CIPHER_MODE_GCM_SIV;
	else if (aead == KVEIL_GCRYPT_AES_SIV)
		mode = GCRY_CIPHER_MODE_SIV;
	g->tag_in_front = mode == GCRY_CIPHER_MODE_SIV;
	g->tag_first = mode != GCRY_CIPHER_MODE_GCM;
	gcry_error_t e = gcry_cipher_open(&g->h, cipher, mode, GCRY_CIPHER_SECURE);
	if (e)
		return fail(err, "open", e);
	e = gcry_cipher_setkey(g->h, key.data, key.len);
	if (e) {
		gcry_cipher_close(g->h);
		return fail(err, "set key", e);
	}
	return KVEIL_OK;
}

/* A message sealed at start-up: it shows what FIPS mode, an odd build or a broken CPU feature would do to us. */
static bool self_test(enum kveil_gcrypt_aead aead)
{
	/* Zero key, zero nonce, sixteen zero bytes. The first is case 14 of the GCM specification; the unit tests hold
	 * all three algorithms to published vectors. */
	static const uint8_t expected[KVEIL_GCRYPT_AEAD_COUNT][32] = {
	    [KVEIL_GCRYPT_AES_GCM] = {0xce, 0xa7, 0x40, 0x3d, 0x4d, 0x60, 0x6b, 0x6e, 0x07, 0x4e, 0xc5,
				      0xd3, 0xba, 0xf3, 0x9d, 0x18, 0xd0, 0xd1, 0xc8, 0xa7, 0x99, 0x99,
				      0x6b, 0xf0, 0x26, 0x5b, 0x98, 0xb5, 0xd4, 0x8a, 0xb9, 0x19},
	    [KVEIL_GCRYPT_SM4_GCM] = {0x7d, 0xe2, 0xaa, 0x7f, 0x11, 0x10, 0x18, 0x82, 0x18, 0x06, 0x3b,
				      0xe1, 0xbf, 0xeb, 0x6d, 0x89, 0xb8, 0x51, 0xb5, 0xf3, 0x94, 0x93,
				      0x75, 0x2b, 0xe5, 0x08, 0xf1, 0xbb, 0x44, 0x82, 0xc5, 0x57},
	    [KVEIL_GCRYPT_AES_SIV] = {0xe9, 0xcd, 0xa8, 0x51, 0xc1, 0x41, 0x18, 0xa2, 0x80, 0x6e, 0xed,
				      0xdb, 0x48, 0xb7, 0x71, 0xa3, 0xbf, 0xb9, 0xdb, 0x4c, 0x7c, 0xb4,
				      0x78, 0x3d, 0x2c, 0x8c, 0x05, 0x9e, 0x1d, 0x4e, 0xf6, 0x60},
	    [KVEIL_GCRYPT_AES_GCM_SIV] = {0x27, 0xbd, 0x33, 0xde, 0xc9, 0xd8, 0x62, 0x4a, 0x7b, 0x74, 0xb2,
					  0x61, 0xd7, 0x04, 0x6f, 0x64, 0x81, 0x30, 0x46, 0x49, 0x31, 0x8d,
					  0x72, 0x28, 0xb7, 0xdc, 0x7e, 0xfe, 0x1e, 0xbd, 0xd1, 0xae},
	};
	static const uint8_t zero[64];
	static const size_t key_bytes[KVEIL_GCRYPT_AEAD_COUNT] = {32, 16, 32, 64};
	uint8_t out[32];
	struct kveil_gcrypt g;

	if (context_init(&g, aead, kveil_span_of(zero, key_bytes[aead]), NULL) != KVEIL_OK)
		return false;
	bool ok = kveil_gcrypt_seal(&g, zero, KVEIL_SPAN_NULL, kveil_span_of(zero, 16), out, NULL) == KVEIL_OK &&
		  memcmp(out, expected[aead], sizeof out) == 0; /* public */
	gcry_cipher_close(g.h);
	return ok;
}

static void init(void)
{
	/* Where another library was first, its memory functions stay and contexts lie in its heap. */
	if (!gcry_control(GCRYCTL_ANY_INITIALIZATION_P))
		gcry_set_allocation_handler(kveil_secret_alloc_schedule, kveil_secret_alloc_schedule,
					    every_pointer_is_secure, secret_realloc, kveil_secret_free);
	if (!gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P)) {
		gcry_check_version(NULL);
		gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
		gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
	}
	for (int i = 0; i < KVEIL_GCRYPT_AEAD_COUNT; i++)
		usable[i] = self_test((enum kveil_gcrypt_aead)i);
}

void kveil_gcrypt_init(void)
{
	pthread_once(&once, init);
}

bool kveil_gcrypt_fips(void)
{
	kveil_gcrypt_init();
	return gcry_fips_mode_active() != 0;
}

const char *kveil_gcrypt_version(void)
{
	kveil_gcrypt_init();
	return gcry_check_version(NULL);
}

bool kveil_gcrypt_has(enum kveil_gcrypt_aead aead)
{
	kveil_gcrypt_init();
	return usable[aead];
}

enum kveil_status kveil_gcrypt_new(enum kveil_gcrypt_aead aead, struct kveil_span key, struct kveil_gcrypt **ret,
				   struct kveil_error *err)
{
	kveil_gcrypt_init();
	struct kveil_gcrypt *g = calloc(1, sizeof *g);
	if (!g)
		return kveil_no_memory(err, "a key's context");
	enum kveil_status status = context_init(g, aead, key, err);
	if (status == KVEIL_OK)
		*ret = g;
	else
		free(g);
	return status;
}

bool kveil_gcrypt_rekey(struct kveil_gcrypt *g, struct kveil_span key)
{
	return gcry_cipher_setkey(g->h, key.data, key.len) == 0;
}

void kveil_gcrypt_free(struct kveil_gcrypt *g)
{
	if (!g)
		return;
	gcry_cipher_close(g->h); /* wipes */
	free(g);
}

static gcry_error_t begin(const struct kveil_gcrypt *g, const uint8_t *nonce, struct kveil_span ad)
{
	gcry_error_t e = g->tag_first ? gcry_cipher_reset(g->h) : 0;

	if (!e && !g->tag_in_front)
		e = gcry_cipher_setiv(g->h, nonce, KVEIL_GCRYPT_NONCE);
	/* To SIV an empty component is not the same as none; Tink's always has one. */
	if (!e && (ad.len || g->tag_in_front))
		e = gcry_cipher_authenticate(g->h, ad.len ? ad.data : (const uint8_t *)"", ad.len);
	return e;
}

enum kveil_status kveil_gcrypt_seal(struct kveil_gcrypt *g, const uint8_t *nonce, struct kveil_span ad,
				    struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	uint8_t *text = g->tag_in_front ? out + KVEIL_GCRYPT_TAG : out;
	uint8_t *tag = g->tag_in_front ? out : out + in.len;
	gcry_error_t e = begin(g, nonce, ad);

	if (!e)
		e = gcry_cipher_encrypt(g->h, text, in.len, in.len ? in.data : text, in.len);
	if (!e)
		e = gcry_cipher_gettag(g->h, tag, KVEIL_GCRYPT_TAG);
	if (e) {
		kveil_secret_wipe(out, in.len + KVEIL_GCRYPT_TAG);
		return fail(err, "encrypt", e);
	}
	return KVEIL_OK;
}

enum kveil_status kveil_gcrypt_open(struct kveil_gcrypt *g, const uint8_t *nonce, struct kveil_span ad,
				    struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	if (in.len < KVEIL_GCRYPT_TAG)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "shorter than an authentication tag");
	const size_t n = in.len - KVEIL_GCRYPT_TAG;
	const uint8_t *text = g->tag_in_front ? in.data + KVEIL_GCRYPT_TAG : in.data;
	const uint8_t *tag = g->tag_in_front ? in.data : in.data + n;
	gcry_error_t e = begin(g, nonce, ad);

	if (!e && g->tag_first)
		e = gcry_cipher_set_decryption_tag(g->h, (uint8_t *)(uintptr_t)tag, KVEIL_GCRYPT_TAG);
	if (!e)
		e = gcry_cipher_decrypt(g->h, out, n, n ? text : out, n);
	if (!e)
		e = gcry_cipher_checktag(g->h, tag, KVEIL_GCRYPT_TAG);
	if (!e)
		return KVEIL_OK;
	kveil_secret_wipe(out, n);
	if (gcry_err_code(e) == GPG_ERR_CHECKSUM)
		return kveil_fail(err, KVEIL_E_AUTHENTICATION, "the authentication tag does not fit");
	return fail(err, "decrypt", e);
}

struct kveil_gcrypt_aes {
	gcry_cipher_hd_t ecb, cbc_mac;
};

static gcry_error_t aes_open(gcry_cipher_hd_t *ret, int mode, unsigned flags)
{
	kveil_gcrypt_init();
	return gcry_cipher_open(ret, GCRY_CIPHER_AES256, mode, GCRY_CIPHER_SECURE | flags);
}

bool kveil_gcrypt_aes_available(void)
{
	gcry_cipher_hd_t h;

	if (aes_open(&h, GCRY_CIPHER_MODE_ECB, 0))
		return false;
	gcry_cipher_close(h);
	return true;
}

enum kveil_status kveil_gcrypt_aes_new(const uint8_t key[32], struct kveil_gcrypt_aes **ret, struct kveil_error *err)
{
	struct kveil_gcrypt_aes *a = calloc(1, sizeof *a);

	if (!a)
		return kveil_no_memory(err, "a key's context");
	gcry_error_t e = aes_open(&a->ecb, GCRY_CIPHER_MODE_ECB, 0);
	if (!e)
		e = aes_open(&a->cbc_mac, GCRY_CIPHER_MODE_CBC, GCRY_CIPHER_CBC_MAC);
	if (!e)
		e = gcry_cipher_setkey(a->ecb, key, 32);
	if (!e)
		e = gcry_cipher_setkey(a->cbc_mac, key, 32);
	if (e) {
		kveil_gcrypt_aes_free(a);
		return fail(err, "AES-256", e);
	}
	*ret = a;
	return KVEIL_OK;
}

void kveil_gcrypt_aes_free(struct kveil_gcrypt_aes *a)
{
	if (!a)
		return;
	gcry_cipher_close(a->ecb);
	gcry_cipher_close(a->cbc_mac);
	free(a);
}

bool kveil_gcrypt_aes_blocks(struct kveil_gcrypt_aes *a, uint8_t *blocks, size_t count)
{
	return !gcry_cipher_encrypt(a->ecb, blocks, 16 * count, NULL, 0);
}

bool kveil_gcrypt_aes_cbc_mac(struct kveil_gcrypt_aes *a, const uint8_t start[16], struct kveil_span in,
			      uint8_t mac[16])
{
	return !gcry_cipher_setiv(a->cbc_mac, start, 16) && !gcry_cipher_encrypt(a->cbc_mac, mac, 16, in.data, in.len);
}

struct kveil_gcrypt_mac {
	gcry_md_hd_t h;
};

enum kveil_status kveil_gcrypt_hmac_sm3_new(struct kveil_span key, struct kveil_gcrypt_mac **ret,
					    struct kveil_error *err)
{
	kveil_gcrypt_init();
	struct kveil_gcrypt_mac *m = calloc(1, sizeof *m);
	if (!m)
		return kveil_no_memory(err, "a key's context");
	gcry_error_t e = gcry_md_open(&m->h, GCRY_MD_SM3, GCRY_MD_FLAG_HMAC | GCRY_MD_FLAG_SECURE);
	if (!e)
		e = gcry_md_setkey(m->h, key.data, key.len);
	if (e) {
		kveil_gcrypt_hmac_free(m);
		return fail(err, "HMAC-SM3", e);
	}
	*ret = m;
	return KVEIL_OK;
}

void kveil_gcrypt_hmac_free(struct kveil_gcrypt_mac *m)
{
	if (!m)
		return;
	gcry_md_close(m->h); /* wipes */
	free(m);
}

void kveil_gcrypt_hmac(struct kveil_gcrypt_mac *m, const struct kveil_span *parts, size_t count, uint8_t out[32])
{
	gcry_md_reset(m->h); /* to the state behind the key */
	for (size_t i = 0; i < count; i++)
		gcry_md_write(m->h, parts[i].data, parts[i].len);
	memcpy(out, gcry_md_read(m->h, 0), 32);
}

static uint64_t spent_since(uint64_t start, bool ok)
{
	uint64_t spent = kveil_clock_cpu_ns() - start;

	return ok ? spent + !spent : 0;
}

uint64_t kveil_gcrypt_bare_seal(enum kveil_gcrypt_aead aead, size_t key_bytes, struct kveil_span ad,
				struct kveil_span in, uint8_t *out, size_t count)
{
	static const uint8_t key[64] = {1};
	struct kveil_gcrypt g;
	uint64_t nonce[2] = {0};
	uint8_t tag[KVEIL_GCRYPT_TAG];
	bool ok = true;

	if (!kveil_gcrypt_has(aead) || context_init(&g, aead, kveil_span_of(key, key_bytes), NULL) != KVEIL_OK)
		return 0;
	const bool reset = g.tag_first, nonced = !g.tag_in_front;
	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		nonce[0] = i;
		if (reset)
			ok = !gcry_cipher_reset(g.h);
		if (nonced)
			ok = ok && !gcry_cipher_setiv(g.h, nonce, KVEIL_GCRYPT_NONCE);
		ok = ok && !gcry_cipher_authenticate(g.h, ad.data, ad.len) &&
		     !gcry_cipher_encrypt(g.h, out, in.len, in.data, in.len) &&
		     !gcry_cipher_gettag(g.h, tag, sizeof tag);
	}
	uint64_t spent = spent_since(start, ok);
	gcry_cipher_close(g.h);
	return spent;
}

uint64_t kveil_gcrypt_bare_hmac(enum kveil_gcrypt_hash hash, struct kveil_span in, size_t count)
{
	static const int algos[] = {GCRY_MD_SHA256, GCRY_MD_SHA512, GCRY_MD_SM3};
	static const uint8_t key[32] = {1};
	uint8_t out[64];
	gcry_md_hd_t h;

	kveil_gcrypt_init();
	if (gcry_md_open(&h, algos[hash], GCRY_MD_FLAG_HMAC))
		return 0;
	bool ok = !gcry_md_setkey(h, key, sizeof key);
	const size_t n = gcry_md_get_algo_dlen(algos[hash]);
	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; i < count; i++) {
		gcry_md_reset(h);
		gcry_md_write(h, in.data, in.len);
		memcpy(out, gcry_md_read(h, 0), n);
	}
	uint64_t spent = spent_since(start, ok);
	gcry_md_close(h);
	return spent;
}

uint64_t kveil_gcrypt_bare_sm4_cbc_hmac(struct kveil_span ad, struct kveil_span in, uint8_t *out, size_t count)
{
	static const uint8_t key[32] = {1}, lengths[16];
	uint64_t iv[2] = {0};
	gcry_cipher_hd_t h;
	gcry_md_hd_t m;

	kveil_gcrypt_init();
	if (gcry_cipher_open(&h, GCRY_CIPHER_SM4, GCRY_CIPHER_MODE_CBC, 0))
		return 0;
	if (gcry_md_open(&m, GCRY_MD_SM3, GCRY_MD_FLAG_HMAC)) {
		gcry_cipher_close(h);
		return 0;
	}
	bool ok = !gcry_cipher_setkey(h, key, 16) && !gcry_md_setkey(m, key, sizeof key);
	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		iv[0] = i;
		ok = !gcry_cipher_setiv(h, iv, sizeof iv) && !gcry_cipher_encrypt(h, out, in.len, in.data, in.len);
		gcry_md_reset(m);
		gcry_md_write(m, ad.data, ad.len);
		gcry_md_write(m, iv, sizeof iv);
		gcry_md_write(m, out, in.len);
		gcry_md_write(m, lengths, sizeof lengths);
		memcpy(out + in.len, gcry_md_read(m, 0), 32);
	}
	uint64_t spent = spent_since(start, ok);
	gcry_cipher_close(h);
	gcry_md_close(m);
	return spent;
}
