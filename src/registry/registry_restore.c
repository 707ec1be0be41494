/* SPDX-License-Identifier: Apache-2.0 */
/* What a restore makes of states: see the header. */
#include "registry/registry_restore.h"

#include "base/clock.h"
#include "base/map.h"
#include "registry/registry_life.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct settling {
	const struct kveil_restore_there *there;
	const struct kveil_registry_secret *secret;
	struct kveil_restoring *how;
	struct kveil_registry_events *coming, all;         /* all: what is there, what comes, and what is added */
	struct kveil_withheld_list here, in_backup, after; /* before the restore; as the backup says; by all events */
	struct kveil_map ids, names, in_use; /* what is there: by id; a version of each name; one in use */
	int64_t now_ms;
};

static const char *state_of(const struct kveil_key_record *r, const struct kveil_withheld *w)
{
	if (r->state == KVEIL_KEY_DESTROYED)
		return "destroyed";
	if (w)
		return w->due_ms ? "scheduled" : "disabled";
	return r->state == KVEIL_KEY_RETIRED ? "retired" : "in use";
}

/* --- what is told, and what is added --- */

static enum kveil_status tell(struct settling *s, const struct kveil_key_record *r, const char *backup,
			      const char *here, int64_t due_ms, bool stays, struct kveil_error *err)
{
	struct kveil_restoring *how = s->how;
	struct kveil_restored_version *grown;

	if ((how->told_count & (how->told_count - 1)) == 0) {
		grown = realloc(how->told, (how->told_count ? 2 * how->told_count : 1) * sizeof *grown);
		if (!grown)
			return kveil_no_memory(err, "what a restore tells");
		how->told = grown;
	}
	struct kveil_restored_version *v = &how->told[how->told_count++];
	*v = (struct kveil_restored_version){.version = kveil_key_record_ends_name(r) ? 0 : r->version,
					     .id = r->id,
					     .backup = backup,
					     .here = here,
					     .due_ms = due_ms,
					     .stays = stays};
	snprintf(v->name, sizeof v->name, "%s", r->name);
	return KVEIL_OK;
}

static enum kveil_status say(struct settling *s, const struct kveil_key_record *r, enum kveil_event_kind kind,
			     const struct kveil_withheld *w, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	bool scheduled = kind == KVEIL_EVENT_KEY_DESTROY_SCHEDULED;
	const struct kveil_event e = {.kind = kind,
				      .key = r->name,
				      .version = r->version,
				      .id = r->id,
				      .algorithm = alg ? alg->name : NULL,
				      .kek = r->kek,
				      .detail = s->there->lacks_events
						    ? "the events that tell its state are missing"
						    : "what the backup says of it does not count here",
				      .due_ms = scheduled ? w->due_ms : 0,
				      .whole = scheduled && w->whole};
	struct kveil_registry_event written;
	enum kveil_status status = kveil_registry_event_write(&s->all, &e, s->now_ms, s->secret, &written, err);

	if (status)
		return status;
	const struct kveil_registry_events one = {.items = &written, .count = 1};
	bool ok = kveil_registry_events_add_all(s->coming, &one) && kveil_registry_events_add(&s->all, &written);
	if (ok)
		return KVEIL_OK;
	kveil_registry_event_clear(&written);
	return kveil_no_memory(err, "the events of the key registry");
}

/* From what all events say to what has to hold. */
static enum kveil_status hold(struct settling *s, const struct kveil_key_record *r, const struct kveil_withheld *is,
			      const struct kveil_withheld *should, struct kveil_error *err)
{
	const struct kveil_withheld none = {0}, *a = is ? is : &none, *b = should ? should : &none;
	enum kveil_status status = KVEIL_OK;

	if (b->disabled != a->disabled)
		status = say(s, r, b->disabled ? KVEIL_EVENT_KEY_DISABLED : KVEIL_EVENT_KEY_ENABLED, b, err);
	if (!status && (b->due_ms != a->due_ms || b->whole != a->whole))
		status = say(s, r, b->due_ms ? KVEIL_EVENT_KEY_DESTROY_SCHEDULED : KVEIL_EVENT_KEY_DESTROY_CANCELLED, b,
			     err);
	return status;
}

/* --- one version --- */

