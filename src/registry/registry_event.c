/* SPDX-License-Identifier: Apache-2.0 */
/* Events in the registry, each with its MAC and the one before it. */
#include "registry/registry_event.h"

#include "registry/registry_text.h"

#include "base/clock.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <jansson.h>
#include <stdlib.h>

static const char prefix[] = "!event/", tail[] = ",\"mac\":\"", first[] = ",\"first_mac\":\"";
enum {
	MAC_TEXT = 44,
	TAIL = sizeof tail - 1 + MAC_TEXT + 2, /* ,"mac":"…"} */
	FIRST = sizeof first - 1 + MAC_TEXT + 1,
};

void kveil_registry_event_clear(struct kveil_registry_event *e)
{
	free(e->line);
	*e = (struct kveil_registry_event){0};
}

void kveil_registry_events_clear(struct kveil_registry_events *all)
{
	for (size_t i = 0; i < all->count; i++)
		kveil_registry_event_clear(&all->items[i]);
	free(all->items);
	*all = (struct kveil_registry_events){0};
}

/* --- labels --- */

bool kveil_registry_is_event_label(struct kveil_span label)
{
	return label.len >= sizeof prefix - 1 && memcmp(label.data, prefix, sizeof prefix - 1) == 0; /* public */
}

void kveil_registry_event_label(const struct kveil_registry_event *e, char label[KVEIL_EVENT_LABEL_MAX])
{
	memcpy(label, prefix, sizeof prefix - 1);
	kveil_text_encode(KVEIL_HEX, e->mac, KVEIL_EVENT_HASH_BYTES, (uint8_t *)label + sizeof prefix - 1);
	label[KVEIL_EVENT_LABEL_MAX - 1] = 0;
}

/* --- MACs --- */

static enum kveil_status mac_of(struct kveil_span head, const struct kveil_registry_secret *secret,
				uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_append(&text, secret->id, sizeof secret->id);
	kveil_buf_append_span(&text, head);
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "an event");
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->event_key, sizeof secret->event_key),
				 kveil_buf_span(&text), mac, err);
}

bool kveil_registry_event_authentic(const struct kveil_registry_event *e, const struct kveil_registry_secret *secret)
{
	uint8_t mac[KVEIL_MAC_BYTES];

	return !mac_of(kveil_span_of(e->line, e->len - TAIL), secret, mac, NULL) &&
	       kveil_secret_eq(mac, e->signature, sizeof mac);
}

/* --- reading --- */

static bool read_mac(struct kveil_span line, uint8_t mac[KVEIL_MAC_BYTES])
{
	if (line.len <= TAIL || line.len > KVEIL_EVENT_LINE_MAX + FIRST || memchr(line.data, '\n', line.len))
		return false;
	const uint8_t *at = line.data + line.len - TAIL;
	return kveil_span_eq(kveil_span_of(at, sizeof tail - 1), KVEIL_SPAN(",\"mac\":\"")) &&
	       kveil_span_eq(kveil_span_of(line.data + line.len - 2, 2), KVEIL_SPAN("\"}")) &&
	       kveil_registry_text_read(KVEIL_BASE64, (const char *)at + sizeof tail - 1, MAC_TEXT, mac,
					KVEIL_MAC_BYTES);
}

static uint32_t number_of(json_t *tree, const char *name)
{
	json_int_t n = json_integer_value(json_object_get(tree, name));

	return n > 0 && n <= UINT32_MAX ? (uint32_t)n : 0;
}

