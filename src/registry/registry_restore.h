/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_restore.h: what a restore makes of the states that a backup says its versions have.
 *
 *   the registry is whole      its versions stay as they are: nothing that was disabled, scheduled or destroyed
 *                              elsewhere is here, and of a name that is here nothing that comes in seals
 *   it is a copy, or missing   versions are disabled and scheduled as the backup says; what would be due already is
 *                              disabled instead, and an officer says what becomes of it
 *
 * The backup's events come in as history all the same, and what withholds a version is the last event about it. So
 * events are added after all of them that say what holds; whoever writes them writes the newest first, and nobody reads
 * the others alone.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_RESTORE_H
#define KVEIL_REGISTRY_REGISTRY_RESTORE_H

#include "registry/document.h"

/* A version about which the backup says something else than holds, or that comes in withheld. */
struct kveil_restored_version {
	char name[KVEIL_KEY_NAME_MAX + 1];
	uint32_t version, id; /* version 0: the name as a whole */
	/* "in use", "opens only", "disabled", "scheduled", "retired", "destroyed"; both "missing": the history alone
	 * has it */
	const char *backup, *here;
	int64_t due_ms; /* that the backup says; 0 = none */
	bool stays;     /* it was here, and is as it was */
};

/* What is there, under the lock of the registry where there is one. */
struct kveil_restore_there {
	const struct kveil_document *records;       /* NULL: nothing */
	const struct kveil_registry_events *events; /* NULL: none */
	bool is_whole;                              /* versions stay withheld, or not, as they are */
	bool keeps_records;                         /* they stay retired and destroyed, or not, as they are */
	/* some are gone: what of the states neither the rest nor the backup tells counts as disabled */
	bool lacks_events;
	bool is_backup; /* that comes in: it tells states; a registry file does not */
};

/* d is to come in, with those events. Takes the end of a name that is in use in a whole registry out of d, adds what
 * has to hold to coming, and what is to be told to how. */
enum kveil_status kveil_restore_settle(struct kveil_document *d, struct kveil_registry_events *coming,
				       const struct kveil_restore_there *there,
				       const struct kveil_registry_secret *secret, struct kveil_restoring *how,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
