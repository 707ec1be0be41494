/* SPDX-License-Identifier: Apache-2.0 */
/* A log in memory that races, compaction and others write into: whoever reads it, and whenever, sees the same keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/registry_log.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 4096, RECORDS = 512 };

struct message {
	int64_t offset;
	char label[KVEIL_RECORD_LABEL_MAX];
	char *value; /* NULL: a tombstone */
	bool gone;
};

static struct kveil_registry_secret secret;
static struct message messages[MESSAGES];
static size_t message_count;

/* A reader and what it was given, by id. */
struct reader {
	struct kveil_registry registry;
	struct kveil_registry_log log;
	struct kveil_key_record got[RECORDS];
	size_t count, position;
};

static enum kveil_status on_record(void *user, const struct kveil_key_record *record, struct kveil_error *err)
{
	struct reader *r = user;
	size_t i = 0;

	(void)err;
	while (i < r->count && r->got[i].id != record->id)
		i++;
	assert_true(i < RECORDS);
	r->got[i] = *record;
	r->got[i].wrapped = NULL;
	r->count += i == r->count;
	return KVEIL_OK;
}

static void read_all(struct reader *r)
{
	for (; r->position < message_count; r->position++) {
		const struct message *m = &messages[r->position];
		if (!m->gone)
			assert_int_equal(kveil_registry_log_take(&r->log, m->offset, kveil_span_str(m->label),
								 kveil_span_str(m->value), NULL),
					 KVEIL_OK);
	}
	assert_int_equal(kveil_registry_log_hand_over(&r->log, on_record, r, NULL), KVEIL_OK);
}

static struct reader *reader(void)
{
	struct reader *r = calloc(1, sizeof *r);
	r->registry.secret = &secret;
	kveil_registry_log_init(&r->log, &r->registry);
	for (size_t i = 0; i < message_count; i++)
		if (!messages[i].gone)
			assert_int_equal(kveil_registry_log_offer(&r->log, NULL, kveil_span_str(messages[i].label),
								  kveil_span_str(messages[i].value), NULL),
					 KVEIL_OK);
	assert_true(r->log.has_root);
	read_all(r);
	return r;
}

static void reader_free(struct reader *r)
{
	kveil_registry_log_clear(&r->log);
	free(r);
}

static uint64_t ignored(const struct reader *r, enum kveil_registry_doubt why)
{
	return atomic_load(&r->registry.ignored[why]);
}

static const struct kveil_key_record *find(const struct reader *r, uint32_t id)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->got[i].id == id)
			return &r->got[i];
	return NULL;
}

static size_t put(const char *label, const char *value)
{
	struct message *m = &messages[message_count];

	assert_true(message_count < MESSAGES);
	*m = (struct message){.offset = (int64_t)message_count, .value = value ? strdup(value) : NULL};
	snprintf(m->label, sizeof m->label, "%s", label);
	return message_count++;
}

