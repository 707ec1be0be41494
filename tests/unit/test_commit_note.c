/* SPDX-License-Identifier: Apache-2.0 */
/* What is written beside a committed offset, and any bytes that others put there. */
#include "worker/commit_note.h"
#include "worker/topic_ids.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const id = "q1Sh-9_5QQGSwIK7_jZ0vg";

static void comes_back(void **state)
{
	(void)state;
	struct kveil_commit_note note = {.attempts = UINT32_MAX}, again;
	char text[KVEIL_COMMIT_NOTE_BYTES];

	memcpy(note.topic, id, KVEIL_TOPIC_ID_CHARS);
	size_t n = kveil_commit_note_write(&note, text);
	assert_string_equal(text, "kveil1 topic=q1Sh-9_5QQGSwIK7_jZ0vg attempts=4294967295");
	assert_int_equal(n, strlen(text));
	kveil_commit_note_read(kveil_span_of(text, n), &again);
	assert_string_equal(again.topic, id);
	assert_int_equal(again.attempts, UINT32_MAX);
	kveil_commit_note_read(kveil_span_of(text, n + 1), &again); /* with the NUL, as some clients commit it again */
	assert_int_equal(again.attempts, UINT32_MAX);
	n = kveil_commit_note_write(&(struct kveil_commit_note){.topic = "q1Sh-9_5QQGSwIK7_jZ0vg"}, text);
	kveil_commit_note_read(kveil_span_of(text, n + 1), &again);
	assert_string_equal(again.topic, id);
}

static void goes_with_an_offset(void **state)
{
	(void)state;
	struct kveil_commit_note note = {.attempts = 3}, again;
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, "t", 0);

	kveil_commit_note_get(p, &again);
	assert_int_equal(again.attempts, 0);
	kveil_commit_note_put(&note, p);
	kveil_commit_note_put(&note, p);
	kveil_commit_note_get(p, &again);
	assert_int_equal(again.attempts, 3);
	assert_string_equal(again.topic, "");
	rd_kafka_topic_partition_list_destroy(list);
}

static void foreign_text_says_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *text, *topic;
		uint32_t attempts;
	} cases[] = {
	    {"", "", 0},
	    {"kveil1", "", 0},
	    {"kveil2 attempts=4", "", 0},
	    {"kveil1attempts=4", "", 0},
	    {"offset 7 of host a", "", 0},
	    {"kveil1 later=words  attempts=4 ", "", 4},
	    {"kveil1 attempts=4x", "", 0},
	    {"kveil1 attempts=-4", "", 0},
	    {"kveil1 attempts=99999999999999999999", "", UINT32_MAX},
	    {"kveil1 topic=q1Sh-9_5QQGSwIK7_jZ0v", "", 0},
	    {"kveil1 topic=q1Sh-9_5QQGSwIK7_jZ0vgA", "", 0},
	    {"kveil1 topic=q1Sh-9_5QQGSw\n_7_jZ0vg", "", 0},
	    {"kveil1 topic=q1Sh-9_5QQGSwIK7_jZ0vg", "q1Sh-9_5QQGSwIK7_jZ0vg", 0},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct kveil_commit_note note;
		kveil_commit_note_read(kveil_span_str(cases[i].text), &note);
		assert_string_equal(note.topic, cases[i].topic);
		assert_int_equal(note.attempts, cases[i].attempts);
	}
	struct kveil_commit_note note = {.attempts = 1};
	kveil_commit_note_read(KVEIL_SPAN_NULL, &note);
	assert_int_equal(note.attempts, 0);
}

/* What was committed with an offset says of which topic it is, whoever committed it and whatever was known before. */
static void a_topic_made_anew_has_another_id(void **state)
{
	(void)state;
	static const char a[] = "q1Sh-9_5QQGSwIK7_jZ0vg", b[] = "AAAAAAAAQQGSwIK7_jZ0vg";
	static const struct {
		const char *known, *noted, *now, *after;
		bool another;
	} cases[] = {
	    {"", "", "", "", false}, /* an older client */
	    {a, a, "", a, false},    {"", a, "", a, false}, {"", "", a, a, false}, {a, "", a, a, false},
	    {a, a, a, a, false},     {a, a, b, a, true},    {"", a, b, a, true},   {a, "", b, a, true},
	    {b, a, b, a, true},  /* committed onto the new one between question and answer */
	    {a, b, b, b, false}, /* by the member before, which had noticed */
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char known[KVEIL_TOPIC_ID_CHARS + 1];
		snprintf(known, sizeof known, "%s", cases[i].known);
		assert_int_equal(kveil_topic_id_is_another(known, cases[i].noted, cases[i].now), cases[i].another);
		assert_string_equal(known, cases[i].after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(comes_back),
	    cmocka_unit_test(goes_with_an_offset),
	    cmocka_unit_test(foreign_text_says_nothing),
	    cmocka_unit_test(a_topic_made_anew_has_another_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
