/* SPDX-License-Identifier: Apache-2.0 */
/* registry/registry_eventfile.h: the events of a file registry, a line each (registry_event.h). Under the registry's
 * lock. */
#ifndef KVEIL_REGISTRY_REGISTRY_EVENTFILE_H
#define KVEIL_REGISTRY_REGISTRY_EVENTFILE_H

#include "registry/registry.h"

#include <sys/types.h>

struct kveil_registry_eventfile {
	char *path; /* owned */
	struct kveil_registry_events all;
	ino_t inode; /* as it was read last; 0 = never, or it was not there */
	off_t size;
	bool is_cut; /* its last line has no end: a writer was killed */
};

void kveil_registry_eventfile_clear(struct kveil_registry_eventfile *f);
/* Is there nothing that was not read? Needs no lock. */
bool kveil_registry_eventfile_is_read(const struct kveil_registry_eventfile *f);
/* Takes in what came; what is not authentic is passed over and counted in registry->ignored. */
enum kveil_status kveil_registry_eventfile_read(struct kveil_registry_eventfile *f, struct kveil_registry *registry,
						struct kveil_error *err) KVEIL_MUST_CHECK;
/* Appends those that it does not have; durable on return. A new file is for whoever may read `like`. newest_first:
 * should the disk be full half way, those that others take the place of are missing. */
enum kveil_status kveil_registry_eventfile_append(struct kveil_registry_eventfile *f, const char *like,
						  const struct kveil_registry_events *events, bool newest_first,
						  struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
