/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The custodian `file`: a key-encryption key of 32 bytes in a file, raw or as one line of base64 or hex. Wrapping is
 * AES-256-KWP (RFC 5649).
 *
 * With a passphrase, the file is one line of text:
 *
 *   kveil-kek scrypt LOG2-N R P SALT WRAPPED       wrapped = AES-256-KWP of the KEK under
 *                                                  scrypt(passphrase, salt) (RFC 7914)
 *
 * A Tink keyset is encrypted with AES-256-GCM under HKDF-SHA-256(KEK, info "kveil tink keyset"), laid out as Tink's raw
 * AES-GCM: nonce (12) | ciphertext | tag (16), so that the KEK itself serves one purpose only.
 */
#include "base/secret.h"
#include "base/text.h"
#include "crypto/algorithm.h"
#include "crypto/crypto.h"
#include "custody/files.h"
#include "custody/provider.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY_BYTES = 32 };

struct params {
	char *path, *passphrase;
};

struct file_kek {
	struct kveil_kek base;
	uint8_t *key; /* secret memory */
};

static const struct kveil_option options[] = {
    {"path", KVEIL_OPT_STRING, offsetof(struct params, path), .required = true,
     .help = "file with 32 random bytes, raw or as one line of base64 or hex; not readable by others"},
    {"passphrase", KVEIL_OPT_STRING, offsetof(struct params, passphrase), .secret = true,
     .help = "what the file is protected with (scrypt); `kveil keys kek` makes such a file"},
    {0},
};

/* Text of 32 characters would pass for 32 raw bytes and hold half of the entropy. */
static bool all_printable(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			return false;
	return true;
}

static bool all_equal(const uint8_t *p, size_t n)
{
	uint8_t d = 0;
	for (size_t i = 1; i < n; i++)
		d |= (uint8_t)(p[i] ^ p[0]);
	return d == 0;
}

