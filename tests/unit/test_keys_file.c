/* SPDX-License-Identifier: Apache-2.0 */
/* The registry in a file, and its KEK, under everything that may happen to files. */
#include "dying_disk.h"
#include "keys_fixture.h"

#include "base/text.h"
#include "crypto/crypto.h"
#include "keys/internal.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define AD KVEIL_SPAN("orders:$['card']")

static enum kveil_status take_lease(struct kveil_keystore *ks, uint32_t *ret)
{
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t sealed[64];
	size_t n;
	enum kveil_status status = kveil_keyring_new(ks, &ring, &err);

	if (status)
		return status;
	status = kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, &err);
	if (!status)
		status = kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err);
	if (!status)
		*ret = (uint32_t)sealed[5] << 24 | (uint32_t)sealed[6] << 16 | (uint32_t)sealed[7] << 8 | sealed[8];
	kveil_keyring_free(ring);
	return status;
}

static uint32_t lease_from_disk(const struct fixture *f)
{
	struct kveil_keystore *ks = NULL;
	uint32_t lease = 0;

	assert_ok(kveil_keystore_open(&f->config, &ks, &err));
	assert_ok(take_lease(ks, &lease));
	kveil_keystore_unref(ks);
	return lease;
}

/* Writes into the file as it stands: same inode, as an editor or a disk error would. */
static void overwrite(const char *path, const uint8_t *data, size_t n)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	close(fd);
}

static bool only_space(uint8_t c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void every_edited_byte_is_refused_or_harmless(void **state)
{
	(void)state;
	struct fixture f;
	size_t n, refused = 0;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	uint8_t *whole = get_file(at(&f, "keys.json"), &n);
	uint8_t *edited = malloc(n);
	for (size_t i = 0; i < n; i++) {
		static const uint8_t flips[] = {0x01, 0x20, 0x80};
		for (size_t k = 0; k < sizeof flips; k++) {
			memcpy(edited, whole, n);
			edited[i] ^= flips[k];
			overwrite(at(&f, "keys.json"), edited, n);
			enum kveil_status status = fixture_open_status(&f);
			if (status == KVEIL_OK) {
				/* The only bytes that may change are those between JSON's tokens. */
				assert_true(only_space(whole[i]) && only_space(edited[i]));
				continue;
			}
			assert_int_equal(kveil_status_class(status), KVEIL_CLASS_CONFIG);
			assert_true(err.hint[0] || status == KVEIL_E_UNSUPPORTED);
			refused++;
		}
	}
	assert_true(refused > n);
	for (size_t i = 0; i < n - 1; i += 7) {
		overwrite(at(&f, "keys.json"), whole, i);
		assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);
	}
	overwrite(at(&f, "keys.json"), whole, n);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	free(whole);
	whole = get_file(at(&f, ".keys.json.mark"), &n);
	for (size_t i = 0; i < n; i++) {
		memcpy(edited, whole, n);
		edited[i] ^= 0x01;
		overwrite(at(&f, ".keys.json.mark"), edited, n);
		assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);
	}
	overwrite(at(&f, ".keys.json.mark"), whole, n);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	free(whole);
	free(edited);
	fixture_tear_down(&f);
}

/* Takes one whole record out of the text, comma and all. */
static void records_cannot_be_dropped_or_exchanged(void **state)
{
	(void)state;
	struct fixture f, other;
	size_t n;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	char *text = (char *)get_file(at(&f, "keys.json"), &n);
	char *first = strstr(text, "  {\n   \"name\"");
	assert_non_null(first);
	char *second = strstr(first + 1, "  {\n   \"name\"");
	assert_non_null(second);
	char *shorter = malloc(n);
	int len = snprintf(shorter, n, "%.*s%s", (int)(first - text), text, second);
	overwrite(at(&f, "keys.json"), (uint8_t *)shorter, (size_t)len);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);

	/* Another registry under the same KEK is not this one, and this one's mark does not vouch for it. */
	fixture_set_up(&other, NULL);
	kveil_keystore_unref(fixture_init(&other));
	char *theirs = (char *)get_file(at(&other, "keys.json"), &n);
	overwrite(at(&f, "keys.json"), (uint8_t *)theirs, n);
	enum kveil_status status = fixture_open_status(&f);
	assert_true(status == KVEIL_E_REGISTRY_CORRUPT || status == KVEIL_E_REGISTRY_ROLLED_BACK);
	free(text);
	free(shorter);
	free(theirs);
	fixture_tear_down(&other);
	fixture_tear_down(&f);
}

