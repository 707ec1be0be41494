/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_log.h: what the messages of a shared, compacted log mean, for a registry that others may write to.
 * It does no I/O: the driver (keytopic/registry_kafka.c) brings messages in their order and writes what is given back.
 *
 *   offer (until the root is known)    take (each message)  ──►  hand_over (when the end is reached)
 *
 * Who is first. For each (name, version) the first record by offset wins. Compaction keeps only the last message of a
 * record, so a winner that was written again would fall behind a loser that was not: a record with a sequence above 1
 * was written by somebody who knew the winner, and therefore wins over one with sequence 1. That is why nothing is
 * handed over before the end. A key that lost its number may be written again under a later one, with the same id (an
 * import's ids are given): there it counts.
 *
 * Who lies. A message counts if its MAC is right and its message key names what is in it. What does not count is
 * counted by reason. If it stands in the place of a record that is known here, compaction will leave it as the only
 * one: the id is damaged until somebody writes the right record again, with a higher sequence, after a wait that is
 * drawn, so that one process of a group does it and the others see it done.
 *
 * One thread at a time.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_LOG_H
#define KVEIL_REGISTRY_REGISTRY_LOG_H

#include "base/map.h"
#include "registry/document.h"
#include "registry/registry_message.h"
#include "registry/registry_note.h"

struct kveil_registry_known;

/* What may be the root of a log that is not known yet. */
struct kveil_registry_candidate {
	struct kveil_registry_epoch_root root;
	bool withdrawn; /* null was written in its place */
};

struct kveil_registry_log {
	struct kveil_registry *registry; /* secret, and where what is ignored is counted */
	struct kveil_registry_epoch_root root;
	bool has_root, root_damaged;
	int64_t root_due_ms; /* monotonic: when to write a damaged root again */
	int64_t root_offset; /* where it was read; -1 = not yet */
	bool rolled_back;    /* a lease of this epoch says so */
	int64_t lease;       /* the last one's offset; -1 = none */
	struct kveil_registry_candidate *candidates;
	size_t candidate_count, candidate_bytes;
	bool crowded;   /* there were too many to keep */
	unsigned tries; /* candidates that a custodian was asked about */
	struct kveil_map ids, versions;
	struct kveil_registry_known **damaged;
	size_t damaged_count, damaged_cap;
	struct kveil_document batch;     /* taken and not handed over yet */
	struct kveil_registry_note note; /* the newest authentic one; sequence 0 = none */
	struct kveil_registry_events events;
	int64_t events_due_ms; /* monotonic: when to write damaged ones again; 0 = none is */
};

void kveil_registry_log_init(struct kveil_registry_log *log, struct kveil_registry *registry);
void kveil_registry_log_clear(struct kveil_registry_log *log);

/* Looking for the root. Each message is offered first: a root of the registry whose secret is known counts at once,
 * others are kept, with an env those alone that it may be about (env->id). Then choose: the first whose secret a KEK
 * unwraps. It fills log->root and registry->secret, and asks about 64 at most, for whoever may write to the log can
 * write many. refused: why the last one that looked right did not open; its status stays as it was if there was none.
 * Only class RETRY and STOP errors are returned. */
enum kveil_status kveil_registry_log_offer(struct kveil_registry_log *log, const struct kveil_registry_env *env,
					   struct kveil_span label, struct kveil_span value,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_log_choose(struct kveil_registry_log *log, const struct kveil_registry_env *env,
					    struct kveil_error *refused, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_registry_log_forget_candidates(struct kveil_registry_log *log);
void kveil_registry_log_set_root(struct kveil_registry_log *log, struct kveil_registry_epoch_root *root); /* moves in */

/* One message, with the root known. value is absent for a tombstone. */
enum kveil_status kveil_registry_log_take(struct kveil_registry_log *log, int64_t offset, struct kveil_span label,
					  struct kveil_span value, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Winners that were taken since the last call and may be new. On failure they come again. */
enum kveil_status kveil_registry_log_hand_over(struct kveil_registry_log *log, kveil_registry_read_fn *fn, void *user,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is this message, read again at root_offset, still the root that is known? If not, this is another log. */
bool kveil_registry_log_is_root(const struct kveil_registry_log *log, struct kveil_span label, struct kveil_span value);

/* Did something go that counts, where everything before this offset went? Compaction leaves the beginning of a log. */
bool kveil_registry_log_is_cut(const struct kveil_registry_log *log, int64_t start);

/* Events in whose place something else was written, to be written again now: the first of them, or NULL. */
const struct kveil_registry_event *kveil_registry_log_damaged_event(struct kveil_registry_log *log);

bool kveil_registry_log_knows(const struct kveil_registry_log *log, uint32_t id);
/* Damaged ids whose wait is over, at most max of them. They stay damaged until the right record is read. at_once:
 * without the wait, for whoever may have damaged them itself by writing what somebody else's change had overtaken. */
size_t kveil_registry_log_damaged(struct kveil_registry_log *log, bool at_once, uint32_t *ids, size_t max);

#endif
