/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine against a slow reference that is easy to believe: random records under random rules. The reference asks
 * kveil_path_select_within for every rule (no automaton), decides node by node by walking the tree down, and writes the
 * result recursively. Where nothing goes or comes the bytes must be equal; else the documents without blanks. And a
 * value that a rule names without condition must not be found in the output at all.
 */
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/invert.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t seed = 7;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

static const char *pick(const char *const *words)
{
	uint32_t n = 0;
	while (words[n])
		n++;
	return words[draw(n)];
}

#define PICK(...) pick((const char *const[]){__VA_ARGS__, NULL})

/* --- records --- */

static const char *current_rules; /* for messages */
static uint32_t canaries;

static void write_value(struct kveil_buf *b, int depth)
{
	uint32_t kind = depth > 4 ? 9 : draw(10);

	if (kind > 5) {
		if (draw(3))
			kveil_buf_printf(b, "\"S%uS%s\"", canaries++, PICK("", "", "\\n", "\\u00e9", "\xE7\x8E\x8B"));
		else
			kveil_buf_append_str(b, PICK("1", "-2.50", "true", "null", "\"\"", "[]", "{}", "1e3"));
		return;
	}
	bool is_object = kind < 4;
	uint32_t n = draw(5);
	kveil_buf_append_str(b, is_object ? "{" : "[");
	for (uint32_t i = 0; i < n; i++) {
		kveil_buf_printf(b, "%s%s", i ? "," : "", PICK("", "", " ", "\n  "));
		if (is_object)
			kveil_buf_printf(b, "\"%s\"%s:%s", PICK("a", "b", "c", "d", "\\u0061", "x"), PICK("", " "),
					 PICK("", " "));
		write_value(b, depth + 1);
		kveil_buf_append_str(b, PICK("", "", " "));
	}
	kveil_buf_append_str(b, is_object ? "}" : "]");
}

/* --- rules --- */

static void write_path(struct kveil_buf *b)
{
	kveil_buf_append_str(b, "$");
	for (uint32_t n = 1 + draw(3); n > 0; n--)
		kveil_buf_append_str(b, PICK(".a", ".b", ".c", "[*]", "..a", "..b", "[0]", "[1]", "[-1]", "['a','b']",
					     "[0:2]", "[?@.a]", "..x", ".x"));
}

static void write_rules(struct kveil_buf *b)
{
	kveil_buf_printf(b, "name: t\ntopics: [in]\nformat: json\nunmatched: %s\n",
			 PICK("keep", "keep", "keep", "remove", "dead-letter"));
	kveil_buf_append_str(b, draw(2) ? "clear: [$.c]\n" : "");
	bool has_views = draw(4) == 0;
	kveil_buf_append_str(b, has_views ? "" : "output: out\n");
	kveil_buf_append_str(b, "fields:\n");
	for (uint32_t n = 1 + draw(4), i = 0; i < n; i++) {
		kveil_buf_append_str(b, "  - {path: \"");
		size_t begin = b->len;
		write_path(b);
		size_t len = b->len - begin;
		kveil_buf_printf(b, "\", %s, %s",
				 PICK("nullify: true", "remove: true", "replace: {with: R}", "mask: {char: x}"),
				 PICK("on_null: keep", "on_null: transform"));
		kveil_buf_append_str(
		    b, PICK("", "", "", ", when: \"@ == 1\"", ", when: \"$.a\"", ", when: \"@.a == 'z'\""));
		/* `to` beside a path that ends in a name. */
		if (b->data[begin + len - 1] != ']' && draw(3) == 0) {
			kveil_buf_append_str(b, ", to: \"");
			uint8_t *p = kveil_buf_reserve(b, len);
			memcpy(p, b->data + begin, len - 1);
			b->len += len - 1;
			kveil_buf_printf(b, "%s\"%s", PICK("c", "d", "e"), PICK("", ", keep_source: true"));
		}
		kveil_buf_append_str(b, "}\n");
	}
	if (has_views)
		kveil_buf_append_str(
		    b, "outputs:\n"
		       "  - {name: one, topic: one, fields: [{path: $.d, nullify: true}]}\n"
		       "  - {name: two, topic: two, clear: [$.d], fields: [{path: \"$.x\", remove: true}]}\n");
}

/* --- the reference --- */

struct model {
	const struct kveil_plan *plan;
	const struct kveil_view *view;
	struct kveil_doc doc;
	struct kveil_arena *arena;
	bool **names;   /* [rule of the view][node] */
	bool *is_clear; /* by `clear:` */
	bool *leads;    /* a beginning of a path finds it */
	bool fails, moves_things;
	size_t applied;
	int overwritten; /* > 0: inside what does not leave anyway */
};

static bool selected(uint32_t node, const uint32_t *nodes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (nodes[i] == node)
			return true;
	return false;
}

static bool *select_all(struct model *m, const struct kveil_path *path, bool doubt)
{
	uint32_t *nodes;
	size_t count;
	int64_t work = KVEIL_PATH_WORK;
	struct kveil_error err;
	bool *all = kveil_arena_array(m->arena, m->doc.count, sizeof *all);

	assert_int_equal(kveil_path_select_within(path, &m->doc, 0, doubt, &work, m->arena, &nodes, &count, &err),
			 KVEIL_OK);
	for (uint32_t i = 0; i < m->doc.count; i++)
		all[i] = selected(i, nodes, count);
	return all;
}

static bool holds(struct model *m, const struct kveil_rule *r, uint32_t node)
{
	enum kveil_tri tri = KVEIL_YES;
	int64_t work = KVEIL_PATH_WORK;
	struct kveil_error err;

	if (r->when)
		assert_int_equal(kveil_expr_eval_within(r->when, &m->doc, node, &work, &tri, &err), KVEIL_OK);
	return tri != KVEIL_NO;
}

