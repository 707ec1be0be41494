/* SPDX-License-Identifier: Apache-2.0 */
/* Ciphertexts that somebody bent, for every algorithm that opens: each a code of its own, and no clear byte left. */
#include "keys_fixture.h"

#include "keys/internal.h"

#define AD   KVEIL_SPAN("orders:$['card']")
#define TEXT "a card"

static const char yaml[] = "registry: file:keys.json\n"
			   "keks: {local: {provider: file, path: kek}}\n"
			   "data:\n"
			   "  aes-256-gcm: {algorithm: aes-256-gcm}\n"
			   "  aes-128-gcm: {algorithm: aes-128-gcm}\n"
			   "  aes-256-gcm-siv: {algorithm: aes-256-gcm-siv}\n"
			   "  sm4-gcm: {algorithm: sm4-gcm}\n"
			   "  sm4-cbc-hmac-sm3: {algorithm: sm4-cbc-hmac-sm3}\n"
			   "  aes-256-siv: {algorithm: aes-256-siv}\n"
			   "  other: {algorithm: aes-256-gcm}\n";

static const char *const names[] = {"aes-256-gcm", "aes-128-gcm",      "aes-256-gcm-siv",
				    "sm4-gcm",     "sm4-cbc-hmac-sm3", "aes-256-siv"};
enum { NAMES = sizeof names / sizeof *names };

struct bent {
	struct fixture f;
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_key *keys[NAMES], *other;
	uint8_t sealed[NAMES][128];
	size_t n[NAMES];
};

static struct kveil_key *key_of(struct bent *b, const char *name)
{
	struct kveil_key *key = NULL;
	unsigned use = KVEIL_USE_SEAL | KVEIL_USE_OPEN;

	if (strcmp(name, "aes-256-siv") == 0)
		use |= KVEIL_USE_DETERMINISTIC;
	assert_ok(kveil_keyring_key(b->ring, kveil_span_str(name), use, &key, &err));
	return key;
}

static void set_up(struct bent *b)
{
	fixture_set_up(&b->f, yaml);
	b->ks = fixture_init(&b->f);
	assert_ok(kveil_keyring_new(b->ks, &b->ring, &err));
	for (size_t i = 0; i < NAMES; i++) {
		b->keys[i] = key_of(b, names[i]);
		assert_ok(kveil_key_seal(b->keys[i], AD, KVEIL_SPAN(TEXT), b->sealed[i], &b->n[i], &err));
	}
	b->other = key_of(b, "other");
}

static void tear_down(struct bent *b)
{
	kveil_keyring_free(b->ring);
	kveil_keystore_unref(b->ks);
	fixture_tear_down(&b->f);
}

/* In memory of exactly its size, so that a byte read too far is seen. */
static enum kveil_status open_it(struct kveil_key *key, struct kveil_span ad, const uint8_t *sealed, size_t n)
{
	uint8_t *in = malloc(n ? n : 1), *out = calloc(1, n ? n : 1);
	size_t len = 0;

	assert_true(in && out);
	memcpy(in, sealed, n);
	enum kveil_status status = open_or_look(key, ad, kveil_span_of(in, n), out, &len, &err);
	for (size_t i = 0; status && i < n; i++)
		assert_int_equal(out[i], 0);
	if (status)
		assert_null(strstr(err.message, TEXT));
	else
		assert_int_equal(len, sizeof TEXT - 1);
	free(in);
	free(out);
	return status;
}

