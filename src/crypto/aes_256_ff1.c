/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FF1 (NIST SP 800-38G revision 1): ten Feistel rounds over the two halves of a string of numerals.
 *
 *   P = 01 02 01 | radix (3) | 0a | u mod 256 | n (4) | t (4)
 *   Q = tweak | zeros | round (1) | the other half as a number (b)         a whole number of blocks with P
 *   y = the first d bytes of AES-CBC-MAC(P | Q), lengthened in counter mode
 *   half = half ± y mod radix^m
 *
 * P and the tweak's blocks are the same in all rounds and go through AES once. Where a half is a number of at most 96
 * bits (57 digits, 32 letters and digits), the rest of Q is one block and 128-bit integers do; longer strings are
 * reckoned numeral by numeral. Division takes the time that the values make it take, as in every FF1 that we know.
 */
#include "base/secret.h"
#include "crypto/gcrypt.h"
#include "crypto/rows.h"

#include <endian.h>
#include <stdlib.h>

__extension__ typedef unsigned __int128 u128;

enum {
	ROUNDS = 10,
	BLOCK = 16,
	NUMERALS_MAX = 4096, /* a field's token, not a document: the cost is quadratic */
	HALF_MAX = NUMERALS_MAX / 2,
	HALF_BYTES_MAX = HALF_MAX * 2, /* radix 2^16 */
	SHORT_BYTES = 12,              /* b, where d is one block */
	DOMAIN_MIN = 1000000,
};

/* For long strings: made when the first one comes. */
struct scratch {
	uint32_t limbs[HALF_BYTES_MAX / 4 + 2];
	uint8_t tail[HALF_BYTES_MAX + 2 * BLOCK];
	uint8_t stream[HALF_BYTES_MAX + 2 * BLOCK];
	uint16_t numerals[HALF_MAX];
};

/* What follows from radix and length alone. */
struct shape {
	uint32_t radix;
	size_t count;        /* n */
	size_t half[2];      /* u, v */
	size_t number_bytes; /* b */
	u128 modulus[2];     /* radix^u, radix^v, where b is short */
};

struct ff1 {
	struct kveil_cipher base;
	struct kveil_gcrypt_aes *aes;
	struct shape shape; /* of the last string: fields of one rule tend to be of one shape */
	struct scratch *scratch;
};

static bool aes_block(struct ff1 *f, uint8_t block[BLOCK])
{
	return kveil_gcrypt_aes_block(f->aes, block);
}

static void xor_into(uint8_t *to, const uint8_t *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] ^= from[i];
}

