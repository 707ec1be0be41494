/* SPDX-License-Identifier: Apache-2.0 */
/* A registry as a log of messages, without I/O. */
#include "registry/registry_log.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdlib.h>

enum {
	HEAL_MS = 4000,        /* the longest wait before a damaged record is written again */
	HEAL_AGAIN_MS = 10000, /* and from then on, until it is read */
};

/* A (name, version) and who has it. */
struct slot {
	struct kveil_registry_known *winner;
	size_t len;
	uint8_t label[]; /* name NUL version */
};

struct kveil_registry_known {
	uint32_t id, sequence;
	enum kveil_key_state state;
	struct slot *slot;
	int64_t offset;
	int64_t due_ms; /* monotonic: when to write it again; 0 = not damaged */
};

void kveil_registry_log_init(struct kveil_registry_log *log, struct kveil_registry *registry)
{
	*log = (struct kveil_registry_log){.registry = registry, .lease = -1, .root_offset = -1};
}

void kveil_registry_log_clear(struct kveil_registry_log *log)
{
	for (size_t i = 0; i < log->ids.cap; i++)
		free(log->ids.slots[i].value);
	for (size_t i = 0; i < log->versions.cap; i++)
		free(log->versions.slots[i].value);
	kveil_map_clear(&log->ids);
	kveil_map_clear(&log->versions);
	kveil_registry_epoch_root_clear(&log->root);
	kveil_registry_log_forget_candidates(log);
	kveil_document_clear(&log->batch);
	free(log->damaged);
	kveil_registry_note_clear(&log->note);
	kveil_registry_events_clear(&log->events);
	*log = (struct kveil_registry_log){0};
}

/* --- the root --- */

static int64_t draw_due(void)
{
	uint32_t draw = 0;

	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	return kveil_clock_mono_ms() + draw % HEAL_MS + 1;
}

static void doubt(struct kveil_registry_log *log, enum kveil_registry_doubt why)
{
	atomic_fetch_add_explicit(&log->registry->ignored[why], 1, memory_order_relaxed);
}

bool kveil_registry_log_is_root(const struct kveil_registry_log *log, struct kveil_span label, struct kveil_span value)
{
	struct kveil_registry_epoch_root root;
	char ours[KVEIL_ROOT_LABEL_MAX];

	kveil_registry_root_label(&log->root.keys, ours);
	if (!kveil_span_eq(label, kveil_span_str(ours)) || !kveil_registry_root_parse(value, &root))
		return false;
	bool same = kveil_secret_eq(root.mac, log->root.mac, sizeof root.mac);
	kveil_registry_epoch_root_clear(&root);
	return same;
}

static bool is_label_of(struct kveil_span label, const struct kveil_registry_root *root)
{
	char theirs[KVEIL_ROOT_LABEL_MAX];

	kveil_registry_root_label(root, theirs);
	return kveil_span_eq(label, kveil_span_str(theirs));
}

/* From its first writing on, nothing that an older secret signed counts. */
static void begin_with(struct kveil_registry_log *log, int64_t offset)
{
	struct kveil_registry_secret *secret = log->registry->secret;

	if (!log->root.keys.number)
		return;
	if (log->root.from < 0)
		log->root.from = secret->from != INT64_MAX ? secret->from : offset;
	secret->from = log->root.from;
}

/* false: something else stands in its place. */
static bool take_own_root(struct kveil_registry_log *log, int64_t offset, struct kveil_span value)
{
	struct kveil_registry_epoch_root root;

	if (!kveil_registry_root_parse(value, &root)) {
		doubt(log, value.data ? KVEIL_DOUBT_FORGED : KVEIL_DOUBT_EMPTIED);
	} else if (!kveil_registry_root_authentic(&root, log->registry->secret)) {
		doubt(log, KVEIL_DOUBT_FORGED);
		kveil_registry_epoch_root_clear(&root);
	} else if (root.sequence < log->root.sequence) {
		kveil_registry_epoch_root_clear(&root);
		/* The one that counts was found ahead of reading: what comes before it is how it came to be. */
		if (log->root_offset < 0)
			return true;
		doubt(log, KVEIL_DOUBT_REPLAYED);
	} else {
		kveil_registry_log_set_root(log, &root);
		log->root_offset = offset;
		log->root_damaged = false;
		begin_with(log, offset);
		return true;
	}
	return false;
}