static void every_bit_counts(void **state)
{
	(void)state;
	struct bent b;

	set_up(&b);
	for (size_t k = 0; k < NAMES; k++) {
		for (size_t bit = 0; bit < b.n[k] * 8; bit++) {
			b.sealed[k][bit / 8] ^= (uint8_t)(1 << bit % 8);
			enum kveil_status want = bit < 8    ? KVEIL_E_BAD_CIPHERTEXT
						 : bit < 40 ? KVEIL_E_UNKNOWN_KEY
							    : KVEIL_E_AUTHENTICATION;
			assert_int_equal(open_it(b.keys[k], AD, b.sealed[k], b.n[k]), want);
			b.sealed[k][bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_ok(open_it(b.keys[k], AD, b.sealed[k], b.n[k]));
	}
	tear_down(&b);
}

static void every_length_but_its_own_is_wrong(void **state)
{
	(void)state;
	struct bent b;

	set_up(&b);
	for (size_t k = 0; k < NAMES; k++) {
		for (size_t n = 0; n < b.n[k]; n++) {
			enum kveil_status status = open_it(b.keys[k], AD, b.sealed[k], n);
			assert_true(status == KVEIL_E_BAD_CIPHERTEXT || status == KVEIL_E_AUTHENTICATION);
			if (n < 5)
				assert_int_equal(status, KVEIL_E_BAD_CIPHERTEXT);
		}
		for (size_t n = b.n[k] + 1; n < b.n[k] + 40; n++) {
			enum kveil_status status = open_it(b.keys[k], AD, b.sealed[k], n);
			assert_true(status == KVEIL_E_BAD_CIPHERTEXT || status == KVEIL_E_AUTHENTICATION);
		}
	}
	tear_down(&b);
}

static void places_and_keys_cannot_be_exchanged(void **state)
{
	(void)state;
	static const char *const places[] = {"orders:$['name']",  "returns:$['card']",     "orders:$['car']",
					     "orders:$['card'] ", "Orders:$['card']",      "o",
					     "rders:$['card']o",  "orders:$['card']['x']", "orders:key:$"};
	struct bent b;

	set_up(&b);
	for (size_t k = 0; k < NAMES; k++) {
		for (size_t i = 0; i < sizeof places / sizeof *places; i++)
			assert_int_equal(open_it(b.keys[k], kveil_span_str(places[i]), b.sealed[k], b.n[k]),
					 KVEIL_E_AUTHENTICATION);
		/* Another name's ciphertext, as it is and under this one's id. */
		for (size_t i = 0; i < NAMES; i++) {
			uint8_t moved[128];
			if (i == k)
				continue;
			assert_int_equal(open_it(b.keys[k], AD, b.sealed[i], b.n[i]), KVEIL_E_UNKNOWN_KEY);
			memcpy(moved, b.sealed[i], b.n[i]);
			memcpy(moved + 1, b.sealed[k] + 1, 4);
			enum kveil_status status = open_it(b.keys[k], AD, moved, b.n[i]);
			assert_true(status == KVEIL_E_AUTHENTICATION || status == KVEIL_E_BAD_CIPHERTEXT);
		}
		assert_int_equal(open_it(b.other, AD, b.sealed[k], b.n[k]), KVEIL_E_UNKNOWN_KEY);
	}
	tear_down(&b);
}

/* The id of another version of the same name, of another algorithm even. */
static void versions_cannot_be_exchanged(void **state)
{
	(void)state;
	static const char *const algorithms[] = {"aes-256-gcm", "aes-256-gcm-siv", "sm4-cbc-hmac-sm3", "sm4-gcm",
						 "aes-128-gcm"};
	enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };
	uint8_t sealed[ALGORITHMS][128], moved[128];
	struct bent b = {0};
	size_t n[ALGORITHMS];

	fixture_set_up(&b.f, yaml);
	kveil_keystore_unref(fixture_init(&b.f));
	for (size_t i = 0; i < ALGORITHMS; i++) {
		char text[256];
		snprintf(text, sizeof text,
			 "registry: file:keys.json\nkeks: {local: {provider: file, path: kek}}\n"
			 "data: {other: {algorithm: %s}}\n",
			 algorithms[i]);
		fixture_forget(&b.f);
		fixture_parse(&b.f, text);
		if (i > 0) {
			assert_ok(kveil_keystore_open_reachable(&b.f.config, &b.ks, &err));
			assert_ok(kveil_keystore_rotate(b.ks, KVEIL_SPAN("other"), 0, &err));
			kveil_keystore_unref(b.ks);
		}
		assert_ok(kveil_keystore_open(&b.f.config, &b.ks, &err));
		assert_ok(kveil_keyring_new(b.ks, &b.ring, &err));
		b.other = key_of(&b, "other");
		assert_ok(kveil_key_seal(b.other, AD, KVEIL_SPAN(TEXT), sealed[i], &n[i], &err));
		if (i + 1 == ALGORITHMS)
			break;
		kveil_keyring_free(b.ring);
		kveil_keystore_unref(b.ks);
	}
	for (size_t i = 0; i < ALGORITHMS; i++) {
		assert_ok(open_it(b.other, AD, sealed[i], n[i]));
		for (size_t k = 0; k < ALGORITHMS; k++) {
			if (i == k)
				continue;
			assert_memory_not_equal(sealed[i] + 1, sealed[k] + 1, 4);
			memcpy(moved, sealed[i], n[i]);
			memcpy(moved + 1, sealed[k] + 1, 4);
			enum kveil_status status = open_it(b.other, AD, moved, n[i]);
			assert_true(status == KVEIL_E_AUTHENTICATION || status == KVEIL_E_BAD_CIPHERTEXT);
		}
	}
	tear_down(&b);
}

static void what_has_no_key_any_more_says_so(void **state)
{
	(void)state;
	struct bent b;
	size_t changed;
	char id[16];

	set_up(&b);
	for (size_t k = 0; k < NAMES; k++) {
		const uint8_t *p = b.sealed[k] + 1;
		snprintf(id, sizeof id, "%u", (unsigned)p[0] << 24 | (unsigned)p[1] << 16 | (unsigned)p[2] << 8 | p[3]);
		assert_int_equal(kveil_keys_set_state(b.ks, names[k], 7, KVEIL_KEY_DESTROYED, &changed, &err),
				 KVEIL_E_NOT_FOUND);
		assert_ok(kveil_keys_set_state(b.ks, names[k], 1, KVEIL_KEY_DESTROYED, &changed, &err));
		assert_int_equal(changed, 1);
		(void)!kveil_keyring_tick(b.ring, kveil_clock_wall_ms(),
					  &err); /* a deterministic key has no successor */
		assert_int_equal(open_it(b.keys[k], AD, b.sealed[k], b.n[k]), KVEIL_E_KEY_DESTROYED);
		assert_non_null(strstr(err.message, id));
		assert_int_equal(open_it(b.other, AD, b.sealed[k], b.n[k]), KVEIL_E_UNKNOWN_KEY);
		assert_non_null(strstr(err.message, id));
		/* Nothing that is not ciphertext gets that far. */
		b.sealed[k][0] = 0;
		assert_int_equal(open_it(b.keys[k], AD, b.sealed[k], b.n[k]), KVEIL_E_BAD_CIPHERTEXT);
	}
	tear_down(&b);
}

/* --- a registry by somebody who has its secret, and so can sign --- */

typedef void bend_fn(struct kveil_keystore *ks, struct kveil_document *d);

static struct kveil_key_record *copy_last(struct kveil_document *d, size_t from)
{
	assert_true(kveil_document_add(d, &d->records[from]));
	return &d->records[d->count - 1];
}

static void same_twice(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	copy_last(d, 0);
}

static void id_twice(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[1].id = d->records[0].id;
}

static void version_twice(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	copy_last(d, 0)->id ^= 1;
}

static void no_id(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].id = 0;
}