static size_t put_root(uint32_t sequence, uint8_t epoch)
{
	struct kveil_registry_epoch_root root = {.sequence = sequence, .epoch = {epoch}};
	struct kveil_buf value = KVEIL_BUF_INIT;
	char label[KVEIL_ROOT_LABEL_MAX];

	memcpy(root.keys.id, secret.id, sizeof secret.id);
	assert_true(kveil_registry_root_add(&root.keys, "local", KVEIL_SPAN("wrapped")));
	assert_int_equal(kveil_registry_root_write(&root, &secret, &value, NULL), KVEIL_OK);
	kveil_registry_root_label(&root.keys, label);
	size_t at = put(label, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	kveil_registry_epoch_root_clear(&root);
	return at;
}

static size_t put_lease(int64_t after, uint8_t epoch)
{
	struct kveil_registry_lease lease = {.after = after, .epoch = {epoch}};
	struct kveil_buf value = KVEIL_BUF_INIT;

	assert_int_equal(kveil_registry_lease_write(&lease, &secret, &value, NULL), KVEIL_OK);
	size_t at = put(KVEIL_LEASE_LABEL, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	return at;
}

static size_t put_record(uint32_t id, uint32_t version, uint32_t sequence, enum kveil_key_state state)
{
	uint8_t bytes[] = {1, 2, 3};
	struct kveil_key_record r = {.name = "pii",
				     .kek = "local",
				     .id = id,
				     .version = version,
				     .sequence = sequence,
				     .algorithm = kveil_algorithm_by_name(KVEIL_SPAN("aes-256-gcm"))->wire_id,
				     .state = state,
				     .created_ms = 1,
				     .active_from_ms = 1,
				     .changed_ms = 1};
	struct kveil_buf value = KVEIL_BUF_INIT;
	char label[KVEIL_RECORD_LABEL_MAX];

	if (state != KVEIL_KEY_DESTROYED) {
		r.wrapped = bytes;
		r.wrapped_len = sizeof bytes;
	}
	assert_int_equal(kveil_key_record_sign(&r, &secret, NULL), KVEIL_OK);
	assert_int_equal(kveil_key_record_to_json(&r, &value, NULL), KVEIL_OK);
	kveil_registry_record_label(&r, label);
	size_t at = put(label, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	return at;
}

/* Of each label only the last message before end stays. */
static void compact(size_t end)
{
	for (size_t i = 0; i < end; i++)
		for (size_t k = i + 1; k < end && !messages[i].gone; k++)
			messages[i].gone = strcmp(messages[i].label, messages[k].label) == 0;
}

static int begin(void **state)
{
	(void)state;
	memset(secret.id, 7, sizeof secret.id);
	memset(secret.log_key, 8, sizeof secret.log_key);
	memset(secret.record_key, 9, sizeof secret.record_key);
	memset(secret.event_key, 10, sizeof secret.event_key);
	put_root(1, 1);
	return 0;
}

static int end(void **state)
{
	(void)state;
	for (size_t i = 0; i < message_count; i++)
		free(messages[i].value);
	message_count = 0;
	return 0;
}

static void the_first_wins_and_stays_so(void **state)
{
	(void)state;
	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put_record(0xb, 1, 1, KVEIL_KEY_LIVE);
	struct reader *follower = reader();
	assert_non_null(find(follower, 0xa));
	assert_null(find(follower, 0xb));
	/* The winner's first writing is compacted away, and the loser's is not. */
	put_record(0xa, 1, 2, KVEIL_KEY_RETIRED);
	compact(message_count);
	assert_true(messages[1].gone);
	struct reader *newcomer = reader();
	read_all(follower);
	assert_null(find(newcomer, 0xb));
	assert_int_equal(find(newcomer, 0xa)->state, KVEIL_KEY_RETIRED);
	assert_int_equal(find(follower, 0xa)->state, KVEIL_KEY_RETIRED);
	for (int i = 0; i < KVEIL_DOUBT_COUNT; i++)
		assert_int_equal(ignored(newcomer, (enum kveil_registry_doubt)i), 0);
	reader_free(follower);
	reader_free(newcomer);
}

static void what_is_not_authentic_is_ignored_and_mended(void **state)
{
	(void)state;
	size_t a = put_record(0xa, 1, 1, KVEIL_KEY_LIVE), b = put_record(0xb, 2, 1, KVEIL_KEY_LIVE);
	size_t gone = put_record(0xb, 2, 2, KVEIL_KEY_DESTROYED);
	struct reader *r = reader();
	uint32_t ids[4];

	char *forged = strdup(messages[a].value);
	memcpy(strstr(forged, "\"sequence\":1") + 11, "5", 1);
	put(messages[a].label, forged);
	free(forged);
	put(messages[a].label, messages[b].value);
	put(messages[b].label, messages[b].value); /* from before it was destroyed */
	put(messages[a].label, NULL);
	put("orders", "{}");
	put(messages[0].label, NULL);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED), 2);
	assert_int_equal(ignored(r, KVEIL_DOUBT_RELABELLED), 1);
	assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 1);
	assert_int_equal(ignored(r, KVEIL_DOUBT_EMPTIED), 2);
	assert_int_equal(find(r, 0xa)->sequence, 1);
	assert_int_equal(find(r, 0xb)->state, KVEIL_KEY_DESTROYED);
	assert_int_equal(r->log.damaged_count, 2);
	assert_true(r->log.root_damaged);
	/* Not before a wait that is drawn; and not at all once another process has done it. */
	assert_int_equal(kveil_registry_log_damaged(&r->log, false, ids, 4), 0);
	put_record(0xa, 1, 2, KVEIL_KEY_LIVE);
	put(messages[gone].label, messages[gone].value);
	put_root(2, 1);
	read_all(r);
	(void)kveil_registry_log_damaged(&r->log, false, ids, 4);
	assert_int_equal(r->log.damaged_count, 0);
	assert_false(r->log.root_damaged);
	compact(message_count);
	struct reader *newcomer = reader();
	assert_int_equal(find(newcomer, 0xa)->state, KVEIL_KEY_LIVE);
	assert_int_equal(find(newcomer, 0xb)->state, KVEIL_KEY_DESTROYED);
	reader_free(newcomer);
	reader_free(r);
}

