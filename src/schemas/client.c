/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas by their ids, remembered. */
#include "schemas/client.h"

#include "base/clock.h"
#include "format/avro_schema.h"
#include "schemas/answer.h"
#include "schemas/ask.h"
#include "schemas/fetch.h"
#include "schemas/known.h"

#include <stdio.h>
#include <stdlib.h>

struct kveil_schemas {
	struct kveil_schemas_asker *asker;
	struct kveil_schemas_cache *cache;
	struct kveil_schemas_unknown *unknown;
};

enum kveil_status kveil_schemas_open(const struct kveil_schemas_config *c, struct kveil_schemas **ret,
				     struct kveil_error *err)
{
	struct kveil_schemas *s = calloc(1, sizeof *s);

	*ret = NULL;
	if (!c->urls) {
		free(s);
		return kveil_fail(err, KVEIL_E_CONFIG, "there is no schema_registry: in kveil.yaml");
	}
	if (!s || !(s->cache = kveil_schemas_cache_new()) ||
	    !(s->unknown = kveil_schemas_unknown_new(KVEIL_SCHEMAS_WINDOW_MS, KVEIL_SCHEMAS_UNKNOWN_MS))) {
		kveil_schemas_close(s);
		return kveil_no_memory(err, NULL);
	}
	enum kveil_status status = kveil_schemas_asker_new(c, &s->asker, err);
	if (status)
		kveil_schemas_close(s);
	else
		*ret = s;
	return status;
}

void kveil_schemas_close(struct kveil_schemas *s)
{
	if (!s)
		return;
	kveil_schemas_asker_free(s->asker);
	kveil_schemas_cache_free(s->cache);
	kveil_schemas_unknown_free(s->unknown);
	free(s);
}

void kveil_schemas_interrupt(struct kveil_schemas *s)
{
	kveil_schemas_asker_interrupt(s->asker);
}

/* --- schemas of records --- */

static enum kveil_status not_known(struct kveil_schemas *s, const struct kveil_schemas_key *key, bool everywhere,
				   struct kveil_error *err)
{
	enum kveil_status status = kveil_schemas_unknown_note(s->unknown, key, everywhere, kveil_clock_mono_ms());

	if (err)
		err->status = status;
	if (status == KVEIL_E_UNKNOWN_SCHEMA)
		kveil_error_hint(err, "does schema_registry: name the registry of whoever wrote the record?");
	return status;
}

/* what: "schema 7". */
static enum kveil_status get(struct kveil_schemas *s, const struct kveil_schemas_key *key, const char *what,
			     const char *path, const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	enum kveil_schemas_outcome missing;
	enum kveil_status status;

	*ret = kveil_schemas_cache_get(s->cache, key);
	if (*ret)
		return KVEIL_OK;
	status = kveil_schemas_unknown_look(s->unknown, key, kveil_clock_mono_ms());
	if (status)
		return kveil_fail(err, status, "the schema registry does not know %s", what);
	kveil_schemas_asker_begin(s->asker);
	status = kveil_schemas_fetch(s->asker, key->context, what, path, ret, &missing, err);
	if (status == KVEIL_E_SCHEMA_PENDING)
		return not_known(s, key, missing == KVEIL_SCHEMAS_NOT_FOUND, err);
	if (status)
		return status;
	kveil_schemas_unknown_forget(s->unknown, key);
	kveil_schemas_cache_put(s->cache, key, *ret);
	return KVEIL_OK;
}

enum kveil_status kveil_schemas_by_id(struct kveil_schemas *s, const char *context, uint32_t id,
				      const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	struct kveil_schemas_key key = {.id = id};
	char what[32 + KVEIL_SCHEMAS_CONTEXT_BYTES];

	*ret = NULL;
	if (strlen(context) >= sizeof key.context)
		return kveil_fail(err, KVEIL_E_CONFIG, "a schema registry's context of more than %d bytes",
				  KVEIL_SCHEMAS_CONTEXT_BYTES - 1);
	strcpy(key.context, context);
	snprintf(what, sizeof what, "schema %u%s%s", id, *context ? " of context " : "", context);
	kveil_buf_printf(&path, "/schemas/ids/%u", id);
	if (*context) {
		kveil_buf_append_str(&path, "?subject=");
		kveil_schemas_append_subject(&path, context, "");
	}
	return kveil_buf_cstr(&path) ? get(s, &key, what, (const char *)path.data, ret, err)
				     : kveil_no_memory(err, "a schema");
}

