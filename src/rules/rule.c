/* SPDX-License-Identifier: Apache-2.0 */
/* rules/rule.c: one entry of `fields:`, from YAML to a compiled rule. */
#include "rules/loader.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_ACTIONS = 48 };

/* What the option table fills. The base rows come first, at the same offsets as in struct kveil_rule_options. */
struct rule_words {
	struct kveil_rule_options base;
	const struct kveil_yaml *actions[MOST_ACTIONS];
	const struct kveil_yaml *later;
};

static KVEIL_PRINTF(3, 4) struct kveil_error *problem(struct kveil_loader *l, const struct kveil_yaml *node,
						      const char *fmt, ...)
{
	char message[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	return kveil_report_at(l->report, l->file, node->line, node->column, "%s", message);
}

static struct kveil_path *parse_path(struct kveil_loader *l, const struct kveil_yaml *node, size_t skip, size_t len)
{
	struct kveil_path *path = NULL;
	struct kveil_error err;

	if (kveil_path_parse(kveil_span_of(node->text + skip, len), &path, &err) != KVEIL_OK) {
		kveil_loader_add(l, node, skip, &err);
		return NULL;
	}
	if (!kveil_plan_own_path(l->plan, path)) {
		l->no_memory = true;
		return NULL;
	}
	return path;
}

/* What is suggested is itself a path. */
static void suggest_path(struct kveil_error *e, const char *text)
{
	static const char *const heads[] = {"$", "$."};
	static const char headers[] = "headers:", keys[] = "keys:";
	char whole[128];

	if (strncmp(text, headers, sizeof headers - 1) == 0) {
		kveil_error_hint(e, "did you mean 'header:%.100s'?", text + sizeof headers - 1);
		return;
	}
	if (strncmp(text, keys, sizeof keys - 1) == 0) {
		kveil_error_hint(e, "did you mean 'key:%.100s'?", text + sizeof keys - 1);
		return;
	}
	for (size_t i = 0; i < 2; i++) {
		struct kveil_path *path = NULL;
		int n = snprintf(whole, sizeof whole, "%s%s", heads[i], text);
		if (n > 0 && (size_t)n < sizeof whole &&
		    kveil_path_parse(kveil_span_str(whole), &path, NULL) == KVEIL_OK) {
			kveil_path_free(path);
			kveil_error_hint(e, "did you mean '%s'?", whole);
			return;
		}
	}
}

static bool read_first_step(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_place *ret)
{
	static const char key_prefix[] = "key:", header_prefix[] = "header:";
	const char *text = node->text;
	size_t skip = 0;

	*ret = (struct kveil_place){.part = KVEIL_PART_VALUE,
				    .line = node->line,
				    .column = node->column,
				    .text = kveil_plan_strdup(l->plan, text)};
	l->no_memory |= !ret->text;
	if (strncmp(text, header_prefix, sizeof header_prefix - 1) == 0) {
		struct kveil_path *root = NULL;
		const char *name = text + sizeof header_prefix - 1;
		ret->part = KVEIL_PART_HEADER;
		if (!*name) {
			kveil_error_hint(problem(l, node, "a header has a name"), "header:trace-id");
			return false;
		}
		ret->header_name = kveil_plan_strdup(l->plan, name);
		if (!ret->header_name || kveil_path_parse(KVEIL_SPAN("$"), &root, NULL) != KVEIL_OK ||
		    !kveil_plan_own_path(l->plan, root)) {
			l->no_memory = true;
			return false;
		}
		ret->path = root;
		return true;
	}
	if (strncmp(text, key_prefix, sizeof key_prefix - 1) == 0) {
		ret->part = KVEIL_PART_KEY;
		skip = sizeof key_prefix - 1;
	}
	if (text[skip] != '$') {
		struct kveil_error *e = problem(l, node, "a path begins with $");
		if (ret->part == KVEIL_PART_KEY)
			kveil_error_hint(e, "the whole key is key:$");
		else
			suggest_path(e, text);
		return false;
	}
	ret->path = parse_path(l, node, skip, strlen(text + skip));
	return ret->path != NULL;
}

/* --- paths of several steps --- */

static bool join_paths(struct kveil_loader *l, struct kveil_place *place, const struct kveil_path *step)
{
	size_t n = place->path->count;
	struct kveil_path *path = kveil_plan_alloc(l->plan, sizeof *path);
	struct kveil_segment *segments = kveil_plan_alloc(l->plan, (n + step->count) * sizeof *segments);

	l->no_memory |= !path || !segments;
	if (l->no_memory)
		return false;
	if (n)
		memcpy(segments, place->path->segments, n * sizeof *segments);
	memcpy(segments + n, step->segments, step->count * sizeof *segments);
	segments[n].enters = true;
	*path = (struct kveil_path){.segments = segments, .count = n + step->count};
	place->path = path;
	return true;
}

/* What goes on inside of the text that the steps before lead to. */
static bool read_next_step(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_place *place)
{
	if (place->part == KVEIL_PART_HEADER) {
		problem(l, node, "a path goes on in texts of the value and of a JSON key, not in a header");
		return false;
	}
	if (node->kind != KVEIL_YAML_SCALAR || node->text[0] != '$') {
		kveil_error_hint(problem(l, node, "what goes on inside a text begins with $, its own root"),
				 "path: [\"$.payload\", \"$.phone\"]");
		return false;
	}
	const struct kveil_path *step = parse_path(l, node, 0, strlen(node->text));
	if (!step)
		return false;
	if (!step->count) {
		kveil_error_hint(problem(l, node, "all of the text is the text itself"), "leave this step out");
		return false;
	}
	return join_paths(l, place, step);
}

static bool note_steps(struct kveil_loader *l, const struct kveil_yaml *list, struct kveil_place *place)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	place->steps = kveil_plan_alloc(l->plan, (list->count + 1) * sizeof *place->steps);
	for (size_t i = 0; place->steps && i < list->count; i++) {
		place->steps[i] = kveil_plan_strdup(l->plan, list->items[i]->text);
		l->no_memory |= !place->steps[i];
		kveil_buf_printf(&text, "%s%s", i ? "|" : "", list->items[i]->text);
	}
	const char *joined = kveil_buf_cstr(&text);
	place->text = joined ? kveil_plan_strdup(l->plan, joined) : NULL;
	l->no_memory |= !place->steps || !place->text;
	return !l->no_memory;
}

