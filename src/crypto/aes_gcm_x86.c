/* SPDX-License-Identifier: Apache-2.0 */
/* AES-GCM with AES-NI and PCLMULQDQ: blocks are encrypted side by side, and hashed in groups of one reduction. */
#include "crypto/aes_gcm_x86.h"

#include "base/secret.h"
#include "crypto/evp_aead.h"
#include "crypto/gcrypt.h"
#include "crypto/statement.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#define X86    __attribute__((target("aes,pclmul,sse4.1")))
#define INLINE X86 static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

enum {
	BLOCK = 16,
	TAG = 16,
	ROUNDS_MAX = 14,
	LANES = 8,  /* blocks encrypted side by side */
	GROUP = 12, /* blocks hashed with one reduction: a short value, its associated data and the lengths */
};

/* A factor, and its halves added, as Karatsuba's product wants them. */
struct factor {
	__m128i whole, folded;
};

/* As good as the key. */
struct kveil_gcm_x86 {
	__m128i round[ROUNDS_MAX + 1];
	struct factor power[GROUP]; /* the hash key to the power i + 1 */
	int rounds;
};

/*
 * GHASH in terms of POLYVAL (RFC 8452, appendix A): blocks are reversed, and the hash key is multiplied by x once. A
 * product is then a * b * x^-128, whose reduction needs no shifts.
 */
#define POLYNOMIAL ((long long)0xc200000000000000) /* x^127 + x^126 + x^121, of the upper half */