/* What the action makes of a node: text, or NULL when it goes. */
static const char *transform(struct model *m, const struct kveil_rule *r, uint32_t node)
{
	const struct kveil_doc_node *n = &m->doc.nodes[node];
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	if (n->kind == KVEIL_KIND_NULL && !r->on_null_transform)
		return "null";
	if (strcmp(r->action->name, "nullify") == 0)
		return "null";
	if (strcmp(r->action->name, "replace") == 0)
		return "\"R\"";
	if (strcmp(r->action->name, "remove") == 0)
		return NULL;
	if (n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY || n->kind == KVEIL_KIND_NULL) {
		m->fails = true;
		return "null";
	}
	if (n->kind == KVEIL_KIND_BOOL) {
		/* Whether mask takes it is mask's own word. */
		m->fails |= !(r->action->kinds & KVEIL_KIND_BIT(KVEIL_KIND_BOOL));
	}
	struct kveil_span text;
	assert_int_equal(kveil_doc_text(&m->doc, node, m->arena, &text), KVEIL_OK);
	kveil_buf_append_str(&b, "\"");
	for (size_t i = 0; i < text.len; i++)
		if ((text.data[i] & 0xC0) != 0x80)
			kveil_buf_append_str(&b, "x");
	kveil_buf_append_str(&b, "\"");
	char *copy = kveil_arena_alloc(m->arena, b.len + 1);
	memcpy(copy, kveil_buf_cstr(&b), b.len + 1);
	return copy;
}

static const struct kveil_rule *in_place_rule(struct model *m, uint32_t node)
{
	for (size_t i = 0; i < m->view->rule_count; i++)
		if (m->names[i][node] && !m->view->rules[i]->to && holds(m, m->view->rules[i], node))
			return m->view->rules[i];
	return NULL;
}

/* The rules that carry a node's value elsewhere; does one of them, or of those that came too late, want it gone. */
static size_t to_rules(struct model *m, uint32_t node, const struct kveil_rule **ret, bool *ret_goes)
{
	size_t n = 0;

	*ret_goes = false;

	for (size_t i = 0; i < m->view->rule_count; i++) {
		const struct kveil_rule *r = m->view->rules[i];
		bool is_first = true;
		if (!r->to || !m->names[i][node] || !holds(m, r, node))
			continue;
		*ret_goes |= !r->keep_source;
		for (size_t k = 0; k < n; k++)
			is_first &= !kveil_span_eq(ret[k]->to_name, r->to_name);
		if (is_first)
			ret[n++] = r;
	}
	return n;
}

static bool is_named_below(struct model *m, uint32_t node)
{
	for (uint32_t i = node; i < m->doc.nodes[node].next; i++) {
		if (m->is_clear[i])
			return true;
		if (m->leads[i])
			return true;
		for (size_t k = 0; k < m->view->rule_count; k++)
			if (m->names[k][i])
				return true;
	}
	return false;
}

static bool is_named(struct model *m, uint32_t node)
{
	for (uint32_t i = node; i != UINT32_MAX; i = m->doc.nodes[i].parent) {
		if (m->is_clear[i])
			return true;
		for (size_t k = 0; k < m->view->rule_count; k++)
			if (m->names[k][i])
				return true;
	}
	return false;
}

static struct kveil_span name_of(struct model *m, uint32_t node)
{
	const struct kveil_doc_node *n = &m->doc.nodes[node];
	uint8_t *p = kveil_arena_alloc(m->arena, n->name_end - n->name_start);

	return kveil_span_of(
	    p, kveil_json_unescape(kveil_span_of(m->doc.text.data + n->name_start + 1, n->name_end - n->name_start - 2),
				   p));
}

struct child {
	uint32_t node;    /* UINT32_MAX = one that came */
	const char *text; /* what it became; NULL = look inside */
	bool goes, is_written;
	bool is_over; /* another's value takes its place: what stood there was an error all the same */
	struct kveil_span name;
	const struct kveil_rule *by; /* the `to` rule */
	uint32_t source;
};

static void emit(struct model *m, uint32_t node, bool exact, struct kveil_buf *out);

