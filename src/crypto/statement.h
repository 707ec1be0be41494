/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/statement.h: what an auditor asks beside the rows of algorithms[]: kveil's own use, and the mode. Any thread.
 */
#ifndef KVEIL_CRYPTO_STATEMENT_H
#define KVEIL_CRYPTO_STATEMENT_H

#include <stdbool.h>

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
