/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/rows.h: one declaration an algorithm, for the table in algorithms.c. Wire ids are never reused. */
#ifndef KVEIL_CRYPTO_ROWS_H
#define KVEIL_CRYPTO_ROWS_H

#include "crypto/algorithm.h"

extern const struct kveil_algorithm kveil_aes_256_gcm;      /* 1 */
extern const struct kveil_algorithm kveil_aes_128_gcm;      /* 2 */
extern const struct kveil_algorithm kveil_sm4_gcm;          /* 3 */
extern const struct kveil_algorithm kveil_sm4_cbc_hmac_sm3; /* 4 */
extern const struct kveil_algorithm kveil_aes_256_siv;      /* 5 */
extern const struct kveil_algorithm kveil_aes_256_gcm_siv;  /* 6 */
extern const struct kveil_algorithm kveil_aes_256_ff1;      /* 7 */
extern const struct kveil_algorithm kveil_hmac_sha_256;     /* 8 */
extern const struct kveil_algorithm kveil_hmac_sha_512;     /* 9 */
extern const struct kveil_algorithm kveil_hmac_sm3;         /* 10 */

#endif
