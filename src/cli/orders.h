/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/orders.h: the orders that `bench` and `demo` run on: about 440 bytes of JSON with Chinese and English names,
 * mobiles, ID cards with valid check digits, bank cards and emails. None belongs to anybody. An order is a function of
 * seed and number alone, so that a reader can make the original again from the key of what it reads. Any thread;
 * nothing allocated.
 */
#ifndef KVEIL_CLI_ORDERS_H
#define KVEIL_CLI_ORDERS_H

#include "kveil/base.h"

enum { KVEIL_ORDER_BYTES_MAX = 1024 };

struct kveil_order {
	char key[16];                      /* "ORD0000000042" */
	char value[KVEIL_ORDER_BYTES_MAX]; /* compact JSON, NUL-terminated */
	size_t value_len;
	struct kveil_span name, phone, id_card, email, card_number; /* in value, without quotes, in this order */
};

void kveil_order_make(uint64_t seed, uint64_t number, struct kveil_order *ret);
/* The number back from a key; false: not such a key. */
bool kveil_order_number(struct kveil_span key, uint64_t *ret);

#endif
