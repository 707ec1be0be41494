/* SPDX-License-Identifier: Apache-2.0 */
/* A registry as one JSON document. */
#include "registry/document.h"

#include "base/map.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "registry/registry_text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic_registry[] = "key registry", magic_backup[] = "key backup";

void kveil_document_clear(struct kveil_document *d)
{
	for (size_t i = 0; i < d->count; i++)
		kveil_key_record_clear(&d->records[i]);
	free(d->records);
	kveil_registry_root_clear(&d->root);
	kveil_registry_events_clear(&d->events);
	*d = (struct kveil_document){0};
}

static struct kveil_key_record *add_room(struct kveil_document *d)
{
	if (d->count == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;
		struct kveil_key_record *grown = realloc(d->records, cap * sizeof *grown);
		if (!grown)
			return NULL;
		d->records = grown;
		d->cap = cap;
	}
	return &d->records[d->count];
}

bool kveil_document_add(struct kveil_document *d, const struct kveil_key_record *record)
{
	struct kveil_key_record *r = add_room(d);

	if (!r || !kveil_key_record_copy(r, record))
		return false;
	d->count++;
	return true;
}

static enum kveil_status corrupt(struct kveil_error *err, const char *why)
{
	return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "%s", why);
}

bool kveil_registry_root_key_parse(const json_t *item, struct kveil_registry_root *root)
{
	const char *kek, *wrapped;
	size_t kek_len, wrapped_len, n;

	if (json_unpack_ex((json_t *)item, NULL, JSON_STRICT, "{s:s%, s:s%}", "kek", &kek, &kek_len, "wrapped",
			   &wrapped, &wrapped_len))
		return false;
	if (kek_len == 0 || kek_len > KVEIL_KEK_NAME_MAX || strlen(kek) != kek_len || wrapped_len == 0 ||
	    wrapped_len > 2 * KVEIL_WRAPPED_BYTES_MAX)
		return false;
	if (kveil_registry_root_find(root, kek))
		return false;
	size_t room = kveil_text_decoded_max(KVEIL_BASE64, wrapped_len);
	uint8_t *bytes = malloc(room ? room : 1);
	bool ok = bytes && kveil_text_decode(KVEIL_BASE64, (const uint8_t *)wrapped, wrapped_len, bytes, &n) &&
		  n <= KVEIL_WRAPPED_BYTES_MAX && kveil_registry_root_add(root, kek, kveil_span_of(bytes, n));
	free(bytes);
	return ok;
}

static bool parse_events(const json_t *lines, struct kveil_registry_events *ret)
{
	for (size_t i = 0; i < json_array_size(lines); i++) {
		struct kveil_registry_event e;
		const json_t *line = json_array_get(lines, i);
		struct kveil_span text = {(const uint8_t *)json_string_value(line), json_string_length(line)};
		if (!kveil_registry_event_parse(text, &e))
			return false;
		size_t before = ret->count;
		if (!kveil_registry_events_add(ret, &e)) {
			kveil_registry_event_clear(&e);
			return false;
		}
		/* In their order, and none of them twice. */
		if (ret->count == before || strcmp(ret->items[i].line, json_string_value(line)) != 0)
			return false;
	}
	return true;
}

static enum kveil_status parse_tree(json_t *tree, struct kveil_document *d, struct kveil_error *err)
{
	const char *magic, *id, *mac;
	size_t id_len, mac_len;
	json_int_t format, generation, lease;
	json_t *secret = NULL, *roots, *keys, *events = NULL;