enum kveil_status kveil_schemas_by_guid(struct kveil_schemas *s, const uint8_t guid[KVEIL_GUID_BYTES],
					const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	struct kveil_schemas_key key = {.is_guid = true};
	char path[80], what[64], text[KVEIL_GUID_TEXT];

	*ret = NULL;
	memcpy(key.guid, guid, sizeof key.guid);
	kveil_guid_write(guid, text);
	snprintf(path, sizeof path, "/schemas/guids/%s", text);
	snprintf(what, sizeof what, "schema %s", text);
	return get(s, &key, what, path, ret, err);
}

/* --- our own schemas --- */

/* One question about a place: POST of a schema below /subjects/NAME or the like. */
struct post {
	const struct kveil_schemas_place *at;
	const char *before, *behind; /* the subject's name in the way */
	struct kveil_span text;
	int rules; /* see write_schema */
	char what[128];
};

/* Registries that know no rule sets, or fewer, refuse what they do not know: 2 all, 1 without those of encoding, 0
 * none. */
enum { NO_RULES, FEW_RULES, ALL_RULES };

static bool write_schema(const struct post *p, struct kveil_buf *out)
{
	json_t *body = json_pack("{s:s%}", "schema", (const char *)p->text.data, p->text.len);
	json_t *rules = p->rules == NO_RULES ? NULL : json_pack("{s:[], s:[]}", "migrationRules", "domainRules");

	if (rules && p->rules == ALL_RULES)
		json_object_set_new(rules, "encodingRules", json_array());
	if (rules)
		json_object_set_new(body, "ruleSet", rules);
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	if (text)
		kveil_buf_append_str(out, text);
	free(text);
	return text && kveil_buf_ok(out);
}

static enum kveil_status post(struct kveil_schemas *s, const struct post *p, struct kveil_schemas_said *said,
			      struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT, body = KVEIL_BUF_INIT;

	kveil_buf_append_str(&path, p->before);
	kveil_schemas_append_subject(&path, p->at->context, p->at->subject);
	kveil_buf_append_str(&path, p->behind);
	if (p->at->normalize)
		kveil_buf_append_str(&path, strchr(p->behind, '?') ? "&normalize=true" : "?normalize=true");
	if (!kveil_buf_cstr(&path) || !write_schema(p, &body))
		return kveil_no_memory(err, "a schema");
	const struct kveil_schemas_question q = {
	    .what = p->what, .path = (const char *)path.data, .body = kveil_buf_span(&body)};
	return kveil_schemas_ask(s->asker, &q, said, err);
}

static struct post post_of(const struct kveil_schemas_place *at, struct kveil_span text, const char *before,
			   const char *behind)
{
	struct post p = {.at = at, .text = text, .before = before, .behind = behind};

	snprintf(p.what, sizeof p.what, "subject %.100s", at->subject);
	return p;
}

static enum kveil_status refused(const struct post *p, const struct kveil_schemas_said *said, struct kveil_error *err)
{
	char says[140];

	kveil_fail(err, KVEIL_E_SCHEMA_REFUSED, "schema registry %.50s: %.60s: %d: %s", said->url, p->what,
		   said->status, kveil_schemas_says(said->json, says, sizeof says));
	if (said->status == 409)
		kveil_error_hint(err, "the subject's compatibility level, or the rules");
	else if (said->status == 403 || said->status == 405)
		kveil_error_hint(err, "allow it there, or register the schema yourself with schema: {register: false}");
	return KVEIL_E_SCHEMA_REFUSED;
}

static enum kveil_status no_id(const struct post *p, const struct kveil_schemas_said *said, struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE, "schema registry %.80s: %.60s: no id in its answer",
			  said->url, p->what);
}

static bool is_one_schema(struct kveil_span a, struct kveil_span b)
{
	struct kveil_avro_schema *one = NULL, *other = NULL;
	bool same = kveil_avro_schema_parse(a, &one, NULL) == KVEIL_OK &&
		    kveil_avro_schema_parse(b, &other, NULL) == KVEIL_OK &&
		    kveil_span_eq(one->canonical, other->canonical);

	kveil_avro_schema_free(one);
	kveil_avro_schema_free(other);
	return same;
}

