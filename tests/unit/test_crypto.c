/* SPDX-License-Identifier: Apache-2.0 */
/* The primitives of crypto.h against NIST, Wycheproof and RFC vectors. */
#include "crypto/crypto.h"

#include "bench/bench_baseline.h"
#include "vectors.h"

static int setup(void **state)
{
	struct kveil_error err;

	(void)state;
	return kveil_crypto_init(&err) != KVEIL_OK;
}

static void random_differs(void **state)
{
	(void)state;
	uint8_t a[32], b[32];
	struct kveil_error err;

	assert_int_equal(kveil_crypto_random(a, sizeof a, &err), KVEIL_OK);
	assert_int_equal(kveil_crypto_random(b, sizeof b, &err), KVEIL_OK);
	assert_memory_not_equal(a, b, sizeof a);
	assert_int_equal(kveil_crypto_random(NULL, 0, &err), KVEIL_OK);
}

/* valid: both ways; else unwrapping is refused. */
static void check_kwp(struct kveil_span key, struct kveil_span plain, struct kveil_span wrapped, bool valid)
{
	struct kveil_error err;
	uint8_t *out = vector_room(wrapped.len);
	size_t n;
	enum kveil_status status = kveil_crypto_kwp_unwrap(key.data, wrapped, out, &n, &err);

	if (valid) {
		assert_int_equal(status, KVEIL_OK);
		assert_int_equal(n, plain.len);
		assert_memory_equal(out, plain.data, n);
		free(out);
		out = vector_room((plain.len + 7) / 8 * 8 + 8);
		assert_int_equal(kveil_crypto_kwp_wrap(key.data, plain, out, &n, &err), KVEIL_OK);
		assert_int_equal(n, wrapped.len);
		assert_memory_equal(out, wrapped.data, n);
	} else {
		assert_int_equal(status, KVEIL_E_WRONG_KEK);
		assert_int_equal(err.status, KVEIL_E_WRONG_KEK);
	}
	free(out);
}

static void kwp_nist_case(const struct nist_case *c, void *user)
{
	VECTOR key = nist_member(c, "K"), wrapped = nist_member(c, "C");
	VECTOR plain = c->fail ? vector_hex("") : nist_member(c, "P");

	*(size_t *)user += c->fail;
	check_kwp(vector_span(key), vector_span(plain), vector_span(wrapped), !c->fail);
}

static void kwp_nist(void **state)
{
	(void)state;
	size_t refused = 0;

	assert_true(vectors_nist("keywrap/kwtestvectors/KWP_AE_256.txt", "COUNT", kwp_nist_case, &refused) >= 500);
	assert_int_equal(refused, 0);
	assert_true(vectors_nist("keywrap/kwtestvectors/KWP_AD_256.txt", "COUNT", kwp_nist_case, &refused) >= 500);
	assert_true(refused >= 50);
}

static void kwp_wycheproof_case(const json_t *group, const json_t *test, const char *result, void *user)
{
	if (json_integer_value(json_object_get(group, "keySize")) != 256)
		return;
	VECTOR key = vector_member(test, "key"), plain = vector_member(test, "msg"),
	       wrapped = vector_member(test, "ct");
	++*(size_t *)user;
	if (strcmp(result, "acceptable") != 0) {
		check_kwp(vector_span(key), vector_span(plain), vector_span(wrapped), strcmp(result, "valid") == 0);
		return;
	}
	/* Wrappings of keys too short for RFC 5649's taste: either answer will do, but not another key. */
	struct kveil_error err;
	uint8_t *out = vector_room(wrapped.len);
	size_t n;
	if (kveil_crypto_kwp_unwrap(key.data, vector_span(wrapped), out, &n, &err) == KVEIL_OK) {
		assert_int_equal(n, plain.len);
		assert_memory_equal(out, plain.data, n);
	}
	free(out);
}

static void kwp_wycheproof(void **state)
{
	(void)state;
	size_t n = 0;

	vectors_wycheproof("aes_kwp_test.json", kwp_wycheproof_case, &n);
	assert_true(n >= 80);
}