/* Without the number of events, which comes with the next write. */
static void the_mark_of_an_older_kveil_is_read(void **state)
{
	(void)state;
	struct fixture f;
	char id[33], line[512], digits[2 * KVEIL_MAC_BYTES + 1] = "";
	unsigned long long place[6];
	uint8_t mac[KVEIL_MAC_BYTES];
	size_t n;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	const struct kveil_registry_secret *secret = ks->registry->secret;
	char *mark = (char *)get_file(at(&f, ".keys.json.mark"), &n);
	assert_int_equal(sscanf(mark, "kveil-mark 2 %32s %llu %llu %llu %llu %llu %llu ", id, &place[0], &place[1],
				&place[2], &place[3], &place[4], &place[5]),
			 7);
	free(mark);
	int length = snprintf(line, sizeof line, "kveil-mark 1 %s %llu %llu %llu %llu %llu %llu ", id, place[0],
			      place[1], place[2], place[3], place[4], place[5]);
	assert_ok(kveil_crypto_hmac(secret->hash, kveil_span_of(secret->mark_key, sizeof secret->mark_key),
				    kveil_span_of(line, (size_t)length), mac, &err));
	kveil_text_encode(KVEIL_HEX, mac, sizeof mac, (uint8_t *)digits);
	length += snprintf(line + length, sizeof line - (size_t)length, "%s\n", digits);
	kveil_keystore_unref(ks);
	put_file(at(&f, ".keys.json.mark"), line, (size_t)length, 0600);
	lease_from_disk(&f);
	mark = (char *)get_file(at(&f, ".keys.json.mark"), &n);
	assert_memory_equal(mark, "kveil-mark 2 ", 13);
	free(mark);
	line[length - 2] = line[length - 2] == '0' ? '1' : '0';
	put_file(at(&f, ".keys.json.mark"), line, (size_t)length, 0600);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);
	fixture_tear_down(&f);
}

static void yesterdays_registry_is_refused_however_it_came(void **state)
{
	(void)state;
	struct fixture f;
	size_t n, m, b;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	assert_ok(kveil_keys_backup(&f.config, at(&f, "backup"), NULL, &b, &err));
	assert_int_equal(b, 3);
	uint8_t *old = get_file(at(&f, "keys.json"), &n);
	uint8_t *old_mark = get_file(at(&f, ".keys.json.mark"), &m);
	uint32_t lease = lease_from_disk(&f);

	/* Over the file, and in its place; without the mark, with today's, with yesterday's. */
	for (int way = 0; way < 6; way++) {
		if (way & 1)
			overwrite(at(&f, "keys.json"), old, n);
		else
			put_file(at(&f, "keys.json"), old, n, 0600);
		uint8_t *mark = get_file(at(&f, ".keys.json.mark"), &m);
		if (way / 2 == 1)
			unlink(at(&f, ".keys.json.mark"));
		if (way / 2 == 2)
			overwrite(at(&f, ".keys.json.mark"), old_mark, m);
		assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_ROLLED_BACK);
		assert_non_null(strstr(err.hint, "keys restore"));
		put_file(at(&f, ".keys.json.mark"), mark, m, 0600);
		free(mark);
	}
	/* A registry that is gone is not made anew. */
	struct kveil_keys_init_result result;
	unlink(at(&f, "keys.json"));
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_MISSING);
	assert_int_equal(kveil_keys_init(&f.config, &result, &err), KVEIL_E_KEY_EXISTS);
	assert_non_null(strstr(err.hint, "restore"));

	/* A backup cannot stand in for a registry. */
	uint8_t *backup = get_file(at(&f, "backup"), &n);
	put_file(at(&f, "keys.json"), backup, n, 0600);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);
	unlink(at(&f, "keys.json"));

	assert_ok(restore_it(&f.config, at(&f, "backup")));
	uint32_t next = lease_from_disk(&f);
	assert_true(next > 0 && lease > 0);
	free(old);
	free(old_mark);
	free(backup);
	fixture_tear_down(&f);
}

