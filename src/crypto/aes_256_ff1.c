/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FF1 (NIST SP 800-38G revision 1): ten Feistel rounds over the two halves of a string of numerals.
 *
 *   P = 01 02 01 | radix (3) | 0a | u mod 256 | n (4) | t (4)
 *   Q = tweak | zeros | round (1) | the other half as a number (b)         a whole number of blocks with P
 *   y = the first d bytes of AES-CBC-MAC(P | Q), lengthened in counter mode
 *   half = half ± y mod radix^m
 *
 * Every round's AES waits for the one before, so what stands between the two is what counts:
 * - The halves are numbers from the first round to the last. Numerals are read and written once (crypto/radix.h).
 * - P and the tweak's whole blocks are the same in all rounds, and often in the next value of a field: the MAC after
 *   each of them is kept.
 * - y mod radix^m takes two multiplications where halves are words (of 36 digits, 20 letters and digits), and one pass
 *   over the limbs where they are longer, the first 64 bits of y telling the quotient.
 *
 * Time depends on the values of long strings alone, and little: a quotient that was told off by one is put right by
 * another pass (`settle`), and one division of crypto/radix.c in some thousands takes a step more.
 */
#include "base/bytes.h"
#include "base/secret.h"
#include "crypto/gcrypt.h"
#include "crypto/radix.h"
#include "crypto/rows.h"

#include <endian.h>
#include <stdlib.h>

typedef kveil_u128 u128;
__extension__ typedef __int128 i128;

enum {
	ROUNDS = 10,
	BLOCK = 16,
	NUMERALS_MAX = 4096, /* a field's token, not a document: the cost is quadratic */
	HALF_MAX = NUMERALS_MAX / 2,
	HALF_BYTES_MAX = HALF_MAX * 2, /* radix 2^16 */
	LIMBS_MAX = HALF_BYTES_MAX / 8 + 2 + KVEIL_RADIX_ROOM,
	WORD_BITS = 61, /* of a modulus: four times it fit a word with a sign */
	DOMAIN_MIN = 1000000,
	SHAPES = 4,
	KEPT_BLOCKS = 6,
};

struct word_modulus {
	bool narrow;         /* y over m is not a word: y goes in two parts, the first of 64 bits */
	uint64_t m, inverse; /* 2^(8 d) / m, or if narrow 2^64 / m, rounded down */
	struct kveil_radix_scale scale;
};

/* What follows from radix, length and the tweak's length; and what follows from the last tweak, which is often the next
 * one too or begins like it. Nothing in a tweak is secret: what it has of a value stays clear in the token. */
struct shape {
	uint32_t radix;
	bool words;   /* else the moduli are in the scratch */
	size_t count; /* n */
	size_t tweak_len;
	size_t half[2]; /* u, v */
	size_t b, d;
	struct word_modulus modulus[2]; /* radix^u, radix^v */
	size_t whole, fixed;            /* of Q: the blocks that are the same in all rounds, the bytes after them */
	size_t tail_len;                /* and the bytes of the blocks that are not */
	bool begun;                     /* what follows is of this tweak */
	uint8_t tweak[KEPT_BLOCKS * BLOCK];
	uint8_t mac[1 + KEPT_BLOCKS][BLOCK]; /* after P and each whole block */
	uint8_t state[BLOCK], tail[BLOCK];   /* after them all, and the fixed bytes */
	uint64_t high, low;                  /* one xor the other */
};

struct long_modulus {
	uint64_t limbs[LIMBS_MAX];
	size_t bits;
	uint64_t inverse; /* 2^127 / (the first 64 bits + 1), rounded down */
};

/* For halves that are not words: made when the first one comes. */
struct scratch {
	struct kveil_radix radix; /* of the moduli */
	size_t count;
	size_t limbs; /* of radix^v */
	struct long_modulus modulus[2];
	uint64_t half[2][LIMBS_MAX], y[LIMBS_MAX], rest[LIMBS_MAX];
	uint8_t tail[HALF_BYTES_MAX + 2 * BLOCK];
	uint8_t stream[HALF_BYTES_MAX + 2 * BLOCK];
};

