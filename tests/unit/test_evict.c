/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK that is to open nothing any more, and a registry in a file: killed at any step, restored over, put back,
 * followed. */
#include "dying_disk.h"
#include "keys_fixture.h"

#include "base/event.h"
#include "base/secret.h"
#include "keys/internal.h"

#include <dirent.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

#define AD KVEIL_SPAN("orders:$['card']")

static const char both[] = "registry: file:keys.json\n"
			   "keks:\n"
			   "  old: {provider: file, path: kek}\n"
			   "  new: {provider: file, path: kek-new}\n"
			   "data:\n"
			   "  pii: {algorithm: aes-256-gcm, kek: new, rotate_every: 24h}\n"
			   "  \"tenant-{}\": {algorithm: aes-256-gcm, kek: new}\n"
			   "  pepper: {algorithm: hmac-sha-256, kek: new}\n";

static const char new_only[] = "registry: file:keys.json\n"
			       "keks: {new: {provider: file, path: kek-new}}\n"
			       "data:\n"
			       "  pii: {algorithm: aes-256-gcm, rotate_every: 24h}\n";

static const char old_only[] = "registry: file:keys.json\n"
			       "keks: {old: {provider: file, path: kek}}\n"
			       "data:\n"
			       "  pii: {algorithm: aes-256-gcm, rotate_every: 24h}\n";

struct sealed {
	uint8_t bytes[64];
	size_t n;
};

static void set_up(struct fixture *f)
{
	uint8_t kek[32];

	fixture_set_up(f, both);
	for (int i = 0; i < 32; i++)
		kek[i] = (uint8_t)(i * 3 + 11);
	put_file(at(f, "kek-new"), kek, sizeof kek, 0600);
}

static void configure(struct fixture *f, const char *text)
{
	fixture_forget(f);
	fixture_parse(f, text);
}

static struct kveil_keystore *open_it(const struct fixture *f)
{
	struct kveil_keystore *ks = NULL;

	assert_ok(kveil_keystore_open(&f->config, &ks, &err));
	return ks;
}

static void seal(struct kveil_keystore *ks, struct sealed *ret)
{
	struct kveil_keyring *ring;
	struct kveil_key *key;

	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, &err));
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), ret->bytes, &ret->n, &err));
	kveil_keyring_free(ring);
}

static void opens(struct kveil_keystore *ks, const struct sealed *s)
{
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t plain[64];
	size_t n;

	assert_ok(kveil_keyring_new(ks, &ring, &err));
	assert_ok(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_OPEN, &key, &err));
	assert_ok(open_or_look(key, AD, kveil_span_of(s->bytes, s->n), plain, &n, &err));
	kveil_keyring_free(ring);
}

/* What another process finds: it reads, opens what was sealed, and writes. */
static uint32_t works(const struct fixture *f, const struct sealed *s)
{
	struct kveil_keystore *ks = open_it(f);
	struct sealed again;
	size_t missing = 0;

	opens(ks, s);
	seal(ks, &again);
	struct kveil_document d = {0};
	assert_ok(ks->registry->driver->snapshot(ks->registry, &d, &err));
	assert_true(d.events.count > 0);
	missing = kveil_registry_events_missing(&d.events);
	assert_int_equal(missing, 0);
	assert_int_equal(ks->registry->ignored[KVEIL_DOUBT_FORGED], 0);
	d.backup = true;
	struct kveil_buf text = KVEIL_BUF_INIT;
	assert_ok(kveil_document_write(&d, ks->registry->secret, &text, &err));
	assert_ok(kveil_document_verify(&d, ks->registry->secret, &err));
	kveil_buf_clear(&text);
	uint32_t number = d.root.number;
	kveil_document_clear(&d);
	kveil_keystore_unref(ks);
	return number;
}

static enum kveil_status evict(struct kveil_keystore *ks, const char *kek)
{
	struct kveil_keys_evicted r;
	enum kveil_status status = kveil_keys_evict(ks, &kek, 1, &r, &err);

	if (!status && r.behind.status)
		fail_msg("%s", r.behind.message);
	return status;
}