static void no_version(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].version = 0;
}

static void no_sequence(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].sequence = 0;
}

static void far_time(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].active_from_ms = INT64_MAX;
}

static void last_version(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].version = UINT32_MAX;
}

static void wrapped_of_another(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	struct kveil_key_record *a = &d->records[0], *b = &d->records[3];
	uint8_t *bytes = a->wrapped;
	size_t n = a->wrapped_len;
	a->wrapped = b->wrapped;
	a->wrapped_len = b->wrapped_len;
	b->wrapped = bytes;
	b->wrapped_len = n;
}

static void renamed(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	snprintf(d->records[0].name, sizeof d->records[0].name, "stolen");
}

static void another_algorithm(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->records[i].name, "aes-256-gcm") == 0)
			d->records[i].algorithm = kveil_algorithm_by_name(KVEIL_SPAN("aes-256-gcm-siv"))->wire_id;
}

static void wrapped_bent(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].wrapped[9] ^= 1;
}

static void wrapped_cut(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].wrapped_len -= 8;
}

static void wrapped_tiny(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->records[0].wrapped_len = 1;
}

static void wrapped_huge(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	free(d->records[0].wrapped);
	d->records[0].wrapped_len = KVEIL_WRAPPED_BYTES_MAX;
	d->records[0].wrapped = calloc(1, KVEIL_WRAPPED_BYTES_MAX);
	assert_non_null(d->records[0].wrapped);
}

static void no_such_kek(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	snprintf(d->records[0].kek, sizeof d->records[0].kek, "elsewhere");
}

static void no_roots(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	for (size_t i = 0; i < d->root.count; i++)
		free(d->root.keys[i].wrapped);
	d->root.count = 0;
}

static void root_of_another(struct kveil_keystore *ks, struct kveil_document *d)
{
	(void)ks;
	d->root.keys[0].wrapped[9] ^= 1;
}