INLINE __m128i reversed(__m128i x)
{
	return _mm_shuffle_epi8(x, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
}

INLINE __m128i times_x(__m128i a)
{
	const __m128i carry = _mm_srai_epi32(_mm_shuffle_epi32(a, 0xff), 31);
	const __m128i doubled = _mm_or_si128(_mm_slli_epi64(a, 1), _mm_slli_si128(_mm_srli_epi64(a, 63), 8));

	return _mm_xor_si128(doubled, _mm_and_si128(carry, _mm_set_epi64x(POLYNOMIAL, 1)));
}

INLINE __m128i folded(__m128i a)
{
	return _mm_xor_si128(a, _mm_shuffle_epi32(a, 0x4e));
}

/* Products of 256 bits by Karatsuba's method, added up. */
struct sum {
	__m128i low, folded, high;
};

INLINE void sum_add(struct sum *s, __m128i a, const struct factor *b)
{
	s->low = _mm_xor_si128(s->low, _mm_clmulepi64_si128(a, b->whole, 0x00));
	s->high = _mm_xor_si128(s->high, _mm_clmulepi64_si128(a, b->whole, 0x11));
	s->folded = _mm_xor_si128(s->folded, _mm_clmulepi64_si128(folded(a), b->folded, 0x00));
}

/* The lower 128 bits are made zero, 64 at a time, by adding multiples of the field's polynomial. */
INLINE __m128i sum_reduced(const struct sum *s)
{
	const __m128i polynomial = _mm_set_epi64x(0, POLYNOMIAL);
	const __m128i middle = _mm_xor_si128(s->folded, _mm_xor_si128(s->low, s->high));
	__m128i low = _mm_xor_si128(s->low, _mm_slli_si128(middle, 8));

	for (int i = 0; i < 2; i++)
		low = _mm_xor_si128(_mm_shuffle_epi32(low, 0x4e), _mm_clmulepi64_si128(low, polynomial, 0x00));
	return _mm_xor_si128(low, _mm_xor_si128(s->high, _mm_srli_si128(middle, 8)));
}

struct hash {
	struct sum sum;
	__m128i before; /* what the groups before this one gave, for its first block */
	size_t left;    /* blocks of this group that are to come; the groups after it are full */
};

INLINE struct hash hash_group(__m128i before, size_t blocks)
{
	const __m128i zero = _mm_setzero_si128();

	return (struct hash){{zero, zero, zero}, before, blocks};
}

/* blocks: of the whole message. Behind the last one, `before` is its hash. */
INLINE struct hash hash_begin(size_t blocks)
{
	return hash_group(_mm_setzero_si128(), (blocks - 1) % GROUP + 1);
}

INLINE void hash_block(const struct kveil_gcm_x86 *g, struct hash *h, __m128i block)
{
	h->left--;
	sum_add(&h->sum, _mm_xor_si128(reversed(block), h->before), &g->power[h->left]);
	h->before = _mm_setzero_si128();
	if (h->left == 0)
		*h = hash_group(sum_reduced(&h->sum), GROUP);
}

/* n < 16 bytes with zeros behind them; none is read beyond the last. */
INLINE __m128i load_part(const uint8_t *p, size_t n)
{
	uint64_t low = 0, high = 0;
	uint32_t first, last;

	if (n >= 8) {
		memcpy(&low, p, 8);
		if (n > 8) {
			memcpy(&high, p + n - 8, 8);
			high >>= 8 * (BLOCK - n);
		}
	} else if (n >= 4) {
		memcpy(&first, p, 4);
		memcpy(&last, p + n - 4, 4);
		low = first | (uint64_t)last << 8 * (n - 4);
	} else if (n) {
		low = p[0] | (uint64_t)p[n / 2] << 8 * (n / 2) | (uint64_t)p[n - 1] << 8 * (n - 1);
	}
	return _mm_set_epi64x((long long)high, (long long)low);
}

/* The first n < 16 bytes of a block, the others zero. */
INLINE __m128i masked(__m128i block, size_t n)
{
	static const uint8_t mask[2 * BLOCK] = {255, 255, 255, 255, 255, 255, 255, 255,
						255, 255, 255, 255, 255, 255, 255, 255};

	return _mm_and_si128(block, _mm_loadu_si128((const __m128i *)(mask + BLOCK - n)));
}

INLINE __m128i load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

INLINE void store(uint8_t *p, __m128i block)
{
	_mm_storeu_si128((__m128i *)p, block);
}

INLINE void hash_bytes(const struct kveil_gcm_x86 *g, struct hash *h, struct kveil_span s)
{
	size_t at = 0;

	for (; s.len - at >= BLOCK; at += BLOCK)
		hash_block(g, h, load(s.data + at));
	if (at < s.len)
		hash_block(g, h, load_part(s.data + at, s.len - at));
}

static size_t blocks_of(size_t bytes)
{
	return bytes / BLOCK + (bytes % BLOCK != 0);
}

/* count: of lanes, a constant, so that they stay in registers. */
INLINE void encrypt_lanes(const struct kveil_gcm_x86 *g, __m128i *lanes, int count)
{
	UNROLL
	for (int i = 0; i < count; i++)
		lanes[i] = _mm_xor_si128(lanes[i], g->round[0]);
	for (int r = 1; r < g->rounds; r++) {
		const __m128i round = g->round[r];
		UNROLL
		for (int i = 0; i < count; i++)
			lanes[i] = _mm_aesenc_si128(lanes[i], round);
	}
	UNROLL
	for (int i = 0; i < count; i++)
		lanes[i] = _mm_aesenclast_si128(lanes[i], g->round[g->rounds]);
}

/* The key stream: its block 1 makes the tag, those after it meet the text. */
struct stream {
	__m128i nonce;
	uint32_t counter;
};

INLINE struct stream stream_of(const uint8_t *nonce)
{
	return (struct stream){load_part(nonce, 12), 1};
}

INLINE void stream_next(const struct kveil_gcm_x86 *g, struct stream *s, __m128i lanes[LANES], int count)
{
	UNROLL
	for (int i = 0; i < count; i++)
		lanes[i] = _mm_insert_epi32(s->nonce, (int)__builtin_bswap32(s->counter + (uint32_t)i), 3);
	s->counter += (uint32_t)count;
	encrypt_lanes(g, lanes, count);
}

struct sealing {
	struct stream stream;
	struct hash hash;
	struct kveil_span in; /* what is left */
	uint8_t *out;
};

/* By the lanes first to count. The last block is written whole; the tag replaces what is too much of it. */
INLINE void seal_lanes(const struct kveil_gcm_x86 *g, struct sealing *s, const __m128i *lanes, int first, int count)
{
	UNROLL
	for (int i = first; i < count; i++) {
		size_t n = s->in.len < BLOCK ? s->in.len : BLOCK;
		__m128i block;
		if (n == 0)
			return;
		if (n == BLOCK)
			block = _mm_xor_si128(load(s->in.data), lanes[i]);
		else
			block = masked(_mm_xor_si128(load_part(s->in.data, n), lanes[i]), n);
		store(s->out, block);
		hash_block(g, &s->hash, block);
		s->in = kveil_span_of(s->in.data + n, s->in.len - n);
		s->out += n;
	}
}

INLINE __m128i lengths_of(struct kveil_span ad, struct kveil_span in)
{
	return reversed(_mm_set_epi64x((long long)(8 * ad.len), (long long)(8 * in.len)));
}

/* count: of the lanes that are encrypted first, a constant; the first of all makes the tag. */
INLINE void seal_message(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
			 struct kveil_span in, uint8_t *out, int count)
{
	struct sealing s = {stream_of(nonce), hash_begin(blocks_of(ad.len) + blocks_of(in.len) + 1), in, out};
	__m128i lanes[LANES];

	stream_next(g, &s.stream, lanes, count);
	const __m128i first = lanes[0];
	hash_bytes(g, &s.hash, ad);
	seal_lanes(g, &s, lanes, 1, count);
	while (count == LANES && s.in.len) {
		stream_next(g, &s.stream, lanes, LANES);
		seal_lanes(g, &s, lanes, 0, LANES);
	}
	hash_block(g, &s.hash, lengths_of(ad, in));
	store(out + in.len, _mm_xor_si128(reversed(s.hash.before), first));
}

/* In a forked child: without rounds everything would be encrypted all the same, by no key. */
static bool is_wiped(const struct kveil_gcm_x86 *g)
{
	return g->rounds == 0;
}

static enum kveil_status wiped(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_INTERNAL, "a key does not survive a fork");
}

