/* SPDX-License-Identifier: Apache-2.0 */
/* A schema and an engine's rules: what may become of each value, and what the rules have to see of it. */
#include "base/guid.h"
#include "engine/typed.h"
#include "format/automaton_internal.h"
#include "format/envelope.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Can the rules be held on parts with types in this version? */
enum kveil_status kveil_engine_check_typed(const struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_envelope *kind = e->plan->envelope;

	if (e->view_count != 1 || e->unmatched_views || (kind && !kind->has_schemas) || e->plan->reads_messages)
		return kveil_fail(err, KVEIL_E_RULES,
				  "format avro takes one output, `unmatched: keep`, no `messages: rows`, and envelope "
				  "debezium or connect in this version");
	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		bool is_plain = b->streams && !b->rule->to && !b->way && b->from == KVEIL_STAGE_PART;
		if (b->part != KVEIL_PART_HEADER && e->parts[b->part].format->is_typed && !is_plain)
			return kveil_fail(
			    err, KVEIL_E_RULES,
			    "format avro takes no filters, slices, texts of JSON and `to` in this version");
	}
	return KVEIL_OK;
}

/* --- what rules read --- */

static bool has_holes(const struct kveil_template *t)
{
	return t && !t->is_constant;
}

/* Conditions, templates and bindings to a place read the tape; and whoever asks whether an empty text fills up a
 * deleted row. */
static bool takes_raw(const struct kveil_bound_rule *b)
{
	return b->action->wants_raw && b->action->wants_raw(b->rule->params);
}

static bool reads_tape(const struct kveil_engine *e, const struct kveil_bound_rule *b)
{
	const struct kveil_rule *r = b->rule;
	bool may_fill = e->plan->is_delete && r->key_use & KVEIL_USE_TOKENIZE;

	if (may_fill || r->when || r->tables || has_holes(r->key) || has_holes(r->key2) || has_holes(r->ad))
		return true;
	return b->ad_prefix.data && !b->call.ad.data;
}

/* Does something outside the value's own places read its tape? */
static bool reads_value(const struct kveil_engine *e)
{
	bool reads = e->plan->control != KVEIL_CONTROL_KEEP;

	for (uint32_t i = 0; !reads && i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		bool has_own = b->in_key_row || (b->part == KVEIL_PART_KEY && b->rule->is_of_event);
		reads = (b->rule->required && b->rule->tables) ||
			(b->part != KVEIL_PART_VALUE && !has_own && reads_tape(e, b));
	}
	return reads;
}

static bool needs_doc(const struct kveil_engine *e, enum kveil_part part, const struct kveil_avro_program *p)
{
	bool needs = part == KVEIL_PART_VALUE && reads_value(e);

	for (uint32_t i = 0; !needs && i < p->count; i++) {
		const struct kveil_avro_node *n = &p->nodes[i];
		for (size_t k = 0; n->is_place && !needs && k < n->id_count; k++)
			needs = n->ids[k] < e->rule_count &&
				kveil_engine_takes(&e->rules[n->ids[k]], kveil_avro_value_kind(n->kind)) &&
				(reads_tape(e, &e->rules[n->ids[k]]) ||
				 (n->kind < KVEIL_AVRO_ARRAY && takes_raw(&e->rules[n->ids[k]])));
	}
	return needs;
}

/* --- what becomes of values --- */

/* An engine's rules on one schema. */
struct binding {
	const struct kveil_engine *engine;
	const struct kveil_avro_schema *schema;
};