static void a_first_writing_moved_behind_its_rival_is_noticed(void **state)
{
	(void)state;
	size_t a = put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put_record(0xb, 1, 1, KVEIL_KEY_LIVE);
	struct reader *r = reader();

	put(messages[a].label, messages[a].value);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 1);
	assert_int_equal(r->log.damaged_count, 1);
	put_record(0xa, 1, 2, KVEIL_KEY_LIVE);
	compact(message_count);
	struct reader *newcomer = reader();
	assert_non_null(find(newcomer, 0xa));
	assert_null(find(newcomer, 0xb));
	reader_free(newcomer);
	reader_free(r);
}

/* An import keeps its ids: a key that lost its number to a rotation comes again under the next one. */
static void a_loser_may_come_under_another_number(void **state)
{
	(void)state;
	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put_record(0xb, 2, 1, KVEIL_KEY_LIVE);
	size_t lost = put_record(0xc, 2, 1, KVEIL_KEY_OPENS_ONLY);
	put_record(0xd, 3, 1, KVEIL_KEY_LIVE);
	struct reader *r = reader();

	assert_null(find(r, 0xc));
	put_record(0xc, 3, 1, KVEIL_KEY_OPENS_ONLY); /* lost once more */
	read_all(r);
	assert_null(find(r, 0xc));
	put_record(0xc, 4, 1, KVEIL_KEY_OPENS_ONLY);
	read_all(r);
	assert_int_equal(find(r, 0xc)->version, 4);
	assert_int_equal(find(r, 0xb)->version, 2);
	/* Whoever reads it all at once, and whoever comes after compaction, sees the same. */
	struct reader *newcomer = reader();
	assert_int_equal(find(newcomer, 0xc)->version, 4);
	reader_free(newcomer);
	compact(message_count);
	newcomer = reader();
	assert_int_equal(newcomer->count, 4);
	assert_int_equal(find(newcomer, 0xc)->version, 4);
	assert_int_equal(find(newcomer, 0xb)->version, 2);
	assert_int_equal(find(newcomer, 0xd)->version, 3);
	for (int i = 0; i < KVEIL_DOUBT_COUNT; i++)
		assert_int_equal(ignored(r, (enum kveil_registry_doubt)i), 0);
	reader_free(newcomer);

	/* Somebody brings the first writing again, behind which compaction would take the last away: it is mended. */
	put(messages[lost].label, messages[lost].value);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 1);
	assert_int_equal(r->log.damaged_count, 1);
	assert_int_equal(find(r, 0xc)->version, 4);
	put_record(0xc, 4, 2, KVEIL_KEY_OPENS_ONLY);
	read_all(r);
	compact(message_count);
	newcomer = reader();
	assert_int_equal(find(newcomer, 0xc)->version, 4);
	assert_int_equal(find(r, 0xc)->sequence, 2);
	reader_free(newcomer);
	reader_free(r);
}