X86 enum kveil_status kveil_gcm_x86_seal(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
					 struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	if (__builtin_expect(is_wiped(g), 0))
		return wiped(err);
	if (in.len > INT_MAX - TAG || ad.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_TOO_LARGE, "%zu bytes are too many for one ciphertext", in.len);
	if (in.len <= BLOCK)
		seal_message(g, nonce, ad, in, out, 2);
	else if (in.len <= 3 * BLOCK)
		seal_message(g, nonce, ad, in, out, 4);
	else
		seal_message(g, nonce, ad, in, out, LANES);
	return KVEIL_OK;
}

INLINE void open_lanes(struct kveil_span *in, uint8_t **out, const __m128i *lanes, int first, int count)
{
	UNROLL
	for (int i = first; i < count; i++) {
		size_t n = in->len < BLOCK ? in->len : BLOCK;
		if (n == 0)
			return;
		if (n == BLOCK)
			store(*out, _mm_xor_si128(load(in->data), lanes[i]));
		else
			store(*out, masked(_mm_xor_si128(load_part(in->data, n), lanes[i]), n));
		*in = kveil_span_of(in->data + n, in->len - n);
		*out += n;
	}
}

/* Nothing is decrypted before the tag is seen to fit. */
INLINE bool open_message(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
			 struct kveil_span in, const uint8_t *tag, uint8_t *out, int count)
{
	struct stream stream = stream_of(nonce);
	struct hash h = hash_begin(blocks_of(ad.len) + blocks_of(in.len) + 1);
	__m128i lanes[LANES];