static void emit_children(struct model *m, uint32_t node, bool exact, struct kveil_buf *out)
{
	const struct kveil_doc_node *n = &m->doc.nodes[node];
	bool is_object = n->kind == KVEIL_KIND_OBJECT;
	struct child *all = kveil_arena_array(m->arena, (size_t)n->count * 6 + 1, sizeof *all);
	const struct kveil_rule *tos[16];
	size_t count = 0;

	for (uint32_t c = node + 1; c < n->next; c = m->doc.nodes[c].next) {
		struct child *x = &all[count++];
		*x = (struct child){.node = c};
		if (is_object)
			x->name = name_of(m, c);
		const struct kveil_rule *r = in_place_rule(m, c);
		bool null_kept = r && m->doc.nodes[c].kind == KVEIL_KIND_NULL && !r->on_null_transform;
		if (r && !null_kept) {
			x->text = transform(m, r, c);
			x->goes = !x->text;
			x->is_written = true;
			m->applied++;
		}
		bool source_goes;
		size_t k = to_rules(m, c, tos, &source_goes);
		for (size_t i = 0; i < k; i++) {
			m->moves_things = true;
			m->applied++;
			if (!is_object)
				m->fails = true;
			/* Where no rule writes the source itself, it goes. */
			if (!r && source_goes)
				x->goes = true;
		}
		if (m->view->unmatched != KVEIL_UNMATCHED_KEEP && !is_named(m, c) && !is_named_below(m, c))
			x->goes = true;
	}
	size_t own = count;
	for (size_t s = 0; is_object && s < own; s++) {
		bool source_goes;
		size_t k = to_rules(m, all[s].node, tos, &source_goes);
		for (size_t i = 0; i < k; i++) {
			const char *text = transform(m, tos[i], all[s].node);
			bool exists = false;
			if (!text)
				continue;
			for (size_t t = 0; t < own; t++) {
				if (!kveil_span_eq(all[t].name, tos[i]->to_name))
					continue;
				m->fails |= all[t].is_written;
				all[t].text = text;
				all[t].is_over = !all[t].goes;
				all[t].goes = false;
				all[t].is_written = exists = true;
			}
			/* Two values for one place, but for duplicates of one member that become duplicates. */
			for (size_t t = own; t < count; t++)
				if (kveil_span_eq(all[t].name, tos[i]->to_name))
					m->fails |=
					    all[t].by != tos[i] || !kveil_span_eq(all[all[t].source].name, all[s].name);
			if (!exists)
				all[count++] = (struct child){.node = UINT32_MAX,
							      .text = text,
							      .name = tos[i]->to_name,
							      .by = tos[i],
							      .source = (uint32_t)s};
		}
	}
	if (m->view->unmatched == KVEIL_UNMATCHED_DEAD_LETTER && !m->overwritten)
		for (size_t s = 0; s < own; s++)
			m->fails |= all[s].goes && !is_named(m, all[s].node) && !is_named_below(m, all[s].node);
	for (size_t s = 0; s < own; s++) {
		KVEIL_CLEANUP_BUF struct kveil_buf unused = KVEIL_BUF_INIT;
		if (!all[s].is_over)
			continue;
		m->overwritten++;
		emit(m, all[s].node, false, &unused);
		m->overwritten--;
	}
	const uint8_t *text = m->doc.text.data;
	uint32_t at = n->start;
	bool first = true;
	if (!exact)
		kveil_buf_append_byte(out, is_object ? '{' : '[');
	for (size_t s = 0; s < count; s++) {
		const struct child *x = &all[s];
		m->moves_things |= x->goes || x->node == UINT32_MAX;
		if (x->goes)
			continue;
		if (exact && x->node != UINT32_MAX) {
			kveil_buf_append(out, text + at, m->doc.nodes[x->node].start - at);
			at = m->doc.nodes[x->node].end;
		} else if (!exact) {
			kveil_buf_append_str(out, first ? "" : ",");
			if (is_object && x->node == UINT32_MAX)
				kveil_buf_printf(out, "\"%.*s\":", (int)x->name.len, (const char *)x->name.data);
			else if (is_object)
				kveil_buf_printf(
				    out,
				    "%.*s:", (int)(m->doc.nodes[x->node].name_end - m->doc.nodes[x->node].name_start),
				    (const char *)text + m->doc.nodes[x->node].name_start);
		}
		first = false;
		if (x->text)
			kveil_buf_append_str(out, x->text);
		else
			emit(m, x->node, exact, out);
	}
	if (exact)
		kveil_buf_append(out, text + at, n->end - at);
	else
		kveil_buf_append_byte(out, is_object ? '}' : ']');
}

static void emit(struct model *m, uint32_t node, bool exact, struct kveil_buf *out)
{
	const struct kveil_doc_node *n = &m->doc.nodes[node];

	if (n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY)
		emit_children(m, node, exact, out);
	else
		kveil_buf_append(out, m->doc.text.data + n->start, n->end - n->start);
}

/* A document without blanks. */
static void squeeze(struct kveil_arena *arena, struct kveil_span text, struct kveil_buf *out)
{
	struct kveil_scan s = {.arena = arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	struct kveil_error err;

	if (kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, text, &err))
		fail_msg("the output is not JSON: %s at %zu: %.*s", err.message, err.byte, (int)text.len,
			 (const char *)text.data);
	struct kveil_view none = {0};
	struct model m = {.view = &none, .doc = s.doc, .arena = arena};
	emit(&m, 0, false, out);
	kveil_scan_clear(&s);
}

/* Empty containers where the path's beginnings end. */
static void add_leads(struct model *m, const struct kveil_path *path)
{
	struct kveil_path p = *path;

	for (p.count = 1; p.count < path->count; p.count++) {
		bool *found = select_all(m, &p, false);
		for (uint32_t k = 0; k < m->doc.count; k++) {
			const struct kveil_doc_node *n = &m->doc.nodes[k];
			bool is_container = n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY;
			m->leads[k] |= found[k] && is_container && n->next == k + 1;
		}
	}
}

static void init_model(struct model *m, const struct kveil_plan *plan, size_t v, const struct kveil_doc *doc,
		       struct kveil_arena *arena)
{
	*m = (struct model){.plan = plan, .view = &plan->views[v], .doc = *doc, .arena = arena};
	m->names = kveil_arena_array(arena, m->view->rule_count, sizeof *m->names);
	for (size_t i = 0; i < m->view->rule_count; i++)
		m->names[i] = select_all(m, m->view->rules[i]->path, true);
	m->is_clear = kveil_arena_array(arena, m->doc.count, sizeof *m->is_clear);
	memset(m->is_clear, 0, m->doc.count);
	m->leads = kveil_arena_array(arena, m->doc.count, sizeof *m->leads);
	memset(m->leads, 0, m->doc.count);
	for (size_t i = 0; i < m->view->rule_count; i++)
		if (m->view->rules[i]->part == KVEIL_PART_VALUE)
			add_leads(m, m->view->rules[i]->path);
	for (size_t i = 0; i < m->view->clear_count; i++)
		add_leads(m, m->view->clear[i]);
	for (size_t i = 0; i < m->view->clear_count; i++) {
		bool *clear = select_all(m, m->view->clear[i], false);
		for (uint32_t k = 0; k < m->doc.count; k++)
			m->is_clear[k] |= clear[k];
	}
}

