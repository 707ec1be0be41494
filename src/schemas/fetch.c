/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas and subjects as requests. */
#include "schemas/fetch.h"

#include "format/avro_schema.h"
#include "schemas/answer.h"
#include "schemas/inline.h"
#include "schemas/known.h"

#include <stdio.h>

enum { MOST_TAG_BYTES = 1 << 20 };

struct fetch {
	struct kveil_schemas_asker *asker;
	const char *context, *what;
	enum kveil_schemas_outcome missing;
	json_t *seen;           /* the names of references that are there */
	struct kveil_buf texts; /* of the references, those first that refer to none of the others */
	size_t lengths[KVEIL_SCHEMAS_REFERENCES];
	size_t count, asked;
	struct kveil_buf tags; /* path\0tag\0 … */
	size_t tag_count;
	struct kveil_error *err;
};

/* The references that led here. */
struct step {
	const struct step *before;
	const char *subject;
	uint32_t version;
	int depth;
};

static enum kveil_status broken(const struct fetch *f, const char *what)
{
	return kveil_fail(f->err, KVEIL_E_AVRO_SCHEMA, "%.60s: %.160s", f->what, what);
}

void kveil_schemas_append_subject(struct kveil_buf *path, const char *context, const char *subject)
{
	if (*context && strncmp(subject, ":.", 2) != 0) {
		kveil_schemas_append_segment(path, ":.");
		kveil_schemas_append_segment(path, context);
		kveil_schemas_append_segment(path, ":");
	}
	kveil_schemas_append_segment(path, subject);
}

static void append_tag(struct fetch *f, const char *path, const char *tag)
{
	kveil_buf_append(&f->tags, path, strlen(path) + 1);
	kveil_buf_append(&f->tags, tag, strlen(tag) + 1);
	f->tag_count++;
}

/* A tag that is overlooked would leave a field in clear: what cannot be read is an error. */
static enum kveil_status collect_tags(struct fetch *f, const json_t *tags)
{
	const char *path;
	json_t *list, *tag;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)tags, path, list)
	{
		if (!json_is_array(list))
			return broken(f, "its metadata.tags are not lists of names");
		json_array_foreach(list, i, tag)
		{
			const char *name = json_string_value(tag);
			if (!name || strlen(name) != json_string_length(tag))
				return broken(f, "its metadata.tags are not lists of names");
			if (f->tag_count == KVEIL_SCHEMAS_TAGS || f->tags.len > MOST_TAG_BYTES)
				return broken(f, "too many metadata.tags");
			append_tag(f, path, name);
		}
	}
	return KVEIL_OK;
}

static enum kveil_status ask(struct fetch *f, const char *what, const char *path, struct kveil_schemas_said *said)
{
	const struct kveil_schemas_question q = {.what = what, .path = path};
	enum kveil_status s = kveil_schemas_ask(f->asker, &q, said, f->err);
	char says[120];

	if (s != KVEIL_OK || said->outcome == KVEIL_SCHEMAS_FOUND)
		return s;
	if (said->outcome == KVEIL_SCHEMAS_REFUSED)
		return kveil_fail(f->err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE, "schema registry %.80s: %.60s: %d: %s",
				  said->url, what, said->status, kveil_schemas_says(said->json, says, sizeof says));
	f->missing = said->outcome;
	return kveil_fail(f->err, KVEIL_E_SCHEMA_PENDING, "the schema registry does not know %.160s", what);
}

static enum kveil_status read_answer(const struct fetch *f, const char *what, const struct kveil_schemas_said *said,
				     struct kveil_schemas_answer *ret)
{
	if (kveil_schemas_read_schema(said->json, ret))
		return KVEIL_OK;
	return kveil_fail(f->err, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE,
			  "schema registry %.80s: %.60s: no schema in its answer", said->url, what);
}

static enum kveil_status follow_all(struct fetch *f, const json_t *references, const struct step *from);

static enum kveil_status take(struct fetch *f, const struct kveil_schemas_reference *r, const struct step *here,
			      const struct kveil_schemas_answer *answer)
{
	enum kveil_status s = follow_all(f, answer->references, here);

	if (!s && answer->tags)
		s = collect_tags(f, answer->tags);
	if (s)
		return s;
	if (f->texts.len + answer->text.len > KVEIL_AVRO_SCHEMA_BYTES)
		return broken(f, "with its references it is more than 1 MiB");
	kveil_buf_append_span(&f->texts, answer->text);
	f->lengths[f->count++] = answer->text.len;
	if (!kveil_buf_ok(&f->texts) || !kveil_buf_ok(&f->tags) ||
	    json_object_set_new(f->seen, r->name, json_true()) != 0)
		return kveil_no_memory(f->err, "a schema");
	return KVEIL_OK;
}

static bool is_round(const struct step *here)
{
	for (const struct step *s = here->before; s; s = s->before)
		if (s->version == here->version && strcmp(s->subject, here->subject) == 0)
			return true;
	return false;
}