static unsigned results_of(const struct kveil_bound_rule *r, enum kveil_kind kind)
{
	const unsigned sealed = KVEIL_AVRO_TO_STRING | KVEIL_AVRO_TO_BYTES;
	unsigned bits = r->action->results_for ? r->action->results_for(r->rule->params, kind)
					       : KVEIL_RESULT_BIT(KVEIL_RESULT_TEXT),
		 to = 0;

	if (bits & (KVEIL_RESULT_BIT(KVEIL_RESULT_TEXT) | KVEIL_RESULT_BIT(KVEIL_RESULT_ASCII)))
		to |= KVEIL_AVRO_TO_STRING;
	if (bits & KVEIL_RESULT_BIT(KVEIL_RESULT_BYTES))
		to |= KVEIL_AVRO_TO_BYTES;
	if (bits & KVEIL_RESULT_BIT(KVEIL_RESULT_NULL))
		to |= KVEIL_AVRO_TO_NULL;
	if (bits & KVEIL_RESULT_BIT(KVEIL_RESULT_RAW))
		to |= KVEIL_AVRO_TO_SAME;
	if (bits & KVEIL_RESULT_BIT(KVEIL_RESULT_REMOVE))
		to |= KVEIL_AVRO_TO_NOTHING;
	if (bits & KVEIL_RESULT_BIT(KVEIL_RESULT_RAW_UNCHECKED))
		to |= KVEIL_AVRO_TO_RESTORED;
	if (r->action->effect == KVEIL_REVEALS && to & sealed)
		to = (to & ~sealed) | KVEIL_AVRO_TO_RESTORED;
	else if (r->action->key2_use)
		to |= KVEIL_AVRO_STAYS_SEALED;
	return to;
}

/* The one rule about such values, if there is but one. */
static uint32_t sole_rule(const struct binding *b, const struct kveil_avro_node *node, const uint32_t *ids,
			  size_t count)
{
	const struct kveil_engine *e = b->engine;
	uint32_t sole = KVEIL_AVRO_NO_RULE;

	for (size_t i = 0; i < count; i++) {
		if (ids[i] >= e->rule_count || !kveil_engine_is_about(&e->rules[ids[i]], b->schema, node))
			continue;
		if (sole != KVEIL_AVRO_NO_RULE || !e->rules[ids[i]].is_settled)
			return KVEIL_AVRO_NO_RULE;
		sole = ids[i];
	}
	return sole;
}

static struct kveil_avro_effect effect_of(void *user, const struct kveil_avro_node *node, const uint32_t *ids,
					  size_t count)
{
	const struct binding *b = user;
	const struct kveil_engine *e = b->engine;
	enum kveil_kind kind = kveil_avro_value_kind(node->kind);
	bool may_be_absent =
	    e->plan->absent_count && (node->kind == KVEIL_AVRO_STRING || node->kind == KVEIL_AVRO_BYTES);
	struct kveil_avro_effect effect = {.sole = KVEIL_AVRO_NO_RULE};
	bool is_sure = false;

	for (size_t i = 0; i < count && !is_sure; i++) {
		const struct kveil_bound_rule *r = ids[i] < e->rule_count ? &e->rules[ids[i]] : NULL;
		if (!r || !(r->views & 1) || !kveil_engine_is_about(r, b->schema, node))
			continue;
		effect.names = true;
		if (kind == KVEIL_KIND_NULL && !r->rule->on_null_transform)
			effect.keeps = true;
		else if (r->kinds & KVEIL_KIND_BIT(kind)) {
			effect.results |= results_of(r, kind);
			effect.takes_raw |= takes_raw(r);
		}
		is_sure = r->rule->when == NULL && r->rule->tables == NULL;
	}
	/* What stands for a value that the source did not send passes as it is, but where the field goes. */
	effect.opens = is_sure && effect.results == KVEIL_AVRO_TO_RESTORED;
	effect.keeps |= !is_sure || (may_be_absent && !(effect.results & KVEIL_AVRO_TO_NOTHING));
	bool is_text = effect.results == KVEIL_AVRO_TO_STRING || effect.results == KVEIL_AVRO_TO_BYTES;
	if (is_text && !effect.keeps && node->kind < KVEIL_AVRO_ARRAY)
		effect.sole = sole_rule(b, node, ids, count);
	return effect;
}