static bool read_members(json_t *tree, struct kveil_registry_event *e)
{
	const char *event = json_string_value(json_object_get(tree, "event"));
	const char *previous = json_string_value(json_object_get(tree, "previous"));
	const char *due = json_string_value(json_object_get(tree, "due"));
	const char *first_mac = json_string_value(json_object_get(tree, "first_mac"));

	e->sequence = number_of(tree, "sequence");
	e->id = number_of(tree, "id");
	e->version = number_of(tree, "version");
	e->whole = json_is_true(json_object_get(tree, "whole"));
	e->has_previous = previous != NULL;
	if (!event || !e->sequence || (due && !kveil_clock_parse(due, &e->due_ms)))
		return false;
	e->kind = kveil_event_by_name(event);
	memcpy(e->mac, e->signature, sizeof e->mac);
	if (first_mac && !kveil_registry_text_read(KVEIL_BASE64, first_mac, strlen(first_mac), e->mac, sizeof e->mac))
		return false;
	return !previous ||
	       kveil_registry_text_read(KVEIL_HEX, previous, strlen(previous), e->previous, sizeof e->previous);
}

bool kveil_registry_event_parse(struct kveil_span line, struct kveil_registry_event *ret)
{
	struct kveil_registry_event e = {0};

	if (!line.data || !read_mac(line, e.signature))
		return false;
	json_t *tree = json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
	bool ok = json_is_object(tree) && read_members(tree, &e) && (e.line = malloc(line.len + 1));
	json_decref(tree);
	if (!ok)
		return false;
	memcpy(e.line, line.data, line.len);
	e.line[line.len] = 0;
	e.len = line.len;
	*ret = e;
	return true;
}

/* --- writing --- */

/* What is not UTF-8 (a path, a reason) must not keep an event from being written. */
static void set_text(json_t *tree, const char *name, const char *text)
{
	json_t *value = text && *text ? json_string(text) : NULL;

	if (text && *text)
		json_object_set_new(tree, name, value ? value : json_string("(not UTF-8)"));
}

static void set_number(json_t *tree, const char *name, uint64_t n)
{
	if (n)
		json_object_set_new(tree, name, json_integer((json_int_t)n));
}

static void set_time(json_t *tree, const char *name, int64_t ms)
{
	char text[32];

	if (!ms)
		return;
	kveil_clock_format(ms, text);
	set_text(tree, name, text);
}

static void set_hex(json_t *tree, const char *name, const uint8_t bytes[16])
{
	char text[33] = {0};

	kveil_text_encode(KVEIL_HEX, bytes, 16, (uint8_t *)text);
	set_text(tree, name, text);
}

static json_t *tree_of(const struct kveil_registry_events *known, const struct kveil_event *e, int64_t now_ms,
		       const struct kveil_registry_secret *secret)
{
	const struct kveil_registry_event *last = known->count ? &known->items[known->count - 1] : NULL;
	const struct kveil_event_actor who = kveil_event_actor();
	json_t *tree = json_object();

	set_text(tree, "event", kveil_event_name(e->kind));
	set_number(tree, "sequence", last ? last->sequence + (last->sequence < UINT32_MAX) : 1);
	set_time(tree, "at", now_ms);
	set_hex(tree, "registry", secret->id);
	if (last)
		set_hex(tree, "previous", last->mac);
	set_text(tree, "key", e->key);
	set_number(tree, "version", e->version);
	set_number(tree, "id", e->id);
	set_text(tree, "algorithm", e->algorithm);
	set_text(tree, "kek", e->kek);
	set_number(tree, "count", e->count);
	set_text(tree, "detail", e->detail);
	set_text(tree, "fingerprint", e->fingerprint);
	set_time(tree, "due", e->due_ms);
	if (e->whole)
		json_object_set_new(tree, "whole", json_true());
	set_text(tree, "command", who.command);
	set_text(tree, "user", who.user);
	set_text(tree, "host", who.host);
	set_text(tree, "reason", who.reason);
	return tree;
}