	stream_next(g, &stream, lanes, count);
	hash_bytes(g, &h, ad);
	hash_bytes(g, &h, in);
	hash_block(g, &h, lengths_of(ad, in));
	const __m128i expected = _mm_xor_si128(reversed(h.before), lanes[0]);
	if (_mm_movemask_epi8(_mm_cmpeq_epi8(expected, load(tag))) != 0xffff)
		return false;
	open_lanes(&in, &out, lanes, 1, count);
	while (count == LANES && in.len) {
		stream_next(g, &stream, lanes, LANES);
		open_lanes(&in, &out, lanes, 0, LANES);
	}
	return true;
}

X86 enum kveil_status kveil_gcm_x86_open(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
					 struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	if (__builtin_expect(is_wiped(g), 0))
		return wiped(err);
	if (in.len < TAG)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "shorter than an authentication tag");
	if (in.len > INT_MAX || ad.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "%zu bytes are too many for one ciphertext", in.len);
	const struct kveil_span text = kveil_span_of(in.data, in.len - TAG);
	const uint8_t *tag = in.data + text.len;
	bool fits;

	if (text.len <= BLOCK)
		fits = open_message(g, nonce, ad, text, tag, out, 2);
	else if (text.len <= 3 * BLOCK)
		fits = open_message(g, nonce, ad, text, tag, out, 4);
	else
		fits = open_message(g, nonce, ad, text, tag, out, LANES);
	if (fits)
		return KVEIL_OK;
	kveil_secret_wipe(out, text.len);
	return kveil_fail(err, KVEIL_E_AUTHENTICATION, "the authentication tag does not fit");
}

/* FIPS 197, 5.2, with AESKEYGENASSIST for its words, whose round constant is added here. */
X86 static void expand_key(struct kveil_gcm_x86 *g, struct kveil_span key)
{
	const int key_blocks = (int)(key.len / BLOCK);
	int constant = 1;

	for (int i = 0; i < key_blocks; i++)
		g->round[i] = load(key.data + BLOCK * i);
	g->rounds = key_blocks == 1 ? 10 : ROUNDS_MAX;
	for (int i = key_blocks; i <= g->rounds; i++) {
		__m128i words = _mm_aeskeygenassist_si128(g->round[i - 1], 0), k = g->round[i - key_blocks];
		if (i % key_blocks == 0) {
			words = _mm_xor_si128(_mm_shuffle_epi32(words, 0xff), _mm_set1_epi32(constant));
			constant = constant << 1 ^ (constant >> 7) * 0x11b;
		} else {
			words = _mm_shuffle_epi32(words, 0xaa);
		}
		k = _mm_xor_si128(k, _mm_slli_si128(k, 4));
		k = _mm_xor_si128(k, _mm_slli_si128(k, 8));
		g->round[i] = _mm_xor_si128(k, words);
	}
}

X86 void kveil_gcm_x86_rekey(struct kveil_gcm_x86 *g, struct kveil_span key)
{
	__m128i hash_key = _mm_setzero_si128();

	expand_key(g, key);
	encrypt_lanes(g, &hash_key, 1);
	__m128i power = times_x(reversed(hash_key));
	g->power[0] = (struct factor){power, folded(power)};
	for (int i = 1; i < GROUP; i++) {
		struct hash product = hash_group(_mm_setzero_si128(), 1);
		sum_add(&product.sum, power, &g->power[0]);
		power = sum_reduced(&product.sum);
		g->power[i] = (struct factor){power, folded(power)};
	}
}

struct kveil_gcm_x86 *kveil_gcm_x86_new(struct kveil_span key)
{
	struct kveil_gcm_x86 *g = kveil_secret_alloc_schedule(sizeof *g);

	if (g)
		kveil_gcm_x86_rekey(g, key);
	return g;
}

void kveil_gcm_x86_free(struct kveil_gcm_x86 *g)
{
	kveil_secret_free(g);
}

const uint8_t *kveil_gcm_x86_key(const struct kveil_gcm_x86 *g)
{
	return is_wiped(g) ? NULL : (const uint8_t *)g->round; /* the first round keys are the key itself */
}

