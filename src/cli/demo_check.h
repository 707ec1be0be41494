/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo_check.h: holds what came out of the demo against what went in, byte by byte. The original is made again from
 * the record key; each field that the rules name must be what the rule says (opened or hashed with the demo's keys),
 * everything else the same bytes, and no clear value may stand anywhere in the record. One thread.
 */
#ifndef KVEIL_CLI_DEMO_CHECK_H
#define KVEIL_CLI_DEMO_CHECK_H

#include "cli/orders.h"
#include "kveil/engine.h"
#include "kveil/keys.h"
#include "rules/plan.h"

enum { KVEIL_DEMO_FIELDS = 4 }; /* phone, id_card, email, card_number: in the record's order */

struct kveil_demo_check;

struct kveil_demo_finding {
	uint64_t number;                                                  /* the order's */
	struct kveil_order order;                                         /* the original */
	size_t clear_at[KVEIL_DEMO_FIELDS], clear_len[KVEIL_DEMO_FIELDS]; /* in order.value */
	size_t at[KVEIL_DEMO_FIELDS], len[KVEIL_DEMO_FIELDS];             /* in the record's value */
	uint32_t key_id;                                                  /* that sealed id_card */
	char problem[200]; /* empty = as it should be; names fields, never values */
};

/* The plan must protect those fields by mask, hash or encrypt (CONFIG otherwise). keys and plan must outlive it. */
enum kveil_status kveil_demo_check_new(uint64_t seed, const struct kveil_plan *plan, struct kveil_keystore *keys,
				       struct kveil_demo_check **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_demo_check_free(struct kveil_demo_check *c);

/* "$.customer.phone", "mask". */
const char *kveil_demo_field_path(size_t field);
const char *kveil_demo_field_action(const struct kveil_demo_check *c, size_t field);
/* The name of the key that seals id_card. */
const char *kveil_demo_key_name(const struct kveil_demo_check *c);

/* true = protected as the rules say. */
bool kveil_demo_check_record(struct kveil_demo_check *c, const struct kveil_record *record,
			     struct kveil_demo_finding *ret);
/* Does any clear value of the order stand in these bytes (a dead letter)? */
bool kveil_demo_leaks(const struct kveil_order *order, struct kveil_span bytes);

#endif
