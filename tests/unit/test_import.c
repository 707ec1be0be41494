/* SPDX-License-Identifier: Apache-2.0 */
/* `keys import` beside somebody who makes versions of the same name: every key comes in, whoever is first. */
#include "named_keys_fixture.h"

#define ITEM(value, id)                                                                                                \
	"{\"keyData\":{\"typeUrl\":\"type.googleapis.com/google.crypto.tink.AesGcmKey\",\"value\":\"" value            \
	"\",\"keyMaterialType\":\"SYMMETRIC\"},\"status\":\"ENABLED\",\"keyId\":" id ",\"outputPrefixType\":\"TINK\"}"
#define KEY "GiAREREREREREREREREREREREREREREREREREREREREREQ=="

static const char keyset[] = "{\"primaryKeyId\":7,\"key\":[" ITEM(KEY, "7") "," ITEM(KEY, "8") "," ITEM(KEY, "9") "]}";

static struct kveil_keystore *ks, *rival;
static struct kveil_registry_driver racing;
static const struct kveil_registry_driver *plain;
static const char *raced;
static int races;

/* Somebody is first. */
static enum kveil_status append(struct kveil_registry *r, const struct kveil_key_record *records, size_t count,
				struct kveil_error *why)
{
	if (races-- > 0) {
		assert_ok(kveil_keystore_refresh(rival, &err));
		assert_ok(kveil_keystore_rotate(rival, kveil_span_str(raced), 0, &err));
	}
	return plain->append(r, records, count, why);
}

static int begin(void **state)
{
	set_up(state);
	ks = fixture_init(&fx);
	assert_ok(kveil_keystore_open(&fx.config, &rival, &err));
	plain = ks->registry->driver;
	racing = *plain;
	racing.append = append;
	ks->registry->driver = &racing;
	return 0;
}

static int end(void **state)
{
	kveil_keystore_unref(rival);
	kveil_keystore_unref(ks);
	return tear_down(state);
}

static enum kveil_status import_it(const char *name, int times, size_t *added)
{
	raced = name;
	races = times;
	return kveil_keys_import_tink(ks, name, kveil_span_str(keyset), added, &err);
}

struct seen {
	size_t rows, imported;
	uint32_t last;
};

static void look(void *user, const struct kveil_key_info *v)
{
	struct seen *s = user;

	s->rows++;
	assert_true(v->version > s->last);
	s->last = v->version;
	s->imported += v->id >= 7 && v->id <= 9 && strcmp(v->state, "opens only") == 0;
}

static void check(const char *name, size_t rows)
{
	struct seen s = {0};

	assert_ok(kveil_keystore_each_of(ks, name, look, &s, &err));
	assert_int_equal(s.rows, rows);
	assert_int_equal(s.last, rows);
	assert_int_equal(s.imported, 3);
}

static void a_number_that_was_lost_is_followed_by_the_next(void **state)
{
	size_t added;

	(void)state;
	assert_ok(import_it("pii", 5, &added));
	assert_int_equal(added, 3);
	check("pii", 1 + 5 + 3);
	/* Twice changes nothing. */
	assert_ok(import_it("pii", 0, &added));
	assert_int_equal(added, 0);
	check("pii", 9);
}

static void under_a_name_from_a_record(void **state)
{
	struct kveil_keyring *ring = ring_of(ks);
	size_t added;

	(void)state;
	named(ks, ring, "tenant-acme", KVEIL_USE_SEAL);
	assert_ok(import_it("tenant-acme", 5, &added));
	assert_int_equal(added, 3);
	check("tenant-acme", 1 + 5 + 3);
	assert_int_equal(import_it("tenant-other", 0, &added), KVEIL_E_KEY_EXISTS);
	kveil_keyring_free(ring);
}

static void it_gives_up_in_the_end(void **state)
{
	size_t added;

	(void)state;
	assert_int_equal(import_it("pii", 1000, &added), KVEIL_E_REGISTRY_UNAVAILABLE);
	assert_true(1000 - races < 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_number_that_was_lost_is_followed_by_the_next, begin, end),
	    cmocka_unit_test_setup_teardown(under_a_name_from_a_record, begin, end),
	    cmocka_unit_test_setup_teardown(it_gives_up_in_the_end, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