/* The winner was overwritten and compacted away before it was mended: who starts then takes the loser for it, and goes
 * over when the loser comes under its next number and the winner is back. */
static void a_loser_that_was_taken_for_the_winner_goes_on(void **state)
{
	(void)state;
	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	size_t won = put_record(0xb, 2, 1, KVEIL_KEY_LIVE);
	put_record(0xc, 2, 1, KVEIL_KEY_OPENS_ONLY);
	struct reader *knows = reader();
	put(messages[won].label, "{}");
	compact(message_count);
	struct reader *newcomer = reader();
	assert_int_equal(find(newcomer, 0xc)->version, 2);
	put_record(0xc, 3, 1, KVEIL_KEY_OPENS_ONLY);
	put_record(0xd, 3, 1, KVEIL_KEY_LIVE);
	put_record(0xb, 2, 2, KVEIL_KEY_LIVE);
	read_all(knows);
	read_all(newcomer);
	for (struct reader *r = knows; r; r = r == knows ? newcomer : NULL) {
		assert_int_equal(find(r, 0xc)->version, 3);
		assert_int_equal(find(r, 0xb)->version, 2);
		assert_null(find(r, 0xd));
		assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 0);
	}
	reader_free(knows);
	reader_free(newcomer);
	/* Read in one go, it is given out once. */
	newcomer = reader();
	assert_int_equal(find(newcomer, 0xc)->version, 3);
	reader_free(newcomer);
}

static void a_lease_behind_what_its_writer_saw_is_a_copy(void **state)
{
	(void)state;
	put_lease(0, 1);
	struct reader *r = reader();
	assert_int_equal(r->log.lease, 1);
	assert_false(r->log.rolled_back);
	put_lease(2, 1);
	read_all(r);
	assert_true(r->log.rolled_back);
	put_lease(5000, 2); /* of another life of this registry */
	read_all(r);
	assert_int_equal(r->log.lease, 2);
	/* Neither what is forged nor an old one brought once more makes it the log that it was. */
	put_lease(3, 1);
	put(KVEIL_LEASE_LABEL, "{}");
	put(KVEIL_LEASE_LABEL, messages[1].value);
	put(KVEIL_LEASE_LABEL, NULL);
	read_all(r);
	assert_true(r->log.rolled_back);
	assert_int_equal(r->log.lease, 6);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED), 1);
	assert_int_equal(ignored(r, KVEIL_DOUBT_EMPTIED), 1);
	/* Restored: another epoch, whose leases begin where they stand. */
	put_root(2, 3);
	put_lease((int64_t)message_count - 1, 3);
	read_all(r);
	assert_false(r->log.rolled_back);
	assert_int_equal(r->log.lease, 9);
	struct reader *newcomer = reader();
	assert_false(newcomer->log.rolled_back);
	assert_int_equal(newcomer->log.lease, 9);
	reader_free(newcomer);
	reader_free(r);
}

static void a_root_from_before_does_not_come_back(void **state)
{
	(void)state;
	struct reader *r = reader();
	put_root(3, 4);
	put(messages[0].label, messages[0].value);
	read_all(r);
	assert_int_equal(r->log.root.sequence, 3);
	assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 1);
	assert_true(r->log.root_damaged);
	struct reader *newcomer = reader();
	assert_int_equal(newcomer->log.root.sequence, 3);
	assert_int_equal(ignored(newcomer, KVEIL_DOUBT_REPLAYED), 1);
	reader_free(newcomer);
	reader_free(r);
}