/* text is secret; key has room for KEY_BYTES. */
static bool parse_key(struct kveil_span text, uint8_t *key)
{
	uint8_t bytes[64]; /* kveil_text_decoded_max of 64 characters is less */
	size_t n = 0;
	bool ok;

	if (text.len == KEY_BYTES && !all_printable(text.data, text.len)) {
		memcpy(key, text.data, KEY_BYTES);
		return !all_equal(key, KEY_BYTES);
	}
	while (text.len && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
		text.len--;
	ok = (text.len == 64 && kveil_text_decode(KVEIL_HEX, text.data, 64, bytes, &n)) ||
	     (text.len == 44 && kveil_text_decode(KVEIL_BASE64, text.data, 44, bytes, &n)) ||
	     (text.len == 43 && kveil_text_decode(KVEIL_BASE64URL, text.data, 43, bytes, &n));
	if (ok && n == KEY_BYTES)
		memcpy(key, bytes, KEY_BYTES);
	kveil_secret_wipe(bytes, sizeof bytes);
	return ok && n == KEY_BYTES && !all_equal(key, KEY_BYTES);
}

/* --- under a passphrase --- */

static const char sealed_magic[] = "kveil-kek scrypt ";
enum { LOG2_N = 15, R = 8, P = 3, SALT_BYTES = 16, WRAPPED_BYTES = KEY_BYTES + 8 };

/* What kveil makes takes 32 MiB for a moment and a tenth of a second; what it reads may take 256 MiB. */
enum { LOG2_N_MIN = 14, LOG2_N_MAX = 18, P_MAX = 4 };

static enum kveil_status stretch(const char *passphrase, const uint8_t *salt, unsigned log2_n, unsigned p, uint8_t *key,
				 struct kveil_error *err)
{
	return kveil_crypto_scrypt(kveil_span_str(passphrase), kveil_span_of(salt, SALT_BYTES), (uint64_t)1 << log2_n,
				   R, p, key, KEY_BYTES, err);
}

static bool parse_sealed(const char *line, unsigned *log2_n, unsigned *p, uint8_t salt[SALT_BYTES],
			 uint8_t wrapped[WRAPPED_BYTES])
{
	char salt_text[25], wrapped_text[65];
	uint8_t bytes[64];
	unsigned r;
	int end = 0;
	size_t n;

	if (sscanf(line, "kveil-kek scrypt %2u %2u %2u %24[A-Za-z0-9+/=] %64[A-Za-z0-9+/=]%n", log2_n, &r, p, salt_text,
		   wrapped_text, &end) != 5 ||
	    (line[end] != 0 && strcmp(line + end, "\n") != 0) || *log2_n < LOG2_N_MIN || *log2_n > LOG2_N_MAX ||
	    r != R || *p < 1 || *p > P_MAX)
		return false;
	if (!kveil_text_decode(KVEIL_BASE64, (const uint8_t *)salt_text, strlen(salt_text), bytes, &n) ||
	    n != SALT_BYTES)
		return false;
	memcpy(salt, bytes, SALT_BYTES);
	if (!kveil_text_decode(KVEIL_BASE64, (const uint8_t *)wrapped_text, strlen(wrapped_text), bytes, &n) ||
	    n != WRAPPED_BYTES)
		return false;
	memcpy(wrapped, bytes, WRAPPED_BYTES);
	return true;
}

static enum kveil_status open_sealed(const char *line, const char *path, const char *passphrase, uint8_t *key,
				     struct kveil_error *err)
{
	uint8_t salt[SALT_BYTES], wrapped[WRAPPED_BYTES];
	unsigned log2_n, p;
	size_t n = 0;

	if (!parse_sealed(line, &log2_n, &p, salt, wrapped))
		return kveil_fail(err, KVEIL_E_CONFIG, "the key-encryption key %s was altered or cut", path);
	if (!passphrase || !passphrase[0]) {
		kveil_fail(err, KVEIL_E_CONFIG, "the key-encryption key %s is protected by a passphrase", path);
		kveil_error_hint(err, "give it: passphrase: \"${env:KEK_PASSPHRASE}\" or \"${file:PATH}\"");
		return KVEIL_E_CONFIG;
	}
	uint8_t *stretched = kveil_secret_alloc(KEY_BYTES), *plain = kveil_secret_alloc(WRAPPED_BYTES);
	enum kveil_status status =
	    stretched && plain ? stretch(passphrase, salt, log2_n, p, stretched, err) : kveil_secret_refused(err);
	if (!status)
		status = kveil_crypto_kwp_unwrap(stretched, kveil_span_of(wrapped, sizeof wrapped), plain, &n, err);
	if (status == KVEIL_E_WRONG_KEK || (!status && n != KEY_BYTES))
		status =
		    kveil_fail(err, KVEIL_E_WRONG_KEK, "the passphrase does not open the key-encryption key %s", path);
	if (!status)
		memcpy(key, plain, KEY_BYTES);
	kveil_secret_free(stretched);
	kveil_secret_free(plain);
	return status;
}

static void put_base64(struct kveil_buf *b, const uint8_t *data, size_t n)
{
	size_t len = kveil_text_encoded_len(KVEIL_BASE64, n);
	uint8_t *room = kveil_buf_reserve(b, len);

	if (room) {
		kveil_text_encode(KVEIL_BASE64, data, n, room);
		b->len += len;
	}
}

static enum kveil_status seal_line(const uint8_t *key, const char *passphrase, struct kveil_buf *line,
				   struct kveil_error *err)
{
	uint8_t salt[SALT_BYTES], wrapped[WRAPPED_BYTES], *stretched = kveil_secret_alloc(KEY_BYTES);
	enum kveil_status status = stretched ? kveil_crypto_random(salt, sizeof salt, err) : kveil_secret_refused(err);
	size_t n;

	if (!status)
		status = stretch(passphrase, salt, LOG2_N, P, stretched, err);
	if (!status)
		status = kveil_crypto_kwp_wrap(stretched, kveil_span_of(key, KEY_BYTES), wrapped, &n, err);
	kveil_secret_free(stretched);
	if (status)
		return status;
	kveil_buf_printf(line, "%s%u %u %u ", sealed_magic, LOG2_N, R, P);
	put_base64(line, salt, sizeof salt);
	kveil_buf_append_byte(line, ' ');
	put_base64(line, wrapped, sizeof wrapped);
	return KVEIL_OK;
}

static enum kveil_status file_make(const void *params, const char *base_dir, struct kveil_error *err)
{
	const struct params *p = params;
	char *path = kveil_files_resolve(base_dir, p->path);
	uint8_t *key = kveil_secret_alloc(KEY_BYTES);
	struct kveil_buf line = KVEIL_BUF_INIT;
	enum kveil_status status = KVEIL_OK;

	if (!path || !key)
		status = kveil_secret_refused(err);
	else if (p->passphrase && strlen(p->passphrase) < 12) {
		status = kveil_fail(err, KVEIL_E_CONFIG, "a passphrase has 12 characters at least");
		kveil_error_hint(err, "use five random words, for example");
	} else
		status = kveil_crypto_random(key, KEY_BYTES, err);
	if (!status && p->passphrase)
		status = seal_line(key, p->passphrase, &line, err);
	else if (!status)
		put_base64(&line, key, KEY_BYTES);
	if (!status) {
		kveil_buf_append_byte(&line, '\n');
		status = kveil_buf_ok(&line) ? kveil_files_write_once(path, kveil_buf_span(&line), err)
					     : kveil_no_memory(err, "a key");
	}
	kveil_buf_clear(&line);
	kveil_secret_free(key);
	free(path);
	return status;
}

static void file_close(struct kveil_kek *kek)
{
	struct file_kek *f = (struct file_kek *)kek;

	if (!f)
		return;
	kveil_secret_free(f->key);
	free(f);
}

static enum kveil_status file_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				   struct kveil_error *err)
{
	extern const struct kveil_provider kveil_provider_file;
	const struct params *p = params;
	struct kveil_buf text = KVEIL_BUF_INIT;
	char *path = kveil_files_resolve(base_dir, p->path);
	struct file_kek *f = calloc(1, sizeof *f);
	uint8_t *key = kveil_secret_alloc(KEY_BYTES);
	enum kveil_status status = KVEIL_OK;