static size_t count_files(const struct fixture *f, const char *part)
{
	DIR *d = opendir(f->dir);
	size_t n = 0;

	for (struct dirent *e; (e = readdir(d));)
		n += strstr(e->d_name, part) != NULL;
	closedir(d);
	return n;
}

static void a_backup_from_before_displaces_nothing(void **state)
{
	(void)state;
	struct kveil_keys_restored r;
	struct fixture f;
	struct sealed before, after;
	size_t living;

	set_up(&f);
	struct kveil_keystore *ks = fixture_init(&f);
	seal(ks, &before);
	assert_ok(kveil_keys_backup(&f.config, at(&f, "b.json"), NULL, &living, &err));
	assert_ok(evict(ks, "old"));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	seal(ks, &after);
	kveil_keystore_unref(ks);
	assert_memory_not_equal(before.bytes, after.bytes, 5);
	/* With the KEK that is gone, and without it. */
	assert_ok(kveil_keys_restore(&f.config, at(&f, "b.json"), false, &r, &err));
	assert_int_equal(r.added + r.renumbered + r.left_out, 0);
	assert_int_equal(r.skipped, living);
	assert_int_equal(count_files(&f, ".damaged-"), 0);
	configure(&f, new_only);
	assert_int_equal(works(&f, &before), 1);
	assert_int_equal(works(&f, &after), 1);
	kveil_keys_restored_clear(&r);
	assert_ok(kveil_keys_restore(&f.config, at(&f, "b.json"), false, &r, &err));
	assert_int_equal(r.skipped, living);
	assert_int_equal(works(&f, &after), 1);
	/* Whoever opens only what was before puts nothing in its place. */
	configure(&f, old_only);
	kveil_keys_restored_clear(&r);
	assert_int_equal(kveil_keys_restore(&f.config, at(&f, "b.json"), false, &r, &err), KVEIL_E_WRONG_KEK);
	assert_int_equal(count_files(&f, ".damaged-"), 0);
	configure(&f, new_only);
	assert_int_equal(works(&f, &after), 1);
	/* What was lost comes back with what the backup has, and is under the secret of then. */
	assert_int_equal(unlink(at(&f, "keys.json")), 0);
	kveil_keys_restored_clear(&r);
	assert_ok(kveil_keys_restore(&f.config, at(&f, "b.json"), false, &r, &err));
	assert_int_equal(works(&f, &before), 0);
	fixture_tear_down(&f);
	kveil_keys_restored_clear(&r);
}

static void a_backup_from_after_comes_into_what_is_older(void **state)
{
	(void)state;
	struct kveil_keys_restored r;
	struct fixture f, elsewhere;
	struct sealed before, after;
	size_t living;

	set_up(&f);
	set_up(&elsewhere);
	struct kveil_keystore *ks = fixture_init(&f);
	seal(ks, &before);
	assert_ok(kveil_keys_backup(&f.config, at(&f, "b.json"), NULL, &living, &err));
	assert_ok(restore_it(&elsewhere.config, at(&f, "b.json")));
	assert_ok(evict(ks, "old"));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	seal(ks, &after);
	kveil_keystore_unref(ks);
	assert_ok(kveil_keys_backup(&f.config, at(&f, "c.json"), NULL, &living, &err));
	/* The other site keeps its secret and has the keys. */
	assert_ok(kveil_keys_restore(&elsewhere.config, at(&f, "c.json"), false, &r, &err));
	assert_int_equal(r.left_out, 0);
	kveil_keys_restored_clear(&r);
	assert_int_equal(works(&elsewhere, &before), 0);
	assert_int_equal(works(&elsewhere, &after), 0);
	/* Where there is nothing, the registry is what the backup was. */
	fixture_tear_down(&elsewhere);
	set_up(&elsewhere);
	configure(&elsewhere, new_only);
	assert_ok(restore_it(&elsewhere.config, at(&f, "c.json")));
	assert_int_equal(works(&elsewhere, &after), 1);
	assert_int_equal(works(&elsewhere, &before), 1);
	fixture_tear_down(&elsewhere);
	fixture_tear_down(&f);
	kveil_keys_restored_clear(&r);
}