static const struct {
	bend_fn *bend;
	enum kveil_status status;
	const char *says;
} bends[] = {
    {same_twice, KVEIL_E_REGISTRY_CORRUPT, "twice"},
    {id_twice, KVEIL_E_REGISTRY_CORRUPT, "twice"},
    {version_twice, KVEIL_E_REGISTRY_CORRUPT, "twice"},
    {no_id, KVEIL_E_REGISTRY_CORRUPT, "that kveil does not write"},
    {no_version, KVEIL_E_REGISTRY_CORRUPT, "that kveil does not write"},
    {no_sequence, KVEIL_E_REGISTRY_CORRUPT, "that kveil does not write"},
    {far_time, KVEIL_E_REGISTRY_CORRUPT, "that kveil does not write"},
    {last_version, KVEIL_E_REGISTRY_CORRUPT, "another one's"},
    {wrapped_of_another, KVEIL_E_REGISTRY_CORRUPT, "another one's"},
    {renamed, KVEIL_E_REGISTRY_CORRUPT, "another one's"},
    {another_algorithm, KVEIL_E_REGISTRY_CORRUPT, "another one's"},
    {wrapped_bent, KVEIL_E_WRONG_KEK, "not the one that wrapped"},
    {wrapped_cut, KVEIL_E_WRONG_KEK, "not the one that wrapped"},
    {wrapped_tiny, KVEIL_E_WRONG_KEK, "not the one that wrapped"},
    {wrapped_huge, KVEIL_E_WRONG_KEK, "not the one that wrapped"},
    {no_such_kek, KVEIL_E_CONFIG, "elsewhere"},
    {no_roots, KVEIL_E_WRONG_KEK, ""},
    {root_of_another, KVEIL_E_WRONG_KEK, ""},
};

/* Over the file as it stands, so that its mark still names it. */
static void write_over(const char *path, struct kveil_document *d, const struct kveil_registry_secret *secret)
{
	struct kveil_buf text = KVEIL_BUF_INIT;

	for (size_t i = 0; i < d->count; i++)
		assert_ok(kveil_key_record_sign(&d->records[i], secret, &err));
	assert_ok(kveil_document_write(d, secret, &text, &err));
	int fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text.data, text.len), text.len);
	close(fd);
	kveil_buf_clear(&text);
}

static void a_signed_registry_is_still_looked_at(void **state)
{
	(void)state;
	struct kveil_document d = {0};
	struct fixture f;

	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);
	for (size_t i = 0; i < sizeof bends / sizeof *bends; i++) {
		struct kveil_document whole = {0};
		assert_ok(ks->registry->driver->snapshot(ks->registry, &whole, &err));
		assert_ok(ks->registry->driver->snapshot(ks->registry, &d, &err));
		bends[i].bend(ks, &d);
		write_over(at(&f, "keys.json"), &d, ks->registry->secret);
		enum kveil_status status = fixture_open_status(&f);
		if (status != bends[i].status || !strstr(err.message, bends[i].says))
			fail_msg("case %zu: %s: %s", i, kveil_status_code(status), err.message);
		assert_true(err.hint[0] != 0);
		write_over(at(&f, "keys.json"), &whole, ks->registry->secret);
		assert_int_equal(fixture_open_status(&f), KVEIL_OK);
		kveil_document_clear(&d);
		kveil_document_clear(&whole);
	}
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* A process that runs goes on with the keys that it has, whatever the file says meanwhile. */
static void a_process_that_runs_keeps_its_keys(void **state)
{
	(void)state;
	struct bent b;

	set_up(&b);
	for (size_t i = 0; i < sizeof bends / sizeof *bends; i++) {
		struct kveil_document d = {0}, whole = {0};
		assert_ok(b.ks->registry->driver->snapshot(b.ks->registry, &whole, &err));
		assert_ok(b.ks->registry->driver->snapshot(b.ks->registry, &d, &err));
		bends[i].bend(b.ks, &d);
		write_over(at(&b.f, "keys.json"), &d, b.ks->registry->secret);
		(void)!kveil_keystore_tend(b.ks, kveil_clock_wall_ms(), &err);
		assert_ok(open_it(b.keys[0], AD, b.sealed[0], b.n[0]));
		uint8_t again[128];
		size_t n;
		assert_ok(kveil_key_seal(b.keys[0], AD, KVEIL_SPAN(TEXT), again, &n, &err));
		assert_memory_equal(again, b.sealed[0], 5);
		write_over(at(&b.f, "keys.json"), &whole, b.ks->registry->secret);
		kveil_document_clear(&d);
		kveil_document_clear(&whole);
	}
	assert_ok(kveil_keystore_tend(b.ks, kveil_clock_wall_ms(), &err));
	assert_int_equal(fixture_open_status(&b.f), KVEIL_OK);
	tear_down(&b);
}