bool kveil_loader_read_place(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_place *ret)
{
	if (node->kind == KVEIL_YAML_SCALAR)
		return read_first_step(l, node, ret);
	if (node->kind != KVEIL_YAML_LIST || !node->count || node->items[0]->kind != KVEIL_YAML_SCALAR) {
		problem(l, node, "a path is a text, or a list of texts");
		return false;
	}
	if (node->count > 1 + KVEIL_MOST_STEPS) {
		problem(l, node, "a path goes into %d texts within each other, at most", KVEIL_MOST_STEPS);
		return false;
	}
	if (!read_first_step(l, node->items[0], ret))
		return false;
	for (size_t i = 1; i < node->count; i++)
		if (!read_next_step(l, node->items[i], ret))
			return false;
	return node->count == 1 || note_steps(l, node, ret);
}

/* --- templates --- */

/* Where the path that begins at text[at] ends: the brace that is in no quotes and no brackets. */
static size_t hole_end(const char *text, size_t at)
{
	char quote = 0;

	for (; text[at]; at++) {
		if (quote) {
			if (text[at] == '\\' && text[at + 1])
				at++;
			else if (text[at] == quote)
				quote = 0;
		} else if (text[at] == '\'' || text[at] == '"') {
			quote = text[at];
		} else if (text[at] == '}') {
			break;
		}
	}
	return at;
}

static bool is_singular(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct kveil_segment *s = &p->segments[i];
		if (s->descendant || s->count != 1 ||
		    (s->selectors[0].kind != KVEIL_SEL_NAME && s->selectors[0].kind != KVEIL_SEL_INDEX))
			return false;
	}
	return true;
}

static struct kveil_template *read_template(struct kveil_loader *l, const struct kveil_yaml *node)
{
	char *text = kveil_plan_strdup(l->plan, node->text);
	struct kveil_template *t = kveil_plan_alloc(l->plan, sizeof *t);
	size_t braces = 1, start = 0, i = 0;

