/* SPDX-License-Identifier: Apache-2.0 */
/* encrypt: seals a value. */
#include "transform/preserve.h"
#include "transform/sealed.h"

#include <stddef.h>

struct encrypt {
	char *key, *associated_data; /* bound by the rules; here only their rows */
	int encoding, type;
	struct kveil_preserve form;
};

static const struct kveil_option options[] = {
    {"key", KVEIL_OPT_KEY, offsetof(struct encrypt, key), .required = true,
     .help = "the data key; `\"tenant-{$.tenant}\"` names one from the record"},
    {"associated_data", KVEIL_OPT_STRING, offsetof(struct encrypt, associated_data), .help = KVEIL_SEALED_AD_HELP},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct encrypt, encoding), .def = "base64", .choices = kveil_sealed_encodings,
     .help = "how the ciphertext is written as text; base64url has no padding"},
    {"type", KVEIL_OPT_ENUM, offsetof(struct encrypt, type), .def = "string", .choices = kveil_sealed_types,
     .help = "`string` takes only strings; `json` seals the JSON text of any value"},
    KVEIL_PRESERVE_ROWS(encrypt, form),
    {0},
};

enum { TEXTS = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_BYTES) };

static unsigned encrypt_kinds(const void *params)
{
	return ((const struct encrypt *)params)->type == KVEIL_SEALED_JSON ? ~0u : TEXTS;
}

static bool encrypt_wants_raw(const void *params)
{
	return ((const struct encrypt *)params)->type == KVEIL_SEALED_JSON;
}

static unsigned encrypt_results(const void *params, enum kveil_kind kind)
{
	const struct encrypt *p = params;
	bool is_raw = kind == KVEIL_KIND_BYTES && !p->form.alphabet;

	return KVEIL_RESULT_BIT(is_raw ? KVEIL_RESULT_BYTES : KVEIL_RESULT_ASCII);
}

static unsigned encrypt_use(const void *params)
{
	return ((const struct encrypt *)params)->form.alphabet ? KVEIL_USE_TOKENIZE : KVEIL_USE_SEAL;
}

static void encrypt_check(const void *params, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report)
{
	kveil_preserve_check(&((const struct encrypt *)params)->form, file, node, report);
}

static enum kveil_status encrypt_prepare(void *params, struct kveil_error *err)
{
	return kveil_preserve_prepare(&((struct encrypt *)params)->form, err);
}

static void encrypt_clear(void *params)
{
	kveil_preserve_clear(&((struct encrypt *)params)->form);
}

static enum kveil_status encrypt_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				       struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct encrypt *p = call->params;

	if (p->form.made) {
		*ret = KVEIL_RESULT_TEXT;
		return kveil_preserve_write(&p->form, call, true, in->text, out, err);
	}
	if (in->kind == KVEIL_KIND_BYTES) {
		*ret = KVEIL_RESULT_BYTES;
		return kveil_sealed_write_bytes(call->key, call->ad, in->text, out, err);
	}
	*ret = KVEIL_RESULT_ASCII;
	return kveil_sealed_write(call->key, call->ad, p->type == KVEIL_SEALED_JSON ? in->raw : in->text,
				  (enum kveil_encoding)p->encoding, call->arena, out, err);
}

const struct kveil_action kveil_action_encrypt = {
    .name = "encrypt",
    .effect = KVEIL_PROTECTS,
    .kinds = TEXTS,
    .other_kinds = "`type: json` seals any value",
    .help = "seals the value under a data key, which can open it again",
    .about =
	"The key determines the algorithm. The ciphertext has Google Tink's format and is "
	"bound to its place: moved to another field or data set, it does not open. With "
	"`type: string` any other kind of value fails the record; `type: json` seals the "
	"JSON text of any value and restores it byte for byte (in [Avro](avro.md#values-sealed-whole) records, arrays "
	"and maps as their own bytes); of a text it seals the quotes too, so a later "
	"change of `type` leaves both forms in the topic. With an `alphabet` and a key "
	"of `aes-256-ff1` the text keeps its form, as with `tokenize`.",
    .example = "encrypt: {key: pii}",
    .options = options,
    .params_bytes = sizeof(struct encrypt),
    .inverse = "decrypt",
    .key_use = KVEIL_USE_SEAL,
    .key_use_for = encrypt_use,
    .needs_ad = true,
    .check = encrypt_check,
    .prepare = encrypt_prepare,
    .params_clear = encrypt_clear,
    .kinds_for = encrypt_kinds,
    .keeps_apart = kveil_sealed_keeps_apart,
    .wants_raw = encrypt_wants_raw,
    .results_for = encrypt_results,
    .apply = encrypt_apply,
};