static void killed_at_any_step_it_is_whole(void **state)
{
	(void)state;
	struct fixture f;
	struct sealed before;
	bool survived = false, half = false;
	uint32_t number = 0;
	int steps = 1, status;

	set_up(&f);
	struct kveil_keystore *ks = fixture_init(&f);
	seal(ks, &before);
	assert_ok(ks->registry->driver->note(ks->registry, KVEIL_SPAN("accepted"), &err));
	kveil_keystore_unref(ks);
	for (; !survived; steps++) {
		pid_t child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			/* Opens for itself: key memory does not survive a fork. */
			const char *old = "old";
			struct kveil_keys_evicted r;
			if (kveil_keystore_open(&f.config, &ks, &err))
				_exit(1);
			steps_left = steps;
			status = (int)kveil_keys_evict(ks, &old, 1, &r, &err);
			_exit(status == KVEIL_E_NOT_FOUND ? 3 : status ? 2 : 0);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFEXITED(status));
		/* The one before it did all, and died behind that. */
		bool was_done = WEXITSTATUS(status) == 3 && half;
		assert_true(WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0 || was_done);
		survived = WEXITSTATUS(status) == 0 || was_done;
		uint32_t now = works(&f, &before);
		assert_true(now == number || now == number + 1);
		half |= now == number + 1 && !survived;
		number = now;
		struct kveil_buf note = KVEIL_BUF_INIT;
		ks = open_it(&f);
		assert_ok(ks->registry->driver->noted(ks->registry, &note, &err));
		assert_string_equal(kveil_buf_cstr(&note), "accepted");
		kveil_buf_clear(&note);
		kveil_keystore_unref(ks);
	}
	assert_true(steps > 12);
	assert_true(half);
	configure(&f, new_only);
	assert_int_equal(works(&f, &before), number);
	configure(&f, old_only);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_WRONG_KEK);
	fixture_tear_down(&f);
}

static void those_that_run_follow_or_stop(void **state)
{
	(void)state;
	struct fixture f, evicted;
	struct sealed before, after;

	set_up(&f);
	kveil_keystore_unref(fixture_init(&f));
	evicted = f;
	evicted.yaml = NULL;
	fixture_parse(&evicted, old_only);
	struct kveil_keystore *ks = open_it(&f), *follows = open_it(&f), *writes = open_it(&f), *stops = NULL;
	/* It reads the registry, if no key. */
	assert_ok(kveil_keystore_open_reachable(&evicted.config, &stops, &err));
	seal(ks, &before);
	assert_ok(evict(ks, "old"));
	seal(ks, &after);
	assert_ok(kveil_keystore_refresh(follows, &err));
	opens(follows, &after);
	/* What was made under the old secret is written under the new one. */
	assert_ok(kveil_keystore_rotate(writes, KVEIL_SPAN("pii"), 0, &err));
	seal(writes, &after);
	kveil_keystore_tell(writes, &(struct kveil_event){.kind = KVEIL_EVENT_KEY_EXPORTED, .key = "pii"}, 1);
	assert_int_equal(works(&f, &after), 1);
	assert_int_equal(kveil_keystore_refresh(stops, &err), KVEIL_E_WRONG_KEK);
	assert_non_null(strstr(err.message, "evicted"));
	bool read = true;
	assert_int_equal(kveil_keystore_refresh_read(stops, &read, &err), KVEIL_E_WRONG_KEK);
	assert_false(read);
	kveil_keystore_unref(ks);
	kveil_keystore_unref(follows);
	kveil_keystore_unref(writes);
	kveil_keystore_unref(stops);
	fixture_forget(&evicted);
	fixture_tear_down(&f);
}