static void what_is_restored_opens_and_never_seals(void **state)
{
	(void)state;
	/* way 0: the registry is whole; 1: rolled back; 2: damaged; 3: gone; 4: gone with its mark. */
	for (int way = 0; way < 5; way++) {
		struct fixture f;
		uint8_t sealed[64], again[64], out[64], mac[2][32];
		size_t n, len, file, versions;

		fixture_set_up(&f, NULL);
		struct kveil_keystore *ks = fixture_init(&f);
		struct kveil_keyring *ring;
		struct kveil_key *key, *pepper;
		assert_ok(kveil_keyring_new(ks, &ring, &err));
		assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &err));
		assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pepper"), KVEIL_USE_MAC, &pepper, &err));
		assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("clear"), sealed, &n, &err));
		assert_ok(kveil_key_mac(pepper, KVEIL_SPAN("clear"), mac[0], &err));
		kveil_keyring_free(ring);
		assert_ok(kveil_keys_backup(&f.config, at(&f, "backup"), NULL, &versions, &err));
		uint8_t *old = get_file(at(&f, "keys.json"), &file);
		assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("still"), 0, &err));
		kveil_keystore_unref(ks);
		if (way == 1)
			put_file(at(&f, "keys.json"), old, file, 0600);
		if (way == 2)
			overwrite(at(&f, "keys.json"), old, file / 2);
		if (way >= 3)
			unlink(at(&f, "keys.json"));
		if (way == 4)
			unlink(at(&f, ".keys.json.mark"));
		free(old);

		assert_ok(restore_it(&f.config, at(&f, "backup")));
		assert_ok(kveil_keystore_open(&f.config, &ks, &err));
		assert_ok(kveil_keyring_new(ks, &ring, &err));
		assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &err));
		assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pepper"), KVEIL_USE_MAC, &pepper, &err));
		assert_ok(open_or_look(key, AD, kveil_span_of(sealed, n), out, &len, &err));
		assert_memory_equal(out, "clear", 5);
		assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("clear"), again, &n, &err));
		if (way == 0) /* nothing was lost, so nothing that was there has to stop */
			assert_memory_equal(sealed + 1, again + 1, 4);
		else
			assert_memory_not_equal(sealed + 1, again + 1, 4);
		/* A hash has no nonce to use twice, and must go on giving the same. */
		assert_ok(kveil_key_mac(pepper, KVEIL_SPAN("clear"), mac[1], &err));
		assert_memory_equal(mac[0], mac[1], 32);
		kveil_keyring_free(ring);
		kveil_keystore_unref(ks);
		fixture_tear_down(&f);
	}
}

static void a_backup_that_was_altered_is_not_restored(void **state)
{
	(void)state;
	struct fixture f, other;
	size_t n, versions;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	assert_ok(kveil_keys_backup(&f.config, at(&f, "backup"), NULL, &versions, &err));
	uint8_t *whole = get_file(at(&f, "backup"), &n), *before = get_file(at(&f, "keys.json"), &versions);
	for (size_t i = 0; i < n; i += 5) {
		whole[i] ^= 1;
		overwrite(at(&f, "backup"), whole, n);
		enum kveil_status status = restore_it(&f.config, at(&f, "backup"));
		whole[i] ^= 1;
		if (status == KVEIL_OK) {
			assert_true(only_space(whole[i]));
			continue;
		}
		assert_int_equal(kveil_status_class(status), KVEIL_CLASS_CONFIG);
	}
	overwrite(at(&f, "backup"), whole, n);
	/* A backup of another registry does not mix with this one. */
	fixture_set_up(&other, NULL);
	kveil_keystore_unref(fixture_init(&other));
	assert_int_equal(restore_it(&other.config, at(&f, "backup")), KVEIL_E_KEY_EXISTS);
	free(whole);
	free(before);
	fixture_tear_down(&other);
	fixture_tear_down(&f);
}