	if (!path || !f || !key)
		status = kveil_secret_refused(err);
	if (!status) {
		status = kveil_files_read_private(path, "the key-encryption key", 4096, &text, NULL, NULL, err);
		if (status == KVEIL_E_NOT_FOUND)
			kveil_error_hint(err,
					 "mount it, or bring it back: without it nothing that it wrapped opens; for a "
					 "new registry, `kveil keys kek %s` makes one",
					 name);
	}
	if (!status && text.len == 0)
		status = kveil_fail(err, KVEIL_E_CONFIG, "the key-encryption key %s is empty", path);
	const char *line = status ? NULL : kveil_buf_cstr(&text);
	if (line && strncmp(line, sealed_magic, sizeof sealed_magic - 1) == 0)
		status = open_sealed(line, path, p->passphrase, key, err);
	else if (!status && p->passphrase) {
		status =
		    kveil_fail(err, KVEIL_E_CONFIG, "the key-encryption key %s is not protected by a passphrase", path);
		kveil_error_hint(err, "leave the passphrase out, or make another: `kveil keys kek NAME`");
	} else if (!status && !parse_key(kveil_buf_span(&text), key)) {
		status = kveil_fail(
		    err, KVEIL_E_CONFIG,
		    "the key-encryption key %s is not 32 random bytes, raw or as a line of base64 or hex", path);
		kveil_error_hint(err, "a new one: `kveil keys kek %s`, or (umask 077; openssl rand -base64 32 > %s)",
				 name, path);
	}
	kveil_buf_clear(&text);
	free(path);
	if (status) {
		kveil_secret_free(key);
		free(f);
		return status;
	}
	f->base = (struct kveil_kek){.provider = &kveil_provider_file, .name = name};
	f->key = key;
	*ret = &f->base;
	return KVEIL_OK;
}