struct ff1 {
	struct kveil_cipher base;
	struct kveil_gcrypt_aes *aes;
	struct scratch *scratch;
	struct shape shapes[SHAPES]; /* the fields of one key are of few lengths */
};

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

/* In one store: two halves would not be forwarded to the load of the whole block that follows at once. */
static void store_block(uint8_t p[BLOCK], uint64_t high, uint64_t low)
{
	typedef uint64_t two_words __attribute__((vector_size(BLOCK)));
	const two_words words = {htobe64(high), htobe64(low)};

	memcpy(p, &words, BLOCK);
}

static uint64_t high_product(uint64_t a, uint64_t b)
{
	return (uint64_t)((u128)a * b >> 64);
}

/* --- shapes --- */

static size_t bits_of(uint64_t x)
{
	return x ? 64 - (size_t)__builtin_clzll(x) : 0;
}

static bool domain_is_large_enough(uint32_t radix, size_t count)
{
	uint64_t size = 1;

	while (count-- && size < DOMAIN_MIN)
		size *= radix;
	return size >= DOMAIN_MIN;
}

/* bits: of radix^v - 1. */
static void set_lengths(struct shape *s, size_t bits)
{
	s->b = (bits + 7) / 8;
	s->d = (s->b + 3) / 4 * 4 + 4;
}

static void word_modulus_init(struct word_modulus *w, uint64_t m, size_t d)
{
	w->narrow = d > 8 && m <= (uint64_t)1 << 32;
	w->m = m;
	w->inverse = (uint64_t)(((u128)1 << (w->narrow ? 64 : 8 * d)) / m);
	kveil_radix_scale_init(&w->scale, m);
}

/* false: they are not words. */
static bool words_init(struct shape *s)
{
	uint64_t m[2] = {1, 1};

	for (size_t h = 0; h < 2; h++)
		for (size_t i = 0; i < s->half[h]; i++) {
			if (m[h] > ((uint64_t)1 << WORD_BITS) / s->radix)
				return false;
			m[h] *= s->radix;
		}
	set_lengths(s, bits_of(m[1] - 1));
	word_modulus_init(&s->modulus[0], m[0], s->d);
	word_modulus_init(&s->modulus[1], m[1], s->d);
	return true;
}

/* 64 bits of a number from bit `from` on. */
static uint64_t window(const uint64_t *limbs, size_t from)
{
	const size_t i = from / 64, by = from % 64;

	return by ? limbs[i] >> by | limbs[i + 1] << (64 - by) : limbs[i];
}

static size_t long_modulus_init(struct long_modulus *m, const struct kveil_radix *r, size_t count)
{
	const size_t n = kveil_radix_power(r, count, m->limbs);

	memset(m->limbs + n, 0, sizeof m->limbs - n * sizeof *m->limbs);
	m->bits = 64 * (n - 1) + bits_of(m->limbs[n - 1]);
	const uint64_t first = m->bits < 64 ? m->limbs[0] << (64 - m->bits) : window(m->limbs, m->bits - 64);
	m->inverse = (uint64_t)(((u128)1 << 127) / ((u128)first + 1));
	return n;
}

/* false: out of memory. */
static bool longs_init(struct ff1 *f, struct shape *s)
{
	if (!f->scratch)
		f->scratch = calloc(1, sizeof *f->scratch);
	struct scratch *x = f->scratch;
	if (!x)
		return false;
	if (x->radix.radix != s->radix || x->count != s->count) {
		if (x->radix.radix != s->radix)
			kveil_radix_init(&x->radix, s->radix);
		long_modulus_init(&x->modulus[0], &x->radix, s->half[0]);
		x->limbs = long_modulus_init(&x->modulus[1], &x->radix, s->half[1]);
		x->count = s->count;
	}
	const bool power_of_two = (s->radix & (s->radix - 1)) == 0;
	set_lengths(s, x->modulus[1].bits - power_of_two);
	return true;
}