static enum kveil_status follow(struct fetch *f, const struct kveil_schemas_reference *r, const struct step *from)
{
	const struct step here = {from, r->subject, r->version, from ? from->depth + 1 : 1};
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
	struct kveil_schemas_answer answer;
	char what[160];

	snprintf(what, sizeof what, "%.60s version %u, a reference of %.50s", r->subject, r->version, f->what);
	if (is_round(&here)) {
		snprintf(what, sizeof what, "its references lead back to %.80s version %u", r->subject, r->version);
		return broken(f, what);
	}
	if (here.depth > KVEIL_SCHEMAS_REFERENCE_DEPTH || f->asked == KVEIL_SCHEMAS_REFERENCES)
		return broken(f, here.depth > KVEIL_SCHEMAS_REFERENCE_DEPTH ? "references nested too deep"
									    : "too many references");
	f->asked++;
	kveil_buf_append_str(&path, "/subjects/");
	kveil_schemas_append_subject(&path, f->context, r->subject);
	kveil_buf_printf(&path, "/versions/%u?deleted=true", r->version);
	if (!kveil_buf_cstr(&path))
		return kveil_no_memory(f->err, "a schema");
	enum kveil_status s = ask(f, what, (const char *)path.data, &said);
	if (!s)
		s = read_answer(f, what, &said, &answer);
	return s ? s : take(f, r, &here, &answer);
}

/* One name, one schema: where two references have it the first holds, as for Confluent's own clients. */
static enum kveil_status follow_all(struct fetch *f, const json_t *references, const struct step *from)
{
	struct kveil_schemas_reference r;
	const json_t *reference;
	size_t i;

	json_array_foreach(references, i, reference)
	{
		if (!kveil_schemas_read_reference(reference, &r))
			return broken(f, "one of its references is none");
		enum kveil_status s = json_object_get(f->seen, r.name) ? KVEIL_OK : follow(f, &r, from);
		if (s)
			return s;
	}
	return KVEIL_OK;
}

static enum kveil_status inline_all(struct fetch *f, struct kveil_span text, struct kveil_buf *out)
{
	struct kveil_span parts[KVEIL_SCHEMAS_REFERENCES];
	struct kveil_error why;
	size_t at = 0;

	for (size_t i = 0; i < f->count; i++) {
		parts[i] = kveil_span_of(f->texts.data + at, f->lengths[i]);
		at += f->lengths[i];
	}
	enum kveil_status s = kveil_schemas_inline(text, parts, f->count, out, &why);
	if (s == KVEIL_E_AVRO_SCHEMA)
		return broken(f, why.message);
	return s ? kveil_fail(f->err, s, "%s", why.message) : KVEIL_OK;
}

static enum kveil_status assemble(struct fetch *f, const struct kveil_schemas_answer *answer,
				  const struct kveil_schemas_schema **ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf whole = KVEIL_BUF_INIT;
	struct kveil_schemas_content content = {.text = answer->text,
						.type = answer->type,
						.rules = answer->rules,
						.encrypt = answer->encrypt,
						.guid = answer->guid,
						.has_references = answer->references != NULL};
	enum kveil_status s = answer->tags ? collect_tags(f, answer->tags) : KVEIL_OK;

	if (!s && answer->type == KVEIL_SCHEMAS_AVRO && answer->references) {
		s = follow_all(f, answer->references, NULL);
		if (!s)
			s = inline_all(f, answer->text, &whole);
		content.text = kveil_buf_span(&whole);
	}
	if (s)
		return s;
	if (answer->type == KVEIL_SCHEMAS_AVRO && content.text.len > KVEIL_AVRO_SCHEMA_BYTES)
		return broken(f, "it is more than 1 MiB");
	content.tags = kveil_buf_span(&f->tags);
	content.tag_count = f->tag_count;
	*ret = kveil_buf_ok(&f->tags) ? kveil_schemas_schema_make(&content) : NULL;
	return *ret ? KVEIL_OK : kveil_no_memory(f->err, "a schema");
}

enum kveil_status kveil_schemas_fetch(struct kveil_schemas_asker *asker, const char *context, const char *what,
				      const char *path, const struct kveil_schemas_schema **ret,
				      enum kveil_schemas_outcome *ret_missing, struct kveil_error *err)
{
	KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
	struct fetch f = {.asker = asker, .context = context, .what = what, .seen = json_object(), .err = err};
	struct kveil_schemas_answer answer;
	enum kveil_status s = f.seen ? ask(&f, what, path, &said) : kveil_no_memory(err, "a schema");

	f.missing = s == KVEIL_E_SCHEMA_PENDING ? f.missing : KVEIL_SCHEMAS_FOUND;
	if (!s)
		s = read_answer(&f, what, &said, &answer);
	if (!s)
		s = assemble(&f, &answer, ret);
	*ret_missing = f.missing;
	json_decref(f.seen);
	kveil_buf_clear(&f.texts);
	kveil_buf_clear(&f.tags);
	return s;
}