/* The very file that was there, under a name of its own, comes back by its inode. */
static void what_was_before_is_not_put_back(void **state)
{
	(void)state;
	struct fixture f;
	struct sealed before;
	char id[64], yaml[512];

	set_up(&f);
	struct kveil_keystore *ks = fixture_init(&f);
	seal(ks, &before);
	assert_int_equal(link(at(&f, "keys.json"), at(&f, "kept")), 0);
	size_t n;
	uint8_t *mark = get_file(at(&f, ".keys.json.mark"), &n);
	assert_int_equal(link(at(&f, ".keys.json.events"), at(&f, "events")), 0);
	assert_ok(evict(ks, "old"));
	kveil_registry_id_write(ks->registry->secret->id, 1, id);
	assert_int_equal(rename(at(&f, "kept"), at(&f, "keys.json")), 0);
	/* Neither for one that runs, nor for one that starts. */
	assert_int_equal(kveil_keystore_refresh(ks, &err), KVEIL_E_REGISTRY_CORRUPT);
	kveil_keystore_unref(ks);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_CORRUPT);
	/* Whoever has the KEK can write a mark as well, though it counts events. */
	put_file(at(&f, ".keys.json.mark"), mark, n, 0600);
	free(mark);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_ROLLED_BACK);
	/* With those, too, the number in the configuration tells. */
	assert_int_equal(rename(at(&f, "events"), at(&f, ".keys.json.events")), 0);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	snprintf(yaml, sizeof yaml, "registry_id: %s\n%s", id, both);
	configure(&f, yaml);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.hint, "evicted"));
	fixture_tear_down(&f);
}

/* Signed with a secret that somebody made up, and wrapped by a KEK whose public half they have. */
static void a_secret_that_nobody_authorised_is_not_followed(void **state)
{
	(void)state;
	struct kveil_registry_secret *theirs, *own;
	struct kveil_registry_root root, own_root;
	struct kveil_keystore *ks;
	struct fixture f;

	set_up(&f);
	ks = fixture_init(&f);
	const struct kveil_registry_secret *secret = ks->registry->secret;
	assert_ok(kveil_registry_root_new(ks->custodians, ks->custodian_count, KVEIL_SHA_256, &own_root, &own, &err));
	memcpy(own->id, secret->id, sizeof own->id);
	assert_ok(
	    kveil_registry_root_succeed(own, ks->custodians, ks->custodian_count, KVEIL_SHA_256, &root, &theirs, &err));
	assert_true(kveil_registry_root_follows(&root, own));
	assert_false(kveil_registry_root_follows(&root, secret));
	assert_int_equal(ks->registry->driver->evict(ks->registry, &root, theirs, &err), KVEIL_E_REGISTRY_UNAVAILABLE);
	kveil_registry_root_clear(&root);
	kveil_secret_free(theirs);
	/* Nor one that is authorised for another number. */
	assert_ok(
	    kveil_registry_root_succeed(secret, ks->custodians, ks->custodian_count, KVEIL_SM3, &root, &theirs, &err));
	assert_true(kveil_registry_root_follows(&root, secret));
	root.number++;
	assert_false(kveil_registry_root_follows(&root, secret));
	root.number--;
	root.commitment[0] ^= 1;
	assert_false(kveil_registry_root_follows(&root, secret));
	kveil_registry_root_clear(&root);
	kveil_registry_root_clear(&own_root);
	kveil_secret_free(theirs);
	kveil_secret_free(own);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void nothing_is_evicted_that_is_needed(void **state)
{
	(void)state;
	struct fixture f;

	set_up(&f);
	struct kveil_keystore *ks = fixture_init(&f);
	assert_int_equal(evict(ks, "new"), KVEIL_E_CONFIG);
	assert_int_equal(evict(ks, "nobody"), KVEIL_E_NOT_FOUND);
	kveil_keystore_unref(ks);
	/* Another group's KEK opens it as well. */
	configure(&f, new_only);
	ks = open_it(&f);
	assert_int_equal(evict(ks, "nobody"), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, "'old'"));
	assert_ok(evict(ks, "old"));
	/* Done is done: neither a slip of the pen nor the same once more makes another secret. */
	assert_int_equal(evict(ks, "odl"), KVEIL_E_NOT_FOUND);
	assert_int_equal(evict(ks, "old"), KVEIL_E_NOT_FOUND);
	assert_int_equal(ks->registry->secret->number, 1);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_backup_from_before_displaces_nothing),
	    cmocka_unit_test(a_backup_from_after_comes_into_what_is_older),
	    cmocka_unit_test(killed_at_any_step_it_is_whole),
	    cmocka_unit_test(those_that_run_follow_or_stop),
	    cmocka_unit_test(what_was_before_is_not_put_back),
	    cmocka_unit_test(a_secret_that_nobody_authorised_is_not_followed),
	    cmocka_unit_test(nothing_is_evicted_that_is_needed),
	};

	kveil_event_setup("keys evict");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