static bool aes_of_p(struct ff1 *f, struct shape *s)
{
	uint8_t *p = s->mac[0];

	p[0] = 1;
	p[1] = 2;
	p[2] = 1;
	put_be(p + 3, 3, s->radix);
	p[6] = ROUNDS;
	p[7] = (uint8_t)s->half[0];
	put_be(p + 8, 4, s->count);
	put_be(p + 12, 4, s->tweak_len);
	return kveil_gcrypt_aes_blocks(f->aes, p, 1);
}

static enum kveil_status shape_init(struct ff1 *f, struct shape *s, uint32_t radix, size_t count, size_t tweak_len,
				    struct kveil_error *err)
{
	s->radix = 0; /* not to be found if this fails */
	if (radix < 2 || radix > 65536)
		return kveil_fail(err, KVEIL_E_INTERNAL, "FF1: a radix of %u", radix);
	if (!domain_is_large_enough(radix, count))
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN,
				  "%zu characters of an alphabet of %u: fewer than %d values, so they could be guessed",
				  count, radix, DOMAIN_MIN);
	if (count > NUMERALS_MAX)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "%zu characters, more than %d", count,
				  NUMERALS_MAX);
	if (tweak_len > UINT32_MAX)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "a tweak of %zu bytes", tweak_len);
	struct shape made = {
	    .radix = radix, .count = count, .tweak_len = tweak_len, .half = {count / 2, count - count / 2}};
	made.words = words_init(&made);
	if (!made.words && !longs_init(f, &made))
		return kveil_no_memory(err, "a value");
	const size_t q_len = (tweak_len + 1 + made.b + BLOCK - 1) / BLOCK * BLOCK, at = q_len - made.b - 1;
	made.whole = at / BLOCK;
	made.fixed = at % BLOCK;
	made.tail_len = q_len - made.whole * BLOCK;
	if (!aes_of_p(f, &made))
		return kveil_fail(err, KVEIL_E_CRYPTO, "libgcrypt: AES failed");
	*s = made;
	return KVEIL_OK;
}

/* --- rounds --- */

/* AES-CBC-MAC over P and the blocks of Q that are the same in all rounds: s->state and what is beside it. */
static bool begin(struct ff1 *f, struct shape *s, struct kveil_span tweak)
{
	const size_t covered = s->whole * BLOCK;
	const bool keep = covered <= sizeof s->tweak && tweak.len <= sizeof s->tweak;
	bool same = s->begun;

	if (same && memcmp(s->tweak, tweak.data, tweak.len) == 0) /* public */
		return true;
	s->begun = false;
	memcpy(s->state, s->mac[0], BLOCK);
	for (size_t i = 0; i < s->whole; i++) {
		const size_t from = i * BLOCK, left = from < tweak.len ? tweak.len - from : 0;
		uint8_t block[BLOCK] = {0};
		if (left)
			memcpy(block, tweak.data + from, left < BLOCK ? left : BLOCK);
		same = same && memcmp(block, s->tweak + from, BLOCK) == 0; /* public */
		if (same) {
			memcpy(s->state, s->mac[i + 1], BLOCK);
			continue;
		}
		xor_into(s->state, block, BLOCK);
		if (!kveil_gcrypt_aes_blocks(f->aes, s->state, 1))
			return false;
		if (keep)
			memcpy(s->mac[i + 1], s->state, BLOCK);
	}
	memset(s->tail, 0, BLOCK);
	if (tweak.len > covered)
		memcpy(s->tail, tweak.data + covered, tweak.len - covered);
	s->high = kveil_be64(s->state) ^ kveil_be64(s->tail);
	s->low = kveil_be64(s->state + 8) ^ kveil_be64(s->tail + 8);
	if (keep && tweak.len)
		memcpy(s->tweak, tweak.data, tweak.len);
	s->begun = keep && tweak.len;
	return true;
}

/* What all rounds of a value share. */
struct words {
	struct kveil_gcrypt_aes *aes;
	uint64_t high, low; /* the block with neither round nor number */
	size_t b, d;
	uint8_t block[BLOCK];
};

