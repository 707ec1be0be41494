/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"
#include "cli/demo_check.h"
#include "cli/demo_leaves.h"
#include "cli/demo_poison.h"
#include "cli/demo_screen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEED = 5 };
static const char rules[] = "name: orders\n"
			    "topics: [etl.orders]\n"
			    "format: json\n"
			    "output: '{topic}.secure'\n"
			    "fields:\n"
			    "  - {path: '$.customer.phone', mask: {keep_first: 3, keep_last: 4}}\n"
			    "  - {path: '$.customer.id_card', encrypt: {key: pii}}\n"
			    "  - {path: '$.customer.email', hash: {key: pepper}}\n"
			    "  - {path: '$.card_number', encrypt: {key: pii}}\n";

struct fixture {
	struct kveil_keystore *keys;
	struct kveil_keyring *ring;
	struct kveil_plan *plan;
	struct kveil_demo_check *check;
	struct kveil_order order;
	struct kveil_buf output;
	struct kveil_demo_finding finding;
};

static void append_sealed(struct fixture *f, const char *ad, struct kveil_span clear)
{
	uint8_t sealed[200], text[400];
	struct kveil_key *key;
	size_t n;

	assert_int_equal(kveil_keyring_key(f->ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, NULL), KVEIL_OK);
	assert_int_equal(kveil_keyring_tick(f->ring, 0, NULL), KVEIL_OK);
	assert_int_equal(kveil_key_seal(key, kveil_span_str(ad), clear, sealed, &n, NULL), KVEIL_OK);
	kveil_text_encode(KVEIL_BASE64, sealed, n, text);
	kveil_buf_append(&f->output, text, kveil_text_encoded_len(KVEIL_BASE64, n));
}

static const uint8_t *copy_until(struct fixture *f, const uint8_t *from, struct kveil_span field)
{
	kveil_buf_append(&f->output, from, (size_t)(field.data - from));
	return field.data + field.len;
}

/* What a right engine makes of the order. */
static void protect(struct fixture *f, uint64_t number)
{
	struct kveil_key *pepper;
	uint8_t mac[64], hex[128];

	kveil_order_make(SEED, number, &f->order);
	kveil_buf_reset(&f->output);
	const uint8_t *at = copy_until(f, (const uint8_t *)f->order.value, f->order.phone);
	kveil_buf_printf(&f->output, "%.3s****%.4s", (const char *)f->order.phone.data,
			 (const char *)f->order.phone.data + 7);
	at = copy_until(f, at, f->order.id_card);
	append_sealed(f, "orders:$['customer']['id_card']", f->order.id_card);
	at = copy_until(f, at, f->order.email);
	assert_int_equal(kveil_keyring_key(f->ring, KVEIL_SPAN("pepper"), KVEIL_USE_MAC, &pepper, NULL), KVEIL_OK);
	assert_int_equal(kveil_key_mac(pepper, f->order.email, mac, NULL), KVEIL_OK);
	kveil_text_encode(KVEIL_HEX, mac, 32, hex);
	kveil_buf_append(&f->output, hex, 64);
	at = copy_until(f, at, f->order.card_number);
	append_sealed(f, "orders:$['card_number']", f->order.card_number);
	kveil_buf_append(&f->output, at, (size_t)((const uint8_t *)f->order.value + f->order.value_len - at));
}

static bool is_right(struct fixture *f)
{
	struct kveil_record record = {.key = kveil_span_str(f->order.key), .value = kveil_buf_span(&f->output)};

	return kveil_demo_check_record(f->check, &record, &f->finding);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct kveil_report report = {0};
	struct kveil_error err;

	if (kveil_keystore_new_demo(&f->keys, &err) || kveil_keyring_new(f->keys, &f->ring, &err))
		return -1;
	f->plan = kveil_plan_parse(kveil_span_str(rules), "orders.yaml", f->keys, &report);
	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!f->plan || kveil_demo_check_new(SEED, f->plan, f->keys, &f->check, &err))
		return -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	kveil_demo_check_free(f->check);
	kveil_plan_unref(f->plan);
	kveil_keyring_free(f->ring);
	kveil_keystore_unref(f->keys);
	kveil_buf_clear(&f->output);
	free(f);
	return 0;
}

static void test_what_is_right_passes(void **state)
{
	struct fixture *f = *state;

	for (uint64_t i = 0; i < 200; i++) {
		protect(f, i);
		if (!is_right(f))
			fail_msg("%s", f->finding.problem);
		assert_int_equal(f->finding.number, i);
		assert_int_not_equal(f->finding.key_id, 0);
	}
}

