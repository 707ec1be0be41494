/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/rows.h: one declaration an algorithm, for the table in algorithms.c. Wire ids are never reused. */
#ifndef KVEIL_CRYPTO_ROWS_H
#define KVEIL_CRYPTO_ROWS_H

#include "crypto/algorithm.h"

extern const struct kveil_algorithm kveil_aes_256_gcm;  /* 1 */
extern const struct kveil_algorithm kveil_hmac_sha_256; /* 8 */

#endif