static void check_view(const struct kveil_plan *plan, size_t v, struct kveil_span text,
		       const struct kveil_result *result, bool *ret_fails, size_t *applied)
{
	struct kveil_arena arena;
	struct kveil_error err;
	KVEIL_CLEANUP_BUF struct kveil_buf expected = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf exact = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf got = KVEIL_BUF_INIT;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	assert_int_equal(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, text, &err), KVEIL_OK);
	struct model m;
	init_model(&m, plan, v, &s.doc, &arena);
	emit(&m, 0, false, &expected);
	bool is_scalar = m.doc.nodes[0].kind != KVEIL_KIND_OBJECT && m.doc.nodes[0].kind != KVEIL_KIND_ARRAY;
	if (m.view->unmatched != KVEIL_UNMATCHED_KEEP && is_scalar && !is_named(&m, 0))
		m.fails = true;
	*ret_fails |= m.fails;
	*applied += m.applied;
	if (result->verdict == KVEIL_PRODUCE && !m.fails) {
		struct kveil_span out = result->outputs[v].record.value;
		squeeze(&arena, out, &got);
		kveil_buf_cstr(&expected);
		if (!kveil_span_eq(kveil_buf_span(&got), kveil_buf_span(&expected)))
			fail_msg("view %zu of %.*s\n got      %.*s\n expected %s", v, (int)text.len,
				 (const char *)text.data, (int)out.len, (const char *)out.data, expected.data);
		if (!m.moves_things) {
			/* Around the root, too. */
			kveil_buf_append(&exact, text.data, m.doc.nodes[0].start);
			emit(&m, 0, true, &exact);
			kveil_buf_append(&exact, text.data + m.doc.nodes[0].end, text.len - m.doc.nodes[0].end);
			assert_true(kveil_span_eq(out, kveil_buf_span(&exact)));
		}
		/* Independently of how: what is named is not there. */
		for (size_t i = 0; i < m.view->rule_count; i++) {
			const struct kveil_rule *r = m.view->rules[i];
			for (uint32_t k = 0; k < m.doc.count; k++) {
				const struct kveil_doc_node *n = &m.doc.nodes[k];
				const uint8_t *raw = text.data + n->start;
				if (r->when || r->keep_source || !m.names[i][k] || n->kind != KVEIL_KIND_STRING ||
				    n->end - n->start < 5)
					continue;
				const uint8_t *stop = memchr(raw + 2, 'S', n->end - n->start - 2);
				if (memmem(out.data, out.len, raw + 1, (size_t)(stop - raw)))
					fail_msg("%s\nrule %s left a clear value of %.*s in %.*s", current_rules, r->id,
						 (int)text.len, (const char *)text.data, (int)out.len,
						 (const char *)out.data);
			}
		}
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

static void test_random(void **state)
{
	(void)state;
	size_t plans = 0, produced = 0, failed = 0, applied = 0;

	for (int round = 0; round < 6000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf yaml = KVEIL_BUF_INIT;
		struct kveil_report report = {0};
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		struct kveil_engine *engine;
		struct kveil_error err;
		write_rules(&yaml);
		struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(&yaml), "r.yaml", NULL, &report);
		kveil_report_clear(&report);
		if (!plan)
			continue; /* `check` refuses it */
		plans++;
		assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("s"), &ks, &err), KVEIL_OK);
		assert_int_equal(kveil_keyring_new(ks, &ring, &err), KVEIL_OK);
		assert_int_equal(kveil_engine_new(plan, ring, NULL, &engine, &err), KVEIL_OK);
		for (int i = 0; i < 40; i++) {
			KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
			struct kveil_result result;
			bool fails = false;
			kveil_buf_append_str(&text, PICK("", " ", "\n"));
			write_value(&text, 0);
			kveil_buf_append_str(&text, PICK("", " ", "\n"));
			struct kveil_record record = {.value = kveil_buf_span(&text)};
			kveil_engine_run(engine, &record, &result);
			current_rules = kveil_buf_cstr(&yaml);
			for (size_t v = 0; v < plan->view_count; v++)
				check_view(plan, v, record.value, &result, &fails, &applied);
			if (fails != (result.verdict != KVEIL_PRODUCE))
				fail_msg("%s\n%.*s\n the engine says %s %s, the reference %s", kveil_buf_cstr(&yaml),
					 (int)text.len, (const char *)text.data,
					 result.verdict == KVEIL_PRODUCE ? "ok"
									 : kveil_status_code(result.error.status),
					 result.verdict == KVEIL_PRODUCE ? "" : result.error.message,
					 fails ? "error" : "ok");
			if (fails)
				failed++;
			else
				produced++;
		}
		kveil_engine_free(engine);
		kveil_keyring_free(ring);
		kveil_keystore_unref(ks);
		kveil_plan_unref(plan);
	}
	/* It must have had something to do. */
	print_message("%zu rule files, %zu records out, %zu refused, %zu values written\n", plans, produced, failed,
		      applied);
	assert_true(plans > 500 && produced > 10000 && failed > 1000 && applied > 10000);
}

/* --- views against each other --- */

static void write_own_rule(struct kveil_buf *b, const char *mask)
{
	const char *stem = PICK("$.", "$.", "$.", "$.a.", "$..", "$.*.", "$[0:2].", "$[?@.b].");

	kveil_buf_printf(b, "{path: \"%s%s\", %s, %s%s}", stem, PICK("a", "b", "c", "['a','b']", "*"),
			 PICK("nullify: true", "remove: true", "replace: {with: R}", mask),
			 PICK("on_null: keep", "required: false"),
			 PICK("", "", "", "", ", when: \"$.x == 1\"", ", when: \"@ == 1\"", ", when: \"$.a\""));
}

static void write_own_rules(struct kveil_buf *b, uint32_t most)
{
	kveil_buf_append_str(b, "[");
	for (uint32_t n = draw(most + 1), i = 0; i < n; i++) {
		kveil_buf_append_str(b, i ? ", " : "");
		write_own_rule(b, "mask: {char: x}");
	}
	kveil_buf_append_str(b, "]");
}