static const char *rule_of(void *user, const struct kveil_avro_node *node, unsigned results)
{
	const struct binding *b = user;
	const struct kveil_engine *e = b->engine;
	enum kveil_kind kind = kveil_avro_value_kind(node->kind);

	for (size_t i = 0; i < node->id_count; i++) {
		const struct kveil_bound_rule *r = node->ids[i] < e->rule_count ? &e->rules[node->ids[i]] : NULL;
		bool acts = r && r->views & 1 && r->kinds & KVEIL_KIND_BIT(kind);
		if (acts && kveil_engine_is_about(r, b->schema, node) && results_of(r, kind) & results)
			return r->rule->id;
	}
	return NULL;
}

/* --- a schema --- */

static enum kveil_status refuse_key(const struct kveil_engine *e, enum kveil_avro_kind kind, struct kveil_error *err)
{
	bool is_bare = kind != KVEIL_AVRO_ARRAY && e->plan->key_column;

	if (!e->has_key_rows || is_bare)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_KEY_COLUMN,
		   "the record's key is not a record of its schema, so its columns are not known");
	kveil_error_hint(err, "envelope: {kind: %s, key: \"$.id\"}", e->plan->envelope->name);
	return err->status;
}

/* Under an envelope events are records, and keys hold columns. */
static enum kveil_status check_root(const struct kveil_engine *e, enum kveil_part part,
				    const struct kveil_avro_schema *s, struct kveil_error *err)
{
	const struct kveil_avro_type *root = &s->types[0];
	size_t count = root->kind == KVEIL_AVRO_UNION ? root->member_count : 1;
	enum kveil_status st = KVEIL_OK;

	for (size_t i = 0; e->plan->envelope && !st && i < count; i++) {
		enum kveil_avro_kind kind =
		    root->kind == KVEIL_AVRO_UNION ? s->types[root->members[i].type].kind : root->kind;
		if (kind == KVEIL_AVRO_RECORD || kind == KVEIL_AVRO_MAP || kind == KVEIL_AVRO_NULL)
			continue;
		st = part == KVEIL_PART_KEY
			 ? refuse_key(e, kind, err)
			 : kveil_fail(err, KVEIL_E_UNSUPPORTED_ENVELOPE, "the value is not a record of its schema");
	}
	return st;
}

/* Does a rule open what stands in that part of a record? */
static bool reveals(const struct kveil_engine *e, enum kveil_part part)
{
	for (uint32_t i = 0; i < e->rule_count; i++)
		if (e->rules[i].part == part && e->rules[i].action->effect == KVEIL_REVEALS)
			return true;
	return false;
}

static void spell_id(const struct kveil_schema_id *id, char text[KVEIL_AVRO_REFERENCE_BYTES])
{
	text[0] = 0;
	if (id && !id->is_guid)
		snprintf(text, KVEIL_AVRO_REFERENCE_BYTES, "%" PRIu32, id->id);
	static_assert((int)KVEIL_AVRO_REFERENCE_BYTES >= (int)KVEIL_GUID_TEXT, "a reference may be a GUID");
	if (id && id->is_guid)
		kveil_guid_write(id->guid, text);
}

static bool find_reference(const struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
			   struct kveil_schema_id *ret)
{
	char reference[KVEIL_AVRO_REFERENCE_BYTES];
	struct kveil_error why;
	json_t *json = reveals(e, part) ? kveil_avro_schema_json(text, &why) : NULL;
	bool found = json && kveil_avro_read_reference(json, reference);

	json_decref(json);
	*ret = (struct kveil_schema_id){0};
	if (!found)
		return false;
	ret->is_guid = strchr(reference, '-') != NULL;
	if (ret->is_guid)
		return kveil_guid_read(reference, ret->guid);
	ret->id = (uint32_t)strtoul(reference, NULL, 10);
	return true;
}

bool kveil_engine_schema_original(const struct kveil_engine *e, struct kveil_span text, struct kveil_schema_id *ret)
{
	return find_reference(e, KVEIL_PART_VALUE, text, ret);
}

