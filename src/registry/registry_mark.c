/* SPDX-License-Identifier: Apache-2.0 */
/* The mark beside a registry that shows when it went back. */
#include "registry/registry_mark.h"

#include "registry/registry_text.h"

#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"

#include <inttypes.h>
#include <stdio.h>

enum { MARK_MAX = 4096 };

static enum kveil_status mark_mac(const struct kveil_registry_secret *secret, const char *line, size_t n,
				  uint8_t mac[KVEIL_MAC_BYTES], struct kveil_error *err)
{
	return kveil_crypto_hmac(secret->hash, kveil_span_of(secret->mark_key, sizeof secret->mark_key),
				 kveil_span_of(line, n), mac, err);
}

enum kveil_status kveil_mark_write(const char *path, const struct kveil_registry_secret *secret,
				   const struct kveil_mark *m, struct kveil_error *err)
{
	char id[2 * KVEIL_REGISTRY_ID_BYTES + 1] = "", mac_text[2 * KVEIL_MAC_BYTES + 1] = "", line[512];
	uint8_t mac[KVEIL_MAC_BYTES];

	kveil_text_encode(KVEIL_HEX, m->id, sizeof m->id, (uint8_t *)id);
	int n = snprintf(line, sizeof line,
			 "kveil-mark 2 %s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
			 " %" PRIu64 " ",
			 id, m->present.generation, m->present.file.inode, m->present.file.born_ns,
			 m->coming.generation, m->coming.file.inode, m->coming.file.born_ns, m->events);
	enum kveil_status status = mark_mac(secret, line, (size_t)n, mac, err);
	if (status)
		return status;
	kveil_text_encode(KVEIL_HEX, mac, sizeof mac, (uint8_t *)mac_text);
	n += snprintf(line + n, sizeof line - (size_t)n, "%s\n", mac_text);
	return kveil_files_write_whole(path, kveil_span_of(line, (size_t)n), err);
}

/* Up to the MAC; *ret_head: how much that is. */
static bool parse_head(const char *line, struct kveil_mark *m, int *ret_head)
{
	char version[2], id[2 * KVEIL_REGISTRY_ID_BYTES + 1];
	int head = 0, more = 0;

	if (sscanf(line,
		   "kveil-mark %1[12] %32[0-9a-f] %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		   " %n",
		   version, id, &m->present.generation, &m->present.file.inode, &m->present.file.born_ns,
		   &m->coming.generation, &m->coming.file.inode, &m->coming.file.born_ns, &head) != 8 ||
	    !head)
		return false;
	if (*version == '2' && (sscanf(line + head, "%" SCNu64 " %n", &m->events, &more) != 1 || !more))
		return false;
	*ret_head = head + more;
	return kveil_registry_text_read(KVEIL_HEX, id, strlen(id), m->id, sizeof m->id);
}

static bool parse_mac(const char *text, uint8_t mac[KVEIL_MAC_BYTES])
{
	size_t digits = strcspn(text, "\n");

	return strcmp(text + digits, "\n") == 0 &&
	       kveil_registry_text_read(KVEIL_HEX, text, digits, mac, KVEIL_MAC_BYTES);
}

enum kveil_status kveil_mark_read(const char *path, const struct kveil_registry_secret *secret, struct kveil_mark *ret,
				  struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	uint8_t mac[KVEIL_MAC_BYTES], is[KVEIL_MAC_BYTES];
	int head = 0;

	enum kveil_status status =
	    kveil_files_read_private(path, "the mark beside the key registry", MARK_MAX, &text, NULL, NULL, err);
	if (status)
		return status;
	const char *line = kveil_buf_cstr(&text);
	*ret = (struct kveil_mark){0};
	if (!line || strlen(line) != text.len || !parse_head(line, ret, &head) || !parse_mac(line + head, is))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "%s was altered", path);
	status = mark_mac(secret, line, (size_t)head, mac, err);
	if (status)
		return status;
	if (!kveil_secret_eq(mac, is, sizeof mac))
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "%s was altered, or is another registry's", path);
	return KVEIL_OK;
}

static bool same_file(const struct kveil_file_identity *a, const struct kveil_file_identity *b)
{
	/* A kernel that has just learnt to tell birth times is no reason to stop. */
	return a->inode == b->inode && (a->born_ns == b->born_ns || a->born_ns == 0 || b->born_ns == 0);
}

static bool is_at(const struct kveil_mark_place *p, uint64_t generation, const struct kveil_file_identity *file)
{
	return p->generation == generation && same_file(&p->file, file);
}

static enum kveil_status rolled_back(struct kveil_error *err)
{
	kveil_error_hint(err,
			 "`kveil keys restore FILE` takes a backup, or this very file, in: its keys open what they "
			 "sealed, new ones seal from now on");
	return KVEIL_E_REGISTRY_ROLLED_BACK;
}

enum kveil_status kveil_mark_check(const char *path, const char *document_path,
				   const struct kveil_registry_secret *secret, const struct kveil_document *d,
				   const struct kveil_file_identity *file, uint64_t *ret_events,
				   struct kveil_error *err)
{
	struct kveil_mark m;
	enum kveil_status status = kveil_mark_read(path, secret, &m, err);

	if (!status)
		*ret_events = m.events;
	if (status == KVEIL_E_NOT_FOUND) {
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
			   "%s was put here without the mark that this host keeps beside it", document_path);
		return rolled_back(err);
	}
	if (status == KVEIL_E_REGISTRY_CORRUPT) {
		kveil_error_hint(err, "`kveil keys restore FILE` makes registry and mark whole again");
		return status;
	}
	if (status)
		return status;
	if (!kveil_secret_eq(m.id, d->root.id, sizeof m.id)) {
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK, "%s is another registry than the one this host wrote",
			   document_path);
		return rolled_back(err);
	}
	if (is_at(&m.present, d->generation, file) || is_at(&m.coming, d->generation, file))
		return KVEIL_OK;
	uint64_t last = m.coming.generation > m.present.generation ? m.coming.generation : m.present.generation;
	if (d->generation < last)
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
			   "%s is older (generation %" PRIu64 ") than what this host wrote last (%" PRIu64 ")",
			   document_path, d->generation, last);
	else
		kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
			   "%s is a copy, or came with the image of a container: not the file that was written here "
			   "(generation %" PRIu64 ")",
			   document_path, d->generation);
	return rolled_back(err);
}