	format = json_integer_value(json_object_get(tree, "format"));
	if (format > 3 && json_object_get(tree, "kveil"))
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "the key registry has format %lld, this kveil knows 1 to 3",
				  (long long)format);
	if (json_unpack_ex(tree, NULL, JSON_STRICT, "{s:s, s:I, s:s%, s?o, s:I, s:I, s:o, s:o, s?o, s:s%}", "kveil",
			   &magic, "format", &format, "id", &id, &id_len, "secret", &secret, "generation", &generation,
			   "lease", &lease, "registry_keys", &roots, "keys", &keys, "events", &events, "mac", &mac,
			   &mac_len))
		return corrupt(err, "this is not a key registry");
	d->backup = strcmp(magic, magic_backup) == 0;
	if (!d->backup && strcmp(magic, magic_registry) != 0)
		return corrupt(err, "this is not a key registry");
	if (format != (secret   ? 3
		       : events ? 2
				: 1) ||
	    (events && (!d->backup || !json_is_array(events))) ||
	    (secret && !kveil_registry_root_from_tree(secret, &d->root)))
		return corrupt(err, "the key registry contains something that kveil does not write");
	if (!kveil_registry_text_read(KVEIL_HEX, id, id_len, d->root.id, sizeof d->root.id) || generation < 1 ||
	    lease < 0 || lease > UINT32_MAX || !json_is_array(roots) || !json_is_array(keys) ||
	    !kveil_registry_text_read(KVEIL_BASE64, mac, mac_len, d->mac, sizeof d->mac))
		return corrupt(err, "the key registry contains something that kveil does not write");
	d->generation = (uint64_t)generation;
	d->lease = (uint32_t)lease;
	for (size_t i = 0; i < json_array_size(roots); i++)
		if (!kveil_registry_root_key_parse(json_array_get(roots, i), &d->root))
			return corrupt(err, "the key registry contains something that kveil does not write");
	for (size_t i = 0; i < json_array_size(keys); i++) {
		struct kveil_key_record *r = add_room(d);
		if (!r)
			return kveil_no_memory(err, "the key registry");
		enum kveil_status status = kveil_key_record_from_tree(json_array_get(keys, i), r, err);
		if (status)
			return status;
		d->count++;
	}
	return parse_events(events, &d->events)
		   ? KVEIL_OK
		   : corrupt(err, "the key registry contains something that kveil does not write");
}

enum kveil_status kveil_document_parse(struct kveil_span text, struct kveil_document *ret, struct kveil_error *err)
{
	struct kveil_document d = {0};
	json_error_t why;
	json_t *tree = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);

	/* jansson's own words quote what stands there, and the file may be a KEK that was named by mistake. */
	if (!tree)
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT,
				  "this is not a key registry: line %d, column %d is not JSON", why.line, why.column);
	enum kveil_status status = parse_tree(tree, &d, err);
	json_decref(tree);
	if (status) {
		kveil_document_clear(&d);
		return status;
	}
	*ret = d;
	return KVEIL_OK;
}

static void put(struct kveil_buf *b, uint64_t value)
{
	for (int i = 56; i >= 0; i -= 8)
		kveil_buf_append_byte(b, (uint8_t)(value >> i));
}

static enum kveil_status mac_of(const struct kveil_document *d, const struct kveil_registry_secret *secret,
				uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_registry_root_canonical(&d->root, &text);
	kveil_buf_append_str(&text, d->backup ? magic_backup : magic_registry);
	kveil_buf_append(&text, d->root.id, sizeof d->root.id);
	put(&text, d->generation);
	put(&text, d->lease);
	put(&text, d->root.count);
	for (size_t i = 0; i < d->root.count; i++) {
		put(&text, strlen(d->root.keys[i].kek));
		kveil_buf_append_str(&text, d->root.keys[i].kek);
		put(&text, d->root.keys[i].wrapped_len);
		kveil_buf_append(&text, d->root.keys[i].wrapped, d->root.keys[i].wrapped_len);
	}
	put(&text, d->count);
	for (size_t i = 0; i < d->count; i++) {
		kveil_key_record_canonical(&d->records[i], &text);
		kveil_buf_append(&text, d->records[i].mac, KVEIL_MAC_BYTES);
	}
	if (d->events.count)
		put(&text, d->events.count);
	for (size_t i = 0; i < d->events.count; i++)
		kveil_buf_append(&text, d->events.items[i].mac, KVEIL_MAC_BYTES);
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "the key registry");
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->document_key, sizeof secret->document_key),
				 kveil_buf_span(&text), mac, err);
}

/* Records by what each must be the only one with: the id, and NAME NUL version. */
struct index {
	struct kveil_map map;
	struct index_slot {
		uint32_t id;
		char name[KVEIL_KEY_NAME_MAX + 1 + sizeof(uint32_t)];
	} * slots;
	size_t used;
};

static bool index_new(struct index *ix, size_t room)
{
	*ix = (struct index){.slots = calloc(room ? room : 1, sizeof *ix->slots)};
	return ix->slots != NULL;
}

static void index_free(struct index *ix)
{
	kveil_map_clear(&ix->map);
	free(ix->slots);
}

/* 0: added, 1: id or version is taken, -1: out of memory. value is never NULL. */
static int index_add(struct index *ix, const struct kveil_key_record *r, void *value)
{
	struct index_slot *slot = &ix->slots[ix->used];
	size_t n = strlen(r->name) + 1;

	slot->id = r->id;
	memcpy(slot->name, r->name, n);
	memcpy(slot->name + n, &r->version, sizeof r->version);
	struct kveil_span id = kveil_span_of(&slot->id, sizeof slot->id);
	struct kveil_span name = kveil_span_of(slot->name, n + sizeof r->version);
	if (kveil_map_get(&ix->map, id) || kveil_map_get(&ix->map, name))
		return 1;
	ix->used++;
	return kveil_map_put(&ix->map, id, value) && kveil_map_put(&ix->map, name, value) ? 0 : -1;
}

