/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9485 patterns: the grammar, and what they match held against PCRE2 with the RFC's own mapping (section 5.4). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/buf.h"
#include "path/cursor.h"
#include "path/iregexp.h"

#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static bool run(const struct kveil_iregexp *re, struct kveil_span text, bool anywhere)
{
	struct kveil_text_cursor c = kveil_cursor_of(text, false);
	int64_t work = 100000000;
	bool matched;
	void *scratch = calloc(1, kveil_iregexp_scratch_bytes(re));

	assert_int_equal(kveil_iregexp_run(re, &c, anywhere, scratch, &work, &matched), KVEIL_OK);
	free(scratch);
	return matched;
}

static void keeps_to_the_grammar(void **state)
{
	/* clang-format off */
	static const char *const good[] = {
	    "", "a|b", "|", "()", "(a|)*", "a{2}", "a{2,}", "a{2,3}", "[-a]", "[a-]", "[^-]", "[a\\-z]", "[\\]\\[]",
	    "\\p{L}\\P{Lu}", "[\\p{Nd}x]", "^a$", "\\n\\r\\t", ",-/<>", "\xe5\x90\x8d+", "[\xe4\xb8\x80-\xe9\xbe\xa5]",
	};
	static const struct {
		const char *text;
		size_t byte;
	} bad[] = {
	    {"*a", 0}, {"a**", 2}, {"a*?", 2}, {"a+?", 2}, {"a{2}{3}", 4}, {"a{3,2}", 1}, {"a{,2}", 2}, {"a{", 2},
	    {"a{2", 3}, {"(a", 0}, {"a)", 1}, {"[a", 2}, {"[]", 1}, {"[^]", 2}, {"[z-a]", 1}, {"[a-b-c]", 4},
	    {"[[a]", 1}, {"[--/]", 2}, {"]", 0}, {"}", 0}, {"\\d", 0}, {"\\w", 0}, {"\\1", 0}, {"\\$", 0}, {"\\", 0},
	    {"\\p{Xx}", 0}, {"\\p{Cs}", 0}, {"\\pL", 0}, {"(?i)a", 0}, {"(?:a)", 0}, {"[\\d]", 1}, {"a{99999}", 2},
	    {"(a{1000}){1000}", 0}, {"((((){5000}){5000}){5000}){5000}", 0},
	};
	/* clang-format on */
	struct kveil_arena arena;
	const struct kveil_iregexp *re;
	struct kveil_error err;

	(void)state;
	kveil_arena_init(&arena, 0);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		if (kveil_iregexp_compile(kveil_span_str(good[i]), &arena, &re, &err) != KVEIL_OK)
			fail_msg("%s: byte %zu: %s", good[i], err.byte, err.message);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (kveil_iregexp_compile(kveil_span_str(bad[i].text), &arena, &re, &err) != KVEIL_E_PATH_SYNTAX ||
		    err.byte != bad[i].byte)
			fail_msg("%s: byte %zu: %s", bad[i].text, err.byte, err.message);
	kveil_arena_clear(&arena);
}

static uint32_t seed = 9485;

static uint32_t dice(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % n;
}

/* The same pattern twice: as it is, and as the RFC maps it. */
static void write_both(struct kveil_buf *ours, struct kveil_buf *theirs, const char *a, const char *b)
{
	kveil_buf_append_str(ours, a);
	kveil_buf_append_str(theirs, b);
}

static void random_pattern(struct kveil_buf *ours, struct kveil_buf *theirs, int depth)
{
	static const char *const atoms[] = {
	    "a",      "b",      "\xc3\xa9", "\xf0\x9f\x98\x80", "[ab]",       "[^a]", "[a-c\xc3\xa0-\xc3\xbf]",
	    "\\p{L}", "\\P{L}", "\\p{Lu}",  "[\\p{N}a]",        "[^\\p{L}1]", "\\.",  "1",
	    "[-a]",   "\\n",    "\\p{S}",   "[\\P{L}a]",        "^",          "$"};
	static const char *const quantifiers[] = {"", "", "", "*", "+", "?", "{2}", "{0,2}", "{1,}", "{0}", "{2,4}"};

	for (uint32_t n = 1 + dice(3); n > 0; n--) {
		const char *atom = atoms[dice(sizeof atoms / sizeof *atoms)];
		const char *quantifier = quantifiers[dice(sizeof quantifiers / sizeof *quantifiers)];
		if (depth && dice(3) == 0) {
			write_both(ours, theirs, "(", "(?:");
			random_pattern(ours, theirs, depth - 1);
			write_both(ours, theirs, ")", ")");
		} else if (dice(5) == 0) {
			write_both(ours, theirs, ".", "[^\\n\\r]");
		} else {
			write_both(ours, theirs, atom, atom);
		}
		/* PCRE2 repeats no anchors. */
		uint8_t last = ours->data[ours->len - 1];
		if (last != '^' && last != '$')
			write_both(ours, theirs, quantifier, quantifier);
		if (depth && dice(6) == 0)
			write_both(ours, theirs, "|", "|");
	}
}

