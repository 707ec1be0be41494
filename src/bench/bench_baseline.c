/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that somebody would write by hand, for one shape of record. */
#include "bench/bench_baseline.h"

#include "base/clock.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <stdlib.h>

enum { VALUE_MAX = 64 << 10, NONCE = 12, TAG = 16 };

struct kveil_bench_evp {
	EVP_CIPHER_CTX *id_card, *card_number;
	EVP_MAC_CTX *mac;
	uint64_t nonce;
	uint8_t sealed[NONCE + VALUE_MAX + TAG], text[(NONCE + VALUE_MAX + TAG) * 4 / 3 + 8], hash[32], copy[VALUE_MAX];
};

static EVP_CIPHER_CTX *gcm_context(uint8_t key_byte)
{
	uint8_t key[32];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	memset(key, key_byte, sizeof key);
	if (c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, NULL) != 1) {
		EVP_CIPHER_CTX_free(c);
		c = NULL;
	}
	return c;
}

static EVP_MAC_CTX *mac_context(void)
{
	static const uint8_t key[32] = {1};
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
				     OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *c = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac); /* the context holds its own reference */
	if (c && EVP_MAC_init(c, key, sizeof key, params) != 1) {
		EVP_MAC_CTX_free(c);
		c = NULL;
	}
	return c;
}

enum kveil_status kveil_bench_evp_new(struct kveil_bench_evp **ret, struct kveil_error *err)
{
	struct kveil_bench_evp *b = calloc(1, sizeof *b);

	if (!b)
		return kveil_no_memory(err, "the baseline");
	b->id_card = gcm_context(2);
	b->card_number = gcm_context(3);
	b->mac = mac_context();
	if (!b->id_card || !b->card_number || !b->mac) {
		kveil_bench_evp_free(b);
		return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: the baseline's contexts failed");
	}
	*ret = b;
	return KVEIL_OK;
}

void kveil_bench_evp_free(struct kveil_bench_evp *b)
{
	if (!b)
		return;
	EVP_CIPHER_CTX_free(b->id_card);
	EVP_CIPHER_CTX_free(b->card_number);
	EVP_MAC_CTX_free(b->mac);
	free(b);
}

static bool seal(struct kveil_bench_evp *b, EVP_CIPHER_CTX *c, struct kveil_span ad, struct kveil_span in)
{
	uint8_t *out = b->sealed + NONCE;
	int n;

	if (in.len > VALUE_MAX)
		return false;
	b->nonce++;
	memcpy(b->sealed, &b->nonce, sizeof b->nonce);
	if (EVP_EncryptInit_ex(c, NULL, NULL, NULL, b->sealed) != 1 ||
	    EVP_EncryptUpdate(c, NULL, &n, ad.data, (int)ad.len) != 1 ||
	    EVP_EncryptUpdate(c, out, &n, in.data, (int)in.len) != 1 || EVP_EncryptFinal_ex(c, out + n, &n) != 1 ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, out + in.len) != 1)
		return false;
	return EVP_EncodeBlock(b->text, b->sealed, (int)(NONCE + in.len + TAG)) > 0;
}

uint64_t kveil_bench_evp_loop(struct kveil_bench_evp *b, const struct kveil_bench_record *records, size_t count)
{
	uint64_t start = kveil_clock_cpu_ns();

	for (size_t i = 0; i < count; i++) {
		const struct kveil_bench_record *r = &records[i];
		size_t n;
		if (!seal(b, b->id_card, KVEIL_SPAN("orders:$['customer']['id_card']"), r->id_card) ||
		    !seal(b, b->card_number, KVEIL_SPAN("orders:$['card_number']"), r->card_number))
			return 0;
		if (EVP_MAC_init(b->mac, NULL, 0, NULL) != 1 ||
		    EVP_MAC_update(b->mac, r->email.data, r->email.len) != 1 ||
		    EVP_MAC_final(b->mac, b->hash, &n, sizeof b->hash) != 1)
			return 0;
		if (r->record.len > sizeof b->copy)
			return 0;
		memcpy(b->copy, r->record.data, r->record.len);
		/* The copy is nobody's: without this the compiler may leave it out. */
		__asm__ volatile("" : : "r"(b->copy) : "memory");
	}
	uint64_t spent = kveil_clock_cpu_ns() - start;
	return spent ? spent : 1;
}