/* Whoever owns the file can read and replace it, whatever its mode. */
static void file_check(const char *name, const void *params, const struct kveil_yaml *node, const char *file,
		       struct kveil_report *report)
{
	const struct params *p = params;
	char *path = kveil_options_resolve_path(p->path, file);
	struct stat st;

	if (path && stat(path, &st) == 0 && st.st_uid != 0 && st.st_uid != geteuid())
		kveil_error_hint(
		    kveil_report_warn_at(report, file, node->line, node->column,
					 "the key-encryption key of '%s' belongs to another user", name),
		    "chown it to the user that kveil runs as, or to root with mode 0440 and kveil's group");
	free(path);
}

static bool file_can_unwrap(const struct kveil_kek *kek)
{
	(void)kek;
	return true;
}

static enum kveil_status file_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				   struct kveil_error *err)
{
	const struct file_kek *f = (const struct file_kek *)kek;
	uint8_t *room = kveil_buf_reserve(wrapped, plain.len + 16);
	size_t n;

	if (!room)
		return kveil_no_memory(err, "a wrapped key");
	enum kveil_status status = kveil_crypto_kwp_wrap(f->key, plain, room, &n, err);
	if (!status)
		wrapped->len += n;
	return status;
}

static enum kveil_status file_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				     size_t *ret_len, struct kveil_error *err)
{
	const struct file_kek *f = (const struct file_kek *)kek;

	if (wrapped.len > room || wrapped.len < 16 || wrapped.len % 8)
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "KEK '%s' did not wrap this key", kek->name);
	enum kveil_status status = kveil_crypto_kwp_unwrap(f->key, wrapped, plain, ret_len, err);
	if (status)
		kveil_secret_wipe(plain, room);
	if (status == KVEIL_E_WRONG_KEK)
		kveil_fail(err, status, "KEK '%s' did not wrap this key", kek->name);
	return status;
}

static enum kveil_status file_seal_keyset(struct kveil_kek *kek, struct kveil_span keyset, struct kveil_buf *sealed,
					  struct kveil_error *err)
{
	const struct file_kek *f = (const struct file_kek *)kek;
	const struct kveil_algorithm *gcm = kveil_algorithm_by_name(KVEIL_SPAN("aes-256-gcm"));
	uint8_t *room = kveil_buf_reserve(sealed, keyset.len + gcm->nonce_bytes + gcm->overhead_bytes);
	uint8_t *key = kveil_secret_alloc(KEY_BYTES);
	struct kveil_cipher *cipher = NULL;
	enum kveil_status status;
	size_t n = 0;

	status = room && key ? kveil_crypto_hkdf(KVEIL_SHA_256, kveil_span_of(f->key, KEY_BYTES), "kveil tink keyset",
						 key, KEY_BYTES, err)
			     : kveil_no_memory(err, "a keyset");
	if (!status)
		status = gcm->cipher_new(kveil_span_of(key, KEY_BYTES), &cipher, err);
	/* Exports are rare: a random nonce is far from its bound. */
	if (!status)
		status = kveil_crypto_random(room, gcm->nonce_bytes, err);
	if (!status)
		status = gcm->seal(cipher, room, KVEIL_SPAN(""), keyset, room + gcm->nonce_bytes, &n, err);
	if (!status)
		sealed->len += gcm->nonce_bytes + n;
	gcm->cipher_free(cipher);
	kveil_secret_free(key);
	return status;
}

const struct kveil_provider kveil_provider_file = {
    .name = "file",
    .help = "a key-encryption key of 32 bytes in a file (AES-256-KWP, RFC 5649)",
    .options = options,
    .params_size = sizeof(struct params),
    .is_read_once = true,
    .check = file_check,
    .open = file_open,
    .make = file_make,
    .close = file_close,
    .can_unwrap = file_can_unwrap,
    .wrap = file_wrap,
    .unwrap = file_unwrap,
    .seal_keyset = file_seal_keyset,
};