	for (const char *p = node->text; *p; p++)
		braces += *p == '{';
	if (t)
		t->pieces = kveil_plan_alloc(l->plan, braces * sizeof *t->pieces);
	if (!text || !t || !t->pieces) {
		l->no_memory = true;
		return NULL;
	}
	while (text[i]) {
		if (text[i] != '{' && text[i] != '}') {
			i++;
			continue;
		}
		struct kveil_error err;
		size_t end = text[i] == '{' ? hole_end(text, i + 1) : i;
		if (text[i] == '}' || text[i + 1] != '$' || !text[end]) {
			kveil_fail_at(&err, KVEIL_E_RULES, i, "a brace that is not part of a {$.path}");
			kveil_error_hint(&err, "{$.tenant} stands for the record's own value");
			kveil_loader_add(l, node, 0, &err);
			return NULL;
		}
		struct kveil_path *path = parse_path(l, node, i + 1, end - i - 1);
		if (!path)
			return NULL;
		if (!is_singular(path)) {
			kveil_fail_at(&err, KVEIL_E_RULES, i + 1, "this path may find more than one value");
			kveil_error_hint(&err, "use names and indices only");
			kveil_loader_add(l, node, 0, &err);
			return NULL;
		}
		t->pieces[t->count++] = (struct kveil_template_piece){kveil_span_of(text + start, i - start), path};
		i = start = end + 1;
	}
	t->pieces[t->count++] = (struct kveil_template_piece){kveil_span_of(text + start, i - start), NULL};
	t->is_constant = t->count == 1;
	t->text = text;
	return t;
}

/* From 1, as kveil_keyring takes it. */
static bool is_version(const char *s)
{
	size_t digits = strspn(s, "0123456789");

	return digits > 0 && digits < 10 && s[digits] == 0 && strspn(s, "0") < digits;
}

/* The name as the configuration may have it: "tenant-{}" for "tenant-{$.tenant}". Returns what snprintf would. */
static int configured_name(const struct kveil_template *t, char *dst, size_t size)
{
	const struct kveil_template_piece *head = &t->pieces[0], *tail = t->is_constant ? NULL : &t->pieces[1];

	return snprintf(dst, size, "%.*s%s%.*s", (int)head->text.len, (const char *)head->text.data, tail ? "{}" : "",
			tail ? (int)tail->text.len : 0, tail ? (const char *)tail->text.data : "");
}

bool kveil_loader_is_key_for(struct kveil_loader *l, const struct kveil_template *key, unsigned use)
{
	char name[256];
	struct kveil_error ignored;

	if (!l->keys || !key)
		return true;
	configured_name(key, name, sizeof name);
	name[strcspn(name, "@")] = 0;
	return kveil_keystore_check(l->keys, kveil_span_str(name), use, &ignored) == KVEIL_OK;
}

/* A key's name: "pii", "pii@2", or "tenant-{$.tenant}", which a pattern "tenant-{}" of the configuration takes. */
static struct kveil_template *read_key(struct kveil_loader *l, const struct kveil_yaml *node, unsigned use)
{
	struct kveil_template *t = read_template(l, node);
	struct kveil_error err;
	char name[256];

	if (!t)
		return NULL;
	if (t->count > 2 || (!t->is_constant && t->pieces[0].text.len == 0)) {
		kveil_error_hint(problem(l, node, "a key's name from the record has a literal beginning and one hole"),
				 "such as tenant-{$.tenant}");
		return NULL;
	}
	int n = configured_name(t, name, sizeof name);
	if (n <= 0 || (size_t)n >= sizeof name) {
		problem(l, node, n <= 0 ? "a key's name is empty" : "a key's name is too long");
		return NULL;
	}
	/* The configuration knows names; versions are looked up when the key is bound. */
	char *at = strchr(name, '@');
	if (at && !t->is_constant) {
		kveil_error_hint(problem(l, node, "a key named from the record takes no version"),
				 "what was sealed opens with its own version by itself");
		return NULL;
	}
	if (at && !is_version(at + 1)) {
		kveil_error_hint(problem(l, node, "'%s' names no version", name), "write NAME@1");
		return NULL;
	}
	if (at)
		*at = 0;
	if (l->keys && kveil_keystore_check(l->keys, kveil_span_str(name), use, &err) != KVEIL_OK) {
		err.byte = KVEIL_NO_BYTE;
		kveil_loader_add(l, node, 0, &err);
		return NULL;
	}
	return t;
}

/* --- the action --- */

static char *canonical_action(struct kveil_loader *l, const struct kveil_action *a, const struct kveil_yaml *node)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_printf(&text, "%s ", a->name);
	kveil_rules_write_flow(node, &text);
	const char *s = kveil_buf_cstr(&text);
	char *copy = s ? kveil_plan_strdup(l->plan, s) : NULL;
	l->no_memory |= !copy;
	return copy;
}