/* The last numbers there are, with a key that is right: what follows them must not be 0. */
static void the_last_numbers_are_the_end(void **state)
{
	(void)state;
	struct kveil_keystore *ks;
	struct kveil_key_record r;
	struct fixture f;
	size_t changed;

	fixture_set_up(&f, yaml);
	ks = fixture_init(&f);
	const struct kveil_data_key_config *c = kveil_keys_config_find(&f.config, KVEIL_SPAN("other"));
	int64_t now = kveil_clock_wall_ms();
	kveil_key_record_begin(&r, c, UINT32_MAX, now, now);
	r.sequence = UINT32_MAX;
	assert_ok(kveil_keystore_make(ks, "local", ks->registry->secret, &r, KVEIL_SPAN_NULL, &err));
	assert_ok(ks->registry->driver->append(ks->registry, &r, 1, &err));
	kveil_key_record_clear(&r);
	assert_ok(kveil_keystore_refresh(ks, &err));
	assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err), KVEIL_E_UNSUPPORTED);
	assert_non_null(strstr(err.message, "last version number"));
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	/* Its end is a higher state, and needs no higher sequence. */
	(void)!kveil_keys_set_state(ks, "other", UINT32_MAX, KVEIL_KEY_DESTROYED, &changed, &err);
	assert_int_equal(changed, 1);
	kveil_keystore_unref(ks);
	assert_ok(kveil_keystore_open(&f.config, &ks, &err));
	struct kveil_document d = {0};
	assert_ok(ks->registry->driver->snapshot(ks->registry, &d, &err));
	assert_int_equal(d.records[d.count - 1].state, KVEIL_KEY_DESTROYED);
	kveil_document_clear(&d);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static struct kveil_provider counting;
static int asked;

static enum kveil_status count_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				      size_t *ret_len, struct kveil_error *why)
{
	asked++;
	return kveil_provider_by_name("file")->unwrap(kek, wrapped, plain, room, ret_len, why);
}

static enum kveil_status wrap_garbage(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				      struct kveil_error *why)
{
	(void)kek;
	(void)why;
	for (size_t i = 0; i < plain.len + 16; i++)
		kveil_buf_append_byte(wrapped, (uint8_t)i);
	return KVEIL_OK;
}

/* Another key under the same name, then answers that mean nothing: nothing of either is published, and what was there
 * opens. */
static void a_stranger_wraps_nothing(void **state)
{
	struct kveil_kek *right, *stranger;
	uint8_t other[32] = {9};
	struct fixture f;
	size_t n, m, kek_len;
	(void)state;

	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);
	uint8_t *before = get_file(at(&f, "keys.json"), &n), *kek = get_file(at(&f, "kek"), &kek_len);
	put_file(at(&f, "kek"), other, sizeof other, 0600);
	right = ks->custodians[0];
	const struct kveil_kek_config *c = &f.config.custodians[0];
	assert_ok(kveil_kek_open(right->provider, c->name, c->params, f.config.base_dir, &stranger, &err));
	ks->custodians[0] = stranger;
	assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err), KVEIL_E_KEK_UNAVAILABLE);
	assert_non_null(strstr(err.message, "own secret"));
	ks->custodians[0] = right;
	kveil_kek_close(stranger);
	put_file(at(&f, "kek"), kek, kek_len, 0600);
	free(kek);

	counting = *right->provider;
	counting.is_read_once = false; /* as a server: there is no file to look at again */
	counting.wrap = wrap_garbage;
	right->provider = &counting;
	assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err), KVEIL_E_KEK_UNAVAILABLE);
	assert_non_null(strstr(err.message, "give back"));
	uint8_t *after = get_file(at(&f, "keys.json"), &m);
	assert_int_equal(n, m);
	assert_memory_equal(before, after, n);
	free(before);
	free(after);
	right->provider = kveil_provider_by_name("file");
	int64_t end = kveil_clock_mono_ms() + 5000;
	while (kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err)) {
		assert_true(kveil_clock_mono_ms() < end);
		usleep(50000);
	}
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static struct kveil_kek *behind; /* who answers */

static enum kveil_status unwrap_behind(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				       size_t *ret_len, struct kveil_error *why)
{
	return kveil_provider_by_name("file")->unwrap(asked ? behind : kek, wrapped, plain, room, ret_len, why);
}

static enum kveil_status wrap_as_they_come_in(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
					      struct kveil_error *why)
{
	(void)kek;
	asked = 1;
	return kveil_provider_by_name("file")->wrap(behind, plain, wrapped, why);
}

