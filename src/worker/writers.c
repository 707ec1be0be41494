/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas of a topic's writers. */
#include "worker/writers.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/guid.h"
#include "format/format.h"
#include "kveil/schemas.h"
#include "rules/tags.h"
#include "worker/recall.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Derived, and not named yet. */
struct unnamed {
	struct unnamed *next;
	struct kveil_schema_id id;
	struct kveil_engine_schema *schema;
};

/* Of values, or of keys. */
struct side {
	struct kveil_engine_schemas *table;
	struct unnamed *first;
	char *subject; /* of what comes out */
	bool of_keys;
	bool is_tried;              /* the latest schema, before the first record */
	struct unnamed trial;       /* until then what was derived from it */
	struct kveil_error refusal; /* the last answer about that; status OK: there is none */
	int64_t refused_ms;         /* when that of the trial at hand came first; 0: not yet */
	int64_t again_ms;           /* no record of the latest can be protected: then it is looked for another */
};

/* After so long it is looked whether the writers have a newer schema. */
enum { LATEST_AGAIN_MS = 15000 };

struct kveil_writers {
	struct kveil_writers *next;
	char *topic;
	const struct kveil_plan *plan; /* the engine's */
	struct kveil_engine *engine;
	struct side values, keys;
	struct kveil_recalled recalled;
};

/* Where answers come from: the resolver's thread, or calls on this one. */
struct source {
	struct kveil_resolver *resolver;
	struct kveil_schemas *client;
};

static void clear_side(struct side *d)
{
	kveil_engine_schema_free(d->trial.schema);
	for (struct unnamed *u = d->first, *next; u; u = next) {
		next = u->next;
		kveil_engine_schema_free(u->schema);
		free(u);
	}
	kveil_engine_schemas_free(d->table);
	free(d->subject);
}

static void free_one(struct kveil_writers *s)
{
	clear_side(&s->values);
	clear_side(&s->keys);
	free(s->topic);
	free(s);
}

static bool init_side(struct side *d, const struct kveil_route *route, bool of_keys)
{
	*d = (struct side){.table = kveil_engine_schemas_new(), .of_keys = of_keys};
	if (asprintf(&d->subject, "%s-%s", route->outputs[0].topic, of_keys ? "key" : "value") < 0)
		d->subject = NULL;
	return d->table && d->subject;
}

void kveil_writers_free(struct kveil_writers *list)
{
	for (struct kveil_writers *s = list, *next; s; s = next) {
		next = s->next;
		free_one(s);
	}
}

struct kveil_writers *kveil_writers_of(struct kveil_writers **list, const struct kveil_route *route,
				       struct kveil_engine *engine)
{
	struct kveil_writers *s = *list;

	while (s && strcmp(s->topic, route->topic) != 0)
		s = s->next;
	if (s || !(s = calloc(1, sizeof *s)))
		return s;
	*s =
	    (struct kveil_writers){.next = *list, .plan = route->plan, .engine = engine, .topic = strdup(route->topic)};
	s->recalled.forgets = kveil_plan_forgets_tags(route->plan);
	if (!init_side(&s->values, route, false) || !init_side(&s->keys, route, true) || !s->topic) {
		free_one(s);
		return NULL;
	}
	*list = s;
	return s;
}

void kveil_writers_use(struct kveil_writers *s)
{
	kveil_engine_use_schemas(s->engine, s->values.table);
	kveil_engine_use_key_schemas(s->engine, s->keys.table);
}

static void spell_id(const struct kveil_schema_id *id, char text[KVEIL_GUID_TEXT])
{
	if (id->is_guid)
		kveil_guid_write(id->guid, text);
	else
		snprintf(text, KVEIL_GUID_TEXT, "%" PRIu32, id->id);
}

static enum kveil_status fetch(const struct kveil_writers *s, const struct source *from,
			       const struct kveil_schema_id *id, const struct kveil_schemas_schema **ret,
			       struct kveil_error *err)
{
	const char *context = s->plan->schema.context;

	if (from->resolver)
		return kveil_resolver_writer(from->resolver, context, id, ret, err);
	return id->is_guid ? kveil_schemas_by_guid(from->client, id->guid, ret, err)
			   : kveil_schemas_by_id(from->client, context, id->id, ret, err);
}

