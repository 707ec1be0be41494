/* SPDX-License-Identifier: Apache-2.0 */
/* What in a sample looks like somebody's. */
#include "cli/suggest.h"

#include "cli/sample_shape.h"

#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_FIELDS = 200, MOST_DEPTH = 12, PATH_SIZE = 256 };

/* --- kinds --- */

static bool is_phone(const char *s)
{
	size_t digits = 0;

	for (const char *at = s + (*s == '+'); *at; at++) {
		if (!isdigit((unsigned char)*at) && !strchr(" -()", *at))
			return false;
		digits += isdigit((unsigned char)*at) != 0;
	}
	return (*s == '+' && digits >= 7 && digits <= 15) || (digits == 11 && s[0] == '1' && s[1] >= '3' && !s[11]);
}

/* GB 11643: 17 digits and a check digit. */
static bool is_id_card(const char *s)
{
	static const int weights[] = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
	int sum = 0;

	for (int i = 0; i < 17; i++) {
		if (!isdigit((unsigned char)s[i]))
			return false;
		sum += (s[i] - '0') * weights[i];
	}
	return toupper((unsigned char)s[17]) == "10X98765432"[sum % 11] && s[18] == 0;
}

/* ISO/IEC 7812: 13 to 19 digits and Luhn's check. */
static bool is_card(const char *s)
{
	size_t n = strspn(s, "0123456789");
	int sum = 0;

	if (s[n] || n < 13 || n > 19)
		return false;
	for (size_t i = 0; i < n; i++) {
		int d = s[n - 1 - i] - '0';
		d = i % 2 ? 2 * d - 9 * (d > 4) : d;
		sum += d;
	}
	return sum % 10 == 0;
}

static bool is_email(const char *s)
{
	const char *at = strchr(s, '@');

	return at && at > s && strchr(at, '.') && !strpbrk(s, " \"<>");
}

static bool never(const char *s)
{
	(void)s;
	return false;
}

struct kind {
	const char *names; /* what a name holds, in lower case without _ and -; "=name": what it is */
	bool (*looks)(const char *value);
	const char *action;         /* as in a rule file */
	const char *before, *after; /* of an example; after NULL: it goes */
	const char *why;
};

#define SEALED "encrypt: {key: pii}"