enum kveil_status kveil_document_verify(const struct kveil_document *d, const struct kveil_registry_secret *secret,
					struct kveil_error *err)
{
	uint8_t mac[KVEIL_MAC_BYTES];
	struct index ix;
	enum kveil_status status = mac_of(d, secret, mac, err);

	if (status)
		return status;
	if (!kveil_secret_eq(mac, d->mac, sizeof mac) || !kveil_secret_eq(d->root.id, secret->id, sizeof secret->id)) {
		/* The record that was altered, if it is one. */
		for (size_t i = 0; i < d->count; i++) {
			status = kveil_key_record_verify(&d->records[i], secret, err);
			if (status)
				return status;
		}
		return corrupt(err, "the key registry was altered outside kveil");
	}
	for (size_t i = 0; i < d->events.count; i++)
		if (!kveil_registry_event_authentic(&d->events.items[i], secret))
			return corrupt(err, "an event in the backup was altered");
	if (!index_new(&ix, d->count))
		return kveil_no_memory(err, "the key registry");
	for (size_t i = 0; !status && i < d->count; i++) {
		status = kveil_key_record_verify(&d->records[i], secret, err);
		int taken = status ? 0 : index_add(&ix, &d->records[i], &d->records[i]);
		if (taken)
			status = taken < 0 ? kveil_no_memory(err, "the key registry")
					   : corrupt(err, "a key stands twice in the key registry");
	}
	index_free(&ix);
	return status;
}

/* The record of the same version, if it supersedes the one at hand. */
static enum kveil_status replace(struct kveil_key_record *old, const struct kveil_key_record *r, bool *changed,
				 struct kveil_error *err)
{
	struct kveil_key_record copy;

	if (!kveil_key_record_supersedes(r, old))
		return KVEIL_OK;
	if (!kveil_key_record_copy(&copy, r))
		return kveil_no_memory(err, "the key registry");
	kveil_key_record_clear(old);
	*old = copy;
	*changed = true;
	return KVEIL_OK;
}

enum kveil_status kveil_document_merge(struct kveil_document *d, const struct kveil_key_record *records, size_t count,
				       bool *ret_changed, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	struct index ix;

	*ret_changed = false;
	if (!index_new(&ix, d->count + count))
		return kveil_no_memory(err, "the key registry");
	/* Values are positions, from 1: the array moves as it grows. */
	for (size_t i = 0; !status && i < d->count; i++)
		if (index_add(&ix, &d->records[i], (void *)(uintptr_t)(i + 1)))
			status = corrupt(err, "a key stands twice in the key registry");
	for (size_t i = 0; !status && i < count; i++) {
		const struct kveil_key_record *r = &records[i];
		uintptr_t at = (uintptr_t)kveil_map_get(&ix.map, kveil_span_of(&r->id, sizeof r->id));
		if (at) {
			status = replace(&d->records[at - 1], r, ret_changed, err);
			continue;
		}
		int taken = index_add(&ix, r, (void *)(uintptr_t)(d->count + 1));
		if (taken > 0)
			continue;
		if (taken < 0 || !kveil_document_add(d, r))
			status = kveil_no_memory(err, "the key registry");
		else
			*ret_changed = true;
	}
	index_free(&ix);
	return status;
}

size_t kveil_document_versions(const struct kveil_document *d)
{
	size_t ret = 0;

	for (size_t i = 0; i < d->count; i++)
		ret += !kveil_key_record_ends_name(&d->records[i]);
	return ret;
}

static bool holds_id(const struct index *ix, uint32_t id)
{
	return kveil_map_get(&ix->map, kveil_span_of(&id, sizeof id));
}

