/* SPDX-License-Identifier: Apache-2.0 */
/* reencrypt: opens with one key, seals with another. */
#include "transform/sealed.h"

#include <stddef.h>

struct reencrypt {
	char *from, *to, *associated_data;
	int encoding;
};

static const struct kveil_option options[] = {
    {"from", KVEIL_OPT_KEY, offsetof(struct reencrypt, from), .required = true, .help = "the data key that sealed it"},
    {"to", KVEIL_OPT_KEY, offsetof(struct reencrypt, to), .required = true, .help = "the data key to seal it with"},
    {"associated_data", KVEIL_OPT_STRING, offsetof(struct reencrypt, associated_data), .help = KVEIL_SEALED_AD_HELP},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct reencrypt, encoding), .def = "base64",
     .choices = kveil_sealed_encodings, .help = "of both ciphertexts"},
    {0},
};

static void reencrypt_check(const void *params, const char *file, const struct kveil_yaml *node,
			    struct kveil_report *report)
{
	const struct reencrypt *p = params;

	if (strcmp(p->from, p->to) == 0)
		kveil_error_hint(
		    kveil_report_warn_at(report, file, node->line, node->column, "reencrypt from a key to itself"),
		    "it moves values to the key's active version and nothing else");
}

static unsigned reencrypt_results(const void *params, enum kveil_kind kind)
{
	(void)params;
	return KVEIL_RESULT_BIT(kind == KVEIL_KIND_BYTES ? KVEIL_RESULT_BYTES : KVEIL_RESULT_ASCII);
}

static enum kveil_status reencrypt_apply(const struct kveil_action_call *call, const struct kveil_value *in,
					 struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct reencrypt *p = call->params;
	enum kveil_encoding encoding = (enum kveil_encoding)p->encoding;
	bool is_raw = in->kind == KVEIL_KIND_BYTES;
	struct kveil_span plain;
	enum kveil_status s = is_raw ? kveil_sealed_read_bytes(call, in->text, &plain, err)
				     : kveil_sealed_read(call, in->text, encoding, &plain, err);

	*ret = is_raw ? KVEIL_RESULT_BYTES : KVEIL_RESULT_ASCII;
	if (s)
		return s;
	return is_raw ? kveil_sealed_write_bytes(call->key2, call->ad, plain, out, err)
		      : kveil_sealed_write(call->key2, call->ad, plain, encoding, call->arena, out, err);
}

const struct kveil_action kveil_action_reencrypt = {
    .name = "reencrypt",
    .effect = KVEIL_PROTECTS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_BYTES),
    .help = "moves a ciphertext from one key to another; clear text does not leave the worker",
    .about =
	"The keys may be of different algorithms. With `to` on the rule, the old ciphertext can stand beside the new "
	"one (`keep_source: true`) while consumers migrate.",
    .example = "reencrypt: {from: pii, to: pii-cn}",
    .options = options,
    .params_bytes = sizeof(struct reencrypt),
    .inverse = "decrypt",
    .key_use = KVEIL_USE_OPEN,
    .key2_use = KVEIL_USE_SEAL,
    .needs_ad = true,
    .check = reencrypt_check,
    .keeps_apart = kveil_sealed_keeps_apart,
    .results_for = reencrypt_results,
    .apply = reencrypt_apply,
};
