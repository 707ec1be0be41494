/* SPDX-License-Identifier: Apache-2.0 */
/* mask: hides a part of a text. */
#include "base/grapheme.h"
#include "transform/action.h"

#include <stddef.h>

struct mask {
	uint64_t keep_first, keep_last, mask_first, mask_last; /* in grapheme clusters */
	char *mark;
};

enum { MOST = 1 << 20 };

static const struct kveil_option options[] = {
    {"keep_first", KVEIL_OPT_UINT, offsetof(struct mask, keep_first), .def = "0", .max = MOST,
     .help = "characters at the start that stay clear; the rest is masked"},
    {"keep_last", KVEIL_OPT_UINT, offsetof(struct mask, keep_last), .def = "0", .max = MOST,
     .help = "characters at the end that stay clear; the rest is masked"},
    {"mask_first", KVEIL_OPT_UINT, offsetof(struct mask, mask_first), .def = "0", .max = MOST,
     .help = "characters at the start to mask; the rest stays clear"},
    {"mask_last", KVEIL_OPT_UINT, offsetof(struct mask, mask_last), .def = "0", .max = MOST,
     .help = "characters at the end to mask; the rest stays clear"},
    {"char", KVEIL_OPT_CHAR, offsetof(struct mask, mark), .def = "*", .help = "replaces each masked character"},
    {0},
};

static void mask_check(const void *params, const char *file, const struct kveil_yaml *node, struct kveil_report *report)
{
	const struct mask *p = params;
	bool keeps = kveil_options_given(node, "keep_first") || kveil_options_given(node, "keep_last");
	bool masks = kveil_options_given(node, "mask_first") || kveil_options_given(node, "mask_last");
	size_t n = strlen(p->mark);
	uint8_t twice[256];

	if (keeps && masks)
		kveil_error_hint(kveil_report_at(report, file, node->line, node->column,
						 "keep_… and mask_… are opposites: use one kind in a rule"),
				 "keep_first: 3 masks everything after the third character; mask_first: 3 masks only "
				 "those three");
	else if (masks && p->mask_first == 0 && p->mask_last == 0)
		kveil_error_hint(kveil_report_at(report, file, node->line, node->column, "this masks nothing"),
				 "mask: {} masks the whole value");
	if (n > sizeof twice / 2)
		kveil_report_at(report, file, node->line, node->column, "'char' is longer than %zu bytes",
				sizeof twice / 2);
	else {
		/* The masked text must be as long as the value was: one that melts into its neighbour is not. */
		memcpy(twice, p->mark, n);
		memcpy(twice + n, p->mark, n);
		if (kveil_grapheme_count(twice, 2 * n) != 2)
			kveil_error_hint(kveil_report_at(report, file, node->line, node->column,
							 "'char' joins with itself to one character"),
					 "such as \"*\", \"#\" or \"●\"");
	}
}

/* Where n clusters are cut in three: [0, a) [a, b) [b, n). keep_… masks the middle, mask_… the outer two. */
static void cut(const struct mask *p, bool mask_outer, size_t n, size_t *a, size_t *b)
{
	size_t first = (size_t)(mask_outer ? p->mask_first : p->keep_first);
	size_t last = (size_t)(mask_outer ? p->mask_last : p->keep_last);

	if (first + last < n) {
		*a = first;
		*b = n - last;
	} else { /* as short as what would stay clear, or all of it to be masked: nothing stays clear */
		*a = mask_outer ? n : 0;
		*b = n;
	}
}

static void write_part(struct kveil_buf *out, const struct mask *p, struct kveil_span part, size_t clusters,
		       bool masked)
{
	size_t bytes;

	if (!masked) {
		kveil_buf_append_span(out, part);
		return;
	}
	size_t n = p->mark[1] ? strlen(p->mark) : 1; /* most often one byte; a call is as long as a short field */
	uint8_t *room = __builtin_mul_overflow(clusters, n, &bytes) ? NULL : kveil_buf_reserve(out, bytes);
	if (!room) {
		out->failed = true;
		return;
	}
	out->len += bytes;
	if (n == 1)
		memset(room, p->mark[0], bytes);
	else
		for (size_t i = 0; i < clusters; i++)
			memcpy(room + i * n, p->mark, n);
}