/* Somebody evicted a KEK. What cannot be opened comes again; what the secret at hand did not authorise is nobody's. */
static enum kveil_status take_next_root(struct kveil_registry_log *log, int64_t offset, struct kveil_span value,
					struct kveil_error *err)
{
	struct kveil_registry_secret *next = NULL;
	struct kveil_registry_epoch_root root;

	if (!kveil_registry_root_parse(value, &root)) {
		doubt(log, value.data ? KVEIL_DOUBT_FORGED : KVEIL_DOUBT_EMPTIED);
		return KVEIL_OK;
	}
	bool ours = kveil_registry_root_follows(&root.keys, log->registry->secret);
	enum kveil_status status = ours ? kveil_registry_open_next(log->registry, &root.keys, &next, err) : KVEIL_OK;
	if (!status && ours && kveil_registry_root_authentic(&root, next)) {
		kveil_registry_adopt(log->registry, next);
		kveil_registry_log_set_root(log, &root);
		log->root_offset = offset;
		log->root_damaged = false;
		begin_with(log, offset);
		return kveil_registry_events_sign_anew(&log->events, next, err);
	}
	kveil_registry_secret_free(next);
	kveil_registry_epoch_root_clear(&root);
	if (status == KVEIL_E_REGISTRY_CORRUPT)
		status = KVEIL_OK;
	if (!status)
		doubt(log, KVEIL_DOUBT_FORGED);
	return status;
}

static enum kveil_status take_root(struct kveil_registry_log *log, int64_t offset, struct kveil_span label,
				   struct kveil_span value, struct kveil_error *err)
{
	struct kveil_registry_root next = kveil_registry_root_head(&log->root.keys);

	next.number++;
	if (log->registry->kek_count && is_label_of(label, &next))
		return take_next_root(log, offset, value, err);
	/* Another registry's, such as one that lost against ours when both were made: nobody opens it. Or an older one.
	 */
	if (!is_label_of(label, &log->root.keys) || take_own_root(log, offset, value))
		return KVEIL_OK;
	if (!log->root_damaged)
		log->root_due_ms = draw_due();
	log->root_damaged = true;
	return KVEIL_OK;
}

/* --- which secret --- */

/* The one before, if it may have signed a message at this offset; else NULL. */
static const struct kveil_registry_secret *older(const struct kveil_registry_secret *s, int64_t offset)
{
	return offset < s->from ? s->before : NULL;
}

/* From before a KEK was evicted, under a secret that is not known any more: what is left of it was signed anew. */
static bool is_bygone(const struct kveil_registry_log *log, int64_t offset)
{
	const struct kveil_registry_secret *s = log->registry->secret;

	while (older(s, offset))
		s = s->before;
	return s->number && offset < s->from;
}

/* --- leases --- */

static void take_lease(struct kveil_registry_log *log, int64_t offset, struct kveil_span value)
{
	const struct kveil_registry_secret *s = log->registry->secret;
	struct kveil_registry_lease l;

	if (!kveil_registry_lease_parse(value, &l))
		s = NULL;
	while (s && !kveil_registry_lease_authentic(&l, s))
		s = older(s, offset);
	if (!s) {
		if (!is_bygone(log, offset))
			doubt(log, value.data ? KVEIL_DOUBT_FORGED : KVEIL_DOUBT_EMPTIED);
		return;
	}
	if (!kveil_secret_eq(l.epoch, log->root.epoch, sizeof l.epoch))
		return; /* from before a restore */
	log->lease = offset;
	/* A log that was a copy stays one, whatever is written into it, until it is restored: then it has another
	 * epoch. */
	log->rolled_back |= offset <= l.after;
}

/* --- the note --- */

static void take_note(struct kveil_registry_log *log, int64_t offset, struct kveil_span value)
{
	const struct kveil_registry_secret *s = log->registry->secret;
	struct kveil_registry_note n = {0};

	if (!kveil_registry_note_parse(value, &n)) {
		if (!is_bygone(log, offset))
			doubt(log, value.data ? KVEIL_DOUBT_FORGED : KVEIL_DOUBT_EMPTIED);
		return;
	}
	while (s && !kveil_registry_note_authentic(&n, s))
		s = older(s, offset);
	if (!s) {
		if (!is_bygone(log, offset))
			doubt(log, KVEIL_DOUBT_FORGED);
		kveil_registry_note_clear(&n);
	} else if (n.sequence < log->note.sequence) {
		doubt(log, KVEIL_DOUBT_REPLAYED);
		kveil_registry_note_clear(&n);
	} else {
		kveil_registry_note_clear(&log->note);
		log->note = n;
	}
}