enum kveil_status kveil_document_sort_out(struct kveil_document *d, const struct kveil_document *there,
					  struct kveil_restoring *how, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	size_t kept = 0;
	struct index ix;

	if (!index_new(&ix, there->count + d->count))
		return kveil_no_memory(err, "the key registry");
	for (size_t k = 0; !status && k < there->count; k++)
		if (index_add(&ix, &there->records[k], &there->records[k]) < 0)
			status = kveil_no_memory(err, "the key registry");
	/* On failure the rest stays: each record has one place, or none. */
	for (size_t i = 0; i < d->count; i++) {
		struct kveil_key_record r = d->records[i];
		bool known = !status && holds_id(&ix, r.id);
		int taken = status ? 0 : known ? 1 : index_add(&ix, &r, &ix);
		bool counts = !kveil_key_record_ends_name(&r);
		if (taken < 0)
			status = kveil_no_memory(err, "the key registry");
		how->skipped += known && counts;
		how->conflicting += !known && taken > 0 && counts;
		how->added += taken == 0 && counts;
		if (taken > 0)
			kveil_key_record_clear(&r);
		else
			d->records[kept++] = r;
	}
	d->count = kept;
	index_free(&ix);
	return status;
}

static json_t *events_of(const struct kveil_registry_events *all)
{
	json_t *lines = json_array();

	for (size_t i = 0; i < all->count; i++)
		if (json_array_append_new(lines, json_string(all->items[i].line))) {
			json_decref(lines);
			return NULL;
		}
	return lines;
}

static int format_of(const struct kveil_document *d)
{
	if (!kveil_registry_root_is_plain(&d->root))
		return 3;
	return d->events.count ? 2 : 1;
}

static json_t *tree_of(const struct kveil_document *d)
{
	json_t *roots = json_array(), *keys = json_array();
	bool ok = roots && keys;

	for (size_t i = 0; ok && i < d->root.count; i++)
		ok =
		    json_array_append_new(roots, json_pack("{s:s, s:o}", "kek", d->root.keys[i].kek, "wrapped",
							   kveil_registry_text_of(KVEIL_BASE64, d->root.keys[i].wrapped,
										  d->root.keys[i].wrapped_len))) == 0;
	for (size_t i = 0; ok && i < d->count; i++)
		ok = json_array_append_new(keys, kveil_key_record_to_tree(&d->records[i])) == 0;
	if (!ok) {
		json_decref(roots);
		json_decref(keys);
		return NULL;
	}
	json_t *tree = json_pack(
	    "{s:s, s:i, s:o, s:I, s:I, s:o, s:o}", "kveil", d->backup ? magic_backup : magic_registry, "format",
	    format_of(d), "id", kveil_registry_text_of(KVEIL_HEX, d->root.id, sizeof d->root.id), "generation",
	    (json_int_t)d->generation, "lease", (json_int_t)d->lease, "registry_keys", roots, "keys", keys);
	ok = tree &&
	     (kveil_registry_root_is_plain(&d->root) ||
	      json_object_set_new(tree, "secret", kveil_registry_root_to_tree(&d->root)) == 0) &&
	     (!d->events.count || json_object_set_new(tree, "events", events_of(&d->events)) == 0) &&
	     json_object_set_new(tree, "mac", kveil_registry_text_of(KVEIL_BASE64, d->mac, sizeof d->mac)) == 0;
	if (!ok) {
		json_decref(tree);
		return NULL;
	}
	return tree;
}

enum kveil_status kveil_document_write(struct kveil_document *d, const struct kveil_registry_secret *secret,
				       struct kveil_buf *out, struct kveil_error *err)
{
	enum kveil_status status = mac_of(d, secret, d->mac, err);

	if (status)
		return status;
	json_t *tree = tree_of(d);
	char *text = tree ? json_dumps(tree, JSON_INDENT(1)) : NULL;
	if (text) {
		kveil_buf_append_str(out, text);
		kveil_buf_append_byte(out, '\n');
	}
	free(text);
	json_decref(tree);
	return text && kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

enum kveil_status kveil_document_sign_anew(struct kveil_document *d, const struct kveil_registry_secret *secret,
					   struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_events_sign_anew(&d->events, secret, err);

	for (size_t i = 0; !status && i < d->count; i++)
		status = kveil_key_record_sign(&d->records[i], secret, err);
	return status;
}

enum kveil_status kveil_document_demote(struct kveil_document *d, const struct kveil_registry_secret *secret,
					int64_t now_ms, struct kveil_error *err)
{
	for (size_t i = 0; i < d->count; i++) {
		struct kveil_key_record *r = &d->records[i];
		const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
		/* A pattern's own key wraps keys, and counts no nonces. */
		if (r->state != KVEIL_KEY_LIVE || alg->kind != KVEIL_ALG_AEAD || strchr(r->name, '{'))
			continue;
		r->state = KVEIL_KEY_OPENS_ONLY;
		kveil_key_record_advance(r);
		r->changed_ms = now_ms;
		enum kveil_status status = kveil_key_record_sign(r, secret, err);
		if (status)
			return status;
	}
	return KVEIL_OK;
}
