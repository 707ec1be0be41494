/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/statement.h: what an auditor asks: which library runs each algorithm on this machine, and in which mode. Any thread. */
#ifndef KVEIL_CRYPTO_STATEMENT_H
#define KVEIL_CRYPTO_STATEMENT_H

#include "crypto/algorithm.h"

/* "libgcrypt", "OpenSSL", "missing". */
const char *kveil_statement_library(const struct kveil_algorithm *alg);
/* The generator behind every key, nonce start and id: "CTR-DRBG". */
const char *kveil_statement_generator(void);
/* Is OpenSSL's FIPS provider the one that is asked by default? */
bool kveil_statement_openssl_fips(void);

/* What kveil itself uses beside the configuration's algorithms. Ends with a zero row. */
struct kveil_statement_use {
	const char *what, *algorithm, *standard, *library;
};
extern const struct kveil_statement_use kveil_statement_uses[];

#endif
