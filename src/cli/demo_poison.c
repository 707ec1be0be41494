/* SPDX-License-Identifier: Apache-2.0 */
/* Records that must not come through. */
#include "cli/demo_poison.h"

static const char *cut(const struct kveil_order *o, uint8_t *value, size_t *len)
{
	*len = (size_t)(o->card_number.data - (const uint8_t *)o->value) + 7;
	memcpy(value, o->value, *len);
	return "an order cut off in the middle of the card number";
}

static const char *nest(const struct kveil_order *o, uint8_t *value, size_t *len)
{
	static const char open[] = "{\"home\":", close[] = "}";
	size_t before = (size_t)(o->phone.data - (const uint8_t *)o->value) - 1, phone = o->phone.len + 2;
	uint8_t *at = value;

	memcpy(at, o->value, before);
	at += before;
	memcpy(at, open, sizeof open - 1);
	at += sizeof open - 1;
	memcpy(at, o->value + before, phone);
	at += phone;
	memcpy(at, close, sizeof close - 1);
	at += sizeof close - 1;
	memcpy(at, o->value + before + phone, o->value_len - before - phone);
	*len = o->value_len + sizeof open + sizeof close - 2;
	return "an order whose phone is an object";
}

static const char *garble(const struct kveil_order *o, uint8_t *value, size_t *len)
{
	memcpy(value, o->value, o->value_len);
	*len = o->value_len;
	value[(size_t)(o->name.data - (const uint8_t *)o->value)] = 0xff;
	return "an order whose customer's name is not UTF-8";
}

static const char *empty(const struct kveil_order *o, uint8_t *value, size_t *len)
{
	(void)o;
	(void)value;
	*len = 0;
	return "an order without a byte in it";
}

const char *kveil_demo_poison(uint64_t n, const struct kveil_order *order, uint8_t *ret_value, size_t *ret_len)
{
	static const char *(*const kinds[])(const struct kveil_order *, uint8_t *, size_t *) = {nest, cut, garble,
												empty};

	return kinds[n % (sizeof kinds / sizeof *kinds)](order, ret_value, ret_len);
}