static void test_every_other_byte_is_found(void **state)
{
	struct fixture *f = *state;

	protect(f, 17);
	assert_true(is_right(f));
	for (size_t i = 0; i < f->output.len; i++) {
		f->output.data[i] ^= 1;
		if (is_right(f))
			fail_msg("byte %zu may be anything", i);
		f->output.data[i] ^= 1;
	}
	assert_true(is_right(f));
	for (size_t n = f->output.len; n-- > 0;) {
		f->output.len = n;
		assert_false(is_right(f));
	}
}

static void test_a_clear_record_is_found(void **state)
{
	struct fixture *f = *state;

	kveil_order_make(SEED, 3, &f->order);
	kveil_buf_reset(&f->output);
	kveil_buf_append(&f->output, f->order.value, f->order.value_len);
	assert_false(is_right(f));
	assert_string_equal(f->finding.problem, "order 3: a clear value stands in the output");
	/* In a header, too. */
	protect(f, 3);
	struct kveil_header header = {KVEIL_SPAN("trace"), f->order.email};
	struct kveil_record record = {.key = kveil_span_str(f->order.key),
				      .value = kveil_buf_span(&f->output),
				      .headers = &header,
				      .header_count = 1};
	assert_false(kveil_demo_check_record(f->check, &record, &f->finding));
	record.header_count = 0;
	assert_true(kveil_demo_check_record(f->check, &record, &f->finding));
	/* Another order's key, no key, no value. */
	record.key = KVEIL_SPAN("ORD0000000004");
	assert_false(kveil_demo_check_record(f->check, &record, &f->finding));
	record.key = KVEIL_SPAN_NULL;
	assert_false(kveil_demo_check_record(f->check, &record, &f->finding));
	record = (struct kveil_record){.key = kveil_span_str(f->order.key)};
	assert_false(kveil_demo_check_record(f->check, &record, &f->finding));
}

static void test_values_that_changed_places_are_found(void **state)
{
	struct fixture *f = *state;

	/* Both are sealed with one key; only the associated data tells them apart. */
	protect(f, 8);
	assert_true(is_right(f));
	struct kveil_order o = f->order;
	kveil_buf_reset(&f->output);
	const uint8_t *at = copy_until(f, (const uint8_t *)f->order.value, f->order.id_card);
	append_sealed(f, "orders:$['card_number']", o.id_card);
	kveil_buf_append_str(&f->output, (const char *)at);
	assert_false(is_right(f));
}

static void test_rules_that_do_not_protect_are_refused(void **state)
{
	struct fixture *f = *state;
	struct kveil_report report = {0};
	struct kveil_error err;
	struct kveil_demo_check *check;
	const char *cut = strstr(rules, "  - {path: '$.card");
	struct kveil_plan *plan =
	    kveil_plan_parse(kveil_span_of(rules, (size_t)(cut - rules)), "orders.yaml", f->keys, &report);

	assert_non_null(plan);
	assert_int_equal(kveil_demo_check_new(SEED, plan, f->keys, &check, &err), KVEIL_E_RULES);
	assert_non_null(strstr(err.message, "$.card_number"));
	kveil_plan_unref(plan);
	kveil_report_clear(&report);
}

static void test_poisons_hold_clear_values(void **state)
{
	struct kveil_order order;
	uint8_t value[KVEIL_ORDER_BYTES_MAX];
	size_t len, clear = 0;

	(void)state;
	for (uint64_t i = 0; i < 400; i++) {
		kveil_order_make(SEED, i, &order);
		assert_non_null(kveil_demo_poison(i, &order, value, &len));
		assert_true(len <= sizeof value);
		clear += kveil_demo_leaks(&order, kveil_span_of(value, len));
	}
	assert_int_equal(clear, 300); /* all but the empty ones: what a leak would show */
}

/* --- the screen --- */

static void fill_view(struct fixture *f, struct kveil_demo_view *v)
{
	protect(f, 5);
	assert_true(is_right(f));
	*v = (struct kveil_demo_view){.sample = f->finding,
				      .output_len = f->output.len,
				      .input_topic = "etl.orders",
				      .output_topic = "etl.orders.secure",
				      .rate = 1000,
				      .sent = 1234567,
				      .arrived = 1234560,
				      .workers = 2,
				      .key_name = "pii",
				      .key_id = 0x1234abcd,
				      .custodian_up = true,
				      .ready = true,
				      .side_port = "127.0.0.1:9819",
				      .actions = {"mask", "encrypt", "hash", "encrypt"},
				      .rates = {0, 500, 1000},
				      .rate_count = 3,
				      .sending = "sending 1,000 orders a second",
				      .events = {[KVEIL_DEMO_EVENTS - 6] = "12:00:00 one",
						 "12:00:01 t\033[2Jwo\n",
						 "three",
						 "four",
						 "five",
						 "12:00:05 newest"},
				      .keyboard = true};
	memcpy(v->output, f->output.data, f->output.len);
}

