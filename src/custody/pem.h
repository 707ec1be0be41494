/* SPDX-License-Identifier: Apache-2.0 */
/* custody/pem.h: PEM files of the custodians that hold a public key, and maybe the private one. */
#ifndef KVEIL_CUSTODY_PEM_H
#define KVEIL_CUSTODY_PEM_H

#include "base/buf.h"
#include "kveil/base.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

/* path is relative to base_dir. kek names the custodian in messages. CONFIG, PERMISSIONS (a private key that others can
 * read), NOT_FOUND. passphrase may be NULL. */
enum kveil_status kveil_pem_certificate(const char *kek, const char *base_dir, const char *path, X509 **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_pem_public_key(const char *kek, const char *base_dir, const char *path, EVP_PKEY **ret,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_pem_private_key(const char *kek, const char *base_dir, const char *path, const char *passphrase,
					EVP_PKEY **ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