static enum kveil_status stay(struct settling *s, const struct kveil_key_record *r,
			      const struct kveil_key_record *there, struct kveil_error *err)
{
	const struct kveil_withheld *theirs = kveil_withheld_find(&s->in_backup, r->id);
	const struct kveil_withheld *ours = kveil_withheld_find(&s->here, r->id);
	const char *backup = state_of(r, theirs), *here = state_of(there, ours);
	enum kveil_status status = KVEIL_OK;

	if (strcmp(backup, here) != 0 || (theirs && ours && theirs->due_ms != ours->due_ms))
		status = tell(s, r, backup, here, theirs ? theirs->due_ms : 0, true, err);
	if (!status && there->state != KVEIL_KEY_DESTROYED)
		status = hold(s, r, kveil_withheld_find(&s->after, r->id), ours, err);
	return status;
}

/* there: in a registry that is a copy; NULL: nowhere. */
static enum kveil_status come_in(struct settling *s, const struct kveil_key_record *r,
				 const struct kveil_key_record *there, struct kveil_error *err)
{
	const struct kveil_withheld *w = kveil_withheld_find(&s->after, r->id);
	/* What may not go on as it was. */
	const struct kveil_withheld instead = {.id = r->id, .disabled = true};
	const struct kveil_key_record *stands =
	    there && (s->there->keeps_records || there->state > r->state) ? there : r;
	bool is_due = w && w->due_ms && w->due_ms <= s->now_ms;
	bool is_over = stands->state != KVEIL_KEY_DESTROYED &&
		       (is_due || ((!w || w->due_ms) && s->there->lacks_events && !s->there->is_backup));
	const char *backup = state_of(r, kveil_withheld_find(&s->in_backup, r->id));
	const char *here = state_of(stands, is_over ? &instead : w);
	const char *was = there ? state_of(there, kveil_withheld_find(&s->here, r->id)) : backup;
	bool is_withheld = stands->state != KVEIL_KEY_DESTROYED && w;
	enum kveil_status status = is_over ? hold(s, r, w, &instead, err) : KVEIL_OK;

	if (!status && (is_withheld || strcmp(backup, here) != 0 || strcmp(was, here) != 0))
		status = tell(s, r, backup, here, w ? w->due_ms : 0, there && stands == there && !is_over, err);
	return status;
}

/* What would seal from now on in the place of a version that is here only opens: equal values stay equal. */
static enum kveil_status give_way(struct settling *s, struct kveil_key_record *r, struct kveil_error *err)
{
	if (!s->there->is_whole || r->state != KVEIL_KEY_LIVE || !kveil_map_get(&s->names, kveil_span_str(r->name)))
		return KVEIL_OK;
	r->state = KVEIL_KEY_OPENS_ONLY;
	kveil_key_record_advance(r);
	r->changed_ms = s->now_ms;
	enum kveil_status status = kveil_key_record_sign(r, s->secret, err);
	return status ? status : tell(s, r, "in use", "opens only", 0, false, err);
}

/* ret_out: it does not come in. */
static enum kveil_status settle_one(struct settling *s, struct kveil_key_record *r, bool *ret_out,
				    struct kveil_error *err)
{
	const struct kveil_key_record *there = kveil_map_get(&s->ids, kveil_span_of(&r->id, sizeof r->id));

	*ret_out = false;
	if (kveil_key_record_ends_name(r)) {
		*ret_out = s->there->is_whole && kveil_map_get(&s->in_use, kveil_span_str(r->name));
		return *ret_out ? tell(s, r, "destroyed", "in use", 0, true, err) : KVEIL_OK;
	}
	if (there && s->there->is_whole)
		return stay(s, r, there, err);
	enum kveil_status status = come_in(s, r, there, err);
	return status ? status : give_way(s, r, err);
}

/* --- what was made once, and is nowhere --- */

static int by_id(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static enum kveil_status tell_missing(struct settling *s, const struct kveil_registry_event *e, struct kveil_error *err)
{
	json_t *tree = json_loads(e->line, 0, NULL);
	const char *name = json_string_value(json_object_get(tree, "key"));
	struct kveil_key_record r = {.id = e->id, .version = e->version};

	snprintf(r.name, sizeof r.name, "%s", name ? name : "?");
	json_decref(tree);
	return tell(s, &r, "missing", "missing", 0, false, err);
}

/* d: all that the backup has. */
static enum kveil_status look_for_missing(struct settling *s, const struct kveil_document *d, struct kveil_error *err)
{
	uint32_t *ids = calloc(d->count + 1, sizeof *ids);
	enum kveil_status status = ids ? KVEIL_OK : kveil_no_memory(err, "the key registry");

	for (size_t i = 0; ids && i < d->count; i++)
		ids[i] = d->records[i].id;
	if (ids)
		qsort(ids, d->count, sizeof *ids, by_id);
	for (size_t i = 0; !status && i < s->all.count; i++) {
		const struct kveil_registry_event *e = &s->all.items[i];
		if (e->kind == KVEIL_EVENT_KEY_CREATED && e->id &&
		    !kveil_map_get(&s->ids, kveil_span_of(&e->id, sizeof e->id)) &&
		    !bsearch(&e->id, ids, d->count, sizeof *ids, by_id))
			status = tell_missing(s, e, err);
	}
	free(ids);
	return status;
}

/* --- what may have been disabled by events that are gone --- */

static bool has_id(const struct kveil_document *d, uint32_t id)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].id == id)
			return true;
	return false;
}