static enum kveil_status unwrap_garbage(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
					size_t *ret_len, struct kveil_error *why)
{
	(void)kek;
	(void)wrapped;
	(void)why;
	memset(plain, 0, room);
	*ret_len = 3;
	return KVEIL_OK;
}

/* Another key answers from the moment on that the right one was proved. */
static void a_stranger_comes_in_between(void **state)
{
	uint8_t other[32] = {9};
	struct fixture f;
	size_t n, m, kek_len;
	(void)state;

	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_kek *right = ks->custodians[0];
	uint8_t *before = get_file(at(&f, "keys.json"), &n), *kek = get_file(at(&f, "kek"), &kek_len);
	put_file(at(&f, "kek"), other, sizeof other, 0600);
	const struct kveil_kek_config *c = &f.config.custodians[0];
	assert_ok(kveil_kek_open(right->provider, c->name, c->params, f.config.base_dir, &behind, &err));
	put_file(at(&f, "kek"), kek, kek_len, 0600);
	free(kek);
	counting = *right->provider;
	counting.is_read_once = false;
	counting.wrap = wrap_as_they_come_in;
	counting.unwrap = unwrap_behind;
	right->provider = &counting;
	asked = 0;
	assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err), KVEIL_E_KEK_UNAVAILABLE);
	assert_non_null(strstr(err.message, "own secret"));
	uint8_t *after = get_file(at(&f, "keys.json"), &m);
	assert_int_equal(n, m);
	assert_memory_equal(before, after, n);
	free(before);
	free(after);
	right->provider = kveil_provider_by_name("file");
	kveil_kek_close(behind);
	behind = NULL;
	asked = 0;
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* What a custodian gives back means nothing: its fault, as long as it does not open the registry's own secret. */
static void garbage_condemns_no_record(void **state)
{
	struct fixture f;
	(void)state;

	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f), *late;
	assert_ok(kveil_keystore_open(&f.config, &late, &err));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("other"), 0, &err));
	counting = *late->custodians[0]->provider;
	counting.is_read_once = false;
	counting.unwrap = unwrap_garbage;
	late->custodians[0]->provider = &counting;
	assert_int_equal(kveil_keystore_refresh(late, &err), KVEIL_E_KEK_UNAVAILABLE);
	late->custodians[0]->provider = kveil_provider_by_name("file");
	int64_t end = kveil_clock_mono_ms() + 30000;
	while (kveil_keystore_refresh(late, &err)) {
		assert_true(kveil_clock_mono_ms() < end);
		usleep(50000);
	}
	kveil_keystore_unref(late);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void put_foreign(struct kveil_keystore *ks, const char *name, uint32_t id, enum kveil_key_state state)
{
	struct kveil_key_record r;

	kveil_key_record_begin(&r, kveil_keys_config_find(ks->config, kveil_span_str(name)), 9, 1, 1);
	r.id = id;
	r.state = state;
	snprintf(r.kek, sizeof r.kek, "local");
	if (state != KVEIL_KEY_DESTROYED)
		r.wrapped = calloc(1, r.wrapped_len = 64);
	assert_ok(kveil_key_record_sign(&r, ks->registry->secret, &err));
	assert_ok(kveil_keystore_append(ks, &r, 1, &err));
	kveil_key_record_clear(&r);
}

/* What a KEK did not wrap it is asked about like a custodian that is away: less and less often, and nobody else waits.
 */