/* to ± y mod m. The other half is in the block's last eight bytes. */
static inline __attribute__((always_inline)) uint64_t word_round(struct words *w, bool encrypt, unsigned round,
								 uint64_t to, uint64_t other,
								 const struct word_modulus *k, bool *ok)
{
	uint8_t *block = w->block;

	const uint64_t number = (uint64_t)round << 8 * (w->b % 8);
	const uint64_t high = w->b == 8 ? w->high ^ number : w->high, low = w->b == 8 ? w->low : w->low ^ number;
	store_block(block, high, low ^ other);
	*ok &= kveil_gcrypt_aes_blocks(w->aes, block, 1);
	const uint64_t m = k->m;
	uint64_t first = kveil_be64(block), y = kveil_be64(block + w->d - 8);
	if (k->narrow) {
		first -= high_product(first, k->inverse) * m;
		first = (first - m) >> 63 ? first : first - m;
		first = y = first << 32 | (uint32_t)y;
	}
	/* y - quotient * m is below 3 m, and the sum below 4 m: the words may wrap on the way. */
	uint64_t base = encrypt ? to + y : to + 3 * m - y, less_1 = base - m, less_2 = base - 2 * m,
		 less_3 = base - 3 * m;
	/* All four candidates are there before the quotient is: the compiler would make each from the one before. */
	__asm__("" : "+r"(base), "+r"(less_1), "+r"(less_2), "+r"(less_3));
	const uint64_t product = encrypt ? -high_product(first, k->inverse) * m : high_product(first, k->inverse) * m;
	base += product;
	less_1 += product;
	less_2 += product;
	less_3 += product;
	/* Without a branch on the values, which no processor could predict. */
	const uint64_t lower = less_1 >> 63 ? base : less_1, upper = less_3 >> 63 ? less_2 : less_3;
	return less_2 >> 63 ? lower : upper;
}

static bool run_words(struct ff1 *f, struct shape *s, bool encrypt, struct kveil_span tweak, uint16_t *digits)
{
	bool ok = begin(f, s, tweak);
	struct words w = {f->aes, s->high, s->low, s->b, s->d, {0}}; /* the tail is one block */
	const struct word_modulus *u = &s->modulus[0], *v = &s->modulus[1];
	uint64_t a = kveil_radix_read(digits, s->half[0], s->radix);
	uint64_t b = kveil_radix_read(digits + s->half[0], s->half[1], s->radix);
	if (encrypt)
		for (unsigned i = 0; i < ROUNDS; i += 2) {
			a = word_round(&w, true, i, a, b, u, &ok);
			b = word_round(&w, true, i + 1, b, a, v, &ok);
		}
	else
		for (unsigned i = ROUNDS; i > 0; i -= 2) {
			b = word_round(&w, false, i - 1, b, a, v, &ok);
			a = word_round(&w, false, i - 2, a, b, u, &ok);
		}
	if (ok) {
		kveil_radix_write(&u->scale, s->radix, a, digits, s->half[0], 0);
		kveil_radix_write(&v->scale, s->radix, b, digits + s->half[0], s->half[1], 0);
	}
	kveil_secret_wipe(w.block, sizeof w.block);
	return ok;
}

/* a, at most a few m too large or too small (as a two's complement), to 0 <= a < m. */
static void settle(uint64_t *a, const uint64_t *m, size_t n)
{
	while (a[n] >> 63) {
		u128 sum = 0;
		for (size_t i = 0; i <= n; i++) {
			sum += (u128)a[i] + m[i];
			a[i] = (uint64_t)sum;
			sum >>= 64;
		}
	}
	for (;;) {
		size_t i = n;
		while (i > 0 && a[i] == m[i])
			i--;
		if (a[i] < m[i])
			return;
		i128 difference = 0;
		for (i = 0; i <= n; i++) {
			difference += (i128)a[i] - m[i];
			a[i] = (uint64_t)difference;
			difference >>= 64;
		}
	}
}