static void put_be(uint8_t *p, size_t n, uint64_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

/* As many numerals as fit 32 bits at once. */
static size_t number_of(const uint16_t *digits, size_t count, uint32_t radix, uint32_t *limbs)
{
	size_t n = 0;

	for (size_t i = 0; i < count;) {
		uint32_t factor = 1, carry = 0;
		while (i < count && factor <= UINT32_MAX / radix) {
			carry = carry * radix + digits[i++];
			factor *= radix;
		}
		for (size_t j = 0; j < n; j++) {
			uint64_t t = (uint64_t)limbs[j] * factor + carry;
			limbs[j] = (uint32_t)t;
			carry = (uint32_t)(t >> 32);
		}
		if (carry)
			limbs[n++] = carry;
	}
	return n;
}

/* The last count numerals of a number, which is used up. */
static void numerals_of(uint32_t *limbs, size_t n, uint32_t radix, uint16_t *digits, size_t count)
{
	while (count) {
		uint32_t divisor = 1;
		size_t together = 0;
		while (together < count && divisor <= UINT32_MAX / radix) {
			divisor *= radix;
			together++;
		}
		uint64_t rest = 0;
		for (size_t j = n; j--;) {
			rest = rest << 32 | limbs[j];
			limbs[j] = (uint32_t)(rest / divisor);
			rest %= divisor;
		}
		while (together--) {
			digits[--count] = (uint16_t)(rest % radix);
			rest /= radix;
		}
	}
}

/* a ± b mod radix^count: the carry out of the first numeral is what the modulus takes. */
static void add_numerals(uint16_t *a, const uint16_t *b, size_t count, uint32_t radix)
{
	uint32_t carry = 0;

	for (size_t i = count; i--;) {
		uint32_t s = (uint32_t)a[i] + b[i] + carry;
		carry = s >= radix;
		a[i] = (uint16_t)(carry ? s - radix : s);
	}
}

static void subtract_numerals(uint16_t *a, const uint16_t *b, size_t count, uint32_t radix)
{
	uint32_t borrow = 0;

	for (size_t i = count; i--;) {
		uint32_t take = b[i] + borrow;
		borrow = a[i] < take;
		a[i] = (uint16_t)(borrow ? a[i] + radix - take : a[i] - take);
	}
}

static u128 power(uint32_t radix, size_t n)
{
	u128 p = 1;

	while (n--)
		p *= radix;
	return p;
}

static bool scratch_ready(struct ff1 *f)
{
	if (!f->scratch)
		f->scratch = calloc(1, sizeof *f->scratch);
	return f->scratch != NULL;
}

static size_t bits_of(uint32_t x)
{
	return x ? 32 - (size_t)__builtin_clz(x) : 0;
}

static bool shape_is(struct ff1 *f, uint32_t radix, size_t count)
{
	struct shape *s = &f->shape;

	if (s->radix == radix && s->count == count)
		return true;
	const size_t u = count / 2, v = count - u;
	size_t bits;
	/* ceil(v * log2(radix)) is the length of radix^v - 1 in bits. */
	if (v * bits_of(radix) <= 127) {
		u128 last = power(radix, v) - 1;
		bits = last >> 64 ? 128 - (size_t)__builtin_clzll((uint64_t)(last >> 64))
				  : 64 - (size_t)__builtin_clzll((uint64_t)last);
	} else {
		if (!scratch_ready(f))
			return false;
		struct scratch *x = f->scratch;
		for (size_t i = 0; i < v; i++)
			x->numerals[i] = (uint16_t)(radix - 1);
		size_t n = number_of(x->numerals, v, radix, x->limbs);
		bits = (n - 1) * 32 + bits_of(x->limbs[n - 1]);
	}
	*s = (struct shape){radix, count, {u, v}, (bits + 7) / 8, {0, 0}};
	if (s->number_bytes <= SHORT_BYTES) {
		s->modulus[0] = power(radix, u);
		s->modulus[1] = power(radix, v);
	} else {
		return scratch_ready(f);
	}
	return true;
}

/*
 * AES-CBC-MAC over P and the blocks of Q that are the same in all rounds, into mac. The rest of Q up to the round's
 * number goes to tail; *ret_fixed says how long that is, *ret_tail how long the whole rest.
 */
static bool mac_begin(struct ff1 *f, struct kveil_span tweak, uint8_t mac[BLOCK], uint8_t *tail, size_t *ret_fixed,
		      size_t *ret_tail)
{
	const struct shape *s = &f->shape;
	const size_t q_len = (tweak.len + 1 + s->number_bytes + BLOCK - 1) / BLOCK * BLOCK;
	const size_t at = q_len - s->number_bytes - 1, whole = at / BLOCK * BLOCK;

	mac[0] = 1;
	mac[1] = 2;
	mac[2] = 1;
	put_be(mac + 3, 3, s->radix);
	mac[6] = ROUNDS;
	mac[7] = (uint8_t)s->half[0];
	put_be(mac + 8, 4, s->count);
	put_be(mac + 12, 4, tweak.len);
	if (!aes_block(f, mac))
		return false;
	for (size_t i = 0; i < whole; i += BLOCK) {
		if (i < tweak.len)
			xor_into(mac, tweak.data + i, tweak.len - i < BLOCK ? tweak.len - i : BLOCK);
		if (!aes_block(f, mac))
			return false;
	}
	memset(tail, 0, at - whole);
	if (tweak.len > whole)
		memcpy(tail, tweak.data + whole, tweak.len - whole);
	*ret_fixed = at - whole;
	*ret_tail = q_len - whole;
	return true;
}

/* Inlined for radix 10, so that the divisions become multiplications. */
static inline __attribute__((always_inline)) void split_words(uint64_t high, uint64_t low, size_t low_count,
							      uint32_t radix, uint16_t *digits, size_t count)
{
	while (count > 0 && low_count > 0) {
		digits[--count] = (uint16_t)(low % radix);
		low /= radix;
		low_count--;
	}
	while (count > 0) {
		digits[--count] = (uint16_t)(high % radix);
		high /= radix;
	}
}

static void split(u128 x, uint32_t radix, uint16_t *digits, size_t count)
{
	uint64_t high = 0, low = (uint64_t)x;
	size_t low_count = count;

	if (x >> 64) {
		/* 2^96 over a power of the radix above 2^32: both parts are words. */
		uint64_t divisor = radix;
		low_count = 1;
		while (divisor <= UINT64_MAX / radix && low_count < count) {
			divisor *= radix;
			low_count++;
		}
		high = (uint64_t)(x / divisor);
		low = (uint64_t)(x % divisor);
	}
	if (radix == 10)
		split_words(high, low, low_count, 10, digits, count);
	else
		split_words(high, low, low_count, radix, digits, count);
}

static u128 join(const uint16_t *digits, size_t count, uint32_t radix)
{
	u128 x = 0;

	for (size_t i = 0; i < count; i++)
		x = x * radix + digits[i];
	return x;
}

static u128 load_be128(const uint8_t p[BLOCK])
{
	uint64_t high, low;

	memcpy(&high, p, 8);
	memcpy(&low, p + 8, 8);
	return (u128)be64toh(high) << 64 | be64toh(low);
}

/* In one store: two halves would not be forwarded to the load of the whole block that follows at once. */
static void store_be128(uint8_t p[BLOCK], u128 x)
{
	typedef uint64_t two_words __attribute__((vector_size(BLOCK)));
	const two_words words = {htobe64((uint64_t)(x >> 64)), htobe64((uint64_t)x)};

	memcpy(p, &words, BLOCK);
}

static u128 reduce(u128 y, u128 modulus)
{
	/* One machine division does for halves of up to nine digits. */
	return y >> 64 || modulus >> 64 ? y % modulus : (uint64_t)y % (uint64_t)modulus;
}

static bool run_short(struct ff1 *f, bool encrypt, struct kveil_span tweak, uint16_t *digits)
{
	const struct shape *s = &f->shape;
	const size_t b = s->number_bytes, d = (b + 3) / 4 * 4 + 4;
	uint8_t mac[BLOCK], tail[BLOCK], block[BLOCK];
	size_t fixed, tail_len;
	bool ok = mac_begin(f, tweak, mac, tail, &fixed, &tail_len);

	/* The tail is one block; with the MAC so far in it, a round only adds its number and the other half. */
	memset(tail + fixed, 0, BLOCK - fixed);
	xor_into(tail, mac, BLOCK);
	const u128 base = load_be128(tail);
	u128 half[2] = {join(digits, s->half[0], s->radix), join(digits + s->half[0], s->half[1], s->radix)};
	for (unsigned i = 0; ok && i < ROUNDS; i++) {
		const unsigned round = encrypt ? i : ROUNDS - 1 - i, to = round & 1;
		const u128 modulus = s->modulus[to];
		store_be128(block, base ^ (u128)round << 8 * b ^ half[!to]);
		ok = aes_block(f, block);
		u128 y = reduce(load_be128(block) >> 8 * (BLOCK - d), modulus);
		/* Without a branch on the values, which no processor could predict. */
		if (encrypt) {
			half[to] += y;
			half[to] -= modulus & -(u128)(half[to] >= modulus);
		} else {
			half[to] -= y;
			half[to] += modulus & -(half[to] >> 127);
		}
	}
	if (ok) {
		split(half[0], s->radix, digits, s->half[0]);
		split(half[1], s->radix, digits + s->half[0], s->half[1]);
	}
	kveil_secret_wipe(half, sizeof half);
	kveil_secret_wipe(block, sizeof block);
	return ok;
}

/* y for one round of a long string, as the numerals of the half that it changes, into scratch. */
static bool round_long(struct ff1 *f, const uint8_t mac[BLOCK], size_t fixed, size_t tail_len, unsigned round,
		       const uint16_t *other)
{
	const struct shape *s = &f->shape;
	struct scratch *x = f->scratch;
	const unsigned to = round & 1;
	const size_t b = s->number_bytes, d = (b + 3) / 4 * 4 + 4;
	size_t n = number_of(other, s->half[!to], s->radix, x->limbs);
	uint8_t *number = x->tail + tail_len - b;

	x->tail[fixed] = (uint8_t)round;
	for (size_t i = 0; i < b; i++)
		number[b - 1 - i] = (uint8_t)(i / 4 < n ? x->limbs[i / 4] >> i % 4 * 8 : 0);
	memcpy(x->stream, mac, BLOCK);
	for (size_t i = 0; i < tail_len; i += BLOCK) {
		xor_into(x->stream, x->tail + i, BLOCK);
		if (!aes_block(f, x->stream))
			return false;
	}
	for (size_t i = BLOCK; i < d; i += BLOCK) {
		uint8_t counter[BLOCK] = {0};
		put_be(counter + 8, 8, i / BLOCK);
		memcpy(x->stream + i, x->stream, BLOCK);
		xor_into(x->stream + i, counter, BLOCK);
		if (!aes_block(f, x->stream + i))
			return false;
	}
	for (size_t i = 0; i < d / 4; i++) {
		uint32_t word;
		memcpy(&word, x->stream + d - 4 - 4 * i, 4);
		x->limbs[i] = be32toh(word);
	}
	numerals_of(x->limbs, d / 4, s->radix, x->numerals, s->half[to]);
	return true;
}

static bool run_long(struct ff1 *f, bool encrypt, struct kveil_span tweak, uint16_t *digits)
{
	const struct shape *s = &f->shape;
	uint8_t mac[BLOCK];
	size_t fixed, tail_len;
	uint16_t *half[2] = {digits, digits + s->half[0]};
	bool ok = mac_begin(f, tweak, mac, f->scratch->tail, &fixed, &tail_len);

	for (unsigned i = 0; ok && i < ROUNDS; i++) {
		const unsigned round = encrypt ? i : ROUNDS - 1 - i, to = round & 1;
		ok = round_long(f, mac, fixed, tail_len, round, half[!to]);
		if (ok && encrypt)
			add_numerals(half[to], f->scratch->numerals, s->half[to], s->radix);
		else if (ok)
			subtract_numerals(half[to], f->scratch->numerals, s->half[to], s->radix);
	}
	kveil_secret_wipe(f->scratch, sizeof *f->scratch);
	return ok;
}

static bool domain_is_large_enough(uint32_t radix, size_t count)
{
	uint64_t size = 1;

	while (count-- && size < DOMAIN_MIN)
		size *= radix;
	return size >= DOMAIN_MIN;
}

static enum kveil_status fpe(struct kveil_cipher *c, bool encrypt, struct kveil_span tweak,
			     struct kveil_fpe_numerals *n, struct kveil_error *err)
{
	struct ff1 *f = (struct ff1 *)c;

	if (n->radix < 2 || n->radix > 65536)
		return kveil_fail(err, KVEIL_E_INTERNAL, "FF1: a radix of %u", n->radix);
	if (!domain_is_large_enough(n->radix, n->count))
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN,
				  "%zu characters of an alphabet of %u: fewer than %d values, so they could be guessed",
				  n->count, n->radix, DOMAIN_MIN);
	if (n->count > NUMERALS_MAX)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "%zu characters, more than %d", n->count,
				  NUMERALS_MAX);
	if (tweak.len > UINT32_MAX)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "a tweak of %zu bytes", tweak.len);
	for (size_t i = 0; i < n->count; i++)
		if (n->digits[i] >= n->radix)
			return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "character %zu is not of the alphabet",
					  i + 1);
	if (!shape_is(f, n->radix, n->count))
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for %zu characters", n->count);
	bool ok = f->shape.number_bytes <= SHORT_BYTES ? run_short(f, encrypt, tweak, n->digits)
						       : run_long(f, encrypt, tweak, n->digits);
	if (!ok) {
		/* What is half done must not be taken for done. */
		kveil_secret_wipe(n->digits, n->count * sizeof *n->digits);
		return kveil_fail(err, KVEIL_E_CRYPTO, "libgcrypt: AES failed");
	}
	return KVEIL_OK;
}