static void a_wrong_kek_is_let_rest(void **state)
{
	enum {
		ROTATED =
		    6 * 4, /* is it the KEK, before and after; does it give back what it wrapped; the key itself */
		SOUGHT = KVEIL_SOUGHT_MAX / 2,
	};
	struct fixture f;
	(void)state;
	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);

	counting = *ks->custodians[0]->provider;
	counting.unwrap = count_unwrap;
	ks->custodians[0]->provider = &counting;
	put_foreign(ks, "other", 77, KVEIL_KEY_LIVE);
	assert_int_equal(asked, 1);
	int64_t begin = kveil_clock_mono_ms();
	uint32_t id = 4711;
	while (kveil_clock_mono_ms() < begin + 400 && id < 4711 + SOUGHT) {
		(void)!kveil_keystore_seek(ks, 77, &err);
		assert_int_equal(kveil_keystore_seek(ks, id, &err), KVEIL_E_KEY_PENDING);
		assert_int_equal(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err), KVEIL_E_WRONG_KEK);
		assert_non_null(strstr(err.message, "'other' version 9"));
		/* It may hold the key that a value needs; whatever id it does not hold is nobody's. */
		assert_int_equal(kveil_keystore_seek(ks, 77, &err), KVEIL_E_REGISTRY_UNAVAILABLE);
		assert_int_equal(kveil_keystore_seek(ks, id++, &err), KVEIL_E_UNKNOWN_KEY);
	}
	assert_int_equal(asked, 1);
	while (kveil_clock_mono_ms() < begin + 1400) {
		assert_int_equal(kveil_keystore_refresh(ks, &err), KVEIL_E_WRONG_KEK);
		usleep(5000);
	}
	assert_int_equal(asked, 2);
	/* Each is looked at when it comes, and the file is not read into memory again and again. */
	put_foreign(ks, "aes-128-gcm", 78, KVEIL_KEY_LIVE);
	assert_int_equal(asked, 3);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("sm4-gcm"), 0, &err));
	size_t waiting = ks->backlog.all.count;
	for (int i = 0; i < 5; i++)
		assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("sm4-gcm"), 0, &err));
	assert_in_range(asked, 3 + ROTATED, 3 + ROTATED + 5); /* on a slow machine its rest may be over now and then */
	assert_int_equal(ks->backlog.all.count, waiting);
	/* What changes in the registry counts at once. */
	put_foreign(ks, "other", 77, KVEIL_KEY_DESTROYED);
	put_foreign(ks, "aes-128-gcm", 78, KVEIL_KEY_DESTROYED);
	assert_in_range(asked, 3 + ROTATED, 3 + ROTATED + 5); /* on a slow machine its rest may be over now and then */
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static struct kveil_registry_driver telling;
static struct kveil_key_record told;

static enum kveil_status tell(struct kveil_registry *r, kveil_registry_read_fn *fn, void *user, struct kveil_error *why)
{
	(void)r;
	return fn(user, &told, why);
}

/* The registry's order gave a key a later number of its name (registry_log.h): the next one comes after that. */
static void a_key_goes_on_under_a_later_number(void **state)
{
	struct fixture f;
	(void)state;
	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);
	const struct kveil_key_name *n = kveil_map_get(&ks->names, KVEIL_SPAN("other"));
	const struct kveil_registry_driver *plain = ks->registry->driver;

	telling = *plain;
	telling.read = tell;
	ks->registry->driver = &telling;
	assert_true(kveil_key_record_copy(&told, &n->versions[0]->record));
	for (uint32_t version = 5; version >= 3; version -= 2) {
		told.version = version;
		assert_ok(kveil_keystore_refresh(ks, &err));
		assert_int_equal(n->count, 1);
		assert_int_equal(n->versions[0]->record.version, 5);
		assert_int_equal(kveil_key_name_next(n), 6);
	}
	/* Never back from a higher state. */
	n->versions[0]->record.state = KVEIL_KEY_RETIRED;
	told.version = 7;
	assert_ok(kveil_keystore_refresh(ks, &err));
	assert_int_equal(n->versions[0]->record.version, 5);
	kveil_key_record_clear(&told);
	ks->registry->driver = plain;
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static const char two_keks[] = "registry: file:keys.json\n"
			       "keks: {local: {provider: file, path: kek}, far: {provider: file, path: far}}\n"
			       "data:\n"
			       "  near: {algorithm: aes-256-gcm, kek: local}\n"
			       "  away: {algorithm: aes-256-gcm, kek: far}\n"
			       "  moved: {algorithm: aes-256-gcm, kek: %s}\n";

/* A key with a version under each KEK: `moved`, the later one under `far`, which is away at the end. */
static void set_up_two_keks(struct fixture *f)
{
	char text[sizeof two_keks + 8];
	uint8_t far[32] = {3};

	snprintf(text, sizeof text, two_keks, "local");
	fixture_set_up(f, text);
	put_file(at(f, "far"), far, sizeof far, 0600);
	kveil_keystore_unref(fixture_init(f));
	fixture_forget(f);
	snprintf(text, sizeof text, two_keks, "far");
	fixture_parse(f, text);
	struct kveil_keystore *ks;
	assert_ok(kveil_keystore_open(&f->config, &ks, &err));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("moved"), 0, &err));
	kveil_keystore_unref(ks);
}

static struct kveil_provider gone;

static enum kveil_status unwrap_nothing(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
					size_t *ret_len, struct kveil_error *why)
{
	(void)wrapped;
	(void)plain;
	(void)room;
	(void)ret_len;
	return kveil_fail(why, KVEIL_E_KEK_UNAVAILABLE, "KEK '%s' is away", kek->name);
}