/* a ± y mod m, where a < m and y < 2^(from + 64) < 2^63 m. All have n + 1 limbs. */
static void add_modulo(bool add, uint64_t *a, const uint64_t *y, size_t from, const struct long_modulus *k, size_t n)
{
	const uint64_t top = window(y, from), of_a = window(a, from);
	uint64_t sum;
	i128 acc = 0;
	u128 product = 0;

	/* The quotient that a ± y leaves, seldom off by one. */
	if (add)
		sum = __builtin_add_overflow(top, of_a, &sum) ? UINT64_MAX : sum;
	else
		sum = top > of_a ? top - of_a : 0;
	const uint64_t quotient = (high_product(sum, k->inverse) >> (k->bits - from - 1)) + !add;
	if (add)
		for (size_t i = 0; i <= n; i++) {
			product += (u128)quotient * k->limbs[i];
			acc += (i128)a[i] + y[i] - (uint64_t)product;
			a[i] = (uint64_t)acc;
			product >>= 64;
			acc >>= 64;
		}
	else
		for (size_t i = 0; i <= n; i++) {
			product += (u128)quotient * k->limbs[i];
			acc += (i128)a[i] - y[i] + (uint64_t)product;
			a[i] = (uint64_t)acc;
			product >>= 64;
			acc >>= 64;
		}
	settle(a, k->limbs, n);
}

/* The first bytes of CBC-MAC over the rest of Q with the other half in it, lengthened; as whole blocks. */
static bool stream_of(struct ff1 *f, const struct shape *s, unsigned round, const uint64_t *other)
{
	static const uint8_t zero[BLOCK];
	struct scratch *x = f->scratch;
	const size_t blocks = s->tail_len / BLOCK, more = (s->d + BLOCK - 1) / BLOCK - 1;
	const uint64_t number = (uint64_t)round << 8 * (7 - s->fixed % 8);

	/* The number ends where the last block does, so blocks are pairs of limbs. All is stored and loaded as what it
	 * is next loaded as: see store_block. */
	store_block(x->tail, s->high ^ other[2 * blocks - 1] ^ (s->fixed < 8 ? number : 0),
		    s->low ^ other[2 * blocks - 2] ^ (s->fixed < 8 ? 0 : number));
	for (size_t i = 1; i < blocks; i++)
		store_block(x->tail + i * BLOCK, other[2 * (blocks - i) - 1], other[2 * (blocks - i) - 2]);
	if (!kveil_gcrypt_aes_cbc_mac(f->aes, zero, kveil_span_of(x->tail, s->tail_len), x->stream))
		return false;
	const uint64_t high = kveil_be64(x->stream), low = kveil_be64(x->stream + 8);
	for (size_t i = 1; i <= more; i++)
		store_block(x->stream + i * BLOCK, high, low ^ i);
	return !more || kveil_gcrypt_aes_blocks(f->aes, x->stream + BLOCK, more);
}

/* The first d bytes of the stream as a number of n + 1 limbs. */
static void read_y(struct scratch *x, size_t d, size_t n)
{
	const size_t words = (d + 7) / 8;

	for (size_t i = 0; i <= n; i++)
		x->y[i] = i < words ? kveil_be64(x->stream + 8 * (words - 1 - i)) : 0;
	if (d % 8)
		for (size_t i = 0; i <= n; i++)
			x->y[i] = x->y[i] >> 32 | (i < n ? x->y[i + 1] << 32 : 0);
}

/* One round: the half that it changes ± y. */
static bool long_round(struct ff1 *f, const struct shape *s, bool encrypt, unsigned round)
{
	struct scratch *x = f->scratch;
	const size_t to = round & 1, n = x->limbs;
	const uint64_t *y = x->y;
	size_t from = 8 * s->d - 64;

	if (!stream_of(f, s, round, x->half[!to]))
		return false;
	read_y(x, s->d, n);
	/* The first numeral may make radix^u so much smaller than y that a quotient is not a word; modulo radix^v it
	 * is.
	 */
	if (x->modulus[to].bits <= from) {
		memset(x->rest, 0, (n + 1) * sizeof *x->rest);
		add_modulo(true, x->rest, y, from, &x->modulus[1], n);
		y = x->rest;
		from = x->modulus[1].bits < 64 ? 0 : x->modulus[1].bits - 64;
	}
	add_modulo(encrypt, x->half[to], y, from, &x->modulus[to], n);
	return true;
}

