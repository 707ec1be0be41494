/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/provider_cms.c: a certificate locks, its private key unlocks. What is wrapped is CMS AuthEnvelopedData (RFC
 * 5083) with AES-256-GCM, in DER; `openssl cms -decrypt -inform DER` opens it.
 *
 *   rsa-oaep   key transport by RSAES-OAEP with SHA-256 and MGF1-SHA-256 (RFC 4056, 5652 section 6.2.1)
 *   ecdh       key agreement, ephemeral-static, X9.63 KDF with SHA-256 (RFC 5753), AES-256 key wrap
 *
 * Without private_key this worker is an edge: it can lock and never unlock.
 */
#include "custody/pem.h"
#include "custody/provider.h"

#include "base/clock.h"
#include "base/secret.h"

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdlib.h>

struct cms_params {
	char *certificate, *private_key, *passphrase;
};

extern const struct kveil_provider kveil_provider_rsa_oaep, kveil_provider_ecdh;

static const struct kveil_option cms_options[] = {
    {"certificate", KVEIL_OPT_STRING, offsetof(struct cms_params, certificate), .required = true,
     .help = "PEM file of the certificate that wraps keys"},
    {"private_key", KVEIL_OPT_STRING, offsetof(struct cms_params, private_key),
     .help = "PEM file of its private key; without it this worker wraps keys but cannot unwrap "
	     "them"},
    {"passphrase", KVEIL_OPT_STRING, offsetof(struct cms_params, passphrase), .secret = true,
     .help = "of the private key"},
    {0},
};

struct cms_kek {
	struct kveil_kek kek;
	X509 *certificate;
	EVP_PKEY *private_key;
};

static enum kveil_status library_failed(const struct cms_kek *k, const char *what, struct kveil_error *err)
{
	ERR_clear_error();
	return kveil_fail(err, KVEIL_E_CRYPTO, "kek %s: %s failed", k->kek.name, what);
}

static void cms_close(struct kveil_kek *kek)
{
	struct cms_kek *k = (struct cms_kek *)kek;

	if (!k)
		return;
	X509_free(k->certificate);
	EVP_PKEY_free(k->private_key);
	free(k);
}

static bool cms_locks_only(const void *params)
{
	return !((const struct cms_params *)params)->private_key;
}

static enum kveil_status open_kind(const char *name, const void *params, const char *base_dir, int type,
				   const char *type_name, struct kveil_kek **ret, struct kveil_error *err)
{
	const struct cms_params *p = params;
	struct cms_kek *k = calloc(1, sizeof *k);

	if (!k)
		return kveil_no_memory(err, NULL);
	k->kek = (struct kveil_kek){type == EVP_PKEY_RSA ? &kveil_provider_rsa_oaep : &kveil_provider_ecdh, name};
	enum kveil_status s = kveil_pem_certificate(name, base_dir, p->certificate, &k->certificate, err);
	if (s == KVEIL_OK && p->private_key)
		s = kveil_pem_private_key(name, base_dir, p->private_key, p->passphrase, &k->private_key, err);
	if (s == KVEIL_OK && EVP_PKEY_get_base_id(X509_get0_pubkey(k->certificate)) != type)
		s = kveil_fail(err, KVEIL_E_CONFIG, "kek %s: the certificate's key is not %s", name, type_name);
	if (s == KVEIL_OK && type == EVP_PKEY_RSA && EVP_PKEY_get_bits(X509_get0_pubkey(k->certificate)) < 2048)
		s = kveil_fail(err, KVEIL_E_CONFIG, "kek %s: an RSA key below 2048 bits is not secure", name);
	if (s == KVEIL_OK && k->private_key && X509_check_private_key(k->certificate, k->private_key) != 1)
		s = kveil_fail(err, KVEIL_E_CONFIG, "kek %s: private_key does not belong to certificate", name);
	ERR_clear_error();
	if (s != KVEIL_OK) {
		cms_close(&k->kek);
		return s;
	}
	*ret = &k->kek;
	return KVEIL_OK;
}

static enum kveil_status rsa_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				  struct kveil_error *err)
{
	return open_kind(name, params, base_dir, EVP_PKEY_RSA, "RSA", ret, err);
}

static enum kveil_status ecdh_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				   struct kveil_error *err)
{
	return open_kind(name, params, base_dir, EVP_PKEY_EC, "an elliptic curve's", ret, err);
}

static bool cms_can_unwrap(const struct kveil_kek *kek)
{
	return ((const struct cms_kek *)kek)->private_key != NULL;
}

/* INT64_MAX where it is so far away that it makes no difference. */
static int64_t end_of(const X509 *certificate)
{
	int days, seconds;

	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1)
		return INT64_MAX;
	return kveil_clock_wall_ms() + ((int64_t)days * 24 * 3600 + seconds) * 1000;
}

static int64_t cms_expires_ms(const struct kveil_kek *kek)
{
	int64_t end = end_of(((const struct cms_kek *)kek)->certificate);

	return end == INT64_MAX ? 0 : end;
}

/* An end that is near, or past: what it wrapped opens, and whoever looks after certificates should know. */
static void cms_check(const char *name, const void *params, const struct kveil_yaml *node, const char *file,
		      struct kveil_report *report)
{
	const struct cms_params *p = params;
	char *path = kveil_options_resolve_path(p->certificate, file);
	X509 *certificate = NULL;