static enum kveil_status name(const struct kveil_writers *s, const struct side *d, const struct source *from,
			      struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	const struct kveil_schemas_place at = {s->plan->schema.context, d->subject, s->plan->schema.normalize};

	if (from->resolver)
		return kveil_resolver_derived(from->resolver, &at, s->plan->schema.is_registered, text, ret, err);
	return s->plan->schema.is_registered ? kveil_schemas_register(from->client, &at, text, ret, err)
					     : kveil_schemas_look_up(from->client, &at, text, ret, err);
}

/* What the engine can take of what stands under an id. */
static enum kveil_status derive(struct kveil_writers *s, const struct side *d, const struct kveil_schema_id *id,
				const struct kveil_schemas_schema *schema, const struct kveil_schemas_schema *original,
				struct kveil_engine_schema **ret, struct kveil_error *err)
{
	const struct kveil_schema_source source = {.id = id,
						   .original = original ? original->text : KVEIL_SPAN_NULL,
						   .tags = schema->tags,
						   .tag_count = schema->tag_count,
						   .topic = s->topic};
	enum kveil_status status = (d->of_keys ? kveil_engine_key_schema_of
					       : kveil_engine_schema_of)(s->engine, schema->text, &source, ret, err);
	if (status == KVEIL_E_AVRO_SCHEMA) {
		const struct kveil_error why = *err;
		char text[KVEIL_GUID_TEXT];
		spell_id(id, text);
		kveil_fail(err, status, "schema %s: %.210s", text, why.message);
		kveil_error_rule(err, why.rule);
	}
	return status;
}

/* Is it one that rules can be kept to? */
static enum kveil_status check_writer(const struct kveil_schema_id *id, const struct kveil_schemas_schema *schema,
				      struct kveil_error *err)
{
	static const char *const others[] = {
	    [KVEIL_SCHEMAS_JSON] = "JSON Schema", [KVEIL_SCHEMAS_PROTOBUF] = "Protobuf"};
	char text[KVEIL_GUID_TEXT];

	spell_id(id, text);
	if (schema->type == KVEIL_SCHEMAS_JSON || schema->type == KVEIL_SCHEMAS_PROTOBUF)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED_FRAMING, "schema %s is %s and not Avro", text,
				  others[schema->type]);
	if (schema->type != KVEIL_SCHEMAS_AVRO)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED_FRAMING, "schema %s is not Avro", text);
	if (schema->rules & KVEIL_SCHEMAS_RULES_ENCRYPT) {
		kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "rule '%.60s' of schema %s encrypts fields: rules cannot see them",
			   schema->encrypt ? schema->encrypt : "", text);
		kveil_error_hint(err, "take the rule out of the producer's schema: kveil protects the fields");
		return err->status;
	}
	return KVEIL_OK;
}

/* A field may have been renamed without a word: somebody has to look. */
static void tell_lost(const struct kveil_writers *s, const struct kveil_schema_id *id,
		      const struct kveil_engine_schema *schema)
{
	char number[KVEIL_GUID_TEXT], detail[640];
	const char *what;

	spell_id(id, number);
	for (size_t i = 0; (what = kveil_engine_schema_lost(schema, i)); i++) {
		snprintf(detail, sizeof detail, "schema %s: %s", number, what);
		kveil_event(
		    &(struct kveil_event){.kind = KVEIL_EVENT_SCHEMA_LACKS_FIELD, .topic = s->topic, .detail = detail});
	}
}

/* What the values were before they were sealed, for rules that open them. A registry that does not have it (any more)
 * is no reason to leave them sealed. */
static enum kveil_status fetch_original(const struct kveil_writers *s, const struct side *d, const struct source *from,
					struct kveil_span text, const struct kveil_schemas_schema **ret,
					struct kveil_error *err)
{
	struct kveil_schema_id id;