static bool run_long(struct ff1 *f, struct shape *s, bool encrypt, struct kveil_span tweak, uint16_t *digits)
{
	struct scratch *x = f->scratch;
	size_t limbs = kveil_radix_limbs(&x->radix, s->half[1]);
	bool ok = begin(f, s, tweak);

	/* Zeros beyond a number are read as part of the rest of Q. */
	limbs = (limbs > x->limbs ? limbs : x->limbs) + KVEIL_RADIX_ROOM;
	for (size_t h = 0; h < 2; h++) {
		memset(x->half[h], 0, limbs * sizeof **x->half);
		kveil_radix_join(&x->radix, h ? digits + s->half[0] : digits, s->half[h], x->half[h]);
	}
	for (unsigned i = 0; ok && i < ROUNDS; i++)
		ok = long_round(f, s, encrypt, encrypt ? i : ROUNDS - 1 - i);
	for (size_t h = 0; ok && h < 2; h++)
		kveil_radix_split(&x->radix, x->half[h], h ? digits + s->half[0] : digits, s->half[h]);
	const size_t used = limbs * sizeof(uint64_t);
	kveil_secret_wipe(x->half[0], used);
	kveil_secret_wipe(x->half[1], used);
	kveil_secret_wipe(x->y, used);
	kveil_secret_wipe(x->rest, used);
	kveil_secret_wipe(x->tail, s->tail_len);
	kveil_secret_wipe(x->stream, s->d + BLOCK);
	return ok;
}

/* The place of the first numeral that is none, or count. */
static size_t first_outside(const uint16_t *digits, size_t count, uint32_t radix)
{
	size_t i = 0;

	while (i < count && digits[i] < radix)
		i++;
	return i;
}

static enum kveil_status fpe(struct kveil_cipher *c, bool encrypt, struct kveil_span tweak,
			     struct kveil_fpe_numerals *n, struct kveil_error *err)
{
	struct ff1 *f = (struct ff1 *)c;
	struct shape *s = &f->shapes[(n->count + tweak.len) % SHAPES];

	if (s->radix != n->radix || s->count != n->count || s->tweak_len != tweak.len || n->radix == 0) {
		enum kveil_status status = shape_init(f, s, n->radix, n->count, tweak.len, err);
		if (status != KVEIL_OK)
			return status;
	} else if (!s->words && !longs_init(f, s)) {
		return kveil_no_memory(err, "a value");
	}
	const size_t outside = first_outside(n->digits, n->count, n->radix);
	if (outside < n->count)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "character %zu is not of the alphabet",
				  outside + 1);
	if (!(s->words ? run_words : run_long)(f, s, encrypt, tweak, n->digits)) {
		/* What is half done must not be taken for done. */
		kveil_secret_wipe(n->digits, n->count * sizeof *n->digits);
		return kveil_fail(err, KVEIL_E_CRYPTO, "libgcrypt: AES failed");
	}
	return KVEIL_OK;
}

static const char *library(void)
{
	return kveil_gcrypt_aes_available() ? "kveil, AES by libgcrypt" : NULL;
}

static void cipher_free(struct kveil_cipher *c)
{
	struct ff1 *f = (struct ff1 *)c;

	if (!f)
		return;
	kveil_gcrypt_aes_free(f->aes);
	free(f->scratch); /* wiped after each use */
	kveil_secret_wipe(f, sizeof *f);
	free(f);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	if (key.len != kveil_aes_256_ff1.key_bytes)
		return kveil_fail(err, KVEIL_E_INTERNAL, "%s: a key of %zu bytes", kveil_aes_256_ff1.name, key.len);
	struct ff1 *f = calloc(1, sizeof *f);
	if (!f)
		return kveil_no_memory(err, "a key's context");
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
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = cipher_free,
    .fpe = fpe,
};