/* What stands before the root that counts is how it came to be, and no attack. */
static void a_root_that_was_added_to_raises_no_alarm(void **state)
{
	(void)state;
	put_root(2, 1);
	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put_root(3, 1);
	struct reader *newcomer = reader();
	for (int i = 0; i < KVEIL_DOUBT_COUNT; i++)
		assert_int_equal(ignored(newcomer, (enum kveil_registry_doubt)i), 0);
	assert_false(newcomer->log.root_damaged);
	reader_free(newcomer);
}

/* As kveil_keys_set_state does: the end under its own label, then the record. */
static size_t put_end(uint32_t id, uint32_t version, uint32_t sequence)
{
	struct kveil_key_record r = {.id = id};
	char label[KVEIL_RECORD_LABEL_MAX];

	kveil_registry_end_label(&r, label);
	size_t record = put_record(id, version, sequence, KVEIL_KEY_DESTROYED);
	snprintf(messages[record].label, sizeof messages[record].label, "%s", label);
	put_record(id, version, sequence, KVEIL_KEY_DESTROYED);
	return record;
}

/* Somebody who moved the version to another KEK had read it before it was destroyed, and writes after. */
static void an_end_outlives_what_is_written_behind_it(void **state)
{
	(void)state;
	uint32_t ids[4];

	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	struct reader *follower = reader();
	put_end(0xa, 1, 2);
	put_record(0xa, 1, 2, KVEIL_KEY_LIVE);
	compact(message_count);
	struct reader *newcomer = reader();
	read_all(follower);
	struct reader *all[] = {newcomer, follower};
	for (int i = 0; i < 2; i++) {
		assert_int_equal(find(all[i], 0xa)->state, KVEIL_KEY_DESTROYED);
		/* What holds wrapped bytes again is mended: at once by whoever did it. */
		assert_int_equal(all[i]->log.damaged_count, 1);
		assert_int_equal(kveil_registry_log_damaged(&all[i]->log, true, ids, 4), 1);
		assert_int_equal(ids[0], 0xa);
	}
	put_end(0xa, 1, 3);
	read_all(follower);
	assert_int_equal(kveil_registry_log_damaged(&follower->log, true, ids, 4), 0);
	compact(message_count);
	for (size_t i = 0; i < message_count; i++)
		assert_true(messages[i].gone || !messages[i].value || !strstr(messages[i].value, "\"live\""));
	reader_free(newcomer);
	reader_free(follower);
}

static void an_end_is_believed_only_if_it_is_one(void **state)
{
	(void)state;
	uint32_t ids[4];
	size_t a = put_record(0xa, 1, 1, KVEIL_KEY_LIVE), b = put_record(0xb, 2, 1, KVEIL_KEY_LIVE);

	put("!destroyed/0000000a", messages[a].value); /* authentic, and not destroyed */
	put("!destroyed/0000000a", messages[b].value);
	put("!destroyed/", messages[a].value);
	put("!destroyed/zz", "{}");
	struct reader *r = reader();
	assert_int_equal(find(r, 0xa)->state, KVEIL_KEY_LIVE);
	assert_int_equal(find(r, 0xb)->state, KVEIL_KEY_LIVE);
	assert_int_equal(ignored(r, KVEIL_DOUBT_RELABELLED), 3);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED), 1);
	size_t end = put_end(0xb, 2, 2);
	put("!destroyed/0000000a", messages[end].value); /* another one's end */
	put(messages[end].label, NULL);
	read_all(r);
	assert_int_equal(find(r, 0xa)->state, KVEIL_KEY_LIVE);
	assert_int_equal(find(r, 0xb)->state, KVEIL_KEY_DESTROYED);
	assert_int_equal(ignored(r, KVEIL_DOUBT_RELABELLED), 4);
	assert_int_equal(ignored(r, KVEIL_DOUBT_EMPTIED), 1);
	assert_int_equal(kveil_registry_log_damaged(&r->log, true, ids, 4), 2);
	reader_free(r);
}