/* --- events --- */

static bool take_event(struct kveil_registry_log *log, int64_t offset, struct kveil_span label, struct kveil_span value)
{
	const struct kveil_registry_secret *s = log->registry->secret;
	struct kveil_registry_event e, *place;
	enum kveil_registry_doubt why = value.data ? KVEIL_DOUBT_FORGED : KVEIL_DOUBT_EMPTIED;
	char should[KVEIL_EVENT_LABEL_MAX];

	if (kveil_registry_event_parse(value, &e)) {
		kveil_registry_event_label(&e, should);
		while (s && !kveil_registry_event_authentic(&e, s))
			s = older(s, offset);
		if (s && kveil_span_eq(label, kveil_span_str(should)))
			return kveil_registry_events_add(&log->events, &e);
		if (s)
			why = KVEIL_DOUBT_RELABELLED;
		kveil_registry_event_clear(&e);
		if (!s && is_bygone(log, offset))
			return true;
	}
	doubt(log, why);
	place = kveil_registry_events_find(&log->events, label);
	if (place && !log->events_due_ms)
		log->events_due_ms = draw_due();
	if (place)
		place->damaged = true;
	return true;
}

const struct kveil_registry_event *kveil_registry_log_damaged_event(struct kveil_registry_log *log)
{
	if (!log->events_due_ms || kveil_clock_mono_ms() < log->events_due_ms)
		return NULL;
	for (size_t i = 0; i < log->events.count; i++)
		if (log->events.items[i].damaged)
			return &log->events.items[i];
	log->events_due_ms = 0;
	return NULL;
}

/* --- records --- */

static struct kveil_registry_known *known_of(const struct kveil_registry_log *log, uint32_t id)
{
	return kveil_map_get(&log->ids, kveil_span_of(&id, sizeof id));
}

bool kveil_registry_log_knows(const struct kveil_registry_log *log, uint32_t id)
{
	return known_of(log, id) != NULL;
}

static bool is_winner(const struct kveil_registry_known *k)
{
	return k->slot->winner == k;
}

bool kveil_registry_log_is_cut(const struct kveil_registry_log *log, int64_t start)
{
	if (start <= 0)
		return false;
	for (size_t i = 0; i < log->ids.cap; i++) {
		const struct kveil_registry_known *k = log->ids.slots[i].value;
		if (k && is_winner(k) && k->offset < start && !k->due_ms)
			return true;
	}
	return log->root_offset >= 0 && log->root_offset < start && !log->root_damaged;
}

/* What stands last under this record's message key is not the record. */
static bool damage(struct kveil_registry_log *log, struct kveil_registry_known *k)
{
	if (!k || k->due_ms || !is_winner(k))
		return true;
	if (log->damaged_count == log->damaged_cap) {
		size_t cap = log->damaged_cap ? log->damaged_cap * 2 : 16;
		struct kveil_registry_known **grown =
		    realloc(log->damaged, cap * sizeof(struct kveil_registry_known *));
		if (!grown)
			return false;
		log->damaged = grown;
		log->damaged_cap = cap;
	}
	log->damaged[log->damaged_count++] = k;
	k->due_ms = draw_due();
	return true;
}

size_t kveil_registry_log_damaged(struct kveil_registry_log *log, bool at_once, uint32_t *ids, size_t max)
{
	int64_t now = kveil_clock_mono_ms();
	size_t kept = 0, count = 0;

	for (size_t i = 0; i < log->damaged_count; i++) {
		struct kveil_registry_known *k = log->damaged[i];
		if (!k->due_ms)
			continue;
		log->damaged[kept++] = k;
		if (count < max && (at_once || now >= k->due_ms)) {
			ids[count++] = k->id;
			k->due_ms = now + HEAL_AGAIN_MS;
		}
	}
	log->damaged_count = kept;
	return count;
}

enum { SLOT_LABEL_MAX = KVEIL_KEY_NAME_MAX + 1 + 4 };