static bool is_available(void)
{
	return kveil_gcrypt_aes_available();
}

static void cipher_free(struct kveil_cipher *c)
{
	struct ff1 *f = (struct ff1 *)c;

	if (!f)
		return;
	kveil_gcrypt_aes_free(f->aes);
	free(f->scratch); /* wiped after each use */
	free(f);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	if (key.len != kveil_aes_256_ff1.key_bytes)
		return kveil_fail(err, KVEIL_E_INTERNAL, "%s: a key of %zu bytes", kveil_aes_256_ff1.name, key.len);
	struct ff1 *f = calloc(1, sizeof *f);
	if (!f)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for a key's context");
	f->base.alg = &kveil_aes_256_ff1;
	enum kveil_status status = kveil_gcrypt_aes_new(key.data, &f->aes, err);
	if (status != KVEIL_OK) {
		free(f);
		return status;
	}
	*ret = &f->base;
	return KVEIL_OK;
}

const struct kveil_algorithm kveil_aes_256_ff1 = {
    .name = "aes-256-ff1",
    .wire_id = 7,
    .kind = KVEIL_ALG_FPE,
    .key_bytes = 32,
    .standard = "NIST SP 800-38G r1",
    .help = "format-preserving encryption: digits stay digits, of the same length; deterministic, not authenticated",
    .is_available = is_available,
    .cipher_new = cipher_new,
    .cipher_free = cipher_free,
    .fpe = fpe,
};