/* The known limit (docs/registry.md): between harm and mending, compaction may leave only the one that had lost. */
static void a_newcomer_before_the_mending_may_take_the_loser(void **state)
{
	(void)state;
	size_t a = put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put_record(0xb, 1, 1, KVEIL_KEY_LIVE);
	struct reader *r = reader();

	put(messages[a].label, "harm");
	compact(message_count);
	struct reader *newcomer = reader();
	assert_null(find(newcomer, 0xa));
	assert_non_null(find(newcomer, 0xb));
	read_all(r);
	assert_null(find(r, 0xb));
	/* Mended: all have the winner, whoever came when; the loser's bytes are still in the log. */
	put_record(0xa, 1, 2, KVEIL_KEY_LIVE);
	read_all(newcomer);
	assert_non_null(find(newcomer, 0xa));
	compact(message_count);
	struct reader *later = reader();
	assert_non_null(find(later, 0xa));
	assert_null(find(later, 0xb));
	assert_true(kveil_registry_log_knows(&later->log, 0xb));
	reader_free(later);
	reader_free(newcomer);
	reader_free(r);
}

static uint32_t next(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void assert_same(const struct reader *a, const struct reader *b)
{
	assert_int_equal(a->count, b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct kveil_key_record *other = find(b, a->got[i].id);
		assert_non_null(other);
		assert_int_equal(a->got[i].state, other->state);
		assert_int_equal(a->got[i].version, other->version);
	}
}

/* One turn of somebody: a race for the next version, a change of a winner, or harm, which the follower mends. */
static void turn(struct reader *follower, uint32_t *version, uint32_t *seed)
{
	uint32_t draw = next(seed) % 8;

	if (draw < 4 || follower->count == 0) {
		++*version;
		for (uint32_t i = 0; i <= draw % 3; i++)
			put_record(*version * 16 + i, *version, 1, KVEIL_KEY_LIVE);
		read_all(follower);
		/* One that lost comes under the next number, which it may lose as well. */
		for (uint32_t id = *version * 16 + 1, tries = draw % 3; tries; tries--) {
			++*version;
			if (next(seed) % 2)
				put_record(*version * 16, *version, 1, KVEIL_KEY_LIVE);
			if (!find(follower, id))
				put_record(id, *version, 1, KVEIL_KEY_OPENS_ONLY);
			read_all(follower);
		}
		return;
	}
	struct kveil_key_record *r = &follower->got[next(seed) % follower->count];
	char label[KVEIL_RECORD_LABEL_MAX];
	kveil_registry_record_label(r, label);
	if (draw < 6) {
		enum kveil_key_state to = (enum kveil_key_state)(r->state + next(seed) % 2);
		if (to < KVEIL_KEY_DESTROYED)
			put_record(r->id, r->version, r->sequence + 1, to);
		else
			put_end(r->id, r->version, r->sequence + 1);
	} else if (draw == 7 && r->state == KVEIL_KEY_DESTROYED) {
		/* A change that was under way when the version ended; nobody has mended it yet. */
		put_record(r->id, r->version, r->sequence, KVEIL_KEY_LIVE);
	} else {
		uint32_t any = next(seed) % (uint32_t)message_count;
		put(label, draw == 6 ? NULL : messages[any].value);
		read_all(follower);
		put_record(r->id, r->version, r->sequence + 1, r->state);
	}
	read_all(follower);
}

static void every_reader_sees_the_same_whatever_was_compacted(void **state)
{
	for (uint32_t round = 1; round <= 60; round++) {
		uint32_t version = 0, seed = round * 2654435761u;
		struct reader *follower = reader();
		for (int i = 0; i < 30; i++) {
			turn(follower, &version, &seed);
			if (next(&seed) % 4 == 0)
				compact(next(&seed) % (uint32_t)message_count + 1);
			struct reader *newcomer = reader();
			assert_same(follower, newcomer);
			reader_free(newcomer);
		}
		reader_free(follower);
		end(state);
		begin(state);
	}
}

static size_t put_note(uint32_t sequence, const char *text)
{
	struct kveil_buf value = KVEIL_BUF_INIT;

	assert_int_equal(kveil_registry_note_write(sequence, kveil_span_str(text), &secret, &value, NULL), KVEIL_OK);
	size_t at = put(KVEIL_NOTE_LABEL, kveil_buf_cstr(&value));
	kveil_buf_clear(&value);
	return at;
}

static void notes(struct reader *r, const char *text)
{
	read_all(r);
	assert_true(kveil_span_eq(kveil_span_of(r->log.note.text, r->log.note.len), kveil_span_str(text)));
}

static void the_newest_authentic_note_counts(void **state)
{
	(void)state;
	struct reader *r = reader();

	assert_int_equal(r->log.note.sequence, 0);
	size_t first = put_note(1, "one");
	notes(r, "one");
	put_note(2, "two");
	put(KVEIL_NOTE_LABEL, messages[first].value);
	notes(r, "two");
	assert_int_equal(ignored(r, KVEIL_DOUBT_REPLAYED), 1);
	put(KVEIL_NOTE_LABEL, NULL);
	put(KVEIL_NOTE_LABEL, "{}");
	size_t forged = put_note(3, "three");
	char *digit = strstr(messages[forged].value, "\"sequence\":3");
	assert_non_null(digit);
	digit[sizeof "\"sequence\":" - 1] = '9';
	notes(r, "two");
	assert_int_equal(ignored(r, KVEIL_DOUBT_EMPTIED), 1);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED), 2);
	/* Two that note at the same moment. */
	put_note(3, "three");
	put_note(3, "four");
	notes(r, "four");
	reader_free(r);
}