static size_t count(const char *text, const char *what)
{
	size_t n = 0;

	while ((text = strstr(text, what))) {
		text += strlen(what);
		n++;
	}
	return n;
}

/* Columns of a line without its escapes; -1: an escape that is not ours. */
static int columns_of(const char *line, size_t len)
{
	int columns = 0, most = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];
		if (c == 033) {
			i += 2 + strspn(line + i + 2, "0123456789;");
			if (!strchr("mKHJ", line[i]))
				return -1;
			if (line[i] == 'H')
				columns = 0; /* elsewhere on the screen */
		} else if (c == '\r')
			continue;
		else if (c < 0x20)
			return -1;
		else if ((c & 0xc0) != 0x80)
			columns += c >= 0xe3 ? 2 : 1;
		if (columns > most)
			most = columns;
	}
	return most;
}

static void test_frames_fit(void **state)
{
	static const unsigned sizes[][2] = {{24, 80}, {24, 81}, {50, 200}, {40, 100}, {60, 80}, {24, 300},
					    {20, 64}, {19, 70}, {10, 40},  {12, 63},  {1, 1}};
	struct fixture *f = *state;
	struct kveil_demo_view v;
	KVEIL_CLEANUP_BUF struct kveil_buf frame = KVEIL_BUF_INIT;

	fill_view(f, &v);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		unsigned rows = sizes[i][0] < 10 ? 10 : sizes[i][0], columns = sizes[i][1] < 40 ? 40 : sizes[i][1];
		kveil_buf_reset(&frame);
		kveil_demo_render(&v, sizes[i][0], sizes[i][1], true, &frame);
		const char *text = kveil_buf_cstr(&frame);
		assert_true(count(text, "\n") < rows);
		for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
			assert_in_range(columns_of(line, strcspn(line, "\n")), 0, columns);
		assert_non_null(strstr(text, "q\033[0m quit"));
	}
}

static void test_frame_says_it(void **state)
{
	struct fixture *f = *state;
	struct kveil_demo_view v;
	KVEIL_CLEANUP_BUF struct kveil_buf frame = KVEIL_BUF_INIT;

	fill_view(f, &v);
	kveil_demo_render(&v, 24, 80, true, &frame);
	const char *text = kveil_buf_cstr(&frame);
	assert_non_null(strstr(text, "nothing lasts"));
	assert_non_null(strstr(text, "1,234,567"));
	assert_non_null(strstr(text, "http://127.0.0.1:9819/"));
	assert_non_null(strstr(text, "305441741"));
	assert_non_null(strstr(text, "12:00:05 newest"));
	assert_int_equal(count(text, "\033[31m"), KVEIL_DEMO_FIELDS); /* before */
	assert_true(count(text, "\033[32m") > KVEIL_DEMO_FIELDS);     /* after, "ready", and the chart */
	assert_non_null(strstr(text, "sending 1,000 orders a second"));
	kveil_buf_reset(&frame);
	v.ready = false;
	v.custodian_up = false;
	strcpy(v.reasons, "keys: away");
	kveil_demo_render(&v, 50, 120, false, &frame);
	text = kveil_buf_cstr(&frame);
	assert_int_equal(count(text, "\033[3"), 0); /* no colour */
	assert_non_null(strstr(text, "keys: away"));
	assert_non_null(strstr(text, "give custodian back"));
	assert_non_null(strstr(text, "12:00:00 one"));
	/* On a low screen the numbers stay and the records give way. */
	kveil_buf_reset(&frame);
	kveil_demo_render(&v, 12, 60, false, &frame);
	text = kveil_buf_cstr(&frame);
	assert_non_null(strstr(text, "1,234,567"));
	assert_non_null(strstr(text, "keys: away"));
}

/* The line of a frame in which this stands, without its escapes. */
static void line_with(const char *frame, const char *what, char *dst, size_t size)
{
	const char *at = strstr(frame, what);
	size_t n = 0;

	if (!at)
		fail_msg("nowhere: %s", what);
	while (at > frame && at[-1] != '\n')
		at--;
	for (; *at && *at != '\n' && n + 1 < size; at++)
		if (*at == 033)
			at += 2 + strspn(at + 2, "0123456789;");
		else if (*at != '\r')
			dst[n++] = *at;
	dst[n] = 0;
}