static void write_views(struct kveil_buf *b)
{
	kveil_buf_append_str(b, "name: t\ntopics: [in]\nfields: ");
	write_own_rules(b, 1);
	kveil_buf_append_str(b, "\noutputs:\n");
	for (uint32_t i = 0; i < 2; i++) {
		kveil_buf_printf(b, "  - {name: v%u, topic: out%u, unmatched: %s, clear: [%s], fields: ", i, i,
				 PICK("keep", "remove", "dead-letter"),
				 PICK("", "", "$.x", "$.c", "$.a.a", "$.*", "$..b", "\"$['a','c']\""));
		write_own_rules(b, 3);
		kveil_buf_append_str(b, "}\n");
	}
}

/* Does a rule of the view take this node, or what it is in? */
static bool is_protected(struct model *m, uint32_t node)
{
	for (uint32_t i = node; i != UINT32_MAX; i = m->doc.nodes[i].parent)
		for (size_t k = 0; k < m->view->rule_count; k++) {
			const struct kveil_rule *r = m->view->rules[k];
			if (m->names[k][i] && r->action->effect == KVEIL_PROTECTS && !r->keep_source && holds(m, r, i))
				return true;
		}
	return false;
}

static bool is_under_clear(struct model *m, uint32_t node)
{
	for (uint32_t i = node; i != UINT32_MAX; i = m->doc.nodes[i].parent)
		if (m->is_clear[i])
			return true;
	return false;
}

static void check_across(const struct kveil_plan *plan, struct kveil_span text, const struct kveil_result *result,
			 size_t *looked)
{
	struct model ms[2];
	struct kveil_arena arena;
	struct kveil_error err;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	assert_int_equal(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, text, &err), KVEIL_OK);
	for (size_t v = 0; v < 2; v++)
		init_model(&ms[v], plan, v, &s.doc, &arena);
	for (uint32_t i = 0; i < s.doc.count; i++) {
		const struct kveil_doc_node *n = &s.doc.nodes[i];
		if (n->kind != KVEIL_KIND_STRING || n->end - n->start < 5)
			continue;
		const uint8_t *raw = text.data + n->start, *stop = memchr(raw + 2, 'S', n->end - n->start - 2);
		for (size_t v = 0; v < 2; v++) {
			struct kveil_span out = result->outputs[1 - v].record.value;
			if (!is_protected(&ms[v], i) || is_under_clear(&ms[1 - v], i))
				continue;
			++*looked;
			if (memmem(out.data, out.len, raw + 1, (size_t)(stop - raw)))
				fail_msg("%s\nwhat view %zu protects of %.*s is clear in %.*s", current_rules, v,
					 (int)text.len, (const char *)text.data, (int)out.len, (const char *)out.data);
		}
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

/* What `check` accepts leaves nothing clear in one view that another protects. */
static void test_views(void **state)
{
	(void)state;
	size_t plans = 0, produced = 0, looked = 0;

	for (int round = 0; round < 6000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf yaml = KVEIL_BUF_INIT;
		struct kveil_report report = {0};
		struct kveil_engine *engine;
		struct kveil_error err;
		write_views(&yaml);
		struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(&yaml), "r.yaml", NULL, &report);
		kveil_report_clear(&report);
		if (!plan || plan->rule_count == 0) {
			kveil_plan_unref(plan);
			continue;
		}
		plans++;
		assert_int_equal(kveil_engine_new(plan, NULL, NULL, &engine, &err), KVEIL_OK);
		current_rules = kveil_buf_cstr(&yaml);
		for (int i = 0; i < 40; i++) {
			KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
			struct kveil_result result;
			write_value(&text, 0);
			kveil_engine_run(engine, &(struct kveil_record){.value = kveil_buf_span(&text)}, &result);
			if (result.verdict != KVEIL_PRODUCE)
				continue;
			produced++;
			check_across(plan, kveil_buf_span(&text), &result, &looked);
		}
		kveil_engine_free(engine);
		kveil_plan_unref(plan);
	}
	print_message("%zu rule files, %zu records out, %zu values held against the other view\n", plans, produced,
		      looked);
	assert_true(plans > 500 && produced > 10000 && looked > 1000);
}

/* --- values that name a JSON Schema --- */

static void write_typed_rules(struct kveil_buf *b, bool *ret_moves)
{
	bool has_views = draw(4) == 0;

	*ret_moves = draw(4) == 0;
	kveil_buf_printf(b, "name: t\ntopics: [in]\nunmatched: %s\nclear: [%s]\n",
			 PICK("keep", "keep", "keep", "remove"), PICK("", "$.c", "$.*"));
	kveil_buf_append_str(b, has_views ? "fields:\n" : "output: out\nfields:\n");
	for (uint32_t n = 1 + draw(3); n > 0; n--)
		kveil_buf_printf(b, "  - {path: \"%s%s\", %s%s}\n", PICK("$.", "$.", "$.a.", "$..", "$.*.", "$[0:2]."),
				 PICK("a", "b", "c", "x"),
				 PICK("mask: {char: x}", "mask: {char: x}", "replace: {with: R}", "replace: {with: 7}",
				      "replace: {with: 7.5}", "replace: {with: true}", "remove: true", "nullify: true"),
				 PICK("", "", ", when: \"@ == 1\"", ", when: \"$.a\""));
	if (*ret_moves)
		kveil_buf_printf(b, "  - {path: $.a, replace: {with: %s}, to: $.b%s}\n", PICK("R", "7"),
				 PICK("", ", keep_source: true"));
	if (has_views)
		kveil_buf_append_str(
		    b, "outputs:\n"
		       "  - {name: one, topic: one, fields: [{path: $.x, replace: {with: 7}}]}\n"
		       "  - {name: two, topic: two, clear: [$.x], fields: [{path: \"$.b\", replace: {with: R}}]}\n");
}

static bool is_whole(struct kveil_span number)
{
	return !memchr(number.data, '.', number.len) && !memchr(number.data, 'e', number.len);
}

static struct kveil_span raw_of(const struct kveil_doc *d, uint32_t i)
{
	return kveil_span_of(d->text.data + d->nodes[i].start, d->nodes[i].end - d->nodes[i].start);
}

