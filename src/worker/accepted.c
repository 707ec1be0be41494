/* SPDX-License-Identifier: Apache-2.0 */
/* Rules accepted last, kept in the registry. */
#include "worker/accepted.h"

#include "base/text.h"
#include "crypto/crypto.h"
#include "custody/files.h"

#include <sys/stat.h>

enum { FILE_BYTES = 16 << 20 /* of rules and configuration, far more than any has */ };

static void write_digest(const uint8_t digest[32], char ret[KVEIL_RULES_DIGEST_SIZE])
{
	kveil_text_encode(KVEIL_HEX, digest, (KVEIL_RULES_DIGEST_SIZE - 1) / 2, (uint8_t *)ret);
	ret[KVEIL_RULES_DIGEST_SIZE - 1] = 0;
}

/* A pipe can be read once: whoever loads it does. */
static bool is_file(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

void kveil_files_digest(const char *const *files, char ret[KVEIL_RULES_DIGEST_SIZE])
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	uint8_t digest[32];
	struct kveil_error ignored;

	ret[0] = 0;
	for (size_t i = 0; files[i]; i++)
		if (!is_file(files[i]) || kveil_files_read(files[i], "file", FILE_BYTES, &text, &ignored))
			return;
	if (kveil_buf_ok(&text) && !kveil_crypto_sha256(kveil_buf_span(&text), digest, NULL))
		write_digest(digest, ret);
}

enum kveil_status kveil_rules_digest(const struct kveil_plan_set *rules, char ret[KVEIL_RULES_DIGEST_SIZE],
				     struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	uint8_t digest[32];

	kveil_plan_set_write(rules, &text);
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "a text of rules");
	enum kveil_status status = kveil_crypto_sha256(kveil_buf_span(&text), digest, err);
	if (status)
		return status;
	write_digest(digest, ret);
	return KVEIL_OK;
}

/* The text to keep: all of it, or its digest. */
static enum kveil_status describe(const struct kveil_plan_set *rules, struct kveil_buf *out, struct kveil_error *err)
{
	uint8_t digest[32], hex[2 * sizeof digest + 1] = {0};

	kveil_plan_set_write(rules, out);
	if (kveil_buf_ok(out) && out->len > KVEIL_NOTE_MAX) {
		enum kveil_status status = kveil_crypto_sha256(kveil_buf_span(out), digest, err);
		if (status)
			return status;
		kveil_text_encode(KVEIL_HEX, digest, sizeof digest, hex);
		kveil_buf_reset(out);
		kveil_buf_printf(out, "sha-256 %s\n", (char *)hex);
	}
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a text of rules");
}

static bool protects_less(struct kveil_span accepted, const struct kveil_plan_set *rules, struct kveil_report *losses)
{
	struct kveil_plan_set *before = kveil_plan_set_parse(accepted);

	if (!before) {
		kveil_report_warn_at(losses, NULL, 0, 0,
				     "not the rules that were accepted, and what is lost cannot be named: those %s",
				     accepted.len && *accepted.data == '{' ? "are of another version of kveil"
									   : "were too large for the key registry");
		return true;
	}
	bool less = kveil_plan_set_protects_less(before, rules, losses);
	kveil_plan_set_unref(before);
	return less;
}

enum kveil_status kveil_accepted_compare(struct kveil_keystore *keys, const struct kveil_plan_set *rules,
					 enum kveil_accepted *ret, struct kveil_report *losses, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf accepted = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf now = KVEIL_BUF_INIT;
	enum kveil_status status = kveil_keystore_noted(keys, &accepted, err);

	if (!status)
		status = describe(rules, &now, err);
	if (status)
		return status;
	if (accepted.len == 0)
		*ret = KVEIL_ACCEPTED_NOTHING;
	else if (kveil_span_eq(kveil_buf_span(&accepted), kveil_buf_span(&now)))
		*ret = KVEIL_ACCEPTED_SAME;
	else
		*ret = protects_less(kveil_buf_span(&accepted), rules, losses) ? KVEIL_ACCEPTED_MORE
									       : KVEIL_ACCEPTED_OTHER;
	return KVEIL_OK;
}

enum kveil_status kveil_accepted_keep(struct kveil_keystore *keys, const struct kveil_plan_set *rules,
				      struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	enum kveil_status status = describe(rules, &text, err);

	return status ? status : kveil_keystore_note(keys, kveil_buf_span(&text), err);
}
