/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK that is to open nothing any more, and the log of a registry in a topic: what those who read on and those who
 * come later make of it, whatever was compacted, and whatever somebody with the old secret writes. */
#include "keys_fixture.h"

#include "base/secret.h"
#include "keys/internal.h"
#include "registry/registry_log.h"

static const char yaml[] = "registry: file:keys.json\n"
			   "keks:\n"
			   "  old: {provider: file, path: kek}\n"
			   "  new: {provider: file, path: kek-new}\n"
			   "data:\n"
			   "  pii: {algorithm: aes-256-gcm, kek: new}\n";

enum { MESSAGES = 64 };

static struct fixture f;
static struct kveil_keystore *ks; /* for its custodians: both, or the new one alone */
static struct kveil_kek *both[2], *new_only[1];
static struct kveil_registry_root first_root, second_root;
static struct kveil_registry_secret *first, *second;

static struct message {
	char label[KVEIL_RECORD_LABEL_MAX];
	char *value; /* NULL: a tombstone */
	bool gone;
} messages[MESSAGES];
static size_t message_count;

static size_t put(const char *label, const char *value)
{
	struct message *m = &messages[message_count];

	assert_true(message_count < MESSAGES);
	*m = (struct message){.value = value ? strdup(value) : NULL};
	snprintf(m->label, sizeof m->label, "%s", label);
	return message_count++;
}