static void a_crash_at_any_step_loses_nothing(void **state)
{
	(void)state;
	struct fixture f;
	uint32_t last = 0;
	int steps = 1, status = 0;
	bool survived = false;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	last = lease_from_disk(&f);
	for (; !survived; steps++) {
		int out[2];
		assert_int_equal(pipe(out), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			/* Opens for itself: key memory does not survive a fork. Only its lease's steps count. */
			struct kveil_keystore *ks = NULL;
			uint32_t lease = 0;
			if (kveil_keystore_open(&f.config, &ks, &err))
				_exit(1);
			steps_left = steps;
			if (take_lease(ks, &lease))
				_exit(2);
			steps_left = -1;
			if (write(out[1], &lease, sizeof lease) != sizeof lease)
				_exit(3);
			_exit(0);
		}
		close(out[1]);
		uint32_t lease = 0;
		bool given = read(out[0], &lease, sizeof lease) == sizeof lease;
		close(out[0]);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		assert_true(WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0);
		survived = WEXITSTATUS(status) == 0;
		if (given) {
			assert_true(lease > last);
			last = lease;
		}
		uint32_t next = lease_from_disk(&f);
		assert_true(next > last);
		last = next;
	}
	assert_true(steps > 8); /* two marks and the file, each synced and renamed, and their folder */
	fixture_tear_down(&f);
}

static void a_full_disk_stops_sealing_before_the_first_value(void **state)
{
	(void)state;
	struct fixture f;
	struct rlimit was, tight;
	uint32_t lease = 0, before;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	assert_ok(take_lease(ks, &before));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	tight = was;
	tight.rlim_cur = 100;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, &err));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	enum kveil_status status = take_lease(ks, &lease);
	struct kveil_error why = err;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(kveil_status_class(status), KVEIL_CLASS_RETRY);
	assert_int_equal(lease, 0);
	assert_non_null(strstr(why.message, "cannot write"));
	assert_int_equal(access(at(&f, ".keys.json.tmp"), F_OK), -1);

	/* A lease at hand is used to its end and no further. */
	int64_t now = kveil_clock_wall_ms();
	uint8_t sealed[64];
	size_t n;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	enum kveil_status due = kveil_keyring_tick(ring, now + 50 * 60000, &err);
	enum kveil_status sealing = kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err);
	enum kveil_status over = kveil_keyring_tick(ring, now + 61 * 60000, &err);
	enum kveil_status after = kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(due, KVEIL_OK);
	assert_int_equal(sealing, KVEIL_OK);
	assert_int_equal(kveil_status_class(over), KVEIL_CLASS_RETRY);
	assert_int_equal(after, KVEIL_E_NO_LEASE);
	/* Room again: it goes on by itself. */
	assert_ok(kveil_keyring_tick(ring, now + 61 * 60000, &err));
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

struct site {
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t sealed[64];
	size_t n;
};

/* What the site's keys are now, and a value sealed with them. */
static void seal_at(const struct fixture *f, struct site *s)
{
	assert_ok(kveil_keystore_open(&f->config, &s->ks, &err));
	assert_ok(kveil_keyring_new(s->ks, &s->ring, &err));
	assert_ok(kveil_keyring_key(s->ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &s->key, &err));
	assert_ok(kveil_key_seal(s->key, AD, KVEIL_SPAN("x"), s->sealed, &s->n, &err));
}

static void leave(struct site *s)
{
	kveil_keyring_free(s->ring);
	kveil_keystore_unref(s->ks);
}