	*ret = NULL;
	if (!(d->of_keys ? kveil_engine_key_schema_original : kveil_engine_schema_original)(s->engine, text, &id))
		return KVEIL_OK;
	enum kveil_status status = fetch(s, from, &id, ret, err);
	return kveil_status_class(status) == KVEIL_CLASS_RECORD ? KVEIL_OK : status;
}

/* The rules are kept to the tags of fields that schemas had before. */
static enum kveil_status recall(struct kveil_writers *s, const struct source *from, struct kveil_span text,
				struct kveil_error *err)
{
	const struct kveil_recall_from r = {.resolver = from->resolver,
					    .client = from->client,
					    .at = {s->plan->schema.context, s->values.subject, false},
					    .topic = s->topic};

	return kveil_recall(&r, s->engine, text, &s->recalled, err);
}

/* Derives, and tells what the schema lacks. Class RECORD: a refusal that lies in the schema itself is for good. */
static enum kveil_status make(struct kveil_writers *s, const struct side *d, const struct source *from,
			      const struct kveil_schema_id *id, const struct kveil_schemas_schema *schema,
			      struct kveil_engine_schema **ret, struct kveil_error *err)
{
	const struct kveil_schemas_schema *original = NULL;
	enum kveil_status status = check_writer(id, schema, err);

	if (!status)
		status = fetch_original(s, d, from, schema->text, &original, err);
	if (!status && !d->of_keys && kveil_plan_has_tags(s->plan))
		status = recall(s, from, schema->text, err);
	if (!status)
		status = derive(s, d, id, schema, original, ret, err);
	if (!status)
		tell_lost(s, id, *ret);
	kveil_schemas_schema_unref(original);
	return status;
}

/* Fetches and derives. */
static enum kveil_status meet(struct kveil_writers *s, struct side *d, const struct source *from,
			      const struct kveil_schema_id *id, struct kveil_error *err)
{
	const struct kveil_schemas_schema *schema;
	struct kveil_engine_schema *derived = NULL;
	struct kveil_error why;
	enum kveil_status status = fetch(s, from, id, &schema, err);

	if (status)
		return status;
	status = make(s, d, from, id, schema, &derived, &why);
	kveil_schemas_schema_unref(schema);
	if (kveil_status_class(status) == KVEIL_CLASS_RECORD)
		return kveil_engine_schemas_refuse(d->table, id, &why, err);
	if (status) {
		*err = why;
		return status;
	}
	struct unnamed *u = malloc(sizeof *u);
	if (!u) {
		kveil_engine_schema_free(derived);
		return kveil_no_memory(err, "a schema");
	}
	*u = (struct unnamed){d->first, *id, derived};
	d->first = u;
	return KVEIL_OK;
}

/* The id that takes the place of the writer's: of the same form, where the registry has that. */
static struct kveil_schema_id id_of(const struct kveil_schema_id *writer, const struct kveil_schemas_id *derived)
{
	struct kveil_schema_id id = {.id = derived->id};

	id.is_guid = writer->is_guid && kveil_guid_read(derived->guid, id.guid);
	return id;
}

static struct unnamed **find(struct side *d, const struct kveil_schema_id *id)
{
	struct unnamed **at = &d->first;

	while (*at && !kveil_schema_id_eq(&(*at)->id, id))
		at = &(*at)->next;
	return at;
}

/* The id of the derived schema. A key that no rule touches keeps its bytes, the id among them. */
static enum kveil_status name_derived(struct kveil_writers *s, const struct side *d, const struct source *from,
				      const struct unnamed *u, struct kveil_schema_id *ret, struct kveil_error *err)
{
	struct kveil_schemas_id named;
	char number[KVEIL_GUID_TEXT];

	*ret = u->id;
	if (d->of_keys && kveil_engine_schema_is_untouched(u->schema))
		return KVEIL_OK;
	struct kveil_span text = kveil_engine_schema_derived(u->schema),
			  other = kveil_engine_schema_unreferred(u->schema);
	enum kveil_status status = name(s, d, from, text, &named, err);
	/* Derived from a file, it does not say the id. */
	if (status == KVEIL_E_SCHEMA_NOT_REGISTERED && !kveil_span_eq(text, other))
		status = name(s, d, from, other, &named, err);
	if (status == KVEIL_E_SCHEMA_NOT_REGISTERED) {
		spell_id(&u->id, number);
		kveil_fail(err, status,
			   "%.100s has not the schema derived from schema %s: kveil schema derive%s -r %.60s SCHEMA "
			   "prints it",
			   d->subject, number, d->of_keys ? " --key" : "", s->plan->file);
	}
	if (!status)
		*ret = id_of(&u->id, &named);
	return status;
}