static char *string_option(const struct kveil_option *o, const void *params)
{
	char *s;

	memcpy(&s, (const char *)params + o->offset, sizeof s);
	return s;
}

/* What the action asks of its hash key, where the configuration says which algorithm that has. */
static void check_mac(struct kveil_loader *l, const struct kveil_yaml *node, const struct kveil_rule *r)
{
	char name[256];
	const char *algorithm;

	if (!r->action->check_mac || !r->key || !l->keys)
		return;
	configured_name(r->key, name, sizeof name);
	size_t bytes = kveil_keystore_mac_bytes(l->keys, kveil_span_str(name), &algorithm);
	if (bytes)
		r->action->check_mac(r->params, bytes, algorithm, l->file, node, l->report);
}

/* The names of keys and the associated data, which are the rule's own and not the action's. */
static bool read_bindings(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_rule *r)
{
	size_t keys = 0;
	bool ok = true;

	r->key_use = r->action->key_use_for ? r->action->key_use_for(r->params) : r->action->key_use;
	r->key2_use = r->action->key2_use;
	for (const struct kveil_option *o = r->action->options; o && o->name; o++) {
		bool is_ad = r->action->needs_ad && strcmp(o->name, "associated_data") == 0;
		if (o->type != KVEIL_OPT_KEY && !is_ad)
			continue;
		const struct kveil_yaml *at = kveil_yaml_get(node, o->name);
		char *text = string_option(o, r->params);
		if (is_ad) {
			if (!text)
				continue;
			if (!*text) {
				kveil_error_hint(problem(l, at ? at : node, "associated data is never empty"),
						 "leave the line out: the default is NAME:PATH");
				ok = false;
				continue;
			}
			ok &= at && (r->ad = read_template(l, at));
			continue;
		}
		bool first = keys++ == 0;
		if (!text || !at)
			continue;
		struct kveil_template *t = read_key(l, at, first ? r->key_use : r->key2_use);
		if (first)
			r->key = t;
		else
			r->key2 = t;
		ok &= t != NULL;
	}
	return ok;
}

static bool read_params(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_rule *r)
{
	const struct kveil_action *a = r->action;
	struct kveil_error err;

	r->params = calloc(1, a->params_bytes ? a->params_bytes : 1);
	if (!r->params) {
		l->no_memory = true;
		return false;
	}
	if (a->scalar) {
		if (node->kind != KVEIL_YAML_SCALAR || node->quoted || strcmp(node->text, "true") != 0) {
			kveil_error_hint(problem(l, node, "%s takes nothing but true", a->name), "%s: true", a->name);
			return false;
		}
		*(bool *)r->params = true;
		return true;
	}
	if (node->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(l, node, "%s takes a mapping of parameters", a->name), "%s", a->example);
		return false;
	}
	size_t before = l->report->errors;
	bool ok = kveil_options_parse(a->options, node, l->file, NULL, r->params, l->report);
	if (ok && a->check)
		a->check(r->params, l->file, node, l->report);
	ok = read_bindings(l, node, r) && ok;
	check_mac(l, node, r);
	ok = ok && l->report->errors == before;
	if (ok && a->prepare && a->prepare(r->params, &err) != KVEIL_OK) {
		err.byte = KVEIL_NO_BYTE;
		kveil_loader_add(l, node, 0, &err);
		ok = false;
	}
	return ok;
}

/* The rule table: the base rows, a row for each action, and rows that answer words of later versions. */
bool kveil_loader_make_rule_table(struct kveil_loader *l)
{
	size_t n = KVEIL_RULE_TABLE_ROWS, actions = 0, later = 0;

	while (kveil_actions[actions])
		actions++;
	while (kveil_rule_later_actions[later])
		later++;
	l->rule_table = calloc(n + actions + later + 1, sizeof *l->rule_table);
	if (!l->rule_table || actions > MOST_ACTIONS)
		return false;
	memcpy(l->rule_table, kveil_rule_table, n * sizeof *l->rule_table);
	for (size_t i = 0; i < actions; i++)
		l->rule_table[n++] = (struct kveil_option){.name = kveil_actions[i]->name,
							   .type = KVEIL_OPT_CUSTOM,
							   .offset = offsetof(struct rule_words, actions) +
								     i * sizeof(const struct kveil_yaml *),
							   .help = kveil_actions[i]->help};
	for (size_t i = 0; i < later; i++)
		if (!kveil_action_by_name(kveil_span_str(kveil_rule_later_actions[i])))
			l->rule_table[n++] = (struct kveil_option){.name = kveil_rule_later_actions[i],
								   .type = KVEIL_OPT_CUSTOM,
								   .offset = offsetof(struct rule_words, later),
								   .help = KVEIL_OPTION_LATER};
	return true;
}