/* --- events --- */

/* The next event after all that the messages hold. */
static size_t put_event(const char *key, uint32_t version)
{
	struct reader *r = reader();
	struct kveil_registry_event e;
	struct kveil_event what = {
	    .kind = KVEIL_EVENT_KEY_RETIRED, .key = key, .version = version, .detail = "a \"b\""};
	char label[KVEIL_EVENT_LABEL_MAX];

	assert_int_equal(kveil_registry_event_write(&r->log.events, &what, 1000, &secret, &e, NULL), KVEIL_OK);
	kveil_registry_event_label(&e, label);
	size_t at = put(label, e.line);
	kveil_registry_event_clear(&e);
	reader_free(r);
	return at;
}

static void events_are_known_by_what_they_say(void **state)
{
	(void)state;
	size_t first = put_event("pii", 1);
	put_event("pii", 2);
	put_event("pii", 3);
	struct reader *r = reader();
	assert_int_equal(r->log.events.count, 3);
	assert_int_equal(r->log.events.items[2].version, 3);
	assert_int_equal(r->log.events.items[2].kind, KVEIL_EVENT_KEY_RETIRED);
	assert_int_equal(kveil_registry_events_missing(&r->log.events), 0);
	/* Again, moved, altered: none of it is another event. */
	put(messages[first].label, messages[first].value);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED) + ignored(r, KVEIL_DOUBT_RELABELLED), 0);
	put("!event/00112233445566778899aabbccddeeff", messages[first].value);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_RELABELLED), 1);
	char *altered = strdup(messages[first].value);
	strstr(altered, "pii")[0] = 'q';
	put(messages[first].label, altered);
	free(altered);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_FORGED), 1);
	assert_int_equal(r->log.events.count, 3);
	reader_free(r);
}