/* What is there and does not come in: nothing tells its state. */
static enum kveil_status disable_rest(struct settling *s, const struct kveil_document *d, struct kveil_error *err)
{
	const struct kveil_document *there = s->there->records;
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; s->there->lacks_events && there && !status && i < there->count; i++) {
		const struct kveil_key_record *r = &there->records[i];
		const struct kveil_withheld instead = {.id = r->id, .disabled = true};
		const struct kveil_withheld *w = kveil_withheld_find(&s->after, r->id);
		/* One that is to be destroyed: it may have been cancelled by what is gone. */
		if (r->state == KVEIL_KEY_DESTROYED || (w && !w->due_ms) || has_id(d, r->id))
			continue;
		status = hold(s, r, w, &instead, err);
		if (!status)
			status = tell(s, r, "missing", "disabled", 0, false, err);
	}
	return status;
}

/* --- all --- */

static bool index_there(struct settling *s)
{
	const struct kveil_document *d = s->there->records;
	bool ok = true;

	for (size_t i = 0; d && ok && i < d->count; i++) {
		struct kveil_key_record *r = &d->records[i];
		struct kveil_span id = kveil_span_of(&r->id, sizeof r->id), name = kveil_span_str(r->name);
		ok = kveil_map_get(&s->ids, id) || kveil_map_put(&s->ids, id, r);
		if (ok && !kveil_map_get(&s->names, name))
			ok = kveil_map_put(&s->names, name, r);
		if (ok && r->state != KVEIL_KEY_DESTROYED && !kveil_map_get(&s->in_use, name))
			ok = kveil_map_put(&s->in_use, name, r);
	}
	return ok;
}

static enum kveil_status begin(struct settling *s, struct kveil_error *err)
{
	static const struct kveil_registry_events none;
	const struct kveil_registry_events *known = s->there->events ? s->there->events : &none;

	if (!index_there(s) || !kveil_registry_events_add_all(&s->all, known) ||
	    !kveil_registry_events_add_all(&s->all, s->coming))
		return kveil_no_memory(err, "the key registry");
	enum kveil_status status = kveil_withheld_sum_up(known, &s->here, err);
	if (!status)
		status = kveil_withheld_sum_up(s->coming, &s->in_backup, err);
	return status ? status : kveil_withheld_sum_up(&s->all, &s->after, err);
}

static void end(struct settling *s)
{
	kveil_registry_events_clear(&s->all);
	kveil_withheld_clear(&s->here);
	kveil_withheld_clear(&s->in_backup);
	kveil_withheld_clear(&s->after);
	kveil_map_clear(&s->ids);
	kveil_map_clear(&s->names);
	kveil_map_clear(&s->in_use);
}

enum kveil_status kveil_restore_settle(struct kveil_document *d, struct kveil_registry_events *coming,
				       const struct kveil_restore_there *there,
				       const struct kveil_registry_secret *secret, struct kveil_restoring *how,
				       struct kveil_error *err)
{
	struct settling s = {
	    .there = there, .secret = secret, .how = how, .coming = coming, .now_ms = kveil_clock_wall_ms()};
	enum kveil_status status = begin(&s, err);
	size_t kept = 0;
	bool out;

	if (!status)
		status = look_for_missing(&s, d, err);
	if (!status)
		status = disable_rest(&s, d, err);
	for (size_t i = 0; i < d->count; i++) {
		struct kveil_key_record r = d->records[i];
		out = false;
		if (!status)
			status = settle_one(&s, &r, &out, err);
		if (out)
			kveil_key_record_clear(&r);
		else
			d->records[kept++] = r;
	}
	d->count = kept;
	end(&s);
	return status;
}
