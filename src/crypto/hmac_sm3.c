/* SPDX-License-Identifier: Apache-2.0 */
/* libgcrypt keeps the states behind the padded key and goes back to them; EVP allocates for each value. */
#include "crypto/gcrypt.h"
#include "crypto/rows.h"

#include <stdlib.h>

struct hmac_sm3 {
	struct kveil_cipher base;
	struct kveil_gcrypt_mac *mac;
};

static const char *library(void)
{
	struct kveil_gcrypt_mac *m;

	if (kveil_gcrypt_hmac_sm3_new(KVEIL_SPAN("any"), &m, NULL) != KVEIL_OK)
		return NULL;
	kveil_gcrypt_hmac_free(m);
	return "libgcrypt";
}

static void cipher_free(struct kveil_cipher *c)
{
	struct hmac_sm3 *h = (struct hmac_sm3 *)c;

	if (!h)
		return;
	kveil_gcrypt_hmac_free(h->mac);
	free(h);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	struct hmac_sm3 *h = calloc(1, sizeof *h);

	if (!h)
		return kveil_no_memory(err, "a key's context");
	h->base.alg = &kveil_hmac_sm3;
	enum kveil_status status = kveil_gcrypt_hmac_sm3_new(key, &h->mac, err);
	if (status != KVEIL_OK) {
		free(h);
		return status;
	}
	*ret = &h->base;
	return KVEIL_OK;
}

static enum kveil_status mac(struct kveil_cipher *c, struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	(void)err;
	kveil_gcrypt_hmac(((struct hmac_sm3 *)c)->mac, &in, 1, out);
	return KVEIL_OK;
}

const struct kveil_algorithm kveil_hmac_sm3 = {
    .name = "hmac-sm3",
    .wire_id = 10,
    .kind = KVEIL_ALG_MAC,
    .key_bytes = 32,
    .mac_bytes = 32,
    .is_sm = true,
    .standard = "GB/T 15852.2, GB/T 32905",
    .help = "keyed hash with the Chinese hash function",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = cipher_free,
    .mac = mac,
};