void kveil_loader_free_rule_table(struct kveil_loader *l)
{
	free(l->rule_table);
}

static bool knows_word(const struct kveil_option *table, const char *word)
{
	while (table->name && strcmp(table->name, word) != 0)
		table++;
	return table->name != NULL;
}

bool kveil_loader_read_action(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_rule *r)
{
	const struct kveil_yaml *at = NULL;
	bool later = false, unknown = false;

	for (size_t i = 0; i < node->count; i++) {
		const char *word = node->keys[i]->text;
		unknown |= !knows_word(l->rule_table, word);
		const struct kveil_action *a = kveil_action_by_name(kveil_span_str(word));
		for (size_t k = 0; !a && kveil_rule_later_actions[k]; k++)
			if (strcmp(word, kveil_rule_later_actions[k]) == 0) {
				kveil_error_hint(problem(l, node->keys[i], "%s is not in this version", word),
						 "`mask`, `replace`, `nullify` and `remove` hide a value");
				later = true;
			}
		if (!a)
			continue;
		if (r->action) {
			kveil_error_hint(
			    problem(l, node->keys[i], "a second action beside %s: a rule has one", r->action->name),
			    "write a second rule");
			return false;
		}
		r->action = a;
		at = node->items[i];
	}
	if (!r->action) {
		/* An unknown word was reported as such: it is the action, misspelt. */
		if (!later && !unknown)
			kveil_error_hint(problem(l, node, "this rule has no action"), "such as mask: {keep_last: 4}");
		return false;
	}
	r->action_text = canonical_action(l, r->action, at);
	return read_params(l, at, r) && !later;
}

/* --- to: --- */

static bool read_to(struct kveil_loader *l, const struct kveil_yaml *node, struct kveil_rule *r)
{
	struct kveil_place to;

	if (!kveil_loader_read_place(l, node, &to))
		return false;
	r->to = to.path;
	r->to_text = to.text;
	r->to_steps = to.steps;
	if (r->part == KVEIL_PART_HEADER || to.part == KVEIL_PART_HEADER || to.part != r->part) {
		kveil_error_hint(problem(l, node, "to writes a sibling: a member of the same object"),
				 "it is for members of the value or of a JSON key");
		return false;
	}
	if (r->action && r->action->scalar) {
		problem(l, node, "%s leaves nothing to write: it takes no to", r->action->name);
		return false;
	}
	const struct kveil_path *from = r->path;
	const struct kveil_segment *a = from->count ? &from->segments[from->count - 1] : NULL;
	const struct kveil_segment *b = r->to->count ? &r->to->segments[r->to->count - 1] : NULL;
	struct kveil_path parent_a = {.segments = from->segments, .count = from->count ? from->count - 1 : 0};
	struct kveil_path parent_b = {.segments = r->to->segments, .count = r->to->count ? r->to->count - 1 : 0};
	if (!a || a->count != 1 || a->selectors[0].kind != KVEIL_SEL_NAME) {
		problem(l, node, "with to, the path ends in one member's name");
		return false;
	}
	if (!b || b->count != 1 || b->selectors[0].kind != KVEIL_SEL_NAME || a->descendant != b->descendant ||
	    a->enters != b->enters || !kveil_path_equal(&parent_a, &parent_b)) {
		kveil_error_hint(problem(l, node, "to names a sibling: the same path but for its last member"),
				 "the parent's path must be spelled alike, wildcards and all");
		return false;
	}
	if (kveil_span_eq(a->selectors[0].name, b->selectors[0].name)) {
		kveil_error_hint(problem(l, node, "to is the path itself"), "leave to out: a rule writes in place");
		return false;
	}
	r->to_name = b->selectors[0].name;
	return true;
}

/* --- the rule --- */