static struct kveil_span raw_name_of(const struct kveil_doc *d, uint32_t i)
{
	return kveil_span_of(d->text.data + d->nodes[i].name_start, d->nodes[i].name_end - d->nodes[i].name_start);
}

/* Of the whole documents, as a schema would see it. */
static bool have_same_types(struct kveil_span in, struct kveil_span out)
{
	struct kveil_arena arena;
	struct kveil_error err;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan x = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true}, y = x;
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	assert_int_equal(json->scan(&x, in, &err), KVEIL_OK);
	assert_int_equal(json->scan(&y, out, &err), KVEIL_OK);
	bool same = x.doc.count == y.doc.count;
	for (uint32_t i = 0; same && i < x.doc.count; i++) {
		same = x.doc.nodes[i].kind == y.doc.nodes[i].kind && x.doc.nodes[i].count == y.doc.nodes[i].count &&
		       kveil_span_eq(raw_name_of(&x.doc, i), raw_name_of(&y.doc, i));
		if (same && x.doc.nodes[i].kind == KVEIL_KIND_NUMBER)
			same = !is_whole(raw_of(&x.doc, i)) || is_whole(raw_of(&y.doc, i));
	}
	kveil_scan_clear(&x);
	kveil_scan_clear(&y);
	kveil_arena_clear(&arena);
	return same;
}

struct typed_counts {
	size_t plans, same, written, other;
};

/* framed: what one engine made of the value behind an id; plain: what the other made of it alone. */
static void compare_framed(const struct kveil_result *framed, const struct kveil_result *plain, struct kveil_span text,
			   bool moves, struct typed_counts *counts)
{
	bool same = plain->verdict == KVEIL_PRODUCE, produced = framed->verdict == KVEIL_PRODUCE;

	for (size_t v = 0; same && v < plain->output_count; v++)
		same = have_same_types(text, plain->outputs[v].record.value);
	counts->same += same;
	counts->other += !same;
	/* What goes and comes again is refused as well. */
	if (produced != same && !(moves && same))
		fail_msg("%s\n%.*s\nbehind an id: %s, although its types %s", current_rules, (int)text.len,
			 (const char *)text.data, produced ? "ok" : framed->error.message, same ? "stay" : "change");
	for (size_t v = 0; produced && v < plain->output_count; v++) {
		struct kveil_span out = framed->outputs[v].record.value;
		assert_true(out.len > 5);
		counts->written += out.len != text.len + 5 || memcmp(out.data + 5, text.data, text.len) != 0;
		assert_memory_equal(out.data, "\0\1\2\3\4", 5);
		assert_true(kveil_span_eq(kveil_span_of(out.data + 5, out.len - 5), plain->outputs[v].record.value));
	}
}

static void run_typed(struct kveil_engine *behind_id, struct kveil_engine *alone, bool moves,
		      struct typed_counts *counts)
{
	for (int i = 0; i < 40; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		struct kveil_result framed, plain;
		kveil_buf_append(&text, "\0\1\2\3\4", 5);
		write_value(&text, 0);
		kveil_buf_append_str(&text, PICK("", " ", "\n"));
		struct kveil_record record = {.value = kveil_buf_span(&text)};
		kveil_engine_run(behind_id, &record, &framed);
		record.value = kveil_span_of(text.data + 5, text.len - 5);
		kveil_engine_run(alone, &record, &plain);
		compare_framed(&framed, &plain, record.value, moves, counts);
	}
}

/* Behind an id comes out what comes out alone, where no type has changed; else nothing. */
static void test_types(void **state)
{
	(void)state;
	struct typed_counts counts = {0};

	for (int round = 0; round < 4000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf yaml = KVEIL_BUF_INIT;
		struct kveil_report report = {0};
		struct kveil_engine *engines[2];
		struct kveil_error err;
		bool moves;
		write_typed_rules(&yaml, &moves);
		struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(&yaml), "r.yaml", NULL, &report);
		kveil_report_clear(&report);
		if (!plan)
			continue;
		counts.plans++;
		current_rules = kveil_buf_cstr(&yaml);
		for (size_t i = 0; i < 2; i++)
			assert_int_equal(kveil_engine_new(plan, NULL, NULL, &engines[i], &err), KVEIL_OK);
		run_typed(engines[0], engines[1], moves, &counts);
		for (size_t i = 0; i < 2; i++)
			kveil_engine_free(engines[i]);
		kveil_plan_unref(plan);
	}
	print_message("%zu rule files, %zu values with the types they had, %zu of them written, %zu with others\n",
		      counts.plans, counts.same, counts.written, counts.other);
	assert_true(counts.plans > 500 && counts.same > 10000 && counts.written > 500 && counts.other > 5000);
}

/* --- rules against those before them --- */

#define WEAK "mask: {mask_first: 1}" /* leaves the rest of a value */

enum { MOST_LINES = 5 };

struct lines {
	char rules[MOST_LINES][160];
	uint32_t count;
	const char *unmatched, *clear;
};

static void draw_line(char *ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	write_own_rule(&b, PICK("mask: {char: x}", WEAK));
	snprintf(ret, sizeof((struct lines *)0)->rules[0], "%s", kveil_buf_cstr(&b));
}

static void change_lines(struct lines *l)
{
	uint32_t at = draw(l->count), to = draw(l->count);
	struct lines before = *l;

	switch (draw(6)) {
	case 0:
		l->unmatched = PICK("keep", "remove", "dead-letter");
		break;
	case 1:
		l->clear = PICK("", "$.c", "$.a.b");
		break;
	case 2:
		draw_line(l->rules[at]);
		break;
	case 3:
		memcpy(l->rules[at], before.rules[to], sizeof l->rules[0]);
		memcpy(l->rules[to], before.rules[at], sizeof l->rules[0]);
		break;
	case 4:
		l->count -= l->count > 1;
		for (uint32_t i = at; i < l->count; i++)
			memcpy(l->rules[i], before.rules[i + 1], sizeof l->rules[0]);
		break;
	default:
		l->count += l->count < MOST_LINES;
		for (uint32_t i = at + 1; i < l->count; i++)
			memcpy(l->rules[i], before.rules[i - 1], sizeof l->rules[0]);
		draw_line(l->rules[at]);
	}
}