static enum kveil_status learn(struct kveil_writers *s, const struct source *from, const struct kveil_schema_id *id,
			       struct kveil_error *err)
{
	struct side *d = kveil_engine_wants_key_schema(s->engine) ? &s->keys : &s->values;
	enum kveil_status status = *find(d, id) ? KVEIL_OK : meet(s, d, from, id, err);
	struct unnamed **at = find(d, id), *u = *at;
	struct kveil_schema_id derived;

	if (status || !u)
		return status; /* refused: the engine says so of the record */
	status = name_derived(s, d, from, u, &derived, err);
	if (status)
		return status;
	*at = u->next;
	status = kveil_engine_schemas_add(d->table, id, u->schema, &derived, err);
	free(u);
	return status;
}

enum kveil_status kveil_writers_learn(struct kveil_writers *s, struct kveil_resolver *r, struct kveil_schema_id *ret_id,
				      struct kveil_error *err)
{
	const struct source from = {.resolver = r};

	if (!kveil_engine_wanted_schema(s->engine, ret_id))
		return kveil_fail(err, KVEIL_E_INTERNAL, "a record waits for no schema");
	return learn(s, &from, ret_id, err);
}

enum kveil_status kveil_writers_learn_now(struct kveil_writers *s, struct kveil_schemas *client,
					  struct kveil_error *err)
{
	const struct source from = {.client = client};
	struct kveil_schema_id id;

	if (!kveil_engine_wanted_schema(s->engine, &id))
		return kveil_fail(err, KVEIL_E_INTERNAL, "a record waits for no schema");
	return learn(s, &from, &id, err);
}

/* --- before the first record --- */

/* Where writers that name subjects by the topic have theirs. */
static enum kveil_status find_latest(const struct kveil_writers *s, const struct side *d, const struct source *from,
				     struct kveil_schema_id *ret, struct kveil_error *err)
{
	struct kveil_schemas_version latest;
	char *subject;

	*ret = (struct kveil_schema_id){0};
	if (asprintf(&subject, "%s-%s", s->topic, d->of_keys ? "key" : "value") < 0)
		return kveil_no_memory(err, "a schema");
	const struct kveil_schemas_place input = {s->plan->schema.context, subject, false};
	enum kveil_status status = kveil_resolver_latest(from->resolver, &input, &latest, err);
	free(subject);
	ret->id = status ? 0 : latest.id;
	/* Who may read schemas need not be allowed to ask for subjects. */
	return status == KVEIL_E_SCHEMA_REFUSED ? KVEIL_E_SCHEMA_NOT_REGISTERED : status;
}

/* What becomes of the latest schema, into d->trial. */
static enum kveil_status make_trial(struct kveil_writers *s, struct side *d, const struct source *from,
				    struct kveil_error *err)
{
	const struct kveil_schemas_schema *schema;
	enum kveil_status status = find_latest(s, d, from, &d->trial.id, err);

	if (!status)
		status = fetch(s, from, &d->trial.id, &schema, err);
	if (status)
		return status;
	status = make(s, d, from, &d->trial.id, schema, &d->trial.schema, err);
	kveil_schemas_schema_unref(schema);
	return status;
}

static enum kveil_status try_name(struct kveil_writers *s, const struct side *d, const struct source *from,
				  struct kveil_error *err)
{
	const struct kveil_schemas_place at = {s->plan->schema.context, d->subject, s->plan->schema.normalize};
	struct kveil_schema_id named;

	if (d->of_keys && kveil_engine_schema_is_untouched(d->trial.schema))
		return KVEIL_OK;
	if (!s->plan->schema.is_registered)
		return name_derived(s, d, from, &d->trial, &named, err);
	return kveil_resolver_try(from->resolver, &at, kveil_engine_schema_derived(d->trial.schema), err);
}