/* Is what stands under the id what we meant, and no more than that? Serializers would run its rules on values. */
static enum kveil_status read_back(struct kveil_schemas *s, const struct post *p, struct kveil_schemas_id *id,
				   struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	const struct kveil_schemas_schema *there = NULL;
	enum kveil_schemas_outcome missing;

	kveil_buf_printf(&path, "/schemas/ids/%u?subject=", id->id);
	kveil_schemas_append_subject(&path, p->at->context, p->at->subject);
	if (!kveil_buf_cstr(&path))
		return kveil_no_memory(err, "a schema");
	enum kveil_status status =
	    kveil_schemas_fetch(s->asker, p->at->context, p->what, (const char *)path.data, &there, &missing, err);
	if (status == KVEIL_E_SCHEMA_PENDING || status == KVEIL_E_AVRO_SCHEMA)
		status = kveil_fail(err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE,
				    "%.100s: schema %u, just registered, cannot be read back", p->what, id->id);
	if (status)
		return status;
	if (there->type != KVEIL_SCHEMAS_AVRO || !is_one_schema(there->text, p->text))
		status = kveil_fail(err, KVEIL_E_SCHEMA_REFUSED, "%.100s: schema %u is another than the one registered",
				    p->what, id->id);
	else if (there->rules & (KVEIL_SCHEMAS_RULES_DOMAIN | KVEIL_SCHEMAS_RULES_ENCODING)) {
		status = kveil_fail(err, KVEIL_E_SCHEMA_REFUSED,
				    "%.100s: the registry adds rules to schema %u that serializers run on values",
				    p->what, id->id);
		kveil_error_hint(err, "take defaultRuleSet and overrideRuleSet out of the subject's configuration");
	}
	if (!id->guid[0])
		memcpy(id->guid, there->guid, sizeof id->guid);
	kveil_schemas_schema_unref(there);
	return status;
}

/* Jackson's words for a member that it does not know. */
static bool is_unknown_member(const struct kveil_schemas_said *said)
{
	char says[256];

	if (said->outcome != KVEIL_SCHEMAS_REFUSED || (said->status != 400 && said->status != 422))
		return false;
	kveil_schemas_says(said->json, says, sizeof says);
	return strstr(says, "nrecognized") && (strstr(says, "ruleSet") || strstr(says, "encodingRules"));
}

enum kveil_status kveil_schemas_register(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					 struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	struct post p = post_of(at, text, "/subjects/", "/versions");
	struct kveil_schemas_said said = {0};
	enum kveil_status status;

	kveil_schemas_asker_begin(s->asker);
	p.rules = ALL_RULES;
	do {
		kveil_schemas_said_clear(&said);
		status = post(s, &p, &said, err);
	} while (!status && is_unknown_member(&said) && p.rules-- > NO_RULES);
	if (!status && said.outcome != KVEIL_SCHEMAS_FOUND)
		status = refused(&p, &said, err);
	else if (!status && !kveil_schemas_read_id(said.json, ret))
		status = no_id(&p, &said, err);
	kveil_schemas_said_clear(&said);
	return status ? status : read_back(s, &p, ret, err);
}

enum kveil_status kveil_schemas_look_up(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	const struct post p = post_of(at, text, "/subjects/", "");
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};

	kveil_schemas_asker_begin(s->asker);
	enum kveil_status status = post(s, &p, &said, err);
	if (status)
		return status;
	if (said.outcome == KVEIL_SCHEMAS_REFUSED)
		return refused(&p, &said, err);
	if (said.outcome != KVEIL_SCHEMAS_FOUND) {
		kveil_fail(err, KVEIL_E_SCHEMA_NOT_REGISTERED,
			   "%.120s: the schema of what comes out is not registered there yet", p.what);
		kveil_error_hint(err, "`kveil schema derive` prints it; or schema: {register: true}");
		return KVEIL_E_SCHEMA_NOT_REGISTERED;
	}
	if (!kveil_schemas_read_id(said.json, ret))
		return no_id(&p, &said, err);
	return read_back(s, &p, ret, err);
}

static enum kveil_status incompatible(const struct post *p, const struct kveil_buf *reasons, struct kveil_error *err)
{
	struct kveil_span all = kveil_buf_span(reasons);
	const uint8_t *end = memchr(all.data, '\n', all.len);

	kveil_fail(err, KVEIL_E_SCHEMA_REFUSED,
		   "%.100s: the schema of what comes out is incompatible with the latest one: %.*s", p->what,
		   end ? (int)(end - all.data) : 15, end ? (const char *)all.data : "no reason given");
	kveil_error_hint(err, "the subject's compatibility level, or the rules");
	return KVEIL_E_SCHEMA_REFUSED;
}

