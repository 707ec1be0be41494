/* SPDX-License-Identifier: Apache-2.0 */
/* cli/demo_poison.h: records that no rule can handle. Any thread; nothing allocated. */
#ifndef KVEIL_CLI_DEMO_POISON_H
#define KVEIL_CLI_DEMO_POISON_H

#include "cli/orders.h"

/* The n-th poison (they take turns), made out of an order whose clear values it still holds. Writes at most
 * KVEIL_ORDER_BYTES_MAX bytes; returns what is wrong with it, for the user. */
const char *kveil_demo_poison(uint64_t n, const struct kveil_order *order, uint8_t *ret_value, size_t *ret_len);

#endif