/* Two sites of one registry, each of which made version 2: all that either sealed opens at the second. */
static void a_restore_drops_and_displaces_nothing(void **state)
{
	(void)state;
	struct kveil_keys_restored r;
	struct fixture a, b;
	struct site first = {0}, second = {0}, after = {0};
	uint8_t plain[64];
	size_t n, versions;

	fixture_set_up(&a, NULL);
	fixture_set_up(&b, NULL);
	kveil_keystore_unref(fixture_init(&a));
	assert_ok(kveil_keys_backup(&a.config, at(&a, "b1"), NULL, &versions, &err));
	assert_ok(restore_it(&b.config, at(&a, "b1")));
	seal_at(&b, &second);
	leave(&second);
	struct kveil_keystore *ks = NULL;
	assert_ok(kveil_keystore_open(&a.config, &ks, &err));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	kveil_keystore_unref(ks);
	seal_at(&a, &first);
	leave(&first);
	assert_memory_not_equal(first.sealed, second.sealed, 5);
	assert_ok(kveil_keys_backup(&a.config, at(&a, "b2"), NULL, &versions, &err));

	uint8_t *before = get_file(at(&b, "keys.json"), &n);
	assert_ok(kveil_keys_restore(&b.config, at(&a, "b2"), true, &r, &err));
	assert_int_equal(r.renumbered, 1);
	size_t now;
	uint8_t *same = get_file(at(&b, "keys.json"), &now);
	assert_int_equal(n, now);
	assert_memory_equal(before, same, n);
	free(before);
	free(same);
	kveil_keys_restored_clear(&r);
	assert_ok(kveil_keys_restore(&b.config, at(&a, "b2"), false, &r, &err));
	assert_int_equal(r.renumbered, 1);
	assert_int_equal(r.added + r.left_out, 0);
	assert_int_equal(r.skipped, versions - 1);
	seal_at(&b, &after);
	assert_memory_equal(after.sealed, second.sealed, 5); /* the same version goes on */
	assert_ok(open_or_look(after.key, AD, kveil_span_of(first.sealed, first.n), plain, &n, &err));
	assert_ok(open_or_look(after.key, AD, kveil_span_of(second.sealed, second.n), plain, &n, &err));
	leave(&after);
	kveil_keys_restored_clear(&r);
	assert_ok(kveil_keys_restore(&b.config, at(&a, "b2"), false, &r, &err));
	assert_int_equal(r.skipped, versions);
	fixture_tear_down(&a);
	fixture_tear_down(&b);
	kveil_keys_restored_clear(&r);
}

/* Somebody holds the registry: whoever has keys and a lease goes on, and asks for what is not here. */
static void a_ring_that_is_kept_waits_for_no_registry(void **state)
{
	(void)state;
	struct fixture f;
	uint8_t sealed[64], plain[64];
	int64_t now = kveil_clock_wall_ms();
	size_t n, len;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring;
	struct kveil_key *key;
	kveil_keystore_keep(ks);
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &err));
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err));
	uint8_t first[4];
	memcpy(first, sealed + 5, 4);

	int fd = open(at(&f, ".keys.json.lock"), O_RDWR);
	assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0);
	int64_t begin = kveil_clock_mono_ms();
	assert_ok(kveil_keyring_tick(ring, now + 50 * 60000, &err));
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err));
	assert_memory_equal(sealed + 5, first, 4);
	sealed[4] ^= 1;
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(sealed, n), plain, &len, &err), KVEIL_E_KEY_PENDING);
	assert_int_equal(kveil_keyring_tick(ring, now + 61 * 60000, &err), KVEIL_E_NO_LEASE);
	assert_true(kveil_clock_mono_ms() - begin < 5000); /* a lock is waited for twice as long */
	close(fd);

	/* The keeper's turn. */
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	assert_ok(kveil_keyring_tick(ring, now + 61 * 60000, &err));
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(sealed, n), plain, &len, &err), KVEIL_E_UNKNOWN_KEY);
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err));
	assert_memory_not_equal(sealed + 5, first, 4);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void a_full_disk_makes_no_half_keys(void **state)
{
	(void)state;
	const int64_t hour = 3600 * 1000, now = kveil_clock_wall_ms();
	struct fixture f;
	struct rlimit was, tight;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	tight = was;
	tight.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	enum kveil_status status = kveil_keystore_tend(ks, now + 13 * hour, &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(kveil_status_class(status), KVEIL_CLASS_RETRY);
	/* It backs off, says the same meanwhile, and recovers by itself. */
	assert_int_equal(kveil_keystore_tend(ks, now + 13 * hour, &err), status);
	int64_t end = kveil_clock_mono_ms() + 10000;
	while (kveil_keystore_tend(ks, now + 13 * hour, &err)) {
		assert_true(kveil_clock_mono_ms() < end);
		usleep(20000);
	}
	kveil_keystore_unref(ks);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	fixture_tear_down(&f);
}

static void a_registry_that_breaks_while_running_pauses_work(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t sealed[64];
	size_t n, len;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	uint8_t *old = get_file(at(&f, "keys.json"), &n);
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, &err));
	uint8_t *good = get_file(at(&f, "keys.json"), &len);
	int64_t now = kveil_clock_wall_ms();
	for (int way = 0; way < 2; way++) {
		if (way == 0)
			overwrite(at(&f, "keys.json"), old, n);
		else
			assert_int_equal(rename(at(&f, "keys.json"), at(&f, "aside")), 0);
		assert_int_not_equal(kveil_keystore_tend(ks, now, &err), KVEIL_OK);
		assert_ok(kveil_keyring_tick(ring, now + 50 * 60000, &err));
		assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err));
		assert_int_equal(kveil_keyring_tick(ring, now + 61 * 60000, &err), KVEIL_E_NO_LEASE);
		assert_int_equal(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, &err), KVEIL_E_NO_LEASE);
		if (way == 0) {
			overwrite(at(&f, "keys.json"), good, len);
			assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
		}
	}
	free(old);
	free(good);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* --- the KEK and permissions --- */