bool kveil_engine_key_schema_original(const struct kveil_engine *e, struct kveil_span text, struct kveil_schema_id *ret)
{
	return find_reference(e, KVEIL_PART_KEY, text, ret);
}

static enum kveil_status open_origin(struct kveil_engine_schema *s, const struct kveil_schema_source *source,
				     struct kveil_error *err)
{
	enum kveil_status st = kveil_avro_origin_new(s->writer, source->original, &s->origin, err);

	if (st == KVEIL_E_AVRO_SCHEMA && !source->must_fit)
		st = kveil_avro_origin_new(s->writer, KVEIL_SPAN_NULL, &s->origin, err);
	return st;
}

/* One serves all types of a kind that have neither parts nor a name; they stand behind the others. */
static uint32_t opener_of(const struct kveil_avro_schema *original, const struct kveil_avro_type *was)
{
	return was->kind < KVEIL_AVRO_FIXED ? original->count + was->kind : (uint32_t)(was - original->types);
}

static uint32_t opener_count(const struct kveil_avro_schema *original)
{
	return original->count + KVEIL_AVRO_FIXED;
}

const struct kveil_avro_opener *kveil_engine_opener(const struct kveil_engine_schema *s,
						    const struct kveil_avro_type *was)
{
	return s->openers ? s->openers[opener_of(kveil_avro_origin_schema(s->origin), was)] : NULL;
}

/* For each record, array and map that rules open, and each type that was one of several. */
static enum kveil_status find_openers(struct kveil_engine_schema *s, struct kveil_error *err)
{
	const struct kveil_avro_schema *original = kveil_avro_origin_schema(s->origin);
	struct kveil_avro_whole_budget budget = {0};
	enum kveil_status st = KVEIL_OK;

	for (uint32_t i = 0; original && !st && i < s->program->count; i++) {
		const struct kveil_avro_past *past = s->program->nodes[i].past;
		if (!past || (past->count == 1 && past->types[0]->kind < KVEIL_AVRO_ARRAY))
			continue;
		if (!s->openers && !(s->openers = calloc(opener_count(original), sizeof(struct kveil_avro_opener *))))
			return kveil_no_memory(err, "a schema");
		for (uint32_t k = 0; !st && k < past->count; k++) {
			struct kveil_avro_opener **at = &s->openers[opener_of(original, past->types[k])];
			if (!*at)
				st = kveil_avro_opener_new(original, (uint32_t)(past->types[k] - original->types),
							   &budget, at, err);
		}
	}
	return st;
}

static void free_openers(struct kveil_engine_schema *s)
{
	for (uint32_t i = 0; s->openers && i < opener_count(kveil_avro_origin_schema(s->origin)); i++)
		kveil_avro_opener_free(s->openers[i]);
	free(s->openers);
}

static enum kveil_status refuse_format(const struct kveil_engine *e, enum kveil_part part, struct kveil_error *err)
{
	const char *name = e->parts[part].format->name;

	kveil_fail(err, KVEIL_E_UNSUPPORTED, "the rules take %s in %s, which has no schemas",
		   part == KVEIL_PART_KEY ? "keys" : "values", name);
	kveil_error_hint(err, part == KVEIL_PART_KEY ? "format: {value: avro, key: avro}" : "format: avro");
	return err->status;
}

static enum kveil_status schema_new(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				    const struct kveil_schema_source *source, struct kveil_engine_schema **ret,
				    struct kveil_error *err)
{
	const struct kveil_schema_source none = {0};
	char reference[KVEIL_AVRO_REFERENCE_BYTES];