/* Eight bytes in a word: has each its high bit clear, and is none of them a control character, '"' or '\\'? */
static inline bool is_plain_word(uint64_t v)
{
	const uint64_t ones = 0x0101010101010101u, highs = ones * 0x80;
	uint64_t quote = v ^ (ones * '"'), backslash = v ^ (ones * '\\');

	return !((v | (v + ones) | (v - ones * 0x20) | (quote - ones) | (backslash - ones)) & highs);
}

/* Bytes are characters, and none needs escaping: what phones, cards and accounts are. */
static bool is_plain_ascii(struct kveil_span s)
{
	uint64_t word = 0x2020202020202020u; /* as plain as what is missing in front of fewer than eight */
	bool plain = true;

	for (size_t i = 0; i + sizeof word <= s.len; i += sizeof word) {
		memcpy(&word, s.data + i, sizeof word);
		plain &= is_plain_word(word);
	}
	if (s.len >= sizeof word)
		memcpy(&word, s.data + s.len - sizeof word, sizeof word);
	else
		for (size_t i = 0; i < s.len; i++)
			word = word << 8 | s.data[i];
	return plain && is_plain_word(word);
}

/* Where both the text's characters and the mark are bytes. What is masked is never copied. */
static bool mask_bytes(char mark, bool mask_outer, struct kveil_span text, size_t a, size_t b, struct kveil_buf *out)
{
	uint8_t *room = kveil_buf_reserve(out, text.len);

	if (!room)
		return false;
	out->len += text.len;
	memset(room, mark, text.len);
	if (mask_outer) {
		memcpy(room + a, text.data + a, b - a);
	} else {
		memcpy(room, text.data, a);
		memcpy(room + b, text.data + b, text.len - b);
	}
	return true;
}

static size_t skip_clusters(struct kveil_span s, size_t at, size_t clusters)
{
	while (clusters--)
		at += kveil_grapheme_next(s.data + at, s.len - at);
	return at;
}

static enum kveil_status mask_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				    struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct mask *p = call->params;
	struct kveil_span text = in->text;
	bool mask_outer = p->mask_first || p->mask_last, ascii = is_plain_ascii(text);
	size_t n = ascii ? text.len : kveil_grapheme_count(text.data, text.len), a, b;

	cut(p, mask_outer, n, &a, &b);
	if (ascii && !p->mark[1] && is_plain_ascii(kveil_span_of(p->mark, 1))) {
		*ret = KVEIL_RESULT_ASCII;
		return mask_bytes(p->mark[0], mask_outer, text, a, b, out) ? KVEIL_OK : kveil_no_memory(err, NULL);
	}
	size_t a_at = ascii ? a : skip_clusters(text, 0, a), b_at = ascii ? b : skip_clusters(text, a_at, b - a);
	write_part(out, p, kveil_span_of(text.data, a_at), a, mask_outer);
	write_part(out, p, kveil_span_of(text.data + a_at, b_at - a_at), b - a, !mask_outer);
	write_part(out, p, kveil_span_of(text.data + b_at, text.len - b_at), n - b, mask_outer);
	*ret = KVEIL_RESULT_TEXT;
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, NULL);
}

const struct kveil_action kveil_action_mask = {
    .name = "mask",
    .effect = KVEIL_PROTECTS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_NUMBER),
    .help = "masks characters and keeps the length",
    .about = "A character is what a reader sees as one: a Unicode grapheme cluster (UAX #29). A "
	     "value no longer than what would be kept is masked entirely. A number is masked as "
	     "it is written and becomes a string. `mask: {}` masks everything.",
    .example = "mask: {keep_first: 3, keep_last: 4}",
    .options = options,
    .params_bytes = sizeof(struct mask),
    .check = mask_check,
    .apply = mask_apply,
};