enum { TEST_MAX = KVEIL_GCM_X86_SHORT };

/* One message of each length up to most, sealed by both and opened by us. */
static bool agrees(const struct kveil_gcm_x86 *g, struct kveil_evp_aead *evp, const uint8_t text[TEST_MAX], size_t most)
{
	uint8_t ours[TEST_MAX + TAG], theirs[TEST_MAX + TAG], back[TEST_MAX + TAG];

	for (size_t n = 0; n <= most; n++) {
		const struct kveil_span in = kveil_span_of(text, n), ad = kveil_span_of(text, n * 7 % 83);
		const struct kveil_span sealed = kveil_span_of(ours, n + TAG);
		const uint8_t *nonce = text + n / 2;
		if (kveil_evp_aead_seal(evp, nonce, ad, in, theirs, NULL) != KVEIL_OK ||
		    kveil_gcm_x86_seal(g, nonce, ad, in, ours, NULL) != KVEIL_OK ||
		    !kveil_secret_eq(ours, theirs, n + TAG) ||
		    kveil_gcm_x86_open(g, nonce, ad, sealed, back, NULL) != KVEIL_OK || !kveil_secret_eq(back, text, n))
			return false;
		ours[n] ^= 1;
		if (kveil_gcm_x86_open(g, nonce, ad, sealed, back, NULL) != KVEIL_E_AUTHENTICATION)
			return false;
	}
	return true;
}

/* key_at: where in the text the key is. */
static bool agrees_with(const char *name, size_t key_bytes, size_t key_at, size_t most)
{
	uint8_t text[TEST_MAX + TAG];
	struct kveil_evp_aead *evp = NULL;

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(i * 151 + (i >> 3));
	const struct kveil_span key = kveil_span_of(text + key_at, key_bytes);
	struct kveil_gcm_x86 *g = kveil_gcm_x86_new(key);
	bool ok = g && kveil_evp_aead_new(name, key, &evp, NULL) == KVEIL_OK && agrees(g, evp, text, most);
	kveil_gcm_x86_free(g);
	kveil_evp_aead_free(evp);
	return ok;
}

/* By two keys: the hash key of one is reduced when it is multiplied by x, the other's is not. */
static bool self_test(const char *name, size_t key_bytes)
{
	return agrees_with(name, key_bytes, 1, TEST_MAX) && agrees_with(name, key_bytes, 2, 4 * BLOCK);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool usable;

static void try_it(void)
{
	const char *library = getenv("KVEIL_LIBRARY_GCM");

	usable = (!library || strcmp(library, "1") != 0) && __builtin_cpu_supports("aes") &&
		 __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1") && !kveil_gcrypt_fips() &&
		 !kveil_statement_openssl_fips() && self_test("AES-128-GCM", 16) && self_test("AES-256-GCM", 32);
}

bool kveil_gcm_x86_has(void)
{
	pthread_once(&once, try_it);
	return usable;
}

#else

bool kveil_gcm_x86_has(void)
{
	return false;
}

struct kveil_gcm_x86 *kveil_gcm_x86_new(struct kveil_span key)
{
	(void)key;
	return NULL;
}

void kveil_gcm_x86_rekey(struct kveil_gcm_x86 *g, struct kveil_span key)
{
	(void)g;
	(void)key;
}

void kveil_gcm_x86_free(struct kveil_gcm_x86 *g)
{
	(void)g;
}

const uint8_t *kveil_gcm_x86_key(const struct kveil_gcm_x86 *g)
{
	(void)g;
	return NULL;
}

enum kveil_status kveil_gcm_x86_seal(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
				     struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	(void)g, (void)nonce, (void)ad, (void)in, (void)out;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "not on this processor");
}

enum kveil_status kveil_gcm_x86_open(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
				     struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	return kveil_gcm_x86_seal(g, nonce, ad, in, out, err);
}

#endif