static bool takes_null(const struct kveil_rule *r)
{
	unsigned kinds = r->action->kinds_for ? r->action->kinds_for(r->params) : r->action->kinds;

	return kinds & KVEIL_KIND_BIT(KVEIL_KIND_NULL);
}

static void make_id(struct kveil_loader *l, const char *view, struct kveil_rule *r)
{
	int n =
	    snprintf(r->id, sizeof r->id - 8, "%s%s%s/%s", l->stem, view ? "@" : "", view ? view : "", r->path_text);

	/* Cut between characters. */
	if (n >= (int)(sizeof r->id - 8)) {
		size_t len = strlen(r->id);
		while (len && ((uint8_t)r->id[len - 1] & 0xC0) == 0x80)
			len--;
		if (len && (uint8_t)r->id[len - 1] >= 0xC0)
			len--;
		r->id[len] = 0;
	}
}

static bool read_words(struct kveil_loader *l, const struct kveil_yaml *node, const struct kveil_rule_options *w,
		       struct kveil_rule *r)
{
	const struct kveil_yaml *at;
	struct kveil_place place = {0};
	struct kveil_error err;
	bool ok = true;

	if (w->path && (at = kveil_yaml_get(node, "path"))) {
		ok &= kveil_loader_read_place(l, at, &place);
		r->part = place.part;
		r->header_name = place.header_name;
		r->path_text = place.text;
		r->path_steps = place.steps;
		r->path = place.path;
	}
	if (w->tags && (at = kveil_yaml_get(node, "tags")))
		ok &= !w->path && kveil_loader_read_tags(l, at, w->tags, r);
	if (!w->path == !w->tags) {
		kveil_error_hint(problem(l, node, w->path ? "a rule has a path or tags" : "'path' is missing"),
				 "path: \"$.phone\", or with avro tags: [PII]");
		ok = false;
	}
	if (w->when && (at = kveil_yaml_get(node, "when"))) {
		struct kveil_expr *when = NULL;
		if (kveil_expr_parse(kveil_span_str(at->text), &when, &err) != KVEIL_OK) {
			kveil_loader_add(l, at, 0, &err);
			ok = false;
		} else if (!kveil_plan_own_expr(l->plan, when)) {
			l->no_memory = true;
		} else {
			r->when = when;
		}
		r->when_text = kveil_plan_strdup(l->plan, at->text);
	}
	if (w->tables && (at = kveil_yaml_get(node, "table")))
		ok &= kveil_loader_read_tables(l, at, w->tables, r);
	if (w->record) {
		r->record = kveil_plan_strdup(l->plan, w->record);
		l->no_memory |= !r->record;
	}
	ok &= kveil_loader_read_action(l, node, r);
	if (w->to && r->path && (at = kveil_yaml_get(node, "to")))
		ok &= read_to(l, at, r);
	if (w->keep_source && !w->to) {
		kveil_error_hint(problem(l, node, "keep_source is for a rule with to"),
				 "without to a rule writes in place");
		ok = false;
	}
	r->keep_source = w->keep_source;
	r->required = w->required;
	r->on_key_any = w->on_key == 1;
	/* What is removed is gone, null or not. */
	r->on_null_transform = w->on_null == 1 || (r->action && strcmp(r->action->name, "remove") == 0 &&
						   !kveil_options_given(node, "on_null"));
	if (ok && r->on_null_transform && !takes_null(r) && (at = kveil_yaml_get(node, "on_null"))) {
		kveil_error_hint(problem(l, at, "on_null: transform, and %s takes no null", r->action->name),
				 "nulls stay null without it; replace and remove take them");
		ok = false;
	}
	return ok && r->path;
}

bool kveil_loader_read_rule(struct kveil_loader *l, const struct kveil_yaml *node, int view, struct kveil_rule *r)
{
	struct rule_words words = {0};

	r->line = node->line;
	r->column = node->column;
	r->view = view;
	if (node->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(l, node, "a rule is a mapping with a path and an action"),
				 "- {path: \"$.phone\", mask: {keep_last: 4}}");
		return false;
	}
	bool ok = kveil_options_parse(l->rule_table, node, l->file, NULL, &words, l->report);
	ok = read_words(l, node, &words.base, r) && ok;
	kveil_options_clear(l->rule_table, &words);
	if (r->path_text)
		make_id(l, view >= 0 ? l->plan->views[view].name : NULL, r);
	return ok;
}
