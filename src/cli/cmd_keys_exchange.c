/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil keys export` and `import`: keysets for those who open without kveil, and from them. */
#include "cli/cmd_keys.h"

#include "base/buf.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "custody/files.h"
#include "keyadmin/admin.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLLOW_MS = 1000, KEYSET_MAX = 16 << 20 };

static volatile sig_atomic_t ended;

static void on_signal(int signal_number)
{
	(void)signal_number;
	ended = 1;
}

static void warn_clear(const struct keys_options *o)
{
	struct stat st;

	if (!o->clear)
		return;
	if (o->output || o->follow)
		fprintf(stderr, "kveil keys: %s contains the key in clear: whoever reads it can open everything\n",
			o->follow ? o->follow : o->output);
	else if (isatty(STDOUT_FILENO))
		fprintf(stderr, "kveil keys: the key is on this terminal in clear, and in its scrollback\n");
	else if (fstat(STDOUT_FILENO, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & (S_IRWXG | S_IRWXO))
		fprintf(stderr,
			"kveil keys: the key is in a file that others can read, in clear: chmod 0600 it, or use "
			"--output\n");
}

static enum kveil_status write_stdout(struct kveil_span s, struct kveil_error *err)
{
	while (s.len) {
		ssize_t n = write(STDOUT_FILENO, s.data, s.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kveil_fail(err, KVEIL_E_IO, "cannot write the keyset: %s", strerror(errno));
		s.data += n;
		s.len -= (size_t)n;
	}
	return KVEIL_OK;
}

/* Writes the keyset if it is another than the one that digest remembers. */
static enum kveil_status export_changed(struct kveil_keystore *ks, const struct keys_options *o, const char *file,
					uint8_t digest[32], struct kveil_error *err)
{
	struct kveil_buf set = KVEIL_BUF_INIT, sealed = KVEIL_BUF_INIT;
	uint8_t is[32];
	enum kveil_status status = kveil_keys_export_tink(ks, o->operands[0], true, &set, err);

	if (!status)
		status = kveil_crypto_sha256(kveil_buf_span(&set), is, err);
	if (!status && memcmp(is, digest, sizeof is) != 0) {
		struct kveil_buf *what = o->clear ? &set : &sealed;
		if (!o->clear)
			status = kveil_keys_export_tink(ks, o->operands[0], false, &sealed, err);
		if (!status)
			status = file ? kveil_files_write_whole(file, kveil_buf_span(what), err)
				      : write_stdout(kveil_buf_span(what), err);
		if (!status) {
			memcpy(digest, is, sizeof is);
			kveil_keys_tell_export(ks, o->operands[0], o->clear, file);
		}
	}
	kveil_secret_wipe(is, sizeof is);
	kveil_buf_clear(&set);
	kveil_buf_clear(&sealed);
	return status;
}

/* A registry that cannot be read as it is, such as a topic that was set to delete, may be mended; one that lost keys
 * has no more to give. A file that is not to be replaced may be moved away. */
static bool may_pass(enum kveil_status status, bool read)
{
	enum kveil_class c = kveil_status_class(status);

	return c == KVEIL_CLASS_RETRY || status == KVEIL_E_KEY_EXISTS ||
	       (c == KVEIL_CLASS_CONFIG && !read && status != KVEIL_E_REGISTRY_ROLLED_BACK);
}

void keys_follow_begin(void)
{
	struct sigaction act = {.sa_handler = on_signal};

	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
}

int keys_follow(struct kveil_keystore *ks, keys_follow_fn *fn, void *user)
{
	bool complained = false, read;
	struct kveil_error err;

	while (!ended) {
		usleep(FOLLOW_MS * 1000);
		enum kveil_status status = kveil_keystore_refresh_read(ks, &read, &err);
		/* What is in the way of other keys is in nobody's way here. */
		if (read)
			status = fn(user, ks, &err);
		if (!status)
			status = kveil_keystore_stay_welcome(ks, &err);
		if (status && !may_pass(status, read))
			return keys_failed(&err);
		if (status && !complained)
			keys_failed(&err);
		complained = status != KVEIL_OK;
	}
	return KVEIL_EXIT_OK;
}

struct exporting {
	const struct keys_options *options;
	uint8_t digest[32];
};

static enum kveil_status export_again(void *user, struct kveil_keystore *ks, struct kveil_error *err)
{
	struct exporting *e = user;

	return export_changed(ks, e->options, e->options->follow, e->digest, err);
}

int keys_run_export(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	static const char *const keyset[] = {"{\"primaryKeyId\":", "{\"encryptedKeyset\":", NULL};
	const char *file = o->follow ? o->follow : o->output;
	struct kveil_keystore *ks;
	struct kveil_error err;
	struct exporting e = {.options = o};
	int code = KVEIL_EXIT_OK;

	if (!o->tink)
		return kveil_usage_error(&kveil_command_keys, "say in which format: --tink");
	if (o->follow && o->output)
		return kveil_usage_error(&kveil_command_keys, "--follow and --output exclude each other");
	if (file && strcmp(file, "-") == 0)
		return kveil_usage_error(&kveil_command_keys, "leave --output out to write to stdout");
	if (o->once && !o->follow)
		return kveil_usage_error(&kveil_command_keys, "--once goes with --follow");
	if ((file && kveil_files_check_replaced(file, keyset, "keyset", &err)) ||
	    kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	size_t outside = 0;
	kveil_keystore_each_outside(ks, o->operands[0], keys_say_outside, &outside);
	const struct kveil_data_key_config *c = kveil_keys_config_find(cfg, kveil_span_str(o->operands[0]));
	if (c && !c->algorithm->tink_type)
		fprintf(stderr, "kveil keys: Tink has no %s: docs/opening.md has what opens it\n", c->algorithm->name);
	bool follows = o->follow && !o->once;
	if (follows)
		keys_follow_begin();
	if ((o->clear && kveil_keys_check_exportable(ks, o->operands[0], &err)) ||
	    export_changed(ks, o, file, e.digest, &err))
		code = keys_failed(&err);
	else {
		warn_clear(o);
		if (o->json && file && !follows)
			keys_print_json(
			    json_pack("{s:s, s:s, s:b}", "name", o->operands[0], "file", file, "clear", (int)o->clear));
		if (follows)
			code = keys_follow(ks, export_again, &e);
	}
	kveil_secret_wipe(e.digest, sizeof e.digest);
	kveil_keystore_unref(ks);
	return code;
}

int keys_run_import(const struct keys_options *o, const struct kveil_keys_config *cfg)
{
	struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_keystore *ks;
	struct kveil_error err;
	size_t added;

	if (strchr(o->operands[1], '@'))
		return kveil_usage_error(&kveil_command_keys, "'%s' is a version: name the key alone", o->operands[1]);
	if (kveil_keystore_open_reachable(cfg, &ks, &err))
		return keys_failed(&err);
	enum kveil_status status =
	    kveil_files_read_private(o->operands[0], "the keyset", KEYSET_MAX, &text, NULL, NULL, &err);
	if (!status)
		status = kveil_keys_import_tink(ks, o->operands[1], kveil_buf_span(&text), &added, &err);
	kveil_buf_clear(&text);
	kveil_keystore_unref(ks);
	if (status) {
		kveil_error_where(&err, o->operands[0], 0, 0);
		return keys_failed(&err);
	}
	const struct kveil_data_key_config *c = kveil_keys_config_find(cfg, kveil_span_str(o->operands[1]));
	const char *s = added == 1 ? "" : "s", *verb_s = added == 1 ? "s" : "";
	if (o->json) {
		printf("{\"name\": \"%s\", \"added\": %zu}\n", o->operands[1], added);
	} else if (!added) {
		printf("%s: every key of this keyset is there already\n", o->operands[1]);
	} else if (c && c->algorithm->kind == KVEIL_ALG_MAC) {
		printf("%s: %zu version%s added; the keyset's primary hashes from now on\n", o->operands[1], added, s);
		keys_warn_unequal();
	} else {
		printf("%s: %zu version%s added that open%s and never seal%s\n", o->operands[1], added, s, verb_s,
		       verb_s);
	}
	return KVEIL_EXIT_OK;
}