static void test_a_line_a_field(void **state)
{
	struct fixture *f = *state;
	struct kveil_demo_view v;
	char line[400], want[100];
	KVEIL_CLEANUP_BUF struct kveil_buf frame = KVEIL_BUF_INIT;

	fill_view(f, &v);
	kveil_demo_render(&v, 24, 80, true, &frame);
	line_with(kveil_buf_cstr(&frame), "$.customer.phone", line, sizeof line);
	snprintf(want, sizeof want, "%.3s****%.4s", (const char *)f->order.phone.data,
		 (const char *)f->order.phone.data + 7);
	assert_non_null(strstr(line, want));
	snprintf(want, sizeof want, " %.11s ", (const char *)f->order.phone.data);
	assert_non_null(strstr(line, want));
	assert_non_null(strstr(line, "  mask"));
	line_with(kveil_buf_cstr(&frame), "$.customer.id_card", line, sizeof line);
	assert_non_null(strstr(line, "…  encrypt"));
	line_with(kveil_buf_cstr(&frame), "$.customer.name", line, sizeof line);
	assert_non_null(strstr(line, "the same"));
	assert_non_null(strstr(kveil_buf_cstr(&frame), " more fields that no rule names"));
	assert_null(strstr(kveil_buf_cstr(&frame), "$.notes"));
	/* A high screen has all of them, a narrow one their last names. */
	kveil_buf_reset(&frame);
	kveil_demo_render(&v, 50, 200, false, &frame);
	line_with(kveil_buf_cstr(&frame), "$.items[1].sku", line, sizeof line);
	assert_non_null(strstr(line, "SKU-"));
	line_with(kveil_buf_cstr(&frame), "$.card_number", line, sizeof line);
	assert_null(strstr(line, "…"));
	kveil_buf_reset(&frame);
	kveil_demo_render(&v, 24, 50, false, &frame);
	assert_null(strstr(kveil_buf_cstr(&frame), "$.customer"));
	line_with(kveil_buf_cstr(&frame), " id_card ", line, sizeof line);
}

static void test_leaves(void **state)
{
	(void)state;
	struct kveil_demo_leaf l[KVEIL_DEMO_LEAVES];
	static const char text[] = "{\"a\":{\"b\":\"x\\\"}\",\"c\":-1.5},\"d\":[true,{\"e\":\"\"},[]],\"f\":{}}";
	static const char *const want[][2] = {
	    {"$.a.b", "x\\\"}"}, {"$.a.c", "-1.5"}, {"$.d[0]", "true"}, {"$.d[1].e", ""}};

	assert_int_equal(kveil_demo_leaves(kveil_span_str(text), l), 4);
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(l[i].path, want[i][0]);
		assert_true(kveil_span_eq(l[i].value, kveil_span_str(want[i][1])));
	}
	/* What is cut, wrong or too deep has none. */
	for (size_t n = 0; n < sizeof text - 1; n++)
		assert_int_equal(kveil_demo_leaves(kveil_span_of(text, n), l), 0);
	for (const char *const *bad = (const char *const[]){"]", "{]", "[}", "[,,]", "{:}", "[[[[[[[[[[[[[[[[", NULL};
	     *bad; bad++)
		assert_int_equal(kveil_demo_leaves(kveil_span_str(*bad), l), 0);
}

static void test_names_are_of_two_scripts(void **state)
{
	(void)state;
	struct kveil_order order;
	size_t latin = 0;

	for (uint64_t i = 0; i < 100; i++) {
		kveil_order_make(SEED, i, &order);
		latin += order.name.data[0] < 0x80;
	}
	assert_in_range(latin, 10, 60);
}

static void test_counts(void **state)
{
	char text[32];

	(void)state;
	assert_string_equal(kveil_demo_count(0, text), "0");
	assert_string_equal(kveil_demo_count(999, text), "999");
	assert_string_equal(kveil_demo_count(1000, text), "1,000");
	assert_string_equal(kveil_demo_count(UINT64_MAX, text), "18,446,744,073,709,551,615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_is_right_passes, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_every_other_byte_is_found, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_clear_record_is_found, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_values_that_changed_places_are_found, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_rules_that_do_not_protect_are_refused, set_up, tear_down),
	    cmocka_unit_test(test_poisons_hold_clear_values),
	    cmocka_unit_test_setup_teardown(test_frames_fit, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_frame_says_it, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_line_a_field, set_up, tear_down),
	    cmocka_unit_test(test_leaves),
	    cmocka_unit_test(test_names_are_of_two_scripts),
	    cmocka_unit_test(test_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
