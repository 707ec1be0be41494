/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/doc.h: a parsed record as an offset tape, the same for every format: paths and conditions that cannot
 * be answered while streaming (filters, slices, negative indices, `when`) run over it.
 *
 * Nodes stand in document order (preorder). Node 0 is the root. For {"a":[1,{"b":2}]}:
 *
 *   0 object next=5 │ 1 array "a" next=5 │ 2 number next=3 │ 3 object next=5 │ 4 number "b" next=5
 *
 * The children of node i are i+1, nodes[i+1].next, … while < nodes[i].next. Duplicate members are all there.
 * The tape lives in a worker's arena and borrows the record's text.
 */
#ifndef KVEIL_PATH_DOC_H
#define KVEIL_PATH_DOC_H

#include "kveil/base.h"

enum kveil_kind {
	KVEIL_KIND_NULL,
	KVEIL_KIND_BOOL,
	KVEIL_KIND_NUMBER,
	KVEIL_KIND_STRING,
	KVEIL_KIND_OBJECT,
	KVEIL_KIND_ARRAY,
	KVEIL_KIND_BYTES, /* formats other than JSON */
};
#define KVEIL_KIND_BIT(kind) (1u << (kind))
const char *kveil_kind_name(enum kveil_kind kind); /* "string" */

enum {
	KVEIL_NODE_VALUE_ESCAPED = 1 << 0, /* a string with a backslash in its raw text */
	KVEIL_NODE_NAME_ESCAPED = 1 << 1,
};

struct kveil_doc_node {
	uint32_t start, end;           /* the value's raw text, quotes included */
	uint32_t name_start, name_end; /* the member name's raw text with its quotes; 0,0 for elements and root */
	uint32_t next;                 /* index of the first node after this subtree */
	uint32_t parent;               /* index; the root's is UINT32_MAX */
	uint32_t ordinal;              /* position among its siblings: the array index for elements */
	uint32_t count;                /* children of an object or array */
	uint8_t kind, flags;
};

struct kveil_doc {
	struct kveil_span text;
	struct kveil_doc_node *nodes;
	uint32_t count;
	uint32_t root; /* what $ is: node 0, or a row inside the document */
	/* texts that stand for a value that is not known: compared, they are in doubt */
	const struct kveil_span *absent;
	size_t absent_count;
	bool has_wrapped; /* an object whose first name begins with $ may be a scalar: extended JSON */
	bool has_gaps;    /* the root may lack members that its row has: not found there is in doubt */
	bool has_fillers; /* null, "", 0 and false among the root's members may stand for a value that is not known */
	uint32_t full;    /* where conditions find what the root lacks: the same row, whole; 0 = nowhere */
};

#endif
