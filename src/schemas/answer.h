/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/answer.h: what a registry answers, as JSON that was looked at with suspicion. Pure functions: any thread.
 *
 * A name below in capitals is the registry's `error_code`.
 */
#ifndef KVEIL_SCHEMAS_ANSWER_H
#define KVEIL_SCHEMAS_ANSWER_H

#include "schemas/client.h"

#include <jansson.h>

enum {
	KVEIL_SCHEMAS_SUBJECT_NOT_FOUND = 40401,
	KVEIL_SCHEMAS_VERSION_NOT_FOUND = 40402,
	KVEIL_SCHEMAS_SCHEMA_NOT_FOUND = 40403,
};

/* An object, or NULL: not JSON, or more of it than a registry has to say. The caller's to json_decref. */
json_t *kveil_schemas_parse_answer(struct kveil_span body);

/* Its error code; 0: it has none. */
int kveil_schemas_error_code(const json_t *answer);
/* Does it say that a subject, a version or a schema is not there? */
bool kveil_schemas_is_not_found(const json_t *answer);
/* Its words for what went wrong, one line of printable characters, cut; "no reason given". Returns dst. */
const char *kveil_schemas_says(const json_t *answer, char *dst, size_t size);

/* Borrowed from the answer. */
struct kveil_schemas_answer {
	struct kveil_span text;
	enum kveil_schemas_type type;
	unsigned rules;           /* set of KVEIL_SCHEMAS_RULES_… */
	const char *encrypt;      /* the first rule that encrypts, or NULL */
	const char *guid;         /* "" where there is none */
	const json_t *references; /* an array, or NULL */
	const json_t *tags;       /* path: [tag, …], or NULL */
};
/* false: no schema in it. */
bool kveil_schemas_read_schema(const json_t *answer, struct kveil_schemas_answer *ret);

struct kveil_schemas_reference {
	const char *name, *subject;
	uint32_t version;
};
/* false: not one. */
bool kveil_schemas_read_reference(const json_t *reference, struct kveil_schemas_reference *ret);

/* false: no id. */
bool kveil_schemas_read_id(const json_t *answer, struct kveil_schemas_id *ret);

/* false: it does not say whether. reasons: a line each, bounded. */
bool kveil_schemas_read_compatible(const json_t *answer, bool *ret_is, struct kveil_buf *reasons);

#endif
