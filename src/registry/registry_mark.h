/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_mark.h: what this host wrote last into a file registry, kept beside it in one line of text:
 *
 *   kveil-mark 2 ID  GENERATION INODE BORN  GENERATION INODE BORN  EVENTS MAC
 *                    \__ the present __/   \__ to come, or 0 __/
 *
 * EVENTS is how many lines of .keys.json.events were written at least: whoever takes some away, the last ones or all,
 * is found out. kveil-mark 1 is the same without.
 *
 * Which file a document is, is told by its inode and birth time: a copy has others, while changes of owner and mode
 * keep them (ctime would not do: Kubernetes changes owners). On overlayfs, btrfs and ZFS, where one file comes up in
 * several containers or snapshots with the same of both, INODE is mixed with what tells the place: the container's own
 * layer, the subvolume.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_MARK_H
#define KVEIL_REGISTRY_REGISTRY_MARK_H

#include "custody/files.h"
#include "registry/document.h"

struct kveil_mark_place {
	uint64_t generation; /* 0 = none */
	struct kveil_file_identity file;
};

struct kveil_mark {
	uint8_t id[KVEIL_REGISTRY_ID_BYTES];
	struct kveil_mark_place present, coming;
	uint64_t events;
};

enum kveil_status kveil_mark_write(const char *path, const struct kveil_registry_secret *secret,
				   const struct kveil_mark *m, struct kveil_error *err) KVEIL_MUST_CHECK;
/* KVEIL_E_NOT_FOUND: there is none. KVEIL_E_REGISTRY_CORRUPT: it was altered, or is another registry's. */
enum kveil_status kveil_mark_read(const char *path, const struct kveil_registry_secret *secret, struct kveil_mark *ret,
				  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is this document, in this file, the present or the coming one? Else KVEIL_E_REGISTRY_ROLLED_BACK with what to do.
 * document_path is for the message. *ret_events: as the mark has it, if it is authentic. */
enum kveil_status kveil_mark_check(const char *path, const char *document_path,
				   const struct kveil_registry_secret *secret, const struct kveil_document *d,
				   const struct kveil_file_identity *file, uint64_t *ret_events,
				   struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
