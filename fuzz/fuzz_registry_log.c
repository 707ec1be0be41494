/* SPDX-License-Identifier: Apache-2.0 */
/* Messages that anybody wrote into the log of a registry. The input is lines of LABEL TAB VALUE (no tab: a tombstone);
 * a line that begins with '+' is a record or root that is signed first, so that what comes after the MAC is reached
 * too. */
#include "base/buf.h"
#include "registry/registry_log.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "registry_log: %s\n", what);
		abort();
	}
}

struct seen {
	size_t count;
	const struct kveil_registry_log *log;
};

static enum kveil_status on_record(void *user, const struct kveil_key_record *r, struct kveil_error *err)
{
	struct seen *s = user;

	check(kveil_registry_log_knows(s->log, r->id), "a record came that is not known");
	check(kveil_key_record_verify(r, s->log->registry->secret, err) == KVEIL_OK,
	      "a record came that is not authentic");
	s->count++;
	return KVEIL_OK;
}

/* The value as it would be if its writer had the registry's secret. */
static void sign(struct kveil_span *label, struct kveil_span *value, struct kveil_registry_secret *secret,
		 char text[KVEIL_RECORD_LABEL_MAX], struct kveil_buf *out)
{
	struct kveil_registry_epoch_root root;
	struct kveil_registry_lease lease;
	struct kveil_key_record record;
	struct kveil_registry_note note;
	struct kveil_registry_event event;
	struct kveil_error err;

	if (kveil_registry_root_parse(*value, &root)) {
		memcpy(root.keys.id, secret->id, sizeof secret->id);
		check(!kveil_registry_root_write(&root, secret, out, &err), "a root cannot be written");
		kveil_registry_root_label(&root.keys, text);
		kveil_registry_epoch_root_clear(&root);
	} else if (kveil_registry_lease_parse(*value, &lease)) {
		check(!kveil_registry_lease_write(&lease, secret, out, &err), "a lease cannot be written");
		snprintf(text, KVEIL_RECORD_LABEL_MAX, "%s", KVEIL_LEASE_LABEL);
	} else if (!kveil_key_record_from_json(*value, &record, &err)) {
		check(!kveil_key_record_sign(&record, secret, &err), "a record cannot be signed");
		check(!kveil_key_record_to_json(&record, out, &err), "a record cannot be written");
		if (kveil_registry_is_end_label(*label))
			kveil_registry_end_label(&record, text);
		else
			kveil_registry_record_label(&record, text);
		kveil_key_record_clear(&record);
	} else if (kveil_registry_note_parse(*value, &note)) {
		check(
		    !kveil_registry_note_write(note.sequence, kveil_span_of(note.text, note.len), secret, out, &err) ||
			note.len > KVEIL_REGISTRY_NOTE_MAX,
		    "a note cannot be written");
		snprintf(text, KVEIL_RECORD_LABEL_MAX, "%s", KVEIL_NOTE_LABEL);
		kveil_registry_note_clear(&note);
	} else if (kveil_registry_is_event_label(*label) &&
		   kveil_registry_event_sign(*value, secret, &event, &err) == KVEIL_OK) {
		kveil_buf_append_str(out, event.line);
		kveil_registry_event_label(&event, text);
		kveil_registry_event_clear(&event);
	} else {
		return;
	}
	*label = kveil_span_str(text);
	*value = kveil_buf_span(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_registry_secret secret;
	static const struct kveil_registry_env env; /* no KEK: nothing opens */
	struct kveil_registry registry = {.secret = &secret};
	struct kveil_registry_log log;
	struct kveil_error err, refused = {0};
	struct seen seen = {0, &log};
	int64_t offset = 0;
	uint32_t ids[8];

	kveil_registry_log_init(&log, &registry);
	while (size) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;
		bool authentic = n && *data == '+';
		struct kveil_span line = kveil_span_of(data + authentic, n - authentic);
		const uint8_t *tab = line.len ? memchr(line.data, '\t', line.len) : NULL;
		struct kveil_span label = tab ? kveil_span_of(line.data, (size_t)(tab - line.data)) : line;
		struct kveil_span value = tab ? kveil_span_of(tab + 1, line.len - label.len - 1) : KVEIL_SPAN_NULL;
		struct kveil_buf signed_value = KVEIL_BUF_INIT;
		char text[KVEIL_RECORD_LABEL_MAX];
		if (authentic)
			sign(&label, &value, &secret, text, &signed_value);
		if (!log.has_root)
			check(!kveil_registry_log_offer(&log, &env, label, value, &err), "an offer failed");
		check(!kveil_registry_log_take(&log, offset, label, value, &err), "a message failed");
		kveil_buf_clear(&signed_value);
		if (offset % 3 == 0)
			check(!kveil_registry_log_hand_over(&log, on_record, &seen, &err), "handing over failed");
		offset++;
		data += n + (end != NULL);
		size -= n + (end != NULL);
	}
	check(!kveil_registry_log_hand_over(&log, on_record, &seen, &err), "handing over failed");
	check(!kveil_registry_log_choose(&log, &env, &refused, &err), "choosing failed");
	(void)kveil_registry_log_damaged(&log, false, ids, 8);
	(void)kveil_registry_log_damaged_event(&log);
	for (size_t i = 0; i < log.events.count; i++)
		check(kveil_registry_event_authentic(&log.events.items[i], &secret), "an event is not authentic");
	check(kveil_registry_events_missing(&log.events) <= log.events.count, "more events are missing than there are");
	kveil_registry_log_clear(&log);
	return 0;
}