static void kwp_takes_any_length_and_no_change(void **state)
{
	(void)state;
	const uint8_t kek[32] = {1, 2, 3};
	uint8_t plain[300], wrapped[320], back[320];
	struct kveil_error err;
	size_t n, m;

	for (size_t i = 0; i < sizeof plain; i++)
		plain[i] = (uint8_t)(i + 1);
	for (size_t len = 1; len <= sizeof plain; len++) {
		assert_int_equal(kveil_crypto_kwp_wrap(kek, kveil_span_of(plain, len), wrapped, &n, &err), KVEIL_OK);
		assert_int_equal(n, (len + 7) / 8 * 8 + 8);
		assert_int_equal(kveil_crypto_kwp_unwrap(kek, kveil_span_of(wrapped, n), back, &m, &err), KVEIL_OK);
		assert_int_equal(m, len);
		assert_memory_equal(back, plain, len);
		size_t at = len * 7 % n;
		wrapped[at] ^= 1;
		assert_int_equal(kveil_crypto_kwp_unwrap(kek, kveil_span_of(wrapped, n), back, &m, &err),
				 KVEIL_E_WRONG_KEK);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(back[i], 0);
		wrapped[at] ^= 1;
		assert_int_equal(kveil_crypto_kwp_unwrap(kek, kveil_span_of(wrapped, n - 1), back, &m, &err),
				 KVEIL_E_WRONG_KEK);
	}
	const uint8_t other[32] = {1, 2, 4};
	assert_int_equal(kveil_crypto_kwp_unwrap(other, kveil_span_of(wrapped, n), back, &m, &err), KVEIL_E_WRONG_KEK);
	assert_int_equal(kveil_crypto_kwp_unwrap(kek, kveil_span_of(wrapped, 0), back, &m, &err), KVEIL_E_WRONG_KEK);
	assert_int_equal(kveil_crypto_kwp_wrap(kek, kveil_span_of(plain, 0), wrapped, &n, &err), KVEIL_E_INTERNAL);
}

static void hkdf_case(const json_t *group, const json_t *test, const char *result, void *user)
{
	(void)group;
	VECTOR key = vector_member(test, "ikm"), salt = vector_member(test, "salt"), info = vector_member(test, "info");
	VECTOR okm = vector_member(test, "okm");
	uint8_t *out = vector_room(okm.len);
	char label[2048];
	struct kveil_error err;

	/* Ours has no salt, and a label is a C string. */
	if (salt.len == 0 && strcmp(result, "valid") == 0 && !memchr(info.data, 0, info.len)) {
		assert_true(info.len < sizeof label);
		memcpy(label, info.data, info.len);
		label[info.len] = 0;
		assert_int_equal(kveil_crypto_hkdf(KVEIL_SHA_256, vector_span(key), label, out, okm.len, &err),
				 KVEIL_OK);
		assert_memory_equal(out, okm.data, okm.len);
		++*(size_t *)user;
	}
	free(out);
}

static void hkdf(void **state)
{
	(void)state;
	size_t n = 0;
	uint8_t *out = vector_room(255 * 32 + 1);
	struct kveil_error err;

	vectors_wycheproof("hkdf_sha256_test.json", hkdf_case, &n);
	assert_true(n >= 5);
	assert_int_equal(kveil_crypto_hkdf(KVEIL_SHA_256, KVEIL_SPAN("key"), "label", out, 255 * 32, &err), KVEIL_OK);
	assert_int_equal(kveil_crypto_hkdf(KVEIL_SHA_256, KVEIL_SPAN("key"), "label", out, 255 * 32 + 1, &err),
			 KVEIL_E_CRYPTO);
	free(out);
}

static void hmac_case(const json_t *group, const json_t *test, const char *result, void *user)
{
	VECTOR key = vector_member(test, "key"), msg = vector_member(test, "msg"), tag = vector_member(test, "tag");
	uint8_t out[32];
	struct kveil_error err;

	(void)group;
	assert_int_equal(kveil_crypto_hmac(*(enum kveil_hash *)user, vector_span(key), vector_span(msg), out, &err),
			 KVEIL_OK);
	assert_int_equal(memcmp(out, tag.data, tag.len) == 0, strcmp(result, "valid") == 0);
}