/* 1 yes, 0 no, -1 where even these short texts make it backtrack past its limit. */
static int oracle(pcre2_code *code, struct kveil_span text)
{
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
	int rc = pcre2_match(code, text.data, text.len, 0, 0, data, NULL);

	pcre2_match_data_free(data);
	assert_true(rc >= 0 || rc == PCRE2_ERROR_NOMATCH || rc == PCRE2_ERROR_MATCHLIMIT);
	return rc >= 0 ? 1 : rc == PCRE2_ERROR_NOMATCH ? 0 : -1;
}

static pcre2_code *oracle_compile(const struct kveil_buf *pattern, uint32_t options)
{
	int error;
	size_t at;
	pcre2_code *code =
	    pcre2_compile(pattern->data, pattern->len, PCRE2_UTF | PCRE2_DOLLAR_ENDONLY | options, &error, &at, NULL);

	assert_non_null(code);
	return code;
}

static void matches_as_pcre2_does(void **state)
{
	static const char *const pieces[] = {"a",  "b", "\xc3\xa9", "\xf0\x9f\x98\x80", "1", "\n",
					     "\r", "B", ".",        "\xe2\x80\xa8",     "+"};
	struct kveil_arena arena;
	size_t yes = 0, no = 0, unknown = 0;

	(void)state;
	kveil_arena_init(&arena, 1 << 20);
	for (int k = 0; k < 3000; k++) {
		struct kveil_buf ours = KVEIL_BUF_INIT, theirs = KVEIL_BUF_INIT;
		const struct kveil_iregexp *re;
		struct kveil_error err;
		kveil_buf_append_str(&theirs, "(?:");
		random_pattern(&ours, &theirs, 3);
		kveil_buf_append_str(&theirs, ")");
		if (kveil_iregexp_compile(kveil_buf_span(&ours), &arena, &re, &err) != KVEIL_OK)
			fail_msg("%s: byte %zu: %s", kveil_buf_cstr(&ours), err.byte, err.message);
		pcre2_code *whole = oracle_compile(&theirs, PCRE2_ANCHORED | PCRE2_ENDANCHORED);
		pcre2_code *part = oracle_compile(&theirs, 0);
		for (int i = 0; i < 20; i++) {
			struct kveil_buf text = KVEIL_BUF_INIT;
			kveil_buf_reserve(&text, 1);
			for (uint32_t n = dice(7); n > 0; n--)
				kveil_buf_append_str(&text, pieces[dice(sizeof pieces / sizeof *pieces)]);
			struct kveil_span t = kveil_buf_span(&text);
			int match = oracle(whole, t), search = oracle(part, t);
			if ((match >= 0 && run(re, t, false) != match) || (search >= 0 && run(re, t, true) != search))
				fail_msg("pattern %s text '%s'", kveil_buf_cstr(&ours), kveil_buf_cstr(&text));
			yes += match == 1;
			no += match == 0;
			unknown += match < 0;
			kveil_buf_clear(&text);
		}
		pcre2_code_free(whole);
		pcre2_code_free(part);
		kveil_buf_clear(&ours);
		kveil_buf_clear(&theirs);
		kveil_arena_reset(&arena);
	}
	print_message("%zu match, %zu do not, %zu that PCRE2 gave up\n", yes, no, unknown);
	assert_true(yes > 3000 && no > 3000);
	kveil_arena_clear(&arena);
}

/* What makes a backtracking engine run for ever takes steps in proportion here; a budget ends even that. */
static void stays_linear(void **state)
{
	static const char *const hostile[] = {"(a*)*b", "(a|aa)+c", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)x",
					      "a{0,500}a{0,500}b"};
	static uint8_t text[20000];
	struct kveil_arena arena;
	const struct kveil_iregexp *re;
	bool matched;

	(void)state;
	memset(text, 'a', sizeof text);
	kveil_arena_init(&arena, 0);
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		assert_int_equal(kveil_iregexp_compile(kveil_span_str(hostile[i]), &arena, &re, NULL), KVEIL_OK);
		assert_false(run(re, kveil_span_of(text, sizeof text), true));
		void *scratch = calloc(1, kveil_iregexp_scratch_bytes(re));
		struct kveil_text_cursor c = kveil_cursor_of(kveil_span_of(text, sizeof text), false);
		int64_t work = 10000;
		assert_int_equal(kveil_iregexp_run(re, &c, false, scratch, &work, &matched), KVEIL_E_TOO_COMPLEX);
		free(scratch);
	}
	kveil_arena_clear(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keeps_to_the_grammar),
	    cmocka_unit_test(matches_as_pcre2_does),
	    cmocka_unit_test(stays_linear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