static void an_event_that_is_taken_away_is_missed_and_mended(void **state)
{
	(void)state;
	size_t first = put_event("pii", 1);
	put_event("pii", 2);
	struct reader *r = reader();
	assert_null(kveil_registry_log_damaged_event(&r->log));
	put(messages[first].label, NULL);
	read_all(r);
	assert_int_equal(ignored(r, KVEIL_DOUBT_EMPTIED), 1);
	/* Its turn is drawn. */
	assert_true(r->log.events_due_ms > 0);
	r->log.events_due_ms = 1;
	const struct kveil_registry_event *e = kveil_registry_log_damaged_event(&r->log);
	assert_non_null(e);
	assert_int_equal(e->version, 1);
	/* Who comes later, and finds it compacted away, sees that something is missing. */
	compact(message_count);
	struct reader *late = reader();
	assert_int_equal(late->log.events.count, 1);
	assert_int_equal(kveil_registry_events_missing(&late->log.events), 1);
	reader_free(late);
	put(messages[first].label, e->line);
	read_all(r);
	assert_null(kveil_registry_log_damaged_event(&r->log));
	late = reader();
	assert_int_equal(kveil_registry_events_missing(&late->log.events), 0);
	reader_free(late);
	reader_free(r);
}

static void what_a_later_kveil_writes_is_passed_over(void **state)
{
	(void)state;
	struct kveil_registry_event e;

	put("!schedule/0000000a", "{\"anything\": 1}");
	put_record(0xa, 1, 1, KVEIL_KEY_LIVE);
	put("!schedule/0000000a", NULL);
	/* An event of a kind, and with a member, that is not known here. */
	assert_int_equal(kveil_registry_event_sign(
			     KVEIL_SPAN("{\"event\":\"key_blessed\",\"sequence\":7,\"by\":[1,2]}"), &secret, &e, NULL),
			 KVEIL_OK);
	char label[KVEIL_EVENT_LABEL_MAX];
	kveil_registry_event_label(&e, label);
	put(label, e.line);
	kveil_registry_event_clear(&e);
	struct reader *r = reader();
	assert_non_null(find(r, 0xa));
	for (int i = 0; i < KVEIL_DOUBT_COUNT; i++)
		assert_int_equal(ignored(r, (enum kveil_registry_doubt)i), 0);
	uint32_t ids[4];
	assert_int_equal(kveil_registry_log_damaged(&r->log, true, ids, 4), 0);
	assert_int_equal(r->log.events.count, 1);
	assert_int_equal(r->log.events.items[0].kind, KVEIL_EVENT_COUNT);
	reader_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(the_first_wins_and_stays_so, begin, end),
	    cmocka_unit_test_setup_teardown(what_is_not_authentic_is_ignored_and_mended, begin, end),
	    cmocka_unit_test_setup_teardown(a_first_writing_moved_behind_its_rival_is_noticed, begin, end),
	    cmocka_unit_test_setup_teardown(a_loser_may_come_under_another_number, begin, end),
	    cmocka_unit_test_setup_teardown(a_loser_that_was_taken_for_the_winner_goes_on, begin, end),
	    cmocka_unit_test_setup_teardown(a_lease_behind_what_its_writer_saw_is_a_copy, begin, end),
	    cmocka_unit_test_setup_teardown(a_root_from_before_does_not_come_back, begin, end),
	    cmocka_unit_test_setup_teardown(a_root_that_was_added_to_raises_no_alarm, begin, end),
	    cmocka_unit_test_setup_teardown(an_end_outlives_what_is_written_behind_it, begin, end),
	    cmocka_unit_test_setup_teardown(an_end_is_believed_only_if_it_is_one, begin, end),
	    cmocka_unit_test_setup_teardown(a_newcomer_before_the_mending_may_take_the_loser, begin, end),
	    cmocka_unit_test_setup_teardown(the_newest_authentic_note_counts, begin, end),
	    cmocka_unit_test_setup_teardown(events_are_known_by_what_they_say, begin, end),
	    cmocka_unit_test_setup_teardown(an_event_that_is_taken_away_is_missed_and_mended, begin, end),
	    cmocka_unit_test_setup_teardown(what_a_later_kveil_writes_is_passed_over, begin, end),
	    cmocka_unit_test_setup_teardown(every_reader_sees_the_same_whatever_was_compacted, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
