/* SPDX-License-Identifier: Apache-2.0 */
/* The table of algorithms. */
#include "crypto/rows.h"

const struct kveil_algorithm *const kveil_algorithms[] = {
    &kveil_aes_256_gcm,
    &kveil_aes_128_gcm,
    &kveil_sm4_gcm,
    &kveil_sm4_cbc_hmac_sm3,
    &kveil_aes_256_siv,
    &kveil_aes_256_gcm_siv,
    &kveil_aes_256_ff1,
    &kveil_hmac_sha_256,
    &kveil_hmac_sha_512,
    &kveil_hmac_sm3,
    NULL,
};

const struct kveil_algorithm *kveil_algorithm_by_name(struct kveil_span name)
{
	for (const struct kveil_algorithm *const *a = kveil_algorithms; *a; a++)
		if (kveil_span_eq(name, kveil_span_str((*a)->name)))
			return *a;
	return NULL;
}

const struct kveil_algorithm *kveil_algorithm_by_wire_id(uint16_t id)
{
	for (const struct kveil_algorithm *const *a = kveil_algorithms; *a; a++)
		if ((*a)->wire_id == id)
			return *a;
	return NULL;
}
