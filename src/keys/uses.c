/* SPDX-License-Identifier: Apache-2.0 */
/* What a key of each kind of algorithm is for. */
#include "keys/internal.h"

/* What each kind of algorithm is for. Format-preserving keys speak in numerals, not bytes: kveil_key_fpe. */
static unsigned uses_of(const struct kveil_algorithm *alg)
{
	switch (alg->kind) {
	case KVEIL_ALG_AEAD:
		return KVEIL_USE_SEAL | KVEIL_USE_OPEN;
	case KVEIL_ALG_DAEAD:
		return KVEIL_USE_SEAL | KVEIL_USE_OPEN | KVEIL_USE_DETERMINISTIC;
	case KVEIL_ALG_FPE:
		return KVEIL_USE_TOKENIZE | KVEIL_USE_DETOKENIZE;
	case KVEIL_ALG_MAC:
		return KVEIL_USE_MAC;
	}
	return 0;
}

enum kveil_status kveil_key_use_check(const struct kveil_algorithm *alg, struct kveil_span name, unsigned use,
				      struct kveil_error *err)
{
	static const char *const for_kind[] = {
	    [KVEIL_ALG_AEAD] = "it encrypts and decrypts",
	    [KVEIL_ALG_DAEAD] = "it encrypts, decrypts and tokenizes, without an `alphabet`",
	    [KVEIL_ALG_FPE] = "it encrypts, decrypts, tokenizes and detokenizes with an `alphabet`",
	    [KVEIL_ALG_MAC] = "it hashes",
	};

	if ((use & uses_of(alg)) == use)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_CONFIG, "key '%.*s' is of algorithm %s: %s", (int)name.len, (const char *)name.data,
		   alg->name, for_kind[alg->kind]);
	if (alg->kind == KVEIL_ALG_FPE && !(use & KVEIL_USE_MAC))
		kveil_error_hint(err, "such as `alphabet: digits` in the rule; or name another key here");
	else
		kveil_error_hint(err, "name another key here, or give this one another algorithm under keys.data");
	return KVEIL_E_CONFIG;
}
