/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_message.h: the messages of a registry that is a shared log, beside the records of keys
 * (key_record.h).
 *
 *   "!root/ID"  {"kveil": "key registry", "format": 1, "id": HEX, "sequence": N, "epoch": HEX,
 *                "registry_keys": [{"kek": NAME, "wrapped": BASE64}], "mac": BASE64}; format 2 has "secret" too
 *               (registry_root.h), and perhaps "from"
 *   "!lease"    {"epoch": HEX, "after": N, "mac": BASE64}
 *
 * A lease is the offset of its message. `after` is the highest offset that its writer had seen: where a lease stands at
 * or before it, the log was copied or began anew, and its offsets are given a second time. `epoch` is drawn when a log
 * is begun or restored, so that leases of an earlier life prove nothing. MACs are under the registry's "log" subkey.
 * Any thread.
 *
 *   "!root/ID.N" the root of the secret of number N, from 1 on. The secret before it authorises it, and what that one
 *                signed counts before the offset of its first writing, and not from there on. Each further writing says
 *                that offset in "from". null takes the place of the older root when everything is signed anew.
 *   "!destroyed/ID"  the record of a version that was destroyed, once more. Whoever changed the same version at the
 *                    same moment may write its record behind the end under NAME/ID, and compaction would keep that one;
 *                    here nobody does.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_MESSAGE_H
#define KVEIL_REGISTRY_REGISTRY_MESSAGE_H

#include "registry/registry.h"

enum {
	KVEIL_EPOCH_BYTES = 8,
	KVEIL_ROOT_LABEL_MAX = 6 + 2 * KVEIL_REGISTRY_ID_BYTES + 11 + 1,
	KVEIL_RECORD_LABEL_MAX = KVEIL_KEY_NAME_MAX + 1 + 8 + 1
};
#define KVEIL_LEASE_LABEL "!lease"
/* No message that kveil writes is larger, and none that is larger is looked into: reading what others wrote costs
 * little. */
enum { KVEIL_REGISTRY_MESSAGE_MAX = 65536 };

struct kveil_registry_epoch_root {
	struct kveil_registry_root keys;
	uint32_t sequence; /* of writes of the root, from 1 */
	int64_t from;      /* its first writing's offset; -1 = that is this one, or it is the first secret's */
	uint8_t epoch[KVEIL_EPOCH_BYTES];
	uint8_t mac[KVEIL_MAC_BYTES];
};

struct kveil_registry_lease {
	uint8_t epoch[KVEIL_EPOCH_BYTES];
	int64_t after;
	uint8_t mac[KVEIL_MAC_BYTES];
};

void kveil_registry_epoch_root_clear(struct kveil_registry_epoch_root *r);
bool kveil_registry_epoch_root_copy(struct kveil_registry_epoch_root *dst,
				    const struct kveil_registry_epoch_root *src) KVEIL_MUST_CHECK;

/* The message keys; NUL-terminated. */
void kveil_registry_root_label(const struct kveil_registry_root *root, char label[KVEIL_ROOT_LABEL_MAX]);
void kveil_registry_record_label(const struct kveil_key_record *record, char label[KVEIL_RECORD_LABEL_MAX]);
void kveil_registry_end_label(const struct kveil_key_record *record, char label[KVEIL_RECORD_LABEL_MAX]);
bool kveil_registry_is_root_label(struct kveil_span label);
bool kveil_registry_is_end_label(struct kveil_span label);
/* The id at the end of a record's or an end's label; 0 = it is none. */
uint32_t kveil_registry_label_id(struct kveil_span label);

/* By form only, and strict: false is "not ours". ret is owned by the caller on success only. */
bool kveil_registry_root_parse(struct kveil_span value, struct kveil_registry_epoch_root *ret) KVEIL_MUST_CHECK;
bool kveil_registry_lease_parse(struct kveil_span value, struct kveil_registry_lease *ret) KVEIL_MUST_CHECK;
/* Is the MAC right, and the id the secret's? */
bool kveil_registry_root_authentic(const struct kveil_registry_epoch_root *r,
				   const struct kveil_registry_secret *secret);
bool kveil_registry_lease_authentic(const struct kveil_registry_lease *l, const struct kveil_registry_secret *secret);
/* Signs and writes. */
enum kveil_status kveil_registry_root_write(struct kveil_registry_epoch_root *r,
					    const struct kveil_registry_secret *secret, struct kveil_buf *out,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_lease_write(struct kveil_registry_lease *l, const struct kveil_registry_secret *secret,
					     struct kveil_buf *out, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
