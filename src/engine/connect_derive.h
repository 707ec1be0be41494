/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/connect_derive.h: what becomes of a schema's nodes, and its text; for the two files that derive it.
 *
 *   tree, rules ─► connect_judge.c: a verdict a node ─► connect_derive.c: the text and what values are to be fitted
 *
 * Everything stands in the arena of the record that the schema came with. One thread.
 */
#ifndef KVEIL_ENGINE_CONNECT_DERIVE_H
#define KVEIL_ENGINE_CONNECT_DERIVE_H

#include "engine/connect.h"

#define KVEIL_CONNECT_ORIGINAL "kveil.type" /* the parameter: the schema of the clear value, as JSON */

/* What may stand at a node's values in one view. */
struct kveil_connect_outcome {
	bool clear; /* what came */
	bool text;
	bool null;
	bool gone; /* only sometimes; see gone_for_good */
	bool revealed;
	bool gone_for_good;
	bool is_sealed, keeps_original; /* it can be opened; what it was before stands in the parameter already */
	bool is_touched;
	unsigned kinds; /* KVEIL_KIND_BIT of constants */
	size_t digits;  /* most of those that are whole numbers; 19 = one is not, or is too large */
};

/* What becomes of a node. */
struct kveil_connect_verdict {
	struct kveil_connect_outcome out;
	enum kveil_connect_type type;
	bool is_dirty;     /* it or something in it is written anew */
	bool is_retyped;   /* its names, parameters and what is inside go */
	bool is_protected; /* a rule reaches it or what it is in: its clear values go from the schema */
	bool is_restored;  /* as its parameter says */
	bool is_optional;
	bool drops_default;
};

struct kveil_connect_deriver {
	struct kveil_engine *e;
	const struct kveil_connect_tree *tree;
	struct kveil_connect_verdict *verdicts;
	size_t v;
	struct kveil_connect_schema *schema;
	struct kveil_buf *out;
	struct kveil_connect_fit *fits; /* in the record's arena */
	size_t fit_count, fit_cap;
	struct kveil_error *err;
};

/* One rule at one node: what it writes there. */
void kveil_connect_add_result(struct kveil_connect_outcome *o, const struct kveil_bound_rule *r);

/* A parameter's name, without escapes. Without memory it is empty, and the schema that is being written has failed. */
struct kveil_span kveil_connect_parameter_name(const struct kveil_connect_deriver *d,
					       const struct kveil_connect_tree *tree, uint32_t at);
/* The parameter's value on the tape; 0 = there is none. */
uint32_t kveil_connect_find_parameter(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree,
				      const struct kveil_connect_node *n, const char *wanted);
/* Is it a parameter with symbols of an enumeration, in its value or at the end of its name, as
 * io.confluent.connect.avro.Enum.MALE and org.apache.kafka.connect.data.Enum.MALE are? */
bool kveil_connect_lists_symbols(struct kveil_span name);
bool kveil_connect_is_enumeration(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n);
/* One that is not null. */
bool kveil_connect_has_default(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n);

/* Fills d->verdicts. false: no memory. */
bool kveil_connect_judge(struct kveil_connect_deriver *d);

#endif
