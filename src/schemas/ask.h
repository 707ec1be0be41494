/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/ask.h: one question to a registry behind several URLs, asked in order until one answers as a registry does.
 *
 * A URL that is not reached, or answers 401, 429 or 502 to 504, rests: 1 s, doubling, to 30 s; while all of
 * them rest, each is asked once a second at most. One that gives another answer
 * than a registry's (a redirect, junk, too much, 500) is passed over this once: a single odd id must not keep it from
 * others.
 *
 * One thread at a time, but for kveil_schemas_asker_interrupt.
 */
#ifndef KVEIL_SCHEMAS_ASK_H
#define KVEIL_SCHEMAS_ASK_H

#include "base/buf.h"
#include "schemas/schemas_config.h"

#include <jansson.h>

struct kveil_schemas_asker;

enum kveil_status kveil_schemas_asker_new(const struct kveil_schemas_config *c, struct kveil_schemas_asker **ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_schemas_asker_free(struct kveil_schemas_asker *a); /* NULL is fine */
void kveil_schemas_asker_interrupt(struct kveil_schemas_asker *a);

/* What is asked from now on belongs to one call, and is over in time. */
void kveil_schemas_asker_begin(struct kveil_schemas_asker *a);

/* A way below the URL, a segment at a time: kveil_buf_printf for what we know, this for what came from elsewhere. */
void kveil_schemas_append_segment(struct kveil_buf *path, const char *name);

struct kveil_schemas_question {
	const char *what;       /* for messages: "schema 7", "subject orders-value" */
	const char *path;       /* "/schemas/ids/7" */
	struct kveil_span body; /* JSON; absent: GET */
};

enum kveil_schemas_outcome {
	KVEIL_SCHEMAS_FOUND,     /* 2xx */
	KVEIL_SCHEMAS_NOT_FOUND, /* every URL answered that it does not know it */
	KVEIL_SCHEMAS_NOT_YET,   /* those that answered do not know it, others did not answer */
	KVEIL_SCHEMAS_REFUSED,   /* 400, 403, 405, 409, 422 */
};

struct kveil_schemas_said {
	enum kveil_schemas_outcome outcome;
	int status;   /* 200 */
	json_t *json; /* an object, owned; NULL unless FOUND or REFUSED, where it may be NULL still */
	const char *url;
};

/* SCHEMA_REGISTRY_UNAVAILABLE: no URL gave an answer. *ret is set on success only. */
enum kveil_status kveil_schemas_ask(struct kveil_schemas_asker *a, const struct kveil_schemas_question *q,
				    struct kveil_schemas_said *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_schemas_said_clear(struct kveil_schemas_said *said);
#define KVEIL_CLEANUP_SAID __attribute__((cleanup(kveil_schemas_said_clear)))

#endif
