/* SPDX-License-Identifier: Apache-2.0 */
/* tokenize: a value of the same form. */
#include "transform/preserve.h"
#include "transform/sealed.h"

#include <stddef.h>

struct tokenize {
	char *key, *associated_data;
	int encoding;
	struct kveil_preserve form;
};

static const struct kveil_option options[] = {
    {"key", KVEIL_OPT_KEY, offsetof(struct tokenize, key), .required = true,
     .help = "a deterministic data key: `aes-256-ff1` with an `alphabet`, `aes-256-siv` without one"},
    KVEIL_PRESERVE_ROWS(tokenize, form),
    {"associated_data", KVEIL_OPT_STRING, offsetof(struct tokenize, associated_data), .help = KVEIL_SEALED_AD_HELP},
    {"encoding", KVEIL_OPT_ENUM, offsetof(struct tokenize, encoding), .def = "base64",
     .choices = kveil_sealed_encodings, .help = "without `alphabet`: how the token is written as text"},
    {0},
};

static unsigned tokenize_use(const void *params)
{
	return ((const struct tokenize *)params)->form.alphabet ? KVEIL_USE_TOKENIZE
								: KVEIL_USE_SEAL | KVEIL_USE_DETERMINISTIC;
}

static void tokenize_check(const void *params, const char *file, const struct kveil_yaml *node,
			   struct kveil_report *report)
{
	kveil_preserve_check(&((const struct tokenize *)params)->form, file, node, report);
}

static enum kveil_status tokenize_prepare(void *params, struct kveil_error *err)
{
	return kveil_preserve_prepare(&((struct tokenize *)params)->form, err);
}

static void tokenize_clear(void *params)
{
	kveil_preserve_clear(&((struct tokenize *)params)->form);
}

static enum kveil_status tokenize_apply(const struct kveil_action_call *call, const struct kveil_value *in,
					struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct tokenize *p = call->params;

	*ret = p->form.made ? KVEIL_RESULT_TEXT : KVEIL_RESULT_ASCII;
	if (p->form.made)
		return kveil_preserve_write(&p->form, call, true, in->text, out, err);
	return kveil_sealed_write(call->key, call->ad, in->text, (enum kveil_encoding)p->encoding, call->arena, out,
				  err);
}

const struct kveil_action kveil_action_tokenize = {
    .name = "tokenize",
    .effect = KVEIL_PROTECTS,
    .kinds = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_NUMBER) | KVEIL_KIND_BIT(KVEIL_KIND_BYTES),
    .help = "replaces the value with a token that is the same each time and that the key can "
	    "reverse; no vault",
    .about = "With an `alphabet` the token looks like the value: the same length and the same "
	     "characters (FF1, NIST SP 800-38G r1). `keep_first` and `keep_last` characters stay "
	     "clear; `keep_chars` stay in place and do not count. Any other character fails the "
	     "record, and so does a value with fewer than a million possible tokens: at least six "
	     "digits are encrypted. Characters are code points here. Without an `alphabet` the "
	     "key is an `aes-256-siv` key, and the token is its ciphertext as text.\n\nA value "
	     "has one token per field; with a `join` on the key, the same one in every field. "
	     "With `keep_…` it also depends on what is kept. A number is tokenized as it is "
	     "written and becomes a string. A token with an `alphabet` is not authenticated: "
	     "another key, place or kept part gives another value and no error.",
    .example = "tokenize: {key: cards, alphabet: digits, keep_first: 6, keep_last: 4}",
    .options = options,
    .params_bytes = sizeof(struct tokenize),
    .inverse = "detokenize",
    .key_use = KVEIL_USE_TOKENIZE,
    .key_use_for = tokenize_use,
    .needs_ad = true,
    .check = tokenize_check,
    .prepare = tokenize_prepare,
    .params_clear = tokenize_clear,
    .keeps_apart = kveil_sealed_keeps_apart,
    .apply = tokenize_apply,
};