/* *ret_is_told: the registry answered whether. */
static enum kveil_status compare(struct kveil_schemas *s, const struct post *p, struct kveil_buf *reasons,
				 bool *ret_is_told, struct kveil_error *err)
{
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
	KVEIL_CLEANUP_BUF struct kveil_buf own = KVEIL_BUF_INIT;
	bool is = false;

	*ret_is_told = false;
	enum kveil_status status = post(s, p, &said, err);
	if (status || said.outcome == KVEIL_SCHEMAS_NOT_FOUND || said.outcome == KVEIL_SCHEMAS_NOT_YET)
		return status;
	if (said.outcome == KVEIL_SCHEMAS_REFUSED)
		return refused(p, &said, err);
	if (!kveil_schemas_read_compatible(said.json, &is, &own))
		return kveil_fail(err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE,
				  "schema registry %.80s: %.60s: it does not say whether a schema is compatible",
				  said.url, p->what);
	*ret_is_told = true;
	if (is)
		return KVEIL_OK;
	if (reasons)
		kveil_buf_append_span(reasons, kveil_buf_span(&own));
	return kveil_buf_ok(&own) ? incompatible(p, &own, err) : kveil_no_memory(err, "a schema");
}

static struct post comparison(const struct kveil_schemas_place *at, struct kveil_span text)
{
	return post_of(at, text, "/compatibility/subjects/", "/versions/latest?verbose=true");
}

enum kveil_status kveil_schemas_compatible(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					   struct kveil_span text, struct kveil_buf *reasons, struct kveil_error *err)
{
	const struct post p = comparison(at, text);
	bool is_told;

	kveil_schemas_asker_begin(s->asker);
	return compare(s, &p, reasons, &is_told, err);
}

enum kveil_status kveil_schemas_try(struct kveil_schemas *s, const struct kveil_schemas_place *at,
				    struct kveil_span text, struct kveil_error *err)
{
	const struct post there = post_of(at, text, "/subjects/", ""), next = comparison(at, text);
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
	bool is_told;

	kveil_schemas_asker_begin(s->asker);
	enum kveil_status status = post(s, &there, &said, err);
	if (status || said.outcome == KVEIL_SCHEMAS_FOUND)
		return status;
	status = compare(s, &next, NULL, &is_told, err);
	/* Who may register need not be allowed to ask. */
	return status == KVEIL_E_SCHEMA_REFUSED && !is_told ? KVEIL_OK : status;
}

/* A registry that does not say which version is the latest counts as one with a single one. */
static bool read_version(const json_t *answer, uint32_t asked, struct kveil_schemas_version *ret)
{
	json_int_t number = json_integer_value(json_object_get(answer, "version"));
	struct kveil_schemas_id id;

	if (!kveil_schemas_read_id(answer, &id))
		return false;
	*ret = (struct kveil_schemas_version){id.id, asked};
	if (!asked)
		ret->number = number > 0 && number <= INT32_MAX ? (uint32_t)number : 1;
	return true;
}

enum kveil_status kveil_schemas_find_version(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					     uint32_t number, struct kveil_schemas_version *ret,
					     struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
	char what[128];

	snprintf(what, sizeof what, "subject %.100s", at->subject);
	kveil_buf_append_str(&path, "/subjects/");
	kveil_schemas_append_subject(&path, at->context, at->subject);
	if (number)
		kveil_buf_printf(&path, "/versions/%u", number);
	else
		kveil_buf_append_str(&path, "/versions/latest");
	if (!kveil_buf_cstr(&path))
		return kveil_no_memory(err, "a schema");
	const struct kveil_schemas_question q = {.what = what, .path = (const char *)path.data};
	kveil_schemas_asker_begin(s->asker);
	enum kveil_status status = kveil_schemas_ask(s->asker, &q, &said, err);
	if (status)
		return status;
	if (said.outcome == KVEIL_SCHEMAS_NOT_YET)
		return kveil_fail(err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE, "the schema registry does not know %s yet",
				  what);
	if (said.outcome == KVEIL_SCHEMAS_REFUSED)
		return kveil_fail(err, KVEIL_E_SCHEMA_REFUSED, "the schema registry does not let kveil read %s", what);
	if (said.outcome != KVEIL_SCHEMAS_FOUND || !read_version(said.json, number, ret))
		return kveil_fail(err, KVEIL_E_SCHEMA_NOT_REGISTERED, "the schema registry has no %s", what);
	return KVEIL_OK;
}