static size_t slot_label(const struct kveil_key_record *r, uint8_t label[SLOT_LABEL_MAX])
{
	size_t n = strlen(r->name) + 1;

	memcpy(label, r->name, n);
	memcpy(label + n, &r->version, sizeof r->version);
	return n + sizeof r->version;
}

static struct slot *slot_of(struct kveil_registry_log *log, const struct kveil_key_record *r)
{
	uint8_t label[SLOT_LABEL_MAX];
	size_t n = slot_label(r, label);

	struct slot *s = kveil_map_get(&log->versions, kveil_span_of(label, n));
	if (s)
		return s;
	s = malloc(sizeof *s + n);
	if (!s)
		return NULL;
	s->winner = NULL;
	s->len = n;
	memcpy(s->label, label, n);
	if (kveil_map_put(&log->versions, kveil_span_of(s->label, n), s))
		return s;
	free(s);
	return NULL;
}

/* k is what this record says, in a place that somebody may have. */
static enum kveil_status settle(struct kveil_registry_log *log, int64_t offset, struct kveil_registry_known *k,
				struct slot *s, const struct kveil_key_record *r, struct kveil_error *err)
{
	*k = (struct kveil_registry_known){
	    .id = k->id, .sequence = r->sequence, .state = r->state, .slot = s, .offset = offset};
	if (s->winner && (r->sequence == 1 || s->winner->sequence > 1))
		return KVEIL_OK;
	s->winner = k;
	return kveil_document_add(&log->batch, r) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

static enum kveil_status take_new(struct kveil_registry_log *log, int64_t offset, const struct kveil_key_record *r,
				  struct kveil_error *err)
{
	struct slot *s = slot_of(log, r);
	struct kveil_registry_known *k = s ? calloc(1, sizeof *k) : NULL;