static struct kveil_plan *parse_lines(const struct lines *l, struct kveil_buf *yaml)
{
	struct kveil_report report = {0};

	kveil_buf_printf(yaml, "name: t\ntopics: [in]\noutput: out\nunmatched: %s\nclear: [%s]\nfields:\n",
			 l->unmatched, l->clear);
	for (uint32_t i = 0; i < l->count; i++)
		kveil_buf_printf(yaml, "  - %s\n", l->rules[i]);
	struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(yaml), "r.yaml", NULL, &report);
	kveil_report_clear(&report);
	return plan;
}

static bool protects_less(struct kveil_plan *before, struct kveil_plan *now)
{
	struct kveil_plan_set *a = kveil_plan_set_of(kveil_plan_ref(before), "{topic}.dead"),
			      *b = kveil_plan_set_of(kveil_plan_ref(now), "{topic}.dead");
	bool yes = kveil_plan_set_protects_less(a, b, NULL);

	kveil_plan_set_unref(a);
	kveil_plan_set_unref(b);
	return yes;
}

/* Does the plan leave nothing of this node? */
static bool is_hidden(struct model *m, uint32_t node)
{
	for (uint32_t i = node; i != UINT32_MAX; i = m->doc.nodes[i].parent) {
		const struct kveil_rule *r = in_place_rule(m, i);
		if (r && !strstr(r->action_text, "mask_first"))
			return true;
	}
	return m->view->unmatched != KVEIL_UNMATCHED_KEEP && !is_named(m, node);
}

