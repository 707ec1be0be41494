/* SPDX-License-Identifier: Apache-2.0 */
/* hash: a keyed hash of a value. */
#include "transform/sealed.h"

#include <stddef.h>

struct hash {
	char *key;
	int encoding;
	uint64_t truncate; /* bytes; 0 = whole */
};

static const struct kveil_option options[] = {
    {"key", KVEIL_OPT_KEY, offsetof(struct hash, key), .required = true, .help = "a data key of an HMAC algorithm"},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct hash, encoding), .def = "hex", .choices = kveil_sealed_encodings,
     .help = "how the hash is written as text"},
    {"truncate", KVEIL_OPT_UINT, offsetof(struct hash, truncate), .min = 8, .max = 64,
     .help = "keep this many leading bytes before encoding (RFC 2104); default: all"},
    {0},
};

/* A longer one would be cut to what there is: less than the rule says. */
static void hash_check_mac(const void *params, size_t mac_bytes, const char *algorithm, const char *file,
			   const struct kveil_yaml *node, struct kveil_report *report)
{
	const struct hash *p = params;

	if (p->truncate <= mac_bytes)
		return;
	const struct kveil_yaml *at = kveil_yaml_get(node, "truncate");
	kveil_error_hint(
	    kveil_report_at(report, file, at->line, at->column, "truncate is at most %zu for %s", mac_bytes, algorithm),
	    "leave it out to keep the whole hash");
}

static enum kveil_status hash_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				    struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct hash *p = call->params;
	uint8_t mac[64];
	size_t n = kveil_key_mac_bytes(call->key);

	if (n > sizeof mac)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a hash of %zu bytes", n);
	enum kveil_status s = kveil_key_mac(call->key, in->text, mac, err);
	if (s)
		return s;
	if (p->truncate && p->truncate < n)
		n = (size_t)p->truncate;
	*ret = KVEIL_RESULT_ASCII;
	return kveil_sealed_encode(kveil_span_of(mac, n), (enum kveil_encoding)p->encoding, out, err);
}

/* Of 16 bytes and more no two are ever equal by chance. */
static bool hash_keeps_apart(const struct kveil_action_call *call)
{
	const struct hash *p = call->params;

	return kveil_key_mac_bytes(call->key) >= 16 && (!p->truncate || p->truncate >= 16);
}

const struct kveil_action kveil_action_hash = {
    .name = "hash",
    .effect = KVEIL_PROTECTS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_NUMBER) | KVEIL_KIND_BIT(KVEIL_KIND_BYTES),
    .help = "a keyed hash (HMAC): equal values stay equal, and nobody without the key can compute it",
    .about = "The plain HMAC of a string's content (escapes resolved) or of a number as it is "
	     "written: `1.0` and `1` differ. The result is a string. Under one key a value has "
	     "the same hash in every field and topic, so joins still work.",
    .example = "hash: {key: pepper}",
    .options = options,
    .params_bytes = sizeof(struct hash),
    .key_use = KVEIL_USE_MAC,
    .check_mac = hash_check_mac,
    .keeps_apart = hash_keeps_apart,
    .apply = hash_apply,
};
