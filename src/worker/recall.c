/* SPDX-License-Identifier: Apache-2.0 */
/* Tags that counted before. */
#include "worker/recall.h"

#include "kveil/schemas.h"

/* So many versions are looked through for one of the type at hand. */
enum { MOST_VERSIONS = 256 };

static enum kveil_status find_version(const struct kveil_recall_from *from, uint32_t number,
				      struct kveil_schemas_version *ret, struct kveil_error *err)
{
	return from->resolver ? kveil_resolver_version(from->resolver, &from->at, number, ret, err)
			      : kveil_schemas_find_version(from->client, &from->at, number, ret, err);
}

static enum kveil_status fetch(const struct kveil_recall_from *from, uint32_t number,
			       const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	const struct kveil_schema_id id = {.id = number};

	return from->resolver ? kveil_resolver_writer(from->resolver, from->at.context, &id, ret, err)
			      : kveil_schemas_by_id(from->client, from->at.context, number, ret, err);
}

/* A version that cannot be read tells nothing. */
static enum kveil_status read_version(const struct kveil_recall_from *from, struct kveil_engine *engine, uint32_t id,
				      struct kveil_span text, bool *ret_is_last, struct kveil_error *err)
{
	const struct kveil_schemas_schema *derived;
	enum kveil_status status = fetch(from, id, &derived, err);

	*ret_is_last = false;
	if (status)
		return kveil_status_class(status) == KVEIL_CLASS_RECORD ? KVEIL_OK : status;
	if (derived->type == KVEIL_SCHEMAS_AVRO)
		status = kveil_engine_recall(engine, text, derived->text, from->topic, ret_is_last, err);
	kveil_schemas_schema_unref(derived);
	return status;
}

/* To the next older version that is there; number 0: no more that count. */
static enum kveil_status step_back(const struct kveil_recall_from *from, uint32_t forgotten,
				   struct kveil_schemas_version *v, unsigned *left, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_E_SCHEMA_NOT_REGISTERED;
	uint32_t number = v->number;

	while (status == KVEIL_E_SCHEMA_NOT_REGISTERED && --number > forgotten && --*left)
		status = find_version(from, number, v, err);
	if (status == KVEIL_E_SCHEMA_NOT_REGISTERED) {
		v->number = 0;
		return KVEIL_OK;
	}
	return status;
}

enum kveil_status kveil_recall(const struct kveil_recall_from *from, struct kveil_engine *engine,
			       struct kveil_span text, struct kveil_recalled *r, struct kveil_error *err)
{
	struct kveil_schemas_version version = {0};
	unsigned left = MOST_VERSIONS;
	bool is_last = false;
	enum kveil_status status = find_version(from, 0, &version, err);

	if (status && status != KVEIL_E_SCHEMA_NOT_REGISTERED)
		return status;
	if (!r->has_begun && r->forgets)
		r->forgotten = version.number;
	r->has_begun = true;
	for (status = KVEIL_OK; !status && !is_last && version.number > r->forgotten;) {
		status = read_version(from, engine, version.id, text, &is_last, err);
		if (!status && !is_last)
			status = step_back(from, r->forgotten, &version, &left, err);
	}
	return status;
}