/* What the plan hides of the record is not in what came of it. */
static void check_hidden(const struct kveil_plan *plan, struct kveil_span text, struct kveil_span out, size_t *looked)
{
	struct model m;
	struct kveil_arena arena;
	struct kveil_error err;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	assert_int_equal(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, text, &err), KVEIL_OK);
	init_model(&m, plan, 0, &s.doc, &arena);
	for (uint32_t i = 0; i < s.doc.count; i++) {
		const struct kveil_doc_node *n = &s.doc.nodes[i];
		if (n->kind != KVEIL_KIND_STRING || n->end - n->start < 5 || !is_hidden(&m, i))
			continue;
		const uint8_t *raw = text.data + n->start, *stop = memchr(raw + 2, 'S', n->end - n->start - 2);
		++*looked;
		if (memmem(out.data, out.len, raw + 2, (size_t)(stop - raw) - 1))
			fail_msg("%s\nwhat the rules before hide of %.*s is clear in %.*s", current_rules,
				 (int)text.len, (const char *)text.data, (int)out.len, (const char *)out.data);
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

/* A reload that passes without a signal shows nothing that was hidden before. */
static void test_reload(void **state)
{
	(void)state;
	size_t pairs = 0, accepted = 0, looked = 0;

	for (int round = 0; round < 12000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf old_yaml = KVEIL_BUF_INIT, yaml = KVEIL_BUF_INIT;
		struct lines l = {.count = 1 + draw(3), .unmatched = PICK("keep", "keep", "remove"), .clear = ""};
		struct kveil_engine *engine;
		struct kveil_error err;
		for (uint32_t i = 0; i < l.count; i++)
			draw_line(l.rules[i]);
		struct kveil_plan *before = parse_lines(&l, &old_yaml);
		for (uint32_t n = 1 + draw(3); n > 0; n--)
			change_lines(&l);
		struct kveil_plan *now = parse_lines(&l, &yaml);
		current_rules = kveil_buf_cstr(&yaml);
		pairs += before && now;
		if (before && now && !protects_less(before, now) &&
		    !kveil_span_eq(kveil_buf_span(&old_yaml), kveil_buf_span(&yaml))) {
			accepted++;
			assert_int_equal(kveil_engine_new(now, NULL, NULL, &engine, &err), KVEIL_OK);
			for (int i = 0; i < 20; i++) {
				KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
				struct kveil_result result;
				write_value(&text, 0);
				kveil_engine_run(engine, &(struct kveil_record){.value = kveil_buf_span(&text)},
						 &result);
				if (result.verdict == KVEIL_PRODUCE)
					check_hidden(before, kveil_buf_span(&text), result.outputs[0].record.value,
						     &looked);
			}
			kveil_engine_free(engine);
		}
		kveil_plan_unref(before);
		kveil_plan_unref(now);
	}
	print_message("%zu changes, %zu accepted, %zu values looked for\n", pairs, accepted, looked);
	assert_true(pairs > 2000 && accepted > 300 && looked > 1000);
}

/* --- what was sealed, opened again --- */

static void write_sealing_rules(struct kveil_buf *b, bool is_event)
{
	kveil_buf_printf(b, "name: t\ntopics: [in]\noutput: out\nenvelope: %s\nunmatched: %s\nclear: [%s]\nfields:\n",
			 is_event ? PICK("debezium", "auto") : "none", PICK("keep", "keep", "remove"),
			 PICK("", "$.a", "$.i[*].t", "$.l"));
	for (uint32_t n = 1 + draw(4), i = 0; i < n; i++) {
		kveil_buf_printf(
		    b, "  - {path: \"%s\", %s%s%s}\n",
		    PICK("$.a", "$.b", "$.c", "$.l[0]", "$.l[1]", "$.l[-1]", "$.l[1:]", "$.l[*]", "$.i[*].n",
			 "$.i[*].t", "$.i[0].n", "$.i[?@.t == '1'].n", "$.i[?@.t].n", "$.i[*]", "$.i", "$..n", "$..t"),
		    PICK("encrypt: {key: k}", "encrypt: {key: k2, type: json}", "tokenize: {key: f, alphabet: digits}",
			 "tokenize: {key: f, alphabet: digits}", "encrypt: {key: 'k-{$.c}'}", "mask: {char: x}",
			 "remove: true", "nullify: true", "replace: {with: \"314159265358\"}"),
		    PICK("", "", "", ", when: \"$.a == '1'\"", ", when: \"$.c\"", ", when: \"length($.l) > 1\""),
		    PICK("", "", "", "", ", to: $.a", ", to: $.x", ", to: \"$.i[*].x\""));
	}
}

static void write_digits(struct kveil_buf *b)
{
	if (draw(6) == 0)
		kveil_buf_append_str(b, PICK("\"1\"", "null", "{}", "7"));
	else
		kveil_buf_printf(b, "\"%u%09u\"", 100 + draw(800), draw(1000000000));
}

static void write_member(struct kveil_buf *b, const char *name)
{
	if (draw(5) == 0)
		return;
	kveil_buf_printf(b, "%s\"%s\":", b->data[b->len - 1] == '{' ? "" : ",", name);
	write_digits(b);
}

static void write_row(struct kveil_buf *b)
{
	kveil_buf_append_str(b, "{");
	for (const char *const *name = (const char *const[]){"a", "b", "c", "x", NULL}; *name; name++)
		write_member(b, *name);
	kveil_buf_printf(b, "%s\"l\":[", b->data[b->len - 1] == '{' ? "" : ",");
	for (uint32_t n = draw(4), i = 0; i < n; i++) {
		kveil_buf_append_str(b, i ? "," : "");
		write_digits(b);
	}
	kveil_buf_append_str(b, "],\"i\":[");
	for (uint32_t n = draw(4), i = 0; i < n; i++) {
		kveil_buf_append_str(b, i ? ",{" : "{");
		write_member(b, "n");
		write_member(b, "t");
		kveil_buf_append_str(b, "}");
	}
	kveil_buf_append_str(b, "]}");
}

static void write_record(struct kveil_buf *b, bool is_event)
{
	if (is_event) {
		kveil_buf_append_str(b, "{\"op\":\"u\",\"source\":{\"db\":\"d\",\"table\":\"t\"},\"before\":");
		write_row(b);
		kveil_buf_append_str(b, ",\"after\":");
	}
	write_row(b);
	kveil_buf_append_str(b, is_event ? "}" : "");
}

/* Every string and number of the opened record stands in the original or in the sealed one. */
static void check_opened(struct kveil_span original, struct kveil_span sealed, struct kveil_span opened,
			 size_t *brought)
{
	struct kveil_arena arena;
	struct kveil_error err;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	assert_int_equal(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, opened, &err), KVEIL_OK);
	for (uint32_t i = 0; i < s.doc.count; i++) {
		const struct kveil_doc_node *n = &s.doc.nodes[i];
		const uint8_t *raw = opened.data + n->start;
		size_t len = n->end - n->start;
		if (n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY)
			continue;
		if (memmem(sealed.data, sealed.len, raw, len))
			continue;
		if (!memmem(original.data, original.len, raw, len))
			fail_msg("%s\n%.*s\nsealed %.*s\nopened %.*s", current_rules, (int)original.len,
				 (const char *)original.data, (int)sealed.len, (const char *)sealed.data,
				 (int)opened.len, (const char *)opened.data);
		++*brought;
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

static void test_inverse(void **state)
{
	(void)state;
	size_t inverses = 0, produced = 0, brought[2] = {0};
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_error err;

	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("s"), &ks, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(ks, &ring, &err), KVEIL_OK);
	for (int round = 0; round < 4000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf yaml = KVEIL_BUF_INIT;
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		struct kveil_report report = {0};
		struct kveil_engine *seal = NULL, *open = NULL;
		const bool is_event = round % 2;
		write_sealing_rules(&yaml, is_event);
		struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(&yaml), "r.yaml", NULL, &report),
				  *inverse = NULL;
		kveil_report_clear(&report);
		current_rules = kveil_buf_cstr(&yaml);
		if (plan && kveil_plan_write_inverse(plan, 0, &text) > 0) {
			inverse = kveil_plan_parse(kveil_buf_span(&text), "inverse", NULL, &report);
			if (!inverse) {
				kveil_report_print(&report, stderr);
				fail_msg("%s\nhas no inverse that passes:\n%s", current_rules, kveil_buf_cstr(&text));
			}
		}
		kveil_report_clear(&report);
		if (inverse && kveil_engine_new(plan, ring, NULL, &seal, &err) == KVEIL_OK &&
		    kveil_engine_new(inverse, ring, NULL, &open, &err) == KVEIL_OK)
			for (int i = 0; i < 20; i++) {
				KVEIL_CLEANUP_BUF struct kveil_buf record = KVEIL_BUF_INIT;
				struct kveil_result sealed, opened;
				inverses += i == 0;
				write_record(&record, is_event);
				struct kveil_record in = {.value = kveil_buf_span(&record)};
				kveil_engine_run(seal, &in, &sealed);
				if (sealed.verdict != KVEIL_PRODUCE)
					continue;
				kveil_engine_run(open, &sealed.outputs[0].record, &opened);
				if (opened.verdict != KVEIL_PRODUCE)
					continue;
				produced++;
				check_opened(in.value, sealed.outputs[0].record.value, opened.outputs[0].record.value,
					     &brought[is_event]);
			}
		kveil_engine_free(seal);
		kveil_engine_free(open);
		kveil_plan_unref(plan);
		kveil_plan_unref(inverse);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	print_message("%zu inverses, %zu records opened, %zu values brought back, %zu in events\n", inverses, produced,
		      brought[0], brought[1]);
	assert_true(inverses > 100 && produced > 1000 && brought[0] > 500 && brought[1] > 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_views),
					   cmocka_unit_test(test_types), cmocka_unit_test(test_reload),
					   cmocka_unit_test(test_inverse)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