static const struct kind kinds[] = {
    {"idcard idno identity ssn passport nationalid 身份证 证件", is_id_card, SEALED, "110101199003077571",
     "~sealed(pii) 110101199003077571", "an identity document"},
    {"cardnumber cardno bankcard pan creditcard iban accountno accountnumber 银行卡 卡号", is_card, SEALED,
     "6222020000000005", "~sealed(pii) 6222020000000005", "a bank card or account"},
    {"phone mobile msisdn telephone =tel 手机 电话", is_phone, "mask: {keep_first: 3, keep_last: 4}", "13800138000",
     "138****8000", "a phone number"},
    {"email =mail 邮箱", is_email, "hash: {key: pepper}", "li@example.com", "~hash(pepper) li@example.com",
     "an e-mail address: equal ones stay equal"},
    {"password passwd secret =pwd =pin =cvv 密码", never, "remove: true", "invented", NULL,
     "nobody downstream needs it"},
    {"birthday birthdate dateofbirth =dob 生日 出生", never, SEALED, "1990-03-07", "~sealed(pii) 1990-03-07",
     "a day of birth"},
    {"address street =addr 地址", never, SEALED, "1 Example Road", "~sealed(pii) 1 Example Road", "an address"},
    {"=name fullname firstname lastname surname customername username realname 姓名", never, "mask: {keep_first: 1}",
     "Example", "E******", "a person's name"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static void simplify(const char *name, char *dst, size_t size)
{
	size_t n = 0;

	for (; *name && n + 1 < size; name++)
		if (*name != '_' && *name != '-' && *name != ' ')
			dst[n++] = (char)tolower((unsigned char)*name);
	dst[n] = 0;
}

static bool name_fits(const struct kind *k, const char *simple)
{
	char words[256], *rest, *word;

	snprintf(words, sizeof words, "%s", k->names);
	for (word = strtok_r(words, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		if (*word == '=' ? strcmp(simple, word + 1) == 0 : strstr(simple, word) != NULL)
			return true;
	return false;
}

static const struct kind *kind_of(const char *name, const json_t *value)
{
	char simple[128];

	simplify(name, simple, sizeof simple);
	for (size_t i = 0; json_is_string(value) && i < KINDS; i++)
		if (kinds[i].looks(json_string_value(value)))
			return &kinds[i];
	for (size_t i = 0; i < KINDS; i++)
		if (name_fits(&kinds[i], simple) && !json_is_boolean(value))
			return &kinds[i];
	return NULL;
}

/* --- the sample --- */

struct field {
	char path[PATH_SIZE];
	const struct kind *kind;
	bool is_number;
	bool is_unseen; /* so far null in every record: it may be an object */
};

struct kveil_suggestion {
	struct field fields[MOST_FIELDS];
	size_t count;
	json_t *before, *after; /* of the example: the first row's shape */
	const char *envelope;
	json_t *key_columns; /* a set */
	json_t *containers;  /* the paths of objects and arrays: a set */
	bool is_avro, is_whole;
};

struct kveil_suggestion *kveil_suggestion_new(void)
{
	struct kveil_suggestion *s = calloc(1, sizeof *s);

	if (s) {
		s->key_columns = json_object();
		s->containers = json_object();
	}
	return s;
}

void kveil_suggestion_free(struct kveil_suggestion *s)
{
	if (!s)
		return;
	json_decref(s->before);
	json_decref(s->after);
	json_decref(s->key_columns);
	json_decref(s->containers);
	free(s);
}

/* $.name, or $['a name']. false: it cannot be written like that, or is too long. */
static bool extend(char *dst, const char *path, const char *name)
{
	bool plain = *name && !isdigit((unsigned char)*name);

	for (const char *at = name; *at; at++) {
		if ((unsigned char)*at < 0x20 || strchr("'\"\\", *at))
			return false;
		plain &= (unsigned char)*at >= 0x80 || isalnum((unsigned char)*at) || *at == '_';
	}
	return snprintf(dst, PATH_SIZE, plain ? "%s.%s" : "%s['%s']", path, name) < PATH_SIZE;
}

/* Neither null nor Debezium's word for a value that it does not have tells what stands there in other records. */
static bool says_nothing(const json_t *value)
{
	return json_is_null(value) ||
	       (json_is_string(value) && strcmp(json_string_value(value), "__debezium_unavailable_value") == 0);
}

static bool is_container(const json_t *value)
{
	return json_is_object(value) || json_is_array(value);
}

/* What stands there is an object or an array: rules are for what is in it. */
static void note_container(struct kveil_suggestion *s, const char *path)
{
	json_object_set_new(s->containers, path, json_true());
	for (size_t i = 0; i < s->count; i++)
		if (s->fields[i].is_unseen && strcmp(s->fields[i].path, path) == 0) {
			memmove(s->fields + i, s->fields + i + 1, (--s->count - i) * sizeof *s->fields);
			return;
		}
}

static const struct field *note(struct kveil_suggestion *s, const char *path, const char *name, const json_t *value)
{
	const struct kind *kind = kind_of(name, value);

	for (size_t i = 0; i < s->count; i++) {
		size_t n = strlen(s->fields[i].path);
		/* What stands within another field's value in some records is that rule's. */
		if (strncmp(s->fields[i].path, path, n) == 0 && (!path[n] || strchr(".[", path[n]))) {
			s->fields[i].is_unseen &= says_nothing(value);
			return &s->fields[i];
		}
	}
	if (!kind || s->count == MOST_FIELDS || (says_nothing(value) && json_object_get(s->containers, path)))
		return NULL;
	struct field *f = &s->fields[s->count++];
	snprintf(f->path, sizeof f->path, "%s", path);
	f->kind = kind;
	f->is_number = json_is_number(value);
	f->is_unseen = says_nothing(value);
	return f;
}

static bool walk(struct kveil_suggestion *s, const json_t *value, const char *path, const char *name, int depth,
		 json_t **before, json_t **after);

static void walk_object(struct kveil_suggestion *s, const json_t *value, const char *path, int depth, json_t **before,
			json_t **after)
{
	const char *member;
	json_t *item;

	*before = json_object();
	*after = json_object();
	json_object_foreach((json_t *)(uintptr_t)value, member, item)
	{
		char at[PATH_SIZE];
		json_t *in, *out;
		if (!extend(at, path, member) || !walk(s, item, at, member, depth + 1, &in, &out))
			continue;
		json_object_set_new(*before, member, in);
		if (out)
			json_object_set_new(*after, member, out);
	}
}

static void walk_array(struct kveil_suggestion *s, const json_t *value, const char *path, const char *name, int depth,
		       json_t **before, json_t **after)
{
	char at[PATH_SIZE];
	json_t *in, *out;

	*before = json_array();
	*after = json_array();
	if (snprintf(at, sizeof at, "%s[*]", path) >= (int)sizeof at)
		return;
	/* One stands for all in the example; all are looked at. */
	for (size_t i = json_array_size(value); i-- > 0;) {
		if (!walk(s, json_array_get(value, i), at, name, depth + 1, &in, &out))
			continue;
		json_array_clear(*before);
		json_array_clear(*after);
		json_array_append_new(*before, in);
		if (out)
			json_array_append_new(*after, out);
	}
}

/* A number is sealed as it is spelled: neither a mask nor a hash takes one. */
static void leaf(const struct field *f, const json_t *value, json_t **before, json_t **after)
{
	if (json_is_number(value)) {
		*before = json_integer(1);
		*after = f && f->kind->after ? json_string("~sealed(pii) 1") : f ? NULL : json_integer(1);
	} else if (json_is_string(value)) {
		*before = json_string(f ? f->kind->before : "text");
		*after = f && !f->kind->after ? NULL : json_string(f ? f->kind->after : "text");
	} else {
		*before = json_incref((json_t *)(uintptr_t)value);
		*after = f && !f->kind->after ? NULL : json_incref((json_t *)(uintptr_t)value);
	}
}

/* false: it is left out. */
static bool walk(struct kveil_suggestion *s, const json_t *value, const char *path, const char *name, int depth,
		 json_t **before, json_t **after)
{
	if (depth > MOST_DEPTH)
		return false;
	if (is_container(value))
		note_container(s, path);
	if (json_is_object(value))
		walk_object(s, value, path, depth, before, after);
	else if (json_is_array(value))
		walk_array(s, value, path, name, depth, before, after);
	else
		leaf(note(s, path, name, value), value, before, after);
	return true;
}

/* The example is the first row; what it has no value of comes from a later one. */
static void fill_gaps(json_t *before, json_t *after, const json_t *later_before, const json_t *later_after)
{
	const char *name;
	json_t *item;

	json_object_foreach((json_t *)(uintptr_t)later_before, name, item)
	{
		json_t *known = json_object_get(before, name), *out = json_object_get(later_after, name);
		if (json_is_object(known) && json_is_object(item))
			fill_gaps(known, json_object_get(after, name), item, out);
		else if (json_is_null(known) || (known && is_container(item) && !is_container(known))) {
			json_object_set(before, name, item);
			if (out)
				json_object_set(after, name, out);
			else
				json_object_del(after, name);
		}
	}
}

static void take_row(struct kveil_suggestion *s, const json_t *row)
{
	json_t *before = NULL, *after = NULL;

	if (!json_is_object(row) || !walk(s, row, "$", "", 0, &before, &after))
		return;
	if (!s->before) {
		s->before = before;
		s->after = after;
		return;
	}
	fill_gaps(s->before, s->after, before, after);
	json_decref(before);
	json_decref(after);
}

static void take_event(struct kveil_suggestion *s, json_t *value)
{
	const char *envelope = kveil_shape_envelope(value);
	json_t *rows = kveil_shape_rows(envelope, value), *row;
	size_t i;

	if (!s->envelope)
		s->envelope = envelope;
	json_array_foreach(rows, i, row) take_row(s, row);
	json_decref(rows);
}

void kveil_suggestion_take_key(struct kveil_suggestion *s, struct kveil_span key)
{
	json_t *value = json_loadb((const char *)key.data, key.len, JSON_REJECT_DUPLICATES, NULL);
	json_t *row = json_object_get(value, "payload"), *item;
	const char *name;

	json_object_foreach(json_is_object(row) ? row : value, name, item)
	    json_object_set_new(s->key_columns, name, json_true());
	json_decref(value);
}

/* A tombstone is a record as well. */
static bool take_record(struct kveil_suggestion *s, const json_t *record)
{
	const char *key = kveil_shape_key(record), *value = kveil_shape_value(record);

	s->is_whole = true;
	if (key)
		kveil_suggestion_take_key(s, kveil_span_str(key));
	return !value || kveil_suggestion_take(s, kveil_span_str(value));
}

bool kveil_suggestion_take(struct kveil_suggestion *s, struct kveil_span record)
{
	json_t *value = json_loadb((const char *)record.data, record.len, JSON_REJECT_DUPLICATES, NULL);
	bool ok = json_is_object(value);

	if (ok && kveil_shape_is_schema(value)) {
		json_t *row = kveil_shape_of_schema(value);
		s->is_avro = true;
		take_row(s, row);
		json_decref(row);
	} else if (ok && kveil_shape_is_record(value))
		ok = take_record(s, value);
	else if (ok)
		take_event(s, value);
	json_decref(value);
	return ok;
}

const char *kveil_suggestion_envelope(const struct kveil_suggestion *s)
{
	return s->envelope;
}

bool kveil_suggestion_is_whole(const struct kveil_suggestion *s)
{
	return s->is_whole;
}

bool kveil_suggestion_is_avro(const struct kveil_suggestion *s)
{
	return s->is_avro;
}

/* --- the files --- */

size_t kveil_suggestion_rules(const struct kveil_suggestion *s)
{
	return s->count;
}

/* Under an envelope a column in the record's key is protected there too. */
static bool is_in_key(const struct kveil_suggestion *s, const struct field *f)
{
	return s->envelope && f->kind->after && strchr(f->path + 2, '.') == NULL &&
	       json_object_get(s->key_columns, f->path + 2);
}

bool kveil_suggestion_has_tokens(const struct kveil_suggestion *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (is_in_key(s, &s->fields[i]))
			return true;
	return false;
}

void kveil_suggestion_write_fields(const struct kveil_suggestion *s, struct kveil_buf *out)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct field *f = &s->fields[i];
		const char *action = is_in_key(s, f)                    ? "tokenize: {key: ids}"
				     : !f->is_number || !f->kind->after ? f->kind->action
									: "encrypt: {key: pii, type: json}";
		kveil_buf_printf(out, "  - {path: \"%s\", %s} # %s\n", f->path, action, f->kind->why);
	}
	if (!s->count)
		kveil_buf_append_str(
		    out, "  - {path: \"$.phone\", mask: {keep_first: 3, keep_last: 4}} # change this\n"
			 "unmatched: dead-letter # nothing passes that no rule names: `clear:` lists what may\n");
}

/* The columns that stand in the key, as they come and as they leave. */
static void add_key(const struct kveil_suggestion *s, json_t *key, json_t *out_key)
{
	for (size_t i = 0; i < s->count; i++) {
		const char *name = s->fields[i].path + 2;
		json_t *before = json_object_get(s->before, name);
		if (!is_in_key(s, &s->fields[i]) || !before)
			continue;
		json_t *token = json_is_string(before) ? json_sprintf("~token(ids) %s", json_string_value(before))
						       : json_string("~token(ids) 1");
		json_object_set(s->after, name, token);
		json_object_set(key, name, before);
		json_object_set_new(out_key, name, token);
	}
}

/* A text in single quotes: a key is compared byte for byte. */
static void append_key(struct kveil_buf *out, const char *name, const json_t *key)
{
	char *text = json_dumps(key, JSON_PRESERVE_ORDER | JSON_COMPACT);

	if (text && json_object_size(key))
		kveil_buf_printf(out, "  %s: '%s'\n", name, text);
	free(text);
}

static void append_json(struct kveil_buf *out, const char *name, const char *envelope, json_t *row)
{
	json_t *value = kveil_shape_event(envelope, json_incref(row));
	char *text = json_dumps(value, JSON_PRESERVE_ORDER);

	kveil_buf_printf(out, "  %s: %s\n", name, text ? text : "{}");
	free(text);
	json_decref(value);
}

void kveil_suggestion_write_examples(const struct kveil_suggestion *s, struct kveil_buf *out)
{
	kveil_buf_append_str(out, "# Invented values and the results of the rules, for `kveil test`: see "
				  "docs/rules.md.\n- name: a record\n");
	if (s->before) {
		json_t *key = json_object(), *out_key = json_object();
		add_key(s, key, out_key);
		append_key(out, "key", key);
		append_json(out, "in", s->envelope, s->before);
		append_json(out, "out", s->envelope, s->after);
		append_key(out, "out_key", out_key);
		json_decref(key);
		json_decref(out_key);
	} else
		kveil_buf_append_str(out, "  in: {\"phone\": \"13800138000\"}\n  out: {\"phone\": \"138****8000\"}\n");
}