static void another_kek_is_refused(void **state)
{
	(void)state;
	struct fixture f;
	uint8_t kek[32];

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	for (int i = 0; i < 32; i++)
		kek[i] = (uint8_t)(200 - i);
	put_file(at(&f, "kek"), kek, 32, 0600);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_WRONG_KEK);
	assert_non_null(strstr(err.hint, "restore"));
	/* init does not paper over it. */
	struct kveil_keys_init_result result;
	assert_int_equal(kveil_keys_init(&f.config, &result, &err), KVEIL_E_WRONG_KEK);
	unlink(at(&f, "kek"));
	assert_int_equal(fixture_open_status(&f), KVEIL_E_NOT_FOUND);
	fixture_tear_down(&f);
}

static void a_kek_is_raw_or_a_line_of_text(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t n; /* 0 = strlen */
		enum kveil_status status;
	} cases[] = {
	    /* The fixture's own key, spelt in each way. */
	    {"AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09o=\n", 0, KVEIL_OK},
	    {"AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09o=", 0, KVEIL_OK},
	    {"01080f161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3da\n", 0, KVEIL_OK},
	    {"01080f161d242b323940474e555c636a71787f868d949ba2a9b0b7bec5ccd3", 0, KVEIL_E_CONFIG},
	    {"", 0, KVEIL_E_CONFIG},
	    {"0123456789abcdef0123456789abcdef", 0, KVEIL_E_CONFIG}, /* 32 bytes of text are not 32 random bytes */
	    {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 32, KVEIL_E_CONFIG},
	    {"0000000000000000000000000000000000000000000000000000000000000000", 0, KVEIL_E_CONFIG},
	};
	struct fixture f;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		put_file(at(&f, "kek"), cases[i].text, cases[i].n ? cases[i].n : strlen(cases[i].text), 0600);
		assert_int_equal(fixture_open_status(&f), cases[i].status);
	}
	fixture_tear_down(&f);
}

static void a_passphrase_protects_a_kek(void **state)
{
	(void)state;
	static const char text[] =
	    "registry: file:keys.json\n"
	    "keks: {local: {provider: file, path: sealed, passphrase: \"${env:TEST_PASSPHRASE}\"}}\n"
	    "data: {pii: {algorithm: aes-256-gcm}}\n";
	struct fixture f;
	size_t n;

	setenv("TEST_PASSPHRASE", "too short", 1);
	fixture_set_up(&f, text);
	assert_int_equal(kveil_keys_make_kek(&f.config, "local", &err), KVEIL_E_CONFIG);
	fixture_forget(&f);
	setenv("TEST_PASSPHRASE", "five words drawn at random", 1);
	fixture_parse(&f, text);
	assert_ok(kveil_keys_make_kek(&f.config, "local", &err));
	assert_int_equal(kveil_keys_make_kek(&f.config, "local", &err), KVEIL_E_KEY_EXISTS);
	assert_int_equal(kveil_keys_make_kek(&f.config, "other", &err), KVEIL_E_NOT_FOUND);
	kveil_keystore_unref(fixture_init(&f));
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);

	uint8_t *whole = get_file(at(&f, "sealed"), &n);
	for (size_t i = 0; i < n; i += 11) {
		whole[i] ^= 1;
		overwrite(at(&f, "sealed"), whole, n);
		assert_int_equal(kveil_status_class(fixture_open_status(&f)), KVEIL_CLASS_CONFIG);
		whole[i] ^= 1;
	}
	/* What a file may ask for is bounded, whoever wrote it: no gigabytes, no hours. */
	static const char *const asks[] = {"13 8 1", "19 8 1", "14 1 1", "14 8 0",
					   "14 8 5", "99 8 1", "-1 8 1", "14 8"};
	const char *tail = strchr((char *)whole + 23, ' ');
	char other[256];
	for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
		int len = snprintf(other, sizeof other, "kveil-kek scrypt %s%s", asks[i], tail);
		put_file(at(&f, "sealed"), other, (size_t)len, 0600);
		assert_int_equal(fixture_open_status(&f), KVEIL_E_CONFIG);
	}
	put_file(at(&f, "sealed"), whole, n, 0600);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	free(whole);
	fixture_forget(&f);
	setenv("TEST_PASSPHRASE", "five words drawn at randon", 1);
	fixture_parse(&f, text);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_WRONG_KEK);
	assert_null(strstr(err.message, "randon"));
	fixture_tear_down(&f);
}