/* {…} -> {…,"mac":"…"} */
static enum kveil_status sign(struct kveil_span json, const struct kveil_registry_secret *secret,
			      struct kveil_registry_event *ret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf line = KVEIL_BUF_INIT;
	uint8_t mac[KVEIL_MAC_BYTES];
	char text[MAC_TEXT + 1] = {0};

	if (json.len < 2 || json.data[json.len - 1] != '}')
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "this is not an event");
	json.len--;
	enum kveil_status status = mac_of(json, secret, mac, err);
	if (status)
		return status;
	kveil_text_encode(KVEIL_BASE64, mac, sizeof mac, (uint8_t *)text);
	kveil_buf_append_span(&line, json);
	kveil_buf_printf(&line, "%s%s\"}", tail, text);
	if (!kveil_buf_ok(&line))
		return kveil_no_memory(err, "an event");
	return kveil_registry_event_parse(kveil_buf_span(&line), ret)
		   ? KVEIL_OK
		   : kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "this is not an event");
}

enum kveil_status kveil_registry_event_sign(struct kveil_span json, const struct kveil_registry_secret *secret,
					    struct kveil_registry_event *ret, struct kveil_error *err)
{
	if (json.len + TAIL > KVEIL_EVENT_LINE_MAX)
		return kveil_fail(err, KVEIL_E_TOO_LARGE, "%zu bytes are too many for an event", json.len);
	return sign(json, secret, ret, err);
}

enum kveil_status kveil_registry_event_sign_anew(const struct kveil_registry_event *e,
						 const struct kveil_registry_secret *secret,
						 struct kveil_registry_event *ret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf json = KVEIL_BUF_INIT;
	char text[MAC_TEXT + 1] = {0};

	kveil_buf_append(&json, e->line, e->len - TAIL);
	if (memcmp(e->mac, e->signature, sizeof e->mac) == 0) { /* public */
		kveil_text_encode(KVEIL_BASE64, e->mac, sizeof e->mac, (uint8_t *)text);
		kveil_buf_printf(&json, "%s%s\"", first, text);
	}
	kveil_buf_append_byte(&json, '}');
	if (!kveil_buf_ok(&json))
		return kveil_no_memory(err, "an event");
	enum kveil_status status = sign(kveil_buf_span(&json), secret, ret, err);
	if (!status)
		ret->damaged = e->damaged;
	return status;
}

enum kveil_status kveil_registry_events_sign_anew(struct kveil_registry_events *all,
						  const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < all->count; i++) {
		struct kveil_registry_event again;
		if (kveil_registry_event_authentic(&all->items[i], secret))
			continue;
		status = kveil_registry_event_sign_anew(&all->items[i], secret, &again, err);
		if (status)
			break;
		kveil_registry_event_clear(&all->items[i]);
		all->items[i] = again;
	}
	return status;
}

enum kveil_status kveil_registry_event_write(const struct kveil_registry_events *known, const struct kveil_event *e,
					     int64_t now_ms, const struct kveil_registry_secret *secret,
					     struct kveil_registry_event *ret, struct kveil_error *err)
{
	json_t *tree = tree_of(known, e, now_ms, secret);
	char *text = tree ? json_dumps(tree, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
	enum kveil_status status =
	    text ? kveil_registry_event_sign(kveil_span_str(text), secret, ret, err) : kveil_no_memory(err, "an event");

	free(text);
	json_decref(tree);
	return status;
}

/* Without its MACs. */
static struct kveil_span what_it_says(const struct kveil_registry_event *e)
{
	bool again = memcmp(e->mac, e->signature, sizeof e->mac) != 0; /* public */