static size_t put_root(const struct kveil_registry_root *keys, const struct kveil_registry_secret *by,
		       uint32_t sequence, int64_t from)
{
	struct kveil_registry_epoch_root root = {.sequence = sequence, .from = from, .epoch = {1}};
	struct kveil_buf value = KVEIL_BUF_INIT;
	char label[KVEIL_ROOT_LABEL_MAX];

	assert_true(kveil_registry_root_copy(&root.keys, keys));
	assert_ok(kveil_registry_root_write(&root, by, &value, &err));
	kveil_registry_root_label(keys, label);
	size_t at = put(label, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	kveil_registry_epoch_root_clear(&root);
	return at;
}

static size_t put_record(uint32_t id, uint32_t sequence, enum kveil_key_state state,
			 const struct kveil_registry_secret *by)
{
	uint8_t bytes[] = {1, 2, 3};
	struct kveil_key_record r = {.name = "pii",
				     .kek = "new",
				     .id = id,
				     .version = id,
				     .sequence = sequence,
				     .algorithm = 1,
				     .state = state,
				     .created_ms = 1,
				     .active_from_ms = 1,
				     .changed_ms = 1,
				     .wrapped = bytes,
				     .wrapped_len = sizeof bytes};
	struct kveil_buf value = KVEIL_BUF_INIT;
	char label[KVEIL_RECORD_LABEL_MAX];

	assert_ok(kveil_key_record_sign(&r, by, &err));
	assert_ok(kveil_key_record_to_json(&r, &value, &err));
	kveil_registry_record_label(&r, label);
	size_t at = put(label, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	return at;
}

static void put_event(const struct kveil_registry_secret *by, bool anew)
{
	struct kveil_registry_event e, again;
	char label[KVEIL_EVENT_LABEL_MAX];

	assert_ok(kveil_registry_event_sign(KVEIL_SPAN("{\"event\":\"key_created\",\"sequence\":1}"), first, &e, &err));
	kveil_registry_event_label(&e, label);
	if (anew) {
		assert_ok(kveil_registry_event_sign_anew(&e, by, &again, &err));
		put(label, again.line);
		kveil_registry_event_clear(&again);
	} else {
		put(label, e.line);
	}
	kveil_registry_event_clear(&e);
}

/* Of each label only the last message stays. */
static void compact(void)
{
	for (size_t i = 0; i < message_count; i++)
		for (size_t k = i + 1; k < message_count && !messages[i].gone; k++)
			messages[i].gone = strcmp(messages[i].label, messages[k].label) == 0;
}

struct reader {
	struct kveil_registry registry;
	struct kveil_registry_log log;
	size_t position;
	enum kveil_key_state states[16]; /* by id */
	bool has_root;
};

static enum kveil_status on_record(void *user, const struct kveil_key_record *r, struct kveil_error *e)
{
	struct reader *reader = user;

	(void)e;
	reader->states[r->id] = r->state;
	return KVEIL_OK;
}

static enum kveil_status read_on(struct reader *r)
{
	enum kveil_status status = KVEIL_OK;

	for (; !status && r->position < message_count; r->position += !status) {
		const struct message *m = &messages[r->position];
		if (!m->gone)
			status = kveil_registry_log_take(&r->log, (int64_t)r->position, kveil_span_str(m->label),
							 kveil_span_str(m->value), &err);
	}
	return status ? status : kveil_registry_log_hand_over(&r->log, on_record, r, &err);
}

/* Somebody who starts now. */
static struct reader *newcomer(struct kveil_kek *const *keks, size_t count, uint32_t least)
{
	struct kveil_registry_env env = {.keks = keks, .kek_count = count, .least_number = least};
	struct reader *r = calloc(1, sizeof *r);
	struct kveil_error refused;

	r->registry.keks = keks;
	r->registry.kek_count = count;
	kveil_registry_log_init(&r->log, &r->registry);
	for (size_t i = 0; i < message_count; i++)
		if (!messages[i].gone)
			assert_ok(kveil_registry_log_offer(&r->log, &env, kveil_span_str(messages[i].label),
							   kveil_span_str(messages[i].value), &err));
	assert_ok(kveil_registry_log_choose(&r->log, &env, &refused, &err));
	kveil_registry_log_forget_candidates(&r->log);
	r->has_root = r->log.has_root;
	return r;
}

static void leave(struct reader *r)
{
	kveil_registry_log_clear(&r->log);
	kveil_registry_secret_free(r->registry.secret);
	free(r);
}

static uint64_t doubts(const struct reader *r)
{
	uint64_t n = 0;

	for (int i = 0; i < KVEIL_DOUBT_COUNT; i++)
		n += atomic_load(&r->registry.ignored[i]);
	return n;
}

/* Reads to the end; states: of ids 1, 2, … (0: it is not there). */
static void finds(struct reader *r, uint32_t number, uint64_t doubtful, const int *states)
{
	assert_true(r->has_root);
	assert_ok(read_on(r));
	assert_int_equal(r->registry.secret->number, number);
	for (uint32_t id = 1; states[id - 1] >= 0; id++)
		assert_int_equal(r->states[id], states[id - 1]);
	assert_int_equal(doubts(r), doubtful);
}

static void newcomer_finds(struct kveil_kek *const *keks, size_t count, uint32_t number, uint64_t doubtful,
			   const int *states)
{
	struct reader *r = newcomer(keks, count, 0);

	finds(r, number, doubtful, states);
	leave(r);
}

static int begin(void **state)
{
	uint8_t kek[32] = {42};

	(void)state;
	fixture_set_up(&f, yaml);
	put_file(at(&f, "kek-new"), kek, sizeof kek, 0600);
	assert_ok(kveil_keystore_prepare(&f.config, &ks, &err));
	both[0] = ks->custodians[0];
	both[1] = new_only[0] = ks->custodians[1];
	assert_ok(kveil_registry_root_new(both, 2, KVEIL_SHA_256, &first_root, &first, &err));
	assert_ok(kveil_registry_root_succeed(first, new_only, 1, KVEIL_SM3, &second_root, &second, &err));
	put_root(&first_root, first, 1, 0);
	put_event(first, false);
	put_record(1, 1, KVEIL_KEY_LIVE, first);
	put_record(2, 1, KVEIL_KEY_LIVE, first);
	return 0;
}

static int end(void **state)
{
	(void)state;
	for (size_t i = 0; i < message_count; i++)
		free(messages[i].value);
	message_count = 0;
	kveil_registry_root_clear(&first_root);
	kveil_registry_root_clear(&second_root);
	kveil_secret_free(first);
	kveil_secret_free(second);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
	return 0;
}

enum { LIVE = KVEIL_KEY_LIVE, RETIRED = KVEIL_KEY_RETIRED };

static void what_comes_after_counts_under_the_new_secret_alone(void **state)
{
	(void)state;
	struct reader *follower = newcomer(both, 2, 0);

	finds(follower, 0, 0, (int[]){LIVE, LIVE, -1});
	put_root(&second_root, second, 1, -1);
	put_record(1, 2, KVEIL_KEY_RETIRED, first);
	put_record(2, 2, KVEIL_KEY_RETIRED, second);
	put_record(3, 1, KVEIL_KEY_LIVE, first);
	put_record(4, 1, KVEIL_KEY_LIVE, second);
	finds(follower, 1, 2, (int[]){LIVE, RETIRED, 0, LIVE, -1});
	assert_int_equal(follower->log.damaged_count, 1);
	leave(follower);
	newcomer_finds(both, 2, 1, 2, (int[]){LIVE, RETIRED, 0, LIVE, -1});
	newcomer_finds(new_only, 1, 1, 2, (int[]){LIVE, RETIRED, 0, LIVE, -1});
	/* Whoever has the old KEK alone is told, and goes no further. */
	struct reader *evicted = newcomer(both, 1, 0);
	assert_true(evicted->has_root);
	assert_int_equal(read_on(evicted), KVEIL_E_WRONG_KEK);
	assert_non_null(strstr(err.message, "evicted"));
	leave(evicted);
}

static void once_signed_anew_nothing_of_the_old_secret_is_needed(void **state)
{
	(void)state;
	struct reader *follower = newcomer(both, 2, 0);
	int64_t from;

	finds(follower, 0, 0, (int[]){LIVE, LIVE, -1});
	from = (int64_t)put_root(&second_root, second, 1, -1);
	put_record(1, 2, KVEIL_KEY_LIVE, second);
	put_record(2, 2, KVEIL_KEY_LIVE, second);
	put_event(second, true);
	put_root(&second_root, second, 2, from);
	put(messages[0].label, NULL);
	finds(follower, 1, 0, (int[]){LIVE, LIVE, -1});
	assert_int_equal(follower->log.events.count, 1);
	assert_false(follower->log.root_damaged);
	leave(follower);
	newcomer_finds(new_only, 1, 1, 0, (int[]){LIVE, LIVE, -1});
	compact();
	messages[message_count - 1].gone = true; /* tombstones go, too */
	struct reader *late = newcomer(new_only, 1, 1);
	finds(late, 1, 0, (int[]){LIVE, LIVE, -1});
	assert_null(((struct kveil_registry_secret *)late->registry.secret)->before);
	assert_int_equal(kveil_registry_events_missing(&late->log.events), 0);
	assert_true(kveil_registry_event_authentic(&late->log.events.items[0], second));
	leave(late);
	struct reader *evicted = newcomer(both, 1, 0);
	assert_false(evicted->has_root);
	leave(evicted);
}

/* Half done: what was not signed anew yet counts, also once the root was written again, and compaction took the first.
 */
static void a_root_that_was_written_again_says_since_when(void **state)
{
	(void)state;
	int64_t from = (int64_t)put_root(&second_root, second, 1, -1);

	put_record(2, 2, KVEIL_KEY_RETIRED, second);
	put_record(1, 2, KVEIL_KEY_RETIRED, first); /* by whoever kept the KEK */
	put_root(&second_root, second, 2, from);
	newcomer_finds(both, 2, 1, 1, (int[]){LIVE, RETIRED, -1});
	messages[from].gone = true;
	newcomer_finds(both, 2, 1, 1, (int[]){LIVE, RETIRED, -1});
	newcomer_finds(new_only, 1, 1, 1, (int[]){LIVE, RETIRED, -1});
}

/* The old root again, and the new one's first writing: neither leads back. */
static void an_old_root_leads_nobody_back(void **state)
{
	(void)state;
	struct reader *follower = newcomer(both, 2, 0);
	int64_t from;

	from = (int64_t)put_root(&second_root, second, 1, -1);
	put_record(1, 2, KVEIL_KEY_LIVE, second);
	put_record(2, 2, KVEIL_KEY_LIVE, second);
	put_root(&second_root, second, 2, from);
	put(messages[0].label, NULL);
	finds(follower, 1, 0, (int[]){LIVE, LIVE, -1});
	put(messages[0].label, messages[0].value);
	put_record(1, 3, KVEIL_KEY_RETIRED, first);
	finds(follower, 1, 1, (int[]){LIVE, LIVE, -1});
	newcomer_finds(new_only, 1, 1, 1, (int[]){LIVE, LIVE, -1});
	newcomer_finds(both, 2, 1, 1, (int[]){LIVE, LIVE, -1});
	put(messages[from].label, messages[from].value);
	put_record(2, 3, KVEIL_KEY_RETIRED, first);
	finds(follower, 1, 3, (int[]){LIVE, LIVE, -1});
	assert_true(follower->log.root_damaged);
	leave(follower);
	newcomer_finds(new_only, 1, 1, 3, (int[]){LIVE, LIVE, -1});
	/* With nobody there to mend it, and all else compacted away, the number in the configuration tells. */
	for (size_t i = 0; i < message_count; i++)
		messages[i].gone = strcmp(messages[i].label, messages[0].label) != 0;
	struct reader *pinned = newcomer(both, 2, 1), *not_pinned = newcomer(both, 2, 0);
	assert_false(pinned->has_root);
	assert_true(not_pinned->has_root);
	leave(pinned);
	leave(not_pinned);
}

static void a_root_that_the_old_secret_did_not_authorise_is_nobodys(void **state)
{
	(void)state;
	struct reader *follower = newcomer(both, 2, 0);
	struct kveil_registry_root theirs = {0};

	finds(follower, 0, 0, (int[]){LIVE, LIVE, -1});
	assert_true(kveil_registry_root_copy(&theirs, &second_root));
	theirs.previous[0] ^= 1;
	size_t false_one = put_root(&theirs, second, 1, -1);
	put(messages[false_one].label, "{}");
	put(messages[false_one].label, NULL);
	finds(follower, 0, 3, (int[]){LIVE, LIVE, -1});
	newcomer_finds(both, 2, 0, 3, (int[]){LIVE, LIVE, -1});
	/* The one that it did authorise counts, and the first of two. */
	put_root(&second_root, second, 1, -1);
	struct kveil_registry_root rival;
	struct kveil_registry_secret *third;
	assert_ok(kveil_registry_root_succeed(first, both, 2, KVEIL_SHA_256, &rival, &third, &err));
	put_root(&rival, third, 1, -1);
	finds(follower, 1, 4, (int[]){LIVE, LIVE, -1});
	assert_memory_equal(((struct kveil_registry_secret *)follower->registry.secret)->commitment, second->commitment,
			    32);
	leave(follower);
	kveil_registry_root_clear(&theirs);
	kveil_registry_root_clear(&rival);
	kveil_secret_free(third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_comes_after_counts_under_the_new_secret_alone, begin, end),
	    cmocka_unit_test_setup_teardown(once_signed_anew_nothing_of_the_old_secret_is_needed, begin, end),
	    cmocka_unit_test_setup_teardown(a_root_that_was_written_again_says_since_when, begin, end),
	    cmocka_unit_test_setup_teardown(an_old_root_leads_nobody_back, begin, end),
	    cmocka_unit_test_setup_teardown(a_root_that_the_old_secret_did_not_authorise_is_nobodys, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