static void scrypt_case(const struct nist_case *c, void *user)
{
	const char *password = nist_text(c, "PASSWORD"), *salt = nist_text(c, "SALT");
	unsigned long n = strtoul(nist_text(c, "N"), NULL, 10), r = strtoul(nist_text(c, "r"), NULL, 10),
		      p = strtoul(nist_text(c, "p"), NULL, 10);
	VECTOR want = nist_member(c, "DERIVED_KEY");
	struct kveil_error err;
	uint8_t out[64];

	/* The largest of RFC 7914 asks for a gigabyte. */
	if (n > 16384)
		return;
	assert_int_equal(kveil_crypto_scrypt(kveil_span_str(password), kveil_span_str(salt), n, (uint32_t)r,
					     (uint32_t)p, out, sizeof out, &err),
			 KVEIL_OK);
	assert_int_equal(want.len, sizeof out);
	assert_memory_equal(out, want.data, sizeof out);
	++*(size_t *)user;
}

static void scrypt(void **state)
{
	(void)state;
	size_t n = 0;
	struct kveil_error err;
	uint8_t out[32];

	vectors_nist("KDF/scrypt.txt", "COUNT", scrypt_case, &n);
	assert_true(n >= 3);
	/* No power of two. */
	assert_int_equal(kveil_crypto_scrypt(KVEIL_SPAN("p"), KVEIL_SPAN("s"), 1000, 8, 1, out, sizeof out, &err),
			 KVEIL_E_CRYPTO);
}

static void hmac_sha256(void **state)
{
	(void)state;
	enum kveil_hash hash = KVEIL_SHA_256;

	vectors_wycheproof("hmac_sha256_test.json", hmac_case, &hash);
}

static void hmac_sm3(void **state)
{
	(void)state;
	enum kveil_hash hash = KVEIL_SM3;

	vectors_wycheproof("hmac_sm3_test.json", hmac_case, &hash);
}

/* RFC 5869, put together from HMAC: there are no vectors of HKDF with SM3. */
static void hkdf_sm3(void **state)
{
	(void)state;
	static const uint8_t info[] = "kveil\x01", zeros[32];
	uint8_t prk[32], want[32], out[32];
	struct kveil_error err;

	assert_int_equal(kveil_crypto_hmac(KVEIL_SM3, kveil_span_of(zeros, 32), KVEIL_SPAN("a secret"), prk, &err),
			 KVEIL_OK);
	assert_int_equal(kveil_crypto_hmac(KVEIL_SM3, kveil_span_of(prk, 32), kveil_span_of(info, 6), want, &err),
			 KVEIL_OK);
	assert_int_equal(kveil_crypto_hkdf(KVEIL_SM3, KVEIL_SPAN("a secret"), "kveil", out, 32, &err), KVEIL_OK);
	assert_memory_equal(out, want, 32);
}

static void sha256(void **state)
{
	(void)state;
	/* FIPS 180-2 appendix B and the empty message. */
	static const struct {
		const char *in, *hex;
	} cases[] = {
	    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
	    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
	     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};
	uint8_t out[32];
	struct kveil_error err;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		VECTOR want = vector_hex(cases[i].hex);
		assert_int_equal(kveil_crypto_sha256(kveil_span_str(cases[i].in), out, &err), KVEIL_OK);
		assert_memory_equal(out, want.data, 32);
	}
}

static void baseline_runs(void **state)
{
	(void)state;
	struct kveil_bench_evp *b;
	struct kveil_error err;
	static uint8_t large[(64 << 10) + 1];
	struct kveil_bench_record r = {KVEIL_SPAN("110101199003074477"), KVEIL_SPAN("6222021234567890"),
				       KVEIL_SPAN("someone@example.com"), KVEIL_SPAN("{}")};

	assert_int_equal(kveil_bench_evp_new(&b, &err), KVEIL_OK);
	assert_true(kveil_bench_evp_loop(b, &r, 1) > 0);
	r.record = kveil_span_of(large, sizeof large);
	assert_int_equal(kveil_bench_evp_loop(b, &r, 1), 0);
	kveil_bench_evp_free(b);
	kveil_bench_evp_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(random_differs), cmocka_unit_test(kwp_nist),
	    cmocka_unit_test(kwp_wycheproof), cmocka_unit_test(kwp_takes_any_length_and_no_change),
	    cmocka_unit_test(hkdf),           cmocka_unit_test(scrypt),
	    cmocka_unit_test(hmac_sha256),    cmocka_unit_test(hmac_sm3),
	    cmocka_unit_test(hkdf_sm3),       cmocka_unit_test(sha256),
	    cmocka_unit_test(baseline_runs),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