	return kveil_span_of(e->line, e->len - TAIL - (again ? FIRST : 0));
}

bool kveil_registry_event_is_same(const struct kveil_registry_event *a, const struct kveil_registry_event *b)
{
	return memcmp(a->mac, b->mac, sizeof a->mac) == 0 /* public */ &&
	       kveil_span_eq(what_it_says(a), what_it_says(b));
}

/* --- many --- */

static int compare(const struct kveil_registry_event *a, const struct kveil_registry_event *b)
{
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return memcmp(a->mac, b->mac, sizeof a->mac); /* public */
}

/* Where e stands, or belongs. New ones belong at the end. */
static size_t place_of(const struct kveil_registry_events *all, const struct kveil_registry_event *e)
{
	size_t low = 0, high = all->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (compare(&all->items[mid], e) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool kveil_registry_events_has(const struct kveil_registry_events *all, const struct kveil_registry_event *e)
{
	size_t at = place_of(all, e);

	return at < all->count && compare(&all->items[at], e) == 0;
}

bool kveil_registry_events_add(struct kveil_registry_events *all, struct kveil_registry_event *e)
{
	size_t at = place_of(all, e);

	if (at < all->count && compare(&all->items[at], e) == 0) {
		all->items[at].damaged = false;
		kveil_registry_event_clear(e);
		return true;
	}
	if (all->count == all->cap) {
		size_t cap = all->cap ? all->cap * 2 : 16;
		struct kveil_registry_event *grown = realloc(all->items, cap * sizeof *grown);
		if (!grown)
			return false;
		all->items = grown;
		all->cap = cap;
	}
	memmove(all->items + at + 1, all->items + at, (all->count - at) * sizeof *all->items);
	all->items[at] = *e;
	all->count++;
	all->changes++;
	*e = (struct kveil_registry_event){0};
	return true;
}

bool kveil_registry_events_add_all(struct kveil_registry_events *all, const struct kveil_registry_events *from)
{
	for (size_t i = 0; i < from->count; i++) {
		struct kveil_registry_event copy = from->items[i];
		copy.line = strdup(copy.line);
		if (!copy.line || !kveil_registry_events_add(all, &copy)) {
			free(copy.line);
			return false;
		}
	}
	return true;
}

struct kveil_registry_event *kveil_registry_events_find(const struct kveil_registry_events *all,
							struct kveil_span label)
{
	char ours[KVEIL_EVENT_LABEL_MAX];

	for (size_t i = all->count; i-- > 0;) {
		kveil_registry_event_label(&all->items[i], ours);
		if (kveil_span_eq(label, kveil_span_str(ours)))
			return &all->items[i];
	}
	return NULL;
}

static int by_hash(const void *a, const void *b)
{
	return memcmp(a, b, KVEIL_EVENT_HASH_BYTES); /* public */
}

static bool is_gone(const struct kveil_registry_event *e, const void *hashes, size_t count)
{
	return e->has_previous && !bsearch(e->previous, hashes, count, KVEIL_EVENT_HASH_BYTES, by_hash);
}

/* Sequences have no gaps: each that nobody has is one at least. Where another has it, it is what is named and not
 * there. */
size_t kveil_registry_events_missing(const struct kveil_registry_events *all)
{
	uint8_t(*hashes)[KVEIL_EVENT_HASH_BYTES] = calloc(all->count ? all->count : 1, sizeof *hashes);
	const uint8_t *counted = NULL;
	size_t missing = 0;
	uint32_t last = 0; /* sequence before those of this one */

	if (!hashes)
		return 0;
	for (size_t i = 0; i < all->count; i++)
		memcpy(hashes[i], all->items[i].mac, sizeof *hashes);
	qsort(hashes, all->count, sizeof *hashes, by_hash);
	for (size_t i = 0; i < all->count; i++) {
		const struct kveil_registry_event *e = &all->items[i];
		if (i && e->sequence != all->items[i - 1].sequence)
			last = all->items[i - 1].sequence;
		bool is_first = !i || e->sequence != all->items[i - 1].sequence;
		if (e->sequence > last + 1 && is_first)
			missing += e->sequence - last - 1;
		if (e->sequence > last + 1 || !is_gone(e, hashes, all->count))
			continue;
		missing += !counted || memcmp(counted, e->previous, sizeof e->previous) != 0; /* public */
		counted = e->previous;
	}
	free(hashes);
	return missing;
}
