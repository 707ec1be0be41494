/* SPDX-License-Identifier: Apache-2.0 */
/* What was done to keys: a line of the log, and a record of the registry. */
#include "keys/internal.h"

#include <stdlib.h>

void kveil_keystore_tell(struct kveil_keystore *ks, const struct kveil_event *events, size_t count)
{
	struct kveil_error why = {0};
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; i < count; i++)
		kveil_event(&events[i]);
	/* Without setup nobody is there whose doing it could be: see kveil_event. */
	if (!ks->registry || !count || !*kveil_event_actor().command)
		return;
	pthread_mutex_lock(&ks->io_lock);
	status = ks->registry->driver->record(ks->registry, events, count, &why);
	pthread_mutex_unlock(&ks->io_lock);
	/* It is done all the same, and the log has it. */
	if (status)
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_EVENT_UNRECORDED,
						  .key = kveil_event_name(events[0].kind),
						  .detail = why.message});
}

struct kveil_event kveil_key_event(enum kveil_event_kind kind, const struct kveil_key_record *r)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);

	return (struct kveil_event){.kind = kind,
				    .key = r->name,
				    .version = r->version,
				    .id = r->id,
				    .algorithm = alg ? alg->name : NULL,
				    .kek = r->kek};
}

void kveil_keystore_tell_keys(struct kveil_keystore *ks, enum kveil_event_kind kind,
			      const struct kveil_key_record *records, size_t count)
{
	struct kveil_event *events = calloc(count ? count : 1, sizeof *events);

	for (size_t i = 0; events && i < count; i++)
		events[i] = kveil_key_event(kind, &records[i]);
	if (events)
		kveil_keystore_tell(ks, events, count);
	free(events);
}