static void files_that_others_can_read_are_refused(void **state)
{
	(void)state;
	static const struct {
		mode_t mode;
		bool fine;
	} modes[] = {{0600, true},  {0400, true},  {0440, true},  {0640, true},  {0660, false}, {0604, false},
		     {0644, false}, {0602, false}, {0601, false}, {0620, false}, {0666, false}};
	static const char *const files[] = {"kek", "keys.json", ".keys.json.mark"};
	struct fixture f;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
		for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
			assert_int_equal(chmod(at(&f, files[k]), modes[i].mode), 0);
			assert_int_equal(fixture_open_status(&f), modes[i].fine ? KVEIL_OK : KVEIL_E_PERMISSIONS);
		}
		assert_int_equal(chmod(at(&f, files[k]), 0600), 0);
	}
	fixture_tear_down(&f);
}

/* kek -> ..data/kek, ..data -> ..2026_01_01, root:fsGroup 0440: a mounted secret. */
static void a_kubernetes_mount_is_fine(void **state)
{
	(void)state;
	struct fixture f;
	size_t n;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	uint8_t *kek = get_file(at(&f, "kek"), &n);
	assert_int_equal(unlink(at(&f, "kek")), 0);
	assert_int_equal(mkdir(at(&f, "..2026_01_01"), 0755), 0);
	put_file(at(&f, "..2026_01_01/kek"), kek, n, 0440);
	assert_int_equal(symlink("..2026_01_01", at(&f, "..data")), 0);
	assert_int_equal(symlink("..data/kek", at(&f, "kek")), 0);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	/* Kubernetes may change the registry's group and mode at a remount: the file is the same. */
	assert_int_equal(chown(at(&f, "keys.json"), (uid_t)-1, getegid()), 0);
	assert_int_equal(chmod(at(&f, "keys.json"), 0640), 0);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	free(kek);
	fixture_tear_down(&f);
}