	if (!k)
		return kveil_no_memory(err, "the key registry");
	k->id = r->id;
	if (!kveil_map_put(&log->ids, kveil_span_of(&k->id, sizeof k->id), k)) {
		free(k);
		return kveil_no_memory(err, "the key registry");
	}
	return settle(log, offset, k, s, r, err);
}

static bool same_version(const struct kveil_registry_known *k, const struct kveil_key_record *r)
{
	uint8_t label[SLOT_LABEL_MAX];
	size_t n = slot_label(r, label);

	return kveil_span_eq(kveil_span_of(k->slot->label, k->slot->len), kveil_span_of(label, n));
}

/* The id is known in another place. A key that lost its number may come under a later one (an import keeps its ids):
 * there it counts, also for whoever took it for the winner of the first. */
static enum kveil_status take_elsewhere(struct kveil_registry_log *log, int64_t offset, struct kveil_registry_known *k,
					const struct kveil_key_record *r, struct kveil_error *err)
{
	bool same_name = strcmp((const char *)k->slot->label, r->name) == 0;
	uint32_t version;

	memcpy(&version, k->slot->label + k->slot->len - sizeof version, sizeof version);
	/* Two keys that drew one id: the second has lost. */
	if (is_winner(k) && !same_name)
		return KVEIL_OK;
	/* An earlier number behind a later one, which compaction would take away. */
	if (same_name && r->version < version) {
		if (!is_winner(k))
			return KVEIL_OK;
		doubt(log, KVEIL_DOUBT_REPLAYED);
		return damage(log, k) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	}
	struct slot *s = slot_of(log, r);
	if (!s)
		return kveil_no_memory(err, "the key registry");
	if (is_winner(k))
		k->slot->winner = NULL;
	return settle(log, offset, k, s, r, err);
}

static enum kveil_status take_again(struct kveil_registry_log *log, int64_t offset, struct kveil_registry_known *k,
				    const struct kveil_key_record *r, struct kveil_error *err)
{
	if (offset <= k->offset)
		return KVEIL_OK;
	if (!same_version(k, r))
		return take_elsewhere(log, offset, k, r, err);
	if (r->state > k->state || (r->state == k->state && r->sequence > k->sequence)) {
		k->state = r->state;
		k->sequence = r->sequence;
		k->offset = offset;
		k->due_ms = 0;
		const struct kveil_registry_known *winner = k->slot->winner;
		if (r->sequence > 1 && (!winner || winner->sequence == 1))
			k->slot->winner = k;
		if (!is_winner(k))
			return KVEIL_OK;
		return kveil_document_add(&log->batch, r) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	}
	bool same = r->state == k->state && r->sequence == k->sequence;
	if (same) {
		k->offset = offset;
		/* Two who healed it at the same moment; or the end of a name, under its second label. */
		if (r->sequence > 1 || r->state == KVEIL_KEY_DESTROYED) {
			k->due_ms = 0;
			return KVEIL_OK;
		}
	}
	/* What is older than what is known; or the first writing moved behind those that came after it. */
	if (!is_winner(k))
		return KVEIL_OK;
	doubt(log, KVEIL_DOUBT_REPLAYED);
	return damage(log, k) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

static enum kveil_status take_record(struct kveil_registry_log *log, int64_t offset, struct kveil_span label,
				     struct kveil_span value, struct kveil_error *err)
{
	struct kveil_registry_known *place = known_of(log, kveil_registry_label_id(label));
	char should[KVEIL_RECORD_LABEL_MAX];
	enum kveil_registry_doubt why = KVEIL_DOUBT_COUNT;
	struct kveil_key_record r;
	struct kveil_error ignored;

	if (!value.data) {
		doubt(log, KVEIL_DOUBT_EMPTIED);
		return damage(log, place) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	}
	enum kveil_status status = value.len > KVEIL_REGISTRY_MESSAGE_MAX
				       ? KVEIL_E_REGISTRY_CORRUPT
				       : kveil_key_record_from_json(value, &r, &ignored);
	if (status == KVEIL_E_NO_MEMORY)
		return kveil_no_memory(err, "the key registry");
	if (status) {
		doubt(log, KVEIL_DOUBT_FORGED);
		return damage(log, place) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	}
	const bool is_end = kveil_registry_is_end_label(label);
	if (is_end)
		kveil_registry_end_label(&r, should);
	else
		kveil_registry_record_label(&r, should);
	const struct kveil_registry_secret *s = log->registry->secret;
	while (s && kveil_key_record_verify(&r, s, &ignored))
		s = older(s, offset);
	if (!s && is_bygone(log, offset)) {
		kveil_key_record_clear(&r);
		return KVEIL_OK;
	}
	if (!s)
		why = KVEIL_DOUBT_FORGED;
	else if (!kveil_span_eq(label, kveil_span_str(should)) || (is_end && r.state != KVEIL_KEY_DESTROYED))
		why = KVEIL_DOUBT_RELABELLED;
	struct kveil_registry_known *k = known_of(log, r.id);
	if (why != KVEIL_DOUBT_COUNT) {
		doubt(log, why);
		if (!damage(log, place))
			status = kveil_no_memory(err, "the key registry");
	} else {
		status = k ? take_again(log, offset, k, &r, err) : take_new(log, offset, &r, err);
	}
	kveil_key_record_clear(&r);
	return status;
}

enum kveil_status kveil_registry_log_take(struct kveil_registry_log *log, int64_t offset, struct kveil_span label,
					  struct kveil_span value, struct kveil_error *err)
{
	if (kveil_registry_is_root_label(label))
		return take_root(log, offset, label, value, err);
	if (kveil_span_eq(label, KVEIL_SPAN(KVEIL_LEASE_LABEL))) {
		take_lease(log, offset, value);
		return KVEIL_OK;
	}
	if (kveil_span_eq(label, KVEIL_SPAN(KVEIL_NOTE_LABEL))) {
		take_note(log, offset, value);
		return KVEIL_OK;
	}
	if (kveil_registry_is_event_label(label))
		return take_event(log, offset, label, value) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
	/* A kind that a later kveil writes; no key is called so. */
	if (label.len && label.data[0] == '!' && !kveil_registry_is_end_label(label))
		return KVEIL_OK;
	return take_record(log, offset, label, value, err);
}

enum kveil_status kveil_registry_log_hand_over(struct kveil_registry_log *log, kveil_registry_read_fn *fn, void *user,
					       struct kveil_error *err)
{
	for (size_t i = 0; i < log->batch.count; i++) {
		const struct kveil_key_record *r = &log->batch.records[i];
		const struct kveil_registry_known *k = known_of(log, r->id);
		/* One that lost after all, or that a later one in this batch supersedes. */
		if (!is_winner(k) || !same_version(k, r) || k->sequence != r->sequence || k->state != r->state)
			continue;
		enum kveil_status status = fn(user, r, err);
		if (status)
			return status;
	}
	kveil_document_clear(&log->batch);
	return KVEIL_OK;
}
