/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/orders.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void assert_is(struct kveil_span at, json_t *parent, const char *name)
{
	const char *text = json_string_value(json_object_get(parent, name));

	assert_non_null(text);
	assert_int_equal(at.len, strlen(text));
	assert_memory_equal(at.data, text, at.len);
}

static void test_orders_are_whole_and_their_spans_true(void **state)
{
	struct kveil_order o;
	size_t bytes = 0;

	(void)state;
	for (uint64_t i = 0; i < 5000; i++) {
		json_error_t error;
		kveil_order_make(7, i, &o);
		assert_int_equal(o.value_len, strlen(o.value));
		assert_true(o.value_len < 700);
		bytes += o.value_len;
		json_t *root = json_loadb(o.value, o.value_len, JSON_REJECT_DUPLICATES, &error);
		if (!root)
			fail_msg("%s: %s", error.text, o.value);
		assert_string_equal(json_string_value(json_object_get(root, "id")), o.key);
		json_t *customer = json_object_get(root, "customer");
		assert_is(o.name, customer, "name");
		assert_is(o.phone, customer, "phone");
		assert_is(o.id_card, customer, "id_card");
		assert_is(o.email, customer, "email");
		assert_is(o.card_number, root, "card_number");
		assert_int_equal(o.phone.len, 11);
		assert_int_equal(o.id_card.len, 18);
		assert_int_equal(o.card_number.len, 16);
		assert_true(json_is_real(json_object_get(root, "amount")));
		assert_in_range(json_array_size(json_object_get(root, "items")), 2, 3);
		json_decref(root);
	}
	assert_in_range(bytes / 5000, 400, 480); /* as the reference data set */
}

static void test_check_digits(void **state)
{
	struct kveil_order o;

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		unsigned luhn = 0, mod11 = 0;
		kveil_order_make(1, i, &o);
		for (size_t d = 0; d < 16; d++) {
			unsigned n = (unsigned)(o.card_number.data[15 - d] - '0') * (d % 2 ? 2 : 1);
			luhn += n > 9 ? n - 9 : n;
		}
		assert_int_equal(luhn % 10, 0);
		/* ISO 7064: sum of digit times 2^position is 1 modulo 11. */
		for (size_t d = 0; d < 18; d++) {
			unsigned n = o.id_card.data[d] == 'X' ? 10 : (unsigned)(o.id_card.data[d] - '0');
			mod11 = (mod11 * 2 + n) % 11;
		}
		assert_int_equal(mod11, 1);
	}
}

static void test_an_order_is_a_function_of_seed_and_number(void **state)
{
	struct kveil_order a, b;
	uint64_t number;

	(void)state;
	kveil_order_make(1, 42, &a);
	kveil_order_make(1, 42, &b);
	assert_string_equal(a.value, b.value);
	kveil_order_make(2, 42, &b);
	assert_string_not_equal(a.value, b.value);
	assert_true(kveil_order_number(kveil_span_str(a.key), &number));
	assert_int_equal(number, 42);
	assert_false(kveil_order_number(KVEIL_SPAN("ORD000000004x"), &number));
	assert_false(kveil_order_number(KVEIL_SPAN("ORD42"), &number));
	assert_false(kveil_order_number(KVEIL_SPAN_NULL, &number));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_orders_are_whole_and_their_spans_true),
	    cmocka_unit_test(test_check_digits),
	    cmocka_unit_test(test_an_order_is_a_function_of_seed_and_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