	*ret = NULL;
	if (!e->parts[part].format->is_typed)
		return refuse_format(e, part, err);
	struct kveil_engine_schema *s = calloc(1, sizeof *s);
	if (!s)
		return kveil_no_memory(err, "a record");
	s->part = part;
	kveil_arena_init(&s->arena, 0);
	struct binding b = {.engine = e};
	enum kveil_status st = kveil_avro_schema_parse(text, &s->writer, err);
	b.schema = s->writer;
	source = source ? source : &none;
	spell_id(source->id, reference);
	if (!st)
		st = check_root(e, part, s->writer, err);
	if (!st && reveals(e, part))
		st = open_origin(s, source, err);
	if (!st)
		st = kveil_engine_collect_tags(e, source, s, err);
	const struct kveil_avro_known known = {s->origin, s->tags.property ? &s->tags : NULL, reference, rule_of};
	if (!st)
		st = kveil_avro_program_new(s->writer, &known, e->parts[part].automaton, effect_of, &b, &s->program,
					    err);
	if (!st)
		st = find_openers(s, err);
	if (!st)
		st = kveil_engine_note_names(e, source, s, err);
	if (st) {
		kveil_engine_schema_free(s);
		return st;
	}
	s->needs_doc = needs_doc(e, part, s->program);
	*ret = s;
	return KVEIL_OK;
}

enum kveil_status kveil_engine_schema_of(struct kveil_engine *e, struct kveil_span text,
					 const struct kveil_schema_source *source, struct kveil_engine_schema **ret,
					 struct kveil_error *err)
{
	return schema_new(e, KVEIL_PART_VALUE, text, source, ret, err);
}

enum kveil_status kveil_engine_schema_new(struct kveil_engine *e, struct kveil_span text,
					  struct kveil_engine_schema **ret, struct kveil_error *err)
{
	return schema_new(e, KVEIL_PART_VALUE, text, NULL, ret, err);
}

enum kveil_status kveil_engine_key_schema_new(struct kveil_engine *e, struct kveil_span text,
					      struct kveil_engine_schema **ret, struct kveil_error *err)
{
	return schema_new(e, KVEIL_PART_KEY, text, NULL, ret, err);
}

enum kveil_status kveil_engine_key_schema_of(struct kveil_engine *e, struct kveil_span text,
					     const struct kveil_schema_source *source, struct kveil_engine_schema **ret,
					     struct kveil_error *err)
{
	return schema_new(e, KVEIL_PART_KEY, text, source, ret, err);
}

void kveil_engine_schema_free(struct kveil_engine_schema *s)
{
	if (!s)
		return;
	free_openers(s);
	kveil_avro_program_free(s->program);
	kveil_avro_origin_free(s->origin);
	kveil_avro_schema_free(s->writer);
	kveil_arena_clear(&s->arena);
	free(s);
}

size_t kveil_engine_schema_memory(const struct kveil_engine_schema *s)
{
	const struct kveil_avro_schema *original = kveil_avro_origin_schema(s->origin);
	size_t bytes = sizeof *s + kveil_arena_bytes(&s->arena) + kveil_avro_schema_memory(s->writer) +
		       kveil_avro_program_memory(s->program);

	if (original)
		bytes += kveil_avro_schema_memory(original);
	for (uint32_t i = 0; s->openers && i < opener_count(original); i++)
		bytes += s->openers[i] ? kveil_avro_opener_memory(s->openers[i]) : 0;
	return bytes;
}

struct kveil_span kveil_engine_schema_derived(const struct kveil_engine_schema *s)
{
	return s->program->derived;
}

struct kveil_span kveil_engine_schema_unreferred(const struct kveil_engine_schema *s)
{
	return s->program->unreferred;
}

bool kveil_engine_schema_is_untouched(const struct kveil_engine_schema *s)
{
	return !s->program->nodes[0].is_live && !s->program->nodes[0].is_changed;
}

void kveil_engine_use_schema(struct kveil_engine *e, const struct kveil_engine_schema *s)
{
	e->typed[KVEIL_PART_VALUE].schema = s;
}

void kveil_engine_use_key_schema(struct kveil_engine *e, const struct kveil_engine_schema *s)
{
	e->typed[KVEIL_PART_KEY].schema = s;
}