static enum kveil_status bind_key(struct kveil_keyring *ring, const char *name, unsigned use, struct kveil_key **ret)
{
	return kveil_keyring_key(ring, kveil_span_str(name), use, ret, &err);
}

/* A custodian that is away at the start: what its keys need waits for it, and nothing else. */
static void a_start_waits_for_no_single_custodian(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_keystore *ks = NULL;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t sealed[64];
	size_t n;

	set_up_two_keks(&f);
	assert_ok(kveil_keystore_prepare(&f.config, &ks, &err));
	const struct kveil_provider *there = ks->custodians[1]->provider;
	gone = *there;
	gone.unwrap = unwrap_nothing;
	ks->custodians[1]->provider = &gone;
	assert_ok(kveil_keystore_enter(ks, &err));
	kveil_keystore_keep(ks);
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(bind_key(ring, "near", KVEIL_USE_SEAL, &key));
	assert_ok(kveil_key_seal(key, KVEIL_SPAN("ad"), KVEIL_SPAN("x"), sealed, &n, &err));
	assert_int_equal(bind_key(ring, "away", KVEIL_USE_SEAL, &key), KVEIL_E_KEK_UNAVAILABLE);
	assert_int_equal(bind_key(ring, "away", KVEIL_USE_OPEN, &key), KVEIL_E_KEK_UNAVAILABLE);
	/* Its first version is here, and a later one may be what replaced it in haste. */
	assert_int_equal(bind_key(ring, "moved", KVEIL_USE_SEAL, &key), KVEIL_E_KEK_UNAVAILABLE);
	assert_ok(bind_key(ring, "moved", KVEIL_USE_OPEN, &key));

	ks->custodians[1]->provider = there;
	int64_t end = kveil_clock_mono_ms() + 20000;
	while (kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err)) {
		assert_true(kveil_clock_mono_ms() < end);
		usleep(50000);
	}
	assert_ok(bind_key(ring, "away", KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key));
	assert_ok(bind_key(ring, "moved", KVEIL_USE_SEAL, &key));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static struct kveil_provider slow;

static enum kveil_status unwrap_slowly(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				       size_t *ret_len, struct kveil_error *why)
{
	asked++;
	sleep(3);
	return kveil_provider_by_name("file")->unwrap(kek, wrapped, plain, room, ret_len, why);
}

/* Where a keeper tends the keys, whoever binds one without a version that seals does not wait for a custodian. */
static void binding_waits_for_no_custodian(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_keystore *other;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	size_t changed;

	fixture_set_up(&f, yaml);
	struct kveil_keystore *ks = fixture_init(&f);
	kveil_keystore_keep(ks);
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keys_set_state(ks, "aes-256-siv", 1, KVEIL_KEY_RETIRED, &changed, &err));
	assert_ok(kveil_keystore_open(&f.config, &other, &err));
	assert_ok(kveil_keystore_rotate(other, KVEIL_SPAN("aes-256-siv"), 0, &err));
	kveil_keystore_unref(other);
	slow = *ks->custodians[0]->provider;
	slow.unwrap = unwrap_slowly;
	ks->custodians[0]->provider = &slow;
	asked = 0;
	int64_t begin = kveil_clock_mono_ms();
	(void)!bind_key(ring, "aes-256-siv", KVEIL_USE_SEAL, &key);
	assert_int_equal(asked, 0);
	assert_true(kveil_clock_mono_ms() - begin < 2000);
	/* The keeper does. */
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	assert_int_equal(asked, 1);
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_bit_counts),
	    cmocka_unit_test(every_length_but_its_own_is_wrong),
	    cmocka_unit_test(places_and_keys_cannot_be_exchanged),
	    cmocka_unit_test(versions_cannot_be_exchanged),
	    cmocka_unit_test(what_has_no_key_any_more_says_so),
	    cmocka_unit_test(a_signed_registry_is_still_looked_at),
	    cmocka_unit_test(a_process_that_runs_keeps_its_keys),
	    cmocka_unit_test(the_last_numbers_are_the_end),
	    cmocka_unit_test(a_stranger_wraps_nothing),
	    cmocka_unit_test(a_stranger_comes_in_between),
	    cmocka_unit_test(garbage_condemns_no_record),
	    cmocka_unit_test(a_wrong_kek_is_let_rest),
	    cmocka_unit_test(a_key_goes_on_under_a_later_number),
	    cmocka_unit_test(a_start_waits_for_no_single_custodian),
	    cmocka_unit_test(binding_waits_for_no_custodian),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
