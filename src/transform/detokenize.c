/* SPDX-License-Identifier: Apache-2.0 */
/* detokenize: takes a token back. */
#include "transform/preserve.h"
#include "transform/sealed.h"

#include <stddef.h>

struct detokenize {
	char *key, *associated_data;
	int encoding;
	struct kveil_preserve form;
};

static const struct kveil_option options[] = {
    {"key", KVEIL_OPT_KEY, offsetof(struct detokenize, key), .required = true,
     .help = "the data key that made the token"},
    KVEIL_PRESERVE_ROWS(detokenize, form),
    {"associated_data", KVEIL_OPT_STRING, offsetof(struct detokenize, associated_data), .help = KVEIL_SEALED_AD_HELP},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct detokenize, encoding), .def = "base64",
     .choices = kveil_sealed_encodings, .help = "as it was tokenized"},
    {0},
};

static unsigned detokenize_use(const void *params)
{
	return ((const struct detokenize *)params)->form.alphabet ? KVEIL_USE_DETOKENIZE
								  : KVEIL_USE_OPEN | KVEIL_USE_DETERMINISTIC;
}

static void detokenize_check(const void *params, const char *file, const struct kveil_yaml *node,
			     struct kveil_report *report)
{
	kveil_preserve_check(&((const struct detokenize *)params)->form, file, node, report);
}

static enum kveil_status detokenize_prepare(void *params, struct kveil_error *err)
{
	return kveil_preserve_prepare(&((struct detokenize *)params)->form, err);
}

static void detokenize_clear(void *params)
{
	kveil_preserve_clear(&((struct detokenize *)params)->form);
}

static enum kveil_status detokenize_apply(const struct kveil_action_call *call, const struct kveil_value *in,
					  struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct detokenize *p = call->params;
	struct kveil_span plain;

	*ret = KVEIL_RESULT_TEXT;
	if (p->form.made)
		return kveil_preserve_write(&p->form, call, false, in->text, out, err);
	enum kveil_status s = kveil_sealed_read(call, in->text, (enum kveil_encoding)p->encoding, &plain, err);
	if (s)
		return s;
	kveil_buf_append_span(out, plain);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, NULL);
}

const struct kveil_action kveil_action_detokenize = {
    .name = "detokenize",
    .effect = KVEIL_REVEALS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING),
    .help = "restores the value of a token that `tokenize` made",
    .about = "Reveals: if a condition is in doubt, the token stays. Key, alphabet, kept parts, "
	     "`name` and path must be those of the rule that made the token. Without an "
	     "`alphabet` an altered or foreign token fails the record; with one it gives another "
	     "value.",
    .example = "detokenize: {key: cards, alphabet: digits, keep_first: 6, keep_last: 4}",
    .options = options,
    .params_bytes = sizeof(struct detokenize),
    .key_use = KVEIL_USE_DETOKENIZE,
    .key_use_for = detokenize_use,
    .needs_ad = true,
    .check = detokenize_check,
    .prepare = detokenize_prepare,
    .params_clear = detokenize_clear,
    .keeps_apart = kveil_sealed_keeps_apart,
    .apply = detokenize_apply,
};