/* What the next start would meet is met now: nothing is made under a KEK whose file is closed, gone or another. */
static void a_kek_file_is_looked_at_again(void **state)
{
	(void)state;
	static const struct timespec second = {.tv_sec = 1, .tv_nsec = 100000000};
	struct kveil_report report = {0};
	uint8_t other[32];
	struct fixture f;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	kveil_keys_examine(ks, &report);
	assert_int_equal(report.errors, 0);
	size_t n;
	uint8_t *kek = get_file(at(&f, "kek"), &n);
	for (int i = 0; i < 3; i++) {
		static const char *const words[] = {"", "is not there", "another key than at the start"};
		if (i == 0)
			assert_int_equal(chmod(at(&f, "kek"), 0644), 0);
		else if (i == 1)
			assert_int_equal(unlink(at(&f, "kek")), 0);
		for (size_t k = 0; k < sizeof other; k++)
			other[k] = (uint8_t)(k * 11 + 3);
		if (i == 2)
			put_file(at(&f, "kek"), other, sizeof other, 0600);
		nanosleep(&second, NULL);
		assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err), KVEIL_E_KEK_UNAVAILABLE);
		if (i)
			assert_non_null(strstr(err.message, words[i]));
		assert_non_null(strstr(err.hint, "the next start would fail"));
	}
	put_file(at(&f, "kek"), kek, n, 0600);
	nanosleep(&second, NULL);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	free(kek);
	kveil_report_clear(&report);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void configurations_with_mistakes(void **state)
{
	(void)state;
	static const struct {
		const char *text, *expect;
	} cases[] = {
	    {"registry: file:k\nkeks: {a: {provider: fil, path: x}}\n", "did you mean 'file'"},
	    {"registry: file:k\nkeks: {a: {path: x}}\n", "has no provider"},
	    {"registry: file:k\nkeks: {a: {provider: file}}\n", "path"},
	    {"registry: nowhere:k\nkeks: {a: {provider: file, path: x}}\n", "not a key registry"},
	    {"registry: memory:k\nkeks: {a: {provider: file, path: x}}\n", "not a key registry"},
	    {"registry: file:k\nkeks: {main: {provider: file, path: x}}\ndata: {k: {algorithm: aes-256-gcm, kek: "
	     "mian}}\n",
	     "did you mean 'main'"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\ndata: {k: {algorithm: aes-256-gmc}}\n",
	     "did you mean 'aes-256-gcm'"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\ndata: {\"{}\": {algorithm: aes-256-gcm}}\n",
	     "letters of its own"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\ndata: {\"t-{$.x}\": {algorithm: aes-256-gcm}}\n",
	     "tenant-{}"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\n"
	     "data: {\"t-{}\": {algorithm: aes-256-gcm}, \"t-x-{}\": {algorithm: aes-256-gcm}}\n",
	     "begin alike"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\n"
	     "data: {t-acme.x: {algorithm: aes-256-siv}, \"t-{}.x\": {algorithm: aes-256-gcm}}\n",
	     "a record could name it too"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\n"
	     "data: {h: {algorithm: hmac-sha-256, rotate_every: 1h}}\n",
	     "cannot rotate by itself"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}, b: {provider: file, path: y}}\n"
	     "data: {k: {algorithm: aes-256-gcm}}\n",
	     "which KEK"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\ndata: {k: {algoritm: aes-256-gcm}}\n",
	     "algorithm"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\n"
	     "data: {k: {algorithm: aes-256-gcm-siv, join: customer}}\n",
	     "is for deterministic keys"},
	    {"registry: file:k\nkeks: {a: {provider: file, path: x}}\ndata: {k: {algorithm: aes-256-siv, join: "
	     "\"\"}}\n",
	     "never empty"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct kveil_report report = {0};
		struct kveil_keys_config config = {0};
		struct kveil_yaml *yaml = kveil_yaml_parse(kveil_span_str(cases[i].text), "kveil.yaml", &report);
		bool found = false;
		assert_non_null(yaml);
		assert_false(kveil_keys_config_parse(yaml, "kveil.yaml", &config, &report));
		for (size_t k = 0; k < report.count; k++)
			found |= strstr(report.problems[k].error.message, cases[i].expect) ||
				 strstr(report.problems[k].error.hint, cases[i].expect);
		if (!found) {
			kveil_report_print(&report, stderr);
			fail_msg("case %zu: nobody says '%s'", i, cases[i].expect);
		}
		kveil_keys_config_clear(&config);
		kveil_report_clear(&report);
		kveil_yaml_free(yaml);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_edited_byte_is_refused_or_harmless),
	    cmocka_unit_test(records_cannot_be_dropped_or_exchanged),
	    cmocka_unit_test(the_mark_of_an_older_kveil_is_read),
	    cmocka_unit_test(yesterdays_registry_is_refused_however_it_came),
	    cmocka_unit_test(what_is_restored_opens_and_never_seals),
	    cmocka_unit_test(a_backup_that_was_altered_is_not_restored),
	    cmocka_unit_test(a_crash_at_any_step_loses_nothing),
	    cmocka_unit_test(a_full_disk_stops_sealing_before_the_first_value),
	    cmocka_unit_test(a_restore_drops_and_displaces_nothing),
	    cmocka_unit_test(a_ring_that_is_kept_waits_for_no_registry),
	    cmocka_unit_test(a_full_disk_makes_no_half_keys),
	    cmocka_unit_test(a_registry_that_breaks_while_running_pauses_work),
	    cmocka_unit_test(another_kek_is_refused),
	    cmocka_unit_test(a_kek_is_raw_or_a_line_of_text),
	    cmocka_unit_test(a_passphrase_protects_a_kek),
	    cmocka_unit_test(files_that_others_can_read_are_refused),
	    cmocka_unit_test(a_kubernetes_mount_is_fine),
	    cmocka_unit_test(a_kek_file_is_looked_at_again),
	    cmocka_unit_test(configurations_with_mistakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