static void end_trial(struct side *d)
{
	kveil_engine_schema_free(d->trial.schema);
	d->trial.schema = NULL;
	d->refused_ms = 0;
}

static void note_refusal(struct side *d, const struct kveil_error *why)
{
	const int64_t now = kveil_clock_mono_ms();

	d->refusal = *why;
	d->refused_ms = d->refused_ms ? d->refused_ms : now;
	if (now - d->refused_ms > LATEST_AGAIN_MS)
		end_trial(d);
}

/* Would records of the schema wait? */
bool kveil_writers_wait(enum kveil_status status)
{
	return status == KVEIL_E_SCHEMA_REFUSED || status == KVEIL_E_SCHEMA_NOT_REGISTERED;
}

/* As an event, once a schema and plan, however many threads try it. */
static void tell_refused(const struct kveil_writers *s, const struct side *d, const struct kveil_error *why)
{
	char number[KVEIL_GUID_TEXT], name[300], detail[640];

	spell_id(&d->trial.id, number);
	snprintf(name, sizeof name, "\002\002%s:%d", s->topic, d->of_keys);
	snprintf(detail, sizeof detail, "schema %s: %s: %.400s", number, kveil_status_code(why->status), why->message);
	if (kveil_seen_note(kveil_plan_seen(s->plan), name, number) == KVEIL_SEEN_NEW)
		kveil_event(&(struct kveil_event){
		    .kind = KVEIL_EVENT_LATEST_SCHEMA_REFUSED, .topic = s->topic, .detail = detail});
}

/* Why it cannot be told what becomes of the latest schema, or that nothing will. Of the latter until there is another,
 * which is looked for now and then. */
static enum kveil_status no_trial(struct kveil_writers *s, struct side *d, struct kveil_error *err)
{
	enum kveil_class class = kveil_status_class(err->status);

	if (class == KVEIL_CLASS_RECORD)
		d->again_ms = kveil_clock_mono_ms() + LATEST_AGAIN_MS;
	if (class == KVEIL_CLASS_RECORD || err->status == KVEIL_E_SCHEMA_REFUSED) {
		d->refusal = *err;
		tell_refused(s, d, err);
	} else if (err->status == KVEIL_E_SCHEMA_PENDING && d->refusal.status) {
		*err = d->refusal;
	}
	return err->status;
}

static enum kveil_status try_side(struct kveil_writers *s, struct side *d, const struct source *from,
				  struct kveil_error *err)
{
	if (d->is_tried)
		return KVEIL_OK;
	if (kveil_clock_mono_ms() < d->again_ms) {
		*err = d->refusal;
		return err->status;
	}
	enum kveil_status status = d->trial.schema ? KVEIL_OK : make_trial(s, d, from, err);
	/* The writers have no schema there yet, or another subject. The first record will tell. */
	d->is_tried = status == KVEIL_E_SCHEMA_NOT_REGISTERED;
	if (status)
		return d->is_tried ? KVEIL_OK : no_trial(s, d, err);
	status = try_name(s, d, from, err);
	if (kveil_writers_wait(status)) {
		tell_refused(s, d, err);
		note_refusal(d, err);
	} else if (status && d->refusal.status) { /* it holds while it is asked again */
		*err = d->refusal;
	}
	if (status)
		return err->status;
	d->is_tried = true;
	end_trial(d);
	return KVEIL_OK;
}

enum kveil_status kveil_writers_try(struct kveil_writers *s, struct kveil_resolver *r, struct kveil_error *err)
{
	const struct source from = {.resolver = r};
	struct kveil_error of_keys;
	enum kveil_status status = try_side(s, &s->values, &from, err);

	if (!s->plan->formats[KVEIL_PART_KEY]->is_typed || (status && kveil_status_class(status) != KVEIL_CLASS_RECORD))
		return status;
	enum kveil_status other = try_side(s, &s->keys, &from, &of_keys);
	/* Of two the one for which records wait. */
	if (other && (!status || kveil_writers_wait(other))) {
		*err = of_keys;
		status = other;
	}
	return status;
}