	if (path && kveil_pem_certificate(name, NULL, path, &certificate, NULL) == KVEIL_OK) {
		int64_t days = (end_of(certificate) - kveil_clock_wall_ms()) / (24 * 3600 * 1000);
		struct kveil_error *w = NULL;
		if (days < 0)
			w = kveil_report_warn_at(report, file, node->line, node->column,
						 "the certificate of KEK '%s' has expired", name);
		else if (days < KVEIL_KEK_EXPIRY_DAYS)
			w = kveil_report_warn_at(report, file, node->line, node->column,
						 "the certificate of KEK '%s' expires in %lld days", name,
						 (long long)days);
		if (w)
			kveil_error_hint(w, "renew it with the same key pair: what it wrapped still opens");
	}
	X509_free(certificate);
	free(path);
}

static bool add_recipient(CMS_ContentInfo *cms, const struct cms_kek *k)
{
	CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, k->certificate, CMS_KEY_PARAM);
	EVP_PKEY_CTX *ctx = ri ? CMS_RecipientInfo_get0_pkey_ctx(ri) : NULL;

	if (!ctx)
		return false;
	if (CMS_RecipientInfo_type(ri) == CMS_RECIPINFO_TRANS)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) > 0 &&
		       EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256()) > 0 &&
		       EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256()) > 0;
	return EVP_PKEY_CTX_set_ecdh_kdf_md(ctx, EVP_sha256()) > 0;
}

static enum kveil_status cms_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				  struct kveil_error *err)
{
	struct cms_kek *k = (struct cms_kek *)kek;
	BIO *in = BIO_new_mem_buf(plain.data, (int)plain.len);
	CMS_ContentInfo *cms = CMS_AuthEnvelopedData_create(EVP_aes_256_gcm());
	enum kveil_status s = KVEIL_OK;
	unsigned char *der = NULL;
	int n = -1;

	if (in && cms && CMS_set_detached(cms, 0) && add_recipient(cms, k) && CMS_final(cms, in, NULL, CMS_BINARY) == 1)
		n = i2d_CMS_ContentInfo(cms, &der);
	if (n > 0)
		kveil_buf_append(wrapped, der, (size_t)n);
	else
		s = library_failed(k, "CMS encryption", err);
	OPENSSL_free(der);
	CMS_ContentInfo_free(cms);
	BIO_free(in);
	return s != KVEIL_OK || kveil_buf_ok(wrapped) ? s : kveil_no_memory(err, NULL);
}

static enum kveil_status cms_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				    size_t *ret_len, struct kveil_error *err)
{
	struct cms_kek *k = (struct cms_kek *)kek;
	const unsigned char *p = wrapped.data;
	enum kveil_status s = KVEIL_OK;

	if (!k->private_key) {
		kveil_fail(err, KVEIL_E_PERMISSIONS, "kek %s holds no private key: it can lock and never unlock",
			   kek->name);
		return KVEIL_E_PERMISSIONS;
	}
	CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)wrapped.len);
	/* Secure-heap BIO: the payload is key bytes. */
	BIO *out = BIO_new(BIO_s_secmem());
	if (!cms || p != wrapped.data + wrapped.len || !out ||
	    OBJ_obj2nid(CMS_get0_type(cms)) != NID_id_smime_ct_authEnvelopedData ||
	    CMS_decrypt(cms, k->private_key, NULL, NULL, out, 0) != 1) {
		s = kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: its private key does not open this", kek->name);
	} else {
		char *data;
		long n = BIO_get_mem_data(out, &data);
		if (n < 0 || (size_t)n > room) {
			s = kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: what it opened is not a key of ours",
				       kek->name);
		} else {
			memcpy(plain, data, (size_t)n);
			*ret_len = (size_t)n;
		}
		kveil_secret_wipe(data, n > 0 ? (size_t)n : 0);
	}
	ERR_clear_error();
	BIO_free(out);
	CMS_ContentInfo_free(cms);
	return s;
}

const struct kveil_provider kveil_provider_rsa_oaep = {
    .name = "rsa-oaep",
    .help = "an RSA certificate (CMS AuthEnvelopedData); without the private key, an edge worker "
	    "that only seals",
    .options = cms_options,
    .params_size = sizeof(struct cms_params),
    .is_read_once = true,
    .expires_ms = cms_expires_ms,
    .check = cms_check,
    .open = rsa_open,
    .close = cms_close,
    .locks_only = cms_locks_only,
    .can_unwrap = cms_can_unwrap,
    .wrap = cms_wrap,
    .unwrap = cms_unwrap,
};

const struct kveil_provider kveil_provider_ecdh = {
    .name = "ecdh",
    .help = "an elliptic-curve certificate (CMS AuthEnvelopedData); without the private key, an "
	    "edge worker that only seals",
    .options = cms_options,
    .params_size = sizeof(struct cms_params),
    .is_read_once = true,
    .expires_ms = cms_expires_ms,
    .check = cms_check,
    .open = ecdh_open,
    .close = cms_close,
    .locks_only = cms_locks_only,
    .can_unwrap = cms_can_unwrap,
    .wrap = cms_wrap,
    .unwrap = cms_unwrap,
};
