/* SPDX-License-Identifier: Apache-2.0 */
/* decrypt: opens a ciphertext. */
#include "transform/preserve.h"
#include "transform/sealed.h"

#include <stddef.h>

struct decrypt {
	char *key, *associated_data;
	int encoding, type;
	struct kveil_preserve form;
};

static const struct kveil_option options[] = {
    {"key", KVEIL_OPT_KEY, offsetof(struct decrypt, key), .required = true,
     .help = "the data key that sealed the value; the id in the ciphertext selects the version"},
    {"associated_data", KVEIL_OPT_STRING, offsetof(struct decrypt, associated_data), .help = KVEIL_SEALED_AD_HELP},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct decrypt, encoding), .def = "base64", .choices = kveil_sealed_encodings,
     .help = "as it was encrypted"},
    {"type", KVEIL_OPT_ENUM, offsetof(struct decrypt, type), .def = "string", .choices = kveil_sealed_types,
     .help = "as it was encrypted; `json` restores the value from its JSON text"},
    KVEIL_PRESERVE_ROWS(decrypt, form),
    {0},
};

static unsigned decrypt_results(const void *params, enum kveil_kind kind)
{
	const struct decrypt *p = params;

	if (kind == KVEIL_KIND_BYTES && !p->form.alphabet)
		return KVEIL_RESULT_BIT(KVEIL_RESULT_BYTES);
	return KVEIL_RESULT_BIT(p->type == KVEIL_SEALED_JSON ? KVEIL_RESULT_RAW_UNCHECKED : KVEIL_RESULT_TEXT);
}

static unsigned decrypt_use(const void *params)
{
	return ((const struct decrypt *)params)->form.alphabet ? KVEIL_USE_DETOKENIZE : KVEIL_USE_OPEN;
}

static void decrypt_check(const void *params, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report)
{
	kveil_preserve_check(&((const struct decrypt *)params)->form, file, node, report);
}

static enum kveil_status decrypt_prepare(void *params, struct kveil_error *err)
{
	return kveil_preserve_prepare(&((struct decrypt *)params)->form, err);
}

static void decrypt_clear(void *params)
{
	kveil_preserve_clear(&((struct decrypt *)params)->form);
}

static enum kveil_status decrypt_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				       struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct decrypt *p = call->params;
	struct kveil_span plain;

	if (p->form.made) {
		*ret = KVEIL_RESULT_TEXT;
		return kveil_preserve_write(&p->form, call, false, in->text, out, err);
	}
	bool is_raw = in->kind == KVEIL_KIND_BYTES;
	enum kveil_status s = is_raw ? kveil_sealed_read_bytes(call, in->text, &plain, err)
				     : kveil_sealed_read(call, in->text, (enum kveil_encoding)p->encoding, &plain, err);

	if (s)
		return s;
	*ret = is_raw                         ? KVEIL_RESULT_BYTES
	       : p->type == KVEIL_SEALED_JSON ? KVEIL_RESULT_RAW_UNCHECKED
					      : KVEIL_RESULT_TEXT;
	if (*ret == KVEIL_RESULT_TEXT && kveil_utf8_valid_prefix(plain.data, plain.len) != plain.len)
		return kveil_fail(err, KVEIL_E_INVALID_UTF8, "what was sealed here is not UTF-8 text");
	kveil_buf_append_span(out, plain);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, NULL);
}

const struct kveil_action kveil_action_decrypt = {
    .name = "decrypt",
    .effect = KVEIL_REVEALS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_BYTES),
    .help = "opens what `encrypt` sealed",
    .about = "Reveals: if a condition is in doubt, the value stays sealed. `name` and path must "
	     "be those under which the value was sealed (or give `associated_data`); with `to`, "
	     "the path that is read counts. A ciphertext that was altered, moved, or sealed by "
	     "another key fails the record. With an `alphabet` (a key of `aes-256-ff1`) a wrong "
	     "key or place goes unnoticed and gives another text.",
    .example = "decrypt: {key: pii}",
    .options = options,
    .params_bytes = sizeof(struct decrypt),
    .key_use = KVEIL_USE_OPEN,
    .key_use_for = decrypt_use,
    .needs_ad = true,
    .check = decrypt_check,
    .prepare = decrypt_prepare,
    .params_clear = decrypt_clear,
    .keeps_apart = kveil_sealed_keeps_apart,
    .results_for = decrypt_results,
    .apply = decrypt_apply,
};
