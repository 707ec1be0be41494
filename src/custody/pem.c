/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and certificates out of PEM files. */
#include "custody/pem.h"

#include "custody/files.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>

/* Without this OpenSSL asks the terminal for a passphrase. */
static int give_passphrase(char *dst, int size, int rwflag, void *user)
{
	const char *passphrase = user;
	size_t n = passphrase ? strlen(passphrase) : 0;

	(void)rwflag;
	if (n == 0 || n > (size_t)size)
		return -1;
	memcpy(dst, passphrase, n);
	return (int)n;
}

static enum kveil_status open_pem(const char *kek, const char *base_dir, const char *path, bool private,
				  struct kveil_buf *text, BIO **ret, struct kveil_error *err)
{
	enum kveil_status s = KVEIL_OK;
	char *whole = kveil_files_resolve(base_dir, path);

	*ret = NULL;
	if (!whole)
		return kveil_no_memory(err, NULL);
	if (private) {
		s = kveil_files_read_private(whole, "the private key", 64 * 1024, text, NULL, NULL, err);
		if (s == KVEIL_OK && !(*ret = BIO_new_mem_buf(text->data, (int)text->len)))
			s = kveil_no_memory(err, NULL);
	} else if (!(*ret = BIO_new_file(whole, "r"))) {
		s = kveil_fail(err, KVEIL_E_NOT_FOUND, "kek %s: the file cannot be read", kek);
		kveil_error_where(err, whole, 0, 0);
	}
	ERR_clear_error();
	free(whole);
	return s;
}

static enum kveil_status not_pem(const char *kek, const char *path, const char *what, struct kveil_error *err)
{
	ERR_clear_error();
	kveil_fail(err, KVEIL_E_CONFIG, "kek %s: no %s in PEM form in the file", kek, what);
	kveil_error_where(err, path, 0, 0);
	return KVEIL_E_CONFIG;
}

enum kveil_status kveil_pem_certificate(const char *kek, const char *base_dir, const char *path, X509 **ret,
					struct kveil_error *err)
{
	struct kveil_buf text KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	BIO *bio;
	enum kveil_status s = open_pem(kek, base_dir, path, false, &text, &bio, err);

	if (s != KVEIL_OK)
		return s;
	*ret = PEM_read_bio_X509(bio, NULL, give_passphrase, NULL);
	BIO_free(bio);
	return *ret ? KVEIL_OK : not_pem(kek, path, "certificate", err);
}

enum kveil_status kveil_pem_public_key(const char *kek, const char *base_dir, const char *path, EVP_PKEY **ret,
				       struct kveil_error *err)
{
	struct kveil_buf text KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	BIO *bio;
	enum kveil_status s = open_pem(kek, base_dir, path, false, &text, &bio, err);

	if (s != KVEIL_OK)
		return s;
	*ret = PEM_read_bio_PUBKEY(bio, NULL, give_passphrase, NULL);
	BIO_free(bio);
	return *ret ? KVEIL_OK : not_pem(kek, path, "public key", err);
}

enum kveil_status kveil_pem_private_key(const char *kek, const char *base_dir, const char *path, const char *passphrase,
					EVP_PKEY **ret, struct kveil_error *err)
{
	struct kveil_buf text KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	BIO *bio;
	enum kveil_status s = open_pem(kek, base_dir, path, true, &text, &bio, err);

	if (s != KVEIL_OK)
		return s;
	*ret = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, (void *)(uintptr_t)passphrase);
	BIO_free(bio);
	if (*ret)
		return KVEIL_OK;
	not_pem(kek, path, passphrase ? "private key that the passphrase opens" : "private key", err);
	if (!passphrase)
		kveil_error_hint(err, "one that is encrypted needs its `passphrase`");
	return KVEIL_E_CONFIG;
}
